//! Reads, of the newest state and of older ones.

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
        Ok(self
            .get(key)
            .filter(|version| version.mod_revision <= revision)
            .or_else(|| self.history.visible(key, revision)))
    }

    /// The entries of a range, in key order. An answer with a limit and without `skip_count` costs a walk through
    /// the whole range, for its count; one at an older revision also a walk through what ended in the range since
    /// the last compaction.
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
        let current = self
            .current
            .range::<_, [u8]>(bounds.borrowed())
            .map(|(key, version)| (key, version.as_ref()));
        match query.revision {
            Some(revision) if revision < newest => {
                let mut current = current
                    .filter(|(_, version)| version.mod_revision <= revision)
                    .peekable();
                let mut past = self.history.visible_in(&bounds, revision).peekable();
                // No key is in both: what is visible at a revision either is the newest version or is over.
                loop {
                    let next = match (current.peek(), past.peek()) {
                        (Some((one, _)), Some((other, _))) if one > other => past.next(),
                        (Some(_), _) => current.next(),
                        (None, _) => past.next(),
                    };
                    let Some((key, version)) = next else { break };
                    if page.add(key, version).is_full() {
                        break;
                    }
                }
            }
            _ => {
                for (key, version) in current {
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

    fn add(&mut self, key: &Bytes, version: &Version) -> Filled {
        self.answer.count += 1;
        if self.query.count_only || self.answer.more || !self.query.passes(version) {
            return Filled::Open;
        }
        if self.query.limit > 0 && self.answer.entries.len() as u64 >= self.query.limit {
            self.answer.more = true;
            return if self.query.skip_count {
                Filled::Full
            } else {
                Filled::Open
            };
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
