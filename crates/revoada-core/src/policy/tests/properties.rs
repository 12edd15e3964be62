//! What holds whatever happens, over random histories of clusters of every shape.
//!
//! A history is a list of events; after each one some steps of the plan are executed, or all of them, so that events
//! hit plans that are half done. The checks run before and after every single step.

use proptest::prelude::*;
use revoada_attest::{NodeId, TransitionKind};

use super::cluster::{TestCluster, TestShape, id};
use crate::policy::{Step, WishKind, voters_declared};
use crate::roles::{Membership, Moving, NodeRecord};
use crate::topology::MeshAllPeers;

#[derive(Debug, Clone)]
enum Event {
    Join,
    Lose(u8),
    Return(u8),
    Start(u8),
    Flap(u8),
    Suspect(u8),
    Empty(u8),
    Ask(WishKind, u8),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    let kinds = [
        WishKind::Promote,
        WishKind::Demote,
        WishKind::Drain,
        WishKind::Quarantine,
        WishKind::Restore,
    ];
    prop_oneof![
        1 => Just(Event::Join),
        4 => (1..10u8).prop_map(Event::Lose),
        4 => (1..10u8).prop_map(Event::Return),
        1 => (1..10u8).prop_map(Event::Start),
        2 => (1..10u8).prop_map(Event::Flap),
        1 => (1..10u8).prop_map(Event::Suspect),
        2 => (1..10u8).prop_map(Event::Empty),
        3 => (prop::sample::select(kinds.to_vec()), 1..10u8).prop_map(|(kind, node)| Event::Ask(kind, node)),
        2 => (0..120_000u64).prop_map(Event::Pass),
        1 => Just(Event::Pass(700_000)),
    ]
}

fn shape() -> impl Strategy<Value = TestShape> {
    let own = [
        TestShape::Fixed(1),
        TestShape::Fixed(3),
        TestShape::Fixed(5),
        TestShape::AllOdd,
        TestShape::Ratio,
        TestShape::Even,
    ];
    prop::sample::select([&own[..], &TestShape::BUILT_IN, &[TestShape::witnessed()]].concat())
}

/// A history: the shape, the number of founders and of standbys, and events, each with how many steps follow it.
fn history() -> impl Strategy<Value = (TestShape, u8, usize, Vec<(Event, usize)>)> {
    let steps = prop_oneof![2 => 0..5usize, 3 => Just(usize::MAX)];
    (
        shape(),
        1..8u8,
        0..3usize,
        prop::collection::vec((event(), steps), 1..40),
    )
}

/// A cluster that is watched: every step is checked as it is executed.
struct Watched {
    cluster: TestCluster,
    /// Losses, drains, quarantines and demotions of voters, exchanges asked for, and voters declared in addition.
    causes: usize,
    /// How often the disk of a voter was emptied.
    emptied: usize,
    promotions: usize,
    demotions: usize,
}

impl Watched {
    fn formed(shape: TestShape, founders: u8, standbys: usize) -> Self {
        Self::formed_in(&[], shape, founders, standbys)
    }

    fn formed_in(zones: &[&str], shape: TestShape, founders: u8, standbys: usize) -> Self {
        let cluster = TestCluster::born(founders, shape, standbys, zones);
        let mut watched = Self {
            cluster,
            causes: 0,
            emptied: 0,
            promotions: 0,
            demotions: 0,
        };
        watched.settle();
        watched
    }

    fn declared(&self) -> usize {
        voters_declared(&self.cluster.shape, self.cluster.roles.members().count())
    }

    fn votes(&self, node: &NodeId) -> bool {
        self.cluster.voters.contains(node) || self.cluster.roles.get(node).is_some_and(|record| record.is_voter())
    }

    fn lose(&mut self, node: NodeId) {
        if self.cluster.nodes.contains_key(&node) && self.cluster.is_up(&node) {
            self.causes += usize::from(self.votes(&node));
            self.cluster.lose(node);
        } else if self.cluster.is_refused(&node) {
            self.cluster.lose(node);
        }
    }

    fn empty(&mut self, node: NodeId) {
        if self.cluster.nodes.contains_key(&node) {
            self.lose(node);
            self.emptied += usize::from(self.cluster.voters.contains(&node));
            self.cluster.go_back(node);
        }
    }

