//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// How many records of nodes a cluster keeps, those of evicted nodes included.
pub const NODES_MAX: usize = 1_024;
/// A node that is lost this many times within [`FLAPPING_WINDOW_MS`] is quarantined as flapping.
pub const FLAPPING_LOSSES: usize = 4;
/// The window in which losses are counted, in milliseconds.
pub const FLAPPING_WINDOW_MS: u64 = 600_000;
/// How long a node quarantined as flapping has to be alive before it is released, in milliseconds.
pub const QUARANTINE_ALIVE_MS: u64 = 600_000;
/// The least time between two role changes of one node, in milliseconds. The replacement of a lost voter and the
/// admission are exempt.
pub const ROLE_CHANGE_INTERVAL_MS: u64 = 60_000;
