//! At most one leader can be elected in a given term (Raft, figure 3: election safety).

use super::Violation;
use crate::ledger::Truth;
use crate::wire::Place;

/// A node says that it leads in `term`; true when nobody did before.
pub fn leads(truth: &mut Truth, place: Place, term: u64) -> Result<bool, Violation> {
    match truth.leaders.insert(term, place) {
        None => Ok(true),
        Some(before) if before == place => Ok(false),
        Some(before) => Err(Violation::of(
            "election-safety",
            format!("node-{before} and node-{place} both lead in term {term}"),
        )),
    }
}
