//! Operations: checked whole, then done whole.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use revoada_attest::planted::{Bug, is_planted};

use super::check::{self, Path};
use super::entry::{Entry, KeyRange, LeaseId, NO_LEASE, Revision, Version};
use super::history::Change;
use super::operation::{Answer, EntryNumbers, Op, OpResult, Operation, Outcome, Restore, Txn, TxnAnswer};
use super::refused::OperationRefused;
use super::{FIRST_REVISION, Keyspace};
use crate::limits::{LEASE_TTL_MS_MAX, LEASES_MAX, RESTORE_REVISION_MAX};

/// The revision that is being written, and how many changes it has so far.
struct Writing {
    revision: Revision,
    changes: u32,
}

impl Keyspace {
    /// Does an operation, or refuses it.
    ///
    /// Atomic: it is done whole, or refused without a trace and without taking a revision. The outcome depends on the
    /// state and the operation alone. Keys and values are kept as they are given, without copying: they should own
    /// their bytes rather than share a large buffer, which would stay as long as they do.
    ///
    /// # Errors
    /// Every variant of [`OperationRefused`] says what was wrong.
    pub fn apply(&mut self, operation: Operation) -> Result<Outcome, OperationRefused> {
        let before = self.revision;
        let answer = match operation {
            Operation::Txn(txn) => Answer::Txn(self.txn(txn)?),
            Operation::Compact { revision } => self.compact(revision)?,
            Operation::LeaseGrant { id, ttl_ms, now_ms } => self.lease_grant(id, ttl_ms, now_ms)?,
            Operation::LeaseRevoke { id } => {
                if !self.leases.contains(id) {
                    return Err(OperationRefused::LeaseNotFound { id });
                }
                self.leases_end(vec![id])
            }
            Operation::LeaseKeepAlive { id, now_ms } => self.lease_keep_alive(id, now_ms)?,
            Operation::LeaseExpire { ids, now_ms } => {
                let over = |id: &LeaseId| self.leases.get(*id).is_some_and(|lease| lease.expires_at_ms <= now_ms);
                let mut ids: Vec<LeaseId> = ids.into_iter().filter(over).collect();
                ids.sort_unstable();
                ids.dedup();
                self.leases_end(ids)
            }
            Operation::Restore(restore) => self.restore(restore)?,
        };
        Ok(Outcome {
            revision: self.revision,
            changed: self.revision != before,
            answer,
        })
    }

    fn begin(&self) -> Writing {
        Writing {
            revision: self.revision + 1,
            changes: 0,
        }
    }

    fn end(&mut self, writing: &Writing) {
        if writing.changes > 0 {
            self.revision = writing.revision;
        }
    }

    fn txn(&mut self, txn: Txn) -> Result<TxnAnswer, OperationRefused> {
        check::form(&txn)?;
        let mut path = Path::new();
        self.decide(&txn, &mut path)?;
        let mut writing = self.begin();
        let answer = self.run(txn, &mut path.into_iter(), &mut writing);
        self.end(&writing);
        Ok(answer)
    }

