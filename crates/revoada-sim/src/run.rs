//! One simulation from its seed to its verdict, and many of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::executor::{SimInstant, SimRuntime};
use futures::FutureExt;
use futures::future::BoxFuture;
use openraft_rt::{AsyncRuntime, Instant as _};
use parking_lot::Mutex;
use revoada_attest::{NodeId, NodeKey, verdicts};
use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
use revoada_core::genesis::{Founder, Genesis};
use revoada_mesh::consensus::Consensus;
use revoada_mesh::runtime::Runtime;

use crate::cluster::{Cluster, Standing, name_of};
use crate::entropy::Chance;
use crate::faults;
use crate::history::History;
use crate::ledger::Ledger;
use crate::oracles::{
    self, Violation, caught_up, damping, durable, election_safety, exactly_once, exclusive, leader_completeness,
    linearizable, log_matching, monotonic, one_chain, panics, queues, refused, restored, roles, shape, watches,
};
use crate::plan::{Fault, Planned, Scenario};
use crate::runtime::{Process, Sim};
use crate::wire::Place;
use crate::workload::Clients;

/// How a simulation is to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which faults it draws from.
    pub scenario: Scenario,
    /// How many machines.
    pub nodes: usize,
    /// How long faults happen, in milliseconds.
    pub faults_ms: u64,
    /// Whether the seed decides which cadences the cluster declares; they are those that are prescribed otherwise.
    pub cadences_vary: bool,
    /// Whether it goes on behind the first property that does not hold, so that the other oracles are asked too.
    pub to_the_end: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            scenario: Scenario::Everything,
            nodes: 5,
            faults_ms: 30_000,
            cadences_vary: false,
            to_the_end: false,
        }
    }
}

/// What came of a simulation.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// The first property that did not hold.
    pub violation: Option<Violation>,
    /// What other oracles said behind it, the first of each; of few where the simulation ended with the first.
    pub also: Vec<Violation>,
    /// The last events.
    pub events: Vec<String>,
    /// A digest of all events, and how many they were.
    pub trace: (String, u64),
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Operations by kind.
    pub operations: BTreeMap<String, u64>,
    /// How often each oracle was asked.
    pub oracles: BTreeMap<&'static str, u64>,
    /// How long until the shape was back, in virtual milliseconds.
    pub healed_ms: u64,
    /// How long all of it took, in virtual milliseconds.
    pub virtual_ms: u64,
    /// How much slower than what is prescribed its cadences were.
    pub slower: u32,
}

/// What a node said of its leadership when it was looked at last.
struct Led {
    term: u64,
    voters: BTreeSet<NodeId>,
    /// Whether the change of the membership that is under way was begun by a leader before it: that one judged who had
    /// caught up, and this one has not heard of all of them yet.
    inherits: bool,
}

/// When faults begin: the cluster has formed by then, or is about to.
const FAULTS_FROM_MS: u64 = 1_500;
/// How often a node is looked at; and where somebody floods one.
const LOOK: Duration = Duration::from_millis(20);
const LOOK_FLOODED: Duration = Duration::from_millis(1);
/// How long the shape may take to be back: a role change a minute, and some room.
const HEALS_MS_MAX: u64 = 150_000;

/// The schedule of a seed.
pub fn plan(seed: u64, options: &Options) -> Vec<Planned> {
    let to = FAULTS_FROM_MS + options.faults_ms;
    options.scenario.plan(seed, options.nodes, FAULTS_FROM_MS, to)
}

/// Runs a seed with its own schedule.
pub fn run(seed: u64, options: &Options) -> Outcome {
    run_plan(seed, options, &plan(seed, options))
}

/// A topology that so many nodes can have.
fn topology_of(nodes: usize) -> &'static str {
    match nodes {
        1 => "solo",
        2 => "pair",
        3 | 4 => "quorum-3m",
        _ => "cluster-3m-nw",
    }
}

/// How much slower than what is prescribed the cadences of a seed are: heartbeats, elections, gossip, reconciliation.
///
/// Where a disk forgets, or a key is copied, they are what is prescribed: the schedule leaves the others as much time to
/// remember a node as they need at that pace.
pub fn slower(seed: u64, options: &Options) -> u32 {
    let forgets = |planned: &Planned| {
        matches!(
            planned.fault,
            Fault::Rot(_) | Fault::EmptyDisk(_) | Fault::OldDisk(_) | Fault::CopiedKey(_)
        )
    };
    if !options.cadences_vary || plan(seed, options).iter().any(forgets) {
        return 1;
    }
    *Chance::of(seed, "cadence").pick(&[1, 2, 4, 4])
}

