//! What is asked of the keyspace, and what it answers.
//!
//! An operation travels in the log of the cluster, so it holds everything that its outcome depends on (times
//! included), and its encoding (CBOR by serde) is short: one-letter names, defaults left out, bytes as byte strings.
//! Positional arrays would be shorter by some ten bytes and were rejected: a field that a newer build adds could then
//! not be told from damage.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, KeyRange, LeaseId, NO_LEASE, Revision, Version, is_zero};

/// One change of the keyspace: atomic, and a function of the state and of nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Compare, then change.
    #[serde(rename = "t")]
    Txn(Txn),
    /// Forget the history before a revision; takes no revision.
    #[serde(rename = "c")]
    Compact {
        /// The oldest revision that stays readable.
        #[serde(rename = "r")]
        revision: Revision,
    },
    /// Grant a lease; takes no revision.
    #[serde(rename = "lg")]
    LeaseGrant {
        /// Its name; not [`NO_LEASE`], and not in use.
        #[serde(rename = "i")]
        id: LeaseId,
        /// How long it lives without being kept alive, in milliseconds.
        #[serde(rename = "t")]
        ttl_ms: u64,
        /// The proposer's time, in milliseconds since the Unix epoch.
        #[serde(rename = "w")]
        now_ms: u64,
    },
    /// End a lease and delete the keys attached to it, in one revision (in none if it has no keys).
    #[serde(rename = "lr")]
    LeaseRevoke {
        /// Its name.
        #[serde(rename = "i")]
        id: LeaseId,
    },
    /// Let a lease live for its whole time again; takes no revision.
    #[serde(rename = "lk")]
    LeaseKeepAlive {
        /// Its name.
        #[serde(rename = "i")]
        id: LeaseId,
        /// The proposer's time, in milliseconds since the Unix epoch.
        #[serde(rename = "w")]
        now_ms: u64,
    },
    /// End those of these leases that exist and whose time is over, and delete their keys, all in one revision.
    /// A lease that was kept alive in the meantime lives on: that is why the times are compared here, not before.
    #[serde(rename = "le")]
    LeaseExpire {
        /// Their names.
        #[serde(rename = "i")]
        ids: Vec<LeaseId>,
        /// The proposer's time, in milliseconds since the Unix epoch.
        #[serde(rename = "w")]
        now_ms: u64,
    },
    /// Replace all keys under a prefix, and cut the history.
    #[serde(rename = "r")]
    Restore(Restore),
}

/// Compare, then do one of two lists. All compares, those of nested transactions too, see the state before the
/// outermost transaction (etcd: `compareToPath`); all operations see what the operations before them did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Txn {
    /// All must hold for `then`; none means that `then` is done.
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    pub compares: Vec<Compare>,
    /// Done if all compares hold.
    #[serde(rename = "t", default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Op>,
    /// Done otherwise.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<Op>,
}

impl Txn {
    /// A transaction that does these operations whatever the state.
    pub fn always(then: Vec<Op>) -> Self {
        Self {
            compares: Vec::new(),
            then,
            otherwise: Vec::new(),
        }
    }
}

/// One condition. It holds if it holds for every key of the range. A range without a key counts as one key whose
/// numbers are all 0, and never meets a condition on the value (etcd: `applyCompare`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compare {
    /// The keys it speaks of.
    #[serde(rename = "k")]
    pub range: KeyRange,
    /// What of them is compared, and with what.
    #[serde(rename = "t")]
    pub target: CompareTarget,
    /// How what is there must stand to what is given.
    #[serde(rename = "r", default, skip_serializing_if = "Relation::is_equal")]
    pub relation: Relation,
}

/// What is compared, and with what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CompareTarget {
    /// The create revision.
    #[serde(rename = "c")]
    Create(Revision),
    /// The modify revision.
    #[serde(rename = "m")]
    Mod(Revision),
    /// The number of the version.
    #[serde(rename = "n")]
    VersionNumber(u64),
    /// The lease.
    #[serde(rename = "l")]
    Lease(LeaseId),
    /// The value, byte by byte.
    #[serde(rename = "v")]
    Value(Bytes),
    /// Whether at least one key of the range exists (false is less than true).
    #[serde(rename = "x")]
    Exists(bool),
}

/// How what is there must stand to what is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Relation {
    /// The same.
    #[default]
    #[serde(rename = "e")]
    Equal,
    /// Not the same.
    #[serde(rename = "n")]
    NotEqual,
    /// What is there is greater.
    #[serde(rename = "g")]
    Greater,
    /// What is there is less.
    #[serde(rename = "l")]
    Less,
}

impl Relation {
    fn is_equal(&self) -> bool {
        *self == Self::Equal
    }

