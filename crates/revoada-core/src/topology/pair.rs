//! Two machines. Without a third opinion the loss of either may stop them, so only one of them votes.
//!
//! Rejected: two voters. A majority of two is two, so either loss would stop the cluster, and the odds of that are
//! twice those of one voter.

use revoada_attest::Role;

use super::{TopologyStrategy, odd_at_most};

/// Two nodes of which one votes: it survives no loss, and says so as a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pair;

impl Pair {
    /// A pair with a third node that votes and breaks the tie; with it the pair survives one loss.
    pub fn with_witness(witness: impl Into<String>) -> PairWithWitness {
        PairWithWitness {
            witness: witness.into(),
        }
    }
}

impl TopologyStrategy for Pair {
    fn name(&self) -> &str {
        "pair"
    }

    fn nodes_min(&self) -> usize {
        2
    }

    fn voters(&self, nodes: usize) -> usize {
        nodes.min(1)
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}

/// A pair and its witness: three voters. Made by [`Pair::with_witness`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairWithWitness {
    witness: String,
}

impl TopologyStrategy for PairWithWitness {
    fn name(&self) -> &str {
        "pair"
    }

    fn nodes_min(&self) -> usize {
        3
    }

    fn voters(&self, nodes: usize) -> usize {
        odd_at_most(nodes.min(3))
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }

    fn witness(&self) -> Option<&str> {
        Some(&self.witness)
    }
}
