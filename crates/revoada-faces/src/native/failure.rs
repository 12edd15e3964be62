//! An error as it travels: its kind, what happened, and why, once each.
//!
//! The kind is the contract; the HTTP status only follows from it, so that a client written for one transport reads
//! errors from every other. Rejected: RFC 9457 problem documents, whose `type` and `status` would be a second and a
//! third name of the same kind.

use std::error::Error;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use revoada_core::error::ErrorKind;
use revoada_store::StoreError;
use serde::{Deserialize, Serialize};

use super::message::AppliedResource;

/// The longest chain of causes that is written out.
const CAUSES_MAX: usize = 16;

/// An error of the native API, in HTTP bodies and in frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What to branch on.
    pub kind: ErrorKind,
    /// What happened, without its causes.
    pub message: String,
    /// Why, from the nearest cause to the farthest.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What an apply of several documents had already applied when it failed; these stay applied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<AppliedResource>,
}

/// The body of every HTTP answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureBody {
    /// The error.
    pub error: Failure,
}

impl Failure {
    /// An error with no cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: Vec::new(),
            applied: Vec::new(),
        }
    }

    /// The input is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An error and everything below it.
    pub fn of(kind: ErrorKind, error: &(dyn Error + 'static)) -> Self {
        Self {
            causes: causes(error.source()),
            ..Self::new(kind, error.to_string())
        }
    }

    /// What was wrong, and `error` with everything below it as the causes.
    pub fn because(kind: ErrorKind, message: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        Self {
            causes: causes(Some(error)),
            ..Self::new(kind, message)
        }
    }

    /// The HTTP status that goes with the kind.
    pub fn status(&self) -> StatusCode {
        status(self.kind)
    }
}

/// The HTTP status of a kind. Clients branch on the kind in the body; the status is for proxies and people.
pub fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::AlreadyExists | ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::Compacted => StatusCode::GONE,
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Denied => StatusCode::FORBIDDEN,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::OutcomeUnknown => StatusCode::GATEWAY_TIMEOUT,
        ErrorKind::Exhausted => StatusCode::INSUFFICIENT_STORAGE,
    }
}

fn causes(mut next: Option<&(dyn Error + 'static)>) -> Vec<String> {
    let mut causes = Vec::new();
    while let Some(cause) = next
        && causes.len() < CAUSES_MAX
    {
        causes.push(cause.to_string());
        next = cause.source();
    }
    causes
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let applied = match &error {
            StoreError::PartlyApplied(partly) => partly.applied.iter().map(AppliedResource::from).collect(),
            _ => Vec::new(),
        };
        Self {
            applied,
            ..Self::of(error.kind(), &error)
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        (status, Json(FailureBody { error: self })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [ErrorKind; 11] = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Conflict,
        ErrorKind::Compacted,
        ErrorKind::Invalid,
        ErrorKind::Unsupported,
        ErrorKind::Unauthenticated,
        ErrorKind::Denied,
        ErrorKind::Unavailable,
        ErrorKind::OutcomeUnknown,
        ErrorKind::Exhausted,
    ];

    #[test]
    fn every_kind_has_an_error_status_and_keeps_its_name_in_the_body() {
        for kind in ALL {
            let failure = Failure::new(kind, "what");
            assert!(
                failure.status().is_client_error() || failure.status().is_server_error(),
                "{kind}"
            );
            let body = serde_json::to_value(FailureBody { error: failure }).unwrap();
            assert_eq!(
                body,
                serde_json::json!({"error": {"kind": kind.name(), "message": "what", "causes": []}})
            );
        }
    }

    #[test]
    fn an_error_below_another_is_a_cause_and_is_not_repeated_in_the_message() {
        let error = StoreError::unavailable_because("no quorum", std::io::Error::other("the disk is gone"));
        let failure = Failure::from(error);
        assert_eq!(failure.message, "no quorum");
        assert_eq!(failure.causes, ["the disk is gone"]);
    }
}
