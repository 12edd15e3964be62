//! The first thing two nodes say to each other, before anything else is believed.
//!
//! TLS has proved which key each side holds. The hello says which cluster each believes it is in and how far its log has
//! come, and either side may refuse, with a reason that names what does not fit. A refusal during TLS was rejected as a
//! design because it can only say "bad certificate".

use std::net::SocketAddr;

use revoada_attest::{Digest, NodeId};
use revoada_core::limits;
use serde::{Deserialize, Serialize};

use crate::disk_id::{DiskId, Shown};

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The digest of its genesis: which cluster it is of.
    pub cluster: Digest,
    /// Its name in the cluster.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Where it listens, as others reach it.
    pub address: SocketAddr,
    /// Whether its log holds anything: a node that was never formed says false.
    pub formed: bool,
    /// The term of its durable vote; 0 before the first.
    pub term: u64,
    /// The index of the last entry of its durable log; 0 when there is none.
    pub last_index: u64,
    /// Its disk.
    pub shown: Shown,
    /// The first disk of the other side that this node ever saw, if it is a founder, and this is durable here.
    pub your_first_disk: Option<DiskId>,
}

/// Why a node was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalKind {
    /// It is of another cluster.
    OtherCluster,
    /// Its key is not one of the cluster's.
    UnknownKey,
    /// It is the node itself, or shares its key.
    SameKey,
    /// It is a voter whose log went back.
    LogWentBack,
    /// It is a voter, and shows another disk than the one that votes.
    OtherDisk,
    /// Another node than the one that was called answered.
    OtherNode,
    /// It was removed from the cluster for good.
    Evicted,
    /// Too many connections of it are open.
    TooMany,
}

/// A refusal, said to the other side and then logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// Which rule was broken.
    pub kind: RefusalKind,
    /// In words, naming both sides.
    pub reason: String,
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Answer {
    Welcome(Hello),
    Refused { by: String, refusal: Refusal },
}

/// Decides who may be here. Asked on every connection, in both directions, by the side that hears a hello; and again of
/// those that stand, whenever that may have changed.
pub trait Gate: Send + Sync + 'static {
    /// What this node says of itself now to the holder of `to`'s key.
    fn hello(&self, to: &NodeId) -> Hello;

    /// Whether the holder of `peer`'s key, who said `hello`, may speak with this node.
    fn admit(&self, peer: &NodeId, hello: &Hello) -> Result<(), Refusal>;

    /// Whether the holder of `peer`'s key, who was admitted once, may stay. Its hello is of no use for this: what it said
    /// of its log is long past.
    fn keeps(&self, peer: &NodeId) -> Result<(), Refusal>;
}

pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    cbor4ii::serde::to_vec(Vec::new(), value).expect("a hello has no map with unencodable keys and memory never fails")
}

pub(super) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    if bytes.len() > limits::HELLO_BYTES_MAX {
        return None;
    }
    cbor4ii::serde::from_slice(bytes).ok()
}
