//! The loop: the next thing that happens, what it means for who is there, and what the policy makes of it.
//!
//! [`Observed`] is not made anew for each plan: it is the state of the simulation, and is changed as a leader's sight of
//! it would. A plan is asked for when something happened that a driver would be woken by, and when a time runs out that
//! the policy waits for, at the driver's next tick. Rejected: a plan at each tick. In ten years there are 630 million,
//! and all but some thousands of them say nothing.

mod failures;
mod operator;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use revoada_attest::{Digest, NodeId, Transition, TransitionKind};
use revoada_core::genesis::Genesis;
use revoada_core::limits::{PLANS_PER_TICK_MAX, QUARANTINE_ALIVE_MS, ROLE_CHANGE_INTERVAL_MS};
use revoada_core::policy::{
    Founder, Intent, Observed, Plan, Replication, Seen, Spread, Step, plan, survives, voters_declared,
};
use revoada_core::roles::{Location, Membership, Roles, TransitionRefused};
use revoada_core::topology::{TopologyStrategy, losses_survived};

use super::Options;
use super::report::{Report, Subject};
use super::schedule::{Failure, Stream, streams};
use super::tally::{Now, Tally};
use super::timing::Timing;
use crate::entropy::Chance;

/// What the leader's clock says at the beginning: 2026-01-01. Any time will do that is not near zero.
const BEGINNING_MS: u64 = 1_767_225_600_000;

/// Something that is going to happen. A number with it says which one is meant: what was overtaken is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The pending failure of a stream begins.
    Fails(usize),
    /// It ends.
    Ends(usize),
    /// A machine that is back serves.
    Started(usize, u64),
    /// The detector's time for a silent node is up.
    Dead(usize, u64),
    /// The detector has heard enough of a node.
    Alive(usize, u64),
    /// A learner has everything.
    CaughtUp(usize, u64),
    /// An election is over.
    Elected(u64),
    /// A change of the membership is committed.
    Changed(u64),
    /// A time is up that the policy waits for.
    Tick,
    /// An operator has come.
    Operator,
}

/// Where a machine is in the network: those in one place reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Whole,
    SplitOff,
    Alone(usize),
}

#[derive(Debug)]
pub(super) struct Machine {
    pub(super) id: NodeId,
    name: String,
    /// How many failures keep it away.
    away: u32,
    /// How many keep it from the network.
    cut: u32,
    /// Counts its ends and starts.
    starts: u64,
    runs: bool,
    /// Whether its disk has less than its peers remember.
    emptied: bool,
    /// Whether it has what a voter has.
    has_data: bool,
    /// Whether those who decide can reach it.
    pub(super) present: bool,
    /// Counts the changes of that.
    sights: u64,
}

/// A change of the membership that is under way.
#[derive(Debug)]
struct Flight {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
}

/// A simulated cluster.
pub(super) struct Fleet<'a> {
    genesis: &'a Genesis,
    options: &'a Options,
    pub(super) topology: Arc<dyn TopologyStrategy>,
    standbys: usize,
    spread: Spread,
    timing: Timing,
    end_ms: u64,
    /// From when on nothing fails any more.
    pub(super) calm_from_ms: u64,
    /// Whether the driver plans at each of its ticks, and not only where time has something to say.
    pub(super) ticks_always: bool,
    now_ms: u64,
    queue: BinaryHeap<Reverse<(u64, u64, Event)>>,
    queued: u64,
    streams: Vec<Stream>,
    /// The failure of each stream that is next, or goes on.
    failures: Vec<Failure>,
    pub(super) machines: Vec<Machine>,
    numbers: BTreeMap<NodeId, usize>,
    /// Who is on the smaller side while the network is split.
    split: Option<Vec<bool>>,
    pub(super) observed: Observed,
    pub(super) leader: Option<usize>,
    /// Counts elections; the newest one counts.
    elections: u64,
    electing: bool,
    chance: Chance,
    flight: Option<Flight>,
    flights: u64,
    blocks: u64,
    /// The next tick that was queued.
    tick_at_ms: Option<u64>,
    operator_called: bool,
    /// Whether all founders are admitted.
    formed: bool,
    /// Whether something happened since the last plan.
    news: bool,
    tally: Tally,
    stuck: Option<Stuck>,
}

