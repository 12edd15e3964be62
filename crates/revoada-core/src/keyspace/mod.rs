//! The keyspace: everything a cluster stores, in all versions that are still of interest.
//!
//! Intuition: a state is an ordered map from keys to versions, and the history is the ordered log of what changed.
//! The map is persistent (nodes are shared between copies, and a write copies only the nodes above the key), so a
//! clone costs nothing, is never changed by later writes, and blocks nobody: a reader and the writer of a checkpoint
//! hold a clone, the state machine goes on. An older state is the newest one with the changes since taken back, for
//! the keys that a read asks for. Compaction drops the old end of the log, so it costs what it drops.
//!
//! The semantics are etcd's on purpose (`server/storage/mvcc`, `server/etcdserver/txn`), so that its face and the
//! Kubernetes rules for lists and watches need no second truth.
//!
//! Rejected: a list of versions per key, as in etcd's `keyIndex`. Deleted keys then stay in the one map that every
//! read walks, and compaction has to visit every key, also those that did not change. Rejected too, after measuring:
//! a second map of the versions that are over, by key. It makes reads of very old revisions cheaper and doubles what
//! every overwriting put costs; almost all reads are of the newest revision, or of one that is seconds old.
//!
//! The map is our own ([`map`]), because a list is to know its total without a walk; leases and the log are of `imbl`.

mod apply;
mod check;
mod checkpoint;
mod entry;
mod history;
mod lease;
mod load;
mod map;
mod operation;
mod read;
mod refused;

use std::sync::Arc;

pub use checkpoint::CheckpointError;
pub use entry::{Entry, KeyRange, LeaseId, NO_LEASE, Revision, Version};
pub use history::{Event, EventKind, Events};
pub use lease::LeaseInfo;
pub use load::LoadRefused;
pub use operation::{
    Answer, Compare, CompareTarget, EntryNumbers, Op, OpResult, Operation, Outcome, RangeAnswer, RangeQuery, Relation,
    Restore, RestoredLease, Txn, TxnAnswer,
};
pub use refused::{Compacted, OperationRefused, ReadError};

use history::History;
use lease::Leases;
use map::Map;

/// Where, beside resources, there are keys that a snapshot of a cluster holds.
pub mod space {
    /// Keys of etcd's clients.
    pub const ETCD: &[u8] = b"e";
    /// Records of the etcd face: users, roles, alarms.
    pub const ETCD_RECORDS: &[u8] = b"\0etcd-";

    /// All of them.
    pub const ALL: [&[u8]; 2] = [ETCD, ETCD_RECORDS];
}

/// The revision of an empty keyspace.
pub const FIRST_REVISION: Revision = 1;

/// A multi-version ordered map with transactions, leases, compaction and events.
///
/// A clone is a snapshot: it costs a handful of reference counts, whatever the size, and later writes to either do
/// not show in the other. Two keyspaces that applied the same operations in the same order are equal, and their
/// checkpoints are the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyspace {
    revision: Revision,
    /// Reads below it are refused; 0 before the first compaction.
    compacted: Revision,
    current: Map<Arc<Version>>,
    data_bytes: u64,
    history: History,
    leases: Leases,
}

impl Default for Keyspace {
    fn default() -> Self {
        Self::new()
    }
}

impl Keyspace {
    /// An empty keyspace, at [`FIRST_REVISION`].
    pub fn new() -> Self {
        Self {
            revision: FIRST_REVISION,
            compacted: 0,
            current: Map::default(),
            data_bytes: 0,
            history: History::new(),
            leases: Leases::new(),
        }
    }

    /// The newest revision.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read.
    pub fn oldest_readable(&self) -> Revision {
        self.compacted.max(FIRST_REVISION)
    }

    /// The revision of the last compaction (or restore), 0 if there was none.
    pub fn compacted_revision(&self) -> Revision {
        self.compacted
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.current.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty()
    }

    /// The bytes of all keys and their newest values, without the cost of the structure around them (about 300 bytes
    /// an entry).
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// About how many bytes the history holds beyond the newest state: superseded values and the structure around
    /// them. It is exact enough to bound memory by compacting, and the same on every node.
    pub fn history_bytes(&self) -> u64 {
        self.history.bytes()
    }

    /// How many events the history holds.
    pub fn history_events(&self) -> usize {
        self.history.len()
    }
}

#[cfg(test)]
mod tests;
