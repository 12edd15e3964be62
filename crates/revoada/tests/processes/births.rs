//! Clusters that are born without all of their founders.

use revoada::core::roles::Membership;

use crate::support::{PATIENCE, TestCluster, until};

#[tokio::test]
async fn a_majority_of_founders_forms_the_cluster_says_what_that_means_and_takes_the_last_one_in_when_it_comes() {
    let mut cluster = TestCluster::prepare("quorum-3m", 3);
    for node in [0, 1] {
        cluster.nodes[node].start();
    }
    cluster.apply_patiently(0, "early", "kept").await;
    let said = |node: usize| {
        cluster.nodes[node]
            .log_text()
            .contains("born without all of its founders")
    };
    assert!(said(0) || said(1), "{}", cluster.nodes[0].log_text());

    cluster.nodes[2].start();
    let client = cluster.nodes[0].client();
    until("all three vote and are caught up", PATIENCE, async || {
        let status = client.status().await.map_err(|error| error.to_string())?;
        let redundancy = &status.cluster.redundancy;
        let alive = status.nodes.iter().all(|node| node.membership == Membership::Alive);
        if alive && redundancy.voters == 3 && redundancy.voters_caught_up == 3 {
            Ok(())
        } else {
            Err(format!("{status:?}"))
        }
    })
    .await;
    assert_eq!(cluster.content(2, "early", false).await.unwrap(), "kept");
}

#[tokio::test]
async fn where_all_founders_are_there_nobody_waits() {
    let cluster = TestCluster::start("quorum-3m", 3).await;
    for node in &cluster.nodes {
        assert!(!node.log_text().contains("born without"), "{}", node.log_text());
    }
}
