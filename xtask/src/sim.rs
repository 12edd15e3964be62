//! `cargo xtask sim`: many seeds of simulated clusters, in a release build.
//!
//! What the arguments mean is the simulation's own matter (`crates/revoada-sim/examples/simulate.rs`).

use anyhow::{Context, Result};

use crate::cargo;

/// Runs the simulation with these arguments. False if it found something.
pub fn run(arguments: &[&str]) -> Result<bool> {
    let target = cargo::target()?;
    let build = [
        "run",
        "--release",
        "--quiet",
        "--locked",
        "-p",
        "revoada-sim",
        "--example",
        "simulate",
        "--",
    ];
    let status = cargo::command(&target, &build)
        .args(arguments)
        .status()
        .context("cargo does not start")?;
    Ok(status.success())
}
