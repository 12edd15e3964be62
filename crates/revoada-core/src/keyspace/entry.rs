//! What the keyspace holds and how a part of it is named: versions, entries, ranges of keys.

use std::ops::Bound;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The number of a state of the keyspace. An empty keyspace is at 1, and every transaction that changes something
/// adds exactly 1, however many keys it changes.
pub type Revision = u64;

/// The name of a lease; chosen by whoever grants it, never 0.
pub type LeaseId = u64;

/// The `lease` of an entry that is attached to none.
pub const NO_LEASE: LeaseId = 0;

/// One version of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The revision in which the key came to exist; a key that is deleted and put again gets a new one.
    #[serde(rename = "c")]
    pub create_revision: Revision,
    /// The revision that wrote this version.
    #[serde(rename = "m")]
    pub mod_revision: Revision,
    /// How many times the key was put since it exists: 1 for the first.
    #[serde(rename = "n")]
    pub version: u64,
    /// The lease it is attached to, [`NO_LEASE`] for none.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub lease: LeaseId,
    /// What was put.
    #[serde(rename = "v")]
    pub value: Bytes,
}

/// A key with one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The key.
    #[serde(rename = "k")]
    pub key: Bytes,
    /// Its version at the revision of the read.
    #[serde(rename = "e")]
    pub version: Version,
}

/// A set of keys that lie side by side. How a foreign protocol spells it (etcd's `range_end`) is its face's matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyRange {
    /// Exactly this key.
    #[serde(rename = "o")]
    One(Bytes),
    /// Every key that begins with these bytes; no bytes mean every key.
    #[serde(rename = "p")]
    Prefix(Bytes),
    /// From `start` (inclusive) to `end` (exclusive); empty when `end` is not above `start`.
    #[serde(rename = "s")]
    Span {
        /// The first key.
        start: Bytes,
        /// The key behind the last.
        end: Bytes,
    },
    /// Every key from this one (inclusive) on.
    #[serde(rename = "f")]
    From(Bytes),
    /// Every key.
    #[default]
    #[serde(rename = "a")]
    All,
}

impl KeyRange {
    /// Whether the key is in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Span { start, end } => start <= key && key < end.as_ref(),
            Self::From(start) => start <= key,
            Self::All => true,
        }
    }

    /// The first key that there can be in it, and the first that is behind all of it; none where it has no end. It is
    /// empty when the second is not above the first.
    pub fn ends(&self) -> (Bytes, Option<Bytes>) {
        match self {
            Self::One(one) => (one.clone(), Some([one, &[0][..]].concat().into())),
            Self::Prefix(prefix) => (prefix.clone(), after_prefix(prefix)),
            Self::Span { start, end } => (start.clone(), Some(end.clone())),
            Self::From(start) => (start.clone(), None),
            Self::All => (Bytes::new(), None),
        }
    }

    /// The range as bounds for an ordered map, cut to what lies behind `after`; `None` when nothing can be in it.
    ///
    /// A map's `range` may panic on bounds that cross, which is why an empty range is told apart here.
    pub(super) fn bounds(&self, after: Option<&Bytes>) -> Option<Bounds> {
        let (mut start, end) = match self {
            Self::One(one) => (Bound::Included(one.clone()), Bound::Included(one.clone())),
            Self::Prefix(prefix) => (
                Bound::Included(prefix.clone()),
                after_prefix(prefix).map_or(Bound::Unbounded, Bound::Excluded),
            ),
            Self::Span { start, end } => (Bound::Included(start.clone()), Bound::Excluded(end.clone())),
            Self::From(start) => (Bound::Included(start.clone()), Bound::Unbounded),
            Self::All => (Bound::Unbounded, Bound::Unbounded),
        };
        if let Some(after) = after {
            let moves = match &start {
                Bound::Included(start) | Bound::Excluded(start) => start <= after,
                Bound::Unbounded => true,
            };
            if moves {
                start = Bound::Excluded(after.clone());
            }
        }
        let empty = match (&start, &end) {
            (Bound::Included(start), Bound::Included(end)) => start > end,
            (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
                start >= end
            }
            _ => false,
        };
        (!empty).then_some(Bounds { start, end })
    }
}

/// Bounds that do not cross.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    pub(super) start: Bound<Bytes>,
    pub(super) end: Bound<Bytes>,
}

impl Bounds {
    /// As the standard range type over borrowed keys.
    pub(super) fn borrowed(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (
            self.start.as_ref().map(Bytes::as_ref),
            self.end.as_ref().map(Bytes::as_ref),
        )
    }
}

/// The first key that is above every key with the prefix; `None` when there is none (no bytes, or only `0xff`).
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

/// For compact encodings: a zero is left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
pub(super) fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_only_high_bytes_has_no_end() {
        assert_eq!(after_prefix(b"\xff\xff"), None);
        assert_eq!(after_prefix(b""), None);
        assert_eq!(after_prefix(b"a\xff"), Some(Bytes::from_static(b"b")));
    }

    #[test]
    fn bounds_that_cross_are_no_range() {
        let span = KeyRange::Span {
            start: Bytes::from_static(b"b"),
            end: Bytes::from_static(b"a"),
        };
        assert!(span.bounds(None).is_none());
        let one = KeyRange::One(Bytes::from_static(b"b"));
        assert!(one.bounds(None).is_some());
        assert!(one.bounds(Some(&Bytes::from_static(b"b"))).is_none());
        assert!(one.bounds(Some(&Bytes::from_static(b"a"))).is_some());
    }
}
