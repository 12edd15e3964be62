//! A restore puts back what the snapshot holds and nothing else, at a revision that nobody was ever handed
//! (docs/backup.md, *The way back*; etcd#16028).

use super::Violation;
use crate::history::Records;
use crate::ledger::Truth;

/// All restores of snapshots that were answered for.
pub fn check(records: &Records, truth: &Truth) -> Result<(), Violation> {
    for put_back in &records.put_back {
        let broken = |how: String| {
            let what = format!("the restore of a snapshot at revision {} {how}", put_back.revision);
            Err(Violation::of("restored", what))
        };
        if put_back.revision <= put_back.taken {
            return broken(format!("does not go past {}, which the snapshot shows", put_back.taken));
        }
        // Only where somebody looked before the next change is it known what was there.
        let Some(mut whole) = truth.wholes.get(&put_back.revision).cloned() else {
            continue;
        };
        whole.retain(|key, _| key.starts_with(&put_back.prefix));
        if whole != put_back.entries {
            return broken(format!(
                "left {} resources, and the snapshot holds {}, or others",
                whole.len(),
                put_back.entries.len()
            ));
        }
    }
    Ok(())
}
