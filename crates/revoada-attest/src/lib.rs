//! Who did what to the shape of a cluster, in a form that anyone can verify offline.
//!
//! Keys sign blocks, blocks form a chain, witnesses co-sign it, and [`verify()`] takes an exported chain apart again.
//! This crate has no I/O and no clock: keys, blocks and the chain are values, and verification is a function of bytes.
//! It depends on no other crate of the system, so that an auditor has to read this one only.
//!
//! Rejected: to build on a general format of signed documents (COSE, JWS). Their verifiers let the document choose its
//! algorithm and its key, and both choices are made here once: ed25519 by the strict check, BLAKE3, domains that never
//! overlap.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod block;
mod canonical;
mod chain;
mod export;
mod id;
mod key;
pub mod planted;
mod report;
#[cfg(test)]
mod testing;
mod transition;
mod trust;
pub mod verdicts;
mod verify;
mod witness;

pub use block::{BLOCK_BYTES_MAX, Block, BlockBody};
pub use chain::{BlockRefused, Chain, ChainDamaged, SealedBlock, WITNESSES_MAX, WitnessRefused};
pub use export::EXPORT_VERSION;
pub use id::{Digest, NodeId, ParseHexError, Signature};
pub use key::NodeKey;
pub use report::{PROBLEMS_MAX, Problem, ProblemKind, Report};
pub use transition::{Role, Transition, TransitionKind};
pub use trust::{TrustError, TrustProblem, TrustedKeys};
pub use verify::{UNWITNESSED_TAIL_MAX, WITNESSED_FROM_MEMBERS, verify};
pub use witness::Witness;
