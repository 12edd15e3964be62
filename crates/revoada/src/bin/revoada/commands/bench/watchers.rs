//! From a write to its event at every watcher.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use revoada::client::message::{LineType, WatchLine, WatchResources};
use revoada::client::{Client, ClientError, Endpoint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::report::{Counts, Report};
use super::setup::{Connection, KIND, NAMESPACE, Template};
use super::{OPTIONS, Plan};
use crate::failure::CliError;

/// How many writes a second there are, where `--rate` does not say.
const WRITES_PER_SECOND: f64 = 100.0;
/// How long the last events may take.
const LAST_EVENTS: Duration = Duration::from_secs(1);
/// How many names are written in turn: few, because a watch begins with all that are there.
const NAMES: u64 = 100;

/// When which content was sent.
type Sent = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Runs a plan to its end: one writer, as many watchers as clients.
pub async fn run(plan: &Plan, endpoint: &Endpoint) -> Result<Report, CliError> {
    let client = Client::new(endpoint.clone(), OPTIONS)?;
    let writer = Connection::open(endpoint).await?;
    let template = Template::new(plan.size_bytes);
    let (sent, counts): (Sent, Counts) = (Sent::default(), Counts::new());
    let mut watchers = Vec::new();
    for _ in 0..plan.clients {
        let (ready, is_ready) = oneshot::channel();
        watchers.push(tokio::spawn(watch(
            client.clone(),
            Arc::clone(&sent),
            counts.clone(),
            ready,
        )));
        // A watcher that failed has said so where errors are counted.
        if is_ready.await.is_err() {
            break;
        }
    }
    let interval = plan.interval.map_or_else(
        || Duration::from_secs_f64(1.0 / WRITES_PER_SECOND),
        |each| each / plan.clients.max(1),
    );
    let began = Instant::now();
    let bar = super::load::progress_bar(plan);
    let bar = tokio::spawn(super::load::show(bar, plan.total.is_some(), counts.clone(), began));
    let mut due = began;
    let seed = began_seed();
    for number in 0..plan.total.unwrap_or(u64::MAX) {
        tokio::time::sleep_until(due).await;
        if plan.lasts.is_some_and(|lasts| began.elapsed() >= lasts) {
            break;
        }
        let content = seed.wrapping_add(number) % 1_000_000_000_000;
        let now = Instant::now();
        lock(&sent).insert(format!("{content:012}"), now);
        let written = match writer.client().await {
            Ok(client) => client
                .apply(template.request(number % NAMES, content))
                .await
                .map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            counts.failed(&error);
        }
        due += interval;
    }
    let time = began.elapsed();
    tokio::time::sleep(LAST_EVENTS.min(time)).await;
    bar.abort();
    watchers.iter().for_each(tokio::task::JoinHandle::abort);
    Ok(counts.report(plan, time))
}

fn began_seed() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

fn lock(sent: &Sent) -> std::sync::MutexGuard<'_, BTreeMap<String, Instant>> {
    sent.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn watch(client: Client, sent: Sent, counts: Counts, ready: oneshot::Sender<()>) {
    let mut ready = Some(ready);
    let followed = async {
        let request = WatchResources {
            group: Some(String::new()),
            kind: KIND.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            ..WatchResources::default()
        };
        let mut watch = client.watch(&request).await?;
        while let Some(line) = watch.next().await {
            let line = line?;
            if line.line_type == LineType::Bookmark
                && let Some(ready) = ready.take()
            {
                // Nobody waits any more when the run has ended.
                let _ = ready.send(());
            }
            if let Some(latency) = latency(&line, &sent) {
                counts.answered(latency);
            }
        }
        Ok::<(), ClientError>(())
    };
    if let Err(error) = followed.await {
        counts.failed(&error);
    }
}

/// How long ago the write of this event was sent, if it is one of this run.
fn latency(line: &WatchLine, sent: &Sent) -> Option<Duration> {
    let content = line.object.as_ref()?.get("data")?.get("number")?.as_str()?;
    let sent = lock(sent).get(content).copied()?;
    Some(sent.elapsed())
}
