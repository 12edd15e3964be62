//! The engine against real files.

use std::io;
use std::sync::mpsc::{Receiver, channel};

use bytes::Bytes;

use super::*;

pub(super) type Answer = Receiver<io::Result<()>>;

/// A `done` and what it will say.
pub(super) fn done() -> (impl FnOnce(io::Result<()>) + Send + 'static, Answer) {
    let (sender, answer) = channel();
    (move |result| sender.send(result).unwrap(), answer)
}

pub(super) fn entries(indexes: std::ops::Range<u64>, tag: &str) -> Vec<LogEntry> {
    indexes
        .map(|index| LogEntry {
            index,
            payload: Bytes::from(format!("{tag}-{index}")),
        })
        .collect()
}

fn append(engine: &LogEngine, indexes: std::ops::Range<u64>, tag: &str) -> io::Result<()> {
    let (done, answer) = done();
    engine.append(entries(indexes, tag), done);
    answer.recv().unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, recovered) = LogEngine::open(folder.path(), LogOptions::default()).unwrap();
    assert_eq!(recovered.last, None);
    append(&engine, 0..10, "a").unwrap();
    let (vote, answer) = done();
    engine.put_metadata(1, Bytes::from_static(b"vote"), vote);
    answer.recv().unwrap().unwrap();
    engine.put_metadata_lazily(2, Bytes::from_static(b"committed")).unwrap();
    assert_eq!(engine.read(2..5, usize::MAX).unwrap(), entries(2..5, "a"));
    engine.close().unwrap();

    let (engine, recovered) = LogEngine::open(folder.path(), LogOptions::default()).unwrap();
    assert_eq!((recovered.first_index, recovered.last), (0, Some(9)));
    assert_eq!(recovered.metadata[&1], Bytes::from_static(b"vote"));
    assert_eq!(recovered.metadata[&2], Bytes::from_static(b"committed"));
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(engine.read(0..100, usize::MAX).unwrap(), entries(0..10, "a"));
}
