//! No task of a node panics, whatever happens around it.

use super::Violation;

/// What tasks have panicked with.
pub fn none(panics: &[String]) -> Result<(), Violation> {
    match panics.first() {
        None => Ok(()),
        Some(first) => Err(Violation::of("panics", first.clone())),
    }
}
