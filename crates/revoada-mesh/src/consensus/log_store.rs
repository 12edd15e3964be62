//! openraft's log on our engine: entries encoded once for the disk, the newest kept decoded in memory.
//!
//! The engine owns order and durability (`log`); this adapter owns the encoding, and a bounded window of entries that
//! replication and apply read without touching the disk. A cache in the engine alone would decode each entry once for
//! every follower.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::{FutureExt as _, Stream};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use parking_lot::Mutex;
use revoada_attest::Digest;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::limits;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::seats::Seats;
use super::types::{Entry, LogId, Types, Vote};
use crate::disk_id::{DiskId, Shown};
use crate::failpoints::{self, Point};
use crate::log::{LogEngine, LogEntry};
use crate::runtime::{Runtime, Tokio};

mod slot {
    pub const VOTE: u8 = 0;
    pub const COMMITTED: u8 = 1;
    pub const PURGED: u8 = 2;
    pub const DISK: u8 = 3;
}

/// The newest entries, contiguous, up to the log's end.
#[derive(Default)]
struct Recent {
    entries: VecDeque<Entry>,
    bytes: usize,
}

fn bytes_of(entry: &Entry) -> usize {
    const OVERHEAD: usize = 128;
    match &entry.payload {
        EntryPayload::Normal(batch) => batch.0.len() + OVERHEAD,
        EntryPayload::Blank | EntryPayload::Membership(_) => OVERHEAD,
    }
}

impl Recent {
    fn push(&mut self, entry: Entry) {
        if self
            .entries
            .back()
            .is_some_and(|last| last.index() + 1 != entry.index())
        {
            self.clear();
        }
        self.bytes += bytes_of(&entry);
        self.entries.push_back(entry);
        while self.bytes > limits::LOG_RECENT_BYTES_MAX && self.entries.len() > 1 {
            self.drop_front();
        }
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= bytes_of(&entry);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn truncate_from(&mut self, index: u64) {
        while self.entries.back().is_some_and(|last| last.index() >= index) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= bytes_of(&entry);
            }
        }
    }

    fn purge_to(&mut self, index: u64) {
        while self.entries.front().is_some_and(|first| first.index() <= index) {
            self.drop_front();
        }
    }

    /// Entries from `start` on, before `end`, of at most `bytes_max` (at least one); none if `start` is not here.
    fn read(&self, start: u64, end: u64, bytes_max: u64) -> Option<Vec<Entry>> {
        let first = self.entries.front()?.index();
        let skip = usize::try_from(start.checked_sub(first)?).ok()?;
        if skip >= self.entries.len() {
            return None;
        }
        let mut left = bytes_max;
        let mut read = Vec::new();
        for entry in self.entries.range(skip..).take_while(|entry| entry.index() < end) {
            let bytes = bytes_of(entry) as u64;
            if bytes > left && !read.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            read.push(entry.clone());
        }
        Some(read)
    }
}

/// See the module. Clones share everything.
pub struct LogStore<R: Runtime = Tokio> {
    engine: LogEngine,
    recent: Arc<Mutex<Recent>>,
    vote: Arc<Mutex<Option<Vote>>>,
    /// The highest index that was ever durable here; it may have been cut off again since.
    durable: Arc<AtomicU64>,
    seats: Arc<Seats>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Clone for LogStore<R> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            recent: self.recent.clone(),
            vote: self.vote.clone(),
            durable: self.durable.clone(),
            seats: self.seats.clone(),
            runtime: PhantomData,
        }
    }
}

type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

fn encode<T: Serialize>(value: &T) -> io::Result<Bytes> {
    cbor4ii::serde::to_vec(Vec::new(), value)
        .map(Bytes::from)
        .map_err(io::Error::other)
}

fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> io::Result<T> {
    cbor4ii::serde::from_slice(bytes).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{what} of the log cannot be read: {error}"),
        )
    })
}

impl<R: Runtime> LogStore<R> {
    /// Over an open engine.
    pub fn new(engine: LogEngine) -> io::Result<Self> {
        let vote = match engine.metadata(slot::VOTE) {
            Some(bytes) => Some(decode(&bytes, "the vote")?),
            None => None,
        };
        let durable = Arc::new(AtomicU64::new(engine.bounds().last_index.unwrap_or_default()));
        let shown = match engine.metadata(slot::DISK) {
            Some(bytes) => decode(&bytes, "the disk's name")?,
            None => Shown::default(),
        };
        Ok(Self {
            engine,
            recent: Arc::default(),
            vote: Arc::new(Mutex::new(vote)),
            durable,
            seats: Arc::new(Seats::new(shown)),
            runtime: PhantomData,
        })
    }

