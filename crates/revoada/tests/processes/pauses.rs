//! SIGSTOP and SIGCONT: a process that stood still does not know it, and must not act on what was true before.

use revoada::core::error::ErrorKind;

use crate::support::{Load, PATIENCE, TestCluster, until};

/// Pauses a voter, writes past it, and asks it the moment it is back.
async fn pause_and_resume(cluster: &mut TestCluster, victim: usize, fact: &str) {
    let others: Vec<usize> = (0..cluster.nodes.len()).filter(|node| *node != victim).collect();
    cluster.apply_patiently(victim, fact, "old").await;
    cluster.nodes[victim].pause();
    let load = Load::start(&cluster.sockets(), 4, &format!("{fact}-load"));

    // Linearizable while one voter stands still: whatever one node acknowledged, any other shows at once.
    for round in 0..10 {
        let (writer, reader) = (others[round % others.len()], others[(round + 1) % others.len()]);
        let content = format!("new-{round}");
        cluster.apply_patiently(writer, fact, &content).await;
        let read = until("a linearizable read", PATIENCE, async || {
            cluster
                .content(reader, fact, false)
                .await
                .map_err(|error| error.to_string())
        });
        assert_eq!(read.await, content);
    }
    load.more(50).await;

    cluster.nodes[victim].resume();
    until("the resumed node reads again", PATIENCE, async || {
        match cluster.content(victim, fact, false).await {
            Ok(content) => {
                assert_eq!(
                    content, "new-9",
                    "a node that stood still answered a linearizable read with the past"
                );
                Ok(())
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                Err(error.to_string())
            }
        }
    })
    .await;
    let (leader, _) = cluster.settled().await;
    load.more(50).await;
    load.stop().await.assert_kept(cluster, leader).await;
}

/// Waits until all nodes name one leader in one term.
async fn assert_one_leader(cluster: &TestCluster) {
    until("all nodes name one leader in one term", PATIENCE, async || {
        let mut named = Vec::new();
        for node in 0..cluster.nodes.len() {
            let summary = cluster.status(node).await.map_err(|error| error.to_string())?.cluster;
            named.push((summary.term, summary.leader));
        }
        if named[0].1.is_some() && named.iter().all(|name| *name == named[0]) {
            Ok(())
        } else {
            Err(format!("{named:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn a_paused_minority_does_no_harm_when_it_is_resumed() {
    let mut cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let leader = cluster.leader().await;
    pause_and_resume(&mut cluster, leader, "leader").await;
    let (followers, _) = cluster.followers_and_workers().await;
    pause_and_resume(&mut cluster, followers[0], "follower").await;
    assert_one_leader(&cluster).await;
    let leader = cluster.leader().await;
    cluster.assert_chain_verifies(leader).await;
}
