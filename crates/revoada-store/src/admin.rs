//! The port through which operators and faces see and steer the members of a cluster, and the JSON that they are
//! shown, field for field as the contract of the command line has it.
//!
//! The types are here and not in the binary, because three sides speak them: the node that answers, the face that
//! sends, the command that prints. Rejected: a JSON value built by hand at each of the three.

use std::net::SocketAddr;

use async_trait::async_trait;
use revoada_core::error::ErrorKind;
use revoada_core::roles::{Membership, NodeState};
use revoada_core::{Digest, NodeId, Role, TransitionKind};
use serde::{Deserialize, Serialize};

use crate::backend::Check;
use crate::error::Cause;

/// Whether the cluster can decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterState {
    /// The first quorum has not met yet.
    Forming,
    /// A quorum is there.
    Formed,
    /// It was formed, and no quorum can be had now.
    NoQuorum,
}

impl ClusterState {
    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Formed => "formed",
            Self::NoQuorum => "no-quorum",
        }
    }
}

/// How many losses the cluster can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Redundancy {
    /// How many voters the declared topology wants.
    pub voters_declared: u64,
    /// How many there are.
    pub voters: u64,
    /// How many of them are alive and have everything that is committed.
    pub voters_caught_up: u64,
    /// How many more losses of control-plane nodes leave a quorum.
    pub survives: u64,
}

/// `status -o json`, the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSummary {
    /// `FACE/STRATEGY/TOPOLOGY`.
    pub id: String,
    /// The declared name.
    pub name: String,
    /// The digest of the genesis: the cluster's identity.
    pub digest: Digest,
    /// Whether it can decide.
    pub state: ClusterState,
    /// The keyspace's revision, as the answering node has applied it.
    pub revision: u64,
    /// The Raft term.
    pub term: u64,
    /// The leader's name, where one is known.
    pub leader: Option<String>,
    /// How many losses it can take.
    pub redundancy: Redundancy,
}

/// `status -o json`, one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its key.
    pub id: NodeId,
    /// Its committed role.
    pub role: Role,
    /// Where it is on the way to its role.
    pub state: NodeState,
    /// What membership says of it.
    pub membership: Membership,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it votes in the committed Raft membership.
    pub voter: bool,
    /// Whether it replicates without a vote.
    pub learner: bool,
    /// The last log index that it is known to have applied.
    pub applied: u64,
    /// How many log entries it is behind the leader.
    pub lag: u64,
    /// Where other nodes reach it.
    pub address: SocketAddr,
    /// Its process, where that is on the answering machine.
    pub pid: Option<u32>,
    /// Its resident memory, where known.
    pub rss_bytes: Option<u64>,
    /// How long its process has run, where known.
    pub uptime_ms: Option<u64>,
    /// The version of its program.
    pub version: String,
}

/// `status -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster.
    pub cluster: ClusterSummary,
    /// Its nodes, by name.
    pub nodes: Vec<NodeStatus>,
}

/// `health -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether every check is ok.
    pub healthy: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Whether the cluster decides.
    pub cluster_running: bool,
    /// Whether the face answers.
    pub face_running: bool,
    /// The number of resources.
    pub resource_count: u64,
    /// The number of watches that are open on the answering node.
    pub subscriber_count: u64,
    /// How old the newest state is that a stale read here would see, in milliseconds.
    pub freshness_ms: u64,
}

/// One transition of `history -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryItem {
    /// The number of its block in the chain.
    pub index: u64,
    /// When the leader proposed it, by its clock, as RFC 3339.
    pub time: String,
    /// The name of the node that changed.
    pub node: String,
    /// Its key.
    pub id: NodeId,
    /// Which change.
    pub transition: TransitionKind,
    /// The role before; none for an admission.
    pub from: Option<Role>,
    /// The role after; none for an eviction.
    pub to: Option<Role>,
    /// Why.
    pub reason: String,
    /// The name of the leader that proposed it.
    pub proposed_by: String,
    /// The names of the voters that co-signed so far.
    pub witnesses: Vec<String>,
    /// The digest of its block.
    pub digest: Digest,
}

/// `history -o json`: oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// The transitions.
    pub items: Vec<HistoryItem>,
}

/// The head of the chain that one node vouches for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The node's name.
    pub node: String,
    /// Its key.
    pub id: NodeId,
    /// The number of its last block; none for an empty chain.
    pub index: Option<u64>,
    /// The digest of its last block; none for an empty chain.
    pub head: Option<Digest>,
}

/// What an operator wants of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wish {
    /// Make it a voter.
    Promote,
    /// Make it a worker.
    Demote,
    /// Take it out of the voters and keep it out.
    Drain,
    /// Keep it from any role change, and out of the voters.
    Quarantine,
    /// Let it be chosen again.
    Restore,
}