fn genesis(nodes: usize, slower: u32) -> (Arc<Genesis>, Vec<NodeKey>) {
    let keys: Vec<_> = (0..nodes)
        .map(|place| {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&(place as u64 + 1).to_le_bytes());
            NodeKey::from_seed(seed)
        })
        .collect();
    let mut draft = prescribed_for(topology_of(nodes), nodes).expect("a topology for each number of nodes");
    let (consensus, membership) = (&mut draft.strategy.consensus, &mut draft.strategy.membership);
    for cadence in [
        &mut consensus.election_timeout,
        &mut consensus.heartbeat,
        &mut membership.gossip_cadence,
        &mut membership.failsafe_timeout,
        &mut draft.strategy.reconciliation,
    ] {
        *cadence *= slower;
    }
    let declaration = ClusterDeclaration::prove(draft).expect("what is prescribed is proved");
    let founders = keys
        .iter()
        .enumerate()
        .map(|(place, key)| (key.id(), Founder::named(name_of(place))));
    let genesis = Genesis::prove(declaration, founders, None).expect("the founders have names of their own");
    (Arc::new(genesis), keys)
}

/// Runs a seed with a schedule that may be a part of its own.
pub fn run_plan(seed: u64, options: &Options, plan: &[Planned]) -> Outcome {
    // Every node verifies every block, and each signature is looked at once.
    verdicts::remember(true);
    let slower = slower(seed, options);
    let (genesis, keys) = genesis(options.nodes, slower);
    let cluster = Cluster::new(seed, genesis, keys);
    let judge = Arc::new(Judge {
        cluster: cluster.clone(),
        ledger: Ledger::default(),
        violations: Mutex::default(),
        to_the_end: options.to_the_end,
        asked: Mutex::default(),
    });
    let counts = faults::Counts::default();
    let history = Arc::new(History::default());
    let mut runtime = SimRuntime::with_seed(seed);
    let (healed_ms, virtual_ms) = runtime.block_on(whole(
        judge.clone(),
        history.clone(),
        counts.clone(),
        options.clone(),
        plan.to_vec(),
    ));
    drop(runtime);
    verdicts::remember(false);
    let records = history.take();
    let mut violations = judge.violations.lock().clone().into_iter();
    let violation = violations.next();
    if let Some(violation) = &violation {
        cluster
            .trace
            .say(format_args!("{}: {}", violation.oracle, violation.what));
    }
    let (faults, oracles) = (counts.lock().clone(), judge.asked.lock().clone());
    Outcome {
        seed,
        violation,
        also: violations.collect(),
        events: cluster.trace.last(60),
        trace: cluster.trace.digest(),
        faults,
        operations: records.counts,
        oracles,
        healed_ms,
        virtual_ms,
        slower,
    }
}

/// Asks the oracles, and keeps the first thing that each of them says that is broken, in the order in which they said it.
struct Judge {
    cluster: Arc<Cluster>,
    ledger: Ledger,
    violations: Mutex<Vec<Violation>>,
    to_the_end: bool,
    asked: Mutex<BTreeMap<&'static str, u64>>,
}

impl Judge {
    fn ask<T: Default>(&self, oracle: &'static str, answer: Result<T, Violation>) -> T {
        *self.asked.lock().entry(oracle).or_default() += 1;
        answer.unwrap_or_else(|violation| {
            let mut known = self.violations.lock();
            if known.iter().all(|known| known.oracle != violation.oracle) {
                known.push(violation);
            }
            T::default()
        })
    }

    /// Whether there is nothing more to be learnt.
    fn is_done(&self) -> bool {
        !self.to_the_end && !self.violations.lock().is_empty()
    }

