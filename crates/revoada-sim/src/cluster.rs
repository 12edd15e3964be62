//! A simulated cluster: machines with a disk and a clock each, and on each of them production's node.
//!
//! Only what starts, kills and watches nodes is here. A node is `revoada_node::member`, on the simulated runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use crate::executor::SimInstant;
use openraft_rt::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::genesis::Genesis;
use revoada_mesh::consensus::{CheckpointRule, Consensus, ConsensusConfig};
use revoada_mesh::disk_id::DiskId;
use revoada_mesh::files::Files as _;
use revoada_mesh::keyspace::{Clock, RaftKeyspace};
use revoada_mesh::log::LogOptions;
use revoada_mesh::membership::Facts;
use revoada_mesh::runtime::Runtime;
use revoada_mesh::transport::{Protocol, Transport};
use revoada_node::generation;
use revoada_node::member::{Found, Member, MemberOptions, Surroundings, judgement};
use revoada_store::{ClusterAdmin, KeyspaceBackend, StoreBackend};

use crate::disk::{Disk, SimLogDriver};
use crate::entropy::Chance;
use crate::gossip::{Board, SimGossip, Speaker};
use crate::runtime::{Process, Sim};
use crate::trace::Trace;
use crate::wire::{Net, Place, SimWire, address_of};

/// When the simulated clocks begin: 1 January 2026, in milliseconds since 1970.
pub const BEGINNING_MS: u64 = 1_767_225_600_000;

/// How large the segments of simulated logs are: small, so that a short run fills some.
const SEGMENT_BYTES: u32 = 64 << 10;

/// A node that serves.
#[derive(Clone)]
pub struct Running {
    /// Production's node.
    pub member: Arc<Member<Sim>>,
    /// What operators ask.
    pub admin: Arc<dyn ClusterAdmin>,
    /// What clients ask.
    pub keyspace: Arc<RaftKeyspace<Sim>>,
    /// What faces ask.
    pub store: Arc<dyn StoreBackend>,
}

impl Running {
    /// Its consensus.
    pub fn consensus(&self) -> &Consensus<Sim> {
        self.member.consensus()
    }
}

/// What a machine is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Off,
    /// Its node is starting.
    Starting,
    /// Its node serves.
    Up,
    /// Its node could not start, or stopped by itself: why.
    Failed(String),
}

struct Machine {
    /// Whose key it holds, by the place of the node that it was made for.
    whose: Place,
    /// What it declares instead of what the cluster does.
    declares: Option<Arc<Genesis>>,
    disk: Disk,
    clock_ms: Arc<AtomicI64>,
    starts: u64,
    standing: Standing,
    process: Option<Arc<Process>>,
    running: Option<Running>,
}

/// The cluster.
pub struct Cluster {
    /// The seed of everything.
    pub seed: u64,
    /// Who its founders are.
    pub genesis: Arc<Genesis>,
    /// Its nodes, by place.
    pub ids: Arc<Vec<NodeId>>,
    /// Its network.
    pub net: Arc<Net>,
    /// What has happened.
    pub trace: Trace,
    /// What tasks of nodes have panicked with.
    pub panics: Arc<Mutex<Vec<String>>>,
    board: Arc<Board>,
    keys: Vec<NodeKey>,
    machines: Vec<Mutex<Machine>>,
    /// How many floods there are just now.
    pub floods: AtomicUsize,
    checkpoints: (u64, CheckpointRule),
    restores: Arc<AtomicU64>,
}

impl Cluster {
    /// Machines that are all off, for the founders of `genesis`, whose keys are `keys`, in the order of their places;
    /// and a spare one behind them, for a copy of somebody's key.
    pub fn new(seed: u64, genesis: Arc<Genesis>, keys: Vec<NodeKey>) -> Arc<Self> {
        let machines = (0..=keys.len())
            .map(|place| {
                Mutex::new(Machine {
                    whose: place,
                    declares: None,
                    disk: Disk::new(Chance::of(seed, &format!("disk {place}"))),
                    clock_ms: Arc::default(),
                    starts: 0,
                    standing: Standing::Off,
                    process: None,
                    running: None,
                })
            })
            .collect();
        let mut chance = Chance::of(seed, "cluster");
        // Few entries and bytes, so that a short run writes checkpoints and a node that was away needs one.
        let rule = CheckpointRule {
            log_bytes_min: chance.between(1, 8) * 4_096,
            log_bytes_max: 256 << 10,
            entries_kept: chance.between(5, 60),
        };
        Arc::new(Self {
            seed,
            genesis,
            ids: Arc::new(keys.iter().map(NodeKey::id).collect()),
            net: Net::new(keys.len() + 1, Chance::of(seed, "net")),
            trace: Trace::default(),
            panics: Arc::default(),
            board: Arc::default(),
            keys,
            machines,
            floods: AtomicUsize::default(),
            checkpoints: (chance.between(20, 200), rule),
            restores: Arc::default(),
        })
    }

