//! The handle that callers hold.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use revoada_core::limits::{LOG_ENTRY_BYTES_MAX, LOG_METADATA_BYTES_MAX};

use super::disk::Disk;
use super::driven::DrivenLog;
use super::error::{LogFailed, OpenError, Refused};
use super::format::record_bytes;
use super::index::Cache;
use super::lock::FolderLock;
use super::preparer::Preparer;
use super::read::{self, Reader};
use super::state::{Bell, Change, Counters, Done, Shared, State};
use super::writer::{Active, Start, Writer};
use super::{LogBounds, LogEntry, LogOptions, LogStats, Recovered, recovery};
use crate::files::Files;

/// An open log. Clones are the same log; the last one to go closes it.
///
/// **Order.** Changes take effect, and become durable, in the order of the calls. `done` callbacks run in that order
/// too, on the engine's own thread, so they have to be short, and must not call [`LogEngine::close`]. A change that is
/// refused ([`Refused`]) is answered before the call returns, on the caller's thread.
///
/// **Visibility.** What was accepted is read at once, also while its sync is running or after it failed.
///
/// **Durability.** `done(Ok)` means that the change and all before it survive a power loss. After `done(Err)` with a
/// [`LogFailed`] inside nothing is known about that change, every later one gets the same error, and the node has to
/// stop: no sync is ever tried twice. No callback is dropped uncalled, unless another callback panicked.
#[derive(Clone)]
pub struct LogEngine {
    shared: Arc<Shared>,
    owner: Arc<Owner>,
}

impl std::fmt::Debug for LogEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogEngine")
            .field("folder", &self.shared.folder)
            .field("bounds", &self.bounds())
            .finish()
    }
}

/// What has to end with the last handle.
struct Owner {
    identity: u64,
    shared: Arc<Shared>,
    reader: Reader,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// There while no thread writes.
    driven: Option<DrivenLog>,
    /// The writer holds it too: the folder is free when both are done with it.
    lock: Mutex<Option<Arc<FolderLock>>>,
}

