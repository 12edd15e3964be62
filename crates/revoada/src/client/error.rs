//! What a call can end with instead of its answer, and what may be assumed after it.

use std::error::Error;
use std::time::Duration;

use revoada_core::error::ErrorKind;
use revoada_faces::native::Failure;

use super::endpoint::EndpointError;

/// The cause of an error, as another component reported it.
pub type Cause = Box<dyn Error + Send + Sync + 'static>;

/// What a call can end with instead of its answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The endpoint is not one. Nothing was sent.
    #[error("the endpoint is not valid")]
    Endpoint(#[source] EndpointError),
    /// The authorities that the node has to be vouched for by cannot be read. Nothing was sent.
    #[error("the authorities in {file} cannot be used")]
    Authorities {
        /// The file.
        file: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// The request is one that cannot be sent. Nothing was sent.
    #[error("the request cannot be sent")]
    Request(#[source] Cause),
    /// There is no connection to the node. Nothing was sent.
    #[error("cannot connect to {endpoint}")]
    Connect {
        /// Where.
        endpoint: String,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// There was no connection to the node in time. Nothing was sent.
    #[error("cannot connect to {endpoint} within {} ms", .after.as_millis())]
    ConnectTimedOut {
        /// Where.
        endpoint: String,
        /// The time that was given.
        after: Duration,
    },
    /// The connection ended before the request was sent whole, so the node cannot have acted on it.
    #[error("the connection to {endpoint} ended before the request was sent")]
    NotSent {
        /// Where.
        endpoint: String,
        /// How it ended.
        #[source]
        source: Cause,
    },
    /// The request was sent, and no answer, or half of one, came.
    #[error("{endpoint} did not answer{}", if *.mutation { ": it may or may not have happened" } else { "" })]
    NoAnswer {
        /// Where.
        endpoint: String,
        /// Whether the request changes something.
        mutation: bool,
        /// What came instead.
        #[source]
        source: Cause,
    },
    /// The request was sent, and no answer came in time.
    #[error(
        "{endpoint} did not answer within {} ms{}",
        .after.as_millis(),
        if *.mutation { ": it may or may not have happened" } else { "" }
    )]
    NoAnswerInTime {
        /// Where.
        endpoint: String,
        /// Whether the request changes something.
        mutation: bool,
        /// The time that was given.
        after: Duration,
    },
    /// The answer is not one of this protocol.
    #[error("{endpoint} answered something that is not the native API: {what}")]
    BadAnswer {
        /// Where.
        endpoint: String,
        /// Whether the request changes something.
        mutation: bool,
        /// What came.
        what: String,
    },
    /// The node answered with an error.
    #[error(transparent)]
    Refused(Failure),
}

impl ClientError {
    /// The kind to branch on: `unavailable` when nothing can have happened, `outcome-unknown` when it may have.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Endpoint(error) => error.kind(),
            Self::Authorities { .. } | Self::Request(_) => ErrorKind::Invalid,
            Self::Connect { .. } | Self::ConnectTimedOut { .. } | Self::NotSent { .. } => ErrorKind::Unavailable,
            // A read that got no answer changed nothing, so there is nothing unknown about it.
            Self::NoAnswer { mutation, .. }
            | Self::NoAnswerInTime { mutation, .. }
            | Self::BadAnswer { mutation, .. } => {
                if *mutation {
                    ErrorKind::OutcomeUnknown
                } else {
                    ErrorKind::Unavailable
                }
            }
            Self::Refused(failure) => failure.kind,
        }
    }

    /// What caused it, from the nearest to the farthest, wherever it was found.
    pub fn causes(&self) -> Vec<String> {
        if let Self::Refused(failure) = self {
            return failure.causes.clone();
        }
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// The same as it travels: for commands that print errors as JSON.
    pub fn to_failure(&self) -> Failure {
        match self {
            Self::Refused(failure) => failure.clone(),
            other => Failure {
                causes: other.causes(),
                ..Failure::new(other.kind(), other.to_string())
            },
        }
    }
}
