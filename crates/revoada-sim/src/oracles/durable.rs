//! What was acknowledged is there at the end, as it was acknowledged (ARCHITECTURE.md, invariant 5).

use super::Violation;
use crate::history::Records;
use crate::ledger::Truth;

/// `newest` is the revision of the cluster at the end.
pub fn check(records: &Records, truth: &Truth, newest: u64) -> Result<(), Violation> {
    for write in &records.writes {
        let lost = |how: String| {
            let what = format!(
                "a write that was acknowledged at {:?} with revision {} {how}",
                write.span.returned, write.revision
            );
            Err(Violation::of("durable", what))
        };
        if write.revision > newest {
            return lost(format!("is not there: the cluster is at revision {newest}"));
        }
        match truth.changes.get(&write.revision) {
            Some(changes) if *changes == write.changes => {}
            Some(changes) => return lost(format!("became another one: {changes:?} and not {:?}", write.changes)),
            // Behind a restore the events are gone, and what was restored is what counts.
            None if truth.wholes.range(write.revision..).next().is_some() => {}
            None => return lost("was never applied by anybody".to_owned()),
        }
    }
    Ok(())
}
