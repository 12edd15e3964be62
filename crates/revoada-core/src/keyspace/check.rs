//! Whether a transaction may run, decided before it changes anything, so that running it cannot fail.
//!
//! First what can be seen in the transaction alone (sizes, depth, keys changed twice), then what depends on the
//! state. Running it and undoing on failure was rejected: a copy kept for undoing makes every node of the map shared,
//! and each write then copies its path for nothing.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::operation::{Compare, CompareTarget, Op, Txn};
use super::refused::OperationRefused;
use super::{KeyRange, Keyspace, NO_LEASE, Version};
use crate::limits::{KEY_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX, VALUE_BYTES_MAX};

/// Which branch each transaction takes, in the order in which they run, the outermost first.
pub(super) type Path = Vec<bool>;

/// Checks what can be seen without the state.
pub(super) fn form(txn: &Txn) -> Result<(), OperationRefused> {
    let mut ops = 0;
    sizes(txn, 1, &mut ops)?;
    if ops > 1 {
        overlaps(&txn.then)?;
        overlaps(&txn.otherwise)?;
    }
    Ok(())
}

fn sizes(txn: &Txn, depth: usize, ops: &mut usize) -> Result<(), OperationRefused> {
    if depth > TXN_DEPTH_MAX {
        return Err(OperationRefused::TooDeep { max: TXN_DEPTH_MAX });
    }
    *ops += txn.compares.len() + txn.then.len() + txn.otherwise.len();
    if *ops > TXN_OPS_MAX {
        return Err(OperationRefused::TooManyOps { max: TXN_OPS_MAX });
    }
    for op in txn.then.iter().chain(&txn.otherwise) {
        match op {
            Op::Put {
                key,
                value,
                lease,
                keep_value,
                keep_lease,
                ..
            } => {
                key_size(key)?;
                value_size(value)?;
                if *keep_value && !value.is_empty() {
                    return Err(OperationRefused::ValueGiven);
                }
                if *keep_lease && *lease != NO_LEASE {
                    return Err(OperationRefused::LeaseGiven);
                }
            }
            Op::Txn(nested) => sizes(nested, depth + 1, ops)?,
            Op::Delete { .. } | Op::Range(_) => {}
        }
    }
    Ok(())
}

/// Checks the length of a key that is to be stored.
pub(super) fn key_size(key: &Bytes) -> Result<(), OperationRefused> {
    match key.len() {
        0 => Err(OperationRefused::EmptyKey),
        bytes if bytes > KEY_BYTES_MAX => Err(OperationRefused::KeyTooLong {
            bytes,
            max: KEY_BYTES_MAX,
        }),
        _ => Ok(()),
    }
}

/// Checks the length of a value that is to be stored.
pub(super) fn value_size(value: &Bytes) -> Result<(), OperationRefused> {
    match value.len() {
        bytes if bytes > VALUE_BYTES_MAX => Err(OperationRefused::ValueTooLong {
            bytes,
            max: VALUE_BYTES_MAX,
        }),
        _ => Ok(()),
    }
}

/// What a list of operations might change.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: Vec<&'a KeyRange>,
}

impl<'a> Changes<'a> {
    fn put(&mut self, key: &'a Bytes) -> Result<(), OperationRefused> {
        let deleted = self.deletes.iter().any(|range| range.contains(key));
        if deleted || !self.puts.insert(key) {
            return Err(OperationRefused::DuplicateKey { key: key.clone() });
        }
        Ok(())
    }
}

/// Refuses a key that is put twice, or put where it is deleted. The branches of one nested transaction exclude each
/// other and may put the same key; a nested transaction may delete what one before it put, not the other way round
/// (etcd: `checkIntervals`, whose order this follows).
fn overlaps(ops: &[Op]) -> Result<Changes<'_>, OperationRefused> {
    let mut changes = Changes::default();
    changes.deletes.extend(ops.iter().filter_map(|op| match op {
        Op::Delete { range, .. } => Some(range),
        _ => None,
    }));
    for op in ops {
        let Op::Txn(nested) = op else { continue };
        let then = overlaps(&nested.then)?;
        let otherwise = overlaps(&nested.otherwise)?;
        for key in then.puts.union(&otherwise.puts) {
            changes.put(key)?;
        }
        changes.deletes.extend(then.deletes);
        changes.deletes.extend(otherwise.deletes);
    }
    for op in ops {
        if let Op::Put { key, .. } = op {
            changes.put(key)?;
        }
    }
    Ok(changes)
}

impl Keyspace {
    /// Decides the branches of a transaction and checks what the operations on them need, all by the state as it is.
    pub(super) fn decide(&self, txn: &Txn, path: &mut Path) -> Result<(), OperationRefused> {
        let holds = txn.compares.iter().all(|compare| self.holds(compare));
        path.push(holds);
        for op in if holds { &txn.then } else { &txn.otherwise } {
            match op {
                Op::Put {
                    key,
                    lease,
                    keep_value,
                    keep_lease,
                    ..
                } => {
                    if (*keep_value || *keep_lease) && !self.current.contains_key(key.as_ref()) {
                        return Err(OperationRefused::KeyNotFound { key: key.clone() });
                    }
                    if *lease != NO_LEASE && !self.leases.contains(*lease) {
                        return Err(OperationRefused::LeaseNotFound { id: *lease });
                    }
                }
                Op::Range(query) => {
                    if let Some(revision) = query.revision {
                        self.readable(revision, self.revision)?;
                    }
                }
                Op::Txn(nested) => self.decide(nested, path)?,
                Op::Delete { .. } => {}
            }
        }
        Ok(())
    }

    fn holds(&self, compare: &Compare) -> bool {
        let relation = compare.relation;
        if let KeyRange::One(key) = &compare.range {
            return compare_one(compare, self.get(key));
        }
        let Some(bounds) = compare.range.bounds(None) else {
            return compare_one(compare, None);
        };
        let mut versions = self
            .current
            .range(bounds.borrowed())
            .map(|(_, version)| version)
            .peekable();
        if let CompareTarget::Exists(expected) = &compare.target {
            return relation.holds(&versions.peek().is_some(), expected);
        }
        if versions.peek().is_none() {
            return compare_one(compare, None);
        }
        versions.all(|version| compare_one(compare, Some(version)))
    }
}

/// Whether a condition holds for one key, `None` if it does not exist.
fn compare_one(compare: &Compare, version: Option<&Version>) -> bool {
    let number =
        |field: fn(&Version) -> u64, expected: &u64| compare.relation.holds(&version.map_or(0, field), expected);
    match &compare.target {
        CompareTarget::Create(expected) => number(|version| version.create_revision, expected),
        CompareTarget::Mod(expected) => number(|version| version.mod_revision, expected),
        CompareTarget::VersionNumber(expected) => number(|version| version.version, expected),
        CompareTarget::Lease(expected) => number(|version| version.lease, expected),
        CompareTarget::Value(expected) => {
            version.is_some_and(|version| compare.relation.holds(version.value.as_ref(), expected.as_ref()))
        }
        CompareTarget::Exists(expected) => compare.relation.holds(&version.is_some(), expected),
    }
}
