//! Leases: keys that live as long as somebody says so.
//!
//! Times come with the operations, from the proposer's clock, and are compared only with each other. They are not
//! forced to grow: a clock that once ran far ahead would otherwise hold every later lease hostage, whereas so a clock
//! that is set back lets leases live longer by that much, once. A new leader that cannot know when its predecessor
//! last heard of a lease keeps all of them alive once before it expires any.

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use super::entry::{LeaseId, NO_LEASE};

/// A lease, as it is told about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its name.
    pub id: LeaseId,
    /// Its whole time, in milliseconds.
    pub ttl_ms: u64,
    /// When it ends, unless it is kept alive, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
    /// How many keys are attached.
    pub keys: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) ttl_ms: u64,
    pub(super) expires_at_ms: u64,
    pub(super) keys: OrdSet<Bytes>,
}

/// All leases, by name and by the time at which they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leases {
    by_id: OrdMap<LeaseId, Lease>,
    by_end: OrdSet<(u64, LeaseId)>,
}

impl Leases {
    pub(super) fn new() -> Self {
        Self {
            by_id: OrdMap::new(),
            by_end: OrdSet::new(),
        }
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LeaseId, &Lease)> {
        self.by_id.iter().map(|(id, lease)| (*id, lease))
    }

    /// Adds a lease, which must not be there yet.
    pub(super) fn insert(&mut self, id: LeaseId, ttl_ms: u64, expires_at_ms: u64) {
        self.by_end.insert((expires_at_ms, id));
        self.by_id.insert(
            id,
            Lease {
                ttl_ms,
                expires_at_ms,
                keys: OrdSet::new(),
            },
        );
    }

    /// Gives a lease its whole time again, from `now_ms` on.
    pub(super) fn renew(&mut self, id: LeaseId, now_ms: u64) -> Option<&Lease> {
        let lease = self.by_id.get_mut(&id)?;
        self.by_end.remove(&(lease.expires_at_ms, id));
        lease.expires_at_ms = now_ms.saturating_add(lease.ttl_ms);
        self.by_end.insert((lease.expires_at_ms, id));
        Some(lease)
    }

    pub(super) fn remove(&mut self, id: LeaseId) -> Option<Lease> {
        let lease = self.by_id.remove(&id)?;
        self.by_end.remove(&(lease.expires_at_ms, id));
        Some(lease)
    }

    /// The leases that are over at `now_ms`, those that ended first in front.
    pub(super) fn over(&self, now_ms: u64) -> impl Iterator<Item = LeaseId> {
        self.by_end
            .iter()
            .take_while(move |(end, _)| *end <= now_ms)
            .map(|(_, id)| *id)
    }

    /// Attaches a key, unless to [`NO_LEASE`]; a lease that is not there has no keys to keep.
    pub(super) fn attach(&mut self, id: LeaseId, key: Bytes) {
        if id == NO_LEASE {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.insert(key);
        }
    }

    /// Takes a key off, if the lease is there.
    pub(super) fn detach(&mut self, id: LeaseId, key: &Bytes) {
        if id == NO_LEASE {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }
}

impl Lease {
    pub(super) fn info(&self, id: LeaseId) -> LeaseInfo {
        LeaseInfo {
            id,
            ttl_ms: self.ttl_ms,
            expires_at_ms: self.expires_at_ms,
            keys: self.keys.len(),
        }
    }
}
