//! Never two nodes acting on one exclusive role. The role is that of the leader: it alone plans and commits transitions,
//! each in the term that it leads (ARCHITECTURE.md, *The life of a change of role*: the state machine refuses a block that
//! was proposed in another term than it is committed in).
//!
//! Two nodes may both take themselves for the leader, which is no harm; that both of them act is. Who acted is what the
//! chain says, and who was to act is whoever was seen to lead that term. Rejected: to count those who say that they lead.
//! A node that was cut off goes on saying so, and rightly.

use std::collections::BTreeMap;

use revoada_attest::NodeId;
use revoada_core::machine::ClusterState;

use super::Violation;
use crate::ledger::Truth;
use crate::wire::Place;

/// The whole chain, at the end; `key_of` is whose key the process at a place holds.
pub fn check(truth: &Truth, state: &ClusterState, key_of: impl Fn(Place) -> NodeId) -> Result<(), Violation> {
    let mut acted: BTreeMap<u64, NodeId> = BTreeMap::new();
    for sealed in state.chain().iter() {
        let body = &sealed.block.body;
        let first = *acted.entry(body.term).or_insert(body.proposer);
        // A term that was over before anybody looked has no known leader, and one that acted all the same.
        let leader = truth.leaders.get(&body.term).map_or(first, |place| key_of(*place));
        if body.proposer != first || body.proposer != leader {
            let what = format!(
                "block {} of term {} is by {}, and {} led it ({}: {})",
                body.index,
                body.term,
                body.proposer.short(),
                leader.short(),
                body.transition.name,
                body.transition.reason,
            );
            return Err(Violation::of("exclusive", what));
        }
    }
    Ok(())
}
