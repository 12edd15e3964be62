//! The types that openraft is configured with. No other module outside `consensus` names one of them.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use revoada_attest::NodeId;
use revoada_core::machine::Reply;
use serde::{Deserialize, Serialize};

use super::seats::Seat;
use crate::runtime::{Runtime, Tokio};

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
    /// Which disk of it counts.
    pub seat: Seat,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What openraft is configured with, on the runtime `R`.
///
/// One leader for each term (Raft §5.2), so that a block's term names its proposer.
pub struct Types<R = Tokio>(PhantomData<fn() -> R>);

// By hand, because a derived one would ask the same of `R`.
impl<R> fmt::Debug for Types<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Types")
    }
}

impl<R> Clone for Types<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Types<R> {}

impl<R> Default for Types<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<R> PartialEq for Types<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for Types<R> {}

impl<R> PartialOrd for Types<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Types<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

impl<R: Runtime> RaftTypeConfig for Types<R> {
    type D = Batch;
    type R = Replies;
    type NodeId = NodeId;
    type Node = Member;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = R;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

type LeaderId = openraft::impls::leader_id_std::LeaderId<u64, NodeId>;
type Committed = <LeaderId as RaftLeaderId>::Committed;
type Payload = openraft::EntryPayload<Batch, NodeId, Member>;

pub type Entry = openraft::impls::Entry<Committed, Payload>;
pub type LogId = openraft::LogId<Committed>;
pub type Vote = openraft::impls::Vote<LeaderId>;
pub type Membership = openraft::Membership<NodeId, Member>;
pub type StoredMembership = openraft::StoredMembership<Committed, NodeId, Member>;
pub type SnapshotMeta = openraft::storage::SnapshotMeta<Committed, NodeId, Member>;
pub type Snapshot = openraft::storage::Snapshot<Committed, NodeId, Member, super::checkpoint::CheckpointFile>;
pub type AppendEntriesRequest<R> = openraft::raft::AppendEntriesRequest<Types<R>>;
pub type StreamAppendResult<R> = openraft::raft::StreamAppendResult<Types<R>>;
pub type RpcError<R> = openraft::errors::RPCError<Types<R>>;
pub type Raft<R> = openraft::Raft<Types<R>, super::machine::Machine<R>>;
