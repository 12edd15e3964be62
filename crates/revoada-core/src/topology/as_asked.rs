//! The shape of etcd: whoever was asked for by name votes, even numbers included, and nothing moves by itself.
//!
//! It is no shape to choose. A declaration cannot name it; a program that takes another one's place brings it as a
//! topology of its own, since users of that one count on members staying what their calls made them.

use revoada_attest::Role;

use super::TopologyStrategy;

/// All nodes vote that were not asked for as learners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AsAsked;

impl TopologyStrategy for AsAsked {
    fn name(&self) -> &str {
        "as-asked"
    }

    fn nodes_min(&self) -> usize {
        1
    }

    fn voters(&self, nodes: usize) -> usize {
        nodes
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Observer
    }

    fn has_roster(&self) -> bool {
        true
    }
}
