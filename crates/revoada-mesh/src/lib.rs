//! What connects nodes: identity and transport, membership, consensus.
//!
//! Every link between nodes is TLS 1.3 by the nodes' own keys (`transport`); gossip and Raft ride on it (`membership`,
//! `consensus`). Nothing here decides about roles: that is `revoada_core::policy`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod consensus;
pub mod disk_id;
pub mod failpoints;
pub mod files;
pub mod identity;
pub mod keyspace;
pub mod log;
pub mod membership;
pub mod runtime;
pub mod transport;
