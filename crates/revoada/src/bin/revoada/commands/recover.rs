//! `recover`: the one, explicit, recorded way back after a majority is lost for good.

use clap::Args;

use super::confirm::confirm;
use crate::connect::Context;
use crate::failure::{Exit, Outcome};

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
    let answer = serde_json::json!({"recovered": true, "node": arguments.from});
    context.out.value(&answer, || {
        format!(
            "{} goes on alone; the others are taken in as they come\n",
            arguments.from
        )
    })?;
    Ok(Exit::Done)
}
