//! The framed protocol: many requests at once over one connection, answered in whatever order they are done.
//!
//! A request over HTTP/1.1 costs its sender two system calls and its node a parse of headers; at 256 clients most of a
//! node's time is spent there. Here both sides move many requests per system call, and one connection carries as many
//! clients as one likes. It is entered from HTTP (`GET /v1/frames` with `Upgrade: revoada-frames/1`), so that it needs
//! no listener and no authentication of its own. Rejected: HTTP/2, which measured half of this for the same requests.
//!
//! - Each frame is a little-endian `u32` length and so many bytes of one CBOR message: [`Request`] one way,
//!   [`Response`] the other.
//! - `id` is the caller's, from 1; it comes back with the answer. Answers come in any order.
//! - An answer with id 0 is about the connection: it is the last, and says why the connection ends. Everything that was
//!   begun has been answered before it; what has no answer by then was never begun.
//! - A connection that ends without that leaves the outcome of its unanswered mutations unknown.

mod codec;
mod connection;
mod protocol;

pub use codec::{FRAME_HEADER_BYTES, FrameError, FrameReader, FrameWriter, append, decode};
pub use connection::{Calls, Closed, serve};
pub use protocol::{Answer, CONNECTION_ID, Call, Request, Response};
