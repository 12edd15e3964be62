//! SIGKILL: to all nodes at once, and to one of them.

use std::time::Duration;

use revoada::attest::{Role, TransitionKind};
use revoada::core::roles::Membership;

use crate::support::{Load, PATIENCE, TestCluster, Written, until};

/// Within what a lost voter is replaced. It takes about a second; the rest is for machines that do other things.
const REPLACED_WITHIN: Duration = Duration::from_secs(5);

async fn kill_all_under_load(rounds: usize, writes_per_round: usize) {
    let mut cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let mut written = Written::default();
    for round in 1..=rounds {
        let load = Load::start(&cluster.sockets(), 8, &format!("round-{round}"));
        load.more(writes_per_round).await;
        cluster.kill_all();
        written.absorb(load.stop().await);
        cluster.start_all();
        let (leader, _) = cluster.settled().await;
        written.assert_kept(&cluster, leader).await;
    }
    let leader = cluster.leader().await;
    cluster.assert_chain_verifies(leader).await;
}

#[tokio::test]
async fn every_acknowledged_write_survives_the_kill_of_all_nodes_at_once() {
    kill_all_under_load(3, 300).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask test --long"]
async fn every_acknowledged_write_survives_twenty_kills_of_all_nodes() {
    kill_all_under_load(20, 2_000).await;
}

/// Kills a voter, sees a worker in its place, and starts the voter again.
async fn replace(cluster: &mut TestCluster, victim: usize) {
    let name = cluster.nodes[victim].name().to_owned();
    let from = cluster.nodes[cluster.leader().await]
        .client()
        .history()
        .await
        .unwrap()
        .items
        .len();
    let load = Load::start(&cluster.sockets(), 2, &format!("while-{name}-is-lost"));
    load.more(50).await;
    cluster.nodes[victim].kill();
    let (_, status) = cluster
        .seen("three voters again, without the lost one", REPLACED_WITHIN, |status| {
            status.cluster.redundancy.voters_caught_up == 3
                && status.nodes.iter().any(|node| node.name == name && !node.voter)
        })
        .await;
    let lost = status.nodes.iter().find(|node| node.name == name).unwrap();
    assert_eq!(lost.membership, Membership::Dead);
    load.more(50).await;

    cluster.nodes[victim].start();
    let (leader, status) = cluster.settled().await;
    let back = status.nodes.iter().find(|node| node.name == name).unwrap();
    assert_eq!(
        (back.role, back.voter),
        (Role::Worker, false),
        "who comes back does not take its place back"
    );
    load.stop().await.assert_kept(cluster, leader).await;

    let client = cluster.nodes[leader].client();
    until(
        "history tells of the replacement, with witnesses",
        PATIENCE,
        async || {
            let items = client.history().await.unwrap().items.split_off(from);
            let promoted = items
                .iter()
                .find(|item| item.transition == TransitionKind::Promote && item.node != name);
            let demoted = items
                .iter()
                .find(|item| item.transition == TransitionKind::Demote && item.node == name);
            let told = [promoted, demoted]
                .iter()
                .all(|item| item.is_some_and(|item| !item.witnesses.is_empty()));
            if told { Ok(()) } else { Err(format!("{items:?}")) }
        },
    )
    .await;
    cluster.assert_chain_verifies(leader).await;
}

#[tokio::test]
async fn a_killed_voter_is_replaced_by_a_worker_and_comes_back_as_one() {
    let mut cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let (followers, _) = cluster.followers_and_workers().await;
    replace(&mut cluster, followers[0]).await;
}

#[tokio::test]
async fn a_killed_leader_is_replaced_by_a_worker_and_comes_back_as_one() {
    let mut cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let leader = cluster.leader().await;
    replace(&mut cluster, leader).await;
}

#[tokio::test]
async fn a_node_that_neither_votes_nor_replicates_takes_writes() {
    let mut cluster = TestCluster::prepare("cluster-3m-nw", 7);
    cluster.start_all();
    cluster.apply_patiently(0, "first", "by a founder").await;
    let client = cluster.nodes[0].client();
    let apart = until("every node has its place", PATIENCE, async || {
        let status = client.status().await.map_err(|error| error.to_string())?;
        let holders = status.nodes.iter().filter(|node| node.voter || node.learner).count();
        let apart = status.nodes.iter().find(|node| !node.voter && !node.learner);
        match apart {
            Some(node) if holders == 5 => Ok(node.name.clone()),
            _ => Err(format!("{status:?}")),
        }
    })
    .await;
    let apart = cluster.index_of(&apart);
    cluster.apply_patiently(apart, "through-it", "kept").await;
    // And so it does when another one leads.
    let leader = cluster.leader().await;
    cluster.nodes[leader].kill();
    cluster.apply_patiently(apart, "after", "kept").await;
    let holder = cluster.leader().await;
    assert_eq!(cluster.content(holder, "through-it", false).await.unwrap(), "kept");
}
