//! The engine against real files.

mod crash;
mod faults;
mod folder;
mod invariants;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::*;

/// What a `done` was told.
struct Answer(Receiver<io::Result<()>>);

impl Answer {
    fn wait(self) -> io::Result<()> {
        self.0.recv().expect("every callback is called")
    }

    fn is_pending(&self) -> bool {
        matches!(self.0.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty))
    }
}

/// A `done` and where its answer will be.
fn done() -> (impl FnOnce(io::Result<()>) + Send + 'static, Answer) {
    let (sender, answer) = channel();
    // A test that does not look at the answer has dropped the other end.
    (move |result| drop(sender.send(result)), Answer(answer))
}

fn entries(indexes: Range<u64>, tag: &str) -> Vec<LogEntry> {
    indexes
        .map(|index| LogEntry {
            index,
            payload: Bytes::from(format!("{tag}-{index}")),
        })
        .collect()
}

fn append_later(engine: &LogEngine, entries: Vec<LogEntry>) -> Answer {
    let (done, answer) = done();
    engine.append(entries, done);
    answer
}

fn append(engine: &LogEngine, indexes: Range<u64>, tag: &str) -> io::Result<()> {
    append_later(engine, entries(indexes, tag)).wait()
}

fn put(engine: &LogEngine, slot: u8, value: impl Into<Bytes>) -> io::Result<()> {
    let (done, answer) = done();
    engine.put_metadata(slot, value.into(), done);
    answer.wait()
}

fn truncate_from(engine: &LogEngine, index: u64) -> io::Result<()> {
    let (done, answer) = done();
    engine.truncate_from(index, done);
    answer.wait()
}

fn purge_to(engine: &LogEngine, index: u64) -> io::Result<()> {
    let (done, answer) = done();
    engine.purge_to(index, done);
    answer.wait()
}

/// Small segments and no cache, so that few entries fill several files and are read from them.
fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 2048,
        cache_bytes: 0,
        ..LogOptions::default()
    }
}

fn open(folder: &Path, options: LogOptions) -> (LogEngine, Recovered) {
    LogEngine::open(folder, options).unwrap()
}

/// The segment files, oldest first, without those that were only prepared.
fn used_segments(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .filter(|path| std::fs::read(path).unwrap().iter().any(|byte| *byte != 0))
        .collect();
    files.sort();
    files
}

fn flip_bit(file: &Path, bit: usize) {
    let mut bytes = std::fs::read(file).unwrap();
    bytes[bit / 8] ^= 1 << (bit % 8);
    std::fs::write(file, bytes).unwrap();
}

/// Everything that a log holds, as a caller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Contents {
    first_index: u64,
    next_index: Option<u64>,
    entries: BTreeMap<u64, Bytes>,
    metadata: BTreeMap<u8, Bytes>,
}

impl Contents {
    fn of(engine: &LogEngine) -> Self {
        let bounds = engine.bounds();
        let entries = engine.read(0..u64::MAX, usize::MAX).unwrap();
        let metadata = (0..=255)
            .filter_map(|slot| Some((slot, engine.metadata(slot)?)))
            .collect();
        Self {
            first_index: bounds.first_index,
            next_index: bounds.last_index.map(|last| last + 1),
            entries: entries.into_iter().map(|entry| (entry.index, entry.payload)).collect(),
            metadata,
        }
    }
}
