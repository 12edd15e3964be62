//! A node as the cluster knows it: consensus, the gate, formation, the driver, witnesses, and what it tells of itself.
//!
//! Everything of a node that decides or agrees is here, and nothing that listens, serves a face or reads a configuration:
//! that is its host's, which is [`crate::Node`] in production and the simulation's otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use revoada_attest::{NodeId, NodeKey};
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_mesh::consensus::peers::{AddressBook, Peers};
use revoada_mesh::consensus::{Consensus, ConsensusConfig, OpenError, Opened};
use revoada_mesh::keyspace::Clock;
use revoada_mesh::membership::{Facts, Judgement, Tells, View};
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, Ticks, Tokio, elapsed};
use revoada_mesh::transport::{Gate, Handler, Protocol, Transport};
use revoada_store::{ClusterAdmin, StoreBackend};
use tokio::sync::{Notify, watch};

use crate::admin::{self, Admin};
use crate::backup::Standing;
use crate::driver::{Driver, Spoke};
use crate::gate::NodeGate;
use crate::node::Stop;
use crate::positions::Positions;
use crate::{formation, gate, metrics, positions, recovery, witness};

/// Who a member is, and how it is to run.
pub struct MemberOptions {
    /// Its name in the cluster.
    pub name: String,
    /// Where others reach it.
    pub address: SocketAddr,
    /// Whom to ask first.
    pub seeds: BTreeSet<SocketAddr>,
    /// Its key.
    pub key: NodeKey,
    /// Its consensus, with the cluster and the files.
    pub consensus: ConsensusConfig,
    /// The time, in milliseconds since 1970.
    pub clock_ms: Clock,
    /// The members that it was told of, where they are no founders: they are let in until it knows who is a member.
    pub acquaintances: BTreeSet<NodeId>,
}

/// What is dead in a cluster, by its declaration.
pub fn judgement(genesis: &Genesis) -> Judgement {
    let membership = &genesis.declaration().strategy().membership;
    let cadence = membership.gossip_cadence;
    Judgement {
        interval: cadence,
        interval_max: cadence * revoada_mesh::membership::INTERVALS_MAX,
        phi_threshold: membership.phi_threshold,
        silence_min: membership.failsafe_timeout.max(cadence * limits::SILENT_ROUNDS_MIN),
    }
}

/// A member whose folder was read. Nothing has been said to anybody.
pub struct Found<R: Runtime = Tokio> {
    name: String,
    address: SocketAddr,
    seeds: BTreeSet<SocketAddr>,
    key: NodeKey,
    clock_ms: Clock,
    genesis: Arc<Genesis>,
    opened: Opened<R>,
    positions: Arc<Positions<R>>,
    gate: Arc<NodeGate<R>>,
}

impl<R: Runtime> Found<R> {
    /// Reads log, checkpoint and positions. Blocks for as long as that takes.
    pub fn open(mut options: MemberOptions) -> Result<Self, OpenError> {
        let genesis = options.consensus.genesis.clone();
        options.consensus.log.identity = log_identity(&genesis, &options.key);
        let (files, path) = (
            options.consensus.log.files.clone(),
            options.consensus.folder.join("positions.json"),
        );
        let opened = Opened::open(options.consensus)?;
        let positions = Arc::new(Positions::open(files, path));
        let gate = Arc::new(NodeGate {
            me: options.key.id(),
            genesis: genesis.clone(),
            name: options.name.clone(),
            address: options.address,
            positions: positions.clone(),
            acquaintances: options.acquaintances,
            opened_at: opened.position(),
            consensus: RwLock::new(None),
        });
        Ok(Self {
            name: options.name,
            address: options.address,
            seeds: options.seeds,
            key: options.key,
            clock_ms: options.clock_ms,
            genesis,
            opened,
            positions,
            gate,
        })
    }

    /// Who may speak with it.
    pub fn gate(&self) -> Arc<dyn Gate> {
        self.gate.clone()
    }

    /// Makes it the only voter of its group; see [`Opened::make_sole_voter`].
    pub async fn make_sole_voter(&mut self) -> Result<(), OpenError> {
        self.opened.make_sole_voter().await
    }

