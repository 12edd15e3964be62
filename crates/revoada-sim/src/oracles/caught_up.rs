//! A node becomes a voter only when it has nearly all of the log, so that a promotion costs no redundancy
//! (ARCHITECTURE.md, *The life of a change of role*; Raft thesis §4.2.1).

use std::collections::BTreeSet;

use revoada_attest::NodeId;
use revoada_core::limits;
use revoada_mesh::consensus::RaftView;

use super::Violation;

/// What may be appended between the decision and the look at it.
const MEANWHILE: u64 = 200;

/// `before` voted when the leader was last looked at; those who vote now and did not are nearly caught up.
pub fn promoted(before: &BTreeSet<NodeId>, view: &RaftView) -> Result<(), Violation> {
    for node in view.voters.difference(before) {
        let Some(matched) = view.matched.get(node) else {
            continue;
        };
        let lag = view.last_index.saturating_sub(*matched);
        if lag > limits::CAUGHT_UP_LAG_MAX + MEANWHILE {
            let what = format!("{} votes, and lacks {lag} entries", node.short());
            return Err(Violation::of("caught-up", what));
        }
    }
    Ok(())
}
