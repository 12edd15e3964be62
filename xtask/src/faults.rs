//! `cargo xtask faults`: the tests of real processes, again and again.
//!
//! They are built once, and every round runs all of them, one at a time. A test that fails in one round and not in another
//! is a flake, and that is told by name: it is a bug, of the test or of the program. Rejected: to run a failed test once
//! more and to count that; it hides what this is for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::bench::machine;
use crate::{cargo, peers, test};

/// From so many rounds on the result is kept.
const KEPT_FROM: u32 = 20;
const SLOWEST: usize = 10;
/// What asks other people's clients, and breaks little: no part of the suite, unless it is named.
const CLIENTS: [&str; 2] = ["etcd::", "kubernetes::"];
const PAGE: &str = "docs/fault-suite.md";

/// What it takes.
pub const USAGE: &str = "\
usage: cargo xtask faults [--times N] [--jobs ROUNDS] [--only NAME] [-o json]

  --times N      how many rounds (1); from 20 on the result is kept in docs/fault-suite.md
  --jobs ROUNDS  how many of them at once (1)
  --only NAME    only tests whose names contain this; without it all but those of other people's clients
  -o json        prints one object

The tests of real processes, N times in a row. They run with CI=1: one that needs what is not there (root, nft,
libfaketime, the checker of histories) fails, and does not count as passed.
";

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    times: u32,
    /// How many rounds at once.
    jobs: usize,
    json: bool,
    /// Only tests whose names contain this.
    only: Option<String>,
}

impl Plan {
    /// Reads the arguments; none where they are no plan.
    pub fn parse(arguments: &[&str]) -> Option<Self> {
        let mut plan = Self {
            times: 1,
            jobs: 1,
            json: false,
            only: None,
        };
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next()?;
            match *word {
                "--times" => plan.times = value.parse().ok().filter(|times| *times > 0)?,
                "--jobs" => plan.jobs = value.parse().ok().filter(|jobs| *jobs > 0)?,
                "--only" => plan.only = Some((*value).to_owned()),
                "-o" if *value == "json" => plan.json = true,
                _ => return None,
            }
        }
        Some(plan)
    }
}

/// Builds the program of the tests of real processes, and says where it is.
pub fn program() -> Result<PathBuf> {
    let arguments = [
        "test",
        "--locked",
        "-p",
        "revoada",
        "--test",
        "processes",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ];
    let output = cargo::command(&cargo::target()?, &arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test does not start")?;
    if !output.status.success() {
        bail!("the tests of real processes do not build");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "processes");
    let program = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names no program of the tests of real processes")
}

/// Runs all rounds and tells what came of them; whether no test failed in any.
pub fn run(plan: &Plan) -> Result<bool> {
    test::install_tools();
    let target = cargo::target()?;
    let logs = target.join("xtask/faults");
    fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
    let (program, binary) = (program()?, cargo::measured_binary(&target)?);
    // All of them only where the tests of clients are asked for.
    let wanted: &[&str] = if plan.only.is_some() { &[] } else { &["checker"] };
    let peers = match peers::build(wanted) {
        Ok(bin) => Some(bin),
        Err(error) => {
            eprintln!("without what is built of other projects: {error:#}");
            None
        }
    };
    let command = || {
        let mut command = round(&program, plan.only.as_deref());
        command
            .env(test::BINARY, &binary)
            .envs(peers.as_ref().map(|peers| (test::PEERS, peers)));
        command
    };
    let next = AtomicU32::new(1);
    let lane = || {
        let mut rounds = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > plan.times {
                return Ok(rounds);
            }
            let round = Round::run(&mut command(), logs.join(format!("round-{number}.log")))?;
            eprintln!("round {number:3} of {}: {}", plan.times, round.summary());
            rounds.push((number, round));
        }
    };
    let lanes: Vec<Result<Vec<_>>> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..plan.jobs).map(|_| scope.spawn(lane)).collect();
        let joined = lanes.into_iter().map(|lane| lane.join());
        joined
            .map(|lane| lane.unwrap_or_else(|_| bail!("a round has panicked")))
            .collect()
    });
    let mut rounds = Vec::new();
    for lane in lanes {
        rounds.extend(lane?);
    }
    rounds.sort_by_key(|(number, _)| *number);
    let rounds: Vec<_> = rounds.into_iter().map(|(_, round)| round).collect();
    if plan.json {
        println!("{}", as_json(&rounds));
    } else {
        print!("{}", as_table(&rounds));
    }
    if plan.times >= KEPT_FROM && plan.only.is_none() {
        let file = cargo::root().join(PAGE);
        fs::write(&file, page(&rounds, plan.jobs, &machine()?))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(rounds.iter().all(Round::held))
}

