//! A write that was refused has not happened, and does not happen later (ARCHITECTURE.md, invariant 6: what may have happened is
//! told as unknown, never as failed). Every value is written by one operation of one client.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::Violation;
use crate::history::Records;
use crate::ledger::Truth;

/// Everything that was refused.
pub fn check(records: &Records, truth: &Truth) -> Result<(), Violation> {
    let refused: BTreeSet<(&Bytes, &Bytes)> = records.refused.iter().map(|(key, value)| (key, value)).collect();
    if refused.is_empty() {
        return Ok(());
    }
    for (revision, changes) in &truth.changes {
        let done = changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        if let Some((key, value)) = done.into_iter().find(|done| refused.contains(done)) {
            let what = format!("{key:?} was set to {value:?} in revision {revision}, which had been refused");
            return Err(Violation::of("refused", what));
        }
    }
    Ok(())
}
