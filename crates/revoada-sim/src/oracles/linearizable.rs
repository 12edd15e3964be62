//! Every key, every transaction and every read of the newest is linearizable (Herlihy and Wing 1990), with the order that
//! the revisions give.
//!
//! An order that is given is checked, not searched for: each operation names the state that it made or saw, so it has to
//! stand behind everything that had been answered when it was asked (real time), and to have seen what that state holds
//! (the sequential specification). That is stronger than linearizability, which any other order would do for, and it is
//! what the revisions promise (etcd's API guarantees: strict serializability, with the revision as the order).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::Violation;
use crate::history::{Records, Span};
use crate::ledger::Truth;

struct Operation {
    span: Span,
    revision: u64,
    writes: bool,
}

/// All acknowledged operations.
pub fn check(records: &Records, truth: &Truth) -> Result<(), Violation> {
    real_time(records)?;
    contents(records, truth)
}

fn real_time(records: &Records) -> Result<(), Violation> {
    let writes = records.writes.iter().map(|write| Operation {
        span: write.span,
        revision: write.revision,
        writes: true,
    });
    let reads = records
        .reads
        .iter()
        .filter(|read| read.linearizable)
        .map(|read| Operation {
            span: read.span,
            revision: read.revision,
            writes: false,
        });
    let mismatches = records.mismatches.iter().map(|mismatch| Operation {
        span: mismatch.span,
        revision: mismatch.revision,
        writes: false,
    });
    let operations: Vec<_> = writes.chain(reads).chain(mismatches).collect();
    let mut by_call: Vec<&Operation> = operations.iter().collect();
    by_call.sort_by_key(|operation| operation.span.called);
    let mut by_return: Vec<&Operation> = operations.iter().collect();
    by_return.sort_by_key(|operation| operation.span.returned);
    let mut returned = by_return.into_iter().peekable();
    let mut newest: (u64, Option<Duration>) = (0, None);
    for operation in by_call {
        while let Some(before) = returned.next_if(|before| before.span.returned < operation.span.called) {
            if before.revision > newest.0 {
                newest = (before.revision, Some(before.span.returned));
            }
        }
        if operation.revision < newest.0 || (operation.writes && operation.revision == newest.0) {
            let what = format!(
                "a {} that was asked at {:?} has revision {}, and {} had been answered at {:?}",
                if operation.writes { "write" } else { "read" },
                operation.span.called,
                operation.revision,
                newest.0,
                newest.1,
            );
            return Err(Violation::of("linearizable", what));
        }
    }
    Ok(())
}

/// The values of one key, by the revision from which on it had them; and whether that is known of each revision.
fn values(truth: &Truth) -> BTreeMap<Bytes, BTreeMap<u64, Option<Bytes>>> {
    let mut values: BTreeMap<Bytes, BTreeMap<u64, Option<Bytes>>> = BTreeMap::new();
    for (revision, changes) in &truth.changes {
        for (key, value) in changes {
            values.entry(key.clone()).or_default().insert(*revision, value.clone());
        }
    }
    for (revision, whole) in &truth.wholes {
        for (key, value) in whole {
            values
                .entry(key.clone())
                .or_default()
                .insert(*revision, Some(value.clone()));
        }
        for (key, values) in &mut values {
            if !whole.contains_key(key) {
                values.insert(*revision, None);
            }
        }
    }
    values
}

fn contents(records: &Records, truth: &Truth) -> Result<(), Violation> {
    let (values, known) = (values(truth), truth.known());
    let at = |key: &Bytes, revision: u64| -> Option<Bytes> {
        let (_, value) = values.get(key)?.range(..=revision).next_back()?;
        value.clone()
    };
    for read in records.reads.iter().filter(|read| known.is_state(read.revision)) {
        for (key, seen) in &read.seen {
            let held = at(key, read.revision);
            if held != *seen {
                let what = format!(
                    "a read of {key:?} at revision {} saw {seen:?}, and that state holds {held:?}",
                    read.revision
                );
                return Err(Violation::of("linearizable", what));
            }
        }
    }
    for mismatch in &records.mismatches {
        if known.is_state(mismatch.revision)
            && at(&mismatch.key, mismatch.revision).as_ref() == Some(&mismatch.expected)
        {
            let what = format!(
                "{:?} was said not to be {:?} at revision {}, and it was",
                mismatch.key, mismatch.expected, mismatch.revision
            );
            return Err(Violation::of("linearizable", what));
        }
    }
    Ok(())
}