    /// Who votes, as a key and a disk.
    pub fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// Gives the disk a name if it has none; durable when it returns, and before anything else that is written.
    pub async fn name_disk(&self, new: DiskId) -> io::Result<()> {
        if self.seats.own().disk != DiskId::default() {
            return Ok(());
        }
        self.show(Shown {
            disk: new,
            vouched: false,
        })
        .await
    }

    /// Notes that the disk is vouched for; durable when it returns.
    pub async fn vouch(&self) -> io::Result<()> {
        self.show(Shown {
            vouched: true,
            ..self.seats.own()
        })
        .await
    }

    async fn show(&self, shown: Shown) -> io::Result<()> {
        let value = encode(&shown)?;
        self.durably(|engine, done| engine.put_metadata(slot::DISK, value, done))
            .await?;
        self.seats.show(shown);
        Ok(())
    }

    /// The engine, for its figures.
    pub fn engine(&self) -> &LogEngine {
        &self.engine
    }

    /// The durable vote's term and the index of the last entry; zeros where there is none.
    pub fn position(&self) -> (u64, u64) {
        let term = self.vote.lock().as_ref().map_or(0, |vote| vote.leader_id().term);
        (term, self.engine.bounds().last_index.unwrap_or_default())
    }

    /// The highest index that was ever durable here.
    pub fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// Index, term and a digest of the entries from `first` on.
    pub async fn digests(&self, first: u64) -> io::Result<Vec<(u64, u64, Digest)>> {
        let held = self.engine.bounds();
        let (mut start, end) = (first.max(held.first_index), held.last_index.map_or(0, |last| last + 1));
        let mut digests = Vec::new();
        while start < end {
            let entries = self.read(start, end, limits::APPEND_BYTES_MAX).await?;
            let Some(last) = entries.last() else { break };
            start = last.index() + 1;
            for entry in &entries {
                let digest = blake3::hash(&encode(&entry.payload)?);
                let term = entry.log_id.committed_leader_id().term;
                digests.push((entry.index(), term, Digest::from_bytes(*digest.as_bytes())));
            }
        }
        Ok(digests)
    }

    /// From memory at once; from the disk without blocking the caller's thread, which heartbeats share.
    async fn read(&self, start: u64, end: u64, bytes_max: u64) -> io::Result<Vec<Entry>> {
        if start >= end {
            return Ok(Vec::new());
        }
        if let Some(entries) = self.recent.lock().read(start, end, bytes_max) {
            return Ok(entries);
        }
        let (done, wait) = oneshot::channel();
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        self.engine.read_then(start..end, bytes_max, move |read| {
            let entry = |entry: LogEntry| decode(&entry.payload, &format!("entry {}", entry.index));
            let entries = read.and_then(|entries| entries.into_iter().map(entry).collect());
            // A reader that is gone no longer listens.
            drop(done.send(entries));
        });
        wait.await
            .map_err(|_| io::Error::other("the thread that reads the log is gone"))?
    }

    /// How many bytes of the newest entries are kept decoded; one entry may be larger than all that may be kept.
    pub fn recent_bytes(&self) -> usize {
        let recent = self.recent.lock();
        if recent.entries.len() > 1 { recent.bytes } else { 0 }
    }

    /// Runs one change of the engine and waits until it is durable.
    async fn durably(&self, change: impl FnOnce(&LogEngine, Done)) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        // A caller that is gone no longer listens.
        change(&self.engine, Box::new(move |result| drop(done.send(result))));
        wait.await.map_err(|_| io::Error::other("the log's writer is gone"))?
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end + 1,
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

impl<R: Runtime> RaftLogReader<Types<R>> for LogStore<R> {
    async fn try_get_log_entries<B: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: B,
    ) -> io::Result<Vec<Entry>> {
        let (mut start, end) = bounds(&range);
        let held = self.engine.bounds();
        let Some(last) = held.last_index else {
            return Ok(Vec::new());
        };
        start = start.max(held.first_index);
        let end = end.min(last + 1);
        let mut all = Vec::new();
        while start < end {
            let some = self.read(start, end, limits::APPEND_BYTES_MAX).await?;
            let Some(last) = some.last() else { break };
            start = last.index() + 1;
            all.extend(some);
        }
        Ok(all)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, limits::APPEND_BYTES_MAX).await
    }

    async fn entries_stream<B>(&mut self, range: B) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let store = self.clone();
        // Piece by piece: after a restart the whole log behind the checkpoint is read here.
        let pieces = futures::stream::try_unfold(start, move |start| {
            let store = store.clone();
            async move {
                let entries = store.read(start, end, limits::APPEND_BYTES_MAX).await?;
                let next = entries.last().map(|last| last.index() + 1);
                Ok::<_, io::Error>(next.map(|next| (futures::stream::iter(entries.into_iter().map(Ok)), next)))
            }
        });
        Box::pin(futures::TryStreamExt::try_flatten(pieces))
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(*self.vote.lock())
    }
}

