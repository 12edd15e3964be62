//! What can go wrong behind the port: one struct per condition, one enum over them.
//!
//! Every condition carries the identifiers that a caller needs to act (which resource, which revision was expected,
//! which is the oldest that is kept), because a face has to answer in its own protocol and cannot parse our prose.
//!
//! Rejected: one enum per verb. Layers, federations and faces wrap all verbs alike, and seven enums that differ in two
//! variants each made them convert instead of decide. What a verb cannot return is stated at the verb.

use std::error::Error;
use std::fmt;

use revoada_core::error::ErrorKind;
use revoada_core::resource::ResourceRef;

use crate::backend::Applied;
use crate::capability::Capability;

/// The cause of a condition, as another component reported it.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// No resource has this address (at the revision that was read).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference} does not exist")]
pub struct NotFound {
    /// What was asked for.
    pub reference: ResourceRef,
}

/// It was to be created, and is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference} exists already, at revision {revision}")]
pub struct AlreadyExists {
    /// What was to be created.
    pub reference: ResourceRef,
    /// The revision of its last change.
    pub revision: u64,
}

/// A compare-and-set found another revision than the caller had seen. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reference} was expected at revision {expected} and is {}", describe_actual(*.actual))]
pub struct RevisionConflict {
    /// What was to be changed.
    pub reference: ResourceRef,
    /// The revision that the caller gave.
    pub expected: u64,
    /// The revision of its last change; none when it does not exist.
    pub actual: Option<u64>,
}

fn describe_actual(actual: Option<u64>) -> String {
    actual.map_or_else(|| "not there".to_owned(), |revision| format!("at revision {revision}"))
}

/// The revision asked for is no longer kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("revision {requested} is compacted; the oldest that is kept is {oldest}")]
pub struct Compacted {
    /// The revision asked for.
    pub requested: u64,
    /// The oldest revision that can be read.
    pub oldest: u64,
}

/// The input is wrong, wherever it is sent; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Invalid {
    /// What is wrong, and where.
    pub what: String,
    /// What found it, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// This backend cannot do it, now or later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {backend} backend cannot {}", .capability.verb())]
pub struct Unsupported {
    /// The backend's name.
    pub backend: String,
    /// What it lacks.
    pub capability: Capability,
}

/// The caller did not say who it is, or not believably.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Unauthenticated {
    /// What is missing or wrong.
    pub what: String,
    /// What found it, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// The caller may not do it.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Denied {
    /// What was refused.
    pub what: String,
    /// What refused it, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// It cannot be done now. Nothing was changed: the caller may try again.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Unavailable {
    /// What is missing: a quorum, a leader, a reachable peer, a disk that takes writes.
    pub what: String,
    /// What failed, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// It was sent and no answer came: it may or may not have happened, and may still happen (invariant 6).
#[derive(Debug, thiserror::Error)]
#[error("the outcome is unknown: {what}")]
pub struct OutcomeUnknown {
    /// What was sent, and what became of the answer.
    pub what: String,
    /// What failed, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// A limit was reached; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct Exhausted {
    /// Which limit, and how far over it.
    pub what: String,
    /// What reached it, if another component did.
    #[source]
    pub source: Option<Cause>,
}

/// Some of the resources of one apply were applied before one failed. Those stay applied.
#[derive(Debug, thiserror::Error)]
#[error("{} applied, then {failed} was not", count(.applied.len()))]
pub struct PartlyApplied {
    /// What was applied, in input order.
    pub applied: Vec<Applied>,
    /// The first that was not; later ones were not tried.
    pub failed: ResourceRef,
    /// Why it was not.
    #[source]
    pub source: Box<StoreError>,
}

fn count(number: usize) -> String {
    if number == 1 {
        "1 resource was".to_owned()
    } else {
        format!("{number} resources were")
    }
}

/// Anything that a verb of a backend can answer instead of its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// See [`NotFound`].
    #[error(transparent)]
    NotFound(#[from] NotFound),
    /// See [`AlreadyExists`].
    #[error(transparent)]
    AlreadyExists(#[from] AlreadyExists),
    /// See [`RevisionConflict`].
    #[error(transparent)]
    Conflict(#[from] RevisionConflict),
    /// See [`Compacted`].
    #[error(transparent)]
    Compacted(#[from] Compacted),
    /// See [`Invalid`].
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// See [`Unsupported`].
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// See [`Unauthenticated`].
    #[error(transparent)]
    Unauthenticated(#[from] Unauthenticated),
    /// See [`Denied`].
    #[error(transparent)]
    Denied(#[from] Denied),
    /// See [`Unavailable`].
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// See [`OutcomeUnknown`].
    #[error(transparent)]
    OutcomeUnknown(#[from] OutcomeUnknown),
    /// See [`Exhausted`].
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// See [`PartlyApplied`]; its kind is the kind of what failed.
    #[error(transparent)]
    PartlyApplied(#[from] PartlyApplied),
}

impl StoreError {
    /// Which condition it is, for callers that branch.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::AlreadyExists(_) => ErrorKind::AlreadyExists,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Compacted(_) => ErrorKind::Compacted,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::Unsupported(_) => ErrorKind::Unsupported,
            Self::Unauthenticated(_) => ErrorKind::Unauthenticated,
            Self::Denied(_) => ErrorKind::Denied,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::OutcomeUnknown(_) => ErrorKind::OutcomeUnknown,
            Self::Exhausted(_) => ErrorKind::Exhausted,
            Self::PartlyApplied(partly) => partly.source.kind(),
        }
    }

    /// The input is wrong: `what` says what and where.
    pub fn invalid(what: impl fmt::Display) -> Self {
        Self::Invalid(Invalid {
            what: what.to_string(),
            source: None,
        })
    }

    /// The input is wrong, as `source` found.
    pub fn invalid_because(what: impl fmt::Display, source: impl Into<Cause>) -> Self {
        Self::Invalid(Invalid {
            what: what.to_string(),
            source: Some(source.into()),
        })
    }

    /// It cannot be done now and nothing was changed.
    pub fn unavailable(what: impl fmt::Display) -> Self {
        Self::Unavailable(Unavailable {
            what: what.to_string(),
            source: None,
        })
    }

    /// It cannot be done now and nothing was changed, because of `source`.
    pub fn unavailable_because(what: impl fmt::Display, source: impl Into<Cause>) -> Self {
        Self::Unavailable(Unavailable {
            what: what.to_string(),
            source: Some(source.into()),
        })
    }

    /// It may or may not have happened.
    pub fn outcome_unknown(what: impl fmt::Display) -> Self {
        Self::OutcomeUnknown(OutcomeUnknown {
            what: what.to_string(),
            source: None,
        })
    }

    /// It may or may not have happened, because of `source`.
    pub fn outcome_unknown_because(what: impl fmt::Display, source: impl Into<Cause>) -> Self {
        Self::OutcomeUnknown(OutcomeUnknown {
            what: what.to_string(),
            source: Some(source.into()),
        })
    }

    /// A limit was reached.
    pub fn exhausted(what: impl fmt::Display) -> Self {
        Self::Exhausted(Exhausted {
            what: what.to_string(),
            source: None,
        })
    }

    /// The backend lacks `capability`.
    pub fn unsupported(backend: &str, capability: Capability) -> Self {
        Self::Unsupported(Unsupported {
            backend: backend.to_owned(),
            capability,
        })
    }
}