    fn bring_back(&mut self, node: NodeId, excused: bool) {
        if self.cluster.nodes.contains_key(&node) && self.cluster.is_lost(&node) {
            self.cluster.bring_back(node, excused);
        }
    }

    fn happen(&mut self, event: &Event) {
        match *event {
            Event::Join if self.cluster.nodes.len() < 9 && self.cluster.has_leader() => {
                let declared = self.declared();
                let number = u8::try_from(self.cluster.nodes.len() + 1).expect("nine nodes at most");
                self.cluster.join(id(number));
                self.causes += self.declared().saturating_sub(declared);
            }
            Event::Join => {}
            Event::Lose(number) => self.lose(id(number)),
            Event::Return(number) => self.bring_back(id(number), false),
            Event::Start(number) => self.bring_back(id(number), true),
            Event::Flap(number) => {
                for _ in 0..4 {
                    self.lose(id(number));
                    self.run(1);
                    self.bring_back(id(number), false);
                    self.run(1);
                }
            }
            Event::Suspect(number) => {
                if let Some(seen) = self.cluster.nodes.get_mut(&id(number)).filter(|seen| seen.reachable) {
                    seen.membership = Membership::Suspect;
                }
            }
            Event::Empty(number) => self.empty(id(number)),
            Event::Ask(kind, number) => {
                if let Ok(steps) = self.cluster.ask(kind, id(number)) {
                    self.causes += usize::from(kind != WishKind::Restore);
                    steps.iter().for_each(|step| self.execute(step));
                }
            }
            Event::Pass(passed_ms) => self.cluster.now_ms += passed_ms,
        }
    }

    fn execute(&mut self, step: &Step) {
        let had_quorum = self.cluster.survives(&self.cluster.voters).is_some();
        self.check(step);
        self.cluster.execute(step);
        let voters = &self.cluster.voters;
        assert!(!voters.is_empty(), "a cluster without voters");
        assert!(
            !had_quorum || self.cluster.survives(voters).is_some(),
            "{step:?} loses the quorum"
        );
    }

