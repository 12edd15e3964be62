//! The limits of stores, by name (invariant 8); the units come last.

/// The most items in one page of a list.
pub const LIST_PAGE_ITEMS_MAX: usize = 10_000;
/// The longest continue token that is read, in characters: twice a key in hex, and its frame.
pub const CONTINUE_TOKEN_CHARS_MAX: usize = 4_096;
/// The most watches that are open at once on one backend.
pub const WATCHES_MAX: usize = 100_000;
