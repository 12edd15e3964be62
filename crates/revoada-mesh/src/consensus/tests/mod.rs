mod appending;
mod checkpoint;
mod cluster;
mod log_store;
mod machine;
mod restore;
mod single;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use parking_lot::Mutex;
use revoada_attest::{Digest, NodeKey};
use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
use revoada_core::genesis::Founder;
use revoada_core::keyspace::{Answer, Op, Operation, Txn};
use revoada_core::machine::{Context, Done};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::peers::AddressBook;
use super::types::{LogId, SnapshotMeta, StoredMembership, Vote};
use super::*;
use crate::runtime::wait_until;
use crate::transport::{Gate, Hello, Protocol, Refusal, Transport};

/// Far above what anything here takes; a condition that is not met by then fails its test.
const SOON: Duration = Duration::from_secs(10);

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed([n; 32])
}

fn id(n: u8) -> NodeId {
    key(n).id()
}

fn ids(nodes: impl IntoIterator<Item = u8>) -> BTreeSet<NodeId> {
    nodes.into_iter().map(id).collect()
}

fn genesis_named(name: &str, nodes: u8) -> Arc<Genesis> {
    let mut draft = prescribed_for("quorum-3m", usize::from(nodes.max(3))).unwrap();
    draft.name = name.to_owned();
    let founders = (1..=nodes.max(3)).map(|n| (id(n), Founder::named(format!("node-{n}"))));
    Arc::new(Genesis::prove(ClusterDeclaration::prove(draft).unwrap(), founders, None).unwrap())
}

fn genesis() -> Arc<Genesis> {
    genesis_named("homelab", 3)
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(Vote::new(term, id(1)).leader_id().to_committed(), index)
}

fn put(key: &str, value: &[u8]) -> Command {
    Command::Keyspace(Operation::Txn(Txn::always(vec![Op::put(
        key.to_owned(),
        value.to_vec(),
    )])))
}

/// The revision that a put took.
fn revision(reply: Reply) -> u64 {
    match reply.unwrap() {
        Done::Keyspace(outcome) if matches!(outcome.answer, Answer::Txn(_)) => outcome.revision,
        other => panic!("{other:?}"),
    }
}

fn nobodys_seats() -> Arc<Seats> {
    Arc::new(Seats::new(Shown::default()))
}

struct OpenGate(Mutex<Option<Consensus>>, Digest, SocketAddr);

impl Gate for OpenGate {
    fn hello(&self, _: &NodeId) -> Hello {
        let (term, last_index) = self.0.lock().as_ref().map_or((0, 0), Consensus::position);
        Hello {
            cluster: self.1,
            name: "node".to_owned(),
            version: "0".to_owned(),
            address: self.2,
            formed: last_index > 0,
            term,
            last_index,
            shown: self.0.lock().as_ref().map(Consensus::shown).unwrap_or_default(),
            your_first_disk: None,
        }
    }

    fn admit(&self, _: &NodeId, _: &Hello) -> Result<(), Refusal> {
        Ok(())
    }

    fn keeps(&self, _: &NodeId) -> Result<(), Refusal> {
        Ok(())
    }
}

/// A cluster whose nodes live in this process, each with its own folder and port.
struct Nodes {
    genesis: Arc<Genesis>,
    book: Arc<AddressBook>,
    folder: TempDir,
}

/// One of them; it stops listening when it is dropped, and all its connections break.
struct Running {
    n: u8,
    consensus: Consensus,
    peers: Peers,
    gate: Arc<OpenGate>,
    serving: JoinHandle<()>,
}

impl std::ops::Deref for Running {
    type Target = Consensus;

