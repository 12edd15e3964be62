//! Three nodes of revoada beside three etcd, on one machine and one disk, under etcd's own load generator.
//!
//! What is told is a ratio: both stand side by side, and each round measures one and then the other, so that whatever
//! else the machine does meanwhile is done to both. Rejected: numbers of two runs one after the other, which differ by more
//! on a shared machine than the two systems do.

mod cases;
mod growth;
mod kill;
mod load;
mod process;
mod ratio;
mod sides;

use std::path::Path;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::page::{self, Promise};
use crate::{cargo, peers};
use cases::CASES;
pub use ratio::{Compared, Line};
use sides::{Pair, Side};

/// Fewer rounds give no idea of the spread.
const ROUNDS: usize = 5;

/// What is compared, and how often.
pub struct Plan {
    rounds: usize,
    only: Vec<String>,
    quick: bool,
    json: bool,
}

/// What one measurement of one side gave: a number for each of the case's figures, in their order.
type Sample = Vec<f64>;

/// The samples of ours and of etcd's, and the command.
type Both = (Vec<Sample>, Vec<Sample>, String);

/// One side is measured as often as there are rounds, in turns with the other.
struct Case {
    name: &'static str,
    /// What it is, for the page.
    what: &'static str,
    figures: &'static [Figure],
    measure: Measure,
}

/// How a case is measured.
enum Measure {
    /// On the pair that all cases share, one round of one side at a time. It gives the command too.
    Rounds(fn(&mut Side, &Size) -> Result<(Sample, String)>),
    /// On pairs of its own: a sample of each side for every round.
    Whole(fn(&Setting, &Size) -> Result<Both>),
}

/// A number, and what it has to be.
struct Figure {
    name: &'static str,
    goal: Goal,
}

/// What a figure is judged by: the median of ours by etcd's of all rounds, or of ours alone.
#[derive(Debug, Clone, Copy)]
enum Goal {
    Ratio(Promise),
    Ours(Promise),
    None,
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Size {
    rounds: usize,
    /// Totals of requests are divided by this.
    part: usize,
    /// How many keys there are when they are many.
    keys: usize,
}

/// Where the sides live, and what they are made of.
struct Setting<'a> {
    binary: &'a Path,
    tools: &'a Path,
    base: &'a Path,
}

impl Plan {
    /// Reads `[--rounds N] [--only NAME]… [--quick] [-o json]`; none where a word is none of these.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut plan = Self::whole(false);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--rounds" => plan.rounds = words.next()?.parse().ok().filter(|rounds| *rounds > 0)?,
                "--only" => {
                    let name = *words.next()?;
                    CASES.iter().find(|case| case.name.starts_with(name))?;
                    plan.only.push(name.to_owned());
                }
                "--quick" => plan.quick = true,
                "-o" if words.next() == Some(&"json") => plan.json = true,
                _ => return None,
            }
        }
        Some(plan)
    }

    /// Everything.
    pub fn whole(quick: bool) -> Self {
        Self {
            rounds: if quick { 2 } else { ROUNDS },
            only: Vec::new(),
            quick,
            json: false,
        }
    }

    fn has(&self, case: &Case) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| case.name.starts_with(name.as_str()))
    }

    fn size(&self) -> Size {
        Size {
            rounds: self.rounds,
            part: if self.quick { 10 } else { 1 },
            keys: if self.quick { 20_000 } else { 1_000_000 },
        }
    }
}

/// The command by itself: measures, prints, and unless it is quick keeps. Says whether every goal was reached.
pub fn run(plan: &Plan) -> Result<bool> {
    let target = cargo::target()?;
    let binary = cargo::measured_binary(&target)?;
    let (compared, broken) = compare(plan, &binary, &target.join("xtask"))?;
    if plan.json {
        println!("{}", told(&compared, &broken));
    } else if !broken.is_empty() {
        println!("not measured: {}", broken.join(", "));
    }
    let lines: Vec<Line> = compared.iter().flat_map(Compared::lines).collect();
    let reached = lines.iter().all(|line| line.is_reached());
    if !plan.quick {
        let kept = page::keep(Vec::new(), &lines)?;
        eprintln!("kept in {}", kept.display());
    }
    Ok(reached && broken.is_empty())
}

/// What was compared, and the names of cases that could not be.
pub fn compare(plan: &Plan, binary: &Path, base: &Path) -> Result<(Vec<Compared>, Vec<&'static str>)> {
    let tools = match env::var_os("REVOADA_PEERS") {
        Some(given) => given.into(),
        None => peers::build(&["etcd", "etcd-clients"])?,
    };
    let base = base.join(format!("beside-etcd-{}", std::process::id()));
    fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let setting = Setting {
        binary,
        tools: &tools,
        base: &base,
    };
    let size = plan.size();
    let mut pair = None;
    let mut compared = Vec::new();
    let mut broken = Vec::new();
    for case in CASES.iter().filter(|case| plan.has(case)) {
        match measure(case, &setting, &size, &mut pair) {
            Ok(measured) => {
                if !plan.json {
                    measured.lines().for_each(|line| println!("{line}"));
                }
                compared.push(measured);
            }
            Err(error) => {
                eprintln!("{} could not be measured: {error:#}", case.name);
                broken.push(case.name);
                // What is left of it may disturb the next.
                pair = None;
            }
        }
    }
    drop(pair);
    fs::remove_dir_all(&base).with_context(|| format!("cannot remove {}", base.display()))?;
    if compared.is_empty() && broken.is_empty() {
        bail!("no case has such a name");
    }
    Ok((compared, broken))
}

fn measure(case: &'static Case, setting: &Setting, size: &Size, pair: &mut Option<Pair>) -> Result<Compared> {
    let (ours, etcds, command) = match case.measure {
        Measure::Whole(whole) => {
            // Nothing else is to run beside it.
            *pair = None;
            whole(setting, size)?
        }
        Measure::Rounds(round) => {
            let pair = match pair {
                Some(pair) => pair,
                none => none.insert(Pair::start(setting, "shared")?),
            };
            let (mut ours, mut etcds, mut command) = (Vec::new(), Vec::new(), String::new());
            for _ in 0..size.rounds {
                for (side, samples) in [(&mut pair.ours, &mut ours), (&mut pair.etcd, &mut etcds)] {
                    let (sample, line) = round(side, size)?;
                    samples.push(sample);
                    command = line;
                    // The history of one case is not the next one's burden.
                    side.compact()?;
                }
            }
            (ours, etcds, command)
        }
    };
    Ok(Compared {
        case: case.name,
        what: case.what,
        figures: case.figures,
        ours,
        etcds,
        command,
    })
}

fn told(compared: &[Compared], broken: &[&str]) -> Value {
    let lines = compared.iter().flat_map(Compared::lines).map(|line| line.told());
    json!({ "lines": lines.collect::<Vec<_>>(), "not_measured": broken })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_takes_names_of_cases_and_nothing_else() {
        let plan = Plan::parse(&["--only", "put-256", "--rounds", "7"]).unwrap();
        let chosen: Vec<_> = CASES
            .iter()
            .filter(|case| plan.has(case))
            .map(|case| case.name)
            .collect();
        assert_eq!(chosen, ["put-256-clients-256", "put-256-clients-1024"]);
        assert_eq!(plan.size().rounds, 7);
        for wrong in [&["--only", "nothing"][..], &["--rounds", "0"], &["--rounds"], &["puts"]] {
            assert!(Plan::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
