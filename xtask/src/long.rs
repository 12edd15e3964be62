//! The long runs of `cargo xtask test --long`: drills in rows, and full load with nobody killed.
//!
//! Every run goes on after one that missed, so that docs/long-run.md tells of all.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::machine;
use crate::cargo;
use crate::cli::{Cluster, number};

const TIMES: &str = "20";
const STEADY_SECONDS: &str = "600";
const DRILLS: &[&str] = &[
    "kill-leader",
    "kill-control-plane",
    "kill-worker",
    "pause-leader",
    "kill-all",
];

/// The same as [`run`], of the binary that `REVOADA_BIN` names, or the one it builds.
pub fn alone() -> Result<bool> {
    run(&cargo::measured_binary(&cargo::target()?)?)
}

/// Runs all, keeps docs/long-run.md, says whether all held.
pub fn run(binary: &Path) -> Result<bool> {
    let base = cargo::target()?.join("xtask");
    let mut page = String::from(
        "# The last long run\n\nWritten by `cargo xtask test --long`, or `cargo xtask long`. Five nodes in the shape `cluster-3m-nw`, release build.\n\n",
    );
    writeln!(page, "{}\n", machine()?)?;
    writeln!(page, "| run | held | what it told |\n|---|---|---|")?;
    let (cluster, _) = Cluster::up(binary, &base, "cluster-3m-nw", 5)?;
    let mut held = true;
    for drill in DRILLS {
        println!("drill {drill} --times {TIMES}");
        let arguments = ["drill", drill, "--times", TIMES, "--writers", "8"];
        let line = cluster
            .json(&arguments)
            .and_then(|told| Ok((nothing_lost(&told)?, summary(&told)?)));
        held &= row(&mut page, &format!("`revoada {}`", arguments.join(" ")), line)?;
    }
    println!("bench put --seconds {STEADY_SECONDS}");
    let name = format!("`revoada bench put --clients 256 --seconds {STEADY_SECONDS}`, nobody killed");
    held &= row(&mut page, &name, steady(&cluster, STEADY_SECONDS))?;
    let file = cargo::root().join("docs/long-run.md");
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(held)
}

/// Full write load for `seconds`: whether nobody was elected or promoted, and what it told.
pub fn steady(cluster: &Cluster, seconds: &str) -> Result<(bool, String)> {
    let before = cluster.elections_and_promotions()?;
    let told = cluster.json(&[
        "bench",
        "put",
        "--clients",
        "256",
        "--size",
        "1024",
        "--seconds",
        seconds,
    ])?;
    let after = cluster.elections_and_promotions()?;
    let (elections, promotions) = (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1));
    let (ops, errors) = (number(&told, &["ops"])?, number(&told, &["errors"])?);
    let summary = format!("{elections} elections, {promotions} promotions, {ops} writes, {errors} errors");
    Ok((elections == 0 && promotions == 0, summary))
}

/// Whether a drill lost no write.
pub fn nothing_lost(told: &Value) -> Result<bool> {
    Ok(number(told, &["writes_lost"])? == 0.0 && number(told, &["writes_acknowledged"])? > 0.0)
}

fn summary(told: &Value) -> Result<String> {
    let n = |path: &[&str]| number(told, path);
    Ok(format!(
        "{} writes acknowledged, {} lost; write gap p50 {:.0}, p99 {:.0} ms; redundancy p50 {:.0}, p99 {:.0} ms",
        n(&["writes_acknowledged"])?,
        n(&["writes_lost"])?,
        n(&["write_gap_ms", "p50"])?,
        n(&["write_gap_ms", "p99"])?,
        n(&["redundancy_ms", "p50"])?,
        n(&["redundancy_ms", "p99"])?,
    ))
}

fn row(page: &mut String, name: &str, told: Result<(bool, String)>) -> Result<bool> {
    let (held, told) = told.unwrap_or_else(|error| (false, format!("{error:#}")));
    println!("{name}: {} ({told})", if held { "held" } else { "FAILED" });
    writeln!(page, "| {name} | {} | {told} |", if held { "yes" } else { "no" })?;
    Ok(held)
}
