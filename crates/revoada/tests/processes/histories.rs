//! What clients were told, judged by two checkers: both find what is wrong with bad histories, and agree about others.

use std::fs;
use std::path::Path;
use std::time::Duration;

use revoada_sim::client_history::{self, Kind, Operation, Outcome};

use crate::support::{Chance, Recorder, TestCluster, judged_by_porcupine, not_run};

fn by_ours(operations: &[Operation]) -> bool {
    client_history::check(operations).is_ok()
}

#[test]
fn two_checkers_agree_on_known_histories() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../revoada-sim/testdata/histories");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let operations = client_history::parse(&fs::read_to_string(&file).unwrap()).unwrap();
        let good = name.starts_with("good-");
        assert_eq!(by_ours(&operations), good, "{name}, by ours");
        match judged_by_porcupine(&operations) {
            Ok(verdict) => assert_eq!(verdict, good, "{name}, by porcupine"),
            Err(missing) => return not_run("porcupine's verdict on known histories", &missing),
        }
    }
}

/// What clients of one register would be told: operations take effect one after the other, in the middle of their spans,
/// and some of them are not heard of again.
fn made_up(chance: &mut Chance, operations: usize) -> Vec<Operation> {
    const CLIENTS: usize = 4;
    let mut free_at = [0; CLIENTS];
    let mut seen: [(Option<String>, u64); CLIENTS] = Default::default();
    let (mut register, mut now) = ((None, 0), 0);
    let mut told = Vec::new();
    for number in 0..operations {
        now += 10;
        let client = chance.below(CLIENTS as u64) as usize;
        let start_ns = (now - chance.below(25).min(now - 1)).max(free_at[client] + 1);
        now = now.max(start_ns);
        let end_ns = now + 1 + chance.below(25);
        free_at[client] = end_ns;
        let kind = [Kind::Get, Kind::Put, Kind::Cas][chance.below(3) as usize];
        let argument = if kind == Kind::Get {
            String::new()
        } else {
            format!("{number}")
        };
        let (expected, expected_revision) = match kind {
            Kind::Cas => seen[client].clone(),
            Kind::Get | Kind::Put => (None, 0),
        };
        let holds = kind != Kind::Cas || expected_revision == register.1;
        let fate = chance.below(10);
        let happens = kind != Kind::Get && holds && fate != 0;
        if happens {
            register = (Some(argument.clone()), register.1 + 1 + chance.below(3));
        }
        let outcome = match fate {
            0 | 1 if kind != Kind::Get => Outcome::Unknown,
            _ if holds => Outcome::Done,
            _ => Outcome::Mismatch,
        };
        let is_read = kind == Kind::Get;
        if outcome == Outcome::Done {
            seen[client] = register.clone();
        }
        told.push(Operation {
            client,
            operation: kind,
            key: "k".to_owned(),
            argument,
            expected,
            expected_revision,
            start_ns,
            end_ns,
            outcome,
            value: register.0.clone().filter(|_| is_read),
            revision: if outcome == Outcome::Done { register.1 } else { 0 },
        });
    }
    told
}

/// Tells one thing of a history otherwise.
fn falsify(chance: &mut Chance, told: &mut [Operation]) {
    let reads: Vec<usize> = (0..told.len()).filter(|at| told[*at].operation == Kind::Get).collect();
    let at = reads[chance.below(reads.len() as u64) as usize];
    match chance.below(3) {
        0 => (told[at].value, told[at].revision) = (None, 0),
        1 => {
            let other = reads[chance.below(reads.len() as u64) as usize];
            (told[at].value, told[at].revision) = (told[other].value.clone(), told[other].revision);
        }
        _ => {
            let writes: Vec<usize> = (0..told.len()).filter(|at| told[*at].operation != Kind::Get).collect();
            let lost = writes[chance.below(writes.len() as u64) as usize];
            told[lost].outcome = Outcome::Failed;
        }
    }
}

#[test]
fn what_porcupine_finds_is_found_by_ours_and_nothing_is_found_in_true_histories() {
    const HISTORIES: u64 = 60;
    let (mut found, mut by_ours_alone) = (0, 0);
    for seed in 0..HISTORIES {
        let mut chance = Chance::new(seed);
        let mut told = made_up(&mut chance, 40);
        assert_eq!(client_history::check(&told), Ok(()), "seed {seed}");
        match judged_by_porcupine(&told) {
            Ok(verdict) => assert!(verdict, "seed {seed}: porcupine finds no order for a true history"),
            Err(missing) => return not_run("the agreement of two checkers", &missing),
        }
        falsify(&mut chance, &mut told);
        // What a condition met that did not hold was not told, and ours looks no further where it may have been a write
        // that nobody saw. Of everything else it knows the revisions too: it may find more, and never less.
        told.retain(|operation| operation.outcome != Outcome::Mismatch);
        let (ours, porcupine) = (by_ours(&told), judged_by_porcupine(&told).unwrap());
        assert!(porcupine || !ours, "seed {seed}: porcupine alone found what is wrong");
        found += u64::from(!porcupine);
        by_ours_alone += u64::from(porcupine && !ours);
    }
    println!("of {HISTORIES}: {found} found by both, {by_ours_alone} by ours alone");
    assert!(found >= HISTORIES / 4, "{found} were bad");
}

#[tokio::test]
async fn what_clients_are_told_while_leaders_die_is_linearizable() {
    let mut cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let recorder = Recorder::start(&cluster.sockets(), 6, 1, Duration::ZERO);
    for round in 0..3 {
        recorder.more(150).await;
        let leader = cluster.leader().await;
        match round {
            0 => cluster.nodes[leader].stop().await,
            _ => cluster.nodes[leader].kill(),
        }
        recorder.more(150).await;
        cluster.nodes[leader].start();
        cluster.settled().await;
    }
    let recorded = recorder.stop().await;
    assert!(recorded.count(Outcome::Mismatch) > 0, "no condition ever failed");
    println!("no write for {:?} at most", recorded.longest_gap);
    recorded.assert_linearizable("what clients were told while leaders died");
    let leader = cluster.leader().await;
    cluster.assert_chain_verifies(leader).await;
}
