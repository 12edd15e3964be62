//! A fixed lot of seeds, and that a seed is a seed.

use std::process::Command;

use revoada_sim::plan::Scenario;
use revoada_sim::run::{Options, plan, run};

fn options(scenario: Scenario) -> Options {
    Options {
        scenario,
        ..Options::default()
    }
}

/// Runs seeds and tells of the first that finds something.
fn check(scenario: &str, seeds: std::ops::Range<u64>) {
    let options = Options {
        faults_ms: 8_000,
        // All others have what is prescribed.
        cadences_vary: scenario == "everything",
        ..options(Scenario::named(scenario).unwrap())
    };
    for seed in seeds {
        let outcome = run(seed, &options);
        if let Some(violation) = outcome.violation {
            let faults: Vec<_> = plan(seed, &options).iter().map(ToString::to_string).collect();
            panic!(
                "seed {seed}: {}: {}\n{}\n{}\nagain: cargo xtask sim --seeds 1 --from {seed} --scenario {scenario} \
                 --faults-ms 8000 --cadences {}",
                violation.oracle,
                violation.what,
                faults.join("\n"),
                outcome.events.join("\n"),
                if options.cadences_vary { "drawn" } else { "prescribed" },
            );
        }
        let operations: u64 = outcome.operations.values().sum();
        assert!(
            operations > 100,
            "seed {seed} did next to nothing: {:?}",
            outcome.operations
        );
    }
}

#[test]
fn seeds_with_faults_of_processes() {
    check("processes", 0..40);
}

#[test]
fn seeds_with_faults_of_the_network() {
    check("network", 0..40);
}

#[test]
fn seeds_with_faults_of_disks() {
    check("disks", 0..40);
}

#[test]
fn seeds_with_a_disk_that_forgets() {
    check("amnesia", 0..30);
}

#[test]
fn seeds_with_faults_of_clocks() {
    check("clocks", 0..20);
}

#[test]
fn seeds_with_faults_of_all_kinds() {
    check("everything", 0..30);
}

/// Alone, as a pair, with as many voters as nodes, and with more that neither vote nor replicate.
#[test]
fn seeds_of_clusters_of_other_sizes() {
    for nodes in [1, 2, 3, 4, 7, 12] {
        let options = Options {
            nodes,
            faults_ms: 8_000,
            ..options(Scenario::Everything)
        };
        for seed in 0..4 {
            assert_eq!(run(seed, &options).violation, None, "{nodes} nodes, seed {seed}");
        }
    }
}

/// Faults ran on when they were to be over: an old disk was put in as soon as they ended, before the others had written down
/// how far it had come, and a leader was killed behind it.
#[test]
fn nothing_is_broken_any_more_when_faults_are_over() {
    let amnesia = Options {
        faults_ms: 2_000,
        ..options(Scenario::Amnesia)
    };
    for seed in [24, 33, 34, 49, 63, 64, 72, 87] {
        let until = plan(seed, &amnesia).iter().map(|planned| planned.at_ms).max();
        assert!(until.is_none_or(|until| until < 3_500), "seed {seed}: {until:?}");
        assert_eq!(run(seed, &amnesia).violation, None, "seed {seed}");
    }
}

/// A standby came back with an empty disk, and the leader went on as if it had what it once had.
#[test]
fn a_standby_with_an_empty_disk_gets_the_log_again() {
    let options = options(Scenario::Amnesia);
    for seed in [9, 100, 101, 102, 103] {
        assert_eq!(run(seed, &options).violation, None, "seed {seed}");
    }
}

/// With what a voter says counted whatever its disk and whatever others remember, a copy of a key that is there while its
/// original is away votes a second time in each of these.
#[test]
fn a_copied_key_votes_for_nobody() {
    let options = options(Scenario::Members);
    for seed in [6, 24, 25, 34, 41, 44] {
        assert_eq!(run(seed, &options).violation, None, "seed {seed}");
    }
}

/// A leader died between the halves of a replacement, the lost voter was back before the next one led, and another had to go:
/// the oracle of damping took that for a change of its own.
#[test]
fn a_replacement_is_ended_by_the_next_leader_whoever_goes() {
    let options = Options {
        cadences_vary: true,
        ..options(Scenario::Everything)
    };
    for seed in [10_658, 12_110] {
        assert_eq!(run(seed, &options).violation, None, "seed {seed}");
    }
}

/// A leader ended the promotion that one before it had begun, and had not heard of the promoted node yet: the oracle took it for
/// one that lacks what the leader does not know.
#[test]
fn a_promotion_is_judged_by_the_leader_that_began_it() {
    let options = Options {
        cadences_vary: true,
        ..options(Scenario::Everything)
    };
    for seed in [14_172, 14_470] {
        assert_eq!(run(seed, &options).violation, None, "seed {seed}");
    }
}

/// The trace of one seed, in a process of its own.
#[test]
fn one_seed_twice_in_two_processes_gives_one_trace() {
    const ASKED: &str = "REVOADA_SIM_TRACE_OF";
    if let Ok(seed) = std::env::var(ASKED) {
        let options = Options {
            cadences_vary: true,
            ..options(Scenario::Everything)
        };
        let outcome = run(seed.parse().unwrap(), &options);
        println!(
            "trace {} of {} events, {:?}",
            outcome.trace.0, outcome.trace.1, outcome.operations
        );
        return;
    }
    let traced = |seed: u64| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "one_seed_twice_in_two_processes_gives_one_trace",
                "--exact",
                "--nocapture",
            ])
            .env(ASKED, seed.to_string())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // With one thread for all tests their runner writes a test's name, and no line's end, before it runs.
        let trace = text.lines().find_map(|line| line.find("trace ").map(|at| &line[at..]));
        trace
            .unwrap_or_else(|| panic!("seed {seed} has no trace: {text}"))
            .to_owned()
    };
    for seed in [3, 11] {
        assert_eq!(traced(seed), traced(seed), "seed {seed}");
    }
    assert_ne!(traced(3), traced(11));
}
