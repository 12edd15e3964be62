//! Everything that CI runs, in one command, with one report at its end.
//!
//! A failed step does not stop the next one unless that one needs what it made: one run tells all. Rejected: a test
//! runner of its own (nextest), one more thing to install where `cargo test` does.

mod output;
mod report;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::{cargo, etcd_suite, long, peers, tidy};
use output::Outcomes;
use report::{NotRun, Report, Step};

/// Installs the machine's own programs that tests of real processes use, where that is possible.
pub fn install_tools() {
    tools::install();
}

/// How much is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// What CI runs.
    Usual,
    /// The long runs too, which take more than an hour.
    Long,
}

/// The folder of tests that start real processes.
const PROCESS_TESTS: &str = "crates/revoada/tests";

/// Names the release binary to tests that start processes of it.
pub const BINARY: &str = "REVOADA_BIN";

/// Names the folder of the real peers to tests that start them.
pub const PEERS: &str = "REVOADA_PEERS";

/// Names a file to which a test that cannot run appends `NAME<TAB>REASON`, before it returns.
const NOT_RUN: &str = "REVOADA_NOT_RUN";

/// Runs all and reports; says whether all passed.
pub fn run(length: Length) -> Result<bool> {
    let target = cargo::target()?;
    let began = Instant::now();
    let mut report = Report::default();
    println!("building to {}", target.display());

    step(&mut report, "format", || Ok(passed(tidy::formatting(&target)?)))?;
    step(&mut report, "tidy", || Ok(passed(tidy::check()?)))?;
    step(&mut report, "clippy", || Ok(passed(tidy::lints(&target)?)))?;
    dependencies(&mut report, &target)?;

    let said = std::env::temp_dir().join(format!("revoada-not-run-{}", std::process::id()));
    let test = |arguments: &[&str]| {
        let mut command = cargo::command(&target, &["test", "--locked", "--no-fail-fast"]);
        command.args(arguments).env(NOT_RUN, &said);
        command
    };
    suite(&mut report, "unit tests", test(&["--workspace", "--lib", "--bins"]))?;
    suite(&mut report, "documentation tests", test(&["--workspace", "--doc"]))?;

    let mut binary = None;
    step(&mut report, "release build", || {
        binary = cargo::release_binary(&target)?;
        Ok(passed(binary.is_some()))
    })?;
    tools::install();
    let peers = real_peers(&mut report)?;
    match &binary {
        Some(binary) => integration(&mut report, binary, |arguments| {
            let mut command = test(arguments);
            command.envs(peers.as_ref().map(|peers| (PEERS, peers)));
            command
        })?,
        None => report
            .not_run
            .push(NotRun::new(PROCESS_TESTS, "the release build failed")),
    }
    report.not_run.extend(report::said(&said)?);
    if let Some(binary) = &binary {
        etcds_own_tests(&mut report, binary, length)?;
    }
    planted_bugs(&mut report, length, test)?;
    if let (Length::Long, Some(binary)) = (length, &binary) {
        step(&mut report, "long runs", || Ok(passed(long::run(binary)?)))?;
    }
    report.print(began.elapsed(), cargo::in_ci());
    Ok(report.passed(cargo::in_ci()))
}

/// The simulation with one bug after the other in it, which makes every crate be built once more.
fn planted_bugs(report: &mut Report, length: Length, test: impl Fn(&[&str]) -> Command) -> Result<()> {
    let arguments = ["-p", "revoada-sim", "--features", "planted", "--test", "planted"];
    if length == Length::Long {
        return suite(report, "planted bugs", test(&arguments));
    }
    report
        .not_run
        .push(NotRun::new("planted bugs", "long: cargo xtask test --long"));
    Ok(())
}

/// etcd's own end-to-end tests with revoada in its place: some of every kind, or all. Without the peers they are not run,
/// which the report says.
fn etcds_own_tests(report: &mut Report, binary: &Path, length: Length) -> Result<()> {
    if let Err(error) = peers::build(&["etcd", "etcd-e2e"]) {
        let reason = format!("needs a toolchain of Go and its modules: {error:#}");
        report.not_run.push(NotRun::new("etcd's own tests", reason));
        return Ok(());
    }
    let names = match length {
        Length::Usual => etcd_suite::USUAL,
        Length::Long => &[],
    };
    step(report, "etcd's own tests", || {
        let outcome = etcd_suite::run(binary, names)?;
        let summary = outcome.summary();
        Ok(if outcome.failed.is_empty() {
            Ok(summary)
        } else {
            Err(summary)
        })
    })
}

