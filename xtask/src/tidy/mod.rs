//! What has to hold of the repository itself, whatever the program does.
//!
//! Each check is a function from texts (or cargo's metadata) to findings, so a test can feed it a bad repository. All of
//! them run before anything is reported: one round of repairs, not one for each. Rejected: clippy's configuration alone;
//! it knows types and methods, but neither edges between crates nor texts.

mod graph;
mod licences;
mod links;
mod purity;
mod text;

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{cargo, source};

/// One thing that does not hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    path: String,
    line: Option<usize>,
    what: String,
}

impl Finding {
    fn of(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: None,
            what: what.into(),
        }
    }

    fn at(path: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line: Some(line),
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.path, self.what),
            None => write!(f, "{}: {}", self.path, self.what),
        }
    }
}

/// All checks, formatting and lints included; prints what does not hold and says whether all does.
pub fn run() -> Result<bool> {
    let target = cargo::target()?;
    let findings = check()?;
    let formatted = formatting(&target)?;
    let linted = lints(&target)?;
    let tidy = findings && formatted && linted;
    if tidy {
        println!("tidy");
    }
    Ok(tidy)
}

/// The checks of texts and metadata.
pub fn check() -> Result<bool> {
    let root = cargo::root();
    let files = source::files(&root)?;
    let mut findings = Vec::new();
    let printed = fs::read_to_string(root.join("ARCHITECTURE.md")).context("cannot read ARCHITECTURE.md")?;
    findings.extend(graph::check(&cargo::metadata(&["--no-deps"])?, &printed));
    let allowed = fs::read_to_string(root.join("deny.toml")).context("cannot read deny.toml")?;
    findings.extend(licences::check(&cargo::metadata(&[])?, &allowed));
    findings.extend(purity::check(&files));
    findings.extend(text::check(&files));
    findings.extend(links::check(&files, |path| root.join(path).exists()));
    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        println!("{} findings in {} files", findings.len(), files.len());
    }
    Ok(findings.is_empty())
}

/// `cargo fmt --check`.
pub fn formatting(target: &Path) -> Result<bool> {
    let status = cargo::command(target, &["fmt", "--all", "--", "--check"])
        .status()
        .context("cargo fmt does not start")?;
    Ok(status.success())
}

/// Clippy on everything, warnings denied.
pub fn lints(target: &Path) -> Result<bool> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "--deny",
        "warnings",
    ];
    let status = cargo::command(target, &arguments)
        .status()
        .context("cargo clippy does not start")?;
    Ok(status.success())
}
