//! The durable log of one node: bytes under contiguous indexes, and a few small values beside them.
//!
//! It is one stream of records in append-only segments, so whatever order callers ask for (a vote, then entries, then
//! a truncation) is the order on the disk, and one sync covers all of it. It knows indexes and bytes; terms, votes and
//! commands are the business of the consensus module that encodes them.
//!
//! - [`LogEngine`] is a handle to clone; a thread of its own writes (`writer`), a second one prepares and removes
//!   segments (`preparer`), a third one reads for those who must not wait (`read`).
//! - `format` has the bytes, `recovery` reads them back, `disk` is what the operating system is asked.
//! - [`FaultHook`] makes the disk fail on purpose.
//!
//! Rejected: a general key-value engine (fjall, redb, raft-engine; the ADR on the storage engine has the numbers). A
//! log is written once, read from its end and cut at both ends; every general engine pays for what it never asks.

mod disk;
mod driven;
mod engine;
mod error;
mod faults;
mod format;
mod index;
mod lock;
mod preparer;
mod read;
mod recovery;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::files::{Files, SystemFiles};
use bytes::Bytes;
use revoada_core::limits::{LOG_CACHE_BYTES_DEFAULT, LOG_PENDING_BYTES_MAX, LOG_SEGMENT_BYTES_DEFAULT};
use revoada_store::SyncTimes;

pub use driven::{DrivenLog, LogDriver};
pub use engine::LogEngine;
pub use error::{LogFailed, OpenError, Refused, Rot};
pub use faults::{DiskStep, FaultHook, FaultScriptError, ScriptedFaults, Verdict};
pub use recovery::TornTail;

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// How long a segment is made, in bytes. One whose first entry is longer is as long as that takes.
    pub segment_bytes: u32,
    /// How many payload bytes of the newest entries stay in memory. A payload that is a slice of a larger buffer
    /// keeps all of that alive: hand over buffers of their own.
    pub cache_bytes: usize,
    /// How many bytes may wait for the disk before appends are refused.
    pub pending_bytes_max: usize,
    /// Whose log this is, for instance made of the cluster's and the node's identity; segments of another are refused.
    pub identity: u64,
    /// Faults on purpose.
    pub faults: Option<Arc<dyn FaultHook>>,
    /// Where its files are; checkpoints are beside it.
    pub files: Arc<dyn Files>,
    /// Who writes, if not a thread of the engine's own.
    pub driver: Option<Arc<dyn LogDriver>>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: LOG_SEGMENT_BYTES_DEFAULT,
            cache_bytes: LOG_CACHE_BYTES_DEFAULT,
            pending_bytes_max: LOG_PENDING_BYTES_MAX,
            identity: 0,
            faults: None,
            files: Arc::new(SystemFiles::default()),
            driver: None,
        }
    }
}

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place; contiguous, and below `u64::MAX`.
    pub index: u64,
    /// At most `LOG_ENTRY_BYTES_MAX` bytes.
    pub payload: Bytes,
}

/// Which entries a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBounds {
    /// The oldest entry's index, or where the next one goes if there is none. 0 if there never was any.
    pub first_index: u64,
    /// The newest entry's index, accepted and perhaps not durable yet; none if the log is empty.
    pub last_index: Option<u64>,
}

/// What was in the folder. All of it is durable.
#[derive(Debug, Clone)]
pub struct Recovered {
    /// As in [`LogBounds`].
    pub first_index: u64,
    /// As in [`LogBounds`].
    pub last: Option<u64>,
    /// The newest value of each slot that was ever written.
    pub metadata: BTreeMap<u8, Bytes>,
    /// What was cut off, if a crash came in the middle of a write. None of it was acknowledged.
    pub torn_tail: Option<TornTail>,
}

/// What an engine has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogStats {
    /// Writes that were made durable.
    pub syncs: u64,
    /// Bytes in them, headers and padding included.
    pub bytes_written: u64,
    /// Groups of changes that were completed together. A group that needs two segments takes two syncs.
    pub batches: u64,
    /// Entries in them.
    pub entries: u64,
    /// Segments that were entered.
    pub segments_created: u64,
    /// Segments that were given up for removal.
    pub segments_removed: u64,
    /// How long the writes took until they were durable.
    pub sync_times: SyncTimes,
}
