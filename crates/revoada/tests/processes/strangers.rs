//! Nodes that are not who they seem, or not what they were: another cluster's, copies, and voters that forgot.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use revoada::attest::Role;
use revoada::core::limits;
use revoada::store::admin::{ClusterStatus, NodeStatus};

use crate::support::{Load, PATIENCE, TestCluster, until};

/// Waits until the log of some other node has a refusal with these words.
async fn refused(cluster: &TestCluster, but: usize, words: &[&str]) {
    let others: Vec<_> = cluster
        .nodes
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != but)
        .collect();
    until(
        &format!("a node refuses with the words {words:?}"),
        PATIENCE,
        async || {
            let said = |line: &str| words.iter().all(|word| line.contains(word));
            if others.iter().any(|(_, node)| node.log_text().lines().any(said)) {
                Ok(())
            } else {
                Err("it is not logged".into())
            }
        },
    )
    .await;
}

fn copy(from: &Path, to: &Path) {
    assert!(
        Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status()
            .unwrap()
            .success()
    );
}

/// A voter has come back with less than it had: it is refused by name with these words, replaced, and a worker in the end.
async fn assert_refused_and_replaced(cluster: &TestCluster, victim: usize, words: &str) {
    let name = cluster.nodes[victim].name();
    refused(cluster, victim, &["a node was refused", name, words]).await;
    let voted_out = |status: &ClusterStatus| status.nodes.iter().any(|node| node.name == name && !node.voter);
    cluster
        .seen("the voter that forgot is replaced", PATIENCE, voted_out)
        .await;
    let (leader, status) = cluster.settled().await;
    let back = status.nodes.iter().find(|node| node.name == name).unwrap();
    assert_eq!((back.role, back.voter), (Role::Worker, false));
    cluster.assert_chain_verifies(leader).await;
}

#[tokio::test]
async fn an_emptied_voter_is_refused_by_name_replaced_and_comes_back_as_a_worker() {
    let mut cluster = TestCluster::start_patient("cluster-3m-nw", 5).await;
    let (followers, workers) = cluster.followers_and_workers().await;
    cluster.apply_patiently(workers[0], "kept", "by the others").await;
    let victim = followers[0];
    cluster.nodes[victim].kill();
    cluster.nodes[victim].empty();
    cluster.nodes[victim].start();
    assert_refused_and_replaced(&cluster, victim, "a voter on another disk").await;
    let content = cluster.content(victim, "kept", false).await.unwrap();
    assert_eq!(content, "by the others", "it has everything again");
}