    /// Whether `actual` stands to `expected` as this says.
    pub(super) fn holds<T: Ord + ?Sized>(self, actual: &T, expected: &T) -> bool {
        match self {
            Self::Equal => actual == expected,
            Self::NotEqual => actual != expected,
            Self::Greater => actual > expected,
            Self::Less => actual < expected,
        }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Write one key.
    #[serde(rename = "p")]
    Put {
        /// The key; not empty.
        #[serde(rename = "k")]
        key: Bytes,
        /// The new value; empty with `keep_value`.
        #[serde(rename = "v", default, skip_serializing_if = "Bytes::is_empty")]
        value: Bytes,
        /// The lease it is to be attached to, [`NO_LEASE`] for none; 0 with `keep_lease`.
        #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
        lease: LeaseId,
        /// Keep the value that is there; the key must exist.
        #[serde(rename = "kv", default, skip_serializing_if = "is_false")]
        keep_value: bool,
        /// Keep the lease that is there; the key must exist.
        #[serde(rename = "kl", default, skip_serializing_if = "is_false")]
        keep_lease: bool,
        /// If above 0, and the key exists with this lease, and the first so many bytes of its value and of the new
        /// one are the same (both are that long; `u32::MAX`: the whole values are the same), nothing is written and
        /// the answer is [`OpResult::Unchanged`]. A value that begins with a digest of its content is so
        /// "unchanged by content" at the price of comparing the digest.
        #[serde(rename = "s", default, skip_serializing_if = "is_zero_u32")]
        same_prefix_bytes: u32,
        /// Answer with the version that was there before.
        #[serde(rename = "pv", default, skip_serializing_if = "is_false")]
        previous: bool,
    },
    /// Delete every key of a range. A range without a key changes nothing and takes no revision.
    #[serde(rename = "d")]
    Delete {
        /// The keys.
        #[serde(rename = "k")]
        range: KeyRange,
        /// Answer with the entries that were there before.
        #[serde(rename = "pv", default, skip_serializing_if = "is_false")]
        previous: bool,
    },
    /// Read; sees what the operations before it did, unless it names a revision.
    #[serde(rename = "r")]
    Range(RangeQuery),
    /// A nested transaction.
    #[serde(rename = "t")]
    Txn(Box<Txn>),
}

impl Op {
    /// A plain put: no lease, no condition, no previous version in the answer.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put {
            key: key.into(),
            value: value.into(),
            lease: NO_LEASE,
            keep_value: false,
            keep_lease: false,
            same_prefix_bytes: 0,
            previous: false,
        }
    }

    /// A plain delete: no previous entries in the answer.
    pub fn delete(range: KeyRange) -> Self {
        Self::Delete { range, previous: false }
    }
}

/// What to read. The default reads everything that there is, now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RangeQuery {
    /// The keys.
    #[serde(rename = "k")]
    pub range: KeyRange,
    /// The state to read, `None` for the newest.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// At most so many entries, 0 for no limit.
    #[serde(rename = "l", default, skip_serializing_if = "is_zero")]
    pub limit: u64,
    /// Only keys behind this one: how a list continues, with the first page's revision.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Bytes>,
    /// Leave the values out.
    #[serde(rename = "ko", default, skip_serializing_if = "is_false")]
    pub keys_only: bool,
    /// Only count; the filters by revision do not apply to a count (as in etcd).
    #[serde(rename = "co", default, skip_serializing_if = "is_false")]
    pub count_only: bool,
    /// Leave out entries modified before this revision, 0 for no filter.
    #[serde(rename = "m0", default, skip_serializing_if = "is_zero")]
    pub min_mod_revision: Revision,
    /// Leave out entries modified after this revision, 0 for no filter.
    #[serde(rename = "m1", default, skip_serializing_if = "is_zero")]
    pub max_mod_revision: Revision,
    /// Leave out entries created before this revision, 0 for no filter.
    #[serde(rename = "c0", default, skip_serializing_if = "is_zero")]
    pub min_create_revision: Revision,
    /// Leave out entries created after this revision, 0 for no filter.
    #[serde(rename = "c1", default, skip_serializing_if = "is_zero")]
    pub max_create_revision: Revision,
}

impl RangeQuery {
    /// Everything in the range, at the newest revision.
    pub fn of(range: KeyRange) -> Self {
        Self {
            range,
            ..Self::default()
        }
    }

    /// Whether an entry with this version passes the filters by revision.
    pub(super) fn passes(&self, version: &Version) -> bool {
        let within = |revision, min, max| revision >= min && (max == 0 || revision <= max);
        within(version.mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(
                version.create_revision,
                self.min_create_revision,
                self.max_create_revision,
            )
    }
}

/// All keys under `prefix` and `also` are replaced by `entries`, as new keys. The revision becomes
/// `max(current, revision) + 1`, and nothing before it can be read or watched any more, so that every watch ends in
/// a reset instead of seeing a revision go back (etcd#16028).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The keys that are replaced; entries must begin with it.
    #[serde(rename = "p")]
    pub prefix: Bytes,
    /// Further prefixes of keys that are replaced, with which entries may begin.
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Bytes>,
    /// The revision of what is restored: the new one is above it.
    #[serde(rename = "r")]
    pub revision: Revision,
    /// Keys and values, in any order, each key once.
    #[serde(rename = "e")]
    pub entries: Vec<(Bytes, Bytes)>,
    /// The numbers that the entries keep, in their order; where there are none each gets new ones. They can be kept only
    /// where nothing was ever written, and the keyspace is at `revision` then.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<EntryNumbers>,
    /// Leases of entries. One that is not there is granted with its whole time; one may be named more than once.
    #[serde(rename = "l", default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<RestoredLease>,
    /// The proposer's clock, in milliseconds since the Unix epoch: leases live on from there.
    #[serde(rename = "n", default, skip_serializing_if = "is_zero")]
    pub now_ms: u64,
}

