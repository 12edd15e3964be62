//! A write takes effect once at most, also where its outcome was unknown (ARCHITECTURE.md, invariant 6: it is never tried again
//! behind the caller's back). Every value is written by one operation of one client.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Violation;
use crate::ledger::Truth;

/// Everything that was committed.
pub fn check(truth: &Truth) -> Result<(), Violation> {
    let mut written: BTreeMap<(&Bytes, &Bytes), u64> = BTreeMap::new();
    for (revision, changes) in &truth.changes {
        for (key, value) in changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?))) {
            if !value.starts_with(b"w") {
                continue;
            }
            if let Some(before) = written.insert((key, value), *revision) {
                let what = format!("{key:?} was set to {value:?} in revision {before}, and again in {revision}");
                return Err(Violation::of("exactly-once", what));
            }
        }
    }
    Ok(())
}
