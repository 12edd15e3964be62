//! Gossip of simulated nodes: heartbeats that spread from node to node, and production's own detector that judges them.
//!
//! It travels by production's courier over the nodes' authenticated links, so a node that a gate refuses is not heard
//! through that gate. What a node tells of itself is looked up and not carried: chitchat's encoding is not under test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use openraft_rt::Instant as _;
use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_mesh::consensus::peers::AddressBook;
use revoada_mesh::membership::{Courier, Detector, Facts, Judgement, Peer, Tells, View};
use revoada_mesh::runtime::{Runtime, Ticks};
use revoada_mesh::transport::{Handler, Transport};
use tokio::sync::watch;

use crate::entropy::Chance;
use crate::runtime::{Felt, Sim};
use crate::wire::{Place, address_of};

/// How many others a node tells each round (chitchat's own number).
const TOLD_PER_ROUND: usize = 3;

/// Whose words, and what they were.
type Told = (NodeId, Arc<Facts>);

/// What every node ever told of itself, by place.
#[derive(Debug, Default)]
pub struct Board(Mutex<BTreeMap<Place, Vec<Told>>>);

impl Board {
    fn put(&self, place: Place, id: NodeId, facts: &Facts) -> u64 {
        let mut board = self.0.lock();
        let told = board.entry(place).or_default();
        if told.last().is_none_or(|(by, last)| *by != id || **last != *facts) {
            told.push((id, Arc::new(facts.clone())));
        }
        told.len() as u64 - 1
    }

    fn get(&self, place: Place, version: u64) -> Option<Told> {
        self.0.lock().get(&place)?.get(version as usize).cloned()
    }
}

/// Who speaks.
#[derive(Debug, Clone, Copy)]
pub struct Speaker {
    /// Where.
    pub place: Place,
    /// With whose key.
    pub id: NodeId,
    /// Which start of the node it is, as production counts them.
    pub generation: u64,
}

/// What is known of one process.
#[derive(Debug, Clone, Copy)]
struct Known {
    generation: u64,
    heartbeat: u64,
    version: u64,
}

#[derive(Debug)]
struct State {
    me: Place,
    id: NodeId,
    known: BTreeMap<Place, Known>,
}

/// Gossip of one process.
pub struct SimGossip {
    state: Arc<Mutex<State>>,
    board: Arc<Board>,
    view: watch::Receiver<View<Sim>>,
    handler: Handler<Sim>,
}

impl SimGossip {
    /// Starts to gossip as `speaker`, in the process that calls; the first `founders` places are known to all.
    pub fn start(
        speaker: Speaker,
        founders: usize,
        board: Arc<Board>,
        facts: &Facts,
        (transport, book): (Arc<Transport<Sim>>, Arc<AddressBook>),
        judgement: Judgement,
        chance: Chance,
    ) -> Arc<Self> {
        let me = speaker.place;
        let first = Known {
            generation: speaker.generation,
            heartbeat: 1,
            version: board.put(me, speaker.id, facts),
        };
        let state = Arc::new(Mutex::new(State {
            me,
            id: speaker.id,
            known: BTreeMap::from([(me, first)]),
        }));
        let heard = state.clone();
        let handler: Handler<Sim> = Arc::new(move |mut connection| {
            let heard = heard.clone();
            Box::pin(async move {
                while let Some(Ok(frame)) = connection.frames.next().await {
                    heard.lock().hear(frame);
                }
            })
        });
        let (sender, view) = watch::channel(View::<Sim>::new());
        Sim::detach(spread(state.clone(), transport, founders, judgement, chance));
        Sim::detach(look(state.clone(), (board.clone(), book), judgement, sender));
        Arc::new(Self {
            state,
            board,
            view,
            handler,
        })
    }

    /// Who lives.
    pub fn view(&self) -> watch::Receiver<View<Sim>> {
        self.view.clone()
    }

    /// What the listener does with gossip connections.
    pub fn handler(&self) -> Handler<Sim> {
        self.handler.clone()
    }
}

#[async_trait]
impl Tells for SimGossip {
    async fn tell(&self, facts: &Facts) {
        let mut state = self.state.lock();
        let me = state.me;
        let version = self.board.put(me, state.id, facts);
        if let Some(known) = state.known.get_mut(&me) {
            known.version = version;
        }
    }
}