impl<R: Runtime> RaftLogStorage<Types<R>> for LogStore<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<R>>> {
        let last_purged_log_id = match self.engine.metadata(slot::PURGED) {
            Some(bytes) => Some(decode::<LogId>(&bytes, "the purged position")?),
            None => None,
        };
        let last_log_id = match self.engine.bounds().last_index {
            Some(last) => self.read(last, last + 1, 1).await?.last().map(|entry| entry.log_id),
            None => last_purged_log_id,
        };
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        if is_planted(Bug::ForgetsTheVote) {
            *self.vote.lock() = Some(*vote);
            return Ok(());
        }
        let value = encode(vote)?;
        failpoints::hit(Point::BeforeVote);
        self.durably(|engine, done| engine.put_metadata(slot::VOTE, value, done))
            .await?;
        failpoints::hit(Point::AfterVote);
        *self.vote.lock() = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            // Rides along with the next sync: a committed position that is too old costs a later apply, nothing else.
            self.engine.put_metadata_lazily(slot::COMMITTED, encode(&committed)?)?;
        }
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        match self.engine.metadata(slot::COMMITTED) {
            Some(bytes) => decode(&bytes, "the committed position").map(Some),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types<R>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        failpoints::hit(Point::BeforeAppend);
        let (writable, wait) = oneshot::channel();
        self.engine.when_writable(move || writable.send(()).unwrap_or_default());
        // The engine never drops a waiter; if its thread died, the append says so.
        drop(wait.await);
        let mut records = Vec::new();
        {
            let mut recent = self.recent.lock();
            for entry in entries {
                if let EntryPayload::Membership(membership) = &entry.payload {
                    self.seats.append(entry.index(), membership.clone());
                }
                records.push(LogEntry {
                    index: entry.index(),
                    payload: encode(&entry)?,
                });
                recent.push(entry);
            }
        }
        let (durable, last) = (self.durable.clone(), records.last().map_or(0, |record| record.index));
        if is_planted(Bug::AcknowledgesBeforeSync) {
            durable.fetch_max(last, Ordering::SeqCst);
            self.engine.append(records, |_| {});
            flushed.io_completed(Ok(()));
            return Ok(());
        }
        self.engine.append(records, move |result| {
            if result.is_ok() {
                durable.fetch_max(last, Ordering::SeqCst);
            }
            flushed.io_completed(result);
        });
        failpoints::hit(Point::AfterAppend);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let from = last.map_or(0, |id| id.index + 1);
        self.recent.lock().truncate_from(from);
        self.seats.truncate_from(from);
        if is_planted(Bug::ForgetsTruncation) {
            return Ok(());
        }
        failpoints::hit(Point::BeforeTruncate);
        self.durably(|engine, done| engine.truncate_from(from, done)).await?;
        failpoints::hit(Point::AfterTruncate);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        failpoints::hit(Point::BeforePurge);
        // Before the entries go, so that the log never has an end without a beginning.
        self.engine.put_metadata_lazily(slot::PURGED, encode(&upto)?)?;
        self.recent.lock().purge_to(upto.index);
        let (refused, answer) = oneshot::channel();
        // Raft waits for nothing else meanwhile, and nothing depends on the entries' being gone: after a kill they are
        // there again, or not, and the checkpoint covers them. A disk that fails is told by the next append.
        self.engine
            .purge_to(upto.index, move |result| drop(refused.send(result)));
        failpoints::hit(Point::AfterPurge);
        match answer.now_or_never() {
            Some(Ok(refused)) => refused,
            Some(Err(_)) | None => Ok(()),
        }
    }
}
