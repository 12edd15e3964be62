//! `promote`, `demote`, `drain`, `quarantine`, `restore`: what an operator wants of a node.

use clap::Args;
use revoada_store::admin::{Wish, WishGranted};

use crate::connect::Context;
use crate::failure::{Exit, Outcome};
use crate::output::note;

/// A node.
#[derive(Debug, Args)]
#[command(after_help = "\
The change is committed when the command returns. With --wait it is done, and the cluster has its
declared shape again, or cannot have it, which is said on stderr. A node that is so already is said
to be so, and nothing is committed. What would break the shape or the quorum is refused (exit 6).")]
pub struct OfNode {
    /// Its name, or its id
    pub node: String,
    /// Waits until it is done and the declared shape is back
    #[arg(long)]
    pub wait: bool,
}

pub async fn run(context: &Context, wish: Wish, of: &OfNode) -> Outcome {
    let granted = context
        .call(async |client| client.role_wish(&of.node, wish, of.wait).await)
        .await?;
    for why in &granted.why {
        note(format!("the declared shape is not there: {why}"));
    }
    context.out.value(&granted, || told(wish, &granted))?;
    Ok(Exit::Done)
}

/// The block is the first of the change, and perhaps about the node that takes over. A wish that has none yet is noted
/// in the log.
fn told(wish: Wish, granted: &WishGranted) -> String {
    if let Some(already) = &granted.already {
        return format!("{already}\n");
    }
    let verb = if granted.done { "is" } else { "will be" };
    let block = granted
        .index
        .map_or_else(String::new, |index| format!(" (from block {index} of the chain on)"));
    format!("{} {verb} {}{block}\n", granted.node, wish.participle())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_and_not_done_is_never_said_to_be_so() {
        let granted = |index, done| WishGranted {
            node: "node-1".to_owned(),
            index,
            done,
            already: None,
            why: Vec::new(),
        };
        let told = |index, done| told(Wish::Promote, &granted(index, done));
        assert_eq!(told(None, false), "node-1 will be promoted\n");
        assert_eq!(told(None, true), "node-1 is promoted\n");
        assert_eq!(
            told(Some(7), false),
            "node-1 will be promoted (from block 7 of the chain on)\n"
        );
        assert_eq!(
            told(Some(7), true),
            "node-1 is promoted (from block 7 of the chain on)\n"
        );
    }
}
