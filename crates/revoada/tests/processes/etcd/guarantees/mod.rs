//! What etcd guarantees of writes, reads and watches (etcd, *API guarantees*), on five real nodes whose leaders are killed and
//! whose network falls apart, by the checkers of the simulation and by porcupine.

mod asking;
mod watchers;
mod writers;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use revoada_sim::client_history::{self, Operation, Outcome};
use revoada_sim::etcd_history::answers::Wants;
use revoada_sim::etcd_history::{Answer, EtcdHistory, EtcdWatch};
use tokio::sync::watch as channel;
use tokio::task::JoinHandle;

use crate::support::{Door, Hosts, PATIENCE, TestCluster, counted, judged_by_porcupine, not_run, until};
pub use asking::put;
use asking::{limited, range, revision};
use watchers::{Plan, Watcher};
use writers::{Account, Shared, Writer};

const WRITERS: usize = 4;

/// Writers and watchers at work.
struct Clients {
    doors: Vec<Door>,
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Account>>,
    watchers: Vec<JoinHandle<Vec<EtcdWatch>>>,
    last: channel::Sender<Option<u64>>,
}

/// Everything that they were told.
struct Heard {
    history: EtcdHistory,
    operations: Vec<Operation>,
}

/// How the watchers differ: in what they ask for, and in when they leave a node.
fn plans() -> Vec<Plan> {
    let all = Wants::default();
    let full = Wants {
        previous: true,
        fragments: true,
        ..all
    };
    let (puts, deletions) = (
        Wants {
            deletions: false,
            ..all
        },
        Wants { puts: false, ..all },
    );
    let plan = Plan::default();
    vec![
        // One that stays while its node serves it.
        Plan {
            wants: full,
            ..plan.clone()
        },
        // One that goes on where a bookmark says that it can.
        Plan {
            asks: true,
            answers_max: Some(25),
            ..plan.clone()
        },
        // Whole answers, however large, and what was there before.
        Plan {
            wants: Wants { previous: true, ..all },
            asks: true,
            answers_max: Some(40),
            ..plan.clone()
        },
        Plan {
            prefix: "pair-",
            wants: full,
            asks: true,
            answers_max: Some(15),
            ..plan.clone()
        },
        Plan {
            prefix: "pair-",
            wants: deletions,
            asks: true,
            answers_max: Some(3),
            ..plan.clone()
        },
        Plan {
            prefix: "register-0-1",
            wants: puts,
            asks: true,
            ..plan.clone()
        },
        // One that waits where nobody leads, and begins when it comes.
        Plan {
            with_leader: false,
            from_now: true,
            asks: true,
            ..plan.clone()
        },
        Plan {
            prefix: "large-",
            wants: full,
            from_now: true,
            answers_max: Some(2),
            ..plan
        },
    ]
}

impl Clients {
    fn start(doors: Vec<Door>, seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let (last, heard) = channel::channel(None);
        let writer = |number| tokio::spawn(Writer::new(number, doors.clone(), seed, shared.clone()).run());
        let watcher = |(number, plan)| tokio::spawn(Watcher::new(number, doors.clone(), plan, heard.clone()).run());
        Self {
            writers: (0..WRITERS).map(writer).collect(),
            watchers: plans().into_iter().enumerate().map(watcher).collect(),
            doors,
            shared,
            last,
        }
    }

    /// Waits until so many more writes than now were acknowledged.
    async fn more(&self, count: usize) {
        counted(|| self.shared.written.load(Ordering::SeqCst), count).await;
    }

    /// Stops, once every watcher was told everything, and asks each node for the whole history.
    async fn stop(self) -> Heard {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut heard = Heard {
            history: EtcdHistory::default(),
            operations: Vec::new(),
        };
        for writer in self.writers {
            let told = writer.await.unwrap();
            heard.operations.extend(told.operations);
            heard.history.attempts.extend(told.attempts);
            let (into, from) = (&mut heard.history.records, told.records);
            into.writes.extend(from.writes);
            into.reads.extend(from.reads);
            into.mismatches.extend(from.mismatches);
            into.glances.extend(from.glances);
        }
        heard.operations.sort_by_key(|operation| operation.start_ns);
        let newest = until("a linearizable read at the end", PATIENCE, async || {
            let node = self.doors[0].connect().await.map_err(|error| error.to_string())?;
            let told = limited(node.kv().range(range("none", false))).await;
            told.map(|told| revision(told.header.as_ref()))
                .map_err(|status| status.to_string())
        })
        .await;
        self.last.send_replace(Some(newest));
        for watcher in self.watchers {
            let told = tokio::time::timeout(PATIENCE, watcher).await;
            heard
                .history
                .watches
                .extend(told.expect("a watcher is not told everything").unwrap());
        }
        for (place, door) in self.doors.iter().enumerate() {
            let reader = Watcher::new(place, vec![door.clone()], Plan::default(), self.last.subscribe());
            let told = tokio::time::timeout(PATIENCE, reader.run()).await;
            let mut told = told.unwrap_or_else(|_| panic!("node-{place} does not tell the whole history"));
            assert_eq!(told.len(), 1, "the watch of the whole history on node-{place} ended");
            told[0].place = place;
            heard.history.wholes.extend(told);
        }
        heard
    }
}