    /// How many nodes there are, and machines for them.
    pub fn size(&self) -> usize {
        self.ids.len()
    }

    /// All places, that of the spare machine among them.
    pub fn places(&self) -> std::ops::Range<Place> {
        0..self.machines.len()
    }

    /// The place of the spare machine.
    pub fn spare(&self) -> Place {
        self.ids.len()
    }

    /// Whose key the machine at a place holds.
    pub fn key_at(&self, place: Place) -> NodeId {
        self.ids[self.machines[place].lock().whose.min(self.size() - 1)]
    }

    /// The place of a node.
    pub fn place_of(&self, id: &NodeId) -> Option<Place> {
        self.ids.iter().position(|known| known == id)
    }

    /// What a machine is doing.
    pub fn standing(&self, place: Place) -> Standing {
        self.machines[place].lock().standing.clone()
    }

    /// The node at a place, if it serves.
    pub fn running(&self, place: Place) -> Option<Running> {
        self.machines[place].lock().running.clone()
    }

    /// All nodes that serve.
    pub fn all_running(&self) -> BTreeMap<Place, Running> {
        self.places()
            .filter_map(|place| Some((place, self.running(place)?)))
            .collect()
    }

    /// How often the node at a place was started.
    pub fn starts(&self, place: Place) -> u64 {
        self.machines[place].lock().starts
    }

    /// The disk of a machine.
    pub fn disk(&self, place: Place) -> Disk {
        self.machines[place].lock().disk.clone()
    }

    /// The process at a place, if there is one.
    pub fn process(&self, place: Place) -> Option<Arc<Process>> {
        self.machines[place].lock().process.clone()
    }

