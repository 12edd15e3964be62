//! Clients that put, get and list as fast as they are answered, or at a given rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use indicatif::{ProgressBar, ProgressStyle};
use revoada::client::message::{GetResource, ListResources};
use revoada::client::{ClientError, Endpoint};
use tokio::time::Instant;

use super::report::{Counts, Report};
use super::setup::{Connection, KIND, NAMESPACE, Template, target};
use super::{Op, Plan};
use crate::failure::CliError;

/// How many resources a page of `list` has.
const PAGE_ITEMS: usize = 100;
/// How many resources there are to be read, at most.
const READ_NAMES: u64 = 1_000;
/// How many are written at once before reads are measured.
const FILL_IN_FLIGHT: usize = 64;
/// How often the progress is drawn.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);
/// How long a client waits after an error.
const AFTER_ERROR: Duration = Duration::from_millis(20);
/// Of so many requests of `mixed`, one is a put.
const MIXED_PUT_EVERY: u64 = 5;

/// What all clients share.
struct Shared {
    op: Op,
    template: Template,
    /// The number of the next request.
    next: AtomicU64,
    /// Tells contents of this run from those of the runs before it.
    seed: u64,
    total: u64,
    names: u64,
    end: Option<Instant>,
    interval: Option<Duration>,
    counts: Counts,
}

/// Runs a plan to its end.
pub async fn run(plan: &Plan, endpoint: &Endpoint) -> Result<Report, CliError> {
    let mut connections = Vec::new();
    for _ in 0..plan.connections {
        connections.push(Arc::new(Connection::open(endpoint).await?));
    }
    let reads = matches!(plan.op, Op::Get | Op::List | Op::Mixed);
    let names = if reads { plan.names.min(READ_NAMES) } else { plan.names };
    let template = Template::new(plan.size_bytes);
    let seed = seed();
    if reads {
        fill(&connections, &template, names, seed).await?;
    }
    let counts = Counts::new();
    let began = Instant::now();
    let shared = Arc::new(Shared {
        op: plan.op,
        template,
        next: AtomicU64::new(0),
        seed: seed.wrapping_add(names),
        total: plan.total.unwrap_or(u64::MAX),
        names,
        end: plan.lasts.map(|lasts| began + lasts),
        interval: plan.interval,
        counts: counts.clone(),
    });
    let clients: Vec<_> = (0..plan.clients)
        .zip(connections.iter().cycle())
        .map(|(number, connection)| {
            // With a rate, clients begin one after another, so that requests come evenly.
            let share = f64::from(number) / f64::from(plan.clients);
            let first = began + plan.interval.map_or(Duration::ZERO, |interval| interval.mul_f64(share));
            tokio::spawn(client(Arc::clone(&shared), Arc::clone(connection), first))
        })
        .collect();
    let progress = tokio::spawn(show(progress_bar(plan), plan.total.is_some(), counts.clone(), began));
    for client in clients {
        if let Err(error) = client.await {
            tracing::warn!(%error, "a client did not end in order");
        }
    }
    let time = began.elapsed();
    progress.abort();
    Ok(counts.report(plan, time))
}

/// A number that another run would not take: contents have to change from run to run, or nothing is written.
fn seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64 % 1_000_000_000_000)
}

/// Writes what is to be read.
async fn fill(connections: &[Arc<Connection>], template: &Template, names: u64, seed: u64) -> Result<(), CliError> {
    let mut writes = stream::iter(0..names)
        .map(|name| {
            let connection = &connections[usize::try_from(name).unwrap_or(0) % connections.len()];
            async move { connection.client().await?.apply(template.request(name, seed)).await }
        })
        .buffer_unordered(FILL_IN_FLIGHT);
    while let Some(written) = writes.next().await {
        written?;
    }
    Ok(())
}

/// One client: one request at a time.
async fn client(shared: Arc<Shared>, connection: Arc<Connection>, first: Instant) {
    let mut due = first;
    loop {
        if shared.interval.is_some() {
            tokio::time::sleep_until(due).await;
        }
        let now = Instant::now();
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        if number >= shared.total || shared.end.is_some_and(|end| now >= end) {
            return;
        }
        // With a rate, a request that waited for the one before counts from when it was due.
        let from = if shared.interval.is_some() { due } else { now };
        match request(&shared, &connection, number).await {
            Ok(()) => shared.counts.answered(from.elapsed()),
            Err(error) => {
                shared.counts.failed(&error);
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
        if let Some(interval) = shared.interval {
            due += interval;
        }
    }
}

async fn request(shared: &Shared, connection: &Connection, number: u64) -> Result<(), ClientError> {
    let client = connection.client().await?;
    let name = number % shared.names;
    let put = match shared.op {
        Op::Put => true,
        Op::Mixed => number.is_multiple_of(MIXED_PUT_EVERY),
        Op::Get | Op::List | Op::Watch => false,
    };
    if put {
        let content = shared.seed.wrapping_add(number);
        client.apply(shared.template.request(name, content)).await?;
    } else if shared.op == Op::List {
        let request = ListResources {
            group: Some(String::new()),
            kind: KIND.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            limit: Some(PAGE_ITEMS),
            ..ListResources::default()
        };
        // As bytes: to parse a page costs more than to serve it.
        client.call(revoada::client::Call::List(request)).await?;
    } else {
        let request = GetResource {
            target: target(name),
            ..GetResource::default()
        };
        client.get(request).await?;
    }
    Ok(())
}

/// A bar on a terminal, and nothing elsewhere.
pub fn progress_bar(plan: &Plan) -> ProgressBar {
    let length = plan
        .total
        .or_else(|| plan.lasts.map(|lasts| lasts.as_millis() as u64))
        .unwrap_or_default();
    let style = ProgressStyle::with_template("{bar:40} {percent:>3}% {msg}");
    let bar = ProgressBar::new(length);
    bar.set_style(style.expect("the template is one"));
    bar
}

/// Draws the progress until it is aborted.
pub async fn show(bar: ProgressBar, by_total: bool, counts: Counts, began: Instant) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let ops = counts.ops();
        let elapsed = began.elapsed();
        bar.set_position(if by_total { ops } else { elapsed.as_millis() as u64 });
        bar.set_message(format!("{:.0} a second", ops as f64 / elapsed.as_secs_f64().max(1e-9)));
    }
}
