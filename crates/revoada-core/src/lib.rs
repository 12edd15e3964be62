//! What decides in revoada, and nothing that acts: resources, declarations, topologies, roles, policy, the keyspace.
//!
//! Nothing here awaits, reads a clock, opens a file or a socket, draws a random number, or iterates an unordered map:
//! the same inputs give the same outputs, byte for byte (invariant 1 of ARCHITECTURE.md). Time is an argument.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod declaration;
pub mod error;
pub mod genesis;
pub mod keyspace;
pub mod limits;
pub mod machine;
pub mod policy;
pub mod resource;
pub mod roles;
pub mod roster;
pub mod snapshot;
pub mod topology;

// The words that core shares with the chain, so that crates above need only core.
pub use revoada_attest::planted;
pub use revoada_attest::{Digest, NodeId, Role, Signature, Transition, TransitionKind};
