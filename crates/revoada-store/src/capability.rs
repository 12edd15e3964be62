//! What a backend can do beyond create, read, list and delete, by name.
//!
//! A backend says up front what it lacks, so that a declaration can be checked against it before anything starts, and
//! so that the conformance suite can say what it did not run. Rejected: finding out by calling and catching
//! `Unsupported`; a proof cannot call.

use std::fmt;

use serde::{Serialize, Serializer};

/// One thing that a backend may be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Capability {
    /// `if_revision` on apply and delete.
    CompareAndSet,
    /// Reads and lists at an earlier revision, and all pages of a list at the first page's revision.
    ReadAtRevision,
    /// Watches.
    Watch,
    /// Watches that resume after a revision.
    WatchResume,
    /// Gives back a document of the native format byte for byte.
    Verbatim,
    /// Writes a snapshot.
    Snapshot,
    /// Restores a snapshot.
    Restore,
    /// Transactions over several keys (`Keyspace`).
    Transactions,
    /// Leases (`Keyspace`).
    Leases,
    /// What was acknowledged survives the loss of every process.
    Durable,
    /// What was acknowledged survives the loss of a machine.
    Replicated,
}

impl Capability {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 11] = [
        Self::CompareAndSet,
        Self::ReadAtRevision,
        Self::Watch,
        Self::WatchResume,
        Self::Verbatim,
        Self::Snapshot,
        Self::Restore,
        Self::Transactions,
        Self::Leases,
        Self::Durable,
        Self::Replicated,
    ];

    /// The kebab-case name used in JSON and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CompareAndSet => "compare-and-set",
            Self::ReadAtRevision => "read-at-revision",
            Self::Watch => "watch",
            Self::WatchResume => "watch-resume",
            Self::Verbatim => "verbatim",
            Self::Snapshot => "snapshot",
            Self::Restore => "restore",
            Self::Transactions => "transactions",
            Self::Leases => "leases",
            Self::Durable => "durable",
            Self::Replicated => "replicated",
        }
    }

    /// What a backend that has it can do, as the rest of "it can …".
    pub const fn verb(self) -> &'static str {
        match self {
            Self::CompareAndSet => "compare a revision before it writes",
            Self::ReadAtRevision => "read at an earlier revision",
            Self::Watch => "watch",
            Self::WatchResume => "resume a watch after a revision",
            Self::Verbatim => "keep a document byte for byte",
            Self::Snapshot => "write a snapshot",
            Self::Restore => "restore a snapshot",
            Self::Transactions => "change several keys in one transaction",
            Self::Leases => "keep leases",
            Self::Durable => "keep what it acknowledged when its process dies",
            Self::Replicated => "keep what it acknowledged when a machine dies",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Capabilities(u16);

impl Capabilities {
    /// The set of exactly these.
    pub const fn of(capabilities: &[Capability]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < capabilities.len() {
            bits |= 1 << capabilities[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `capability` is in it.
    pub const fn has(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// This set and `capability`.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    /// This set without `capability`.
    #[must_use]
    pub const fn without(self, capability: Capability) -> Self {
        Self(self.0 & !(1 << capability as u8))
    }

    /// Its members, in the order of [`Capability::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |capability| self.has(*capability))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}

impl Serialize for Capabilities {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Capability::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        for one in Capability::ALL {
            let set = Capabilities::of(&[one]);
            assert_eq!(set.iter().collect::<Vec<_>>(), [one]);
            assert_eq!(set.without(one), Capabilities::default());
            assert_eq!(Capabilities::default().with(one), set);
        }
        assert_eq!(Capabilities::of(&Capability::ALL).iter().count(), Capability::ALL.len());
    }
}
