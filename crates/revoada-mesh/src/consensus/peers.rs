//! Where the other nodes are, and the links to them.
//!
//! An address is what membership last heard, or what the configuration gave at start; it is never taken from Raft's log,
//! because it changes when a machine does. Links are kept by lane, so that a heartbeat never waits behind a batch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use revoada_attest::NodeId;

use crate::disk_id::Shown;
use crate::membership::Facts;
use crate::runtime::{Runtime, Tokio};
use crate::transport::link::Link;
use crate::transport::{ConnectError, Protocol, Transport};

/// Where each known node listens, and which of them said last that it leads.
#[derive(Debug, Default)]
pub struct AddressBook {
    addresses: RwLock<BTreeMap<NodeId, SocketAddr>>,
    /// With the term in which it leads.
    leader: RwLock<Option<(u64, NodeId)>>,
}

impl AddressBook {
    /// Remembers that `node` listens on `address`; the newest word counts. Says whether that was new.
    pub fn learn(&self, node: NodeId, address: SocketAddr) -> bool {
        self.addresses.write().insert(node, address) != Some(address)
    }

    /// Where `node` listens, if anybody ever said so.
    pub fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.addresses.read().get(node).copied()
    }

    /// Everything known.
    pub fn all(&self) -> BTreeMap<NodeId, SocketAddr> {
        self.addresses.read().clone()
    }

    /// Remembers what `node` tells of itself: that it leads, if nobody has said so of a later term.
    pub fn told_that_it_leads(&self, node: NodeId, facts: &Facts) {
        let mut leader = self.leader.write();
        if facts.leads && leader.is_none_or(|(term, _)| facts.term >= term) {
            *leader = Some((facts.term, node));
        }
    }

    /// Who said last that it leads, for a node that no log comes to and that no leader speaks with.
    pub fn leader_by_gossip(&self) -> Option<NodeId> {
        self.leader.read().map(|(_, node)| node)
    }
}

/// Which of a node's links to another a message takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Entries of the log.
    Replication,
    /// Heartbeats, votes, and what else must not wait behind entries.
    Urgent,
    /// Checkpoints.
    Snapshot,
    /// Forwarded requests.
    Forward,
}

impl Lane {
    const fn protocol(self) -> Protocol {
        match self {
            Self::Replication | Self::Urgent | Self::Snapshot => Protocol::Raft,
            Self::Forward => Protocol::Forward,
        }
    }
}

/// Why there is no link to a node.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody has said where it listens.
    #[error("the address of {} is not known yet", .0.short())]
    NoAddress(NodeId),
    /// Others are connecting to it, and that takes long.
    #[error("{} does not answer those that are connecting already", .0.short())]
    Busy(NodeId),
    /// It does not answer, or refuses, or is refused.
    #[error("no connection")]
    Connect(#[from] Box<ConnectError>),
}

type Slot<R> = Arc<tokio::sync::Mutex<Option<Link<R>>>>;
type Slots<R> = BTreeMap<(NodeId, Lane), Slot<R>>;

/// The links of one node to all others.
pub struct Peers<R: Runtime = Tokio> {
    transport: Arc<Transport<R>>,
    book: Arc<AddressBook>,
    slots: Arc<parking_lot::Mutex<Slots<R>>>,
    shown: Arc<RwLock<BTreeMap<NodeId, Shown>>>,
}

impl<R: Runtime> Clone for Peers<R> {
    fn clone(&self) -> Self {
        Self {
            transport: self.transport.clone(),
            book: self.book.clone(),
            slots: self.slots.clone(),
            shown: self.shown.clone(),
        }
    }
}

impl<R: Runtime> Peers<R> {
    /// Links made by `transport` to the addresses in `book`, each when it is first needed.
    pub fn new(transport: Arc<Transport<R>>, book: Arc<AddressBook>) -> Self {
        Self {
            transport,
            book,
            slots: Arc::default(),
            shown: Arc::default(),
        }
    }

    /// The addresses.
    pub fn book(&self) -> &Arc<AddressBook> {
        &self.book
    }

    /// The transport.
    pub fn transport(&self) -> &Arc<Transport<R>> {
        &self.transport
    }

    /// The open link to `target` in `lane`, or a new one made within `limit`. Cancel-safe.
    pub async fn link(&self, target: NodeId, lane: Lane, limit: Duration) -> Result<Link<R>, LinkError> {
        let slot = self.slots.lock().entry((target, lane)).or_default().clone();
        // Somebody else's connecting is waited for within this caller's own limit.
        let mut slot = R::timeout(limit, slot.lock())
            .await
            .map_err(|_| LinkError::Busy(target))?;
        if let Some(link) = slot.as_ref().filter(|link| link.is_open()) {
            return Ok(link.clone());
        }
        let address = self.book.address(&target).ok_or(LinkError::NoAddress(target))?;
        let connection = self
            .transport
            .connect(address, Some(target), lane.protocol(), limit)
            .await
            .map_err(Box::new)?;
        let link = Link::start(connection);
        self.shown.write().insert(target, link.shown());
        *slot = Some(link.clone());
        Ok(link)
    }

    /// The disk that `node` showed when it was connected to last.
    pub fn shown(&self, node: &NodeId) -> Option<Shown> {
        self.shown.read().get(node).copied()
    }

    /// How many calls wait for an answer on the link that has the most of them; one that is being made has none.
    pub fn calls_most(&self) -> usize {
        let slots: Vec<_> = self.slots.lock().values().cloned().collect();
        let links = slots
            .iter()
            .filter_map(|slot| slot.try_lock().ok()?.as_ref().map(Link::waiting));
        links.max().unwrap_or_default()
    }

    /// Closes the link in `lane`, because it no longer answers; the next use makes a new one.
    pub async fn close(&self, target: NodeId, lane: Lane) {
        let slot = self.slots.lock().get(&(target, lane)).cloned();
        if let Some(slot) = slot {
            slot.lock().await.take();
        }
    }
}
