//! Everybody votes, as far as that helps.
//!
//! Each further voter makes every write wait for more of them, and an even one adds no loss that is survived. So the
//! last even node observes, and beyond seven everybody does. Rejected: all nodes without a bound; at 15 voters a
//! write waits for 8 disks.

use revoada_attest::Role;

use super::{TopologyStrategy, odd_at_most};

/// The most voters of a mesh. They survive three losses; more is slower and hardly safer.
pub const MESH_VOTERS_MAX: usize = 7;

/// All nodes vote, an odd number of them, at most [`MESH_VOTERS_MAX`]; the rest observe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeshAllPeers;

impl TopologyStrategy for MeshAllPeers {
    fn name(&self) -> &str {
        "mesh-all-peers"
    }

    fn nodes_min(&self) -> usize {
        3
    }

    fn voters(&self, nodes: usize) -> usize {
        odd_at_most(nodes.min(MESH_VOTERS_MAX))
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Observer
    }
}