/// What was planned and not taken.
#[derive(Debug)]
pub(super) struct Stuck {
    /// When, in milliseconds from the beginning.
    pub(super) at_ms: u64,
    /// What, in words.
    pub(super) planned: String,
    /// Why not.
    pub(super) source: TransitionRefused,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(genesis: &'a Genesis, options: &'a Options, end_ms: u64) -> Self {
        let declaration = genesis.declaration();
        let mut founders: Vec<(NodeId, Founder)> = genesis
            .founders()
            .iter()
            .map(|(id, founder)| (*id, founder_of(founder)))
            .collect();
        // In the order of the machines' numbers, which the keys are not in.
        let numbers: BTreeMap<NodeId, usize> = (0..founders.len())
            .map(|number| (super::key_of(number).id(), number))
            .collect();
        founders.sort_by_key(|(id, _)| numbers[id]);
        let machines = founders.iter().map(|(id, founder)| Machine {
            id: *id,
            name: founder.name.clone(),
            away: 0,
            cut: 0,
            starts: 0,
            runs: true,
            emptied: false,
            has_data: false,
            present: true,
            sights: 0,
        });
        let machines: Vec<Machine> = machines.collect();
        // What a node says of itself, its address included; the genesis knows no addresses.
        let located = |founder: &Founder| Location {
            address: format!("{}:7400", founder.name),
            ..founder.location.clone()
        };
        let membership = founders.iter().map(|(id, founder)| {
            let seen = Seen {
                membership: Membership::Alive,
                since_ms: BEGINNING_MS,
                excused: false,
                location: Some(located(founder)),
                log_went_back: false,
            };
            (*id, seen)
        });
        let observed = Observed {
            leader: founders[0].0,
            chain_head: Digest::from_bytes([0; Digest::BYTES]),
            roles: Roles::default(),
            membership: membership.collect(),
            replication: BTreeMap::new(),
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            membership_change_in_flight: false,
            founders: founders.into_iter().collect(),
            roster: None,
        };
        let strategy = declaration.strategy();
        Self {
            genesis,
            options,
            topology: declaration.topology(),
            standbys: strategy.standbys as usize,
            spread: strategy.placement.into(),
            timing: Timing::of(genesis),
            end_ms,
            calm_from_ms: u64::MAX,
            ticks_always: false,
            now_ms: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            streams: streams(&options.faults, options.seed, machines.len(), options.zones),
            failures: Vec::new(),
            machines,
            numbers,
            split: None,
            observed,
            leader: None,
            elections: 0,
            electing: false,
            chance: Chance::of(options.seed, "elections"),
            flight: None,
            flights: 0,
            blocks: 0,
            tick_at_ms: None,
            operator_called: false,
            formed: false,
            news: false,
            tally: Tally::new(end_ms),
            stuck: None,
        }
    }

    /// Lives from the beginning to the end. `watch` is shown the cluster whenever something has happened.
    ///
    /// # Errors
    /// What the policy planned and the role machine did not take, and when: a fault of ours, or of the topology's. The
    /// simulation ends with the first.
    pub(super) fn run(mut self, progress: &mut dyn FnMut(f64), watch: &mut dyn FnMut(&Self)) -> Result<Report, Stuck> {
        self.failures = self.streams.iter_mut().map(|stream| stream.next(0)).collect();
        for stream in 0..self.failures.len() {
            if self.failures[stream].at_ms < self.calm_from_ms {
                self.at(self.failures[stream].at_ms, Event::Fails(stream));
            }
        }
        self.begin();
        let first = self.numbers_of(&self.observed.voters).next();
        self.lead(first.expect("a genesis has voters"));
        self.settle();
        let mut told = 0;
        while let Some(Reverse((at_ms, _, event))) = self.queue.pop() {
            if at_ms > self.end_ms {
                break;
            }
            if at_ms > self.now_ms {
                self.now_ms = at_ms;
                self.tally.advance(at_ms);
                let share = at_ms * 100 / self.end_ms;
                if share > told {
                    told = share;
                    progress(share as f64 / 100.0);
                }
            }
            self.tally.events += 1;
            self.happens(event);
            // What happens at one time is looked at together.
            if self
                .queue
                .peek()
                .is_none_or(|Reverse((next_ms, ..))| *next_ms > self.now_ms)
            {
                self.settle();
                watch(&self);
            }
            if self.stuck.is_some() {
                break;
            }
        }
        if let Some(stuck) = self.stuck {
            return Err(stuck);
        }
        self.tally.end(self.end_ms);
        let nodes = self.machines.len();
        let declared = voters_declared(&*self.topology, nodes);
        let subject = Subject {
            id: self.genesis.declaration().id(),
            nodes,
            voters_declared: declared,
            survives_declared: losses_survived(declared),
            replacement: self.options.replacement,
            simulated_ms: self.end_ms,
        };
        Ok(Report::of(subject, self.tally))
    }

