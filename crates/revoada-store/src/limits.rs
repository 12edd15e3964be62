//! The limits of stores, by name (invariant 8); the units come last.

/// The most items in one page of a list.
pub const LIST_PAGE_ITEMS_MAX: usize = 10_000;
/// The longest continue token that is read, in characters: twice a key in hex, and its frame.
pub const CONTINUE_TOKEN_CHARS_MAX: usize = 4_096;
/// The most watches that are open at once on one backend.
pub const WATCHES_MAX: usize = 100_000;

/// The longest line of an audit log, in bytes without its line feed: a caller, a reference whose every character is
/// escaped, and the rest.
pub const AUDIT_LINE_BYTES_MAX: usize = 16_384;
/// How much of a caller's name a line of an audit log holds, in characters.
pub const AUDIT_WHO_CHARS_MAX: usize = 256;
/// How much of a filter a line of an audit log holds, in characters.
pub const AUDIT_REFERENCE_CHARS_MAX: usize = 1_024;
/// How many verbs may wait to be written down; further ones wait to be queued.
pub const AUDIT_QUEUE_LINES_MAX: usize = 4_096;
/// How many waiting verbs are made durable by one sync.
pub const AUDIT_GROUP_LINES_MAX: usize = 1_024;

/// How many events one pull of a watcher holds, unless a single transaction has more.
pub const WATCH_EVENTS_MAX: usize = 256;
/// After how many revisions without an event of its own a watcher is given a bookmark, so that it can resume where
/// the history still reaches.
pub const WATCH_BOOKMARK_REVISIONS: u64 = 1_000;
/// How many events the history of a backend in one process keeps.
pub const HISTORY_EVENTS_MAX: usize = 100_000;
/// How many bytes the history of a backend in one process keeps.
pub const HISTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How many leases are ended by one operation.
pub const LEASES_EXPIRED_MAX: usize = 1_000;
/// How many entries are read at once where a reader goes through all of them, before others get a turn.
pub const SCAN_ENTRIES_MAX: usize = 512;
/// How many resources one apply takes.
pub const APPLY_RESOURCES_MAX: usize = 10_000;
