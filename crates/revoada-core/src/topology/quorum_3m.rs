//! Three voters, whatever the number of nodes: the smallest shape that survives a loss.
//!
//! Rejected: five voters from five nodes on. A write would wait for three disks; who wants that declares a phalanx.

use revoada_attest::Role;

use super::TopologyStrategy;

/// Three voters; every further node works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quorum3M;

impl TopologyStrategy for Quorum3M {
    fn name(&self) -> &str {
        "quorum-3m"
    }

    fn nodes_min(&self) -> usize {
        3
    }

    fn voters(&self, nodes: usize) -> usize {
        super::odd_at_most(nodes.min(3))
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}