    /// A cluster of the genesis, at its birth: the first voters have what there is, which is nothing.
    fn begin(&mut self) {
        self.observed.roles = Roles::default();
        self.observed.voters = self.genesis.first_voters();
        self.observed.learners.clear();
        self.observed.membership_change_in_flight = false;
        (self.flight, self.formed, self.blocks) = (None, false, 0);
        self.observed.chain_head = head(0);
        for machine in &mut self.machines {
            machine.emptied = false;
            machine.has_data = self.observed.voters.contains(&machine.id);
        }
        self.replicate();
    }

    fn at(&mut self, at_ms: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse((at_ms, self.queued, event)));
    }

    fn after(&mut self, delay_ms: u64, event: Event) {
        self.at(self.now_ms + delay_ms, event);
    }

    fn wall_ms(&self) -> u64 {
        BEGINNING_MS + self.now_ms
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Fails(stream) => {
                let failure = self.failures[stream];
                self.at(failure.until_ms, Event::Ends(stream));
                *self.tally.failures.entry(failure.kind.name()).or_default() += 1;
                self.fails(failure);
            }
            Event::Ends(stream) => {
                self.ends(self.failures[stream]);
                let next = self.streams[stream].next(self.now_ms);
                self.failures[stream] = next;
                if next.at_ms < self.calm_from_ms {
                    self.at(next.at_ms, Event::Fails(stream));
                }
            }
            Event::Started(number, starts) => {
                let machine = &mut self.machines[number];
                machine.runs |= machine.starts == starts;
            }
            Event::Dead(number, sights) => self.judge(number, sights, Membership::Dead),
            Event::Alive(number, sights) => self.judge(number, sights, Membership::Alive),
            Event::CaughtUp(number, sights) => {
                let machine = &mut self.machines[number];
                if machine.sights == sights && machine.present && self.observed.replication.contains_key(&machine.id) {
                    machine.has_data = true;
                    self.show(number);
                    self.news = true;
                }
            }
            Event::Elected(elections) => self.elected(elections),
            Event::Changed(flights) => {
                if flights == self.flights && self.leader.is_some() {
                    self.land();
                }
            }
            Event::Tick => {
                if self.tick_at_ms == Some(self.now_ms) {
                    self.tick_at_ms = None;
                    self.news = true;
                }
            }
            Event::Operator => self.recover(),
        }
    }

    fn judge(&mut self, number: usize, sights: u64, membership: Membership) {
        let wall_ms = self.wall_ms();
        let machine = &self.machines[number];
        if machine.sights != sights {
            return;
        }
        if let Some(seen) = self.observed.membership.get_mut(&machine.id)
            && seen.membership != membership
        {
            (seen.membership, seen.since_ms) = (membership, wall_ms);
            self.news = true;
        }
    }

    fn numbers_of<'s>(&'s self, nodes: &'s BTreeSet<NodeId>) -> impl Iterator<Item = usize> + 's {
        nodes.iter().map(|node| self.numbers[node])
    }

    fn place(&self, number: usize) -> Place {
        let split_off = self.split.as_ref().is_some_and(|side| side[number]);
        match self.machines[number].cut {
            0 if split_off => Place::SplitOff,
            0 => Place::Whole,
            _ => Place::Alone(number),
        }
    }

    /// Whether it votes, now or as soon as the change under way is done.
    fn votes(&self, number: usize) -> bool {
        let id = &self.machines[number].id;
        let soon = self.flight.as_ref().is_some_and(|flight| flight.voters.contains(id));
        soon || self.observed.voters.contains(id)
    }

    /// A voter whose disk went back is refused by the others.
    fn is_refused(&self, number: usize) -> bool {
        self.machines[number].emptied && self.votes(number)
    }

    /// The votes of each place, in each half of the membership.
    pub(super) fn quorum(&self) -> (Option<Place>, Place) {
        let soon = self.flight.as_ref().map(|flight| &flight.voters);
        let mut best = (0, Reverse(Place::Whole));
        let mut places: BTreeMap<Place, [usize; 2]> = BTreeMap::new();
        let halves = [Some(&self.observed.voters), soon];
        for (half, voters) in halves.iter().enumerate() {
            for number in voters.iter().flat_map(|voters| self.numbers_of(voters)) {
                if self.machines[number].runs && !self.machines[number].emptied {
                    places.entry(self.place(number)).or_default()[half] += 1;
                }
            }
        }
        let mut quorum = None;
        for (place, votes) in places {
            best = best.max((votes[0], Reverse(place)));
            let enough = |half: usize| halves[half].is_none_or(|voters| votes[half] > voters.len() / 2);
            if enough(0) && enough(1) {
                quorum = Some(place);
            }
        }
        (quorum, quorum.unwrap_or(best.1.0))
    }

    /// Brings everything to what follows from who is there, until nothing new follows.
    fn settle(&mut self) {
        loop {
            self.look();
            if !std::mem::take(&mut self.news) || !self.act() {
                break;
            }
        }
        self.wait();
        let lost = |node: &NodeId| !self.counts(self.numbers[node]);
        let survived = survives(&self.observed.voters, lost);
        let there = self
            .numbers_of(&self.observed.voters)
            .filter(|number| self.counts(*number))
            .count();
        let declared = voters_declared(&*self.topology, self.machines.len());
        let quorum = self.quorum().0.is_some();
        let now = Now {
            leaderless: quorum && self.leader.is_none(),
            lost: !quorum,
            reduced: there < declared,
            exposed: self.leader.is_some() && survived == Some(0) && losses_survived(declared) > 0,
        };
        let machines = &self.machines;
        let voters = &self.observed.voters;
        self.tally.turn(now, || {
            let down = machines
                .iter()
                .filter(|machine| voters.contains(&machine.id) && !machine.present);
            down.map(|machine| machine.name.clone()).collect()
        });
    }

    /// There, and with all that a voter has.
    fn counts(&self, number: usize) -> bool {
        self.machines[number].present && self.machines[number].has_data
    }

    /// Who reaches those who decide, and whether somebody leads.
    fn look(&mut self) {
        let (quorum, main) = self.quorum();
        for number in 0..self.machines.len() {
            let near = self.machines[number].runs && self.place(number) == main;
            if near && self.is_refused(number) {
                self.refuse(number);
            }
            let refused = self.is_refused(number);
            if near && !refused && self.machines[number].emptied {
                // It has no vote: it is taken in as a learner that has nothing yet.
                self.machines[number].emptied = false;
            }
            let present = near && !refused;
            if present != self.machines[number].present {
                self.turn(number, present);
            }
        }
        let leads = |number: &usize| self.machines[*number].present && self.votes(*number);
        if quorum.is_none() || self.leader.as_ref().is_some_and(|leader| !leads(leader)) {
            self.leader = None;
        }
        match quorum {
            Some(_) if self.leader.is_none() && !self.electing => {
                self.electing = true;
                self.elections += 1;
                self.after(self.timing.election_ms, Event::Elected(self.elections));
            }
            None => {
                self.electing = false;
                self.call_operator();
            }
            Some(_) => {}
        }
    }

    fn turn(&mut self, number: usize, present: bool) {
        let catches_up = {
            let machine = &mut self.machines[number];
            machine.present = present;
            machine.sights += 1;
            present && !machine.has_data
        };
        self.news = true;
        let (id, sights) = (self.machines[number].id, self.machines[number].sights);
        if present {
            if let Some(seen) = self.observed.membership.get_mut(&id) {
                seen.log_went_back = false;
            }
            self.after(self.timing.alive_ms, Event::Alive(number, sights));
        } else {
            self.after(self.timing.dead_ms, Event::Dead(number, sights));
        }
        if catches_up && self.observed.replication.contains_key(&id) {
            self.after(self.timing.catches_up_ms, Event::CaughtUp(number, sights));
        }
        self.show(number);
    }

    /// Its peers refuse a voter whose disk went back, and say so.
    fn refuse(&mut self, number: usize) {
        if !self.options.replacement {
            // Whoever replaced the disk takes it in again, where there is a quorum to do so.
            if self.leader.is_some() {
                self.machines[number].emptied = false;
            }
            return;
        }
        let (id, wall_ms) = (self.machines[number].id, self.wall_ms());
        if let Some(seen) = self.observed.membership.get_mut(&id)
            && !seen.log_went_back
        {
            (seen.membership, seen.since_ms, seen.log_went_back) = (Membership::Dead, wall_ms, true);
            self.news = true;
        }
    }

    /// What the leader's replication says of a node.
    fn show(&mut self, number: usize) {
        let machine = &self.machines[number];
        if let Some(replication) = self.observed.replication.get_mut(&machine.id) {
            *replication = replication_to(machine);
        }
    }

    /// To whom the leader replicates.
    fn replicate(&mut self) {
        let (observed, machines, numbers) = (&mut self.observed, &self.machines, &self.numbers);
        let leader = self.leader.map(|number| machines[number].id);
        let members = observed.voters.union(&observed.learners);
        let members = members.filter(|id| Some(**id) != leader);
        observed.replication = members
            .map(|id| (*id, replication_to(&machines[numbers[id]])))
            .collect();
    }

    fn elected(&mut self, elections: u64) {
        if !self.electing || elections != self.elections {
            return;
        }
        self.electing = false;
        let voters = self.numbers_of(&self.observed.voters);
        let heirs: Vec<usize> = voters.filter(|number| self.machines[*number].present).collect();
        if heirs.is_empty() {
            return;
        }
        let heir = heirs[self.chance.below(heirs.len() as u64) as usize];
        self.lead(heir);
        if self.flight.is_some() {
            // A change that the last leader left is brought to its end by the next one.
            self.flights += 1;
            self.after(self.timing.change_ms, Event::Changed(self.flights));
        }
    }

    fn lead(&mut self, number: usize) {
        self.leader = Some(number);
        self.observed.leader = self.machines[number].id;
        self.replicate();
        self.news = true;
    }

    /// The change of the membership is committed.
    fn land(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.observed.membership_change_in_flight = false;
        self.observed.voters = flight.voters;
        self.enrol(flight.learners);
        self.news = true;
    }

    /// These are the learners; those that are new have to catch up, and who is no member any more falls behind.
    fn enrol(&mut self, learners: BTreeSet<NodeId>) {
        self.observed.learners = learners;
        for number in 0..self.machines.len() {
            let id = self.machines[number].id;
            let member = self.observed.voters.contains(&id) || self.observed.learners.contains(&id);
            let machine = &mut self.machines[number];
            machine.has_data &= member;
            let (behind, sights) = (member && machine.present && !machine.has_data, machine.sights);
            if behind && !self.observed.replication.contains_key(&id) {
                self.after(self.timing.catches_up_ms, Event::CaughtUp(number, sights));
            }
        }
        self.replicate();
    }

    fn intent(&self) -> Intent<'_> {
        Intent {
            topology: &*self.topology,
            standbys: self.standbys,
            spread: self.spread,
        }
    }

    /// Does what the leader's driver does: plans, and carries out, until nothing is left or something has to be waited
    /// for. Says whether anything was done.
    fn act(&mut self) -> bool {
        let mut acted = false;
        for _ in 0..PLANS_PER_TICK_MAX {
            if self.leader.is_none() || self.stuck.is_some() || (self.formed && !self.options.replacement) {
                break;
            }
            let plan = plan(&self.observed, &self.intent(), self.wall_ms());
            self.tally.plans += 1;
            let done = self.carry_out(plan);
            self.formed |= self.observed.roles.nodes.len() == self.machines.len();
            if !done {
                break;
            }
            acted = true;
        }
        acted
    }

    /// Says whether anything was done.
    fn carry_out(&mut self, plan: Plan) -> bool {
        let mut done = false;
        for step in plan.steps {
            match step {
                Step::Commit(transition) => {
                    if !self.commit(&transition) {
                        return false;
                    }
                }
                Step::Note(note) => {
                    if let Err(refused) = self.observed.roles.apply_note(&note) {
                        return self.get_stuck(format!("the note {note:?}"), refused);
                    }
                }
                Step::SetMembership { voters, learners } => {
                    if voters == self.observed.voters {
                        self.enrol(learners);
                    } else {
                        self.flight = Some(Flight { voters, learners });
                        self.observed.membership_change_in_flight = true;
                        self.flights += 1;
                        self.after(self.timing.change_ms, Event::Changed(self.flights));
                    }
                }
                Step::TransferLeader { to } => {
                    self.lead(self.numbers[&to]);
                    return true;
                }
                Step::WaitCaughtUp { .. } => return done,
            }
            done = true;
        }
        done
    }

    /// Ends the simulation.
    fn get_stuck(&mut self, planned: String, source: TransitionRefused) -> bool {
        self.stuck.get_or_insert(Stuck {
            at_ms: self.now_ms,
            planned,
            source,
        });
        false
    }

    /// False where the role machine does not take it.
    pub(super) fn commit(&mut self, transition: &Transition) -> bool {
        let wall_ms = self.wall_ms();
        if transition.kind == TransitionKind::Promote {
            let seen = self.observed.membership.get(&transition.node);
            let dead = seen.is_some_and(|seen| seen.membership == Membership::Dead);
            self.tally.promoted_while_lost += u64::from(dead && self.observed.leader != transition.node);
            self.tally.promoted();
        }
        if let Err(refused) = self.observed.roles.apply(transition, wall_ms) {
            let planned = format!("{} of {} ({})", transition.kind, transition.name, transition.reason);
            return self.get_stuck(planned, refused);
        }
        *self.tally.transitions.entry(transition.kind.name()).or_default() += 1;
        self.blocks += 1;
        self.observed.chain_head = head(self.blocks);
        true
    }

    /// Queues the driver's tick behind the next time that the policy waits for.
    fn wait(&mut self) {
        if self.leader.is_none() || !self.options.replacement {
            return;
        }
        let wall_ms = self.wall_ms();
        let members = self.observed.roles.members();
        let times = members.flat_map(|record| {
            let damped = record.changed_at_ms.map(|at_ms| at_ms + ROLE_CHANGE_INTERVAL_MS);
            let held = record.quarantined.as_ref().and_then(|held| held.alive_since_ms);
            [damped, held.map(|since_ms| since_ms + QUARANTINE_ALIVE_MS)]
        });
        let always = self.ticks_always.then_some(wall_ms + 1);
        let next = times.flatten().filter(|at_ms| *at_ms > wall_ms).chain(always).min();
        let Some(at_ms) = next.map(|at_ms| (at_ms - BEGINNING_MS).next_multiple_of(self.timing.tick_ms)) else {
            return;
        };
        if self.tick_at_ms.is_none_or(|tick_ms| at_ms < tick_ms) {
            self.tick_at_ms = Some(at_ms);
            self.at(at_ms, Event::Tick);
        }
    }
}

fn founder_of(founder: &revoada_core::genesis::Founder) -> Founder {
    Founder {
        name: founder.name.clone(),
        location: Location {
            address: String::new(),
            zone: founder.zone.clone(),
            rack: founder.rack.clone(),
        },
    }
}

fn replication_to(machine: &Machine) -> Replication {
    Replication {
        reachable: machine.present,
        caught_up: machine.present && machine.has_data,
        lag: u64::from(!machine.has_data),
    }
}

fn head(blocks: u64) -> Digest {
    let mut bytes = [0; Digest::BYTES];
    bytes[..8].copy_from_slice(&blocks.to_be_bytes());
    Digest::from_bytes(bytes)
}