    fn check(&mut self, step: &Step) {
        let cluster = &self.cluster;
        match step {
            Step::Commit(transition) => {
                let node = &transition.node;
                let record = cluster.roles.get(node);
                // Not by the product's own `is_damped`, which this is to catch when it is wrong.
                let changed_ms = record.and_then(|record| record.changed_at_ms);
                let damped_at = |changed_ms: Option<u64>, at_ms: u64| {
                    changed_ms.is_some_and(|changed_ms| at_ms.saturating_sub(changed_ms) < 60_000)
                };
                let damped = damped_at(changed_ms, cluster.now_ms);
                let voters = || cluster.roles.members().filter(|record| record.is_voter());
                match transition.kind {
                    TransitionKind::Promote => {
                        assert!(!cluster.is_lost(node), "a lost node is promoted: {transition:?}");
                        // Who is lost counts as long as its role is a voter's; and where its demotion is committed, until
                        // the membership has followed, unless somebody was promoted in its place.
                        let gone = |record: &&NodeRecord| {
                            cluster.is_lost(&record.id) && (record.is_voter() || cluster.voters.contains(&record.id))
                        };
                        let gone: Vec<&NodeRecord> = cluster.roles.members().filter(gone).collect();
                        let entering = voters().filter(|record| {
                            record.moving == Some(Moving::Promoting) && !cluster.voters.contains(&record.id)
                        });
                        let replaces = gone.iter().any(|record| record.is_voter()) || gone.len() > entering.count();
                        assert!(!damped || replaces, "damping is broken: {transition:?}");
                        self.promotions += 1;
                    }
                    TransitionKind::Demote => {
                        // An exchange is completed by a damped node only if it could not have been begun with another.
                        let completes = voters().any(|chosen| {
                            let half_done =
                                chosen.moving == Some(Moving::Promoting) && !cluster.voters.contains(&chosen.id);
                            let begun_ms = chosen.changed_at_ms.unwrap_or(cluster.now_ms);
                            half_done && voters().all(|record| damped_at(record.changed_at_ms, begun_ms))
                        });
                        let exempt = cluster.is_lost(node) || completes;
                        // Who is merely dead keeps its vote unless another one votes in its place.
                        let forgot = |node: &&NodeId| cluster.nodes.get(*node).is_some_and(|seen| seen.went_back);
                        if cluster.is_lost(node) && !cluster.is_refused(node) {
                            let kept = cluster.voters.len() - cluster.voters.iter().filter(forgot).count();
                            let left = voters().count() - 1;
                            assert!(
                                left >= kept.min(self.declared()),
                                "a dead voter is let go: {transition:?}"
                            );
                        }
                        assert!(!damped || exempt, "damping is broken: {transition:?}");
                        self.demotions += 1;
                    }
                    TransitionKind::Quarantine => self.causes += usize::from(self.votes(node)),
                    TransitionKind::Reassign => assert!(!damped, "damping is broken: {transition:?}"),
                    TransitionKind::Admit | TransitionKind::Restore | TransitionKind::Evict => {}
                }
            }
            Step::SetMembership { voters, learners } => {
                let grown_even = voters.len().is_multiple_of(2) && !cluster.voters.len().is_multiple_of(2);
                let forgot = |node: &&NodeId| cluster.nodes.get(*node).is_some_and(|seen| seen.went_back);
                let let_go = cluster.voters.difference(voters).filter(forgot).count();
                let fewer = cluster.voters.len().saturating_sub(voters.len());
                assert!(
                    !grown_even || 0 < fewer && fewer <= let_go,
                    "an even number of voters on purpose: {step:?}"
                );
                let entering = voters.difference(&cluster.voters);
                entering.for_each(|node| assert!(!cluster.is_lost(node), "a lost node enters: {step:?}"));
                assert!(voters.is_disjoint(learners), "a voter is a learner: {step:?}");
            }
            Step::TransferLeader { to } => {
                assert!(
                    cluster.voters.contains(to) && !cluster.is_lost(to),
                    "leadership goes astray: {step:?}"
                );
            }
            Step::Note(_) | Step::WaitCaughtUp { .. } => {}
        }
    }

    /// Executes steps, planning again after each; at most `steps`. True when nothing is left to do.
    fn run(&mut self, steps: usize) -> bool {
        let bound = 20 + 12 * self.cluster.nodes.len();
        let start = self.cluster.survives(&self.cluster.voters);
        let mut least = start;
        for _ in 0..steps.min(bound) {
            let plan = self.cluster.plan();
            assert_eq!(plan, self.cluster.plan(), "one sight gives one plan");
            assert_eq!(plan.parent, self.cluster.head());
            let Some(step) = plan.steps.first() else {
                let end = self.cluster.survives(&self.cluster.voters);
                assert!(
                    least >= start.min(end),
                    "redundancy dips: {start:?}, {least:?}, {end:?}"
                );
                return true;
            };
            self.execute(step);
            least = least.min(self.cluster.survives(&self.cluster.voters));
        }
        assert!(
            steps < bound,
            "it does not converge within {bound} steps: {:?}",
            self.cluster.plan()
        );
        false
    }

    fn settle(&mut self) {
        assert!(self.run(usize::MAX));
    }

    /// The reaction is bounded by the loss: no promotion without a cause of its own, and no demotion without a
    /// promotion before it or the loss of the node that a promotion brought in.
    fn check_reaction(&self) {
        let Self {
            causes,
            promotions,
            demotions,
            ..
        } = self;
        assert!(promotions <= causes, "{promotions} promotions for {causes} causes");
        assert!(
            *demotions <= promotions + self.emptied,
            "{demotions} demotions for {promotions} promotions"
        );
    }

