//! A cluster without nodes: it executes steps at once, and shows the policy what a driver would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use revoada_attest::{Digest, NodeId, Role};

use crate::policy::{Founder, Intent, Observed, Plan, Replication, Seen, Spread, Step, Wish, WishKind, WishRefused};
use crate::policy::{admissible, admission, plan, survives, voters_declared};
use crate::roles::{Location, Membership, Roles};
use crate::topology::{Cluster3MNW, MeshAllPeers, Pair, PairWithWitness, Phalanx, Quorum3M, Solo, TopologyStrategy};

/// How long a new learner takes to catch up.
const CATCH_UP_MS: u64 = 50;

/// A shape of a test.
#[derive(Debug, Clone, Copy)]
pub(super) enum TestShape {
    /// As many, whatever the number of nodes.
    Fixed(usize),
    /// All of them, odd, at most 7, the others observers.
    AllOdd,
    /// Two fifths, rounded up to an odd number.
    Ratio,
    /// A user's own that asks for even numbers and for more than there are.
    Even,
    /// One of those that every declaration can use.
    BuiltIn(&'static dyn TopologyStrategy),
}

impl TestShape {
    /// A pair whose third node breaks the tie.
    pub(super) fn witnessed() -> Self {
        static WITNESSED: LazyLock<PairWithWitness> = LazyLock::new(|| Pair::with_witness("n3"));
        Self::BuiltIn(&*WITNESSED)
    }

    /// The built-in topologies, in the order of their names' list.
    pub(super) const BUILT_IN: [Self; 6] = [
        Self::BuiltIn(&Solo),
        Self::BuiltIn(&Pair),
        Self::BuiltIn(&Quorum3M),
        Self::BuiltIn(&Cluster3MNW),
        Self::BuiltIn(&MeshAllPeers),
        Self::BuiltIn(&Phalanx),
    ];
}

impl TopologyStrategy for TestShape {
    fn name(&self) -> &str {
        match self {
            Self::Fixed(1) => "fixed-1",
            Self::Fixed(3) => "fixed-3",
            Self::Fixed(_) => "fixed-n",
            Self::AllOdd => "all-odd",
            Self::Ratio => "ratio",
            Self::Even => "even",
            Self::BuiltIn(topology) => topology.name(),
        }
    }

    fn nodes_min(&self) -> usize {
        match self {
            Self::BuiltIn(topology) => topology.nodes_min(),
            Self::Fixed(_) | Self::AllOdd | Self::Ratio | Self::Even => 1,
        }
    }

    fn voters(&self, nodes: usize) -> usize {
        match self {
            Self::Fixed(voters) => (*voters).min(nodes),
            Self::AllOdd if nodes.is_multiple_of(2) => nodes.saturating_sub(1).clamp(1, 7),
            Self::AllOdd => nodes.min(7),
            Self::Ratio => {
                let masters = (2 * nodes).div_ceil(5);
                (masters + usize::from(masters.is_multiple_of(2))).min(nodes)
            }
            Self::Even => 4,
            Self::BuiltIn(topology) => topology.voters(nodes),
        }
    }

    fn others(&self, nodes: usize) -> Role {
        match self {
            Self::AllOdd => Role::Observer,
            Self::Fixed(_) | Self::Ratio | Self::Even => Role::Worker,
            Self::BuiltIn(topology) => topology.others(nodes),
        }
    }
}

/// A node as others see it.
#[derive(Debug, Clone)]
pub(super) struct TestNode {
    pub(super) membership: Membership,
    pub(super) since_ms: u64,
    pub(super) reachable: bool,
    pub(super) excused: bool,
    /// When it has caught up, once it replicates; none while it does not.
    pub(super) caught_up_at_ms: Option<u64>,
    pub(super) lag: u64,
    /// Whether its disk has less than its peers remember; they refuse it as long as it votes.
    pub(super) went_back: bool,
    /// Whether its process runs, heard of or not.
    pub(super) runs: bool,
}

#[derive(Debug, Clone)]
pub(super) struct TestCluster {
    pub(super) now_ms: u64,
    pub(super) shape: TestShape,
    pub(super) standbys: usize,
    pub(super) spread: Spread,
    pub(super) nodes: BTreeMap<NodeId, TestNode>,
    pub(super) founders: BTreeMap<NodeId, Founder>,
    pub(super) roles: Roles,
    pub(super) voters: BTreeSet<NodeId>,
    pub(super) learners: BTreeSet<NodeId>,
    pub(super) leader: NodeId,
    pub(super) blocks: u64,
    pub(super) in_flight: bool,
}

pub(super) fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

pub(super) fn name(node: &NodeId) -> String {
    format!("n{}", node.as_bytes()[0])
}

pub(super) fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(name).collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(" ")
    }
}

