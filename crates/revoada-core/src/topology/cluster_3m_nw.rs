//! Three voters and at least one worker, so that a lost voter has somebody to take its place.
//!
//! Rejected: the same as `quorum-3m` with a remark. Only a least number of four makes sure of the worker.

use revoada_attest::Role;

use super::TopologyStrategy;

/// Three voters and N workers, N at least one: the prescribed shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cluster3MNW;

impl TopologyStrategy for Cluster3MNW {
    fn name(&self) -> &str {
        "cluster-3m-nw"
    }

    fn nodes_min(&self) -> usize {
        4
    }

    fn voters(&self, nodes: usize) -> usize {
        super::odd_at_most(nodes.min(3))
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}