/// The command of a round of `program`.
fn round(program: &Path, only: Option<&str>) -> Command {
    let mut command = Command::new(program);
    match only {
        Some(only) => command.arg(only),
        None => command.args(CLIENTS.iter().flat_map(|clients| ["--skip", clients])),
    };
    command
        .current_dir(cargo::root().join("crates/revoada"))
        // One that skips itself would be told as passed; with this it fails.
        .env("CI", "1")
        .env("RUST_TEST_THREADS", "1")
        .stdin(Stdio::null());
    command
}

/// All tests once.
struct Round {
    /// By name: how long it took, and whether it passed.
    tests: BTreeMap<String, (Duration, bool)>,
    /// The runner itself said that all was well.
    succeeded: bool,
    took: Duration,
    log: PathBuf,
}

impl Round {
    fn run(command: &mut Command, log: PathBuf) -> Result<Self> {
        let (reader, writer) = io::pipe().context("cannot make a pipe")?;
        command
            .stdout(writer.try_clone().context("cannot share a pipe")?)
            .stderr(writer);
        let began = Instant::now();
        let mut child = command.spawn().context("the tests do not start")?;
        // The command would keep the writing ends open, and with them the loop below.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut kept = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let (mut tests, mut before) = (BTreeMap::new(), began);
        for line in BufReader::new(reader).lines() {
            let line = line.context("cannot read what the tests say")?;
            writeln!(kept, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
            // One at a time: what has passed since the end of the test before is this one's.
            if let Some((name, passed)) = ended(&line) {
                let now = Instant::now();
                tests.insert(name.to_owned(), (now - before, passed));
                before = now;
            }
        }
        let succeeded = child.wait().context("the tests do not end")?.success();
        Ok(Self {
            tests,
            succeeded,
            took: began.elapsed(),
            log,
        })
    }

    fn failed(&self) -> impl Iterator<Item = &str> {
        self.tests
            .iter()
            .filter(|(_, (_, passed))| !passed)
            .map(|(name, _)| name.as_str())
    }

    fn held(&self) -> bool {
        self.succeeded && !self.tests.is_empty()
    }

    fn summary(&self) -> String {
        let failed: Vec<&str> = self.failed().collect();
        let passed = self.tests.len() - failed.len();
        let mut text = format!(
            "{passed} passed, {} failed, {:.0} s",
            failed.len(),
            self.took.as_secs_f64()
        );
        for name in &failed {
            write!(text, "\n  {name}: {}", self.log.display()).expect("text can be appended to");
        }
        if !self.succeeded && failed.is_empty() {
            write!(text, ", and ended early: {}", self.log.display()).expect("text can be appended to");
        }
        text
    }
}

/// The name and the fate of a test that this line tells the end of.
fn ended(line: &str) -> Option<(&str, bool)> {
    let (name, fate) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // What a test prints itself may stand before its fate, and never behind.
    match fate {
        _ if fate.ends_with("ok") => Some((name, true)),
        _ if fate.ends_with("FAILED") => Some((name, false)),
        _ => None,
    }
}

/// By name, from the slowest: the mean and the longest time, in seconds.
fn slowest(rounds: &[Round]) -> Vec<(&str, f64, f64)> {
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (name, (took, _)) in rounds.iter().flat_map(|round| &round.tests) {
        times.entry(name).or_default().push(took.as_secs_f64());
    }
    let mut all: Vec<_> = times
        .into_iter()
        .map(|(name, times)| {
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            (name, mean, times.iter().copied().fold(0.0, f64::max))
        })
        .collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    all.truncate(SLOWEST);
    all
}

/// By name: the logs of the rounds in which a test failed.
fn failures(rounds: &[Round]) -> BTreeMap<&str, Vec<&Path>> {
    let mut failures: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for round in rounds {
        for name in round.failed() {
            failures.entry(name).or_default().push(&round.log);
        }
    }
    failures
}

fn as_table(rounds: &[Round]) -> String {
    let mut text = String::from("\nround  passed  failed  seconds\n");
    let mut add = |line: String| text.push_str(&(line + "\n"));
    for (number, round) in rounds.iter().enumerate() {
        let failed = round.failed().count();
        add(format!(
            "{:5}  {:6}  {failed:6}  {:7.0}{}",
            number + 1,
            round.tests.len() - failed,
            round.took.as_secs_f64(),
            if round.held() || failed > 0 {
                ""
            } else {
                "  ended early"
            }
        ));
    }
    add("\nmean s   max s  the slowest tests".to_owned());
    for (name, mean, max) in slowest(rounds) {
        add(format!("{mean:6.1}  {max:6.1}  {name}"));
    }
    add(String::new());
    for (name, logs) in failures(rounds) {
        let logs: Vec<String> = logs.iter().map(|log| log.display().to_string()).collect();
        add(format!(
            "{name}: failed {} of {} times: {}",
            logs.len(),
            rounds.len(),
            logs.join(", ")
        ));
    }
    let held = rounds.iter().filter(|round| round.held()).count();
    add(format!("{held} of {} rounds held", rounds.len()));
    text
}

fn as_json(rounds: &[Round]) -> Value {
    let told = rounds.iter().map(|round| {
        let failed: Vec<&str> = round.failed().collect();
        json!({
            "passed": round.tests.len() - failed.len(),
            "failed": failed,
            "ended_early": !round.held() && failed.is_empty(),
            "seconds": round.took.as_secs_f64(),
            "log": round.log,
        })
    });
    let slowest = slowest(rounds).into_iter();
    let slowest = slowest.map(|(name, mean, max)| json!({"name": name, "mean_seconds": mean, "max_seconds": max}));
    json!({
        "rounds": told.collect::<Vec<_>>(),
        "slowest": slowest.collect::<Vec<_>>(),
        "failures": failures(rounds).iter().map(|(name, logs)| ((*name).to_owned(), json!(logs.len()))).collect::<serde_json::Map<_, _>>(),
        "held": rounds.iter().all(Round::held),
    })
}

fn page(rounds: &[Round], jobs: usize, machine: &str) -> String {
    let mut page = format!(
        "# The fault suite, again and again\n\nWritten by `cargo xtask faults --times {} --jobs {jobs}` (so many rounds at once): \
         all tests of real processes, of a release build where they need no failpoints.\n\n{machine}\n\n",
        rounds.len()
    );
    let mut add = |line: String| page.push_str(&(line + "\n"));
    add("| round | passed | failed | seconds |\n|---|---|---|---|".to_owned());
    for (number, round) in rounds.iter().enumerate() {
        let failed: Vec<&str> = round.failed().collect();
        let told = if failed.is_empty() && round.held() {
            "0".to_owned()
        } else {
            format!("{} {}", failed.len(), failed.join(", "))
        };
        add(format!(
            "| {} | {} | {told} | {:.0} |",
            number + 1,
            round.tests.len() - failed.len(),
            round.took.as_secs_f64()
        ));
    }
    add("\n| the slowest tests | mean s | max s |\n|---|---|---|".to_owned());
    for (name, mean, max) in slowest(rounds) {
        add(format!("| `{name}` | {mean:.1} | {max:.1} |"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tests: &[(&str, u64, bool)]) -> Round {
        let of = |(name, seconds, passed): &(&str, u64, bool)| {
            ((*name).to_owned(), (Duration::from_secs(*seconds), *passed))
        };
        Round {
            tests: tests.iter().map(of).collect(),
            succeeded: tests.iter().all(|(_, _, passed)| *passed),
            took: Duration::from_secs(tests.iter().map(|(_, seconds, _)| seconds).sum()),
            log: PathBuf::from("round.log"),
        }
    }

    #[test]
    fn a_plan_has_times_and_nothing_that_is_not_known() {
        let plan = Plan::parse(&["--times", "20", "-o", "json"]).unwrap();
        assert_eq!((plan.times, plan.json, plan.only), (20, true, None));
        assert_eq!(Plan::parse(&[]).unwrap().times, 1);
        for bad in [&["--times"][..], &["--times", "0"], &["-o", "yaml"], &["20"]] {
            assert_eq!(Plan::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_test_that_cannot_run_fails() {
        let command = round(Path::new("processes"), None);
        let ci = command.get_envs().find(|(name, _)| *name == "CI");
        assert_eq!(ci.and_then(|(_, value)| value), Some("1".as_ref()));
    }

    #[test]
    fn the_end_of_a_test_is_read_from_what_the_runner_says() {
        assert_eq!(ended("test a::b ... ok"), Some(("a::b", true)));
        assert_eq!(ended("test a::b ... said by itself: ok"), Some(("a::b", true)));
        assert_eq!(ended("test a::b ... FAILED"), Some(("a::b", false)));
        for other in [
            "test a ... ignored, long: x",
            "test result: ok. 1 passed",
            "running 2 tests",
        ] {
            assert_eq!(ended(other), None, "{other}");
        }
    }

    #[test]
    fn a_test_that_fails_once_is_named_and_the_slowest_comes_first() {
        let rounds = [
            told(&[("a", 1, true), ("b", 5, true)]),
            told(&[("a", 3, false), ("b", 7, true)]),
        ];
        let text = as_table(&rounds);
        assert!(text.contains("a: failed 1 of 2 times: round.log"), "{text}");
        assert!(text.contains("1 of 2 rounds held"), "{text}");
        assert_eq!(slowest(&rounds), [("b", 6.0, 7.0), ("a", 2.0, 3.0)]);
        let told = as_json(&rounds);
        assert_eq!((&told["held"], &told["failures"]["a"]), (&json!(false), &json!(1)));
        assert!(page(&rounds, 1, "a machine").contains("| 2 | 1 | 1 a | 10 |"));
    }
}
