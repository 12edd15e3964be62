//! Two in five decide: the control plane grows with the cluster.

use revoada_attest::Role;

use super::{TopologyStrategy, odd_at_most};

/// ⌈2N/5⌉ voters of N nodes, then the next odd number that N nodes can have; every other node works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Phalanx;

impl TopologyStrategy for Phalanx {
    fn name(&self) -> &str {
        "phalanx"
    }

    fn nodes_min(&self) -> usize {
        5
    }

    fn voters(&self, nodes: usize) -> usize {
        // ⌈2N/5⌉, taken apart so that no N overflows.
        let wanted = nodes / 5 * 2 + (nodes % 5 * 2).div_ceil(5);
        // `| 1` is the next odd number from an even one, and leaves an odd one as it is.
        if wanted == 0 {
            0
        } else {
            (wanted | 1).min(odd_at_most(nodes))
        }
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}