    /// The shape is as declared, as far as the nodes that are there allow.
    fn check_shape(&self) {
        let cluster = &self.cluster;
        let declared = self.declared();
        let fit = |node: &NodeId| cluster.roles.get(node).is_some_and(|record| record.is_fit());
        let alive = |node: &NodeId| {
            *node == cluster.leader
                || cluster
                    .nodes
                    .get(node)
                    .is_some_and(|seen| seen.membership == Membership::Alive)
        };
        let able: Vec<NodeId> = cluster
            .roles
            .members()
            .map(|record| record.id)
            .filter(|node| fit(node) && alive(node))
            .collect();
        let voters = &cluster.voters;
        let even = voters.len().is_multiple_of(2);
        assert!(
            !even || self.emptied > 0 && able.len() < declared,
            "{} voters",
            voters.len()
        );
        assert!(voters.len() <= declared, "{} voters of {declared}", voters.len());
        let by_role = cluster
            .roles
            .members()
            .filter(|record| record.is_voter())
            .map(|record| record.id);
        if able.len() >= declared {
            assert_eq!(voters.len(), declared, "there are enough: {able:?}");
            let sound = |node: &NodeId| fit(node) && !cluster.is_lost(node);
            assert!(
                voters.iter().all(sound),
                "somebody votes who should not, and could be replaced"
            );
            assert!(by_role.eq(voters.iter().copied()), "the membership follows the roles");
            let workers = able.iter().filter(|node| !voters.contains(node)).count();
            assert!(
                cluster.learners.len() >= workers.min(cluster.standbys),
                "standbys are missing"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariant_any_history_ends_in_the_declared_shape((shape, founders, standbys, events) in history()) {
        let mut watched = Watched::formed(shape, founders, standbys);
        for (event, steps) in &events {
            watched.happen(event);
            watched.run(*steps);
            watched.check_reaction();
        }
        // What damping held and what a quarantine holds is over in the end; who is down stays down.
        for _ in 0..3 {
            watched.cluster.now_ms += 61_000;
            watched.settle();
        }
        watched.check_reaction();
        if watched.cluster.survives(&watched.cluster.voters).is_some() {
            watched.check_shape();
        }
    }

    #[test]
    fn invariant_nothing_lost_means_nothing_done(
        (shape, founders, standbys) in (shape(), 1..9u8, 0..4usize),
        passed_ms in 0..10_000_000u64,
    ) {
        let mut watched = Watched::formed(shape, founders, standbys);
        watched.check_shape();
        watched.cluster.now_ms += passed_ms;
        let plan = watched.cluster.plan();
        prop_assert!(plan.is_empty(), "{plan:?}");
    }

    /// Nobody has to be spare, and no operator there, as long as a quorum is.
    #[test]
    fn invariant_voters_that_forgot_vote_again(
        (shape, founders, standbys) in (shape(), 1..9u8, 0..3usize),
        (emptied, more) in (1..9u8, 1..9u8),
    ) {
        let mut watched = Watched::formed(shape, founders, standbys);
        let voters = watched.cluster.voters.len();
        watched.empty(id(emptied));
        watched.empty(id(more));
        if watched.cluster.survives(&watched.cluster.voters).is_none() {
            return Ok(());
        }
        for _ in 0..2 {
            watched.settle();
            watched.cluster.now_ms += 61_000;
        }
        watched.settle();
        watched.check_shape();
        watched.check_reaction();
        prop_assert_eq!(watched.cluster.voters.len(), voters);
        prop_assert!(watched.cluster.nodes.values().all(|seen| !seen.went_back && seen.membership == Membership::Alive));
    }

    #[test]
    fn invariant_a_plan_executed_whole_comes_to_the_same((shape, founders, _, events) in history(), zones in zones()) {
        let events: Vec<Event> = events.into_iter().map(|(event, _)| event).collect();
        executed_whole_comes_to_the_same(&zones, shape, founders, &events);
    }
}

/// Where the founders are: nowhere, or in three zones as they happen to be.
fn zones() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 8),
    ]
}

fn executed_whole_comes_to_the_same(zones: &[&str], shape: TestShape, founders: u8, events: &[Event]) {
    // All that do not vote are standbys that have caught up: who is ready first is not what this is about.
    let mut watched = Watched::formed_in(zones, shape, founders, 9);
    for event in events.iter().filter(|event| !matches!(event, Event::Join)) {
        watched.happen(event);
        watched.cluster.now_ms += 1_000;
        let mut whole = watched.cluster.clone();
        for step in whole.plan().steps {
            // The old leader executes nothing more once it has handed over.
            let handed_over = matches!(step, Step::TransferLeader { .. });
            whole.execute(&step);
            if handed_over {
                break;
            }
        }
        let mut whole = Watched {
            cluster: whole,
            causes: 0,
            emptied: 0,
            promotions: 0,
            demotions: 0,
        };
        whole.settle();
        watched.settle();
        assert_eq!(whole.cluster.voters, watched.cluster.voters);
        let roles = |watched: &Watched| -> Vec<_> {
            let members = watched.cluster.roles.members();
            members
                .map(|record| (record.name.clone(), record.role, record.state()))
                .collect()
        };
        assert_eq!(roles(&whole), roles(&watched));
    }
}

