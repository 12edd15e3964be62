//! Reading entries back: planned under the lock, executed without it.
//!
//! The plan holds the files open, so a segment that is removed meanwhile can still be read; and segments are never
//! written over, so a position stays true. Rejected: mapping the files into memory. A bad sector is then a signal
//! that kills the process instead of an error that names the place.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{SendError, Sender, channel};

use bytes::Bytes;
use revoada_core::limits::LOG_READ_CHUNK_BYTES;

use super::LogEntry;
use super::disk::SegmentFile;
use super::error::Rot;
use super::format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, Salt};
use super::index::Position;
use super::state::State;
use crate::files::read_exact_at;

/// What to read, and from where.
pub(super) struct Plan {
    stored: Vec<(u64, Position)>,
    files: BTreeMap<u64, Arc<SegmentFile>>,
    cached: Vec<LogEntry>,
}

/// The entries of `range` that there are, up to `bytes_max` of payload and at least one.
pub(super) fn plan(state: &State, range: Range<u64>, bytes_max: usize) -> Plan {
    let mut plan = Plan {
        stored: Vec::new(),
        files: BTreeMap::new(),
        cached: Vec::new(),
    };
    let mut bytes = 0;
    for index in range.start.max(state.extent.first)..range.end.min(state.extent.next) {
        let (length, cached) = match (state.cache.get(index), state.positions.get(index)) {
            (Some(payload), _) => (payload.len(), Some(payload)),
            (None, Some(position)) => (position.length as usize, None),
            (None, None) => unreachable!("entry {index} is neither in memory nor in a file"),
        };
        bytes += length;
        if bytes > bytes_max && !(plan.stored.is_empty() && plan.cached.is_empty()) {
            break;
        }
        if let Some(payload) = cached {
            plan.cached.push(LogEntry {
                index,
                payload: payload.clone(),
            });
        } else if let Some(position) = state.positions.get(index) {
            plan.stored.push((index, position));
            if let Some(file) = state.segments.get(&position.segment) {
                plan.files.entry(position.segment).or_insert_with(|| Arc::clone(file));
            }
        }
    }
    plan
}

impl Plan {
    /// Whether carrying it out touches no file.
    pub fn is_in_memory(&self) -> bool {
        self.stored.is_empty()
    }

    /// The entries, in order.
    pub fn execute(self, identity: u64) -> io::Result<Vec<LogEntry>> {
        let mut entries = Vec::with_capacity(self.stored.len() + self.cached.len());
        let mut rest = self.stored.as_slice();
        while let Some((_, first)) = rest.first() {
            let together = rest
                .iter()
                .take_while(|(_, position)| {
                    position.segment == first.segment && end_of(position) - u64::from(first.offset) <= CHUNK
                })
                .count()
                .max(1);
            let (run, others) = rest.split_at(together);
            let file = &self.files[&first.segment];
            read_run(file, Salt::of(identity, first.segment), run, &mut entries)?;
            rest = others;
        }
        entries.extend(self.cached);
        Ok(entries)
    }
}

/// Called once with what was read.
type Then = Box<dyn FnOnce(io::Result<Vec<LogEntry>>) + Send>;

/// Carries plans out for those who must not wait for a disk: the engine's third thread, one after the other. Whoever
/// reads waits for its answer before it asks again, so what waits here is bounded by the number of those who read.
pub(super) struct Reader {
    identity: u64,
    /// None where the log is driven and has no threads: then whoever asks reads.
    plans: Option<Sender<(Plan, Then)>>,
}

impl Reader {
    /// Starts the thread, which ends when this is dropped.
    pub fn start(identity: u64) -> io::Result<Self> {
        let (plans, todo) = channel::<(Plan, Then)>();
        std::thread::Builder::new()
            .name("revoada-log-3".to_owned())
            .spawn(move || {
                for (plan, then) in todo {
                    then(plan.execute(identity));
                }
            })?;
        Ok(Self {
            identity,
            plans: Some(plans),
        })
    }

    /// One without a thread.
    pub fn inline(identity: u64) -> Self {
        Self { identity, plans: None }
    }

    /// Carries out a plan, at some time.
    pub fn read(&self, plan: Plan, then: Then) {
        let Some(plans) = &self.plans else {
            return then(plan.execute(self.identity));
        };
        if let Err(SendError((_, then))) = plans.send((plan, then)) {
            then(Err(io::Error::other("the thread that reads the log has stopped")));
        }
    }
}

const CHUNK: u64 = LOG_READ_CHUNK_BYTES as u64;

fn end_of(position: &Position) -> u64 {
    u64::from(position.offset) + RECORD_HEADER_BYTES as u64 + u64::from(position.length)
}

/// Entries that lie close together in one segment, by one read.
fn read_run(segment: &SegmentFile, salt: Salt, run: &[(u64, Position)], entries: &mut Vec<LogEntry>) -> io::Result<()> {
    let (Some((_, first)), Some((_, last))) = (run.first(), run.last()) else {
        return Ok(());
    };
    let start = u64::from(first.offset);
    let length = usize::try_from(end_of(last) - start).map_err(io::Error::other)?;
    let mut chunk = vec![0; length];
    read_exact_at(&*segment.file, &mut chunk, start).map_err(|error| {
        let text = format!("{} at byte {start}: {error}", segment.path.display());
        io::Error::new(error.kind(), text)
    })?;
    let chunk = Bytes::from(chunk);
    for (index, position) in run {
        let rot = |what| {
            Rot {
                file: segment.path.clone(),
                offset: u64::from(position.offset),
                what,
            }
            .into_io()
        };
        let at = usize::try_from(u64::from(position.offset) - start).map_err(io::Error::other)?;
        let payload_at = at + RECORD_HEADER_BYTES;
        let header = chunk[at..payload_at]
            .first_chunk()
            .and_then(|bytes| RecordHeader::decode(salt, bytes))
            .ok_or_else(|| rot("an entry's header cannot be read"))?;
        if header.kind != RecordKind::Entry || header.index != *index || header.length != position.length {
            return Err(rot("another record is where an entry was"));
        }
        let payload = chunk.slice(payload_at..payload_at + position.length as usize);
        if !header.is_payload(salt, &payload) {
            return Err(rot("an entry's payload cannot be read"));
        }
        entries.push(LogEntry { index: *index, payload });
    }
    Ok(())
}
