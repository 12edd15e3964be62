//! Reads, of the newest state and of older ones.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Keyspace;
use super::entry::{Entry, LeaseId, Revision, Version};
use super::lease::LeaseInfo;
use super::operation::{RangeAnswer, RangeQuery};
use super::refused::ReadError;

impl Keyspace {
    /// The newest version of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Version> {
        self.current.get(key).map(Arc::as_ref)
    }

    /// The version of a key at a revision.
    ///
    /// # Errors
    /// The revision was compacted, or is in the future.
    pub fn get_at(&self, key: &[u8], revision: Revision) -> Result<Option<&Version>, ReadError> {
        self.readable(revision, self.revision)?;
        let newest = self.get(key);
        if newest.is_some_and(|version| version.mod_revision <= revision) {
            return Ok(newest);
        }
        Ok(self.history.before(key, revision).flatten())
    }

    /// The entries of a range, in key order. It costs what it gives; an answer at an older revision also a walk through
    /// what happened since then. Whoever
    /// serves many pages of one list keeps a clone of the keyspace and reads its newest revision instead.
    ///
    /// # Errors
    /// The revision was compacted, or is in the future.
    pub fn range(&self, query: &RangeQuery) -> Result<RangeAnswer, ReadError> {
        if let Some(revision) = query.revision {
            self.readable(revision, self.revision)?;
        }
        Ok(self.range_in(query, self.revision))
    }

    /// All leases, by name.
    pub fn leases(&self) -> impl Iterator<Item = LeaseInfo> {
        self.leases.iter().map(|(id, lease)| lease.info(id))
    }

    /// One lease.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseInfo> {
        self.leases.get(id).map(|lease| lease.info(id))
    }

    /// The keys attached to a lease, in order; `None` if there is no such lease.
    pub fn lease_keys(&self, id: LeaseId) -> Option<impl Iterator<Item = &Bytes>> {
        self.leases.get(id).map(|lease| lease.keys.iter())
    }

    /// At most `limit` leases whose time is over at `now_ms`, those that ended first in front: what to propose to
    /// expire. Costs what it returns.
    pub fn leases_over(&self, now_ms: u64, limit: usize) -> Vec<LeaseId> {
        self.leases.over(now_ms).take(limit).collect()
    }

    /// Whether a revision can be read when `newest` is the newest.
    pub(super) fn readable(&self, revision: Revision, newest: Revision) -> Result<(), ReadError> {
        let oldest = self.oldest_readable();
        if revision > newest {
            Err(ReadError::Future {
                asked: revision,
                current: newest,
            })
        } else if revision < oldest {
            Err(ReadError::Compacted {
                asked: revision,
                oldest,
            })
        } else {
            Ok(())
        }
    }

    /// Reads a range, `newest` being the revision of the newest state: inside a transaction that has changed
    /// something it is one above the keyspace's own. The revision asked for has been checked.
    pub(super) fn range_in(&self, query: &RangeQuery, newest: Revision) -> RangeAnswer {
        let mut page = Page::new(query, newest);
        let Some(bounds) = query.range.bounds(query.after.as_ref()) else {
            return page.answer;
        };
        let places = self.current.span(bounds.borrowed());
        page.answer.count = places.len() as u64;
        match query.revision {
            Some(revision) if revision < newest => {
                let behind = |key: &Bytes| query.after.as_ref().is_none_or(|after| key > after);
                let mut changed = self.history.before_in(&query.range, revision);
                changed.retain(|key, _| behind(key));
                for (key, before) in &changed {
                    page.answer.count -= u64::from(self.current.contains_key(key));
                    page.answer.count += u64::from(before.is_some());
                }
                page.fill_with(self.current.iter_at(places), changed);
            }
            _ => {
                for (key, version) in self.current.iter_at(places) {
                    if page.add(key, version).is_full() {
                        break;
                    }
                }
            }
        }
        page.answer
    }
}

/// A page that is being filled.
struct Page<'a> {
    query: &'a RangeQuery,
    answer: RangeAnswer,
}

/// Whether there is a reason to go on.
#[derive(PartialEq, Eq)]
enum Filled {
    Open,
    Full,
}

impl Filled {
    fn is_full(&self) -> bool {
        *self == Self::Full
    }
}

impl<'a> Page<'a> {
    fn new(query: &'a RangeQuery, revision: Revision) -> Self {
        Self {
            query,
            answer: RangeAnswer {
                revision,
                entries: Vec::new(),
                more: false,
                count: 0,
            },
        }
    }

    /// Adds what was there: a key that changed since is what its first change found; every other one is what it is now.
    fn fill_with<'b>(
        &mut self,
        now: impl Iterator<Item = (&'b Bytes, &'b Arc<Version>)>,
        changed: BTreeMap<&'b Bytes, Option<&'b Version>>,
    ) {
        let mut now = now.map(|(key, version)| (key, version.as_ref())).peekable();
        let mut changed = changed.into_iter().peekable();
        loop {
            let order = match (now.peek(), changed.peek()) {
                (Some((key, _)), Some((other, _))) => key.cmp(other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => break,
            };
            let newest = if order.is_le() { now.next() } else { None };
            let then = if order.is_ge() { changed.next() } else { None };
            let visible = match then {
                Some((key, version)) => version.map(|version| (key, version)),
                None => newest,
            };
            if visible.is_some_and(|(key, version)| self.add(key, version).is_full()) {
                break;
            }
        }
    }

    fn add(&mut self, key: &Bytes, version: &Version) -> Filled {
        if self.query.count_only {
            return Filled::Full;
        }
        if !self.query.passes(version) {
            return Filled::Open;
        }
        if self.query.limit > 0 && self.answer.entries.len() as u64 >= self.query.limit {
            self.answer.more = true;
            return Filled::Full;
        }
        let value = if self.query.keys_only {
            Bytes::new()
        } else {
            version.value.clone()
        };
        self.answer.entries.push(Entry {
            key: key.clone(),
            version: Version { value, ..*version },
        });
        Filled::Open
    }
}
