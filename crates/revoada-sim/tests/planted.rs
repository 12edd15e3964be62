//! Every bug that is planted is found, and every oracle has found one.
#![cfg(feature = "planted")]

use std::collections::BTreeSet;

use revoada_attest::planted::{Bug, plant};
use revoada_sim::oracles::NAMES;
use revoada_sim::plan::Scenario;
use revoada_sim::run::{Options, run};

/// Where each bug shows.
fn scenario(bug: Bug) -> Scenario {
    match bug {
        Bug::AcknowledgesBeforeSync | Bug::ForgetsTheVote | Bug::ForgetsTruncation | Bug::CheckpointWithoutTail => {
            Scenario::Disks
        }
        Bug::AdmitsForgetful | Bug::TrustsOldProgress => Scenario::Amnesia,
        Bug::CountsOtherDisks => Scenario::Members,
        Bug::VotesForAnybody
        | Bug::CountsOldTerms
        | Bug::PromotesLaggards
        | Bug::ReadsStale
        | Bug::ReadsBeforeApplied
        | Bug::RetriesUnknown
        | Bug::RefusesTheUnknown
        | Bug::SendsEmptyEntries
        | Bug::ActsWhenDeposed => Scenario::Network,
        Bug::SkipsDamping => Scenario::Everything,
        Bug::ParentIsUnchecked | Bug::DemotesWithoutABlock => Scenario::Processes,
        Bug::RestoreLosesTheLast
        | Bug::WatchLosesEvents
        | Bug::WatchRepeatsEvents
        | Bug::WatchTearsRevisions
        | Bug::WatchBookmarksEarly
        | Bug::RevisionIsReused
        | Bug::WitnessesAnotherBlock
        | Bug::AnswersInAnotherOrder
        | Bug::GathersWithoutLimit => Scenario::Calm,
    }
}

const SEEDS_MAX: u64 = 100;

/// What only openraft's own assertions tell, which a release build has not.
fn needs_assertions(bug: Bug) -> bool {
    bug == Bug::TrustsOldProgress
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    let mut never: BTreeSet<&str> = NAMES.into_iter().collect();
    println!("| bug | scenario | seeds | found by | and then by |");
    let only = std::env::var("REVOADA_SIM_PLANTED").ok();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let asserts = cfg!(debug_assertions);
    for (name, bug) in Bug::ALL.into_iter().filter(|(name, _)| wanted(name)) {
        if needs_assertions(bug) && !asserts {
            println!("{name}: looked for where assertions are on, which they are not in this build");
            continue;
        }
        let options = Options {
            scenario: scenario(bug),
            ..Options::default()
        };
        let with_bug = |seed, options: &Options| {
            plant(Some(bug));
            let outcome = run(seed, options);
            plant(None);
            outcome
        };
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            let outcome = with_bug(seed, &options);
            outcome.violation.map(|violation| (seed, violation.oracle))
        });
        let (scenario, _) = Scenario::ALL
            .into_iter()
            .find(|(_, known)| *known == options.scenario)
            .unwrap();
        let Some((seed, oracle)) = found else {
            missed.push(name);
            continue;
        };
        // Once more, and past the first thing that is wrong, which others may see as well.
        let whole = with_bug(
            seed,
            &Options {
                to_the_end: true,
                ..options
            },
        );
        let also: Vec<_> = whole.also.iter().map(|violation| violation.oracle).collect();
        never.retain(|name| *name != oracle && !also.contains(name));
        println!("| {name} | {scenario} | {seed} | {oracle} | {} |", also.join(", "));
    }
    assert_eq!(missed, Vec::<&str>::new(), "not found within {SEEDS_MAX} seeds");
    if only.is_none() && asserts {
        assert_eq!(never, BTreeSet::new(), "oracles that found nothing");
    }
}