    fn deref(&self) -> &Consensus {
        &self.consensus
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Running {
    /// Stops it as a process does that dies: nobody is told.
    async fn stop(self) {
        self.serving.abort();
        self.consensus.stop().await;
        // The gate belongs to the transport, which belongs to consensus.
        self.gate.0.lock().take();
    }

    async fn sees(&self, what: impl Fn(&RaftView) -> bool) -> RaftView {
        let seen = async {
            loop {
                let changes = self.consensus.changes();
                let view = self.consensus.view();
                if what(&view) {
                    return view;
                }
                // Figures of replication change without a change that is told.
                timeout(Duration::from_millis(20), changes).await.unwrap_or_default();
            }
        };
        let found = timeout(SOON, seen).await;
        found.unwrap_or_else(|_| panic!("node {} sees {:?}", self.n, self.consensus.view()))
    }

    async fn put(&self, key: &str, value: &[u8]) -> u64 {
        revision(timeout(SOON, self.propose(put(key, value))).await.unwrap().unwrap())
    }

    async fn newest_value(&self, key: &str) -> Option<Bytes> {
        timeout(SOON, self.newest()).await.unwrap().unwrap();
        self.value(key)
    }

    fn value(&self, key: &str) -> Option<Bytes> {
        self.read(|state| {
            state
                .keyspace()
                .get(key.as_bytes())
                .map(|version| version.value.clone())
        })
    }

    async fn applies(&self, index: u64) {
        let mut applied = self.applied();
        let waited = wait_until::<Tokio, _>(&mut applied, |applied| applied.index >= index);
        timeout(SOON, waited)
            .await
            .unwrap_or_else(|_| panic!("node {} applies {index}", self.n))
            .unwrap();
    }

    /// Writes a checkpoint of everything applied, and cuts the log behind it.
    async fn checkpoint(&self) -> u64 {
        let index = self.applied().borrow_watched().index;
        self.raft.trigger().snapshot().await.unwrap();
        let reaches = |meta: &SnapshotMeta| meta.last_log_id.is_some_and(|last| last.index >= index);
        let written = async {
            while !self.checkpoints.current().is_some_and(|(meta, _)| reaches(&meta)) {
                tokio::task::yield_now().await;
            }
            loop {
                self.raft.trigger().purge_log(index).await.unwrap();
                if self.log.engine().bounds().first_index > index {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, written)
            .await
            .expect("a checkpoint is written and the log cut");
        index
    }
}

impl Nodes {
    fn new(nodes: u8) -> Self {
        let genesis = genesis_named("homelab", nodes);
        Self {
            genesis,
            book: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn config(&self, n: u8) -> ConsensusConfig {
        ConsensusConfig {
            id: id(n),
            folder: self.folder.path().join(format!("node-{n}")),
            genesis: self.genesis.clone(),
            election_timeout: Duration::from_millis(200),
            heartbeat: Duration::from_millis(50),
            snapshot_interval: 1_000,
            checkpoints: CheckpointRule::default(),
            log: LogOptions {
                segment_bytes: 1 << 18,
                ..LogOptions::default()
            },
            new_disk: DiskId::of([n; 8]),
        }
    }

    async fn start(&self, n: u8) -> Running {
        let opened = Opened::open(self.config(n)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Arc::new(OpenGate(Mutex::default(), self.genesis.digest(), address));
        let transport = Arc::new(Transport::new(&key(n), gate.clone()).unwrap());
        let peers = Peers::new(transport.clone(), self.book.clone());
        let consensus = opened.start(peers.clone()).await.unwrap();
        consensus.vouch().await.unwrap();
        *gate.0.lock() = Some(consensus.clone());
        self.book.learn(id(n), address);
        let extra: Extra = Arc::new(|_, body| Box::pin(async move { body }));
        let handlers = BTreeMap::from([
            (Protocol::Raft, consensus.raft_handler()),
            (Protocol::Forward, consensus.forward_handler(extra)),
        ]);
        let serving = tokio::spawn(transport.serve(listener, handlers));
        Running {
            n,
            consensus,
            peers,
            gate,
            serving,
        }
    }

    /// Starts `voters`, which form, and returns them in their order.
    async fn form(&self, voters: std::ops::RangeInclusive<u8>) -> Vec<Running> {
        let mut running = Vec::new();
        for n in voters.clone() {
            running.push(self.start(n).await);
        }
        for node in &running {
            node.form(&ids(voters.clone())).await.unwrap();
        }
        leader(&running).await;
        running
    }
}

/// The place of the node that leads, once all agree on it.
async fn leader(nodes: &[Running]) -> usize {
    let agreed = async {
        loop {
            let views: Vec<_> = nodes.iter().map(|node| node.view()).collect();
            let leads = views.iter().position(|view| view.leads);
            if let Some(at) = leads
                && views
                    .iter()
                    .all(|view| view.leader == Some(id(nodes[at].n)) && view.term == views[at].term)
                && views[at].applied > 0
            {
                return at;
            }
            timeout(Duration::from_millis(20), nodes[0].changes())
                .await
                .unwrap_or_default();
        }
    };
    timeout(SOON, agreed).await.expect("a leader is elected")
}
