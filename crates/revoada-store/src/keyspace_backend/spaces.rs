//! The keys of a snapshot that are no resources: those of etcd's clients, and the records beside them.
//!
//! ```text
//! part: { key u32+bytes | lease u64 | value u32+bytes }*
//! ```
//!
//! Numbers are little-endian. A key keeps its value and its lease, not its revisions: a restore gives it new ones, above
//! all that were ever handed out. What holds a key's lease comes back with it, with its whole time.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes};
use revoada_core::keyspace::{KeyRange, Keyspace as View, LeaseId, NO_LEASE, RangeQuery, RestoredLease};
use revoada_core::limits::SNAPSHOT_PART_BYTES;

use crate::error::StoreError;
use crate::limits::SCAN_ENTRIES_MAX;

/// The prefixes, as a section has them.
pub(super) fn encode(spaces: &[Bytes]) -> Result<Vec<u8>, StoreError> {
    cbor4ii::serde::to_vec(Vec::new(), &spaces)
        .map_err(|error| StoreError::unavailable_because("the snapshot cannot be written", error))
}

/// The prefixes of a section.
pub(super) fn decode(section: &[u8]) -> Result<Vec<Bytes>, StoreError> {
    cbor4ii::serde::from_slice(section)
        .map_err(|error| StoreError::invalid_because("the snapshot's list of prefixes cannot be read", error))
}

/// The leases of a section, with their whole time in milliseconds.
pub(super) fn decode_leases(section: &[u8]) -> Result<Vec<(LeaseId, u64)>, StoreError> {
    cbor4ii::serde::from_slice(section)
        .map_err(|error| StoreError::invalid_because("the snapshot's leases cannot be read", error))
}

/// The keys of a view under some prefixes, part by part.
pub(super) struct Parts<'a> {
    view: &'a View,
    spaces: Vec<Bytes>,
    after: Option<Bytes>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(view: &'a View, mut spaces: Vec<Bytes>) -> Self {
        spaces.sort_by(|a, b| b.cmp(a));
        Self {
            view,
            spaces,
            after: None,
        }
    }

    /// The next part; none when all keys were in one.
    pub(super) fn next_part(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        let mut part = Vec::new();
        while let Some(space) = self.spaces.last() {
            let query = RangeQuery {
                limit: SCAN_ENTRIES_MAX as u64,
                after: self.after.take(),
                ..RangeQuery::of(KeyRange::Prefix(space.clone()))
            };
            let read = self.view.range(&query).map_err(super::unreadable)?;
            for entry in &read.entries {
                put_sized(&mut part, &entry.key);
                part.put_u64_le(entry.version.lease);
                put_sized(&mut part, &entry.version.value);
            }
            if read.more {
                self.after = read.entries.last().map(|entry| entry.key.clone());
            } else {
                self.spaces.pop();
            }
            if part.len() >= SNAPSHOT_PART_BYTES {
                break;
            }
        }
        Ok((!part.is_empty()).then_some(part))
    }
}

fn put_sized(part: &mut Vec<u8>, bytes: &[u8]) {
    // Keys and values are bounded far below what 32 bits count.
    part.put_u32_le(bytes.len() as u32);
    part.put_slice(bytes);
}

/// Adds the keys of all parts to `entries`, and gives the leases that hold them.
pub(super) fn read_parts(
    parts: &[Bytes],
    granted: Vec<(LeaseId, u64)>,
    entries: &mut Vec<(Bytes, Bytes)>,
) -> Result<Vec<RestoredLease>, StoreError> {
    let mut attached: BTreeMap<LeaseId, Vec<Bytes>> = BTreeMap::new();
    for part in parts {
        let mut part = &part[..];
        while part.has_remaining() {
            let key = sized(&mut part)?;
            let lease = part.try_get_u64_le().map_err(cut)?;
            let value = sized(&mut part)?;
            if lease != NO_LEASE {
                attached.entry(lease).or_default().push(key.clone());
            }
            entries.push((key, value));
        }
    }
    let lease = |(id, ttl_ms): (LeaseId, u64)| RestoredLease {
        id,
        ttl_ms,
        keys: attached.remove(&id).unwrap_or_default(),
    };
    Ok(granted.into_iter().map(lease).collect())
}

fn sized(part: &mut &[u8]) -> Result<Bytes, StoreError> {
    let length = part.try_get_u32_le().map_err(cut)? as usize;
    if part.remaining() < length {
        return Err(StoreError::invalid("the snapshot's keys are cut short"));
    }
    Ok(part.copy_to_bytes(length))
}

fn cut(error: bytes::TryGetError) -> StoreError {
    StoreError::invalid_because("the snapshot's keys are cut short", error)
}
