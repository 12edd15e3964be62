//! Every bug that is planted is found.
#![cfg(feature = "planted")]

use revoada_attest::planted::{Bug, plant};
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
        | Bug::ActsWhenDeposed => Scenario::Network,
        Bug::SkipsDamping => Scenario::Everything,
        Bug::ParentIsUnchecked => Scenario::Processes,
        Bug::RestoreLosesTheLast
        | Bug::WatchLosesEvents
        | Bug::WatchRepeatsEvents
        | Bug::RevisionIsReused
        | Bug::GathersWithoutLimit => Scenario::Calm,
    }
}

const SEEDS_MAX: u64 = 100;

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    println!("| bug | scenario | seeds | found by |");
    let only = std::env::var("REVOADA_SIM_PLANTED").ok();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    for (name, bug) in Bug::ALL.into_iter().filter(|(name, _)| wanted(name)) {
        let options = Options {
            scenario: scenario(bug),
            ..Options::default()
        };
        let found = (1..=SEEDS_MAX).find_map(|seed| {
            plant(Some(bug));
            let outcome = run(seed, &options);
            plant(None);
            outcome.violation.map(|violation| (seed, violation.oracle))
        });
        let (scenario, _) = Scenario::ALL
            .into_iter()
            .find(|(_, known)| *known == options.scenario)
            .unwrap();
        match found {
            Some((seeds, oracle)) => println!("| {name} | {scenario} | {seeds} | {oracle} |"),
            None => missed.push(name),
        }
    }
    assert_eq!(missed, Vec::<&str>::new(), "not found within {SEEDS_MAX} seeds");
}
