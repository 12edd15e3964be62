//! Simulated clusters: production's nodes on virtual time, a network, disks and clocks that a seed decides about.
//!
//! Nothing here decides what a node decides. The driver, the policy, the keyspace, the log and openraft are those of
//! production on another runtime, and the network, the disk and the clock stand behind the ports that production uses.
//! [`fleet`] is the policy alone: years instead of minutes, and a thousand nodes. It is all that there is without the
//! feature `clusters`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(feature = "clusters")]
pub mod client_history;
#[cfg(feature = "clusters")]
pub mod cluster;
#[cfg(feature = "clusters")]
pub mod disk;
pub mod entropy;
#[cfg(feature = "clusters")]
pub mod etcd_history;
#[cfg(feature = "clusters")]
pub mod executor;
#[cfg(feature = "clusters")]
pub mod faults;
pub mod fleet;
#[cfg(feature = "clusters")]
pub mod gossip;
#[cfg(feature = "clusters")]
pub mod history;
#[cfg(feature = "clusters")]
pub mod ledger;
#[cfg(feature = "clusters")]
pub mod oracles;
#[cfg(feature = "clusters")]
pub mod plan;
#[cfg(feature = "clusters")]
pub mod run;
#[cfg(feature = "clusters")]
pub mod runtime;
#[cfg(feature = "clusters")]
pub mod trace;
#[cfg(feature = "clusters")]
pub mod wire;
#[cfg(feature = "clusters")]
pub mod workload;

#[cfg(all(test, feature = "clusters"))]
mod tests;
