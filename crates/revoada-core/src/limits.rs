//! Every queue, loop and buffer has its limit here, by name (invariant 8).

use std::time::Duration;

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

/// The largest body of one HTTP request to the native face, snapshots excepted (they are streamed), in bytes.
pub const HTTP_BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long the body of one HTTP request may take to arrive; between two chunks of a streamed one.
pub const HTTP_BODY_DURATION_MAX: Duration = Duration::from_secs(30);
/// The most documents of one apply request.
pub const APPLY_DOCUMENTS_MAX: usize = 10_000;
/// The most snapshots and restores that one node's native face works on at once.
pub const SNAPSHOT_TRANSFERS_MAX: usize = 2;
/// The largest snapshot that is taken over HTTP, in bytes; it is spooled to disk before it is looked at.
pub const SNAPSHOT_UPLOAD_BYTES_MAX: u64 = 64 * 1024 * 1024 * 1024;
/// The most encoded watch lines that wait for one slow watcher before its events stay in the backend, in bytes.
pub const WATCH_LINES_BYTES_MAX: usize = 256 * 1024;
/// The largest frame of the framed protocol, without its length, in bytes.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most requests of one framed connection that are worked on at once; the rest waits in the socket.
pub const FRAME_REQUESTS_IN_FLIGHT_MAX: usize = 1024;
/// With this many bytes of answers unsent, a framed connection reads no more requests.
pub const FRAME_ANSWERS_BYTES_MAX: usize = 1024 * 1024;
/// How long one frame may take to arrive whole, or an answer to be taken, before its connection is closed.
pub const FRAME_DURATION_MAX: Duration = Duration::from_secs(30);
/// The most framed connections of one node.
pub const FRAME_CONNECTIONS_MAX: usize = 1024;
/// How many bytes of content the aliases of one YAML document may stand for, and its anchors may keep.
pub const ALIAS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The most significant digits of one number in a document.
pub const NUMBER_DIGITS_MAX: usize = 1024;
/// The largest power of ten, positive or negative, that one number in a document is scaled by.
pub const NUMBER_EXPONENT_MAX: i64 = 1_000_000_000;