    /// Sets a machine's clock forward, or back.
    pub fn shift_clock(&self, place: Place, by_ms: i64) {
        self.machines[place].lock().clock_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Who leads, by the highest term among those that say that they do.
    pub fn leader(&self) -> Option<Place> {
        let leaders = self.all_running().into_iter().filter_map(|(place, running)| {
            let view = running.consensus().view();
            view.leads.then_some((view.term, place))
        });
        leaders.max().map(|(_, place)| place)
    }

    /// Starts a second process with the key of the node at a place, on the spare machine and with an empty disk; false if
    /// that machine is on already.
    pub fn start_copy(self: &Arc<Self>, of: Place) -> bool {
        if self.standing(self.spare()) != Standing::Off {
            return false;
        }
        {
            let mut machine = self.machines[self.spare()].lock();
            machine.whose = of;
            machine.disk.wipe();
        }
        self.start(self.spare());
        true
    }

    /// What the node at a place declares from its next start on; none for what the cluster declares.
    pub fn declare(&self, place: Place, declares: Option<Arc<Genesis>>) {
        self.machines[place].lock().declares = declares;
    }

    /// Turns a machine on, if it is not, and starts its node.
    pub fn start(self: &Arc<Self>, place: Place) {
        let process = Process::new(self.panics.clone());
        let starts = {
            let mut machine = self.machines[place].lock();
            if matches!(machine.standing, Standing::Up | Standing::Starting) {
                return;
            }
            machine.starts += 1;
            machine.standing = Standing::Starting;
            machine.process = Some(process.clone());
            machine.starts
        };
        self.net.power(place, true);
        self.trace.say(format_args!("node-{place} starts"));
        let cluster = self.clone();
        process.enter(|| {
            Sim::detach(async move {
                match cluster.boot(place, starts).await {
                    Ok(running) => cluster.is_up(place, starts, running),
                    Err(why) => cluster.has_failed(place, starts, why),
                }
            });
        });
    }

    async fn boot(self: &Arc<Self>, place: Place, starts: u64) -> Result<Running, String> {
        let mut chance = Chance::of(self.seed, &format!("boot {place} {starts}"));
        Sim::sleep(chance.ms(5, 60)).await;
        let (disk, offset, whose, genesis) = {
            let machine = self.machines[place].lock();
            let genesis = machine.declares.clone().unwrap_or_else(|| self.genesis.clone());
            (machine.disk.clone(), machine.clock_ms.clone(), machine.whose, genesis)
        };
        let clock_ms: Clock = Arc::new(move || {
            let since = SimInstant::now().elapsed_since_start().as_millis() as i64;
            (BEGINNING_MS as i64 + since + offset.load(Ordering::Relaxed)) as u64
        });
        let (id, key) = (self.ids[whose], self.keys[whose].clone());
        let strategy = genesis.declaration().strategy();
        let (folder, files) = (PathBuf::from("/node"), disk.mount());
        let started_ms = clock_ms();
        let options = MemberOptions {
            acquaintances: BTreeSet::new(),
            name: name_of(whose),
            address: address_of(place),
            seeds: (0..self.size())
                .filter(|other| *other != place)
                .map(address_of)
                .collect(),
            key,
            consensus: ConsensusConfig {
                id,
                folder: folder.clone(),
                genesis: genesis.clone(),
                election_timeout: strategy.consensus.election_timeout,
                heartbeat: strategy.consensus.heartbeat,
                snapshot_interval: self.checkpoints.0,
                checkpoints: self.checkpoints.1,
                log: LogOptions {
                    segment_bytes: SEGMENT_BYTES,
                    files: files.clone(),
                    driver: Some(Arc::new(SimLogDriver(disk))),
                    ..LogOptions::default()
                },
                new_disk: DiskId::of(chance.draw().to_le_bytes()),
            },
            clock_ms: clock_ms.clone(),
        };
        let found = Found::<Sim>::open(options).map_err(|error| chain(&error))?;
        let wire = SimWire {
            net: self.net.clone(),
            place,
            key: id,
        };
        let transport = Arc::new(Transport::over(wire, id, found.gate()));
        let member = found.start(transport.clone()).await.map_err(|error| chain(&error))?;
        let member = Arc::new(member);
        let facts = Facts {
            name: name_of(whose),
            version: "simulated".to_owned(),
            pid: starts as u32,
            started_ms,
            ..Facts::default()
        };
        files.make_folder(&folder).map_err(|error| chain(&error))?;
        let generation = generation::next(&*files, &folder.join("generation"), started_ms);
        let gossip = SimGossip::start(
            Speaker {
                place,
                id,
                generation: generation.map_err(|error| chain(&error))?,
            },
            self.size(),
            self.board.clone(),
            &facts,
            (transport.clone(), member.book().clone()),
            judgement(&genesis),
            Chance::of(self.seed, &format!("gossip {place} {starts}")),
        );
        let restores = self.restores.clone();
        let keyspace = Arc::new(RaftKeyspace::new(
            member.consensus().clone(),
            clock_ms,
            Arc::new(move || restores.fetch_add(1, Ordering::Relaxed)),
        ));
        let store: Arc<dyn StoreBackend> = Arc::new(KeyspaceBackend::on(
            "openraft",
            revoada_mesh::keyspace::RAFT_CAPABILITIES,
            keyspace.clone(),
        ));
        let working = member.work(Surroundings {
            view: gossip.view(),
            facts,
            tells: gossip.clone(),
            resident_bytes: || 1,
            store: store.clone(),
            recovery: None,
            backups: None,
        });
        let mut handlers = working.handlers;
        handlers.insert(Protocol::Gossip, gossip.handler());
        let process = self.process(place).ok_or("the machine was turned off")?;
        self.net.listen(place, process, transport, handlers);
        for task in working.tasks {
            Sim::detach(task);
        }
        let (cluster, consensus) = (self.clone(), member.consensus().clone());
        Sim::detach(async move {
            loop {
                consensus.changes().await;
                if let Some(why) = consensus.view().stopped {
                    cluster.has_failed(place, starts, why);
                    return;
                }
            }
        });
        Ok(Running {
            member,
            admin: working.admin,
            keyspace,
            store,
        })
    }

    fn is_up(&self, place: Place, starts: u64, running: Running) {
        let mut machine = self.machines[place].lock();
        if machine.starts == starts && machine.standing == Standing::Starting {
            machine.standing = Standing::Up;
            machine.running = Some(running);
            drop(machine);
            self.trace.say(format_args!("node-{place} is up"));
        }
    }

    /// As production's node does, one that has failed keeps away from its cluster.
    fn has_failed(&self, place: Place, starts: u64, why: String) {
        if self.machines[place].lock().starts != starts {
            return;
        }
        self.trace.say(format_args!("node-{place} has failed: {why}"));
        self.end(place, Standing::Failed(why), false);
    }

    /// Ends the node at a place: its process alone, or with it the power of its machine.
    pub fn kill(&self, place: Place, with_power: bool) {
        if self.standing(place) == Standing::Off {
            return;
        }
        let how = if with_power { "loses its power" } else { "is killed" };
        self.trace.say(format_args!("node-{place} {how}"));
        self.end(place, Standing::Off, with_power);
    }

    fn end(&self, place: Place, standing: Standing, with_power: bool) {
        let (process, running, disk) = {
            let mut machine = self.machines[place].lock();
            machine.standing = standing;
            (machine.process.take(), machine.running.take(), machine.disk.clone())
        };
        if with_power {
            self.net.power(place, false);
        }
        if let Some(process) = &process {
            process.kill();
        }
        self.net.deafen(place);
        if with_power {
            disk.lose_power();
        } else {
            disk.detach();
        }
        if let Some(running) = running {
            running.member.let_go();
        }
    }

    /// Ends everything, so that nothing keeps anything else alive.
    pub fn end_all(&self) {
        for place in self.places() {
            self.end(place, Standing::Off, false);
        }
    }
}

/// The name of the node at a place.
pub fn name_of(place: Place) -> String {
    format!("node-{place}")
}

/// An error with its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
