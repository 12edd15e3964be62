//! The engine under test, as the product has it, without the rest of its crate.

#[path = "../../../crates/revoada-mesh/src/log/mod.rs"]
pub mod log;
