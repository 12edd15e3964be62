//! If two logs contain an entry with the same index and term, they are identical up to it (Raft, figure 3: log matching);
//! and what two nodes have applied at an index is the same entry (state machine safety).

use revoada_attest::Digest;

use super::Violation;
use crate::ledger::Truth;
use crate::wire::Place;

/// The log of a node, of which everything up to `applied` is committed.
pub fn log(truth: &mut Truth, place: Place, applied: u64, entries: &[(u64, u64, Digest)]) -> Result<(), Violation> {
    let mut before: Option<(u64, u64)> = None;
    for (index, term, digest) in entries {
        let previous = before.filter(|(at, _)| at + 1 == *index).map(|(_, term)| term);
        before = Some((*index, *term));
        let known = truth.entries.entry((*index, *term)).or_insert((*digest, previous));
        if known.0 != *digest || (known.1.is_some() && previous.is_some() && known.1 != previous) {
            let what = format!("node-{place} has another entry {index} of term {term}, or another before it");
            return Err(Violation::of("log-matching", what));
        }
        known.1 = known.1.or(previous);
        if *index <= applied {
            let committed = *truth.committed.entry(*index).or_insert((*term, *digest));
            if committed != (*term, *digest) {
                let theirs = committed.0;
                let what =
                    format!("node-{place} has applied entry {index} of term {term}, another that of term {theirs}");
                return Err(Violation::of("state-machine-safety", what));
            }
        }
    }
    Ok(())
}
