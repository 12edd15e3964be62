//! One node decides; any others only work.
//!
//! Rejected: growing to three voters as soon as there are three nodes. What was declared would no longer be what is.

use revoada_attest::Role;

use super::TopologyStrategy;

/// One voter. It survives no loss, and says so as a finding; it is the shape for a single machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Solo;

impl TopologyStrategy for Solo {
    fn name(&self) -> &str {
        "solo"
    }

    fn nodes_min(&self) -> usize {
        1
    }

    fn voters(&self, nodes: usize) -> usize {
        nodes.min(1)
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}