    /// Does the branches that were decided on; what they need has been checked.
    fn run(&mut self, txn: Txn, path: &mut impl Iterator<Item = bool>, writing: &mut Writing) -> TxnAnswer {
        let succeeded = path
            .next()
            .unwrap_or_else(|| unreachable!("the path has one step for each transaction on it"));
        let ops = if succeeded { txn.then } else { txn.otherwise };
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put {
                    key,
                    value,
                    lease,
                    keep_value,
                    keep_lease,
                    same_prefix_bytes,
                    previous,
                } => {
                    // A plain put, which is almost every one, has no need to look first.
                    let looks = keep_value || keep_lease || same_prefix_bytes > 0;
                    let stored = if looks { self.current.get(key.as_ref()) } else { None };
                    let value = if keep_value {
                        stored.map(|stored| stored.value.clone()).unwrap_or_default()
                    } else {
                        value
                    };
                    let lease = if keep_lease {
                        stored.map_or(NO_LEASE, |stored| stored.lease)
                    } else {
                        lease
                    };
                    let same = |stored: &&Arc<Version>| {
                        stored.lease == lease && same(&stored.value, &value, same_prefix_bytes)
                    };
                    match stored.filter(same) {
                        Some(stored) => OpResult::Unchanged {
                            mod_revision: stored.mod_revision,
                        },
                        None => {
                            let before = self.put(key, value, lease, writing);
                            OpResult::Put {
                                created: before.is_none(),
                                previous: before.filter(|_| previous).map(|before| Version::clone(&before)),
                            }
                        }
                    }
                }
                Op::Delete { range, previous } => {
                    let keys = self.keys_in(&range);
                    let count = keys.len() as u64;
                    let mut before = Vec::new();
                    for key in keys {
                        if let Some(version) = self.delete(&key, writing).filter(|_| previous) {
                            before.push(Entry {
                                key,
                                version: Version::clone(&version),
                            });
                        }
                    }
                    OpResult::Deleted {
                        count,
                        previous: before,
                    }
                }
                Op::Range(query) => {
                    let newest = if writing.changes > 0 {
                        writing.revision
                    } else {
                        self.revision
                    };
                    OpResult::Range(self.range_in(&query, newest))
                }
                Op::Txn(nested) => OpResult::Txn(self.run(*nested, path, writing)),
            });
        }
        TxnAnswer { succeeded, results }
    }

    /// Writes one key and returns what was there before.
    fn put(&mut self, key: Bytes, value: Bytes, lease: LeaseId, writing: &mut Writing) -> Option<Arc<Version>> {
        let revision = writing.revision;
        self.data_bytes += value.len() as u64;
        let mut version = Version {
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease,
            value,
        };
        let (key, version, previous) = match self.current.get_key_value_mut(key.as_ref()) {
            Some((stored, slot)) => {
                self.data_bytes -= slot.value.len() as u64;
                version.create_revision = slot.create_revision;
                version.version = slot.version + 1;
                let version = Arc::new(version);
                let previous = mem::replace(slot, Arc::clone(&version));
                // The stored key is used on, so that the history holds one copy of a key, not one for each change.
                (stored.clone(), version, Some(previous))
            }
            None => {
                self.data_bytes += key.len() as u64;
                let version = Arc::new(version);
                self.current.insert(key.clone(), Arc::clone(&version));
                (key, version, None)
            }
        };
        let lease_before = previous.as_ref().map_or(NO_LEASE, |previous| previous.lease);
        if lease_before != lease {
            self.leases.detach(lease_before, &key);
            self.leases.attach(lease, key.clone());
        }
        self.record(key, Some(version), previous.clone(), writing);
        previous
    }

    /// Deletes one key and returns what was there before.
    fn delete(&mut self, key: &Bytes, writing: &mut Writing) -> Option<Arc<Version>> {
        let previous = self.current.remove(key.as_ref())?;
        self.data_bytes -= (key.len() + previous.value.len()) as u64;
        self.leases.detach(previous.lease, key);
        self.record(key.clone(), None, Some(Arc::clone(&previous)), writing);
        Some(previous)
    }

    fn record(
        &mut self,
        key: Bytes,
        version: Option<Arc<Version>>,
        previous: Option<Arc<Version>>,
        writing: &mut Writing,
    ) {
        let change = Change {
            revision: writing.revision,
            sub: writing.changes,
            key,
            version,
            previous,
        };
        self.history.record(change);
        writing.changes += 1;
    }

    fn keys_in(&self, range: &KeyRange) -> Vec<Bytes> {
        match range.bounds(None) {
            Some(bounds) => self
                .current
                .range(bounds.borrowed())
                .map(|(key, _)| key.clone())
                .collect(),
            None => Vec::new(),
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<Answer, OperationRefused> {
        if revision <= self.compacted {
            return Err(OperationRefused::Compacted {
                asked: revision,
                oldest: self.oldest_readable(),
            });
        }
        if revision > self.revision {
            return Err(OperationRefused::Future {
                asked: revision,
                current: self.revision,
            });
        }
        self.compacted = revision;
        Ok(Answer::Compacted {
            events: self.history.compact(revision),
        })
    }

    fn lease_grant(&mut self, id: LeaseId, ttl_ms: u64, now_ms: u64) -> Result<Answer, OperationRefused> {
        if id == NO_LEASE {
            return Err(OperationRefused::LeaseIdZero);
        }
        if ttl_ms == 0 || ttl_ms > LEASE_TTL_MS_MAX {
            return Err(OperationRefused::LeaseTime {
                ttl_ms,
                max: LEASE_TTL_MS_MAX,
            });
        }
        if self.leases.contains(id) {
            return Err(OperationRefused::LeaseExists { id });
        }
        if self.leases.len() >= LEASES_MAX {
            return Err(OperationRefused::TooManyLeases { max: LEASES_MAX });
        }
        let expires_at_ms = now_ms.saturating_add(ttl_ms);
        self.leases.insert(id, ttl_ms, expires_at_ms);
        Ok(Answer::Lease {
            id,
            ttl_ms,
            expires_at_ms,
        })
    }

    fn lease_keep_alive(&mut self, id: LeaseId, now_ms: u64) -> Result<Answer, OperationRefused> {
        let lease = self
            .leases
            .renew(id, now_ms)
            .ok_or(OperationRefused::LeaseNotFound { id })?;
        Ok(Answer::Lease {
            id,
            ttl_ms: lease.ttl_ms,
            expires_at_ms: lease.expires_at_ms,
        })
    }

    /// Ends leases that exist, and deletes their keys, in one revision.
    fn leases_end(&mut self, ids: Vec<LeaseId>) -> Answer {
        let mut writing = self.begin();
        for id in &ids {
            let Some(lease) = self.leases.remove(*id) else { continue };
            for key in &lease.keys {
                self.delete(key, &mut writing);
            }
        }
        self.end(&writing);
        Answer::LeasesEnded {
            ids,
            deleted: u64::from(writing.changes),
        }
    }

    fn restore(&mut self, restore: Restore) -> Result<Answer, OperationRefused> {
        if !restore.numbers.is_empty() {
            return self.found(restore);
        }
        let above = if is_planted(Bug::RevisionIsReused) {
            restore.revision
        } else {
            self.revision.max(restore.revision)
        };
        if above >= RESTORE_REVISION_MAX {
            return Err(OperationRefused::NoRevisionLeft { revision: above });
        }
        let leases = self.restored_leases(&restore)?;
        let mut sorted = BTreeMap::new();
        for (key, value) in &restore.entries {
            check::key_size(key)?;
            check::value_size(value)?;
            if !restore.replaces(key) {
                return Err(OperationRefused::OutsidePrefix { key: key.clone() });
            }
            if sorted.insert(key.clone(), value.clone()).is_some() {
                return Err(OperationRefused::DuplicateKey { key: key.clone() });
            }
        }
        if is_planted(Bug::RestoreLosesTheLast) {
            sorted.pop_last();
        }
        let mut writing = Writing {
            revision: above + 1,
            changes: 0,
        };
        let Restore { prefix, also, .. } = restore;
        let prefixes = std::iter::once(prefix).chain(also);
        let keys: BTreeSet<Bytes> = prefixes
            .flat_map(|prefix| self.keys_in(&KeyRange::Prefix(prefix)))
            .collect();
        let answer = Answer::Restored {
            deleted: keys.len() as u64,
            entries: sorted.len() as u64,
        };
        for key in keys {
            self.delete(&key, &mut writing);
        }
        for lease in &restore.leases {
            if !self.leases.contains(lease.id) {
                let end = restore.now_ms.saturating_add(lease.ttl_ms);
                self.leases.insert(lease.id, lease.ttl_ms, end);
            }
        }
        for (key, value) in sorted {
            let lease = leases.get(&key).copied().unwrap_or(NO_LEASE);
            self.put(key, value, lease, &mut writing);
        }
        // Also a restore that changes no key takes a revision: whoever watched has to start anew.
        self.revision = writing.revision;
        self.compacted = self.revision;
        self.history.cut(self.revision + 1);
        Ok(answer)
    }

    /// Begins with entries that keep their numbers, where there is nothing yet.
    fn found(&mut self, restore: Restore) -> Result<Answer, OperationRefused> {
        if self.revision != FIRST_REVISION || !self.current.is_empty() {
            return Err(OperationRefused::NotNew {
                revision: self.revision,
            });
        }
        if restore.revision >= RESTORE_REVISION_MAX {
            return Err(OperationRefused::NoRevisionLeft {
                revision: restore.revision,
            });
        }
        let leases = self.restored_leases(&restore)?;
        let mut numbers = restore.numbers.iter().copied();
        let mut sorted = BTreeMap::new();
        for (key, value) in &restore.entries {
            check::key_size(key)?;
            check::value_size(value)?;
            if !restore.replaces(key) {
                return Err(OperationRefused::OutsidePrefix { key: key.clone() });
            }
            let fit = |numbers: &EntryNumbers| {
                let within = FIRST_REVISION < numbers.create_revision && numbers.mod_revision <= restore.revision;
                within && numbers.create_revision <= numbers.mod_revision && numbers.version > 0
            };
            let unfit = || OperationRefused::EntryNumbers { key: key.clone() };
            let numbers = numbers.next().filter(fit).ok_or_else(unfit)?;
            let version = Version {
                create_revision: numbers.create_revision,
                mod_revision: numbers.mod_revision,
                version: numbers.version,
                lease: leases.get(key).copied().unwrap_or(NO_LEASE),
                value: value.clone(),
            };
            if sorted.insert(key.clone(), version).is_some() {
                return Err(OperationRefused::DuplicateKey { key: key.clone() });
            }
        }
        let entries = sorted.len() as u64;
        for lease in &restore.leases {
            if !self.leases.contains(lease.id) {
                let end = restore.now_ms.saturating_add(lease.ttl_ms);
                self.leases.insert(lease.id, lease.ttl_ms, end);
            }
        }
        for (key, version) in sorted {
            self.data_bytes += (key.len() + version.value.len()) as u64;
            if version.lease != NO_LEASE {
                self.leases.attach(version.lease, key.clone());
            }
            self.current.insert(key, Arc::new(version));
        }
        self.revision = restore.revision;
        self.compacted = self.revision;
        self.history.cut(self.revision + 1);
        Ok(Answer::Restored { deleted: 0, entries })
    }

    /// Which lease each key of a restore is attached to, where leases can be granted as it says.
    fn restored_leases(&self, restore: &Restore) -> Result<BTreeMap<Bytes, LeaseId>, OperationRefused> {
        let mut new = BTreeSet::new();
        let mut attached = BTreeMap::new();
        for lease in &restore.leases {
            if lease.id == NO_LEASE {
                return Err(OperationRefused::LeaseIdZero);
            }
            if lease.ttl_ms == 0 || lease.ttl_ms > LEASE_TTL_MS_MAX {
                return Err(OperationRefused::LeaseTime {
                    ttl_ms: lease.ttl_ms,
                    max: LEASE_TTL_MS_MAX,
                });
            }
            if !self.leases.contains(lease.id) {
                new.insert(lease.id);
            }
            attached.extend(lease.keys.iter().map(|key| (key.clone(), lease.id)));
        }
        if self.leases.len() + new.len() > LEASES_MAX {
            return Err(OperationRefused::TooManyLeases { max: LEASES_MAX });
        }
        Ok(attached)
    }
}

/// Whether a put of `new` over `old` writes nothing new, see [`Op::Put`].
fn same(old: &[u8], new: &[u8], prefix_bytes: u32) -> bool {
    match prefix_bytes {
        0 => false,
        u32::MAX => old == new,
        bytes => {
            let bytes = bytes as usize;
            matches!((old.get(..bytes), new.get(..bytes)), (Some(old), Some(new)) if old == new)
        }
    }
}
