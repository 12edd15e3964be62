//! What an operator asks for, as whoever waits for it sees it.

use revoada::core::roles::NodeState;
use revoada::store::admin::Wish;

use crate::support::{PATIENCE, TestCluster};

#[tokio::test]
async fn a_change_that_is_waited_for_is_over_when_it_is_answered() {
    let cluster = TestCluster::start("cluster-3m-nw", 5).await;
    let (followers, workers) = cluster.followers_and_workers().await;
    let leader = cluster.leader().await;
    // One asks the leader and the other a node that has to ask it; either is answered to the question after it at once.
    for (wish, victim, asked) in [
        (Wish::Quarantine, followers[0], leader),
        (Wish::Drain, followers[1], workers[0]),
    ] {
        let name = cluster.nodes[victim].name();
        let client = cluster.nodes[asked].client();
        let granted = client.role_wish(name, wish, true).await.unwrap();
        let status = client.status().await.unwrap();
        assert!(granted.done && granted.why.is_empty(), "{granted:?}");
        let redundancy = &status.cluster.redundancy;
        assert_eq!(
            (redundancy.voters, redundancy.voters_caught_up),
            (redundancy.voters_declared, redundancy.voters_declared),
            "{status:?}"
        );
        let moves = |state: &NodeState| matches!(state, NodeState::Promoting | NodeState::Demoting);
        assert!(!status.nodes.iter().any(|node| moves(&node.state)), "{status:?}");
        assert!(
            !status.nodes.iter().any(|node| node.name == name && node.voter),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn a_change_whose_shape_cannot_be_had_says_what_is_in_the_way() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let (followers, _) = cluster.followers_and_workers().await;
    let leader = cluster.leader().await;
    cluster.nodes[followers[0]].kill();
    cluster
        .seen("the loss is seen", PATIENCE, |status| {
            status.cluster.redundancy.voters_caught_up == 2
        })
        .await;
    let client = cluster.nodes[leader].client();
    let granted = client
        .role_wish(cluster.nodes[followers[1]].name(), Wish::Restore, true)
        .await
        .unwrap();
    assert!(granted.done && granted.already.is_some(), "{granted:?}");
    assert!(!granted.why.is_empty(), "{granted:?}");
}
