//! Who is alive: gossip by chitchat (scuttlebutt with a phi-accrual detector, Hayashibara et al. 2004), over the
//! nodes' own authenticated links.
//!
//! Gossip carries heartbeats and a handful of small facts that each node tells of itself. A node is *dead* when the
//! detector says so and it has been silent for the declared least time as well: heartbeats reach a node by several ways
//! at once, so the mean interval is far below the gossip cadence, and phi alone would be trigger-happy.
//! UDP, which chitchat brings along, was rejected: it has neither keys nor confidentiality.

mod courier;
mod detector;
mod facts;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use revoada_attest::{Digest, NodeId};
use revoada_core::roles::Membership;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::consensus::peers::AddressBook;
use crate::runtime::{Instant as _, InstantOf, Tokio};
use crate::transport::{Handler, Transport};

pub use courier::Courier;
pub use detector::{Detector, Judgement};
pub use facts::Facts;

/// How gossip is to run.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// This node.
    pub id: NodeId,
    /// Grows with every start of this node: the time of the start in milliseconds.
    pub generation: u64,
    /// Where others reach this node.
    pub address: SocketAddr,
    /// Which cluster.
    pub cluster: Digest,
    /// Whom to ask first.
    pub seeds: BTreeSet<SocketAddr>,
    /// The time between two rounds, and what is dead.
    pub judgement: Judgement,
}

/// What this node knows of another.
#[derive(Debug, Clone, PartialEq)]
pub struct Peer<I> {
    /// Whether it lives.
    pub membership: Membership,
    /// Since when `membership` is what it is.
    pub since: I,
    /// Where it says it listens.
    pub address: SocketAddr,
    /// What it last told of itself.
    pub facts: Facts,
    /// Which start of it this is.
    pub generation: u64,
}

/// A view of the whole cluster; a node that was never heard of is not in it.
pub type View<R = Tokio> = BTreeMap<NodeId, Peer<InstantOf<R>>>;

/// What carries the facts of this node to the others.
#[async_trait]
pub trait Tells: Send + Sync {
    /// Tells the others something new of this node.
    async fn tell(&self, facts: &Facts);
}

/// Gossip under way. Dropping it stops it; [`Gossip::stop`] tells the others nothing, a silent node is found by them.
pub struct Gossip {
    chitchat: ChitchatHandle,
    view: watch::Receiver<View>,
    handler: Handler,
    watcher: JoinHandle<()>,
}

/// How often the view is brought up to date, as a part of the gossip cadence.
const LOOKS_PER_CADENCE: u32 = 2;
/// After how long a dead node is forgotten by chitchat; the view keeps what it last knew.
const DEAD_NODE_GRACE: Duration = Duration::from_secs(120);
/// How many heartbeat intervals chitchat remembers of each node, for whom it gossips with.
const SAMPLES: usize = 200;
/// After how many rounds of silence the next heartbeat begins anew.
pub const INTERVALS_MAX: u32 = 50;

impl Gossip {
    /// Starts to gossip. `transport` must route [`Protocol::Gossip`](crate::transport::Protocol) to [`Gossip::handler`].
    pub async fn start(
        config: GossipConfig,
        transport: Arc<Transport>,
        book: Arc<AddressBook>,
        facts: Facts,
    ) -> Result<Self, GossipError> {
        let wire = wire::Wire::new(transport);
        let handler = wire.handler();
        let chitchat_config = ChitchatConfig {
            chitchat_id: ChitchatId::new(config.id.to_string(), config.generation, config.address),
            cluster_id: config.cluster.to_string(),
            gossip_interval: config.judgement.interval,
            listen_addr: config.address,
            seed_nodes: config.seeds.iter().map(SocketAddr::to_string).collect(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: config.judgement.phi_threshold,
                sampling_window_size: SAMPLES,
                max_interval: config.judgement.interval_max,
                initial_interval: config.judgement.interval,
                dead_node_grace_period: DEAD_NODE_GRACE,
            },
            marked_for_deletion_grace_period: DEAD_NODE_GRACE,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let chitchat = spawn_chitchat(chitchat_config, facts.to_pairs(), &wire)
            .await
            .map_err(|error| GossipError(format!("{error:#}")))?;
        let (sender, view) = watch::channel(View::<Tokio>::new());
        let watcher = tokio::spawn(look(chitchat.chitchat(), config, book, sender));
        Ok(Self {
            chitchat,
            view,
            handler,
            watcher,
        })
    }

    /// What the listener does with gossip connections.
    pub fn handler(&self) -> Handler {
        self.handler.clone()
    }

    /// The view, and a way to wait for the next.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }
}

#[async_trait]
impl Tells for Gossip {
    /// Only what changed travels.
    async fn tell(&self, facts: &Facts) {
        let pairs = facts.to_pairs();
        self.chitchat
            .with_chitchat(|chitchat| {
                let state = chitchat.self_node_state();
                for (key, value) in &pairs {
                    state.set(key, value);
                }
            })
            .await;
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.watcher.abort();
        self.chitchat.abort();
    }
}

/// Gossip could not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot start to gossip: {0}")]
pub struct GossipError(String);

async fn look(
    chitchat: Arc<tokio::sync::Mutex<chitchat::Chitchat>>,
    config: GossipConfig,
    book: Arc<AddressBook>,
    view: watch::Sender<View>,
) {
    let mut detector = Detector::new(config.judgement);
    let mut ticks = tokio::time::interval(config.judgement.interval / LOOKS_PER_CADENCE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = InstantOf::<Tokio>::now();
        let mut next = view.borrow().clone();
        {
            let chitchat = chitchat.lock().await;
            for (known, state) in chitchat.node_states() {
                let Ok(id) = known.node_id.parse::<NodeId>() else {
                    continue;
                };
                if id == config.id || next.get(&id).is_some_and(|peer| peer.generation > known.generation_id) {
                    continue;
                }
                detector.saw(id, known.generation_id, u64::from(state.heartbeat()), now);
                let membership = detector.judge(&id, now);
                // A node that was never heard alive is not news: the detector has not made up its mind yet.
                let before = next.get(&id);
                let since = match before {
                    Some(peer) if peer.membership == membership => peer.since,
                    _ => now,
                };
                book.learn(id, known.gossip_advertise_addr);
                let facts = Facts::from_pairs(state.key_values());
                book.told_that_it_leads(id, &facts);
                next.insert(
                    id,
                    Peer {
                        membership,
                        since,
                        address: known.gossip_advertise_addr,
                        facts,
                        generation: known.generation_id,
                    },
                );
            }
        }
        // Nodes that chitchat has forgotten stay dead.
        view.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
    }
}
