//! What shape a cluster takes: how many of its nodes vote, and what the others are.
//!
//! A topology is a function from a number of nodes to numbers of roles, and nothing else: which node gets which role
//! is the policy's matter, so a topology of the user's own needs no knowledge of gossip, zones or Raft.
//! Rejected: an enum of the known shapes. It would close the set, and the driver would begin to branch on names.

mod as_asked;
mod cluster_3m_nw;
mod mesh_all_peers;
mod pair;
mod phalanx;
mod quorum_3m;
mod shape;
mod solo;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use revoada_attest::Role;

pub use as_asked::AsAsked;
pub use cluster_3m_nw::Cluster3MNW;
pub use mesh_all_peers::{MESH_VOTERS_MAX, MeshAllPeers};
pub use pair::{Pair, PairWithWitness};
pub use phalanx::Phalanx;
pub use quorum_3m::Quorum3M;
pub use shape::{Shape, ShapeError, losses_survived};
pub use solo::Solo;

/// A shape, as numbers of nodes. Which node gets which role is the policy's matter.
///
/// To ensure correctness: `voters` must be deterministic, at least one where there is a node, and never exceed
/// `nodes`; an even answer survives no more losses than the next lower odd one. The proof of a declaration checks
/// this for a topology of the user's own.
pub trait TopologyStrategy: fmt::Debug + Send + Sync + 'static {
    /// The name used in declarations and in the cluster's id, e.g. `quorum-3m`.
    fn name(&self) -> &str;

    /// The least number of nodes with which the shape can be had.
    fn nodes_min(&self) -> usize;

    /// The number of voters that a cluster of `nodes` nodes has when it is whole.
    fn voters(&self, nodes: usize) -> usize;

    /// The role of the nodes that do not vote, in a cluster of `nodes` nodes.
    fn others(&self, nodes: usize) -> Role;

    /// The name of the node that must be a voter because it breaks a tie, where the declaration has one.
    fn witness(&self) -> Option<&str> {
        None
    }

    /// Whether members come and go by name alone, as a [`Roster`](crate::roster::Roster) has them, and no number counts.
    fn has_roster(&self) -> bool {
        false
    }

    /// Whether `shape` is what this topology wants of that many nodes.
    ///
    /// # Errors
    /// [`ShapeError`] says what differs: too few nodes, or another number of voters.
    fn validate(&self, shape: Shape) -> Result<(), ShapeError> {
        shape::validate(self.name(), self.nodes_min(), self.voters(shape.nodes), shape)
    }
}

/// The names of the topologies that every declaration can use, in the order of the documentation.
pub const NAMES: [&str; 6] = [
    "solo",
    "pair",
    "quorum-3m",
    "cluster-3m-nw",
    "mesh-all-peers",
    "phalanx",
];

/// The built-in topology of that name; `pair` is the one without a witness.
pub fn by_name(name: &str) -> Option<Arc<dyn TopologyStrategy>> {
    Some(match name {
        "solo" => Arc::new(Solo),
        "pair" => Arc::new(Pair),
        "quorum-3m" => Arc::new(Quorum3M),
        "cluster-3m-nw" => Arc::new(Cluster3MNW),
        "mesh-all-peers" => Arc::new(MeshAllPeers),
        "phalanx" => Arc::new(Phalanx),
        _ => return None,
    })
}

/// The largest odd number that is not above `count`; zero for zero.
const fn odd_at_most(count: usize) -> usize {
    if count.is_multiple_of(2) {
        count.saturating_sub(1)
    } else {
        count
    }
}
