//! Runs seeds and tells what they found: what `cargo xtask sim` starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use revoada_sim::plan::Scenario;
use revoada_sim::run::{self, Options, Outcome};

/// Simulations make and drop many small things, and this is what the program of the nodes uses as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many outcomes wait until they are told.
const OUTCOMES_WAITING_MAX: usize = 64;

const USAGE: &str = include_str!("simulate.txt");

/// The most threads.
const JOBS_MAX: usize = 1_024;
/// The most machines.
const NODES_MAX: usize = 50;
/// The longest run: what clients were told of a day is kept in memory until it is judged.
const MINUTES_MAX: u64 = 24 * 60;

struct Wanted {
    seeds: u64,
    from: u64,
    jobs: usize,
    options: Options,
    scenario: String,
    trace: bool,
    json: bool,
    #[cfg(feature = "planted")]
    planted: Option<revoada_attest::planted::Bug>,
}

impl Wanted {
    /// Bugs are a thread's own.
    fn begin_thread(&self) {
        #[cfg(feature = "planted")]
        revoada_attest::planted::plant(self.planted);
    }
}

/// What a run takes beside its faults, in milliseconds: to form, to heal, to end.
const BESIDE_FAULTS_MS: u64 = 5_000;

/// Reads the arguments, or says what is wrong with them.
fn parse(words: &[String]) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        seeds: 1,
        from: 1,
        jobs: std::thread::available_parallelism().map_or(1, |cores| usize::from(cores).min(JOBS_MAX)),
        options: Options {
            cadences_vary: true,
            ..Options::default()
        },
        scenario: "everything".to_owned(),
        trace: false,
        json: false,
        #[cfg(feature = "planted")]
        planted: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} takes a value"));
        match word.as_str() {
            "--seeds" => wanted.seeds = number(word, value()?, 1..=u64::MAX)?,
            "--from" => wanted.from = number(word, value()?, 0..=u64::MAX)?,
            "--minutes" => {
                let minutes = number(word, value()?, 1..=MINUTES_MAX)?;
                wanted.options.faults_ms = minutes * 60_000 - BESIDE_FAULTS_MS;
            }
            "--jobs" => wanted.jobs = number(word, value()?, 1..=JOBS_MAX as u64)? as usize,
            "--nodes" => wanted.options.nodes = number(word, value()?, 1..=NODES_MAX as u64)? as usize,
            "--cadences" => {
                wanted.options.cadences_vary = match value()?.as_str() {
                    "drawn" => true,
                    "prescribed" => false,
                    other => return Err(format!("--cadences is drawn or prescribed, not {other}")),
                }
            }
            "--faults-ms" => wanted.options.faults_ms = number(word, value()?, 0..=MINUTES_MAX * 60_000)?,
            "--scenario" => {
                wanted.scenario.clone_from(value()?);
                let scenario = Scenario::named(&wanted.scenario);
                wanted.options.scenario =
                    scenario.ok_or_else(|| format!("no scenario is called {}", wanted.scenario))?;
            }
            #[cfg(feature = "planted")]
            "--planted" => {
                let name = value()?;
                let bug = revoada_attest::planted::Bug::ALL
                    .iter()
                    .find(|(known, _)| known == name)
                    .ok_or_else(|| format!("no bug is called {name}"))?;
                wanted.planted = Some(bug.1);
            }
            "--trace" => wanted.trace = true,
            "-o" => match value()?.as_str() {
                "json" => wanted.json = true,
                other => return Err(format!("-o is json, not {other}")),
            },
            other => return Err(format!("nothing is called {other}")),
        }
    }
    // Each thread asks for one seed more than there are.
    let room = u64::MAX - JOBS_MAX as u64;
    if wanted.from.checked_add(wanted.seeds).is_none_or(|end| end > room) {
        return Err(format!("--from and --seeds are {room} together at most"));
    }
    Ok(wanted)
}

fn number(word: &str, value: &str, within: RangeInclusive<u64>) -> Result<u64, String> {
    let given = value.parse().ok().filter(|given| within.contains(given));
    given.ok_or_else(|| {
        let (least, most) = within.into_inner();
        format!("{word} is a whole number from {least} to {most}, not {value}")
    })
}

#[derive(Default)]
struct Sum {
    seeds: u64,
    violations: u64,
    faults: BTreeMap<String, u64>,
    operations: BTreeMap<String, u64>,
    oracles: BTreeMap<String, u64>,
    first: Option<(u64, String)>,
    healed_ms_max: u64,
    virtual_ms: u64,
    slower: BTreeMap<u32, u64>,
}

impl Sum {
    fn add(&mut self, outcome: &Outcome) {
        let add =
            |to: &mut BTreeMap<String, u64>, name: &str, count: u64| *to.entry(name.to_owned()).or_default() += count;
        self.seeds += 1;
        self.healed_ms_max = self.healed_ms_max.max(outcome.healed_ms);
        self.virtual_ms += outcome.virtual_ms;
        *self.slower.entry(outcome.slower).or_default() += 1;
        for (kind, count) in &outcome.faults {
            add(&mut self.faults, kind, *count);
        }
        for (kind, count) in &outcome.operations {
            add(&mut self.operations, kind, *count);
        }
        for (name, count) in &outcome.oracles {
            add(&mut self.oracles, name, *count);
        }
        if let Some(violation) = &outcome.violation {
            self.violations += 1;
            self.first
                .get_or_insert_with(|| (outcome.seed, violation.oracle.to_owned()));
        }
    }

