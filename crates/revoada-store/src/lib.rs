//! Where resources rest, and the ports through which everything else reaches them.
//!
//! - [`StoreBackend`]: the verbs on resources that every backend has.
//! - `Keyspace`: what faces need beyond them, where a backend is a keyspace: transactions, ranges, watches, leases.
//! - [`ClusterAdmin`]: members, roles, the chain.
//!
//! Nothing here knows Raft, HTTP or D-Bus.

pub mod admin;
pub mod audit;
mod backend;
mod capability;
mod error;
pub mod limits;
mod selector;
mod watch;

pub use admin::ClusterAdmin;
pub use backend::*;
pub use capability::{Capabilities, Capability};
pub use error::*;
pub use selector::Selector;
pub use watch::{WatchEvent, WatchRequest, WatchStream};