#[tokio::test]
async fn a_voter_restored_from_an_older_copy_is_refused_by_name_and_replaced() {
    // It is back long before anybody has heard by gossip how far it had come: the leader knows from replication.
    let rarely = Duration::from_secs(2);
    let mut cluster = TestCluster::start_patient_that_gossips(rarely, "cluster-3m-nw", 5).await;
    let (followers, workers) = cluster.followers_and_workers().await;
    let victim = followers[0];
    let (folder, older) = (
        cluster.nodes[victim].config.folder.join("log"),
        cluster.path().join("older"),
    );
    // While it runs and nothing is written, as backups of a disk are made.
    copy(&folder, &older);
    for number in 0..20 {
        cluster
            .apply_patiently(workers[0], &format!("kept-{number}"), "by the others")
            .await;
    }
    let applied = until("the voter has applied what was written", PATIENCE, async || {
        let found = cluster.content(victim, "kept-19", true).await;
        found.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(applied, "by the others");
    cluster.nodes[victim].kill();
    fs::remove_dir_all(&folder).unwrap();
    copy(&older, &folder);
    cluster.nodes[victim].start();
    assert_refused_and_replaced(&cluster, victim, "a voter whose log went back").await;
    assert_eq!(
        cluster.content(victim, "kept-19", false).await.unwrap(),
        "by the others"
    );
}

#[tokio::test]
async fn an_emptied_voter_that_nobody_can_replace_votes_again_in_the_end() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let (followers, _) = cluster.followers_and_workers().await;
    let victim = followers[0];
    let name = cluster.nodes[victim].name().to_owned();
    let load = Load::start(&cluster.sockets(), 4, "meanwhile");
    load.more(50).await;
    cluster.nodes[victim].kill();
    cluster.nodes[victim].empty();
    cluster.nodes[victim].start();
    refused(
        &cluster,
        victim,
        &["a node was refused", &name, "a voter on another disk"],
    )
    .await;
    let is = |status: &ClusterStatus, what: fn(&NodeStatus) -> bool| {
        status.nodes.iter().any(|node| node.name == name && what(node))
    };
    cluster
        .seen("it votes no longer, and replicates", PATIENCE, |status| {
            is(status, |node| !node.voter && node.learner && node.lag <= 99)
        })
        .await;
    load.more(50).await;
    // It was demoted just now, and a node changes its role at most once a minute.
    let minute = PATIENCE + Duration::from_millis(limits::ROLE_CHANGE_INTERVAL_MS);
    cluster
        .seen("three voters are caught up again", minute, |status| {
            status.cluster.redundancy.voters_caught_up == 3 && is(status, |node| node.voter)
        })
        .await;
    let (leader, _) = cluster.settled().await;
    load.more(50).await;
    load.stop().await.assert_kept(&cluster, victim).await;
    cluster.assert_chain_verifies(leader).await;
    // What it votes for counts: either of the others may go.
    cluster.nodes[leader].kill();
    cluster.apply_patiently(victim, "late", "with its vote").await;
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_by_name() {
    let cluster = TestCluster::start("quorum-3m", 3).await;
    let mut other = TestCluster::prepare("solo", 1);
    other.nodes[0].config.seeds = cluster.nodes.iter().map(|node| node.config.listen).collect();
    other.nodes[0].start();
    let short = other.genesis.digest().short();
    refused(
        &cluster,
        usize::MAX,
        &["a node was refused", "node-1 is of cluster", &short],
    )
    .await;
    // Each goes on in its own cluster.
    other.settled().await;
    other.apply_patiently(0, "own", "other").await;
    cluster.apply_patiently(0, "own", "this").await;
    assert_eq!(cluster.content(1, "own", false).await.unwrap(), "this");
    assert_eq!(other.content(0, "own", false).await.unwrap(), "other");
}

#[tokio::test]
async fn a_node_with_the_key_of_another_does_not_start() {
    let mut cluster = TestCluster::prepare("quorum-3m", 3);
    let key = |node: usize| cluster.nodes[node].config.folder.join("node.key");
    fs::copy(key(0), key(1)).unwrap();
    cluster.nodes[1].start();
    let said = cluster.nodes[1].excuse("has no founder node-2").await;
    assert!(said.contains("this key is node-1's"), "{said}");
}

#[tokio::test]
async fn a_second_node_with_a_copied_key_does_no_harm() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let leader = cluster.leader().await;
    let original = (leader + 1) % 3;
    // A machine that was cloned: the same name and key, and an address and a folder of its own.
    let mut elsewhere = TestCluster::prepare("solo", 1);
    let clone = &mut elsewhere.nodes[0];
    let own = cluster.nodes[original].config.clone();
    fs::copy(own.folder.join("node.key"), clone.config.folder.join("node.key")).unwrap();
    clone.config.name.clone_from(&own.name);
    clone.config.genesis.clone_from(&own.genesis);
    clone.config.seeds.clone_from(&own.seeds);
    clone.start();
    refused(
        &cluster,
        original,
        &["a node was refused", &own.name, "has a copy of its key"],
    )
    .await;
    until("the copy notices its original", PATIENCE, async || {
        if clone.log_text().contains("has a copy of its key") {
            Ok(())
        } else {
            Err("it is not logged".into())
        }
    })
    .await;
    cluster.apply_patiently(leader, "kept", "all the while").await;
    assert_eq!(cluster.content(original, "kept", false).await.unwrap(), "all the while");
    clone.kill();
    cluster.nodes[original].kill();
    cluster.nodes[original].start();
    let (leader, _) = cluster.settled().await;
    cluster.assert_chain_verifies(leader).await;
}
