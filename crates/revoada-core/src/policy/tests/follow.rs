//! A group whose members come and go by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use revoada_attest::{Digest, NodeId, Role};

use super::cluster::{id, name, names};
use crate::policy::{
    Founder, Intent, Observed, Plan, Replication, Spread, Step, Wish, WishKind, WishRefused, admissible, plan,
};
use crate::roles::{Location, Roles};
use crate::roster::{Roster, RosterChange, RosterMember};
use crate::topology::AsAsked;

const INTENT: Intent<'static> = Intent {
    topology: &AsAsked,
    standbys: 2,
    spread: Spread::Zone,
};

/// A group whose membership follows at once, and whose learners have caught up when `ready` says so.
struct Group {
    leader: NodeId,
    roles: Roles,
    roster: Roster,
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    ready: BTreeSet<NodeId>,
    founders: u8,
    in_flight: bool,
}

impl Group {
    fn of(founders: u8) -> Self {
        let mut group = Self {
            leader: id(1),
            roles: Roles::default(),
            roster: Roster::default(),
            voters: (1..=founders).map(id).collect(),
            learners: BTreeSet::new(),
            ready: (1..=founders).map(id).collect(),
            founders,
            in_flight: false,
        };
        assert!(group.plan().is_empty(), "nothing is known of the members yet");
        let members = (1..=founders).map(|n| RosterMember {
            id: u64::from(n),
            name: String::new(),
            peer_urls: vec![url(n)],
            client_urls: Vec::new(),
            learner: false,
            node: Some(id(n)),
        });
        let members = members.collect();
        group.ask(RosterChange::Found { members });
        group.settle();
        group
    }

    fn ask(&mut self, change: RosterChange) {
        self.roster.apply(&change).unwrap();
    }

    fn add(&mut self, n: u8, learner: bool) {
        self.ask(RosterChange::Add {
            id: u64::from(n),
            peer_urls: vec![url(n)],
            learner,
            learners_max: 1,
        });
    }

    fn introduce(&mut self, n: u8) {
        let (id, node) = (u64::from(n), id(n));
        self.ask(RosterChange::Introduce { id, node });
    }

    fn observe(&self) -> Observed {
        let others = self.voters.union(&self.learners).filter(|node| **node != self.leader);
        let replication = others.map(|node| {
            let caught_up = self.ready.contains(node);
            let (reachable, lag) = (true, 0);
            (
                *node,
                Replication {
                    reachable,
                    caught_up,
                    lag,
                },
            )
        });
        let founders = (1..=self.founders).map(|n| {
            let (name, location) = (name(&id(n)), Location::default());
            (id(n), Founder { name, location })
        });
        Observed {
            leader: self.leader,
            chain_head: Digest::default(),
            roles: self.roles.clone(),
            membership: BTreeMap::new(),
            replication: replication.collect(),
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            membership_change_in_flight: self.in_flight,
            founders: founders.collect(),
            roster: Some(Arc::new(self.roster.clone())),
        }
    }

    fn plan(&self) -> Plan {
        plan(&self.observe(), &INTENT, 1_000)
    }

    /// Executes plans until one has nothing more to do than to wait.
    fn settle(&mut self) {
        for _ in 0..20 {
            let steps = self.plan().steps;
            if steps.iter().all(|step| matches!(step, Step::WaitCaughtUp { .. })) {
                return;
            }
            for step in steps {
                match step {
                    Step::Commit(transition) => self.roles.apply(&transition, 1_000).unwrap(),
                    Step::Note(note) => self.roles.apply_note(&note).unwrap(),
                    Step::SetMembership { voters, learners } => {
                        assert!(voters.contains(&self.leader), "the leader removes itself");
                        (self.voters, self.learners) = (voters, learners);
                    }
                    Step::TransferLeader { to } => self.leader = to,
                    Step::WaitCaughtUp { .. } => {}
                }
            }
        }
        panic!("it does not settle: {:?}", self.plan());
    }

    fn shape(&self) -> String {
        format!("{} / {}", names(&self.voters), names(&self.learners))
    }

    fn role(&self, n: u8) -> Option<Role> {
        let record = self.roles.get(&id(n)).filter(|record| record.is_member());
        record.map(|record| record.role)
    }
}

fn url(n: u8) -> String {
    format!("http://10.0.0.{n}:2380")
}

#[test]
fn even_numbers_stay_and_nothing_moves_by_itself() {
    for founders in 1..=5 {
        let mut group = Group::of(founders);
        assert_eq!(group.voters.len(), usize::from(founders));
        assert!((1..=founders).all(|n| group.role(n) == Some(Role::ControlPlane)));
        // A voter that is lost and has nothing is still a voter.
        group.ready.remove(&id(founders));
        assert!(group.plan().is_empty(), "{:?}", group.plan());
    }
}

#[test]
fn a_member_that_is_added_votes_once_it_has_caught_up() {
    let mut group = Group::of(1);
    group.add(2, false);
    assert!(group.plan().is_empty(), "nobody has started it: {:?}", group.plan());
    group.introduce(2);
    group.settle();
    assert_eq!(group.shape(), "n1 / n2");
    assert_eq!(group.role(2), Some(Role::Observer));
    group.ready.insert(id(2));
    group.settle();
    assert_eq!(
        (group.shape().as_str(), group.role(2)),
        ("n1 n2 / none", Some(Role::ControlPlane))
    );
    assert_eq!(group.roles.get(&id(2)).unwrap().moving, None);
}

#[test]
fn a_learner_votes_when_it_is_promoted() {
    let mut group = Group::of(2);
    group.add(3, true);
    group.introduce(3);
    group.ready.insert(id(3));
    group.settle();
    assert_eq!(group.shape(), "n1 n2 / n3");
    group.ask(RosterChange::Promote { id: 3 });
    group.settle();
    assert_eq!(group.shape(), "n1 n2 n3 / none");
}

#[test]
fn a_member_that_is_removed_is_evicted_the_leader_included() {
    let mut group = Group::of(3);
    group.ask(RosterChange::Remove { id: 3 });
    group.settle();
    assert_eq!((group.shape().as_str(), group.role(3)), ("n1 n2 / none", None));
    group.ask(RosterChange::Remove { id: 1 });
    group.settle();
    assert_eq!((group.shape().as_str(), group.leader), ("n2 / none", id(2)));
    assert_eq!((group.role(1), group.role(2)), (None, Some(Role::ControlPlane)));
    // A learner as well, and one that never introduced itself.
    group.add(4, true);
    group.introduce(4);
    group.add(5, false);
    group.settle();
    group.ask(RosterChange::Remove { id: 4 });
    group.ask(RosterChange::Remove { id: 5 });
    group.settle();
    assert_eq!((group.shape().as_str(), group.role(4)), ("n2 / none", None));
}

#[test]
fn while_the_membership_changes_no_other_change_is_planned() {
    let mut group = Group::of(2);
    group.add(3, false);
    group.introduce(3);
    group.in_flight = true;
    let plan = group.plan();
    assert!(
        plan.steps.iter().all(|step| matches!(step, Step::Commit(_))),
        "{plan:?}"
    );
    assert!(!plan.why.is_empty());
}

#[test]
fn an_operators_wish_is_refused() {
    let group = Group::of(3);
    let kind = WishKind::Demote;
    let wish = Wish { node: id(2), kind };
    assert_eq!(
        admissible(&wish, &group.observe(), &INTENT, 1_000),
        Err(WishRefused::RosterDecides)
    );
}
