//! `cargo xtask sim`: many seeds of simulated clusters, in a release build.
//!
//! What the arguments mean is the simulation's own matter (`crates/revoada-sim/examples/simulate.rs`).

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// What it takes, as it says itself: to be told without building it.
pub const USAGE: &str = include_str!("../../crates/revoada-sim/examples/simulate.txt");

/// Runs the simulation with these arguments, and ends as it does: 1 if it found something, 2 if it was misused.
pub fn run(arguments: &[&str]) -> Result<ExitCode> {
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
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => Ok(ExitCode::from(code)),
        _ => bail!("the simulation did not end by itself: {status}"),
    }
}
