//! The client of the native face: for the command line, for benchmarks, for programs that use a cluster from outside.
//!
//! Two ways lead to a node, and both begin at an [`Endpoint`]: [`Client`] makes HTTP requests, and [`FramedClient`]
//! sends many calls at once over one connection. Neither retries a mutation, because only the caller knows whether it
//! may happen twice; what an error says is whether it can have happened ([`ClientError::kind`]).
//!
//! Rejected: an HTTP client library (reqwest). It hides whether a request was sent before it failed, which is the
//! difference between `unavailable` and `outcome-unknown`, and it does not speak over Unix sockets.

mod calls;
mod endpoint;
mod error;
mod framed;
mod http;
mod path;
mod snapshot;
#[cfg(test)]
mod tests;
mod transport;
mod watch;

pub use endpoint::{Endpoint, EndpointError};
pub use error::{Cause, ClientError};
pub use framed::FramedClient;
pub use http::{Client, ClientOptions};
pub use revoada_faces::native::frames::{Answer, Call};
pub use revoada_faces::native::message;
pub use revoada_faces::native::{Failure, Members};
pub use snapshot::SnapshotDownload;
pub use watch::Watch;
