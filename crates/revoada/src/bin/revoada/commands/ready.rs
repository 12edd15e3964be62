//! Waiting until a cluster on this machine can commit a write.

use std::time::Duration;

use futures::future::join_all;
use revoada::client::message::ListResources;
use revoada::client::{Client, ClientError, Endpoint};
use revoada_core::error::ErrorKind;
use revoada_store::admin::{ClusterState, ClusterStatus};
use tokio::time::Instant;

use super::process::has_not_booted;
use crate::connect::{Context, Found, on_one_line, options, probe};
use crate::failure::CliError;
use crate::local::folder::Folder;
use crate::local::process::Process;
use crate::local::record::Record;
use crate::local::start::log_tail;

/// How long a node may take to say why it could not start.
const EXCUSE_LIMIT: Duration = Duration::from_secs(2);
/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until a write can be committed, for `limit` at most; sooner where no node is left that could.
pub async fn wait(
    context: &Context,
    folder: &Folder,
    record: &Record,
    limit: Duration,
) -> Result<ClusterStatus, CliError> {
    let deadline = Instant::now() + limit;
    let candidates = context.candidates()?;
    loop {
        let why = match probe(&candidates).await {
            Ok(Found { client, status }) => match is_ready(&client, &status).await {
                Ok(true) => return Ok(status),
                Ok(false) => vec![format!("the cluster is {}", status.cluster.state.name())],
                Err(error) => vec![error.to_string()],
            },
            Err(failures) => {
                let why = failures
                    .iter()
                    .map(|(name, error)| describe(folder, name, error))
                    .collect();
                let hopeless = failures
                    .iter()
                    .all(|(name, error)| has_not_booted(error) || Process::find(folder, name).is_none());
                // A process that has just begun has no socket yet, and is found by its pid.
                if hopeless && !failures.is_empty() {
                    return Err(not_ready(folder, record, "no node could start".to_owned(), why));
                }
                why
            }
        };
        if Instant::now() >= deadline {
            let message = format!("no write could be committed within {} s", limit.as_secs());
            let excuses = excuses(folder, &candidates).await;
            return Err(not_ready(folder, record, message, [why, excuses].concat()));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Why the nodes that could not start could not: one that waits for them does not know.
async fn excuses(folder: &Folder, candidates: &[(String, Endpoint)]) -> Vec<String> {
    let asked = candidates.iter().map(async |(name, endpoint)| {
        let client = Client::new(endpoint.clone(), options()).ok()?;
        let answer = tokio::time::timeout(EXCUSE_LIMIT, client.status()).await.ok()?;
        let error = answer.err().filter(has_not_booted)?;
        Some(describe(folder, name, &error))
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// Whether a write can be committed: a leader is known, and a majority confirms it for a read that must be the newest.
async fn is_ready(client: &Client, status: &ClusterStatus) -> Result<bool, ClientError> {
    if status.cluster.state != ClusterState::Formed || status.cluster.leader.is_none() {
        return Ok(false);
    }
    let request = ListResources {
        kind: "ConfigMap".to_owned(),
        namespace: Some(String::new()),
        limit: Some(1),
        ..ListResources::default()
    };
    client.list(&request).await.map(|_| true)
}

fn describe(folder: &Folder, name: &str, error: &ClientError) -> String {
    if Process::find(folder, name).is_none() {
        let tail = log_tail(folder, name);
        let said = tail.last().map_or_else(String::new, |line| format!(": {line}"));
        return format!("{name} has ended{said}");
    }
    format!("{name}: {}", on_one_line(error))
}

fn not_ready(folder: &Folder, record: &Record, message: String, why: Vec<String>) -> CliError {
    let mut error = CliError::new(ErrorKind::Unavailable, message);
    error.failure.causes = why;
    let running = record
        .nodes
        .iter()
        .filter(|node| Process::find(folder, &node.name).is_some())
        .count();
    error.hint(format!(
        "{running} of {} nodes run (`revoada down` stops them); their logs are {}/NAME/node.log",
        record.nodes.len(),
        folder.nodes().display()
    ))
}
