//! `cargo xtask soak`: random faults and load on real processes, for some minutes.
//!
//! What is done is the matter of `crates/revoada/tests/soak`; here it is built, with the release binary's speed left out:
//! only the program that tests start has failpoints. This process becomes that one, so that Ctrl-C reaches it alone.

use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{cargo, peers, test};

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
                    value.parse::<f64>().ok().filter(|minutes| *minutes > 0.0)?;
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
    let program = build()?;
    let mut command = Command::new(program);
    command
        .env("REVOADA_SOAK_MINUTES", &plan.minutes)
        .env("REVOADA_SOAK_SEED", &plan.seed);
    if plan.json {
        command.env("REVOADA_SOAK_JSON", "1");
    }
    match peers::build(&["checker"]) {
        Ok(bin) => {
            command.env("REVOADA_CHECKER", bin.join("checker"));
        }
        Err(error) => eprintln!("without porcupine: {error:#}"),
    }
    Err(command.exec()).context("the soak does not start")
}

fn build() -> Result<PathBuf> {
    let arguments = [
        "test",
        "--locked",
        "-p",
        "revoada",
        "--test",
        "soak",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ];
    let output = cargo::command(&cargo::target()?, &arguments)
        .stderr(Stdio::inherit())
        .output()
        .context("cargo test does not start")?;
    if !output.status.success() {
        bail!("the soak does not build");
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "soak");
    let program = programs.find_map(|message| message["executable"].as_str().map(PathBuf::from));
    program.context("cargo names no program of the soak")
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
            &["--minutes", "1", "--x", "1"],
        ] {
            assert_eq!(Plan::parse(bad), None, "{bad:?}");
        }
    }
}
