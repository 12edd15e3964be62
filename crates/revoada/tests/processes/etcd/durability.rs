//! An answer to a put of an etcd client means that a majority has synced it, as seen from outside.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tonic::Code;

use super::guarantees::put;
use crate::support::{PATIENCE, Strace, TestCluster, not_run, until};

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

#[tokio::test]
async fn each_acknowledged_put_of_an_etcd_client_was_synced_by_a_majority_before_it_was_answered() {
    const PUTS: usize = 60;
    if let Some(reason) = Strace::missing() {
        return not_run("the count of syncs through the etcd face", &reason);
    }
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let leader = cluster.leader().await;
    let attach = |node| Strace::attach(node, cluster.path());
    let traced: Vec<_> = cluster.nodes.iter().map(attach).collect();
    let node = cluster.etcd_doors()[leader].connect().await.unwrap();
    let mut puts = Vec::new();
    // One after the other, so that what is synced meanwhile is synced for this one.
    until("all puts are acknowledged", PATIENCE * 2, async || {
        let sent = since_1970();
        match node.kv().put(put(&format!("synced-{}", puts.len()), "x")).await {
            Ok(_) => puts.push((sent, since_1970())),
            // Traced, and beside others, a leader may lose its place.
            Err(status) if status.code() == Code::Unavailable => return Err(status.to_string()),
            Err(status) => panic!("{status}"),
        }
        match puts.len() {
            PUTS => Ok(()),
            count => Err(format!("{count} were")),
        }
    })
    .await;
    // A commit counts whoever has synced, so it is any majority, and not always with the leader in it.
    until(
        "a majority has synced each put before its answer",
        PATIENCE,
        async || {
            let syncs: Vec<_> = traced.iter().map(Strace::syncs).collect();
            let within = |(sent, answered): &(Duration, Duration)| {
                let on = |syncs: &&Vec<_>| {
                    let mut syncs = syncs.iter();
                    syncs.any(|sync: &crate::support::Sync| *sent <= sync.began && sync.ended <= *answered)
                };
                syncs.iter().filter(on).count()
            };
            let unsynced = puts.iter().filter(|put| within(put) < 2).count();
            match unsynced {
                0 => Ok(()),
                _ => {
                    let counts: Vec<_> = syncs.iter().map(Vec::len).collect();
                    Err(format!("{unsynced} of {PUTS} puts were not; syncs by node: {counts:?}"))
                }
            }
        },
    )
    .await;
}
