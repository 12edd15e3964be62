//! What is committed about one node.

use revoada_attest::planted::{Bug, is_planted};
use revoada_attest::{NodeId, Role};
use serde::{Deserialize, Serialize};

use super::NodeState;
use crate::limits::{FLAPPING_LOSSES, ROLE_CHANGE_INTERVAL_MS};

/// Where a node can be reached, and where it stands, as it says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// The mesh address, `IP:PORT`; empty while it is not known.
    pub address: String,
    /// The zone it stands in, for placement.
    pub zone: Option<String>,
    /// The rack it stands in, for placement.
    pub rack: Option<String>,
}

/// Who put a node into quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuarantinedBy {
    /// The policy, because it was lost too often; it releases the node as well.
    Flapping,
    /// An operator, who alone releases it.
    Operator,
}

/// A node's quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// When it was committed, in milliseconds since 1970 on the proposer's clock.
    pub since_ms: u64,
    /// By whom.
    pub by: QuarantinedBy,
    /// Since when the node has been alive without a break, counted from the quarantine; none while it is lost.
    pub alive_since_ms: Option<u64>,
    /// The loss that made it flapping. None for an operator's quarantine, and once that loss was excused: then there
    /// is no reason left to hold the node.
    pub loss_ms: Option<u64>,
}

/// A committed role change that the Raft membership still has to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moving {
    /// It is to become a voter.
    Promoting,
    /// It is to stop being one.
    Demoting,
}

/// What is committed about one node. All times are milliseconds since 1970 on the clock of the leader that proposed
/// the change, taken from the block or the note, never read here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its key.
    pub id: NodeId,
    /// Its name, unique among the nodes that are not evicted.
    pub name: String,
    /// Its role; the last one it had, once it is evicted.
    pub role: Role,
    /// Where it can be reached and where it stands.
    pub location: Location,
    /// When it was admitted.
    pub admitted_at_ms: u64,
    /// When its role last changed; none while it has the role of its admission, which damping does not count.
    pub changed_at_ms: Option<u64>,
    /// The role change that the Raft membership still has to follow.
    pub moving: Option<Moving>,
    /// The newest losses that count, oldest first; at most [`FLAPPING_LOSSES`].
    pub losses_ms: Vec<u64>,
    /// The newest loss, whether it counts or not.
    pub last_loss_ms: Option<u64>,
    /// Since when it has been lost; none while it is there.
    pub lost_since_ms: Option<u64>,
    /// Its quarantine.
    pub quarantined: Option<Quarantine>,
    /// Whether an operator wants it out of the voters until it is restored.
    pub drained: bool,
    /// The role that an operator asked for: one that it does not have yet, or one without a vote that it is to keep.
    /// The node's next role change clears it.
    pub wish: Option<Role>,
    /// Whether an operator asked for the role that it has: it is not moved for a better spread.
    #[serde(default)]
    pub asked: bool,
    /// When it was evicted.
    pub evicted_at_ms: Option<u64>,
}

impl NodeRecord {
    /// Where it is on the way to its role. The strongest standing wins: evicted, quarantined, draining, moving.
    pub fn state(&self) -> NodeState {
        if self.evicted_at_ms.is_some() {
            NodeState::Evicted
        } else if self.quarantined.is_some() {
            NodeState::Quarantined
        } else if self.drained {
            NodeState::Draining
        } else {
            match self.moving {
                Some(Moving::Promoting) => NodeState::Promoting,
                Some(Moving::Demoting) => NodeState::Demoting,
                None => NodeState::Active,
            }
        }
    }

    /// Whether it belongs to the cluster, that is, was not evicted.
    pub fn is_member(&self) -> bool {
        self.evicted_at_ms.is_none()
    }

    /// Whether its role is that of a voter. The Raft membership follows, it does not lead.
    pub fn is_voter(&self) -> bool {
        self.is_member() && matches!(self.role, Role::ControlPlane | Role::Bootstrap)
    }

    /// Whether it may be chosen as a voter or a standby: a member, neither quarantined nor drained.
    pub fn is_fit(&self) -> bool {
        self.is_member() && self.quarantined.is_none() && !self.drained
    }

    /// Whether its role changed less than [`ROLE_CHANGE_INTERVAL_MS`] before `now_ms`, or after it: of two leaders'
    /// clocks either may be wrong, and one that was hours ahead must not hold a node for hours.
    pub fn is_damped(&self, now_ms: u64) -> bool {
        self.changed_at_ms
            .is_some_and(|changed_ms| now_ms.abs_diff(changed_ms) < ROLE_CHANGE_INTERVAL_MS)
            && !is_planted(Bug::SkipsDamping)
    }

    /// Whether it was lost [`FLAPPING_LOSSES`] times within one [`FLAPPING_WINDOW_MS`], and not restored since. It
    /// needs no clock: each loss that is recorded forgets those that are too old to count together with it.
    ///
    /// [`FLAPPING_WINDOW_MS`]: crate::limits::FLAPPING_WINDOW_MS
    pub fn is_flapping(&self) -> bool {
        self.losses_ms.len() >= FLAPPING_LOSSES
    }
}
