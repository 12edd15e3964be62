//! Simulated clusters: production's nodes on virtual time, a network, disks and clocks that a seed decides about.
//!
//! Nothing here decides what a node decides. The driver, the policy, the keyspace, the log and openraft are those of
//! production on another runtime, and the network, the disk and the clock stand behind the ports that production uses.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod client_history;
pub mod cluster;
pub mod disk;
pub mod entropy;
pub mod faults;
pub mod gossip;
pub mod history;
pub mod ledger;
pub mod oracles;
pub mod plan;
pub mod run;
pub mod runtime;
pub mod trace;
pub mod wire;
pub mod workload;

#[cfg(test)]
mod tests;
