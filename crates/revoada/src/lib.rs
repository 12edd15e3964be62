//! revoada: a control plane that keeps the shape it was declared with.
//!
//! This crate is the composition root: it puts nodes, faces and backends together, as a library ([`Cluster`]) and as the
//! program `revoada`. What decides is in [`core`]; see ARCHITECTURE.md for the map.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod client;
mod cluster;
mod faces;
pub mod simulation;
pub mod system;

pub use revoada_attest as attest;
pub use revoada_core as core;
pub use revoada_node as node;
pub use revoada_store as store;

pub use cluster::{Cluster, ClusterBackend, ClusterBuilder, ClusterRuntimeError};
pub use faces::NativeFaces;
pub use revoada_core::declaration::{
    ClusterCoherenceError, ClusterDeclaration, FabricFace, FabricStrategy, FaceKind, ReconciliationCadence,
};
pub use revoada_core::resource::{Resource, ResourceFormat, ResourceRef};
pub use revoada_core::topology::{Cluster3MNW, MeshAllPeers, Pair, Phalanx, Quorum3M, Solo, TopologyStrategy};
pub use revoada_faces::etcd::{AutoCompaction, EtcdOptions, SERVED_AS as ETCD_VERSION};
pub use revoada_mesh::keyspace::RaftBackend;
pub use revoada_store::admin::HealthReport as ClusterHealth;
pub use revoada_store::{FolderBackend, FolderConfig, MemoryBackend, StoreBackend};
pub use simulation::{simulate, simulate_topology};