    /// Starts consensus.
    pub async fn start(self, transport: Arc<Transport<R>>) -> Result<Member<R>, OpenError> {
        let peers = Peers::new(transport, Arc::new(AddressBook::default()));
        let consensus = self.opened.start(peers.clone()).await?;
        *self.gate.consensus.write() = Some(consensus.clone());
        Ok(Member {
            name: self.name,
            address: self.address,
            seeds: self.seeds,
            key: self.key,
            clock_ms: self.clock_ms,
            genesis: self.genesis,
            peers,
            consensus,
            positions: self.positions,
            gate: self.gate,
        })
    }
}

/// A log is tied to its cluster and node, so that segments that were copied from another are refused.
fn log_identity(genesis: &Genesis, key: &NodeKey) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(genesis.digest().as_bytes()).update(key.id().as_bytes());
    let mut identity = [0; 8];
    identity.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(identity)
}

/// A member whose consensus runs.
pub struct Member<R: Runtime = Tokio> {
    name: String,
    address: SocketAddr,
    seeds: BTreeSet<SocketAddr>,
    key: NodeKey,
    clock_ms: Clock,
    genesis: Arc<Genesis>,
    peers: Peers<R>,
    consensus: Consensus<R>,
    positions: Arc<Positions<R>>,
    gate: Arc<NodeGate<R>>,
}

/// What a member sees of the others and is served from.
pub struct Surroundings<R: Runtime = Tokio> {
    /// Who lives.
    pub view: watch::Receiver<View<R>>,
    /// What it tells of itself at first.
    pub facts: Facts,
    /// What carries that to the others.
    pub tells: Arc<dyn Tells>,
    /// Resident memory of its process, in bytes; 0 where it cannot be told.
    pub resident_bytes: fn() -> u64,
    /// Where resources rest.
    pub store: Arc<dyn StoreBackend>,
    /// Why this member was made the only voter, if it was.
    pub recovery: Option<String>,
    /// How the backups stand that its host makes, if it makes any.
    pub backups: Option<Arc<Standing>>,
}

/// A member at work.
pub struct Working<R: Runtime = Tokio> {
    /// What operators see and ask.
    pub admin: Arc<dyn ClusterAdmin>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// What its listener does with connections, gossip excepted.
    pub handlers: BTreeMap<Protocol, Handler<R>>,
    /// What it does; each is to be spawned, and dropped before consensus is stopped.
    pub tasks: Vec<BoxFuture<'static, ()>>,
    /// What it tells of itself.
    pub facts: watch::Receiver<Facts>,
    /// What an operator asked of its host.
    pub(crate) told: watch::Receiver<Option<Stop>>,
    pub(crate) driver: Driver<R>,
}

impl<R: Runtime> Member<R> {
    /// Its consensus.
    pub fn consensus(&self) -> &Consensus<R> {
        &self.consensus
    }

    /// Who may speak with it.
    pub fn gate(&self) -> Arc<dyn Gate> {
        self.gate.clone()
    }

    /// The addresses that it knows.
    pub fn book(&self) -> &Arc<AddressBook> {
        self.peers.book()
    }

