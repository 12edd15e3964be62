//! What people and machines do with this repository besides building it: `cargo xtask`.
//!
//! In Rust, so that a fresh machine needs nothing but the toolchain. Rejected: shell scripts and make, which would need
//! tools of their own to parse what cargo says, and are not checked before they run.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

mod bench;
mod cargo;
mod cli;
mod etcd_suite;
mod faults;
mod long;
mod peers;
mod sim;
mod soak;
mod source;
mod test;
mod tidy;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND; sim, faults, soak and peers say more with --help

  tidy                 checks the crate graph, purity, texts, licences, formatting and lints
  test [--long]        everything that CI runs; with --long also the long runs, kept in docs/long-run.md
  long                 the long runs alone
  bench [--quick] [PART]…
                       measures the release binary and keeps docs/benchmarks.md; --quick shortens all, keeps nothing;
                       parts: writes five drills resources costs steady build; all of them, and etcd, where none is named
  bench etcd [--rounds N] [--only NAME]… [--quick] [-o json]
                       three nodes beside three etcd, in turns, as ratios; NAME: how a case begins, as in put-256
  sim [--seeds N] [--from S] [--scenario NAME] [--minutes M] [--nodes N] [-o json]
                       simulated clusters, one for each seed; a failure prints how to see it again
  faults [--times N] [--jobs ROUNDS] [--only NAME] [-o json]
                       the tests of real processes, N times in a row; from 20 on kept in docs/fault-suite.md
  soak --minutes M [--seed S] [-o json]
                       real processes under load and random faults; ends by itself, or with Ctrl-C
  etcd-suite [TEST]…   etcd's own end-to-end tests with revoada in its place; all of them where none is named
  peers [etcd] [etcd-clients] [etcd-e2e] [checker] [kubernetes]
                       builds the real peers that tests and benchmarks use into the cache folder
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [command, rest @ ..] if rest.iter().any(|word| ["--help", "-h"].contains(word)) => {
            print!("{}", usage_of(command));
            return ExitCode::SUCCESS;
        }
        ["tidy"] => tidy::run(),
        ["test"] => test::run(test::Length::Usual),
        ["test", "--long"] => test::run(test::Length::Long),
        ["long"] => long::alone(),
        ["etcd-suite", names @ ..] => etcd_suite::alone(names),
        ["bench", "etcd", arguments @ ..] => match bench::etcd::Plan::parse(arguments) {
            Some(plan) => bench::etcd::run(&plan),
            None => return misused(),
        },
        ["bench", parts @ ..] => match bench::Plan::parse(parts) {
            Some(plan) => bench::run(&plan),
            None => return misused(),
        },
        ["sim", arguments @ ..] => return ended(sim::run(arguments)),
        ["faults", arguments @ ..] => match faults::Plan::parse(arguments) {
            Some(plan) => faults::run(&plan),
            None => return misused_as("faults"),
        },
        ["soak", arguments @ ..] => match soak::Plan::parse(arguments) {
            Some(plan) => soak::run(&plan),
            None => return misused_as("soak"),
        },
        ["peers", names @ ..] => match peers::run(names) {
            Some(done) => done,
            None => return misused_as("peers"),
        },
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => return misused(),
    };
    ended(done.map(|held| if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

fn ended(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// What a command takes; of those that say no more than the list of all, that list.
fn usage_of(command: &str) -> &'static str {
    match command {
        "sim" => sim::USAGE,
        "faults" => faults::USAGE,
        "soak" => soak::USAGE,
        "peers" => peers::USAGE,
        _ => USAGE,
    }
}

fn misused_as(command: &str) -> ExitCode {
    eprint!("{}", usage_of(command));
    ExitCode::from(2)
}

fn misused() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}
