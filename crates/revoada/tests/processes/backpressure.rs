//! A follower that is slow: the others go on, and what it lacks waits in the leader's log and not in its memory.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use revoada::client::{ClientOptions, FramedClient};
use revoada::core::limits;
use tokio::time::{Instant, sleep};

use crate::support::{NodeProcess, PATIENCE, TestCluster, config_map};

const WRITERS: usize = 4;
const CONTENT_BYTES: usize = 192 << 10;
/// More than a node keeps of what was overwritten, so that only what waits can grow after it.
const WRITES_BEFORE: usize = 500;
/// As many while nobody is slow, and while one is: checkpoints and history take their part in both, and cancel out.
const WRITES_COMPARED: usize = 1200;
const WRITES_WHILE_PAUSED: usize = 600;
/// What may wait for one follower, and what is made of one append on its way.
const UNANSWERED_BYTES_MAX: usize = limits::APPENDS_IN_FLIGHT_BYTES_MAX + 2 * limits::APPEND_BYTES_MAX as usize;
/// That once more as it is written to the link, and a checkpoint that falls differently: a fifth of what is written
/// while the follower is slow or stands still.
const GROWTH_BYTES_MAX: u64 = 64 << 20;
/// For so long the slow one runs, and for so long it stands still, again and again.
const RUNS: Duration = Duration::from_millis(10);
const STANDS: Duration = Duration::from_millis(190);
/// Writes of such a size take long where they are parsed without optimisation.
const LONG: Duration = Duration::from_secs(300);

/// The most that was seen of a leader.
#[derive(Debug, Default, Clone, Copy)]
struct Peak {
    resident_bytes: u64,
    /// Of what was sent to one follower.
    unanswered_bytes: usize,
}

impl Peak {
    async fn look(&mut self, leader: &NodeProcess, follower: &str) {
        let status = fs::read_to_string(format!("/proc/{}/status", leader.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        let resident_bytes = line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024;
        self.resident_bytes = self.resident_bytes.max(resident_bytes);
        let metrics = leader.client().metrics().await.unwrap();
        let of_follower = format!("revoada_raft_unanswered_bytes{{node=\"{follower}\"");
        let line = metrics.lines().find(|line| line.starts_with(&of_follower)).unwrap();
        let unanswered_bytes = line.rsplit(' ').next().unwrap().parse().unwrap();
        self.unanswered_bytes = self.unanswered_bytes.max(unanswered_bytes);
    }
}

#[tokio::test]
async fn a_slow_follower_is_waited_for_and_fills_nobodys_memory() {
    let mut cluster = TestCluster::prepare("quorum-3m", 3);
    for node in &mut cluster.nodes {
        // What is resident then follows what the program holds. By default the allocator gives back later what was
        // freed, and that alone comes and goes by more than all that may wait for a follower.
        node.environment
            .push(("MIMALLOC_PURGE_DELAY".to_owned(), "0".to_owned()));
    }
    cluster.start_all();
    let (followers, _) = cluster.followers_and_workers().await;
    let leader = cluster.leader().await;
    let victim = followers[0];
    let name = cluster.nodes[victim].name().to_owned();
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

    let enough = more(WRITES_BEFORE);
    while !enough() {
        sleep(RUNS).await;
    }
    let mut usual = Peak::default();
    let enough = more(WRITES_COMPARED);
    while !enough() {
        sleep(RUNS).await;
        usual.look(&cluster.nodes[leader], &name).await;
    }
    let mut slow = Peak::default();
    let enough = more(WRITES_COMPARED);
    while !enough() {
        cluster.nodes[victim].pause();
        sleep(STANDS).await;
        slow.look(&cluster.nodes[leader], &name).await;
        cluster.nodes[victim].resume();
        sleep(RUNS).await;
    }
    let mut paused = Peak::default();
    cluster.nodes[victim].pause();
    let enough = more(WRITES_WHILE_PAUSED);
    while !enough() {
        sleep(RUNS).await;
        paused.look(&cluster.nodes[leader], &name).await;
    }
    println!("usually {usual:?}, with a slow follower {slow:?}, with one that stands still {paused:?}");
    for peak in [slow, paused] {
        assert!(
            peak.unanswered_bytes <= UNANSWERED_BYTES_MAX,
            "what was sent to the follower and not answered: {peak:?}"
        );
        assert!(
            peak.resident_bytes <= usual.resident_bytes + GROWTH_BYTES_MAX,
            "the leader grew: usually {usual:?}, and then {peak:?}"
        );
    }
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
