//! What a cluster should do next to have the shape it was declared with.
//!
//! [`plan`] is a function: what the leader sees goes in, the steps that are left come out, and the same sight gives
//! the same steps. It keeps no memory between two calls. Whatever has to outlive a call (a loss, a wish, a drain, the
//! half of an exchange) is in the committed [`Roles`], so a new leader that plans from them continues where the old
//! one stopped, and never turns round: what was promoted stays chosen, what was demoted stays demoted.
//!
//! The roles lead and the Raft membership follows. A replacement is two blocks of the chain (promote, demote) and
//! then *one* joint change of the membership, so the number of losses survived never lies below the lesser of where
//! it starts and where it is to end: a joint configuration survives what both of its halves survive.
//!
//! Rejected: a plan that is kept, and compared with the world as it is executed. Two states of mind would have to be
//! reconciled after every change of leader; planning again from what is committed is cheaper than remembering.

mod draft;
mod follow;
mod shape;
mod wish;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use revoada_attest::{Digest, NodeId, Transition};

pub use shape::voters_declared;
pub use wish::{Wish, WishKind, WishRefused, admissible, admission};

use crate::declaration::Placement;
use crate::roles::{Location, Membership, RoleNote, Roles};
use crate::roster::Roster;
use crate::topology::TopologyStrategy;

/// What the leader sees. All of it is data: the driver gathers it, nothing here looks anything up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// The node that observes and would act.
    pub leader: NodeId,
    /// The digest of the chain's newest block; the parent of what the plan commits.
    pub chain_head: Digest,
    /// The committed roles.
    pub roles: Roles,
    /// What membership says. A node that is absent counts as neither alive nor dead, so a driver that has waited for
    /// one in vain for as long as its detector takes says so, as [`Membership::Dead`]. The leader's own entry is
    /// passed over: it is alive.
    pub membership: BTreeMap<NodeId, Seen>,
    /// The leader's own replication, for every voter and learner but itself.
    pub replication: BTreeMap<NodeId, Replication>,
    /// The voters of the committed Raft membership; of a joint one, those of its newer half.
    pub voters: BTreeSet<NodeId>,
    /// The learners of the committed Raft membership.
    pub learners: BTreeSet<NodeId>,
    /// Whether a change of the Raft membership is under way. Until it ends, only facts are planned.
    pub membership_change_in_flight: bool,
    /// The nodes of the genesis, seen or not.
    pub founders: BTreeMap<NodeId, Founder>,
    /// Who was asked for by name, where that and no topology decides who votes.
    pub roster: Option<Arc<Roster>>,
}

/// What membership says of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Alive, suspect or dead.
    pub membership: Membership,
    /// Since when, on the clock that [`plan`] is given as `now_ms`.
    pub since_ms: u64,
    /// Whether the node says that an operator started it (start, resume, up): its loss then does not count.
    pub excused: bool,
    /// Where it says that it is, if it has said so.
    pub location: Option<Location>,
    /// Whether it is there and its peers refuse it, as a voter whose log went back: its disk was emptied or restored.
    /// It then counts as [`Membership::Dead`], and unlike a node that is merely dead it cannot come back as the voter
    /// that it was. False for a node that does not vote, and for one that nobody hears of.
    pub log_went_back: bool,
}

/// The leader's replication to one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replication {
    /// Whether it succeeds. This is the second detector: a node is lost when it fails *and* membership says dead.
    pub reachable: bool,
    /// Whether the node has all but what is on its way.
    pub caught_up: bool,
    /// How many entries it lacks.
    pub lag: u64,
}

/// A node of the genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founder {
    /// Its name.
    pub name: String,
    /// Where it is, as the genesis says.
    pub location: Location,
}

/// What is declared, as far as roles go.
#[derive(Debug, Clone, Copy)]
pub struct Intent<'a> {
    /// The shape.
    pub topology: &'a dyn TopologyStrategy,
    /// How many workers replicate as learners, so that a promotion needs no catch-up.
    pub standbys: usize,
    /// Over what voters and standbys are spread, among those that are otherwise as good.
    pub spread: Spread,
}

/// Over what voters are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Spread {
    /// Over nothing.
    None,
    /// Over zones.
    Zone,
    /// Over zones, and within one over racks.
    Rack,
}

impl From<Placement> for Spread {
    fn from(placement: Placement) -> Self {
        match placement {
            Placement::ZoneAware => Self::Zone,
            Placement::RackAware => Self::Rack,
            Placement::LatencyAware | Placement::Spread | Placement::None => Self::None,
        }
    }
}

/// One thing to do. Each is safe to do twice, and a plan made after any of them continues with the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Commit a transition: one block of the chain.
    Commit(Transition),
    /// Commit a fact that is not a transition.
    Note(RoleNote),
    /// One change of the Raft membership to exactly these; joint where the voters differ, so that no voter is removed
    /// before its successor counts. A node in `learners` that is not one yet is added as a learner, without waiting
    /// for it; one in neither set is removed.
    SetMembership {
        /// The voters after it.
        voters: BTreeSet<NodeId>,
        /// The learners after it.
        learners: BTreeSet<NodeId>,
    },
    /// Hand leadership over; the new leader plans the rest.
    TransferLeader {
        /// To this voter.
        to: NodeId,
    },
    /// Nothing further can be done before this learner has caught up. The driver does not block: it plans again at
    /// the next tick or event, for the learner may be lost on the way.
    WaitCaughtUp {
        /// The learner.
        node: NodeId,
    },
}

/// The steps that are left, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The head of the chain that it was made from. What it commits is refused on any other.
    pub parent: Digest,
    /// What to do. Empty: the shape is as it was declared, or nothing can be done about it.
    pub steps: Vec<Step>,
    /// What stands in the way, in sentences for people; empty when nothing does.
    pub why: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Plans the steps from what is observed to what is declared.
///
/// Pure and deterministic. `now_ms` is the leader's clock in milliseconds since 1970; a clock that went back
/// delays what damping holds by a minute at most, and what a quarantine holds until it has caught up. The driver executes the steps in order and plans again after each effect;
/// executing all of them first comes to the same.
///
/// Without a quorum of voters that are not lost, the plan is empty: nothing could be committed.
pub fn plan(observed: &Observed, intent: &Intent<'_>, now_ms: u64) -> Plan {
    match &observed.roster {
        Some(roster) => follow::follow(observed, roster, now_ms),
        None => draft::Draft::new(observed, intent, now_ms).finish(),
    }
}

/// How many more losses of voters leave a quorum, given the voters and which of them are lost: the `survives` of
/// status and metrics. None when there is no quorum now.
pub fn survives(voters: &BTreeSet<NodeId>, lost: impl Fn(&NodeId) -> bool) -> Option<usize> {
    let there = voters.iter().filter(|voter| !lost(voter)).count();
    let quorum = voters.len() / 2 + 1;
    there.checked_sub(quorum)
}
