//! What clients asked and were told, with the times: the evidence that the oracles look at.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use revoada_core::keyspace::{Event, Revision};

use crate::wire::Place;

/// From the call to the answer; both since one beginning, by a clock that every client shares.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// When it was asked.
    pub called: Duration,
    /// When it was answered.
    pub returned: Duration,
}

/// A write that was acknowledged.
#[derive(Debug, Clone)]
pub struct Write {
    /// When.
    pub span: Span,
    /// The revision that it was given.
    pub revision: Revision,
    /// What it did: values, none for a key that is gone.
    pub changes: BTreeMap<Bytes, Option<Bytes>>,
}

/// A read that was answered, or a condition that did not hold.
#[derive(Debug, Clone)]
pub struct Read {
    /// When.
    pub span: Span,
    /// The state that it is of.
    pub revision: Revision,
    /// Whether it was to be the newest.
    pub linearizable: bool,
    /// What was there, none for a key that was not.
    pub seen: BTreeMap<Bytes, Option<Bytes>>,
}

/// A condition that did not hold: this key did not have this value.
#[derive(Debug, Clone)]
pub struct Mismatch {
    /// When.
    pub span: Span,
    /// The state that it is of.
    pub revision: Revision,
    /// The key.
    pub key: Bytes,
    /// The value that it did not have.
    pub expected: Bytes,
}

/// A restore that was answered for.
#[derive(Debug, Clone)]
pub struct PutBack {
    /// The revision that it was given.
    pub revision: Revision,
    /// The revision that the snapshot shows.
    pub taken: Revision,
    /// What it replaced.
    pub prefix: Bytes,
    /// What the snapshot holds.
    pub entries: BTreeMap<Bytes, Bytes>,
}

/// One watch, from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Who watched.
    pub watcher: usize,
    /// On which node.
    pub place: Place,
    /// Behind which revision it began.
    pub after: Revision,
    /// The prefix.
    pub prefix: Bytes,
    /// What came, batch by batch.
    pub batches: Vec<Vec<Event>>,
    /// Up to which revision it was told that nothing is missing.
    pub position: Revision,
    /// What it was told of that without an event: behind how many batches, and the revision.
    pub bookmarks: Vec<(usize, Revision)>,
}

/// Revisions that one client saw on one process, one after the other.
#[derive(Debug, Clone)]
pub struct Glance {
    /// Whose node.
    pub place: Place,
    /// Which start of it.
    pub start: u64,
    /// What was seen.
    pub revision: Revision,
}

/// Everything.
#[derive(Debug, Default)]
pub struct Records {
    /// Acknowledged writes.
    pub writes: Vec<Write>,
    /// Reads.
    pub reads: Vec<Read>,
    /// Conditions that did not hold.
    pub mismatches: Vec<Mismatch>,
    /// What writes that were refused would have set: keys and values, each value written by nobody else.
    pub refused: Vec<(Bytes, Bytes)>,
    /// Restores of snapshots.
    pub put_back: Vec<PutBack>,
    /// Watches.
    pub watches: Vec<Watched>,
    /// Local looks, in order.
    pub glances: Vec<Glance>,
    /// How many operations of each kind were answered, and how.
    pub counts: BTreeMap<String, u64>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct History(Mutex<Records>);

impl History {
    /// Adds something.
    pub fn add(&self, what: impl FnOnce(&mut Records)) {
        what(&mut self.0.lock());
    }

    /// Counts an operation.
    pub fn count(&self, kind: &str) {
        let mut records = self.0.lock();
        match records.counts.get_mut(kind) {
            Some(count) => *count += 1,
            None => {
                records.counts.insert(kind.to_owned(), 1);
            }
        }
    }

    /// Takes everything.
    pub fn take(&self) -> Records {
        std::mem::take(&mut self.0.lock())
    }
}
