//! A network that falls apart: each node is a host of its own, in a network namespace, on one switch.

use std::time::Duration;

use revoada::attest::Role;
use revoada::core::error::ErrorKind;
use revoada::store::admin::ClusterState;

use crate::support::{Hosts, Load, PATIENCE, Recorder, TestCluster, not_run, until};

#[tokio::test]
async fn a_partition_leaves_one_side_that_decides_and_heals_to_one_chain() {
    if let Some(reason) = Hosts::missing() {
        return not_run("a network partition", &reason);
    }
    let hosts = Hosts::new(5);
    // Declared after the hosts, and so killed before they go.
    let mut cluster = hosts.prepare("cluster-3m-nw");
    cluster.start_all();
    let (leader, status) = cluster.settled().await;
    cluster.apply_patiently(leader, "fact", "before").await;

    // The leader and a worker on one side; two voters and a worker on the other.
    let worker = cluster.index_of(&status.nodes.iter().find(|node| !node.voter).unwrap().name);
    let minority = [leader, worker];
    // On a slow machine the shape is there before the standbys replicate.
    until("the worker replicates", PATIENCE, async || {
        match cluster.content(worker, "fact", true).await {
            Ok(content) if content == "before" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let majority: Vec<usize> = (0..5).filter(|node| !minority.contains(node)).collect();
    let sockets: Vec<_> = majority
        .iter()
        .map(|node| cluster.nodes[*node].config.control_socket())
        .collect();
    hosts.cut(&minority);
    let load = Load::start(&sockets, 2, "majority");
    load.more(50).await;
    cluster
        .apply_patiently(majority[0], "fact", "decided by the majority")
        .await;

    // Each answer takes as long as a client waits, so all are asked at once.
    let asked = minority.map(|node| {
        let cluster = &cluster;
        async move {
            until("the minority says that it has no quorum", PATIENCE, async || {
                let summary = cluster.status(node).await.map_err(|error| error.to_string())?.cluster;
                if summary.state == ClusterState::NoQuorum {
                    Ok(())
                } else {
                    Err(format!("{summary:?}"))
                }
            })
            .await;
            let (read, stale, written) = futures::join!(
                cluster.content(node, "fact", false),
                cluster.content(node, "fact", true),
                cluster.apply(node, "minority", "x"),
            );
            let refused = read.unwrap_err();
            assert_eq!(
                refused.kind(),
                ErrorKind::Unavailable,
                "a linearizable read without a quorum: {refused}"
            );
            assert_eq!(stale.unwrap(), "before");
            let refused = written.unwrap_err().kind();
            assert!(
                matches!(refused, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown),
                "{refused:?}"
            );
        }
    });
    futures::future::join_all(asked).await;
    until(
        "the majority has replaced the voter that it cannot see",
        Duration::from_secs(10),
        async || {
            let status = cluster.status(majority[0]).await.map_err(|error| error.to_string())?;
            let voters: Vec<_> = status
                .nodes
                .iter()
                .filter(|node| node.voter)
                .map(|node| cluster.index_of(&node.name))
                .collect();
            if voters == majority {
                Ok(())
            } else {
                Err(format!("{voters:?} vote"))
            }
        },
    )
    .await;

    hosts.heal();
    let (now, status) = cluster.settled().await;
    assert!(
        majority.contains(&now),
        "who was cut off does not come back as the leader"
    );
    let back = status
        .nodes
        .iter()
        .find(|node| node.name == cluster.nodes[leader].name())
        .unwrap();
    assert_eq!((back.role, back.voter), (Role::Worker, false));
    for node in 0..5 {
        let content = until("a linearizable read after the partition", PATIENCE, async || {
            cluster
                .content(node, "fact", false)
                .await
                .map_err(|error| error.to_string())
        });
        assert_eq!(content.await, "decided by the majority");
    }
    let written = load.stop().await;
    for node in minority {
        written.assert_kept(&cluster, node).await;
        cluster.assert_chain_verifies(node).await;
    }
}

/// Does something to the network of a cluster under load, undoes it, and asks whether anybody noticed who should not have.
async fn under_load(what: &str, seed: u64, disturb: impl AsyncFnOnce(&Hosts, &TestCluster, &Recorder)) {
    if let Some(reason) = Hosts::missing() {
        return not_run(what, &reason);
    }
    let hosts = Hosts::new(5);
    let mut cluster = hosts.prepare("cluster-3m-nw");
    cluster.start_all();
    cluster.settled().await;
    let recorder = Recorder::start(&cluster.sockets(), 5, seed, Duration::from_millis(1));
    recorder.more(50).await;
    disturb(&hosts, &cluster, &recorder).await;
    hosts.heal();
    cluster.settled().await;
    recorder.more(50).await;
    recorder.stop().await.assert_linearizable(what);
    for node in 0..5 {
        cluster.assert_chain_verifies(node).await;
    }
}

#[tokio::test]
async fn two_voters_that_do_not_hear_each_other_and_hear_all_others_do_no_harm() {
    under_load("a partial partition", 11, async |hosts, cluster, recorder| {
        let (followers, _) = cluster.followers_and_workers().await;
        let leader = cluster.leader().await;
        hosts.cut_between(leader, followers[0]);
        recorder.more(200).await;
        hosts.heal();
        cluster.settled().await;
        let (followers, _) = cluster.followers_and_workers().await;
        hosts.cut_between(followers[0], followers[1]);
        recorder.more(200).await;
    })
    .await;
}

#[tokio::test]
async fn a_leader_that_hears_all_and_is_heard_by_nobody_is_replaced() {
    under_load("a one-way cut", 12, async |hosts, cluster, recorder| {
        let mute = cluster.leader().await;
        hosts.silence(mute);
        until("another one leads", PATIENCE, async || {
            for node in (0..5).filter(|node| *node != mute) {
                let summary = cluster.status(node).await.map_err(|error| error.to_string())?.cluster;
                if summary
                    .leader
                    .as_deref()
                    .is_some_and(|name| name != cluster.nodes[mute].name())
                {
                    return Ok(());
                }
            }
            Err("nobody else does".to_owned())
        })
        .await;
        recorder.more(200).await;
    })
    .await;
}

#[tokio::test]
async fn a_network_that_loses_a_tenth_of_everything_loses_no_write() {
    under_load("loss", 13, async |hosts, _, recorder| {
        hosts.lose(10);
        recorder.more(200).await;
    })
    .await;
}
