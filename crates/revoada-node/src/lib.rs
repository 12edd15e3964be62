//! A node: the loop that observes, plans, commits, acts and confirms, and the listeners around it.
//!
//! What to do is decided in `revoada_core::policy`; here it is carried out. Nothing in this crate branches on what a
//! topology means.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod admin;
pub mod backup;
mod boot;
pub mod config;
mod driver;
mod formation;
mod gate;
pub mod generation;
mod group;
pub mod introduction;
mod listen;
pub mod member;
mod metrics;
mod node;
mod positions;
mod recovery;
mod roster;
mod served;
pub mod tls;
mod witness;

pub use boot::BootError;
pub use listen::{Caller, ETCD_PATH, EtcdListen, EtcdServes, ListenError, PeerCertificate};
pub use node::{Entropy, EtcdParts, Faces, Node, NodeOptions, Parts, Running, Stopped};
pub use revoada_mesh::log::{LogOptions, ScriptedFaults};
pub use roster::AsMember;
pub use served::unserved;
