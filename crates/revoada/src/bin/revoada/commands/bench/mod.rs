//! `bench`: measures the cluster from outside, as a client would see it.
//!
//! Clients are tasks that share a few framed connections, since it is the server that is to be measured and not this
//! program. Writes go round a bounded number of names (`--names`), each time with another content, so that a long run
//! does not grow without bound; with `--total N` they have N names. With `--rate` a request is due at its time whether
//! or not the one before was answered, and its latency counts from then: a server that stalls cannot slow down the
//! clock that measures it. Rejected: one connection per client by default, which measures sockets.

mod load;
mod report;
mod setup;
mod watchers;

use std::time::Duration;

use clap::{Args, ValueEnum};
use revoada::client::{ClientOptions, Endpoint};

use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::Format;

/// How many names are written in turn, where `--total` does not say.
const NAMES_DEFAULT: u64 = 10_000;
/// How many connections are shared, at most, where `--connections` does not say.
const CONNECTIONS_DEFAULT: u32 = 16;
/// How long a run takes, where neither `--seconds` nor `--total` says.
const SECONDS_DEFAULT: f64 = 10.0;

/// How long a benchmark waits for one answer.
pub const OPTIONS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(3),
    answer_timeout: Duration::from_secs(15),
    long_answer_timeout: Duration::from_secs(60),
};

/// Measures the cluster
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada bench put --clients 256 --seconds 30
  revoada bench put --clients 1
  revoada bench get --clients 256 --connections 16 -o json
  revoada bench put --total 100000              as many resources
  revoada bench put --rate 5000                 latency at a load that is given

What is written is of kind Bench in the namespace revoada-bench, 10,000 names in turn, or as
many as --total says; it stays there. `mixed` is four gets to one put, `list` reads pages of
100, `watch` measures from a write to its event at each of the clients. Requests go to the
leader; --endpoint names another node.")]
pub struct Bench {
    /// What is measured
    #[arg(value_enum)]
    pub op: Op,
    /// How many clients, each with one request at a time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub clients: u32,
    /// How many connections they share [default: as many as clients, at most 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub connections: Option<u32>,
    /// The size of a resource's document, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(200..=1_500_000))]
    pub size: u32,
    /// For how long [default: 10]
    #[arg(long, value_name = "S", value_parser = seconds, conflicts_with = "total")]
    pub seconds: Option<f64>,
    /// How many requests instead; a put writes as many resources
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub total: Option<u64>,
    /// How many requests a second; without it, as many as are answered
    #[arg(long, value_name = "R", value_parser = rate)]
    pub rate: Option<f64>,
    /// How many names are written in turn [default: 10000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub names: Option<u64>,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Writes
    Put,
    /// Linearizable reads of one resource
    Get,
    /// Linearizable reads of a page of 100
    List,
    /// Events of writes
    Watch,
    /// Four gets to one put
    Mixed,
}

impl Op {
    const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Mixed => "mixed",
        }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(value) if value.is_finite() && (0.01..=86_400.0).contains(&value) => Ok(value),
        _ => Err("a number of seconds, from 0.01 to 86400".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && (0.01..=10_000_000.0).contains(&value) => Ok(value),
        _ => Err("a number of requests a second, above 0".to_owned()),
    }
}

/// What a run is made of, with every default filled in.
pub struct Plan {
    /// What is measured.
    pub op: Op,
    /// The clients.
    pub clients: u32,
    /// The connections.
    pub connections: u32,
    /// The size of a document.
    pub size_bytes: usize,
    /// When it ends, if by time.
    pub lasts: Option<Duration>,
    /// When it ends, if by number.
    pub total: Option<u64>,
    /// The time between two requests of one client, where a rate was given.
    pub interval: Option<Duration>,
    /// How many names there are.
    pub names: u64,
}

impl Plan {
    fn new(arguments: &Bench) -> Self {
        let Bench {
            op,
            clients,
            connections,
            size,
            seconds,
            total,
            rate,
            names,
        } = *arguments;
        let lasts = match total {
            None => Some(seconds.unwrap_or(SECONDS_DEFAULT)),
            Some(_) => None,
        };
        let written = total.filter(|_| op == Op::Put);
        Self {
            op,
            clients,
            connections: connections
                .unwrap_or_else(|| clients.min(CONNECTIONS_DEFAULT))
                .min(clients),
            size_bytes: usize::try_from(size).unwrap_or(usize::MAX),
            lasts: lasts.map(Duration::from_secs_f64),
            total,
            interval: rate.map(|rate| Duration::from_secs_f64(f64::from(clients) / rate)),
            names: names.or(written).unwrap_or(NAMES_DEFAULT),
        }
    }
}

pub async fn run(context: &Context, arguments: &Bench) -> Outcome {
    let format = context.out.format(Format::Table);
    if matches!(format, Format::Hcl | Format::Name) {
        return Err(context.out.unsupported(format));
    }
    let plan = Plan::new(arguments);
    let endpoint = endpoint(context).await?;
    let report = match plan.op {
        Op::Watch => watchers::run(&plan, &endpoint).await?,
        Op::Put | Op::Get | Op::List | Op::Mixed => load::run(&plan, &endpoint).await?,
    };
    if let Some(error) = report.only_errors() {
        return Err(error);
    }
    context.out.value(&report, || report.render())?;
    Ok(Exit::Done)
}

/// The leader's control socket, or the endpoint that was named.
async fn endpoint(context: &Context) -> Result<Endpoint, CliError> {
    let candidates = context.candidates()?;
    let found = context.find().await?;
    if context.endpoint.is_some() {
        return Ok(found.client.endpoint().clone());
    }
    let leader = found.status.cluster.leader;
    let named = candidates.into_iter().find(|(name, _)| Some(name) == leader.as_ref());
    Ok(named.map_or_else(|| found.client.endpoint().clone(), |(_, endpoint)| endpoint))
}