impl State {
    fn speak(&self) -> Bytes {
        let mut frame = BytesMut::with_capacity(self.known.len() * 26);
        for (place, known) in &self.known {
            frame.put_u16_le(*place as u16);
            frame.put_u64_le(known.generation);
            frame.put_u64_le(known.heartbeat);
            frame.put_u64_le(known.version);
        }
        frame.freeze()
    }

    fn hear(&mut self, mut frame: BytesMut) {
        while frame.remaining() >= 26 {
            let place = Place::from(frame.get_u16_le());
            let told = Known {
                generation: frame.get_u64_le(),
                heartbeat: frame.get_u64_le(),
                version: frame.get_u64_le(),
            };
            let newer = self
                .known
                .get(&place)
                .is_none_or(|known| (told.generation, told.heartbeat) > (known.generation, known.heartbeat));
            if place != self.me && newer {
                self.known.insert(place, told);
            }
        }
    }
}

/// Tells some others each round what is known.
async fn spread(
    state: Arc<Mutex<State>>,
    transport: Arc<Transport<Sim>>,
    founders: usize,
    judgement: Judgement,
    mut chance: Chance,
) {
    let mut courier = Courier::new(transport);
    let mut ticks = Ticks::<Sim>::every(judgement.interval);
    loop {
        ticks.tick().await;
        let (mut others, message) = {
            let mut state = state.lock();
            let me = state.me;
            if let Some(known) = state.known.get_mut(&me) {
                known.heartbeat += 1;
            }
            let known: BTreeSet<Place> = (0..founders).chain(state.known.keys().copied()).collect();
            let others: Vec<Place> = known.into_iter().filter(|place| *place != me).collect();
            (others, state.speak())
        };
        for _ in 0..TOLD_PER_ROUND.min(others.len()) {
            let told = others.swap_remove(chance.below(others.len() as u64) as usize);
            courier.send(address_of(told), message.clone());
        }
    }
}

/// Keeps the view up to date, as production's gossip does.
async fn look(
    state: Arc<Mutex<State>>,
    (board, book): (Arc<Board>, Arc<AddressBook>),
    judgement: Judgement,
    view: watch::Sender<View<Sim>>,
) {
    let mut detector = Detector::new(judgement);
    // What is on the board of each place, as far as it was read: with many nodes most say what they said before.
    let mut read: BTreeMap<Place, (u64, Told)> = BTreeMap::new();
    let mut ticks = Ticks::<Sim>::every(judgement.interval / 2);
    loop {
        ticks.tick().await;
        let now = Felt::now();
        let state = state.lock();
        view.send_if_modified(|view| {
            let mut changed = false;
            for (place, known) in &state.known {
                let is_new = read.get(place).is_none_or(|(version, _)| *version != known.version);
                if is_new && let Some(told) = board.get(*place, known.version) {
                    read.insert(*place, (known.version, told));
                }
                let Some((_, (id, facts))) = read.get(place) else {
                    continue;
                };
                let id = *id;
                let mut peer = view.get_mut(&id);
                if id == state.id || peer.as_ref().is_some_and(|peer| peer.generation > known.generation) {
                    continue;
                }
                detector.saw(id, known.generation, known.heartbeat, now);
                let membership = detector.judge(&id, now);
                let address: SocketAddr = address_of(*place);
                book.learn(id, address);
                book.told_that_it_leads(id, facts);
                let since = match &peer {
                    Some(peer) if peer.membership == membership => peer.since,
                    _ => now,
                };
                let is_same = peer.as_ref().is_some_and(|peer| {
                    (peer.since, peer.address, peer.generation) == (since, address, known.generation)
                        && peer.membership == membership
                        && peer.facts == **facts
                });
                if is_same {
                    continue;
                }
                changed = true;
                let newest = Peer {
                    membership,
                    since,
                    address,
                    facts: (**facts).clone(),
                    generation: known.generation,
                };
                match &mut peer {
                    Some(peer) => **peer = newest,
                    None => drop(view.insert(id, newest)),
                }
            }
            changed
        });
    }
}
