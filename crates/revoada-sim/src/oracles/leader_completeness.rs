//! An entry that is committed in a term is in the logs of the leaders of all higher terms (Raft, figure 3: leader
//! completeness).

use std::collections::BTreeMap;

use revoada_attest::Digest;

use super::Violation;
use crate::ledger::Truth;
use crate::wire::Place;

/// The log of a leader in `term`, from `first` on.
pub fn leads(
    truth: &Truth,
    place: Place,
    term: u64,
    first: u64,
    entries: &[(u64, u64, Digest)],
) -> Result<(), Violation> {
    let held: BTreeMap<u64, (u64, Digest)> = entries
        .iter()
        .map(|(index, term, digest)| (*index, (*term, *digest)))
        .collect();
    for (index, committed) in truth.committed.range(first..) {
        if committed.0 < term && held.get(index) != Some(committed) {
            let what = format!(
                "node-{place} leads in term {term} without entry {index} of term {}, which is committed",
                committed.0
            );
            return Err(Violation::of("leader-completeness", what));
        }
    }
    Ok(())
}
