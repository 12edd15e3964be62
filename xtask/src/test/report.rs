//! The end of a test run: what ran, what did not and why, and what counts as failed.

use std::path::Path;
use std::time::Duration;
use std::{fs, io};

use anyhow::{Context, Result};

use super::output::Outcomes;

/// What is left out on purpose, by how the reason of its `#[ignore]` begins: it is run on demand.
const ON_DEMAND: &[&str] = &["long:", "measures:"];

/// Peers that no registry serves, and a toolchain that no package of the machine's brings in a known version: what needs
/// one of them cannot be held against CI.
const UNSERVED: &[&str] = &["NOMAD_BIN", "the advisory database", "a toolchain of Go"];

/// One step that ran.
pub struct Step {
    pub name: String,
    /// What it says of itself, passed or failed.
    pub outcome: Result<String, String>,
    pub took: Duration,
}

/// One thing that did not run.
#[derive(Debug, PartialEq, Eq)]
pub struct NotRun {
    name: String,
    reason: String,
}

impl NotRun {
    /// `name` did not run for `reason`.
    pub fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            reason: reason.into(),
        }
    }

    fn is_excused(&self) -> bool {
        UNSERVED.iter().any(|peer| self.reason.contains(peer))
            || ON_DEMAND.iter().any(|kind| self.reason.starts_with(kind))
    }
}

/// All of a run.
#[derive(Default)]
pub struct Report {
    pub steps: Vec<Step>,
    pub not_run: Vec<NotRun>,
    pub outcomes: Outcomes,
}

impl Report {
    /// Whether all passed: every step, with at least one test, and with `strict` nothing left out that could have run.
    pub fn passed(&self, strict: bool) -> bool {
        let ran = self.steps.iter().all(|step| step.outcome.is_ok()) && self.outcomes.passed() > 0;
        ran && (!strict || self.left_out().iter().all(NotRun::is_excused))
    }

    /// Prints it; the last line is `N passed, N failed`, alone.
    pub fn print(&self, took: Duration, strict: bool) {
        println!("\nresults");
        for (binary, result) in &self.outcomes.results {
            println!("  {binary}\n    {result}");
        }
        println!("\nwhat ran                        took  result");
        for step in &self.steps {
            let (Ok(said) | Err(said)) = &step.outcome;
            let mark = if step.outcome.is_ok() { "" } else { "FAILED: " };
            println!("  {:<26} {:>6.1} s  {mark}{said}", step.name, step.took.as_secs_f64());
        }
        println!("  {:<26} {:>6.1} s", "all", took.as_secs_f64());
        println!("\nwhat did not run");
        for left_out in self.left_out() {
            let mark = if strict && !left_out.is_excused() {
                "FAILED: "
            } else {
                ""
            };
            println!("  {mark}{}: {}", left_out.name, left_out.reason);
        }
        println!("\n{} passed, {} failed", self.outcomes.passed(), self.outcomes.failed());
    }

    fn left_out(&self) -> Vec<NotRun> {
        let ignored = self
            .outcomes
            .ignored
            .iter()
            .map(|(name, reason)| NotRun::new(name, reason));
        ignored
            .chain(
                self.not_run
                    .iter()
                    .map(|left_out| NotRun::new(&left_out.name, &left_out.reason)),
            )
            .collect()
    }
}

/// What tests said of themselves in `file`, which is then removed.
pub fn said(file: &Path) -> Result<Vec<NotRun>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    Ok(lines.map(|(name, reason)| NotRun::new(name, reason)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Result<String, String>, reason: &str) -> Report {
        let mut outcomes = Outcomes::default();
        super::super::output::feed(&mut outcomes, "test result: ok. 1 passed; 0 failed; 0 ignored");
        let steps = vec![Step {
            name: "x".to_owned(),
            outcome,
            took: Duration::ZERO,
        }];
        Report {
            steps,
            not_run: vec![NotRun::new("peer", reason)],
            outcomes,
        }
    }

    #[test]
    fn what_did_not_run_fails_only_in_ci_and_only_where_a_registry_serves_the_peer() {
        let served = report(Ok("passed".to_owned()), "needs strace");
        assert!(served.passed(false));
        assert!(!served.passed(true));
        assert!(report(Ok("passed".to_owned()), "needs NOMAD_BIN").passed(true));
    }

    #[test]
    fn a_failed_step_and_a_run_without_tests_fail() {
        assert!(!report(Err("failed".to_owned()), "needs NOMAD_BIN").passed(false));
        assert!(!Report::default().passed(false));
    }

    #[test]
    fn what_tests_said_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("said");
        fs::write(&file, "counts_syncs\tneeds strace\n").unwrap();
        assert_eq!(said(&file).unwrap(), [NotRun::new("counts_syncs", "needs strace")]);
        assert!(said(&file).unwrap().is_empty());
    }
}
