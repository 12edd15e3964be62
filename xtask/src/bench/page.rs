//! docs/benchmarks.md: one table, one row per promise, each with the day and the command it was measured by.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::etcd::Line;
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

impl Promise {
    /// Whether a number is what was promised.
    pub fn is_kept_by(&self, measured: f64) -> bool {
        match *self {
            Self::AtMost(limit) => measured <= limit,
            Self::AtLeast(limit) => measured >= limit,
            Self::None => true,
        }
    }
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
        self.promise.is_kept_by(self.measured)
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
(`revoada up --detach --topology SHAPE --nodes N`).

";
const TABLE: &str = "| what | promised | measured | kept | day | command |\n|---|---|---|---|---|---|\n";
const BESIDE: &str = "\
## Beside etcd

By `cargo xtask bench etcd`: three nodes of revoada (`up --topology quorum-3m --nodes 3 --face etcd`) and three of etcd 3.6,
both new, on the same machine and disk at the same time, in turns, under etcd's own load generator (`cargo xtask peers`);
at the leader of either. A ratio is revoada's number by etcd's of the same round: the median of all rounds, and between
which values they lie.

";
const BESIDE_TABLE: &str = "\
| figure | goal | ratio | revoada | etcd | rounds | reached | day | command |\n|---|---|---|---|---|---|---|---|---|\n";

/// Writes docs/benchmarks.md with these rows and lines in place of those of the same name, which stay otherwise, in their
/// order. Where it is.
pub fn keep(rows: Vec<Row>, beside: &[Line]) -> Result<PathBuf> {
    let file = cargo::root().join("docs/benchmarks.md");
    let before = fs::read_to_string(&file).unwrap_or_default();
    let day = day()?;
    let rows: Vec<_> = rows.iter().map(|row| (row.what.as_str(), row.cells(&day))).collect();
    let beside: Vec<_> = beside
        .iter()
        .map(|line| (line.name.as_str(), line.cells(&day)))
        .collect();
    let page = render(&before, rows, beside, &machine()?);
    fs::write(&file, page).with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// A row's name, and the row.
type Named<'a> = (&'a str, String);

fn render(before: &str, rows: Vec<Named<'_>>, beside: Vec<Named<'_>>, machine: &str) -> String {
    let (promised, compared) = before.split_once("\n## Beside etcd\n").unwrap_or((before, ""));
    let promised = merge(promised, rows);
    let compared = match merge(compared, beside) {
        lines if lines.is_empty() => String::new(),
        lines => format!("\n{BESIDE}{BESIDE_TABLE}{lines}\n"),
    };
    format!("{HEAD}{machine}\n\n{TABLE}{promised}\n{compared}")
}

/// The rows of a table, with the fresh ones in place of those of the same name, or behind all others.
fn merge(before: &str, rows: Vec<Named<'_>>) -> String {
    let mut fresh: BTreeMap<&str, &String> = rows.iter().map(|(name, row)| (*name, row)).collect();
    let heads = ["| what |", "| figure |"];
    let is_row = |line: &&str| line.starts_with("| ") && !heads.iter().any(|head| line.starts_with(head));
    let mut lines: Vec<String> = Vec::new();
    for line in before.lines().filter(is_row) {
        let name = line.split(" | ").next().unwrap_or(line).trim_start_matches("| ");
        lines.push(fresh.remove(name).map_or_else(|| line.to_owned(), String::clone));
    }
    lines.extend(rows.iter().filter_map(|(name, _)| fresh.remove(name).cloned()));
    lines.join("\n")
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
pub fn digits(number: f64) -> String {
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
        let named = |row: &Row, day: &str| (row.what.clone(), row.cells(day));
        let page = |before: &str, rows: &[(String, String)], beside: &[(&str, &str)]| {
            let rows = rows.iter().map(|(name, row)| (name.as_str(), row.clone())).collect();
            let beside = beside.iter().map(|(name, row)| (*name, (*row).to_owned())).collect();
            render(before, rows, beside, "m")
        };
        let old = [
            Row::new("a, ms", Promise::AtMost(2.0), 3.0, "x a"),
            Row::new("b/s", Promise::None, 5000.4, "x b"),
        ];
        let new = [
            Row::new("a, ms", Promise::AtMost(2.0), 1.5, "x a"),
            Row::new("c/s", Promise::AtLeast(1.0), 1.0, "x c"),
        ];
        let old = old.map(|row| named(&row, "2026-01-01"));
        let new = new.map(|row| named(&row, "2026-01-02"));
        let first = page("", &old, &[]);
        let second = page(&first, &[], &[("put", "| put | 1 |"), ("get", "| get | 1 |")]);
        let third = page(&second, &new, &[("get", "| get | 2 |")]);
        let tables = |page: &str| -> Vec<String> {
            let rows = page.lines().filter(|line| line.starts_with("| "));
            rows.map(str::to_owned).collect()
        };
        assert_eq!(
            tables(&third),
            [
                "| what | promised | measured | kept | day | command |",
                "| a, ms | ≤ 2 | 1.50 | yes | 2026-01-02 | `x a` |",
                "| b/s |  | 5000 |  | 2026-01-01 | `x b` |",
                "| c/s | ≥ 1 | 1 | yes | 2026-01-02 | `x c` |",
                "| figure | goal | ratio | revoada | etcd | rounds | reached | day | command |",
                "| put | 1 |",
                "| get | 2 |",
            ]
        );
        assert!(first.contains("| a, ms | ≤ 2 | 3 | **no** | 2026-01-01 |"));
    }
}
