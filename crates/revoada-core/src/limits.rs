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
/// The longest key of the keyspace, in bytes; etcd's faces bound it further by the size of a request.
pub const KEY_BYTES_MAX: usize = 65_536;
/// The longest value of the keyspace, in bytes: a document, its parsed form and what both are wrapped in.
pub const VALUE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many compares and operations one transaction has at most, nested ones included.
/// (etcd's default is 128 for each list; its face may refuse earlier.)
pub const TXN_OPS_MAX: usize = 1_024;
/// How deep transactions nest, the outermost included.
pub const TXN_DEPTH_MAX: usize = 8;
/// How many leases there are at most.
pub const LEASES_MAX: usize = 1_000_000;
/// The longest time of a lease, in milliseconds (etcd: 9,000,000,000 seconds).
pub const LEASE_TTL_MS_MAX: u64 = 9_000_000_000_000;
/// How many events one call looks at for one watcher, whether or not they are in its range.
pub const EVENTS_EXAMINED_MAX: usize = 65_536;
/// The highest revision that a restore may start from; what is left above it cannot be used up, and every revision
/// stays a positive signed 64-bit number, which is what the foreign protocols have.
pub const RESTORE_REVISION_MAX: u64 = 1 << 62;
/// The longest text in the header of a snapshot (the declaration), in bytes.
pub const SNAPSHOT_TEXT_BYTES_MAX: usize = 1_048_576;
/// The largest named section of a snapshot, in bytes.
pub const SNAPSHOT_SECTION_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest piece of a section, in bytes: what is allocated before it is there.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 65_536;

/// How many bytes of content the aliases of one YAML document may stand for, and its anchors may keep.
pub const ALIAS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The most significant digits of one number in a document.
pub const NUMBER_DIGITS_MAX: usize = 1024;
/// The largest power of ten, positive or negative, that one number in a document is scaled by.
pub const NUMBER_EXPONENT_MAX: i64 = 1_000_000_000;
