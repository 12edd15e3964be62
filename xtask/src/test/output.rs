//! What `cargo test` prints, passed on as it comes and read along.
//!
//! The text for people is read: libtest's JSON is not stable. Lines that are read: which binary runs, `test NAME ...
//! ignored, REASON`, and `test result: …`. A changed text would show as zero tests, which fails the run.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::process::Command;

use anyhow::{Context, Result};

/// What the tests of one or more `cargo test` came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By binary, in the order they ran: the rest of cargo's result line.
    pub results: Vec<(String, String)>,
    /// Ignored tests, by name, with the reason that they state.
    pub ignored: BTreeMap<String, String>,
    passed: u64,
    failed: u64,
    running: String,
}

impl Outcomes {
    /// How many tests passed.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// How many tests failed.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Adds what came later.
    pub fn extend(&mut self, later: Self) {
        self.results.extend(later.results);
        self.ignored.extend(later.ignored);
        self.passed += later.passed;
        self.failed += later.failed;
    }

    /// Takes out the ignored tests that need (`needs A, B`) only what `is_met`, and returns their names.
    pub fn take_ignored_with_met_needs(&mut self, is_met: impl Fn(&str) -> bool) -> Vec<String> {
        let met = |reason: &str| {
            reason
                .strip_prefix("needs ")
                .is_some_and(|needs| needs.split([',', ' ']).filter(|n| !n.is_empty()).all(&is_met))
        };
        let able: Vec<String> = self
            .ignored
            .iter()
            .filter(|(_, reason)| met(reason))
            .map(|(name, _)| name.clone())
            .collect();
        self.ignored.retain(|name, _| !able.contains(name));
        able
    }

    fn read(&mut self, line: &str) {
        let text = line.trim();
        if let Some(running) = text
            .strip_prefix("Running ")
            .or_else(|| text.strip_prefix("Doc-tests "))
        {
            self.running = running.split(" (").next().unwrap_or(running).to_owned();
            if let Some(file) = running.rsplit('/').next().filter(|_| running.contains(" (")) {
                let hashed = file.trim_end_matches(')');
                let binary = hashed.rsplit_once('-').map_or(hashed, |(binary, _)| binary);
                self.running = format!("{binary}: {}", self.running);
            }
        } else if let Some(result) = text.strip_prefix("test result: ") {
            self.passed += count(result, "passed");
            self.failed += count(result, "failed");
            self.results.push((self.running.clone(), text.to_owned()));
        } else if let Some((name, reason)) = ignored(text) {
            self.ignored.insert(name.to_owned(), reason.to_owned());
        }
    }
}

/// Runs `command`, passing on what it says on both streams in the order it says it; whether it succeeded.
pub fn follow(command: &mut Command, outcomes: &mut Outcomes) -> Result<bool> {
    let (reader, writer) = io::pipe().context("cannot make a pipe")?;
    command
        .stdout(writer.try_clone().context("cannot share a pipe")?)
        .stderr(writer);
    let mut child = command.spawn().context("cargo test does not start")?;
    // The command keeps the writing ends open, and with them the loop below, unless it gets others.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines
        .read_until(b'\n', &mut line)
        .context("cannot read what cargo test says")?
        > 0
    {
        io::stdout()
            .write_all(&line)
            .context("cannot pass on what cargo test says")?;
        outcomes.read(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(child.wait().context("cargo test does not end")?.success())
}

fn count(result: &str, what: &str) -> u64 {
    let number = result.split([';', '.']).find_map(|part| part.trim().strip_suffix(what));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

/// The name and the reason of `test NAME ... ignored, REASON`.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((name, rest.strip_prefix(", ").unwrap_or("no reason is stated")))
}

/// Reads `line` into `outcomes`, for tests of what is made of them.
#[cfg(test)]
pub fn feed(outcomes: &mut Outcomes, line: &str) {
    outcomes.read(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
   Compiling x v0.1.0
     Running unittests src/lib.rs (target/debug/deps/revoada_core-0123456789abcdef)
running 3 tests
test a ... ok
test b ... ignored, needs strace
test c ... FAILED
test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
     Running tests/faults.rs (target/debug/deps/faults-0123456789abcdef)
test d ... ignored, needs NOMAD_BIN
test e ... ignored
test result: ok. 12 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s
   Doc-tests revoada_core
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";

    fn read() -> Outcomes {
        let mut outcomes = Outcomes::default();
        SAID.lines().for_each(|line| outcomes.read(line));
        outcomes
    }

    #[test]
    fn results_are_summed_over_binaries() {
        let outcomes = read();
        assert_eq!((outcomes.passed(), outcomes.failed()), (15, 1));
        let names: Vec<&str> = outcomes.results.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "revoada_core: unittests src/lib.rs",
                "faults: tests/faults.rs",
                "revoada_core"
            ]
        );
    }

    #[test]
    fn ignored_tests_are_listed_with_their_reason_until_their_need_is_met() {
        let mut outcomes = read();
        assert_eq!(outcomes.take_ignored_with_met_needs(|need| need == "strace"), ["b"]);
        let left: Vec<(&str, &str)> = outcomes
            .ignored
            .iter()
            .map(|(name, why)| (name.as_str(), why.as_str()))
            .collect();
        assert_eq!(left, [("d", "needs NOMAD_BIN"), ("e", "no reason is stated")]);
    }
}
