//! `promote`, `demote`, `drain`, `quarantine`, `restore`: what an operator wants of a node.

use clap::Args;
use revoada_store::admin::Wish;

use crate::connect::Context;
use crate::failure::{Exit, Outcome};

/// A node.
#[derive(Debug, Args)]
#[command(after_help = "\
The change is committed when the command returns; with --wait it is done, too.
The cluster refuses what would break its shape or its quorum (exit 6).")]
pub struct OfNode {
    /// Its name, or its id
    pub node: String,
    /// Waits until it is done, and not only committed
    #[arg(long)]
    pub wait: bool,
}

pub async fn run(context: &Context, wish: Wish, of: &OfNode) -> Outcome {
    let granted = context
        .call(async |client| client.role_wish(&of.node, wish, of.wait).await)
        .await?;
    context.out.value(&granted, || {
        let what = wish.participle();
        match granted.index {
            None => format!("{} is {what} already\n", granted.node),
            Some(index) if granted.done => format!("{} is {what} (block {index} of the chain)\n", granted.node),
            Some(index) => format!("{} will be {what} (block {index} of the chain)\n", granted.node),
        }
    })?;
    Ok(Exit::Done)
}
