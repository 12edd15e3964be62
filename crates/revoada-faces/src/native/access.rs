//! Who calls, and what that caller may do.
//!
//! The listener decides: it has seen the socket's peer credentials or the token. It puts a [`Caller`] into the
//! request's extensions, and a request without one is refused, so that a listener that forgets opens nothing. Rejected:
//! checking tokens in the face, which would make it know where secrets are kept.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use revoada_core::error::ErrorKind;

use super::Failure;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum May {
    /// Look, and change nothing.
    Reader,
    /// Everything.
    Operator,
}

/// The caller of a request, as the listener found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name for logs and refusals: `uid 1000`, `token operator`.
    pub who: String,
    /// What it may do.
    pub may: May,
}

impl Caller {
    /// A caller that may do everything.
    pub fn operator(who: impl Into<String>) -> Self {
        Self {
            who: who.into(),
            may: May::Operator,
        }
    }

    /// A caller that may look.
    pub fn reader(who: impl Into<String>) -> Self {
        Self {
            who: who.into(),
            may: May::Reader,
        }
    }

    /// Refuses unless this caller may change things.
    pub fn must_operate(&self, what: &str) -> Result<(), Failure> {
        match self.may {
            May::Operator => Ok(()),
            May::Reader => Err(Failure::new(
                ErrorKind::Denied,
                format!("{} may look, but not {what}", self.who),
            )),
        }
    }
}

/// Any caller that the listener let in.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Failure::new(ErrorKind::Unauthenticated, "the caller did not say who it is"))
    }
}
