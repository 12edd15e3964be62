//! The one way back after a majority is lost for good, and what happens before an operator takes it.

use std::fs;

use revoada::attest::TransitionKind;
use revoada::core::error::ErrorKind;
use revoada::store::admin::ClusterState;

use crate::support::{PATIENCE, TestCluster, until};

#[tokio::test]
async fn without_its_majority_a_cluster_writes_again_only_after_an_operator_has_recovered_it() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let left = cluster.leader().await;
    let lost = [(left + 1) % 3, (left + 2) % 3];
    for number in 0..20 {
        cluster.apply_patiently(left, &format!("before-{number}"), "kept").await;
    }
    let refused = cluster.nodes[left]
        .client()
        .recover("there is a quorum")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");

    for node in lost {
        cluster.nodes[node].kill();
        fs::remove_dir_all(&cluster.nodes[node].config.folder).unwrap();
    }
    let client = cluster.nodes[left].client();
    until(
        "the node that is left says that it has no quorum",
        PATIENCE,
        async || {
            let cluster = client.status().await.map_err(|error| error.to_string())?.cluster;
            if cluster.state == ClusterState::NoQuorum {
                Ok(())
            } else {
                Err(format!("{cluster:?}"))
            }
        },
    )
    .await;
    let refused = cluster.apply(left, "without", "a quorum").await.unwrap_err().kind();
    assert!(
        matches!(refused, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown),
        "{refused:?}"
    );
    assert_eq!(
        cluster.content(left, "before-19", true).await.unwrap(),
        "kept",
        "stale reads are served"
    );

    client.recover("both other machines burnt down").await.unwrap();
    let recovered = until("the node that is left votes alone", PATIENCE, async || {
        let status = client.status().await.map_err(|error| error.to_string())?;
        let alone = status.cluster.state == ClusterState::Formed && status.cluster.redundancy.voters == 1;
        if alone { Ok(status) } else { Err(format!("{status:?}")) }
    })
    .await;
    assert_eq!(recovered.cluster.leader.as_deref(), Some(cluster.nodes[left].name()));
    cluster.apply_patiently(left, "after", "written again").await;
    let (_, found) = cluster.contents(left).await;
    assert!((0..20).all(|number| found[&format!("before-{number}")] == "kept"));
    until(
        "history tells of both lost nodes, with the operator's reason",
        PATIENCE,
        async || {
            let items = client.history().await.unwrap().items;
            let told = items.iter().filter(|item| {
                item.transition == TransitionKind::Demote && item.reason.contains("both other machines burnt down")
            });
            if told.count() == 2 {
                Ok(())
            } else {
                Err(format!("{items:?}"))
            }
        },
    )
    .await;
    cluster.assert_chain_verifies(left).await;

    // It survives a restart as what it is now.
    cluster.nodes[left].kill();
    cluster.nodes[left].start();
    assert_eq!(cluster.leader().await, left);
    assert_eq!(cluster.content(left, "after", false).await.unwrap(), "written again");
}
