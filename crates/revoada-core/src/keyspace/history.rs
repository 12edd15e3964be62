//! What was: the log of changes, from which both events and older states are read.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::entry::{KeyRange, Revision, Version};
use super::refused::Compacted;
use super::{FIRST_REVISION, Keyspace};
use crate::limits::EVENTS_EXAMINED_MAX;

/// What one event costs besides its key and the value that it ended: its place in the log, the version, and the
/// allocations behind them. Measured by `examples/keyspace_bench.rs`.
const EVENT_BYTES: u64 = 160;

/// One change of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The revision that made it.
    #[serde(rename = "r")]
    pub revision: Revision,
    /// Its place among the changes of that revision, from 0.
    #[serde(rename = "s")]
    pub sub: u32,
    /// The key.
    #[serde(rename = "k")]
    pub key: Bytes,
    /// What happened to it.
    #[serde(rename = "e")]
    pub kind: EventKind,
}

/// What happened to a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// It was written.
    #[serde(rename = "p")]
    Put {
        /// What is there since; its `mod_revision` is the event's revision.
        #[serde(rename = "v")]
        version: Version,
        /// What was there before, `None` if the key was created.
        #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
        previous: Option<Version>,
    },
    /// It was deleted.
    #[serde(rename = "d")]
    Delete {
        /// What was there before.
        #[serde(rename = "p")]
        previous: Version,
    },
}

/// Events for a watcher, and where it stands after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    /// In order, whole revisions only.
    #[serde(rename = "e")]
    pub events: Vec<Event>,
    /// Everything up to and including this revision has been looked at: what to pass as `after` next time. If it is
    /// below the newest revision there is more to look at now.
    #[serde(rename = "p")]
    pub position: Revision,
}

/// A change as it is kept: both versions are shared with the maps. At least one of them is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) revision: Revision,
    pub(super) sub: u32,
    pub(super) key: Bytes,
    /// What is there since; `None` for a delete.
    pub(super) version: Option<Arc<Version>>,
    /// What was there before; `None` for a creation.
    pub(super) previous: Option<Arc<Version>>,
}

impl Change {
    fn bytes(&self) -> u64 {
        let value = self.previous.as_ref().map_or(0, |previous| previous.value.len());
        EVENT_BYTES + (self.key.len() + value) as u64
    }

    fn event(&self) -> Event {
        let previous = self.previous.as_deref().cloned();
        let kind = match (&self.version, previous) {
            (Some(version), previous) => EventKind::Put {
                version: Version::clone(version),
                previous,
            },
            (None, Some(previous)) => EventKind::Delete { previous },
            (None, None) => unreachable!("a change writes or deletes; History::record is given nothing else"),
        };
        Event {
            revision: self.revision,
            sub: self.sub,
            key: self.key.clone(),
            kind,
        }
    }
}

