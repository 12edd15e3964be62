//! Every queue, loop and buffer has its limit here, by name (invariant 8).

/// The largest document of one resource, in bytes; larger ones are refused before they are parsed.
/// The same as etcd's default request limit and Kubernetes' object limit.
pub const DOCUMENT_BYTES_MAX: usize = 1_572_864;
/// The longest resource name, in bytes (RFC 1123 subdomain, as Kubernetes has it).
pub const NAME_BYTES_MAX: usize = 253;
/// How deep the values of a document may nest.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// The largest declaration or genesis, in bytes: a thousand times what one needs.
pub const DECLARATION_BYTES_MAX: usize = 1_048_576;
/// The longest duration that a declaration may state, a hundred years: added to any clock it does not overflow.
pub const DECLARED_DURATION_MAX: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 86_400);
/// The longest name of a cluster, strategy, face, topology or founder, in bytes (a DNS label, RFC 1035 §2.3.4).
pub const DECLARED_NAME_BYTES_MAX: usize = 63;
