//! A clock that is set back: in nodes that run on threads of the test, which is possible everywhere, and in one process,
//! by libfaketime.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::JoinHandle;

use revoada::node::{LogOptions, Node, NodeOptions, Stopped};
use revoada::store::admin::{ClusterStatus, Wish};
use revoada::{NativeFaces, system};
use tokio_util::sync::CancellationToken;

use crate::support::{Load, PATIENCE, TestCluster, library_for_clocks, not_run, until};

const HOUR_MS: i64 = 3_600_000;

/// Nodes on threads, each with a clock that can be set.
struct Threads {
    set_by_ms: Vec<Arc<AtomicI64>>,
    stop: CancellationToken,
    threads: Vec<JoinHandle<Stopped>>,
}

impl Threads {
    fn start(cluster: &mut TestCluster) -> Self {
        system::install_crypto();
        let stop = CancellationToken::new();
        let mut started = Self {
            set_by_ms: Vec::new(),
            stop: stop.clone(),
            threads: Vec::new(),
        };
        for node in &mut cluster.nodes {
            let set_by_ms = Arc::new(AtomicI64::new(0));
            let (clock, set) = (system::clock(), set_by_ms.clone());
            let options = NodeOptions {
                config: node.config.clone(),
                faces: Arc::new(NativeFaces::default()),
                clock_ms: Arc::new(move || clock().saturating_add_signed(set.load(Ordering::SeqCst))),
                entropy: Arc::new(system::entropy),
                log: LogOptions {
                    segment_bytes: 4 << 20,
                    ..LogOptions::default()
                },
                topologies: Vec::new(),
                store: None,
                as_member: None,
            };
            let stop = stop.clone();
            started.threads.push(std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async { Node::prepare(options).unwrap().run(stop, |_| {}).await })
            }));
            started.set_by_ms.push(set_by_ms);
            node.elsewhere = true;
        }
        started
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // A node that panicked has said so.
            drop(thread.join());
        }
    }
}

#[tokio::test]
async fn a_clock_set_back_on_the_leader_loses_nothing_and_the_chain_still_verifies() {
    let mut cluster = TestCluster::prepare("cluster-3m-nw", 5);
    let nodes = Threads::start(&mut cluster);
    let (leader, status) = cluster.settled().await;
    let load = Load::start(&cluster.sockets(), 4, "clock");
    load.more(50).await;
    nodes.set_by_ms[leader].fetch_sub(HOUR_MS, Ordering::SeqCst);
    load.more(50).await;
    nothing_is_lost(&cluster, leader, &status, load).await;
}

#[tokio::test]
async fn the_clock_of_one_process_is_set_back_and_nothing_is_lost() {
    let library = match library_for_clocks() {
        Ok(library) => library,
        Err(missing) => return not_run("the clock of one process", &missing),
    };
    let mut cluster = TestCluster::prepare("cluster-3m-nw", 5);
    cluster.nodes.iter_mut().for_each(|node| node.with_own_clock(&library));
    cluster.start_all();
    let (leader, status) = cluster.settled().await;
    let load = Load::start(&cluster.sockets(), 4, "clock");
    load.more(50).await;
    cluster.nodes[leader].set_clock(-HOUR_MS / 1000);
    load.more(50).await;
    nothing_is_lost(&cluster, leader, &status, load).await;
}

/// With the leader's clock an hour back: a transition comes before the one that it follows, and all else is as ever.
async fn nothing_is_lost(cluster: &TestCluster, leader: usize, status: &ClusterStatus, load: Load) {
    // A transition by the leader whose clock stands an hour earlier than at the one before.
    let follower = status
        .nodes
        .iter()
        .find(|node| node.voter && !node.leader)
        .unwrap()
        .name
        .clone();
    cluster.nodes[leader]
        .client()
        .role_wish(&follower, Wish::Quarantine, false)
        .await
        .unwrap();
    cluster
        .seen("the quarantined voter is replaced", PATIENCE, |status| {
            status.cluster.redundancy.voters_caught_up == 3
                && status.nodes.iter().any(|node| node.name == follower && !node.voter)
        })
        .await;
    let client = cluster.nodes[leader].client();
    let items = client.history().await.unwrap().items;
    assert!(
        items.windows(2).any(|pair| pair[1].time < pair[0].time),
        "no block is earlier than the one before it"
    );
    load.more(50).await;
    load.stop().await.assert_kept(cluster, leader).await;
    cluster.assert_chain_verifies(leader).await;
    // But for the one in quarantine: no log reaches it any more, and its chain may end before its own demotion.
    until("every node shows the same chain", PATIENCE, async || {
        let mut heads = client.chain_heads().await.map_err(|error| error.to_string())?.items;
        heads.retain(|head| head.node != follower);
        if heads.windows(2).all(|pair| pair[0].head == pair[1].head) {
            Ok(())
        } else {
            Err(format!("{heads:?}"))
        }
    })
    .await;
}