impl TestCluster {
    /// A cluster at its birth: a genesis of `count` nodes, all there, of which the first ones vote.
    pub(super) fn born(count: u8, shape: TestShape, standbys: usize, zones: &[&str]) -> Self {
        let first = voters_declared(&shape, usize::from(count));
        let now_ms = 1_000_000;
        let founder = |number: u8| {
            let zone = zones.get(usize::from(number) - 1).map(|zone| (*zone).to_owned());
            Founder {
                name: name(&id(number)),
                location: Location {
                    address: String::new(),
                    zone,
                    rack: None,
                },
            }
        };
        let founders: BTreeMap<NodeId, Founder> = (1..=count).map(|number| (id(number), founder(number))).collect();
        let mut cluster = Self {
            now_ms,
            shape,
            standbys,
            spread: if zones.is_empty() { Spread::None } else { Spread::Zone },
            nodes: BTreeMap::new(),
            voters: founders.keys().take(first).copied().collect(),
            founders,
            roles: Roles::default(),
            learners: BTreeSet::new(),
            leader: id(1),
            blocks: 0,
            in_flight: false,
        };
        for number in 1..=count {
            cluster.appear(id(number));
        }
        cluster
    }

    fn appear(&mut self, node: NodeId) {
        let replicates = self.voters.contains(&node) || self.learners.contains(&node);
        let caught_up_at_ms = replicates.then_some(self.now_ms + CATCH_UP_MS);
        let (membership, since_ms) = (Membership::Alive, self.now_ms);
        let seen = TestNode {
            membership,
            since_ms,
            reachable: true,
            excused: false,
            caught_up_at_ms,
            lag: 0,
            went_back: false,
            runs: true,
        };
        self.nodes.insert(node, seen);
    }

    pub(super) fn lose(&mut self, node: NodeId) {
        let now_ms = self.now_ms;
        if let Some(seen) = self.nodes.get_mut(&node) {
            (seen.membership, seen.since_ms, seen.reachable) = (Membership::Dead, now_ms, false);
            seen.runs = false;
        }
        if self.leader == node {
            self.elect();
        }
    }

    /// Its disk is emptied, and its process started again. Who does not vote may come back so.
    pub(super) fn go_back(&mut self, node: NodeId) {
        self.lose(node);
        if let Some(seen) = self.nodes.get_mut(&node) {
            seen.went_back = true;
        }
        self.bring_back(node, false);
    }

    /// Whether its peers refuse it now.
    pub(super) fn is_refused(&self, node: &NodeId) -> bool {
        let knocks = self.nodes.get(node).is_some_and(|seen| seen.went_back && seen.runs);
        knocks && self.voters.contains(node)
    }

    pub(super) fn bring_back(&mut self, node: NodeId, excused: bool) {
        if let Some(seen) = self.nodes.get_mut(&node) {
            seen.runs = true;
        }
        if self.is_refused(&node) {
            return;
        }
        self.appear(node);
        if let Some(seen) = self.nodes.get_mut(&node) {
            seen.excused = excused;
        }
        // Without a quorum a node that does not vote may have looked on; it leads no longer than that.
        if !self.is_up(&self.leader) || !self.voters.contains(&self.leader) {
            self.elect();
        }
    }

    /// The first voter that is there leads, if a quorum is there; else whoever is there looks on.
    pub(super) fn elect(&mut self) {
        let up = |node: &&NodeId| self.is_up(node);
        let heir = self.voters.iter().find(up).or_else(|| self.nodes.keys().find(up));
        self.leader = heir.copied().unwrap_or(self.leader);
    }

    pub(super) fn join(&mut self, node: NodeId) {
        self.appear(node);
        let admitted = admission(&self.observe(), &self.intent(), node, &name(&node), "a join token");
        self.roles
            .apply(&admitted, self.now_ms)
            .expect("a new key with a new name is admitted");
        self.blocks += 1;
    }

