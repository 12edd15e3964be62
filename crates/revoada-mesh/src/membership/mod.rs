//! Who is alive: gossip by chitchat (scuttlebutt with a phi-accrual detector, Hayashibara et al. 2004), over the
//! nodes' own authenticated links.
//!
//! Gossip carries heartbeats and a handful of small facts that each node tells of itself. A node is *dead* when the
//! detector says so and it has been silent for the declared least time as well: heartbeats reach a node by several ways
//! at once, so the detector's mean interval is far below the gossip cadence, and phi alone would be trigger-happy.
//! UDP, which chitchat brings along, was rejected: it has neither keys nor confidentiality.

mod facts;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chitchat::{ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use revoada_attest::{Digest, NodeId};
use revoada_core::roles::Membership;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::consensus::peers::AddressBook;
use crate::runtime::{Instant as _, InstantOf, Tokio};
use crate::transport::{Handler, Transport};

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
    /// The time between two rounds.
    pub cadence: Duration,
    /// Above which suspicion (phi) a node is dead.
    pub phi_threshold: f64,
    /// The least silence before a node may be called dead.
    pub silence_min: Duration,
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
/// How many heartbeat intervals the detector remembers of each node.
const SAMPLES: usize = 200;

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
            gossip_interval: config.cadence,
            listen_addr: config.address,
            seed_nodes: config.seeds.iter().map(SocketAddr::to_string).collect(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: config.phi_threshold,
                sampling_window_size: SAMPLES,
                max_interval: config.cadence * 50,
                initial_interval: config.cadence,
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

    /// Tells the others something new of this node; only what changed travels.
    pub async fn tell(&self, facts: &Facts) {
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

struct Heard {
    generation: u64,
    heartbeat: u64,
    at: InstantOf<Tokio>,
}

async fn look(
    chitchat: Arc<tokio::sync::Mutex<chitchat::Chitchat>>,
    config: GossipConfig,
    book: Arc<AddressBook>,
    view: watch::Sender<View>,
) {
    let mut heard: BTreeMap<NodeId, Heard> = BTreeMap::new();
    let mut ticks = tokio::time::interval(config.cadence / LOOKS_PER_CADENCE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = InstantOf::<Tokio>::now();
        let mut next = view.borrow().clone();
        {
            let chitchat = chitchat.lock().await;
            let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
            for (known, state) in chitchat.node_states() {
                let Ok(id) = known.node_id.parse::<NodeId>() else {
                    continue;
                };
                if id == config.id || next.get(&id).is_some_and(|peer| peer.generation > known.generation_id) {
                    continue;
                }
                let heartbeat = u64::from(state.heartbeat());
                let last = heard.entry(id).or_insert(Heard {
                    generation: 0,
                    heartbeat: 0,
                    at: now,
                });
                if (last.generation, last.heartbeat) != (known.generation_id, heartbeat) {
                    *last = Heard {
                        generation: known.generation_id,
                        heartbeat,
                        at: now,
                    };
                }
                let silence = now - last.at;
                let membership = match (live.contains(known), silence >= config.silence_min) {
                    (true, false) => Membership::Alive,
                    (true, true) | (false, false) => Membership::Suspect,
                    (false, true) => Membership::Dead,
                };
                // A node that was never heard alive is not news: the detector has not made up its mind yet.
                let before = next.get(&id);
                let since = match before {
                    Some(peer) if peer.membership == membership => peer.since,
                    _ => now,
                };
                book.learn(id, known.gossip_advertise_addr);
                next.insert(
                    id,
                    Peer {
                        membership,
                        since,
                        address: known.gossip_advertise_addr,
                        facts: Facts::from_pairs(state.key_values()),
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
