//! The types that openraft is configured with. No other module outside `consensus` names one of them.

use std::fmt;

use bytes::Bytes;
use revoada_attest::NodeId;
use revoada_core::machine::Reply;
use serde::{Deserialize, Serialize};

/// Several commands as one log entry, already encoded: what waited while an append was in flight.
///
/// It stays bytes from the proposer to the log, the wire and the follower's log, and is decoded once, when applied.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch(pub Bytes);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of commands", self.0.len())
    }
}

/// The answers to the commands of one batch, in their order.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Replies(pub Vec<Reply>);

impl fmt::Display for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} replies", self.0.len())
    }
}

/// What Raft's membership remembers of a node besides its id. Addresses are membership's matter and change; they are not
/// here, so that every founder proposes the same first entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The node's name, for people.
    pub name: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

openraft::declare_raft_types!(
    /// One leader for each term (Raft §5.2), so that a block's term names its proposer.
    pub Types:
        D = Batch,
        R = Replies,
        NodeId = NodeId,
        Node = Member,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>,
);

pub type Entry = openraft::alias::EntryOf<Types>;
pub type LogId = openraft::alias::LogIdOf<Types>;
pub type Vote = openraft::alias::VoteOf<Types>;
pub type StoredMembership = openraft::alias::StoredMembershipOf<Types>;
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<Types>;
pub type Snapshot = openraft::alias::SnapshotOf<Types, super::checkpoint::CheckpointFile>;
pub type AppendEntriesRequest = openraft::raft::AppendEntriesRequest<Types>;
pub type StreamAppendResult = openraft::raft::StreamAppendResult<Types>;
pub type RpcError = openraft::errors::RPCError<Types>;
pub type Raft = openraft::Raft<Types, super::machine::Machine>;
