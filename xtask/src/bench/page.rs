//! docs/benchmarks.md: one table, one row per promise, each with the day and the command it was measured by.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cargo;

/// What a number has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    AtMost(f64),
    AtLeast(f64),
    /// Measured to compare with.
    None,
}

/// One measured number.
#[derive(Debug, Clone)]
pub struct Row {
    what: String,
    promise: Promise,
    measured: f64,
    command: String,
}

impl Row {
    /// `what`, with its unit, measured by `command`.
    pub fn new(what: impl Into<String>, promise: Promise, measured: f64, command: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            promise,
            measured,
            command: command.into(),
        }
    }

    /// Whether the promise is kept.
    pub fn is_kept(&self) -> bool {
        match self.promise {
            Promise::AtMost(limit) => self.measured <= limit,
            Promise::AtLeast(limit) => self.measured >= limit,
            Promise::None => true,
        }
    }

    fn cells(&self, day: &str) -> String {
        let kept = match (self.promise, self.is_kept()) {
            (Promise::None, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        let measured = digits(self.measured);
        format!(
            "| {} | {} | {measured} | {kept} | {day} | `{}` |",
            self.what, self.promise, self.command
        )
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "≤ {}", digits(*limit)),
            Self::AtLeast(limit) => write!(f, "≥ {}", digits(*limit)),
            Self::None => Ok(()),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = if self.is_kept() { "" } else { "  MISSED" };
        write!(
            f,
            "  {:<72} {:>10}  {}{kept}",
            self.what,
            digits(self.measured),
            self.promise
        )
    }
}

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench [PART]…`; a row that was not measured in the newest run keeps its day. All nodes and the
load on one machine. The commands are those that were run, on a fresh cluster of the shape that the row names
(`revoada up --detach --topology SHAPE --nodes N`). Rows without a promise are there to compare with: three etcd on the
same machine, under etcd's own load generator (`cargo xtask peers`).

";
const TABLE: &str = "| what | promised | measured | kept | day | command |\n|---|---|---|---|---|---|\n";

/// The page with `rows` in place of those of the same name in `before`, which stay otherwise, in their order.
pub fn render(before: &str, rows: Vec<Row>) -> Result<String> {
    Ok(merge(before, &rows, &machine()?, &day()?))
}

fn merge(before: &str, rows: &[Row], machine: &str, day: &str) -> String {
    let mut fresh: BTreeMap<&str, String> = rows.iter().map(|row| (row.what.as_str(), row.cells(day))).collect();
    let mut lines: Vec<String> = Vec::new();
    for line in before
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what |"))
    {
        let what = line.split(" | ").next().unwrap_or(line).trim_start_matches("| ");
        lines.push(fresh.remove(what).unwrap_or_else(|| line.to_owned()));
    }
    lines.extend(rows.iter().filter_map(|row| fresh.remove(row.what.as_str())));
    format!("{HEAD}{machine}\n\n{TABLE}{}\n", lines.join("\n"))
}

/// The machine and the build, in a sentence.
pub fn machine() -> Result<String> {
    let cores = std::thread::available_parallelism().context("the number of cores is unknown")?;
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("an unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut text = format!(
        "The newest run: {}, {cores} cores of {model}, Linux {}",
        day()?,
        kernel.trim()
    );
    let commit = said_by("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_else(|_| "unknown".to_owned());
    write!(text, ", {}, commit {commit}.", said_by("rustc", &["--version"])?)?;
    Ok(text)
}

fn day() -> Result<String> {
    said_by("date", &["-u", "+%F"])
}

fn said_by(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(cargo::root())
        .output();
    let output = output.with_context(|| format!("{program} does not start"))?;
    anyhow::ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A number with as many digits as it is worth.
fn digits(number: f64) -> String {
    match number {
        n if n.fract() == 0.0 || n >= 100.0 => format!("{n:.0}"),
        n if n >= 10.0 => format!("{n:.1}"),
        n => format!("{n:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_not_measured_again_stay() {
        let old = [
            Row::new("a, ms", Promise::AtMost(2.0), 3.0, "x a"),
            Row::new("b/s", Promise::None, 5000.4, "x b"),
        ];
        let first = merge("", &old, "m", "2026-01-01");
        let new = [
            Row::new("a, ms", Promise::AtMost(2.0), 1.5, "x a"),
            Row::new("c/s", Promise::AtLeast(1.0), 1.0, "x c"),
        ];
        let second = merge(&first, &new, "m", "2026-01-02");
        let table: Vec<&str> = second.lines().filter(|line| line.starts_with('|')).skip(2).collect();
        assert_eq!(
            table,
            [
                "| a, ms | ≤ 2 | 1.50 | yes | 2026-01-02 | `x a` |",
                "| b/s |  | 5000 |  | 2026-01-01 | `x b` |",
                "| c/s | ≥ 1 | 1 | yes | 2026-01-02 | `x c` |",
            ]
        );
        assert!(first.contains("| a, ms | ≤ 2 | 3 | **no** | 2026-01-01 |"));
    }
}
