//! `kill`, `pause`, `resume`, `start`: what can happen to one process of a node that `up` started.

use std::time::Duration;

use clap::Args;
use revoada::client::{Client, Endpoint};
use revoada_core::error::ErrorKind;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::Instant;

use crate::connect::{Context, options};
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::Folder;
use crate::local::process::Process;
use crate::local::{record::Record, start};
use crate::output::note;

/// How long a started node may take until its control socket answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long the cluster may take to note that an operator ended a loss; it needs a quorum for that.
const EXCUSE_LIMIT: Duration = Duration::from_secs(5);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(20);

/// A node that `up` started.
#[derive(Debug, Args)]
#[command(after_help = "\
Only for nodes that `up` started here. A loss that `start`, `resume` or `up` ends does not
count against the node; four others within ten minutes quarantine it as flapping.")]
pub struct One {
    /// Its name
    pub node: String,
}

/// A node's process, or what to do where none runs.
pub fn running(folder: &Folder, record: &Record, name: &str) -> Result<Process, CliError> {
    let node = record.node(name)?;
    Process::find(folder, &node.name).ok_or_else(|| {
        CliError::new(ErrorKind::NotFound, format!("{name} does not run"))
            .hint(format!("`revoada start {name}` starts it"))
    })
}

pub async fn kill(context: &Context, one: &One) -> Outcome {
    let (folder, record) = context.local()?;
    let process = running(&folder, &record, &one.node)?;
    start::kill(&one.node, &process).await?;
    tell(context, "killed", &one.node, process.pid())
}

pub fn pause(context: &Context, one: &One) -> Outcome {
    let (folder, record) = context.local()?;
    let process = running(&folder, &record, &one.node)?;
    process.signal(Signal::STOP)?;
    tell(context, "paused", &one.node, process.pid())
}

pub async fn resume(context: &Context, one: &One) -> Outcome {
    let (folder, record) = context.local()?;
    let process = running(&folder, &record, &one.node)?;
    process.signal(Signal::CONT)?;
    excuse(context, &one.node).await;
    tell(context, "resumed", &one.node, process.pid())
}

pub async fn start(context: &Context, one: &One) -> Outcome {
    let (folder, record) = context.local()?;
    let node = record.node(&one.node)?;
    if let Some(process) = Process::find(&folder, &node.name) {
        let message = format!("{} runs already (process {})", one.node, process.pid());
        let error = CliError::new(ErrorKind::AlreadyExists, message);
        return Err(if process.is_paused() {
            error.hint(format!("it is paused: `revoada resume {}`", one.node))
        } else {
            error
        });
    }
    let pid = start_and_wait(&folder, &record, &one.node).await?;
    excuse(context, &one.node).await;
    tell(context, "started", &one.node, pid)
}

/// Starts a node and waits until it has booted. Its pid.
pub async fn start_and_wait(folder: &Folder, record: &Record, name: &str) -> Result<u32, CliError> {
    let mut child = start::start(folder, record, record.node(name)?)?;
    let pid = child.id().unwrap_or_default();
    let client = Client::new(Endpoint::socket(folder.control(name)), options())?;
    let deadline = Instant::now() + ANSWER_LIMIT;
    loop {
        // A process of ours that has ended is told from one that is slow.
        if let Ok(Some(status)) = child.try_wait() {
            let mut error = CliError::new(ErrorKind::Unavailable, format!("{name} ended at once ({status})"));
            error.failure.causes = start::log_tail(folder, name);
            return Err(error.hint(format!("its log is {}", folder.log(name).display())));
        }
        match client.status().await {
            Ok(_) => return Ok(pid),
            // It answers, and says why it cannot boot; while it is only starting it says that.
            Err(error) if Instant::now() >= deadline => {
                let mut failure = CliError::from(error);
                failure.failure.message = format!("{name} runs and does not answer: {}", failure.failure.message);
                return Err(failure.hint(format!("its log is {}", folder.log(name).display())));
            }
            Err(error) if has_not_booted(&error) => return Err(error.into()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Whether a node says that its boot failed for good.
pub fn has_not_booted(error: &revoada::client::ClientError) -> bool {
    // The first cause says what the message of every request that is refused then does not.
    let is_final = |cause: &String| cause.starts_with("this node could not start") || cause == "this node has failed";
    error.causes().first().is_some_and(is_final)
}

/// Tells the cluster that an operator ended the node's loss. Best effort: without a quorum there is nobody to note it.
pub async fn excuse(context: &Context, name: &str) {
    let deadline = Instant::now() + EXCUSE_LIMIT;
    let asked = async {
        loop {
            let asked = context.call(async |client| client.excuse(name).await).await;
            match asked {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() != ErrorKind::Unavailable || Instant::now() >= deadline => {
                    return Err(error);
                }
                Err(_) => tokio::time::sleep(5 * PAUSE).await,
            }
        }
    };
    match tokio::time::timeout(EXCUSE_LIMIT, asked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(node = name, why = error.failure.message, "the loss was not excused"),
        Err(_) => note(format!(
            "the cluster has no quorum to note that you ended the loss of {name}; it may count as flapping"
        )),
    }
}

fn tell(context: &Context, what: &str, name: &str, pid: u32) -> Outcome {
    let value = json!({"node": name, "action": what, "pid": pid});
    context
        .out
        .value(&value, || format!("{name} {what} (process {pid})\n"))?;
    Ok(Exit::Done)
}