impl LogEngine {
    /// Opens the log in `folder`, which is made if it is not there. Blocks for as long as reading all of it takes.
    pub fn open(folder: &Path, options: LogOptions) -> Result<(Self, Recovered), OpenError> {
        make_folder(&*options.files, folder)?;
        let lock = match options.files.is_shared() {
            true => Some(Arc::new(FolderLock::take(folder)?)),
            false => None,
        };
        let disk = Arc::new(Disk::new(folder, options.files.clone(), options.faults.clone()));
        let segment_bytes = u64::from(options.segment_bytes);
        let log = recovery::replay(&disk, options.identity, segment_bytes)?;
        let recovered = Recovered {
            first_index: log.extent.first,
            last: log.extent.last(),
            metadata: log.metadata.clone(),
            torn_tail: log.torn_tail,
        };
        let active = Active {
            number: log.active,
            segment: Arc::clone(&log.segments[&log.active]),
            tail: log.tail,
            is_empty: false,
        };
        let mut state = State {
            extent: log.extent,
            metadata: log.metadata,
            cache: Cache::default(),
            sequence_next: log.sequence + 1,
            queue: VecDeque::new(),
            queued_urgent: 0,
            pending_bytes: 0,
            waiters: Vec::new(),
            positions: log.positions,
            segments: log.segments,
            sequence_written: log.sequence,
            failed: None,
            closing: false,
        };
        let unneeded = state.take_unneeded();
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            state: Mutex::new(state),
            bell: Bell::new(options.driver.is_some()),
            counters: Counters::default(),
            cache_bytes: options.cache_bytes,
            pending_bytes_max: options.pending_bytes_max,
        });
        let failed = |source| OpenError::of("start the threads of", folder, source);
        let preparer = match &options.driver {
            None => Preparer::start(Arc::clone(&disk), segment_bytes, log.active + 1).map_err(failed)?,
            Some(_) => Preparer::inline(Arc::clone(&disk), segment_bytes),
        };
        preparer.remove(unneeded);
        let writer = Writer::new(Start {
            shared: Arc::clone(&shared),
            disk,
            preparer,
            identity: options.identity,
            segment_bytes,
            active,
            synced: log.sequence,
        });
        let (mut thread, mut driven) = (None, None);
        if let Some(driver) = &options.driver {
            let log = DrivenLog::new(Arc::clone(&shared), writer);
            driver.drive(log.clone());
            driven = Some(log);
        } else {
            let held = lock.clone();
            let run = move || {
                writer.run();
                drop(held);
            };
            let builder = std::thread::Builder::new().name("revoada-log".to_owned());
            thread = Some(builder.spawn(run).map_err(failed)?);
        }
        let owner = Owner {
            identity: options.identity,
            shared: Arc::clone(&shared),
            reader: match &options.driver {
                None => Reader::start(options.identity).map_err(failed)?,
                Some(_) => Reader::inline(options.identity),
            },
            thread: Mutex::new(thread),
            driven,
            lock: Mutex::new(lock),
        };
        Ok((
            Self {
                shared,
                owner: Arc::new(owner),
            },
            recovered,
        ))
    }

    /// Adds entries behind the last one. Returns at once; they can be read at once.
    ///
    /// Refused: [`Refused::Gap`] unless each index follows the one before (a log that never had an entry begins
    /// anywhere), [`Refused::TooLarge`], and [`Refused::Busy`] if [`LogOptions::pending_bytes_max`] bytes wait already:
    /// a caller that must not be refused calls [`LogEngine::when_writable`] first.
    pub fn append(&self, entries: Vec<LogEntry>, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        if let Err(error) = self.check_append(&state, &entries) {
            drop(state);
            return done(Err(error));
        }
        let bytes = entries.iter().map(|entry| record_bytes(entry.payload.len())).sum();
        for (sequence, entry) in (state.sequence_next..).zip(&entries) {
            state.extent.append(entry.index);
            state.cache.push(entry.index, entry.payload.clone(), sequence);
        }
        let records = entries.len() as u64;
        self.enqueue(state, Change::Append(entries), records, bytes, Box::new(done));
    }

    fn check_append(&self, state: &State, entries: &[LogEntry]) -> io::Result<()> {
        state.check_open()?;
        let pending_bytes = state.pending_bytes;
        if pending_bytes >= self.shared.pending_bytes_max {
            return Err(Refused::Busy { pending_bytes }.into_io());
        }
        let mut extent = state.extent;
        for entry in entries {
            if !extent.accepts(entry.index) {
                return Err(Refused::Gap {
                    expected: extent.next,
                    found: entry.index,
                }
                .into_io());
            }
            check_size(entry.payload.len(), LOG_ENTRY_BYTES_MAX)?;
            extent.append(entry.index);
        }
        Ok(())
    }

    /// Sets a slot, durably.
    ///
    /// Refused: [`Refused::TooLarge`] beyond `LOG_METADATA_BYTES_MAX`.
    pub fn put_metadata(&self, slot: u8, value: Bytes, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        match self.check_metadata(&value) {
            Ok(mut state) => {
                state.metadata.insert(slot, value.clone());
                let bytes = record_bytes(value.len());
                self.enqueue(state, Change::Metadata(slot, value), 1, bytes, Box::new(done));
            }
            Err(error) => done(Err(error)),
        }
    }

    /// Sets a slot, to become durable with the next change that is synced, or at [`LogEngine::close`]. For values
    /// that may be lost without harm, such as how far the log is known to be committed.
    pub fn put_metadata_lazily(&self, slot: u8, value: Bytes) -> io::Result<()> {
        let mut state = self.check_metadata(&value)?;
        state.metadata.insert(slot, value.clone());
        let bytes = record_bytes(value.len());
        state.enqueue(Change::Metadata(slot, value), 1, bytes, false, None);
        if state.has_work() {
            self.shared.bell.ring();
        }
        Ok(())
    }

    fn check_metadata(&self, value: &Bytes) -> io::Result<MutexGuard<'_, State>> {
        let state = self.shared.state.lock();
        state.check_open()?;
        check_size(value.len(), LOG_METADATA_BYTES_MAX)?;
        Ok(state)
    }

    /// Removes the entries from `index` on, durably. What is not there is not missed.
    pub fn truncate_from(&self, index: u64, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        if let Err(error) = state.check_open() {
            drop(state);
            return done(Err(error));
        }
        let before = state.extent;
        state.extent.truncate_from(index);
        state.cache.truncate_from(index);
        if state.extent == before {
            self.enqueue(state, Change::Nothing, 0, 0, Box::new(done));
        } else {
            self.enqueue(state, Change::TruncateFrom(index), 1, record_bytes(0), Box::new(done));
        }
    }

    /// Removes the entries up to and including `index`, durably, and some time later the segments that only they
    /// needed. An `index` beyond the log empties it, and the log goes on behind `index`.
    pub fn purge_to(&self, index: u64, done: impl FnOnce(io::Result<()>) + Send + 'static) {
        let mut state = self.shared.state.lock();
        if let Err(error) = state.check_open() {
            drop(state);
            return done(Err(error));
        }
        let before = state.extent;
        state.extent.purge_to(index);
        state.cache.purge_to(index);
        if state.extent == before {
            self.enqueue(state, Change::Nothing, 0, 0, Box::new(done));
        } else {
            self.enqueue(state, Change::PurgeTo(index), 1, record_bytes(0), Box::new(done));
        }
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, change: Change, records: u64, bytes: usize, done: Done) {
        state.enqueue(change, records, bytes, true, Some(done));
        drop(state);
        self.shared.bell.ring();
    }

    /// Calls `then` once there is room for an append, or never will be (the append then says why): at once, on the
    /// caller's thread, or later, on the engine's.
    pub fn when_writable(&self, then: impl FnOnce() + Send + 'static) {
        let mut state = self.shared.state.lock();
        state.waiters.push(Box::new(then));
        let waiters = state.take_waiters(self.shared.pending_bytes_max);
        drop(state);
        for waiter in waiters {
            waiter();
        }
    }

    /// The entries of `range` that the log has, in order, as many as fit in `payload_bytes_max` and at least one.
    /// Blocks on the disk for those that are not in memory.
    ///
    /// An error with a [`super::Rot`] inside names the file and the place; the engine goes on.
    pub fn read(&self, range: Range<u64>, payload_bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let plan = read::plan(&self.shared.state.lock(), range, payload_bytes_max);
        plan.execute(self.owner.identity)
    }

    /// As [`LogEngine::read`], for a caller that must not wait for the disk: `then` gets the entries, before the call
    /// returns where all of them are in memory, and otherwise on a thread that does nothing but read. Which entries they
    /// are is decided by the call; later changes do not alter it. Reads are done in the order of the calls.
    pub fn read_then(
        &self,
        range: Range<u64>,
        payload_bytes_max: usize,
        then: impl FnOnce(io::Result<Vec<LogEntry>>) + Send + 'static,
    ) {
        let plan = read::plan(&self.shared.state.lock(), range, payload_bytes_max);
        if plan.is_in_memory() {
            then(plan.execute(self.owner.identity));
        } else {
            self.owner.reader.read(plan, Box::new(then));
        }
    }

    /// Which entries there are.
    pub fn bounds(&self) -> LogBounds {
        let extent = self.shared.state.lock().extent;
        LogBounds {
            first_index: extent.first,
            last_index: extent.last(),
        }
    }

    /// The newest value of a slot, perhaps not durable yet.
    pub fn metadata(&self, slot: u8) -> Option<Bytes> {
        self.shared.state.lock().metadata.get(&slot).cloned()
    }

    /// How many bytes were accepted and are not durable yet.
    pub fn pending_bytes(&self) -> usize {
        self.shared.state.lock().pending_bytes
    }

    /// With how many bytes that are not durable yet no append is accepted any more.
    pub fn pending_bytes_max(&self) -> usize {
        self.shared.pending_bytes_max
    }

    /// What the segments in use take of the disk; the prepared one is not among them.
    pub fn size_bytes(&self) -> io::Result<u64> {
        let segments: Vec<_> = self.shared.state.lock().segments.values().cloned().collect();
        segments.iter().map(|segment| segment.file.len()).sum()
    }

    /// What was done so far.
    pub fn stats(&self) -> LogStats {
        self.shared.counters.read()
    }

    /// Why the engine has stopped, if it has.
    pub fn failure(&self) -> Option<LogFailed> {
        self.shared.state.lock().failed.clone()
    }

    /// Writes what waits, stops the threads and frees the folder; later changes are refused, reads go on. Blocks.
    ///
    /// An error says why the engine had stopped before.
    pub fn close(&self) -> io::Result<()> {
        self.owner.close();
        self.failure().map_or(Ok(()), |failed| Err(failed.to_io()))
    }
}

impl Owner {
    fn close(&self) {
        self.shared.state.lock().closing = true;
        self.shared.bell.ring();
        if let Some(driven) = &self.driven {
            driven.finish();
            return;
        }
        let mut thread = self.thread.lock();
        let on_writer = thread
            .as_ref()
            .is_some_and(|thread| thread.thread().id() == std::thread::current().id());
        if let Some(thread) = thread.take()
            && !on_writer
            && thread.join().is_err()
        {
            tracing::error!("the thread that writes the log panicked");
        }
        self.lock.lock().take();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.close();
    }
}

fn check_size(bytes: usize, bytes_max: usize) -> io::Result<()> {
    if bytes > bytes_max {
        Err(Refused::TooLarge { bytes, bytes_max }.into_io())
    } else {
        Ok(())
    }
}

/// Makes the folder if it is not there, with a name that is durable.
fn make_folder(files: &dyn Files, folder: &Path) -> Result<(), OpenError> {
    if files.names(folder).is_ok() {
        return Ok(());
    }
    let failed = |source| OpenError::of("create", folder, source);
    files.make_folder(folder).map_err(failed)?;
    for above in folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        files.sync_folder(above).map_err(failed)?;
    }
    Ok(())
}
