//! A role changes only by a committed transition: once nothing moves, who votes is who the chain says is of the control
//! plane (ARCHITECTURE.md, invariant 3).

use std::collections::BTreeSet;

use revoada_attest::{NodeId, Role};
use revoada_core::machine::ClusterState;
use revoada_mesh::consensus::RaftView;

use super::Violation;

/// At the end, on the leader.
pub fn check(state: &ClusterState, view: &RaftView) -> Result<(), Violation> {
    let by_chain: BTreeSet<NodeId> = state
        .roles()
        .members()
        .filter(|record| record.role == Role::ControlPlane)
        .map(|record| record.id)
        .collect();
    if by_chain == view.voters {
        return Ok(());
    }
    let what = format!(
        "by the chain {by_chain:?} are of the control plane, and {:?} vote",
        view.voters
    );
    Err(Violation::of("roles", what))
}