/// Found by the property. 3 was demoted at an operator's wish and wants its vote back, for which it has to wait a
/// minute; meanwhile 6 has replaced 4. When 3's minute is over 6 is held, so 3 is granted the place of 2; once 3 was
/// promoted, the plan that was made anew demoted 6.
#[test]
fn an_exchange_ends_with_the_node_that_it_was_granted_for() {
    let mut events = vec![
        Event::Ask(WishKind::Demote, 3),
        Event::Pass(40_000),
        Event::Lose(5),
        Event::Lose(4),
        Event::Start(5),
        Event::Start(4),
        Event::Pass(8_000),
        Event::Ask(WishKind::Promote, 3),
    ];
    events.extend([const { Event::Pass(0) }; 10]);
    executed_whole_comes_to_the_same(&[], TestShape::Fixed(3), 6, &events);
}

/// Found by the property. Seven voters of seven; 1 and 2 forgot and wait as learners. 3 forgets as well, and 1 takes its
/// place; once 1 was promoted, the plan that was made anew kept 3, which made six, and so nothing was done any more.
#[test]
fn who_is_promoted_in_the_place_of_one_that_forgot_makes_no_even_number() {
    let events = [1, 2, 3].map(Event::Empty);
    executed_whole_comes_to_the_same(&[], TestShape::AllOdd, 7, &events);
}

/// Found by the property. 2 is quarantined and 6 promoted in its place, 3 forgot and was let go alone, and the membership
/// has followed neither when 1 dies. It left four voters, one of them dead, and 6 was taken to enter in the place of 1.
#[test]
fn who_is_merely_dead_is_not_let_go_for_an_exchange_of_others() {
    let events = [
        (Event::Join, 0),
        (Event::Join, 0),
        (Event::Ask(WishKind::Promote, 1), usize::MAX),
        (Event::Flap(2), 4),
        (Event::Empty(3), 2),
        (Event::Lose(1), 0),
    ];
    let mut watched = Watched::formed(TestShape::Fixed(5), 4, 1);
    for (event, steps) in &events {
        watched.happen(event);
        watched.run(*steps);
    }
    watched.cluster.now_ms += 61_000;
    watched.settle();
    watched.check_reaction();
    assert_eq!(watched.cluster.voters, [1, 3, 4, 5, 6].map(id).into());
}

/// Found by the property. 4 forgot and is let go alone, and 6 was promoted in the place of 2, who is quarantined: that 4's
/// demotion is committed and 2's is not makes no other plan of it.
#[test]
fn who_is_let_go_alone_answers_no_promotion() {
    let events = [Event::Lose(1), Event::Flap(2), Event::Empty(6), Event::Empty(4)];
    executed_whole_comes_to_the_same(&[], TestShape::BuiltIn(&MeshAllPeers), 6, &events);
}

/// Found by the property. 1 forgot, was let go alone, and the membership has not followed; 5, who has changed its role
/// just now, takes its place all the same once it may.
#[test]
fn who_takes_the_place_of_a_lost_voter_is_not_held() {
    let events = [
        (Event::Lose(3), 1),
        (Event::Flap(5), 2),
        (Event::Join, usize::MAX),
        (Event::Join, 2),
        (Event::Lose(6), 3),
        (Event::Empty(1), 2),
        (Event::Ask(WishKind::Restore, 5), 2),
    ];
    let mut watched = Watched::formed(TestShape::AllOdd, 6, 0);
    for (event, steps) in &events {
        watched.happen(event);
        watched.run(*steps);
    }
    assert!(watched.cluster.roles.get(&id(5)).is_some_and(NodeRecord::is_voter));
    watched.settle();
    watched.check_reaction();
}
