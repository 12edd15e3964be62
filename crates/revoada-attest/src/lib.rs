//! Who did what to the shape of a cluster, in a form that anyone can verify offline.
//!
//! This crate has no I/O and no clock: keys, blocks and the chain are values, and verification is a function of bytes.

mod id;
mod transition;

pub use id::{Digest, NodeId, ParseHexError, Signature};
pub use transition::{Role, Transition, TransitionKind};
