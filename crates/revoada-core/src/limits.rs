//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// The longest frame between nodes, in bytes; a longer one closes the connection.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// The longest hello, in bytes.
pub const HELLO_BYTES_MAX: usize = 4096;
/// How long a connection may take from its first byte to the end of the hello, in milliseconds.
pub const HANDSHAKE_MS_MAX: u64 = 5_000;
/// How many connections of one listener may be in the handshake at once; more wait to be accepted.
pub const HANDSHAKES_MAX: usize = 64;
/// How many authenticated connections one peer may hold; the oldest of a concern is not closed, the new one refused.
pub const CONNECTIONS_PER_PEER_MAX: usize = 32;
/// How many calls may wait for an answer on one link between nodes.
pub const LINK_CALLS_MAX: usize = 4096;
/// How many appends a leader may have in flight to one follower.
pub const APPENDS_IN_FLIGHT_MAX: usize = 16;
/// After how long without an answer an append stream is taken for lost, in milliseconds.
pub const APPEND_SILENCE_MS_MAX: u64 = 1_000;
/// How many bytes of entries go into one append, at least one entry.
pub const APPEND_BYTES_MAX: u64 = 4 << 20;
/// The size of one piece of a checkpoint that is sent to another node, in bytes.
pub const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// How long one piece of a checkpoint may take, in milliseconds.
pub const SNAPSHOT_CHUNK_MS_MAX: u64 = 10_000;
/// How long a received checkpoint may take to be installed, in milliseconds.
pub const SNAPSHOT_INSTALL_MS_MAX: u64 = 60_000;