    /// Looks at one place for as long as the simulation runs.
    async fn observe(self: Arc<Self>, place: Place) {
        let mut seen: (u64, u64) = (0, 1);
        let mut logged = 0;
        let mut applied_before = 0;
        let mut led: Option<Led> = None;
        let mut looks = 0_u64;
        let mut changes = None;
        loop {
            let flooded = self.cluster.floods.load(Ordering::Relaxed) > 0;
            SimRuntime::sleep(if flooded { LOOK_FLOODED } else { LOOK }).await;
            let Some(running) = self.cluster.running(place) else {
                led = None;
                changes = None;
                continue;
            };
            let starts = self.cluster.starts(place);
            if seen.0 != starts {
                // Another process: it has its state from the log again, and may be behind what the one before had.
                seen = (starts, 1);
                logged = 0;
                applied_before = 0;
                changes = None;
            }
            let consensus = running.consensus();
            if flooded || looks.is_multiple_of(5) {
                self.ask("queues", queues::within(place, &consensus.queues()));
            }
            let applied = consensus.read_at(|index, state| {
                if index == applied_before {
                    return index;
                }
                let known = self.ledger.applied(place, state, index, seen.1);
                seen.1 = self
                    .ask("state-machine-safety", known.map(|newest| newest.max(1)))
                    .max(seen.1);
                index
            });
            applied_before = applied;
            let has_changed = changes
                .as_mut()
                .is_none_or(|changes: &mut BoxFuture<'static, ()>| changes.now_or_never().is_some());
            if has_changed {
                // From before the look, so that nothing falls between the two.
                changes = Some(consensus.changes().boxed());
                self.observe_leader(place, consensus, &mut led).await;
            }
            looks += 1;
            if looks.is_multiple_of(10)
                && let Ok(entries) = consensus.log_digests(logged).await
            {
                let matched = self
                    .ledger
                    .add(|truth| log_matching::log(truth, place, applied, &entries));
                self.ask("log-matching", matched);
                // What is not committed may be cut off and written again.
                logged = applied.saturating_sub(1);
            }
        }
    }

    /// Looks at what a node says of its leadership, behind each change of it.
    async fn observe_leader(&self, place: Place, consensus: &Consensus<Sim>, led: &mut Option<Led>) {
        let view = consensus.view();
        if !view.leads {
            *led = None;
            return;
        }
        let new = self.ledger.add(|truth| election_safety::leads(truth, place, view.term));
        let new = self.ask("election-safety", new);
        if new {
            self.cluster
                .trace
                .say(format_args!("node-{place} leads in term {}", view.term));
            if let Ok(entries) = consensus.log_digests(0).await {
                let first = entries.first().map_or(0, |(index, ..)| *index);
                let whole = self
                    .ledger
                    .look(|truth| leader_completeness::leads(truth, place, view.term, first, &entries));
                self.ask("leader-completeness", whole);
            }
        }
        let before = led.take().filter(|before| before.term == view.term);
        if let Some(before) = &before
            && before.voters != view.voters
        {
            self.cluster.trace.say(format_args!(
                "{:?} vote",
                view.voters
                    .iter()
                    .filter_map(|id| self.cluster.place_of(id))
                    .collect::<Vec<_>>()
            ));
            if !before.inherits {
                self.ask("caught-up", caught_up::promoted(&before.voters, &view));
            }
        }
        *led = Some(Led {
            term: view.term,
            inherits: view.changing && before.is_none_or(|before| before.inherits),
            voters: view.voters,
        });
    }
}

async fn whole(
    judge: Arc<Judge>,
    history: Arc<History>,
    counts: faults::Counts,
    options: Options,
    plan: Vec<Planned>,
) -> (u64, u64) {
    let began = SimInstant::now();
    let cluster = judge.cluster.clone();
    // What the harness itself panics with is found in the same place as what nodes do.
    let harness = Process::new(cluster.panics.clone());
    for place in 0..cluster.size() {
        cluster.start(place);
    }
    for place in cluster.places() {
        harness.enter(|| Sim::detach(judge.clone().observe(place)));
    }
    let clients = Clients {
        cluster: cluster.clone(),
        history: history.clone(),
        stop: Arc::new(AtomicBool::new(false)),
        waiting: Arc::default(),
        hands_off: Arc::new(AtomicBool::new(false)),
    };
    harness.enter(|| {
        clients.start();
        faults::carry_out(&clients, &plan, &counts);
    });
    let mut left = FAULTS_FROM_MS + options.faults_ms;
    while left > 0 && !judge.is_done() {
        SimRuntime::sleep(Duration::from_millis(100)).await;
        judge.ask("panics", panics::none(&cluster.panics.lock()));
        left = left.saturating_sub(100);
    }
    clients.hands_off.store(true, Ordering::Relaxed);
    let healed_ms = liveness(&judge, &clients).await;
    clients.stop.store(true, Ordering::Relaxed);
    if !judge.is_done() {
        // What is still under way is answered, or its patience ends.
        loop {
            SimRuntime::sleep(Duration::from_millis(400)).await;
            if clients.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        // Whoever observes the nodes has seen the last of it.
        SimRuntime::sleep(Duration::from_millis(200)).await;
        at_the_end(&judge, &history);
    }
    cluster.trace.say(format_args!("{} messages", cluster.net.messages()));
    harness.kill();
    cluster.end_all();
    (healed_ms, (SimInstant::now() - began).as_millis() as u64)
}

/// Without faults the cluster comes back to its shape, within a bound.
async fn liveness(judge: &Judge, clients: &Clients) -> u64 {
    let cluster = &judge.cluster;
    cluster.trace.say(format_args!("no more faults"));
    let (mut waited, step) = (0, 250);
    while !judge.is_done() {
        faults::heal(cluster);
        clients.restore_all().await;
        SimRuntime::sleep(Duration::from_millis(step)).await;
        waited += step;
        judge.ask("panics", panics::none(&cluster.panics.lock()));
        let lost = lost(cluster);
        match shape::lacks(cluster, &lost) {
            None if waited >= 1_000 => return waited,
            Some(what) if waited >= HEALS_MS_MAX => {
                judge.ask("shape", Err::<(), _>(Violation::of("shape", what)));
                return waited;
            }
            _ => {}
        }
    }
    waited
}

/// Machines whose node cannot start, however often.
fn lost(cluster: &Cluster) -> BTreeSet<NodeId> {
    (0..cluster.size())
        .filter(|place| matches!(cluster.standing(*place), Standing::Failed(_)))
        .map(|place| cluster.ids[place])
        .collect()
}

fn at_the_end(judge: &Judge, history: &Arc<History>) {
    let cluster = &judge.cluster;
    judge.ask("shape", shape::check(cluster, &lost(cluster)));
    let Some(leader) = cluster
        .leader()
        .and_then(|leader| Some((leader, cluster.running(leader)?)))
    else {
        return;
    };
    let (place, running) = leader;
    let view = running.consensus().view();
    let newest = running.consensus().read(|state| {
        judge.ask("roles", roles::check(state, &view));
        judge.ask("one-chain", one_chain::verifies(&cluster.genesis, place, state));
        judge.ask("damping", damping::check(state));
        let exclusive = judge
            .ledger
            .look(|truth| exclusive::check(truth, state, |place| cluster.key_at(place)));
        judge.ask("exclusive", exclusive);
        state.keyspace().revision()
    });
    history.add(|records| {
        judge.ledger.look(|truth| {
            judge.ask("linearizable", linearizable::check(records, truth));
            judge.ask("durable", durable::check(records, truth, newest));
            judge.ask("restored", restored::check(records, truth));
            judge.ask("exactly-once", exactly_once::check(truth));
            judge.ask("refused", refused::check(records, truth));
            judge.ask("watches", watches::check(records, truth));
            judge.ask("revision-never-goes-back", monotonic::glances(records));
        });
    });
    debug_assert!(judge.asked.lock().keys().all(|name| oracles::NAMES.contains(name)));
}

/// Leaves out of a schedule what is not needed for the same violation.
pub fn shrink(seed: u64, options: &Options, oracle: &str, plan: &[Planned]) -> Vec<Planned> {
    let fails = |plan: &[Planned]| {
        let outcome = run_plan(seed, options, plan);
        outcome.violation.is_some_and(|violation| violation.oracle == oracle)
    };
    let mut plan = plan.to_vec();
    let mut size = plan.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < plan.len() {
            let mut fewer = plan.clone();
            fewer.drain(at..(at + size).min(plan.len()));
            if fails(&fewer) {
                plan = fewer;
            } else {
                at += size;
            }
        }
        if size == 1 {
            break;
        }
        size = size.div_ceil(2);
    }
    plan
}