    /// Its admin port, its handlers, and its tasks.
    pub fn work(&self, surroundings: Surroundings<R>) -> Working<R> {
        let declaration = self.genesis.declaration();
        let spoke: Arc<Mutex<Spoke<R>>> = Arc::default();
        let driver = Driver {
            me: self.key.id(),
            key: self.key.clone(),
            topology: declaration.topology(),
            genesis: self.genesis.clone(),
            consensus: self.consensus.clone(),
            view: surroundings.view,
            positions: self.positions.clone(),
            clock_ms: self.clock_ms.clone(),
            started: InstantOf::<R>::now(),
            wake: Arc::new(Notify::new()),
            acting: Arc::default(),
            why: Arc::new(Mutex::new(Vec::new())),
            spoke: spoke.clone(),
            silence_min: judgement(&self.genesis).silence_min,
        };
        let (facts_told, facts) = watch::channel(surroundings.facts);
        let (stop, told) = watch::channel(None);
        let admin = Arc::new(Admin {
            driver: driver.clone(),
            name: self.name.clone(),
            address: self.address,
            facts: facts.clone(),
            store: surroundings.store,
            backups: surroundings.backups,
            stop,
        });
        let forward = self.consensus.forward_handler(admin::extra(admin.clone()));
        let mut tasks: Vec<BoxFuture<'static, ()>> = vec![
            Box::pin(formation::run(
                self.key.id(),
                self.genesis.clone(),
                self.seeds.clone(),
                self.peers.clone(),
                self.consensus.clone(),
                spoke,
            )),
            Box::pin(driver.clone().run()),
            Box::pin(positions::keep(self.positions.clone())),
            Box::pin(gate::watch(self.consensus.clone(), self.peers.transport().clone())),
            Box::pin(witness::run(self.consensus.clone(), self.key.clone())),
            Box::pin(tell(
                facts_told,
                surroundings.tells,
                self.consensus.clone(),
                declaration.strategy().membership.gossip_cadence,
                surroundings.resident_bytes,
            )),
        ];
        if let Some(reason) = surroundings.recovery {
            tasks.push(Box::pin(recovery::record(driver.clone(), reason)));
        }
        let figures = admin.clone();
        Working {
            admin,
            driver: driver.clone(),
            metrics: Arc::new(move || metrics::text(&driver, &figures)),
            handlers: BTreeMap::from([
                (Protocol::Raft, self.consensus.raft_handler()),
                (Protocol::Forward, forward),
            ]),
            tasks,
            facts,
            told,
        }
    }

    /// Stops consensus and closes the log. Its tasks have ended before.
    pub async fn stop(&self) {
        self.consensus.stop().await;
        self.let_go();
    }

    /// Lets go of consensus, which owns the transport that owns the gate: for a host whose tasks are gone already.
    pub fn let_go(&self) {
        self.gate.consensus.write().take();
    }
}

/// Keeps what this node tells of itself up to date.
async fn tell<R: Runtime>(
    facts: watch::Sender<Facts>,
    tells: Arc<dyn Tells>,
    consensus: Consensus<R>,
    cadence: Duration,
    resident_bytes: fn() -> u64,
) {
    let mut ticks = Ticks::<R>::every(cadence);
    let mut rss = (0, InstantOf::<R>::now());
    loop {
        ticks.tick().await;
        if rss.0 == 0 || elapsed::<R>(rss.1) > Duration::from_millis(limits::RSS_MS) {
            rss = (resident_bytes(), InstantOf::<R>::now());
        }
        let (term, applied, leads) = consensus.told();
        let (kept_term, kept) = consensus.kept();
        let (blocks, head) = consensus.read(|state| (state.chain().len(), state.chain().head()));
        facts.send_modify(|facts| {
            facts.term = term;
            facts.applied = applied;
            facts.leads = leads;
            facts.kept_term = kept_term;
            facts.kept = kept;
            facts.blocks = blocks;
            facts.head = head;
            facts.rss_bytes = rss.0;
        });
        let told = facts.borrow().clone();
        tells.tell(&told).await;
    }
}

#[cfg(test)]
mod tests {
    use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
    use revoada_core::genesis::Founder;

    use super::*;

    #[test]
    fn a_log_is_tied_to_its_cluster_and_its_node() {
        let key = |n| NodeKey::from_seed([n; 32]);
        let genesis = |name: &str| {
            let mut draft = prescribed_for("quorum-3m", 3).unwrap();
            draft.name = name.to_owned();
            let founders = (1..=3).map(|n| (key(n).id(), Founder::named(format!("node-{n}"))));
            Genesis::prove(ClusterDeclaration::prove(draft).unwrap(), founders, None).unwrap()
        };
        let mine = log_identity(&genesis("homelab"), &key(1));
        assert_eq!(mine, log_identity(&genesis("homelab"), &key(1)));
        assert_ne!(mine, log_identity(&genesis("other"), &key(1)));
        assert_ne!(mine, log_identity(&genesis("homelab"), &key(2)));
    }
}
