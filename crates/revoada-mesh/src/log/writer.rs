//! The thread that owns the files: it takes everything pending, writes once, syncs once, completes all.
//!
//! While one batch is on its way to the disk the next one gathers, so the batches grow by themselves with the load and
//! nobody waits for a timer. Rejected: a delay to gather more. It helps the throughput of a disk that is not busy, and
//! costs a lone writer its latency.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revoada_core::limits::LOG_BATCH_BYTES_MAX;

use super::disk::{Disk, SegmentFile};
use super::error::LogFailed;
use super::format::{Extent, RecordFields, RecordKind, Salt, SegmentHeader, encode_record, record_bytes};
use super::index::Position;
use super::preparer::Preparer;
use super::state::{Change, Done, Pending, Shared};
use crate::failpoints::{self, Point};

/// How long nothing has to happen before the writer leaves a mark that everything so far was durable.
pub(super) const IDLE_BEFORE_MARK: Duration = Duration::from_millis(50);
/// How much of its buffers the writer keeps between batches.
const BUFFER_BYTES_KEPT: usize = 1024 * 1024;
const EFFECTS_KEPT: usize = 4096;

/// Where the writer goes on.
pub(super) struct Active {
    pub number: u64,
    pub segment: Arc<SegmentFile>,
    pub tail: u64,
    /// Whether it has no records yet.
    pub is_empty: bool,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    disk: Arc<Disk>,
    preparer: Preparer,
    identity: u64,
    segment_bytes: u64,
    active: Active,
    /// The log as of the last record in `buffer`: what a new segment's header says.
    extent: Extent,
    metadata: std::collections::BTreeMap<u8, Bytes>,
    /// The newest record that is durable.
    synced: u64,
    /// The newest record in `buffer`.
    encoded: u64,
    marked: bool,
    /// What goes to `active.tail` next.
    buffer: Vec<u8>,
    effects: Vec<Effect>,
    entered: Vec<(u64, Arc<SegmentFile>)>,
}

/// What a written record changes for readers.
enum Effect {
    Entry(u64, Position),
    TruncateFrom(u64),
    PurgeTo(u64),
}

/// What a [`Writer`] begins with.
pub(super) struct Start {
    pub shared: Arc<Shared>,
    pub disk: Arc<Disk>,
    pub preparer: Preparer,
    pub identity: u64,
    pub segment_bytes: u64,
    pub active: Active,
    pub synced: u64,
}

impl Writer {
    pub fn new(start: Start) -> Self {
        let (extent, metadata) = {
            let state = start.shared.state.lock();
            (state.extent, state.metadata.clone())
        };
        Self {
            shared: start.shared,
            disk: start.disk,
            preparer: start.preparer,
            identity: start.identity,
            segment_bytes: start.segment_bytes,
            active: start.active,
            extent,
            metadata,
            synced: start.synced,
            encoded: start.synced,
            marked: false,
            buffer: Vec::new(),
            effects: Vec::new(),
            entered: Vec::new(),
        }
    }

    /// Runs until the engine is closed or fails.
    pub fn run(mut self) {
        while let Some(batch) = self.next_batch() {
            if !self.complete(batch) {
                return;
            }
        }
    }

    /// Makes a batch durable and tells those who wait for it. False when the engine has failed by that.
    pub fn complete(&mut self, batch: Vec<Pending>) -> bool {
        let shared = Arc::clone(&self.shared);
        // A panic of a caller's `done` must not leave everybody else waiting.
        let guard = StopGuard { shared: &shared };
        let (dones, bytes) = match self.write(batch) {
            Ok(written) => written,
            Err((failed, dones)) => {
                guard.fail(failed, dones);
                return false;
            }
        };
        self.publish(bytes);
        for done in dones {
            done(Ok(()));
        }
        failpoints::hit(Point::AfterDurable);
        true
    }

