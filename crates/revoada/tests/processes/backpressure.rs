//! A follower that is slow: the others go on, and what it lacks waits in the leader's log and not in its memory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use revoada::client::{ClientOptions, FramedClient};
use tokio::time::{Instant, sleep};

use crate::support::{PATIENCE, TestCluster, config_map};

const WRITERS: usize = 4;
const CONTENT_BYTES: usize = 192 << 10;
/// More than a node keeps of what was overwritten, so that only what waits can grow after it.
const WRITES_BEFORE: usize = 500;
const WRITES_WHILE_SLOW: usize = 1200;
const WRITES_WHILE_PAUSED: usize = 600;
/// What may wait for one follower, twice, and what a checkpoint and the log keep of the newest: several times less than
/// what is written meanwhile.
const GROWTH_BYTES_MAX: u64 = 80 << 20;
/// For so long the slow one runs, and for so long it stands still, again and again.
const RUNS: Duration = Duration::from_millis(10);
const STANDS: Duration = Duration::from_millis(190);
/// Writes of such a size take long where they are parsed without optimisation.
const LONG: Duration = Duration::from_secs(180);

fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn a_slow_follower_is_waited_for_and_fills_nobodys_memory() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let (followers, _) = cluster.followers_and_workers().await;
    let leader = cluster.leader().await;
    let (victim, pid) = (followers[0], cluster.nodes[leader].pid());
    let written = Arc::new(AtomicUsize::new(0));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (endpoint, written) = (cluster.nodes[leader].endpoint(), written.clone());
        writers.spawn(async move {
            let client = FramedClient::connect(endpoint, ClientOptions::default()).await.unwrap();
            for number in 0.. {
                let content = format!("{number} {}", "x".repeat(CONTENT_BYTES));
                client
                    .apply(config_map(&format!("large-{writer}"), &content))
                    .await
                    .unwrap();
                written.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let started = Instant::now();
    let more = |count: usize| {
        let enough = written.load(Ordering::SeqCst) + count;
        let written = written.clone();
        move || {
            assert!(
                started.elapsed() < LONG,
                "{} writes in all",
                written.load(Ordering::SeqCst)
            );
            written.load(Ordering::SeqCst) >= enough
        }
    };

    let mut before = 0;
    let enough = more(WRITES_BEFORE);
    while !enough() {
        sleep(STANDS).await;
        before = before.max(resident_bytes(pid));
    }
    let mut most = 0;
    let enough = more(WRITES_WHILE_SLOW);
    while !enough() {
        cluster.nodes[victim].pause();
        sleep(STANDS).await;
        cluster.nodes[victim].resume();
        sleep(RUNS).await;
        most = most.max(resident_bytes(pid));
    }
    cluster.nodes[victim].pause();
    let enough = more(WRITES_WHILE_PAUSED);
    while !enough() {
        sleep(STANDS).await;
        most = most.max(resident_bytes(pid));
    }
    println!(
        "resident before {} MiB, at most {} MiB while a follower was slow",
        before >> 20,
        most >> 20
    );
    assert!(
        most <= before + GROWTH_BYTES_MAX,
        "the leader grew from {before} to {most} bytes while a follower was slow"
    );
    writers.abort_all();

    // What waited for it is there once it is not slow any more. It may be quarantined by then: it flapped.
    cluster.nodes[victim].resume();
    cluster
        .seen("all three are caught up", PATIENCE, |status| {
            status.cluster.redundancy.voters_caught_up == 3
        })
        .await;
    cluster.apply_patiently(victim, "last", "after all").await;
    let read = tokio::time::timeout(PATIENCE, cluster.content(victim, "last", false)).await;
    assert_eq!(read.unwrap().unwrap(), "after all");
}