impl Restore {
    /// Whether a key is one of those that are replaced.
    pub fn replaces(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix) || self.also.iter().any(|prefix| key.starts_with(prefix))
    }
}

/// What a version says of itself beside its value and its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryNumbers {
    /// The revision that created the key.
    #[serde(rename = "c")]
    pub create_revision: Revision,
    /// The revision that wrote it.
    #[serde(rename = "m")]
    pub mod_revision: Revision,
    /// How often it was written since it was created, 1 for the first.
    #[serde(rename = "n")]
    pub version: u64,
}

/// A lease that comes back with its keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredLease {
    /// Its name.
    #[serde(rename = "i")]
    pub id: LeaseId,
    /// Its whole time, in milliseconds.
    #[serde(rename = "t")]
    pub ttl_ms: u64,
    /// Keys that are attached to it: those of entries.
    #[serde(rename = "k")]
    pub keys: Vec<Bytes>,
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The revision of the keyspace after it.
    #[serde(rename = "r")]
    pub revision: Revision,
    /// Whether it took a revision, which means: changed a key.
    #[serde(rename = "w", default, skip_serializing_if = "is_false")]
    pub changed: bool,
    /// The answer, of the operation's own kind.
    #[serde(rename = "a")]
    pub answer: Answer,
}

/// The answer to an [`Operation`], one variant for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Operation::Txn`].
    #[serde(rename = "t")]
    Txn(TxnAnswer),
    /// To [`Operation::Compact`].
    #[serde(rename = "c")]
    Compacted {
        /// How many events were dropped.
        events: u64,
    },
    /// To [`Operation::LeaseGrant`] and [`Operation::LeaseKeepAlive`].
    #[serde(rename = "l")]
    Lease {
        /// Its name.
        id: LeaseId,
        /// Its whole time, in milliseconds.
        ttl_ms: u64,
        /// When it ends, unless it is kept alive, in milliseconds since the Unix epoch.
        expires_at_ms: u64,
    },
    /// To [`Operation::LeaseRevoke`] and [`Operation::LeaseExpire`].
    #[serde(rename = "x")]
    LeasesEnded {
        /// The leases that ended, ascending.
        ids: Vec<LeaseId>,
        /// How many keys were deleted with them.
        deleted: u64,
    },
    /// To [`Operation::Restore`].
    #[serde(rename = "r")]
    Restored {
        /// How many keys were there before under the prefix.
        deleted: u64,
        /// How many are there now.
        entries: u64,
    },
}

/// The answer to a transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnAnswer {
    /// Whether the compares held, and `then` was done.
    #[serde(rename = "s")]
    pub succeeded: bool,
    /// One result for each operation of the list that was done, in its order.
    #[serde(rename = "o")]
    pub results: Vec<OpResult>,
}

/// The result of one [`Op`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum OpResult {
    /// The key was written.
    #[serde(rename = "p")]
    Put {
        /// What was there before, if it was asked for.
        #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
        previous: Option<Version>,
        /// Whether the key did not exist before.
        #[serde(rename = "c", default, skip_serializing_if = "is_false")]
        created: bool,
    },
    /// The put found what it wanted to write, and wrote nothing.
    #[serde(rename = "u")]
    Unchanged {
        /// The revision that wrote what is there.
        #[serde(rename = "m")]
        mod_revision: Revision,
    },
    /// The keys were deleted.
    #[serde(rename = "d")]
    Deleted {
        /// How many.
        #[serde(rename = "n")]
        count: u64,
        /// What was there before, in key order, if it was asked for.
        #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
        previous: Vec<Entry>,
    },
    /// What was read.
    #[serde(rename = "r")]
    Range(RangeAnswer),
    /// The answer of the nested transaction.
    #[serde(rename = "t")]
    Txn(TxnAnswer),
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeAnswer {
    /// The newest revision of the keyspace at the time of the read, also when an older one was read. Inside a
    /// transaction that has changed something it is already the transaction's own.
    #[serde(rename = "r")]
    pub revision: Revision,
    /// In key order.
    #[serde(rename = "e")]
    pub entries: Vec<Entry>,
    /// Whether the limit left something out.
    #[serde(rename = "m", default, skip_serializing_if = "is_false")]
    pub more: bool,
    /// How many keys lie in the range behind `after`, whatever the limit and the filters by revision leave out (as
    /// in etcd).
    #[serde(rename = "n")]
    pub count: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes the field by reference")]
fn is_zero_u32(number: &u32) -> bool {
    *number == 0
}
