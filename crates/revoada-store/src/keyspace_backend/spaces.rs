//! The keys of a snapshot that are no resources: those of etcd's clients, and the records beside them.
//!
//! ```text
//! part: { key u32+bytes | lease u64 | value u32+bytes }*
//! ```
//!
//! Numbers are little-endian. A key keeps its value and its lease, not its revisions: a restore gives it new ones, above
//! all that were ever handed out. What holds a key's lease comes back with it, with its whole time.
//!
//! Only a snapshot that a new cluster begins with has numbers beside its keys, in parts of their own:
//!
//! ```text
//! numbers: { create revision u64 | modify revision u64 | version u64 }*
//! ```

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes};
use revoada_core::keyspace::{
    Entry, EntryNumbers, KeyRange, Keyspace as View, LeaseId, NO_LEASE, RangeQuery, RestoredLease,
};
use revoada_core::limits::{KEY_BYTES_MAX, LEASE_TTL_MS_MAX, LEASES_MAX, SNAPSHOT_PART_BYTES, VALUE_BYTES_MAX};

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

/// Leases, as a section has them.
pub(super) fn encode_leases(leases: &[(LeaseId, u64)]) -> Result<Vec<u8>, StoreError> {
    cbor4ii::serde::to_vec(Vec::new(), &leases)
        .map_err(|error| StoreError::unavailable_because("the snapshot cannot be written", error))
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

/// Adds an entry to a part, and to the part of its numbers.
pub(super) fn put_entry(part: &mut Vec<u8>, numbers: &mut Vec<u8>, entry: &Entry) {
    put_sized(part, &entry.key);
    part.put_u64_le(entry.version.lease);
    put_sized(part, &entry.version.value);
    numbers.put_u64_le(entry.version.create_revision);
    numbers.put_u64_le(entry.version.mod_revision);
    numbers.put_u64_le(entry.version.version);
}

/// The numbers of all parts of them.
pub(super) fn read_numbers(parts: &[Bytes]) -> Result<Vec<EntryNumbers>, StoreError> {
    let mut numbers = Vec::new();
    for part in parts {
        let mut part = &part[..];
        while part.has_remaining() {
            numbers.push(EntryNumbers {
                create_revision: part.try_get_u64_le().map_err(cut)?,
                mod_revision: part.try_get_u64_le().map_err(cut)?,
                version: part.try_get_u64_le().map_err(cut)?,
            });
        }
    }
    Ok(numbers)
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

/// What was seen of the keys of a snapshot that is only looked at, in the order of its sections.
#[derive(Default)]
pub(super) struct CheckedKeys {
    spaces: Vec<Bytes>,
    leases: BTreeSet<LeaseId>,
    last: Bytes,
    count: usize,
}

impl CheckedKeys {
    /// How many keys there were.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn check_spaces(&mut self, section: &[u8]) -> Result<(), StoreError> {
        self.spaces = decode(section)?;
        Ok(())
    }

    pub(super) fn check_leases(&mut self, section: &[u8]) -> Result<(), StoreError> {
        for (id, ttl_ms) in decode_leases(section)? {
            if id == NO_LEASE || ttl_ms == 0 || ttl_ms > LEASE_TTL_MS_MAX {
                return Err(StoreError::invalid(format_args!(
                    "the snapshot's lease {id} lives for {ttl_ms} ms, which none can"
                )));
            }
            self.leases.insert(id);
        }
        if self.leases.len() > LEASES_MAX {
            return Err(StoreError::invalid(format_args!(
                "the snapshot holds {} leases; {LEASES_MAX} is the most",
                self.leases.len()
            )));
        }
        Ok(())
    }

    pub(super) fn check_part(&mut self, part: &Bytes) -> Result<(), StoreError> {
        let mut part = &part[..];
        while part.has_remaining() {
            let key = sized(&mut part)?;
            let lease = part.try_get_u64_le().map_err(cut)?;
            let value = sized(&mut part)?;
            let what = if key.is_empty() || key.len() > KEY_BYTES_MAX || value.len() > VALUE_BYTES_MAX {
                "with a key or value that none can have"
            } else if self.count > 0 && key <= self.last {
                "out of order"
            } else if !self.spaces.iter().any(|space| key.starts_with(space)) {
                "outside the prefixes that it names"
            } else if lease != NO_LEASE && !self.leases.contains(&lease) {
                "with a lease that it does not hold"
            } else {
                self.count += 1;
                self.last = key;
                continue;
            };
            let key = key.slice(..key.len().min(64));
            return Err(StoreError::invalid(format_args!(
                "the snapshot holds the key {} {what}",
                key.escape_ascii()
            )));
        }
        Ok(())
    }
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
