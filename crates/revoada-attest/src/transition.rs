//! What a block of the chain says: one committed change of one node's state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A voter of the Raft group.
    ControlPlane,
    /// Runs workloads; not a voter, perhaps a standby.
    Worker,
    /// A learner that serves reads.
    Observer,
    /// A voter before the first quorum formed.
    Bootstrap,
}

impl Role {
    /// The name used in every output: `control-plane`, `worker`, `observer`, `bootstrap`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ControlPlane => "control-plane",
            Self::Worker => "worker",
            Self::Observer => "observer",
            Self::Bootstrap => "bootstrap",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which change a transition makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TransitionKind {
    /// A node enters the cluster; `from` is none.
    Admit,
    /// A node becomes a voter.
    Promote,
    /// A voter becomes a worker or an observer.
    Demote,
    /// A change between roles that do not vote.
    Reassign,
    /// A node is kept from any role change, and out of the voters.
    Quarantine,
    /// A quarantined or drained node may be chosen again.
    Restore,
    /// A node leaves for good; `to` is none.
    Evict,
}

impl TransitionKind {
    /// The name used in every output: `admit`, `promote`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Reassign => "reassign",
            Self::Quarantine => "quarantine",
            Self::Restore => "restore",
            Self::Evict => "evict",
        }
    }
}

impl fmt::Display for TransitionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One change of one node's state. It takes effect only once it is committed (invariant 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The node that changes.
    pub node: NodeId,
    /// Its name at that time, for readers of the history.
    pub name: String,
    /// Which change.
    pub kind: TransitionKind,
    /// The role before; none for an admission.
    pub from: Option<Role>,
    /// The role after; none for an eviction.
    pub to: Option<Role>,
    /// Why, in a sentence for people.
    pub reason: String,
}
