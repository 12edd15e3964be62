//! The messages and services of etcd v3, which the face that serves them and the bridge that calls them share.
//!
//! They are generated from the files in `proto/`, which have the protocol's own names and numbers. Nothing here knows
//! what a message means.

/// Keys, versions, events.
#[allow(missing_docs, reason = "generated")]
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Leases as they are stored.
#[allow(missing_docs, reason = "generated")]
pub mod leasepb {
    tonic::include_proto!("leasepb");
}

/// Users, roles, permissions.
#[allow(missing_docs, reason = "generated")]
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// Keys, watches, leases, members, maintenance, authentication.
#[allow(missing_docs, clippy::doc_markdown, clippy::large_enum_variant, reason = "generated")]
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Locks.
#[allow(missing_docs, reason = "generated")]
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Elections.
#[allow(missing_docs, reason = "generated")]
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}