    fn json(&self, seconds: f64) -> String {
        let first = self
            .first
            .as_ref()
            .map(|(seed, oracle)| serde_json::json!({"seed": seed, "oracle": oracle}));
        serde_json::json!({
            "seeds": self.seeds,
            "violations": self.violations,
            "seconds": (seconds * 1_000.0).round() / 1_000.0,
            "virtual_seconds": self.virtual_ms as f64 / 1_000.0,
            "faults": self.faults,
            "operations": self.operations,
            "oracles": self.oracles,
            "first_violation": first,
        })
        .to_string()
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let wanted = match parse(&words) {
        Ok(wanted) => wanted,
        Err(why) => {
            eprintln!("error: {why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let mut sum = Sum::default();
    wanted.begin_thread();
    each(&wanted, |outcome| {
        if wanted.trace {
            eprintln!(
                "seed {}: trace {} of {} events",
                outcome.seed, outcome.trace.0, outcome.trace.1
            );
            for event in &outcome.events {
                eprintln!("  {event}");
            }
        }
        let is_first = sum.first.is_none();
        sum.add(outcome);
        if outcome.violation.is_some() {
            eprint!("{}", told(&wanted, outcome, is_first));
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    if wanted.json {
        println!("{}", sum.json(seconds));
    } else {
        println!(
            "{} seeds, {} virtual seconds, in {seconds:.1} s, {} violations; {} operations, {} faults, the shape was back \
             after {} ms at most",
            sum.seeds,
            sum.virtual_ms / 1_000,
            sum.violations,
            sum.operations.values().sum::<u64>(),
            sum.faults.values().sum::<u64>(),
            sum.healed_ms_max,
        );
        for (what, counts) in [
            ("faults", &sum.faults),
            ("operations", &sum.operations),
            ("oracles", &sum.oracles),
        ] {
            let counts: Vec<_> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
            println!("{what}: {}", counts.join(", "));
        }
        let slower: Vec<_> = sum
            .slower
            .iter()
            .map(|(times, seeds)| format!("{times} times in {seeds} seeds"))
            .collect();
        println!("cadences slower than prescribed: {}", slower.join(", "));
    }
    if sum.violations == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Runs all seeds, several at once, and tells of each in their order.
fn each(wanted: &Wanted, mut tell: impl FnMut(&Outcome)) {
    let next = AtomicU64::new(wanted.from);
    let end = wanted.from + wanted.seeds;
    // A seed that takes long holds up those that are told behind it, and no more.
    let (outcomes, told) = mpsc::sync_channel(OUTCOMES_WAITING_MAX);
    std::thread::scope(|scope| {
        for _ in 0..wanted.jobs {
            let (outcomes, next) = (outcomes.clone(), &next);
            scope.spawn(move || {
                wanted.begin_thread();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || outcomes.send(run::run(seed, &wanted.options)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(outcomes);
        let mut early = BTreeMap::new();
        let mut seed = wanted.from;
        for outcome in told {
            early.insert(outcome.seed, outcome);
            while let Some(outcome) = early.remove(&seed) {
                tell(&outcome);
                seed += 1;
            }
        }
    });
}

/// What a person needs of a seed that failed.
fn told(wanted: &Wanted, outcome: &Outcome, shrinks: bool) -> String {
    let Some(violation) = &outcome.violation else {
        return String::new();
    };
    let mut text = format!("seed {}: {}: {}\n", outcome.seed, violation.oracle, violation.what);
    if shrinks {
        for event in &outcome.events {
            let _ = writeln!(text, "  {event}");
        }
        let plan = run::plan(outcome.seed, &wanted.options);
        let needed = run::shrink(outcome.seed, &wanted.options, violation.oracle, &plan);
        let _ = writeln!(text, "  of {} faults these are needed:", plan.len());
        for planned in &needed {
            let _ = writeln!(text, "    {planned}");
        }
    }
    let _ = writeln!(
        text,
        "  again: cargo xtask sim --seeds 1 --from {} --scenario {} --nodes {} --faults-ms {} --cadences {}",
        outcome.seed,
        wanted.scenario,
        wanted.options.nodes,
        wanted.options.faults_ms,
        if wanted.options.cadences_vary {
            "drawn"
        } else {
            "prescribed"
        }
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Wanted, String> {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    #[test]
    fn what_cannot_be_run_is_refused_and_named() {
        for (line, says) in [
            ("--seeds 0", "--seeds"),
            ("--seeds", "takes a value"),
            ("--from 18446744073709551615", "together"),
            ("--from 18446744073709551000 --seeds 600", "together"),
            ("--minutes 0", "--minutes"),
            ("--minutes 307445734561826", "1440"),
            ("--faults-ms 18446744073709551615", "86400000"),
            ("--jobs 0", "1024"),
            ("--jobs 1025", "1024"),
            ("--nodes 51", "50"),
            ("-o yaml", "json"),
            ("--scenario nothing", "nothing"),
            ("seven", "seven"),
        ] {
            let why = parsed(line).err().unwrap_or_else(|| panic!("{line} is taken"));
            assert!(why.contains(says), "{line}: {why}");
        }
    }

    #[test]
    fn what_can_be_run_is_taken() {
        let wanted = parsed("--seeds 200 --from 0 --minutes 1440 --jobs 1024 --nodes 50 -o json").unwrap();
        assert_eq!((wanted.seeds, wanted.from, wanted.jobs), (200, 0, 1024));
        assert_eq!(wanted.options.faults_ms, 86_395_000);
        assert!(wanted.json);
    }
}
