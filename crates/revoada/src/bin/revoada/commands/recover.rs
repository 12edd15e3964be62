//! `recover`: the one, explicit, recorded way back after a majority is lost for good.

use std::time::Duration;

use clap::Args;
use revoada::client::Client;
use revoada_core::error::ErrorKind;
use revoada_store::admin::ClusterState;
use tokio::time::Instant;

use super::confirm::confirm;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};

/// How long the node may take until it leads alone.
const BACK_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(20);

/// The one way back without a majority
#[derive(Debug, Args)]
#[command(after_help = "\
Only when a majority of the voters is lost for good: what only they had is gone, and if one
of them comes back, it has to be taken in anew. Choose the node that has applied most.

Example:
  revoada status                                   which node has the highest APPLIED (revoada roles)
  revoada recover --quorum-lost --from node-3")]
pub struct Recover {
    /// That a majority is lost, and will not come back
    #[arg(long, required = true)]
    pub quorum_lost: bool,
    /// The node to go on from: it becomes the only voter
    #[arg(long, value_name = "NODE")]
    pub from: String,
    /// Why; recorded in the chain
    #[arg(long, value_name = "TEXT", default_value = "an operator declared the quorum lost")]
    pub reason: String,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
}

pub async fn run(context: &Context, arguments: &Recover) -> Outcome {
    let client = context.node(&arguments.from)?;
    let what = format!(
        "{} becomes the only voter, and what only the lost nodes had is gone",
        arguments.from
    );
    confirm(&what, arguments.yes)?;
    client.recover(&arguments.reason).await?;
    let deadline = Instant::now() + BACK_LIMIT;
    // The node starts anew from its log; what is asked right after this command finds it back.
    while !is_back(&client).await {
        if Instant::now() >= deadline {
            let message = format!("{} is the only voter now, and does not lead yet", arguments.from);
            return Err(CliError::new(ErrorKind::Unavailable, message).hint("`revoada status` shows when it does"));
        }
        tokio::time::sleep(PAUSE).await;
    }
    let answer = serde_json::json!({"recovered": true, "node": arguments.from});
    context.out.value(&answer, || {
        format!(
            "{} goes on alone; the others are taken in as they come\n",
            arguments.from
        )
    })?;
    Ok(Exit::Done)
}

/// Whether the node serves again, and leads.
async fn is_back(client: &Client) -> bool {
    let status = client.status().await;
    status.is_ok_and(|status| status.cluster.state == ClusterState::Formed && status.cluster.leader.is_some())
}
