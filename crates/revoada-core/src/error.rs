//! The closed set of things that can go wrong, for callers that branch (DESIGN §10).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What kind of condition an error is. Faces map it to their own codes in one exhaustive `match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// What was asked for is not there.
    NotFound,
    /// It must not exist, and does.
    AlreadyExists,
    /// A compare-and-set found another revision than was expected.
    Conflict,
    /// The revision asked for is older than the oldest that is kept.
    Compacted,
    /// The input is wrong; nothing was changed.
    Invalid,
    /// This backend or build cannot do it.
    Unsupported,
    /// The caller did not say who it is.
    Unauthenticated,
    /// The caller may not do it.
    Denied,
    /// It cannot be done now, and nothing was changed: no quorum, no leader, not reachable.
    Unavailable,
    /// It was sent and no answer came: it may or may not have happened.
    OutcomeUnknown,
    /// A limit was reached: space, size, number.
    Exhausted,
}

impl ErrorKind {
    /// The kebab-case name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyExists => "already-exists",
            Self::Conflict => "conflict",
            Self::Compacted => "compacted",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Exhausted => "exhausted",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
