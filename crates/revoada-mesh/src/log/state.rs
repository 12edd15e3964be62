//! What the callers and the writer share, behind one lock that is never held across a system call.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use revoada_core::limits::{LOG_BATCH_BYTES_MAX, LOG_LAZY_METADATA_MAX};
use revoada_store::SyncTimes;
use tokio::sync::Notify;

use super::disk::SegmentFile;
use super::error::{LogFailed, Refused};
use super::format::Extent;
use super::index::{Cache, Positions};
use super::{LogEntry, LogStats};

/// Called once with how an operation ended.
pub(super) type Done = Box<dyn FnOnce(io::Result<()>) + Send>;
/// Called once when there is room.
pub(super) type Waiter = Box<dyn FnOnce() + Send>;

/// What is to be written.
pub(super) enum Change {
    Append(Vec<LogEntry>),
    Metadata(u8, Bytes),
    TruncateFrom(u64),
    PurgeTo(u64),
    /// Nothing; it is done when everything before it is.
    Nothing,
}

/// A change that waits for the writer.
pub(super) struct Pending {
    pub change: Change,
    /// The sequence number of its first record.
    pub sequence: u64,
    pub bytes: usize,
    /// Whether somebody waits for it.
    pub urgent: bool,
    pub done: Option<Done>,
}

pub(super) struct State {
    /// What was accepted.
    pub extent: Extent,
    pub metadata: BTreeMap<u8, Bytes>,
    pub cache: Cache,
    pub sequence_next: u64,
    pub queue: VecDeque<Pending>,
    pub queued_urgent: usize,
    /// Bytes of what was accepted and is not durable yet, in the queue or with the writer.
    pub pending_bytes: usize,
    pub waiters: Vec<Waiter>,
    /// What was written.
    pub positions: Positions,
    pub segments: BTreeMap<u64, Arc<SegmentFile>>,
    pub sequence_written: u64,
    pub failed: Option<LogFailed>,
    pub closing: bool,
}

pub(super) struct Shared {
    pub folder: PathBuf,
    pub state: Mutex<State>,
    pub bell: Bell,
    pub counters: Counters,
    pub cache_bytes: usize,
    pub pending_bytes_max: usize,
}

/// Wakes whoever writes.
pub(super) struct Bell {
    thread: Condvar,
    /// There while a task writes, and no thread.
    pub task: Option<Notify>,
}

impl Bell {
    pub fn new(driven: bool) -> Self {
        Self {
            thread: Condvar::new(),
            task: driven.then(Notify::new),
        }
    }

    pub fn ring(&self) {
        match &self.task {
            Some(task) => task.notify_one(),
            None => drop(self.thread.notify_one()),
        }
    }

    pub fn wait(&self, state: &mut MutexGuard<'_, State>) {
        self.thread.wait(state);
    }

    /// False when the time was over first.
    pub fn wait_for(&self, state: &mut MutexGuard<'_, State>, limit: Duration) -> bool {
        !self.thread.wait_for(state, limit).timed_out()
    }
}

#[derive(Default)]
pub(super) struct Counters {
    pub syncs: AtomicU64,
    pub bytes: AtomicU64,
    pub batches: AtomicU64,
    pub entries: AtomicU64,
    pub segments_created: AtomicU64,
    pub segments_removed: AtomicU64,
    /// By [`SyncTimes::class`].
    pub sync_classes: [AtomicU64; SyncTimes::CLASSES],
    pub sync_nanos: AtomicU64,
}

impl Counters {
    /// Notes a write that was durable after so long.
    pub fn synced(&self, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_classes[SyncTimes::class(took)].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sync_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    pub fn read(&self) -> LogStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            syncs: of(&self.syncs),
            bytes_written: of(&self.bytes),
            batches: of(&self.batches),
            entries: of(&self.entries),
            segments_created: of(&self.segments_created),
            segments_removed: of(&self.segments_removed),
            sync_times: SyncTimes {
                counts: self.sync_classes.each_ref().map(of),
                total: Duration::from_nanos(of(&self.sync_nanos)),
            },
        }
    }
}

impl State {
    /// Whether anything can be accepted at all.
    pub fn check_open(&self) -> io::Result<()> {
        if let Some(failed) = &self.failed {
            return Err(failed.to_io());
        }
        if self.closing {
            Err(Refused::Closed.into_io())
        } else {
            Ok(())
        }
    }

    /// Puts a change that was checked into the queue.
    pub fn enqueue(&mut self, change: Change, records: u64, bytes: usize, urgent: bool, done: Option<Done>) {
        let sequence = self.sequence_next;
        self.sequence_next += records;
        self.pending_bytes += bytes;
        self.queued_urgent += usize::from(urgent);
        self.queue.push_back(Pending {
            change,
            sequence,
            bytes,
            urgent,
            done,
        });
    }

    pub fn has_work(&self) -> bool {
        self.queued_urgent > 0 || self.queue.len() > LOG_LAZY_METADATA_MAX || (self.closing && !self.queue.is_empty())
    }

    /// What the writer takes at once: in order, about as much as one sync should carry, at least one change.
    pub fn take_batch(&mut self) -> Vec<Pending> {
        let mut bytes = 0;
        let mut count = 0;
        for pending in &self.queue {
            if count > 0 && bytes + pending.bytes > LOG_BATCH_BYTES_MAX {
                break;
            }
            bytes += pending.bytes;
            count += 1;
        }
        let batch: Vec<_> = self.queue.drain(..count).collect();
        self.queued_urgent -= batch.iter().filter(|pending| pending.urgent).count();
        batch
    }

    /// Those who wait for room, if there is some or never will be.
    pub fn take_waiters(&mut self, pending_bytes_max: usize) -> Vec<Waiter> {
        let go_on = self.pending_bytes < pending_bytes_max || self.failed.is_some() || self.closing;
        if go_on {
            std::mem::take(&mut self.waiters)
        } else {
            Vec::new()
        }
    }

    /// The segments that no entry needs, oldest first; the last one always stays.
    pub fn take_unneeded(&mut self) -> Vec<u64> {
        let newest = self.segments.last_key_value().map_or(0, |(number, _)| *number);
        let needed = self.positions.first().map_or(newest, |position| position.segment);
        let kept = self.segments.split_off(&needed);
        std::mem::replace(&mut self.segments, kept).into_keys().collect()
    }
}
