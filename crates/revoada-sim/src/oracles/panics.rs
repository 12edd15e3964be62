//! No task of a node panics, whatever happens around it, and none keeps time from passing (`crate::runtime`, which ends
//! such a task with a panic).

use super::Violation;

/// What tasks have panicked with.
pub fn none(panics: &[String]) -> Result<(), Violation> {
    match panics.first() {
        None => Ok(()),
        Some(first) => Err(Violation::of("panics", first.clone())),
    }
}
