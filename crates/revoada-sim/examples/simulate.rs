//! Runs seeds and tells what they found: what `cargo xtask sim` starts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
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

const USAGE: &str = "\
usage: simulate [--seeds N] [--from S] [--scenario NAME] [--minutes M] [--nodes N] [--faults-ms MS]
                [--cadences drawn|prescribed] [--jobs N] [--trace] [-o json]

  --seeds N        how many seeds (1)
  --from S         the first (1)
  --scenario NAME  everything, calm, processes, network, disks, clocks, amnesia, members (everything)
  --minutes M      how many virtual minutes each takes, all in all: five seconds are for its beginning, for the time
                   until the shape is back and for its end, which take longer where much was broken
  --nodes N        how many machines (5)
  --faults-ms MS   how long faults happen (30000)
  --cadences WHICH drawn: heartbeats, elections, gossip and reconciliation are up to four times as slow as what is
                   prescribed, by the seed; prescribed: never (drawn)
  --jobs N         how many seeds at once (as many as there are cores)
  --trace          prints the events of each seed
  -o json          prints one object
";

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

fn parse(words: &[String]) -> Option<Wanted> {
    let mut wanted = Wanted {
        seeds: 1,
        from: 1,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
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
        match word.as_str() {
            "--seeds" => wanted.seeds = words.next()?.parse().ok()?,
            "--from" => wanted.from = words.next()?.parse().ok()?,
            "--minutes" => {
                let minutes: u64 = words.next()?.parse().ok().filter(|minutes| *minutes > 0)?;
                wanted.options.faults_ms = minutes * 60_000 - BESIDE_FAULTS_MS;
            }
            "--jobs" => wanted.jobs = words.next()?.parse().ok().filter(|jobs| *jobs > 0)?,
            "--nodes" => wanted.options.nodes = words.next()?.parse().ok().filter(|nodes| (1..=50).contains(nodes))?,
            "--cadences" => {
                wanted.options.cadences_vary = match words.next()?.as_str() {
                    "drawn" => true,
                    "prescribed" => false,
                    _ => return None,
                }
            }
            "--faults-ms" => wanted.options.faults_ms = words.next()?.parse().ok()?,
            "--scenario" => {
                wanted.scenario.clone_from(words.next()?);
                wanted.options.scenario = Scenario::named(&wanted.scenario)?;
            }
            #[cfg(feature = "planted")]
            "--planted" => {
                let name = words.next()?;
                let bug = revoada_attest::planted::Bug::ALL
                    .iter()
                    .find(|(known, _)| known == name)?;
                wanted.planted = Some(bug.1);
            }
            "--trace" => wanted.trace = true,
            "-o" => wanted.json = words.next()? == "json",
            _ => return None,
        }
    }
    Some(wanted)
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
    let Some(wanted) = parse(&words) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
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
