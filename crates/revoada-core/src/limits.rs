//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// A document of one resource has fewer bytes than this; others are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// How many bytes of content the aliases of one YAML document may stand for, and its anchors may keep.
pub const ALIAS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// The most significant digits of one number in a document.
pub const NUMBER_DIGITS_MAX: usize = 1024;
/// The largest power of ten, positive or negative, that one number in a document is scaled by.
pub const NUMBER_EXPONENT_MAX: i64 = 1_000_000_000;
