//! The committed state of every node: its role, and where it is on the way to it.
//!
//! The machine is small on purpose. It knows which change may follow which state, and nothing of why one is wanted:
//! that is the policy's matter. What changes a node's role or standing is a [`Transition`], one block of the chain.
//! What is merely observed, or wished for, is a [`RoleNote`]: committed as well, so that a new leader knows it, but
//! nothing that anyone would have to prove.
//!
//! Rejected: keeping losses, wishes and drains in the leader's memory. They would be forgotten with each change of
//! leader, which is exactly when a flapping node has just been lost.
//!
//! [`Transition`]: revoada_attest::Transition

mod machine;
mod record;

#[cfg(test)]
mod tests;

pub use machine::{RoleNote, Roles, TransitionRefused};
pub use record::{Location, Moving, NodeRecord, Quarantine, QuarantinedBy};

use serde::{Deserialize, Serialize};

/// Where a node is on the way to its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It is what its role says.
    Active,
    /// Its promotion is committed; the membership change runs.
    Promoting,
    /// Its demotion is committed; the membership change runs.
    Demoting,
    /// Kept from being chosen, and out of the voters as soon as somebody takes its place.
    Quarantined,
    /// An operator wants it out of the voters, and it is on its way or there.
    Draining,
    /// Gone for good.
    Evicted,
}

impl NodeState {
    /// The name used in every output: `active`, `promoting`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Promoting => "promoting",
            Self::Demoting => "demoting",
            Self::Quarantined => "quarantined",
            Self::Draining => "draining",
            Self::Evicted => "evicted",
        }
    }
}

/// What membership says of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Membership {
    /// Heard of within the expected time.
    Alive,
    /// Not heard of for longer than usual, or dead by one detector only.
    Suspect,
    /// Dead by the detector.
    Dead,
}

impl Membership {
    /// The name used in every output: `alive`, `suspect`, `dead`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
        }
    }
}
