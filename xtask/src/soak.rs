//! `cargo xtask soak`: random faults and load on real processes, for some minutes.
//!
//! What is done is the matter of `crates/revoada/tests/processes/soak`; here it is built, in a debug build:
//! only the program that tests start has failpoints. This process becomes that one, so that Ctrl-C reaches it alone.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{faults, peers, test};

const TEST: &str = "soak::real_processes_under_load_survive_random_faults";

/// What it takes.
pub const USAGE: &str = "\
usage: cargo xtask soak --minutes M [--seed S] [-o json]

  --minutes M  for how long, a year at most; Ctrl-C ends it sooner, and what there is until then is judged
  --seed S     which faults come in which order (1)
  -o json      prints one object

Real processes under load and random faults. Without Go or porcupine's checker our own oracle judges alone, and what is
printed says so (`judges`).
";

/// The longest, in minutes: a year.
const MINUTES_MAX: f64 = 366.0 * 24.0 * 60.0;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    minutes: String,
    seed: String,
    json: bool,
}

impl Plan {
    /// Reads the arguments; none where they are no plan.
    pub fn parse(arguments: &[&str]) -> Option<Self> {
        let (mut minutes, mut seed, mut json) = (None, "1".to_owned(), false);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let value = words.next()?;
            match *word {
                "--minutes" => {
                    let given = value.parse::<f64>().ok();
                    given.filter(|given| *given > 0.0 && *given <= MINUTES_MAX)?;
                    minutes = Some((*value).to_owned());
                }
                "--seed" => seed = value.parse::<u64>().ok()?.to_string(),
                "-o" if *value == "json" => json = true,
                _ => return None,
            }
        }
        Some(Self {
            minutes: minutes?,
            seed,
            json,
        })
    }
}

/// Builds it and becomes it. Returns only where that fails.
pub fn run(plan: &Plan) -> Result<bool> {
    test::install_tools();
    // What it comes to goes where our stdout goes, and by way of its stdin: the runner of tests says things of its own on
    // stdout, which are not ours to pass on.
    let told = io::stdout().as_fd().try_clone_to_owned().context("stdout is closed")?;
    let said = io::stderr().as_fd().try_clone_to_owned().context("stderr is closed")?;
    let mut command = Command::new(faults::program()?);
    command
        .args(["--exact", "--ignored", "--nocapture", TEST])
        .stdin(told)
        .stdout(said)
        .env("REVOADA_SOAK_TELLS", "stdin")
        .env("REVOADA_SOAK_MINUTES", &plan.minutes)
        .env("REVOADA_SOAK_SEED", &plan.seed);
    if plan.json {
        command.env("REVOADA_SOAK_JSON", "1");
    }
    match peers::build(&["checker"]) {
        Ok(bin) => {
            command.env(test::PEERS, bin);
        }
        Err(error) => eprintln!("without porcupine: {error:#}"),
    }
    Err(command.exec()).context("the soak does not start")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_minutes_and_nothing_that_is_not_known() {
        let plan = Plan::parse(&["--minutes", "20", "--seed", "7", "-o", "json"]).unwrap();
        assert_eq!(
            (plan.minutes.as_str(), plan.seed.as_str(), plan.json),
            ("20", "7", true)
        );
        for bad in [
            &["--seed", "7"][..],
            &["--minutes"],
            &["--minutes", "-1"],
            &["--minutes", "0"],
            &["--minutes", "inf"],
            &["--minutes", "NaN"],
            &["--minutes", "1e300"],
            &["--minutes", "1", "--x", "1"],
        ] {
            assert_eq!(Plan::parse(bad), None, "{bad:?}");
        }
    }
}
