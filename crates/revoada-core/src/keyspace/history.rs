//! What was: the log of changes, and the versions that are over.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};

use super::entry::{Bounds, KeyRange, Revision, Version};
use super::refused::Compacted;
use super::{FIRST_REVISION, Keyspace};
use crate::limits::EVENTS_EXAMINED_MAX;

/// What one event costs besides its key and the value that it ended: its place in the log, the version, its place
/// among the versions that are over, and the allocations behind them. Measured by `examples/keyspace_bench.rs`.
const EVENT_BYTES: u64 = 256;

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

/// The place of a version that is over: visible from its `mod_revision` up to, not including, `ended`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Past {
    pub(super) key: Bytes,
    pub(super) ended: Revision,
}

/// The log, and the versions that are over, which are the `previous` of its changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct History {
    log: Vector<Change>,
    past: OrdMap<Past, Arc<Version>>,
    bytes: u64,
    /// All events of this revision and of those above it are in the log.
    complete_from: Revision,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            log: Vector::new(),
            past: OrdMap::new(),
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

    pub(super) fn log(&self) -> &Vector<Change> {
        &self.log
    }

    /// Appends a change, which has a version, a previous one, or both, and comes after all others. `compacted` is
    /// the oldest revision that can be read.
    pub(super) fn record(&mut self, change: Change, compacted: Revision) {
        debug_assert!(
            change.version.is_some() || change.previous.is_some(),
            "a change writes or deletes"
        );
        self.bytes += change.bytes();
        if let Some(previous) = &change.previous {
            // What began and ended in one revision was never visible, nor is what ended before the oldest.
            if previous.mod_revision < change.revision && change.revision > compacted {
                let past = Past {
                    key: change.key.clone(),
                    ended: change.revision,
                };
                self.past.insert(past, Arc::clone(previous));
            }
        }
        self.log.push_back(change);
    }

    /// Forgets what nobody can ask for when `revision` is the oldest that can be read. Costs what it drops.
    pub(super) fn compact(&mut self, revision: Revision) -> u64 {
        let mut dropped = 0;
        while self.log.front().is_some_and(|change| change.revision < revision) {
            if let Some(change) = self.log.pop_front() {
                self.bytes = self.bytes.saturating_sub(change.bytes());
                self.past.remove(&Past {
                    key: change.key,
                    ended: change.revision,
                });
                dropped += 1;
            }
        }
        // The events of the revision itself stay (a watch may start at it); what they ended cannot be read any more.
        for change in self.log.iter().take_while(|change| change.revision == revision) {
            self.past.remove(&Past {
                key: change.key.clone(),
                ended: revision,
            });
        }
        self.complete_from = self.complete_from.max(revision);
        dropped
    }

    /// Forgets everything; `complete_from` is the first revision whose events will be seen again.
    pub(super) fn cut(&mut self, complete_from: Revision) {
        *self = Self {
            complete_from,
            ..Self::new()
        };
    }

    /// The version of a key that was visible at `revision` and is over since.
    pub(super) fn visible(&self, key: &[u8], revision: Revision) -> Option<&Version> {
        let from = Past {
            key: Bytes::copy_from_slice(key),
            ended: revision.saturating_add(1),
        };
        let (past, version) = self.past.range(from..).next()?;
        (past.key == key && version.mod_revision <= revision).then_some(version.as_ref())
    }

    /// All versions of a range that were visible at `revision` and are over since, in key order.
    pub(super) fn visible_in(&self, bounds: &Bounds, revision: Revision) -> impl Iterator<Item = (&Bytes, &Version)> {
        let place = |key: &Bytes, ended| Past {
            key: key.clone(),
            ended,
        };
        let start = match &bounds.start {
            Bound::Included(key) => Bound::Included(place(key, 0)),
            Bound::Excluded(key) => Bound::Excluded(place(key, Revision::MAX)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let end = match &bounds.end {
            Bound::Included(key) => Bound::Included(place(key, Revision::MAX)),
            Bound::Excluded(key) => Bound::Excluded(place(key, 0)),
            Bound::Unbounded => Bound::Unbounded,
        };
        self.past
            .range((start, end))
            .filter(move |(past, version)| version.mod_revision <= revision && revision < past.ended)
            .map(|(past, version)| (&past.key, version.as_ref()))
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
