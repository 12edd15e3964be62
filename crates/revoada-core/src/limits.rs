//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