/// The log of changes. What was visible at a revision is what is there now, but for the keys that changed since:
/// for each of them, what its first change since then found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    log: Vector<Change>,
    bytes: u64,
    /// All events of this revision and of those above it are in the log.
    complete_from: Revision,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            log: Vector::new(),
            bytes: 0,
            complete_from: FIRST_REVISION,
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    pub(super) fn complete_from(&self) -> Revision {
        self.complete_from
    }

    /// Appends a change, which has a version, a previous one, or both, and comes after all others.
    pub(super) fn record(&mut self, change: Change) {
        debug_assert!(
            change.version.is_some() || change.previous.is_some(),
            "a change writes or deletes"
        );
        self.bytes += change.bytes();
        self.log.push_back(change);
    }

    /// Forgets what nobody can ask for when `revision` is the oldest that can be read: the events before it. Those of
    /// the revision itself stay, since a watch may start at it. Costs what it drops.
    pub(super) fn compact(&mut self, revision: Revision) -> u64 {
        let mut dropped = 0;
        while self.log.front().is_some_and(|change| change.revision < revision) {
            if let Some(change) = self.log.pop_front() {
                self.bytes = self.bytes.saturating_sub(change.bytes());
                dropped += 1;
            }
        }
        self.complete_from = self.complete_from.max(revision);
        dropped
    }

    /// Takes the oldest change out, without a thought of what can be read afterwards: for whoever uses the log up.
    pub(super) fn take_oldest(&mut self) -> Option<Change> {
        self.log.pop_front()
    }

    /// Forgets everything; `complete_from` is the first revision whose events will be seen again.
    pub(super) fn cut(&mut self, complete_from: Revision) {
        *self = Self {
            complete_from,
            ..Self::new()
        };
    }

    /// What a key was at `revision`, if it changed since: `None` if it did not, `Some(None)` if it did not exist.
    pub(super) fn before(&self, key: &[u8], revision: Revision) -> Option<Option<&Version>> {
        self.since(revision)
            .find(|change| change.key == key)
            .map(|change| change.previous.as_deref())
    }

    /// What the keys of a range that changed since `revision` were then, in key order.
    pub(super) fn before_in(&self, range: &KeyRange, revision: Revision) -> BTreeMap<&Bytes, Option<&Version>> {
        let mut before = BTreeMap::new();
        for change in self.since(revision).filter(|change| range.contains(&change.key)) {
            before.entry(&change.key).or_insert(change.previous.as_deref());
        }
        before
    }

    fn since(&self, revision: Revision) -> impl Iterator<Item = &Change> {
        self.log.focus().narrow(self.position(revision)..).into_iter()
    }

    /// The index of the first change above `after`.
    fn position(&self, after: Revision) -> usize {
        if self.log.back().is_none_or(|last| last.revision <= after) {
            return self.log.len();
        }
        let mut log = self.log.focus();
        let (mut low, mut high) = (0, log.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if log.index(middle).revision <= after {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    fn events(&self, keep: impl Fn(&Change) -> bool, after: Revision, limit: usize, newest: Revision) -> Events {
        let mut events: Vec<Event> = Vec::new();
        let mut position = after;
        // Where `events` ended when the revision that is being read began.
        let mut whole = 0;
        let start = self.position(after);
        if start == self.log.len() {
            return Events {
                events,
                position: after.max(newest),
            };
        }
        for (examined, change) in self.log.focus().narrow(start..).into_iter().enumerate() {
            if change.revision != position {
                let full = events.len() >= limit || examined >= EVENTS_EXAMINED_MAX;
                if full && position != after {
                    return Events { events, position };
                }
                whole = events.len();
            }
            if keep(change) {
                if events.len() >= limit && whole > 0 {
                    events.truncate(whole);
                    return Events {
                        events,
                        position: change.revision - 1,
                    };
                }
                events.push(change.event());
            }
            position = change.revision;
        }
        Events {
            events,
            position: after.max(newest),
        }
    }
}

impl Keyspace {
    /// What happened after a revision, in order.
    ///
    /// Whole revisions only: at most `limit` events, unless the first revision alone has more; it is then given
    /// whole. An empty answer means that nothing happened yet, also when `after` is in the future.
    ///
    /// # Errors
    /// [`Compacted`] if events after `after` have been forgotten: `after + 1` is below the last compaction, or a
    /// restore has ended all watches. The watcher has to read the state anew.
    pub fn events_after(&self, after: Revision, limit: usize) -> Result<Vec<Event>, Compacted> {
        self.events_kept(|_| true, after, limit).map(|events| events.events)
    }

    /// What happened in a range after a revision, and how far this looked.
    ///
    /// As [`Self::events_after`]; besides, it looks at a bounded number of events at once, whether or not they are
    /// in the range, so an empty answer with a position below the newest revision means: ask again from there.
    ///
    /// # Errors
    /// As [`Self::events_after`].
    pub fn events_in(&self, range: &KeyRange, after: Revision, limit: usize) -> Result<Events, Compacted> {
        self.events_kept(|change| range.contains(&change.key), after, limit)
    }

    /// What happened to some keys after a revision: as [`Self::events_in`], for keys that are no range together.
    ///
    /// # Errors
    /// As [`Self::events_after`].
    pub fn events_of(&self, keep: impl Fn(&[u8]) -> bool, after: Revision, limit: usize) -> Result<Events, Compacted> {
        self.events_kept(|change| keep(&change.key), after, limit)
    }

    /// The lowest revision that may be passed as `after`.
    pub fn oldest_position(&self) -> Revision {
        self.history.complete_from() - 1
    }

    fn events_kept(&self, keep: impl Fn(&Change) -> bool, after: Revision, limit: usize) -> Result<Events, Compacted> {
        if after < self.oldest_position() {
            return Err(Compacted {
                oldest: self.history.complete_from(),
            });
        }
        Ok(self.history.events(keep, after, limit, self.revision))
    }
}