    /// Waits for something to do; none means that the engine is being closed and everything is written.
    fn next_batch(&mut self) -> Option<Vec<Pending>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state.lock();
        loop {
            if state.has_work() {
                return Some(state.take_batch());
            }
            if state.closing {
                drop(state);
                self.mark();
                return None;
            }
            if self.marked {
                shared.bell.wait(&mut state);
            } else if !shared.bell.wait_for(&mut state, IDLE_BEFORE_MARK) && !state.has_work() {
                drop(state);
                self.mark();
                state = shared.state.lock();
            }
        }
    }

    /// Makes a batch durable; the callbacks to complete, and how many pending bytes that was.
    fn write(&mut self, batch: Vec<Pending>) -> Result<(Vec<Done>, usize), (LogFailed, Vec<Done>)> {
        let mut dones = Vec::with_capacity(batch.len());
        let mut bytes = 0;
        let mut failure = None;
        for pending in batch {
            bytes += pending.bytes;
            if failure.is_none() {
                failure = self.encode(pending.change, pending.sequence).err();
            }
            dones.extend(pending.done);
        }
        match failure.map_or_else(|| self.flush(), Err) {
            Ok(()) => {
                self.shared.counters.batches.fetch_add(1, Ordering::Relaxed);
                Ok((dones, bytes))
            }
            Err(failed) => Err((failed, dones)),
        }
    }

    fn encode(&mut self, change: Change, sequence: u64) -> Result<(), LogFailed> {
        match change {
            Change::Append(entries) => {
                for (sequence, entry) in (sequence..).zip(entries) {
                    let record = (RecordKind::Entry, 0, sequence, entry.index);
                    let offset = self.push(record, &entry.payload)?;
                    let length = u32::try_from(entry.payload.len()).expect("bounded by LOG_ENTRY_BYTES_MAX");
                    let position = Position {
                        segment: self.active.number,
                        offset,
                        length,
                    };
                    self.extent.append(entry.index);
                    self.effects.push(Effect::Entry(entry.index, position));
                }
            }
            Change::Metadata(slot, value) => {
                self.push((RecordKind::Metadata, slot, sequence, 0), &value)?;
                self.metadata.insert(slot, value);
            }
            Change::TruncateFrom(index) => {
                self.push((RecordKind::TruncateFrom, 0, sequence, index), &[])?;
                self.extent.truncate_from(index);
                self.effects.push(Effect::TruncateFrom(index));
            }
            Change::PurgeTo(index) => {
                self.push((RecordKind::PurgeTo, 0, sequence, index), &[])?;
                self.extent.purge_to(index);
                self.effects.push(Effect::PurgeTo(index));
            }
            Change::Nothing => {}
        }
        Ok(())
    }

    /// Puts a record behind the others; its offset in the segment. A full segment or a full buffer is written first.
    fn push(
        &mut self,
        (kind, slot, sequence, index): (RecordKind, u8, u64, u64),
        payload: &[u8],
    ) -> Result<u32, LogFailed> {
        let end = self.active.tail + (self.buffer.len() + record_bytes(payload.len())) as u64;
        // A record that fits no segment gets one for itself, which is as long as it takes.
        if end > self.segment_bytes && !self.active.is_empty {
            self.flush()?;
            self.rotate(sequence)?;
        } else if self.buffer.len() >= LOG_BATCH_BYTES_MAX {
            self.flush()?;
        }
        let offset = self.active.tail + self.buffer.len() as u64;
        let fields = RecordFields {
            kind,
            slot,
            sequence,
            synced: self.synced,
            index,
        };
        encode_record(
            &mut self.buffer,
            Salt::of(self.identity, self.active.number),
            fields,
            payload,
        );
        self.encoded = sequence;
        self.active.is_empty = false;
        Ok(u32::try_from(offset).expect("records begin within LogOptions::segment_bytes"))
    }

    /// Enters the next segment. Its header is written with its first records.
    fn rotate(&mut self, first_sequence: u64) -> Result<(), LogFailed> {
        failpoints::hit(Point::BeforeSegment);
        let number = self.active.number + 1;
        let segment = self.preparer.take(number).map_err(|source| LogFailed {
            action: "create",
            path: self.disk.segment_path(number),
            source: Arc::new(source),
        })?;
        let header = SegmentHeader {
            identity: self.identity,
            number,
            first_sequence,
            extent: self.extent,
            metadata: self.metadata.clone(),
        };
        self.buffer.extend_from_slice(&header.encode());
        self.active = Active {
            number,
            segment: Arc::new(segment),
            tail: 0,
            is_empty: true,
        };
        self.entered.push((number, Arc::clone(&self.active.segment)));
        self.shared.counters.segments_created.fetch_add(1, Ordering::Relaxed);
        failpoints::hit(Point::AfterSegment);
        Ok(())
    }

    /// Writes and syncs the buffer.
    fn flush(&mut self) -> Result<(), LogFailed> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        failpoints::hit(Point::BeforeSync);
        let segment = &self.active.segment;
        // For the figures alone: nothing is decided by it.
        let began = Instant::now();
        self.disk
            .append(&*segment.file, &self.buffer, self.active.tail)
            .map_err(|source| LogFailed {
                action: "append to",
                path: segment.path.clone(),
                source: Arc::new(source),
            })?;
        failpoints::hit(Point::AfterSync);
        let counters = &self.shared.counters;
        counters.synced(began.elapsed());
        counters.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
        self.active.tail += self.buffer.len() as u64;
        self.synced = self.encoded;
        self.marked = false;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    /// Shows readers where the records are, and lets go of what nobody needs any more.
    fn publish(&mut self, bytes: usize) {
        let may_free =
            !self.entered.is_empty() || self.effects.iter().any(|effect| !matches!(effect, Effect::Entry(..)));
        let (unneeded, waiters) = {
            let mut guard = self.shared.state.lock();
            let state = &mut *guard;
            state.segments.extend(self.entered.drain(..));
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Entry(index, position) => {
                        state.positions.push(index, position);
                        self.shared.counters.entries.fetch_add(1, Ordering::Relaxed);
                    }
                    Effect::TruncateFrom(index) => state.positions.truncate_from(index),
                    Effect::PurgeTo(index) => state.positions.purge_to(index),
                }
            }
            state.sequence_written = self.synced;
            state.pending_bytes -= bytes;
            state.cache.shrink(self.shared.cache_bytes, self.synced);
            let unneeded = if may_free { state.take_unneeded() } else { Vec::new() };
            (unneeded, state.take_waiters(self.shared.pending_bytes_max))
        };
        self.effects.shrink_to(EFFECTS_KEPT);
        if !unneeded.is_empty() {
            self.shared
                .counters
                .segments_removed
                .fetch_add(unneeded.len() as u64, Ordering::Relaxed);
            self.preparer.remove(unneeded);
        }
        for waiter in waiters {
            waiter();
        }
    }

    /// Leaves a witness behind the last record that all of it was durable, so that rot in the last write can be told
    /// from a torn one. The next write goes over it. It needs no sync of its own: without it the log is as good as
    /// before. Where the segment is full it lengthens the file by itself.
    pub fn mark(&mut self) {
        if self.marked {
            return;
        }
        self.marked = true;
        let mut bytes = Vec::with_capacity(record_bytes(0));
        let fields = RecordFields {
            kind: RecordKind::Mark,
            slot: 0,
            sequence: self.synced,
            synced: self.synced,
            index: 0,
        };
        encode_record(&mut bytes, Salt::of(self.identity, self.active.number), fields, &[]);
        let segment = &self.active.segment;
        if let Err(error) = segment.file.write_at(&bytes, self.active.tail) {
            tracing::warn!(file = %segment.path.display(), %error, "the log could not be marked as complete");
        }
    }
}

/// Stops the engine for good, whichever way the writer ends.
struct StopGuard<'a> {
    shared: &'a Shared,
}

impl StopGuard<'_> {
    /// Nothing is accepted from here on, and everything that waits is answered.
    fn fail(&self, failed: LogFailed, batch: Vec<Done>) {
        tracing::error!(error = %failed, source = %failed.source, "the log has stopped");
        let (queue, waiters) = {
            let mut state = self.shared.state.lock();
            state.failed = Some(failed.clone());
            state.queued_urgent = 0;
            state.pending_bytes = 0;
            (
                std::mem::take(&mut state.queue),
                state.take_waiters(self.shared.pending_bytes_max),
            )
        };
        for done in batch
            .into_iter()
            .chain(queue.into_iter().filter_map(|pending| pending.done))
        {
            done(Err(failed.to_io()));
        }
        for waiter in waiters {
            waiter();
        }
    }
}

impl Drop for StopGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let source = Arc::new(io::Error::other("the thread that writes the log panicked"));
            self.fail(
                LogFailed {
                    action: "write",
                    path: self.shared.folder.clone(),
                    source,
                },
                Vec::new(),
            );
        }
    }
}