    pub(super) fn is_up(&self, node: &NodeId) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|seen| seen.membership != Membership::Dead || seen.reachable)
    }

    pub(super) fn is_lost(&self, node: &NodeId) -> bool {
        !self.is_up(node)
    }

    pub(super) fn survives(&self, voters: &BTreeSet<NodeId>) -> Option<usize> {
        survives(voters, |node| self.is_lost(node))
    }

    pub(super) fn intent(&self) -> Intent<'_> {
        Intent {
            topology: &self.shape,
            standbys: self.standbys,
            spread: self.spread,
        }
    }

    pub(super) fn observe(&self) -> Observed {
        let zone_of = |node: &NodeId| self.founders.get(node).map(|founder| founder.location.clone());
        let membership = self.nodes.iter().map(|(node, seen)| {
            let location = zone_of(node).filter(|location| location.zone.is_some());
            let log_went_back = self.is_refused(node);
            let TestNode {
                membership,
                since_ms,
                excused,
                ..
            } = *seen;
            (
                *node,
                Seen {
                    membership,
                    since_ms,
                    excused,
                    location,
                    log_went_back,
                },
            )
        });
        let replicating = self
            .nodes
            .iter()
            .filter(|(node, _)| **node != self.leader && (self.voters.contains(node) || self.learners.contains(node)));
        let replication = replicating.map(|(node, seen)| {
            let caught_up = seen.reachable && seen.caught_up_at_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
            (
                *node,
                Replication {
                    reachable: seen.reachable,
                    caught_up,
                    lag: seen.lag,
                },
            )
        });
        Observed {
            leader: self.leader,
            chain_head: self.head(),
            roles: self.roles.clone(),
            membership: membership.collect(),
            replication: replication.collect(),
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            membership_change_in_flight: self.in_flight,
            founders: self.founders.clone(),
            roster: None,
        }
    }

    pub(super) fn head(&self) -> Digest {
        let mut bytes = [0; Digest::BYTES];
        bytes[..8].copy_from_slice(&self.blocks.to_be_bytes());
        Digest::from_bytes(bytes)
    }

    /// Whether somebody is there who can commit.
    pub(super) fn has_leader(&self) -> bool {
        self.is_up(&self.leader) && self.survives(&self.voters).is_some()
    }

    /// What the leader plans; nothing where the whole cluster is down.
    pub(super) fn plan(&self) -> Plan {
        if self.is_lost(&self.leader) {
            return Plan {
                parent: self.head(),
                ..Plan::default()
            };
        }
        plan(&self.observe(), &self.intent(), self.now_ms)
    }

    /// Executes one step, and lets a little time pass.
    pub(super) fn execute(&mut self, step: &Step) {
        match step {
            Step::Commit(transition) => {
                self.roles
                    .apply(transition, self.now_ms)
                    .expect("the machine accepts what is planned");
                self.blocks += 1;
            }
            Step::Note(note) => self
                .roles
                .apply_note(note)
                .expect("the machine accepts what is planned"),
            Step::SetMembership { voters, learners } => {
                let caught_up_at_ms = self.now_ms + CATCH_UP_MS;
                for (node, seen) in &mut self.nodes {
                    let replicates = voters.contains(node) || learners.contains(node);
                    seen.caught_up_at_ms = replicates.then(|| seen.caught_up_at_ms.unwrap_or(caught_up_at_ms));
                }
                (self.voters, self.learners) = (voters.clone(), learners.clone());
                if !self.voters.contains(&self.leader) {
                    self.elect();
                }
                self.forget_positions();
            }
            Step::TransferLeader { to } => self.leader = *to,
            Step::WaitCaughtUp { .. } => self.now_ms += CATCH_UP_MS,
        }
        self.now_ms += 1;
    }

    /// Who votes no longer may come back with an empty log.
    fn forget_positions(&mut self) {
        let forgotten = self
            .nodes
            .iter()
            .filter(|(node, seen)| seen.went_back && seen.runs && !self.voters.contains(node));
        let forgotten: Vec<NodeId> = forgotten.map(|(node, _)| *node).collect();
        forgotten.into_iter().for_each(|node| self.bring_back(node, false));
    }

    pub(super) fn ask(&self, kind: WishKind, node: NodeId) -> Result<Vec<Step>, WishRefused> {
        admissible(&Wish { node, kind }, &self.observe(), &self.intent(), self.now_ms)
    }
}
