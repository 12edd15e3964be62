//! The committed state of every node: its role, and where it is on the way to it.

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
    /// Kept from any role change, and out of the voters.
    Quarantined,
    /// An operator wants it out of the voters, and it is on its way or there.
    Draining,
    /// Gone for good.
    Evicted,
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