impl Heard {
    /// How many answers were of this kind.
    fn answers(&self, kind: impl Fn(&Answer) -> bool) -> usize {
        let answers = self.history.watches.iter().flat_map(|watch| &watch.answers);
        answers.filter(|answer| kind(answer)).count()
    }

    /// Asserts that all checkers find everything as guaranteed, and that there was something to find.
    fn assert_holds(self, test: &str) {
        let fragments = self.answers(|answer| matches!(answer, Answer::Events { goes_on: true, .. }));
        let bookmarks = self.answers(|answer| matches!(answer, Answer::Progress(_)));
        let mismatches = self.history.records.mismatches.len();
        println!(
            "{test}: {} writes, {} of unknown outcome, {} reads, {mismatches} conditions that did not hold; {} watches, \
             {bookmarks} bookmarks, {fragments} fragments",
            self.history.records.writes.len(),
            self.history.attempts.len(),
            self.history.records.reads.len(),
            self.history.watches.len(),
        );
        assert!(fragments > 0, "no answer was cut into fragments");
        assert!(
            bookmarks > 100 && mismatches > 0,
            "{bookmarks} bookmarks, {mismatches} mismatches"
        );
        assert!(self.history.watches.len() > 2 * plans().len(), "few watches went on");
        let done = |operation: &&Operation| operation.outcome == Outcome::Done;
        assert!(self.operations.iter().filter(done).count() > 200);
        let (ours, porcupine) = (
            client_history::check(&self.operations),
            judged_by_porcupine(&self.operations),
        );
        if ours.is_err() || porcupine == Ok(false) {
            let file = std::env::temp_dir().join(format!("revoada-etcd-history-{}.jsonl", std::process::id()));
            std::fs::write(&file, client_history::render(&self.operations).unwrap()).unwrap();
            panic!("{test} is in {}: {ours:?}, by porcupine {porcupine:?}", file.display());
        }
        if let Err(missing) = porcupine {
            not_run(&format!("porcupine's verdict on {test}"), &missing);
        }
        assert_eq!(self.history.check(), Ok(()), "{test}");
    }
}

#[tokio::test]
async fn what_etcd_guarantees_of_writes_and_watches_holds_while_leaders_are_killed() {
    let mut cluster = TestCluster::start_with_etcd("cluster-3m-nw", 5).await;
    let clients = Clients::start(cluster.etcd_doors(), 21);
    for _ in 0..3 {
        clients.more(80).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        clients.more(80).await;
        cluster.nodes[leader].start();
        cluster.settled().await;
    }
    clients
        .stop()
        .await
        .assert_holds("the etcd face while leaders were killed");
}

#[tokio::test]
async fn what_etcd_guarantees_of_writes_and_watches_holds_while_the_network_falls_apart() {
    if let Some(reason) = Hosts::missing() {
        return not_run("the etcd face in partitions", &reason);
    }
    let hosts = Hosts::new(5);
    // Declared after the hosts, and so killed before they go.
    let mut cluster = TestCluster::prepare_with_etcd_on(&hosts, "cluster-3m-nw");
    cluster.start_all();
    cluster.settled().await;
    let clients = Clients::start(cluster.etcd_doors(), 22);
    clients.more(80).await;
    let (_, workers) = cluster.followers_and_workers().await;
    let leader = cluster.leader().await;
    hosts.cut(&[leader, workers[0]]);
    clients.more(80).await;
    hosts.heal();
    cluster.settled().await;
    let leader = cluster.leader().await;
    hosts.silence(leader);
    clients.more(80).await;
    hosts.heal();
    cluster.settled().await;
    clients.more(40).await;
    clients
        .stop()
        .await
        .assert_holds("the etcd face while the network fell apart");
}
