//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;

/// How large a segment of the node's log is made, in bytes, where the configuration says nothing. Two exist at a time
/// on an idle node (the one in use and the one prepared), so it is also what a node takes of an empty disk.
pub const LOG_SEGMENT_BYTES_DEFAULT: u32 = 32 * 1024 * 1024;
/// How many payload bytes of the newest log entries stay in memory.
pub const LOG_CACHE_BYTES_DEFAULT: usize = 8 * 1024 * 1024;
/// How many bytes may wait for the log's writer; past it an append is refused, so the caller waits first.
pub const LOG_PENDING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How many bytes the log's writer puts behind one sync; more would make the first of them wait for the last.
pub const LOG_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The largest payload of one log entry, in bytes.
pub const LOG_ENTRY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest value of one metadata slot of the log, in bytes: every segment's header repeats all slots.
pub const LOG_METADATA_BYTES_MAX: usize = 16 * 1024;
/// How many metadata values that ask for no sync of their own may wait for somebody else's before they get one.
pub const LOG_LAZY_METADATA_MAX: usize = 1024;
/// How many bytes of a segment one read takes from the disk.
pub const LOG_READ_CHUNK_BYTES: usize = 1024 * 1024;
