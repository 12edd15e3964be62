//! Which disk a node has: a number that is drawn when its folder is made, and never again.
//!
//! A key can be copied and a disk emptied, and the node looks the same; what was promised on the first disk is not on the
//! second. So who votes is a key *and* a disk. An older copy of one disk has the same number: nothing that is on a disk can
//! tell that it was put back.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of one disk of one node. Zero is none: what a node shows before it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskId(u64);

impl DiskId {
    /// Of eight random bytes.
    pub const fn of(random: [u8; 8]) -> Self {
        // Never zero, which is none.
        Self(u64::from_le_bytes(random) | 1)
    }
}

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What a node shows of its disk in each hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shown {
    /// Its name.
    pub disk: DiskId,
    /// Whether a majority of the other founders has written down that this is the first disk of its node: nobody has
    /// another one, so it may vote in a membership that names no disks yet.
    pub vouched: bool,
}
