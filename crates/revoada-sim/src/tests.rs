use std::sync::Arc;
use std::time::Duration;

use crate::executor::{SimInstant, SimRuntime};
use openraft_rt::{AsyncRuntime, Instant as _};
use revoada_attest::NodeKey;
use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
use revoada_core::genesis::{Founder, Genesis};
use revoada_core::keyspace::{Op, Operation, Txn};
use revoada_store::Keyspace;

use crate::cluster::{Cluster, name_of};
use crate::runtime::Sim;

#[test]
fn five_nodes_form_write_lose_their_leader_and_are_whole_again() {
    if std::env::var_os("SIM_LOG").is_some() {
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .without_time()
            .with_writer(std::io::stderr)
            .init();
    }
    let cluster = five(7);
    let mut runtime = SimRuntime::with_seed(7);
    let held = cluster.clone();
    runtime.block_on(async move {
        for place in 0..5 {
            cluster.start(place);
        }
        let leader = loop {
            Sim::sleep(Duration::from_millis(50)).await;
            if let Some(leader) = cluster.leader() {
                break leader;
            }
        };
        let put = |n: u64| Operation::Txn(Txn::always(vec![Op::put(format!("key-{n}"), "value")]));
        for n in 0..20 {
            let running = cluster.running((n % 5) as usize).unwrap();
            if let Err(error) = running.keyspace.execute(put(n)).await {
                for (place, running) in cluster.all_running() {
                    println!("{place} {:?}", running.consensus().view());
                    println!("{place} {:?}", cluster.ids[place].short());
                }
                for line in cluster.trace.last(100) {
                    println!("{line}");
                }
                panic!("{n}: {error}");
            }
        }
        cluster.kill(leader, false);
        Sim::sleep(Duration::from_secs(3)).await;
        let next = cluster.leader().unwrap();
        assert_ne!(next, leader);
        let view = cluster.running(next).unwrap().consensus().view();
        assert_eq!(view.voters.len(), 3);
        assert!(!view.voters.contains(&cluster.ids[leader]), "{view:?}");
        cluster.running(next).unwrap().keyspace.execute(put(99)).await.unwrap();
        cluster.end_all();
    });
    for line in held.trace.last(100) {
        println!("{line}");
    }
    println!("{:?}", held.trace.digest());
}

fn five(seed: u64) -> Arc<Cluster> {
    let keys: Vec<_> = (1..=5).map(|n| NodeKey::from_seed([n; 32])).collect();
    let declaration = ClusterDeclaration::prove(prescribed_for("cluster-3m-nw", 5).unwrap()).unwrap();
    let founders = keys
        .iter()
        .enumerate()
        .map(|(place, key)| (key.id(), Founder::named(name_of(place))));
    let genesis = Arc::new(Genesis::prove(declaration, founders, None).unwrap());
    Cluster::new(seed, genesis, keys)
}

#[test]
fn a_voter_that_dies_before_gossip_has_told_of_it_is_replaced_as_soon_as_any_other() {
    const SOON: Duration = Duration::from_millis(1_500);
    for seed in 0..5 {
        let cluster = five(seed);
        SimRuntime::with_seed(seed).block_on(async move {
            for place in 0..5 {
                cluster.start(place);
            }
            let began = SimInstant::now();
            // As soon as a voter has answered the leader.
            let victim = loop {
                Sim::sleep(Duration::from_millis(1)).await;
                let leader = cluster.leader().and_then(|leader| cluster.running(leader));
                let view = leader.map(|leader| leader.consensus().view());
                let answered = view.and_then(|view| view.voters.into_iter().find(|id| view.answered.contains_key(id)));
                if let Some(victim) = answered {
                    break victim;
                }
            };
            cluster.kill(cluster.place_of(&victim).unwrap(), false);
            println!("{seed}: killed after {:?}", began.elapsed());
            let killed = SimInstant::now();
            loop {
                Sim::sleep(Duration::from_millis(10)).await;
                let view = cluster.leader().and_then(|leader| cluster.running(leader));
                let voters = view
                    .map(|running| running.consensus().view().voters)
                    .unwrap_or_default();
                if voters.len() == 3 && !voters.contains(&victim) {
                    break;
                }
                assert!(killed.elapsed() < SOON, "{seed}: not replaced: {voters:?}");
            }
            println!("{seed}: replaced after {:?}", killed.elapsed());
            cluster.end_all();
        });
    }
}

#[test]
fn the_oracle_judges_histories_of_real_clients() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/histories");
    let mut judged = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let told = crate::client_history::parse(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let verdict = crate::client_history::check(&told);
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(verdict.is_ok(), name.starts_with("good-"), "{name}: {verdict:?}");
        judged += 1;
    }
    assert!(judged >= 20);
}
