//! Where resources rest, and the ports through which everything else reaches them.
//!
//! - [`StoreBackend`]: the verbs on resources that every backend has, with its [`Capabilities`].
//! - [`Keyspace`]: what faces need beyond them, where a backend is a keyspace: transactions, reads at a revision,
//!   watches of keys, leases. [`KeyspaceBackend`] makes a backend of any keyspace.
//! - [`ClusterAdmin`]: members, roles, the chain. [`RaftGroup`]: the members as a foreign protocol counts them.
//!
//! [`MemoryBackend`] and [`FolderBackend`] are here; [`audit`] wraps any backend; [`conformance`] is what each of
//! them has to pass. Nothing here knows Raft, HTTP or D-Bus.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod admin;
pub mod audit;
mod backend;
mod capability;
pub mod conformance;
mod error;
mod folder;
mod group;
mod keyspace;
mod keyspace_backend;
pub mod limits;
mod local;
mod memory;
mod watch;

pub use admin::ClusterAdmin;
pub use backend::*;
pub use capability::{Capabilities, Capability};
pub use error::*;
pub use folder::{FolderBackend, FolderConfig, FolderKeyspace, OpenFolderError};
pub use group::{
    GroupChange, GroupChangeError, GroupChanged, GroupFigures, GroupMember, MoveLeaderError, RaftGroup, Standing,
    SyncTimes,
};
pub use keyspace::{Consistency, KeyEventStream, KeyEvents, Keyspace, KeyspaceError, SnapshotExtras, watch_keys};
pub use keyspace_backend::{
    KeyspaceBackend, SnapshotSection, WholeSnapshot, read_snapshot, verify_snapshot, write_first_snapshot,
    write_snapshot,
};
pub use memory::{MemoryBackend, MemoryKeyspace, stamp};
pub use watch::{WatchEvent, WatchRequest, WatchStream};