impl Wish {
    /// The name of the command.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
            Self::Drain => "drain",
            Self::Quarantine => "quarantine",
            Self::Restore => "restore",
        }
    }

    /// What a node is once it is granted, as a participle.
    pub const fn participle(self) -> &'static str {
        match self {
            Self::Promote => "promoted",
            Self::Demote => "demoted",
            Self::Drain => "drained",
            Self::Quarantine => "quarantined",
            Self::Restore => "restored",
        }
    }
}

/// The answer to a wish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WishGranted {
    /// The node's name.
    pub node: String,
    /// The number of the transition's block in the chain; none if the node was that already.
    pub index: Option<u64>,
    /// Whether the change is done, and not only committed.
    pub done: bool,
    /// That it was so without this wish, in words; nothing was committed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub already: Option<String>,
    /// What keeps the declared shape away though the change is done and was waited for; time alone does not end it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub why: Vec<String>,
}

/// What an admin verb can answer instead of its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// No node has this name or key.
    #[error("no node is called {node}")]
    UnknownNode {
        /// What was given.
        node: String,
    },
    /// It would break the shape or the quorum, or the node cannot take that role now. Nothing was changed.
    #[error("{node} cannot be {wanted}: {why}")]
    Refused {
        /// The node's name.
        node: String,
        /// What was wanted of it, as a participle: `promoted` ([`Wish::participle`]), `recovered`.
        wanted: &'static str,
        /// Why not.
        why: String,
    },
    /// The input is wrong.
    #[error("{what}")]
    Invalid {
        /// What, and where.
        what: String,
        /// What found it, if another component did.
        #[source]
        source: Option<Cause>,
    },
    /// This node cannot do it, now or later.
    #[error("{what}")]
    Unsupported {
        /// What, and why not here.
        what: String,
    },
    /// The caller may not do it.
    #[error("{what}")]
    Denied {
        /// What was refused.
        what: String,
    },
    /// It cannot be done now; nothing was changed.
    #[error("{what}")]
    Unavailable {
        /// What is missing.
        what: String,
        /// What failed, if another component did.
        #[source]
        source: Option<Cause>,
    },
    /// It was sent and no answer came.
    #[error("the outcome is unknown: {what}")]
    OutcomeUnknown {
        /// What was sent.
        what: String,
        /// What failed, if another component did.
        #[source]
        source: Option<Cause>,
    },
}

impl AdminError {
    /// Which condition it is, for callers that branch.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownNode { .. } => ErrorKind::NotFound,
            Self::Refused { .. } => ErrorKind::Conflict,
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Denied { .. } => ErrorKind::Denied,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
        }
    }
}

/// The members of a cluster, their roles, and the chain that records them.
///
/// Reads answer from the node that is asked, also without a quorum. A `node` argument is a name or a key in hex.
#[async_trait]
pub trait ClusterAdmin: Send + Sync {
    /// What the cluster looks like from here. Never needs a quorum.
    async fn status(&self) -> Result<ClusterStatus, AdminError>;

    /// How it is.
    async fn health(&self) -> Result<HealthReport, AdminError>;

    /// Every transition, oldest first, as this node has applied them.
    async fn history(&self) -> Result<History, AdminError>;

    /// The chain, in the format that the offline verifier reads.
    async fn chain_export(&self) -> Result<Vec<u8>, AdminError>;

    /// The heads that the nodes vouch for, by name.
    async fn chain_heads(&self) -> Result<Vec<ChainHead>, AdminError>;

    /// The keys that a verifier should be given, as the text that it reads.
    async fn trust(&self) -> Result<String, AdminError>;

    /// Asks for a change of a node's role. Returns when it is committed; with `wait` when it is done and the declared
    /// shape is back, or cannot be. A wish that is fulfilled already is granted, and nothing is committed for it.
    /// Dropping the future after it was sent leaves the outcome unknown.
    async fn role_wish(&self, node: &str, wish: Wish, wait: bool) -> Result<WishGranted, AdminError>;

    /// Records that an operator ended the node's current loss, which then does not count as flapping.
    async fn excuse(&self, node: &str) -> Result<(), AdminError>;

    /// Makes this node the only voter, without a quorum: the one, explicit, recorded way back after a majority is
    /// lost for good. What only the lost nodes had is gone. `Refused` while a quorum is there.
    /// `reason` goes into the chain.
    async fn recover(&self, reason: &str) -> Result<(), AdminError>;

    /// The declaration in force, as JSON.
    async fn declaration(&self) -> Result<serde_json::Value, AdminError>;

    /// Stops this node gracefully. Returns when it is about to stop.
    async fn shutdown(&self) -> Result<(), AdminError>;
}