/// The folder of the peers that tests start, built if need be. Where one cannot be, the tests that need it say so, and so
/// does this.
fn real_peers(report: &mut Report) -> Result<Option<PathBuf>> {
    let (mut folder, mut missing) = (None, Vec::new());
    step(report, "peers", || {
        let mut said = Vec::new();
        for name in peers::names() {
            match peers::build(&[name]) {
                Ok(bin) => {
                    folder = Some(bin);
                    said.push(name.to_owned());
                }
                Err(error) => {
                    said.push(format!("{name} not built: {error:#}"));
                    missing.push(name);
                }
            }
        }
        Ok(Ok(said.join(", ")))
    })?;
    for name in missing {
        let reason = "it could not be made; see the step peers";
        report
            .not_run
            .push(NotRun::new(format!("tests with the peer {name}"), reason));
    }
    Ok(folder)
}

/// The tests that stand beside the crates, those of real processes among them, one at a time: several clusters at once
/// on two cores would measure each other. Then those that are ignored for a need that is met here.
fn integration(report: &mut Report, binary: &Path, test: impl Fn(&[&str]) -> Command) -> Result<()> {
    if !cargo::root().join(PROCESS_TESTS).is_dir() {
        report.not_run.push(NotRun::new(PROCESS_TESTS, "there are none"));
    }
    let with_binary = |arguments: &[&str]| {
        let mut command = test(arguments);
        command.env(BINARY, binary).env("RUST_TEST_THREADS", "1");
        command
    };
    suite(
        report,
        "integration tests",
        with_binary(&["--workspace", "--test", "*"]),
    )?;
    let able: Vec<String> = report
        .outcomes
        .take_ignored_with_met_needs(|need| need == BINARY || is_met(need));
    if able.is_empty() {
        return Ok(());
    }
    let mut command = with_binary(&["--workspace", "--test", "*", "--", "--ignored", "--exact"]);
    command.args(&able);
    suite(report, "integration tests with peers", command)
}

/// cargo-deny where it is installed. Licences are checked by `tidy` in any case.
fn dependencies(report: &mut Report, target: &Path) -> Result<()> {
    if cargo::on_path("cargo-deny").is_some() {
        step(report, "cargo deny", || {
            let arguments = ["deny", "check", "licenses", "bans", "sources"];
            let status = cargo::command(target, &arguments)
                .status()
                .context("cargo deny does not start")?;
            Ok(passed(status.success()))
        })?;
    }
    let reason = "needs the advisory database, which no registry serves: cargo deny check advisories";
    report.not_run.push(NotRun::new("advisories", reason));
    Ok(())
}

/// A need is a variable that is set, or a program on the search path.
fn is_met(need: &str) -> bool {
    std::env::var_os(need).is_some_and(|value| !value.is_empty()) || cargo::on_path(need).is_some()
}

fn suite(report: &mut Report, name: &str, mut command: Command) -> Result<()> {
    let mut outcomes = Outcomes::default();
    step(report, name, || {
        let succeeded = output::follow(&mut command, &mut outcomes)?;
        let failed = outcomes.failed();
        Ok(match (succeeded, failed) {
            (true, _) => Ok(format!("{} passed", outcomes.passed())),
            (false, 0) => Err("does not build, or a test process ended early".to_owned()),
            (false, failed) => Err(format!("{} passed, {failed} failed", outcomes.passed())),
        })
    })?;
    report.outcomes.extend(outcomes);
    Ok(())
}

fn passed(passed: bool) -> Result<String, String> {
    if passed {
        Ok("passed".to_owned())
    } else {
        Err("failed".to_owned())
    }
}

/// Runs one step, with a line before and after it. An error of the step itself ends the whole run.
fn step(report: &mut Report, name: &str, run: impl FnOnce() -> Result<Result<String, String>>) -> Result<()> {
    println!("==> {name}");
    let began = Instant::now();
    let outcome = run().with_context(|| format!("in the step {name}"))?;
    let took = began.elapsed();
    let (Ok(said) | Err(said)) = &outcome;
    println!("<== {name}: {said}, {:.1} s", took.as_secs_f64());
    report.steps.push(Step {
        name: name.to_owned(),
        outcome,
        took,
    });
    Ok(())
}
