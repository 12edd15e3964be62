//! What shape a cluster takes: how many of its nodes vote, and what the others are.

use std::fmt;

use revoada_attest::Role;

/// A shape, as numbers of nodes. Which node gets which role is the policy's matter.
///
/// To ensure correctness: `voters` must be deterministic and never exceed `nodes`; an even answer survives no more
/// losses than the next lower odd one.
pub trait TopologyStrategy: fmt::Debug + Send + Sync + 'static {
    /// The name used in declarations and in the cluster's id, e.g. `quorum-3m`.
    fn name(&self) -> &str;

    /// The least number of nodes with which the shape can be had.
    fn nodes_min(&self) -> usize;

    /// The number of voters that a cluster of `nodes` nodes has when it is whole.
    fn voters(&self, nodes: usize) -> usize;

    /// The role of the nodes that do not vote, in a cluster of `nodes` nodes.
    fn others(&self, nodes: usize) -> Role;
}
