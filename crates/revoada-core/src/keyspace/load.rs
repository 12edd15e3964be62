//! A state from entries that were kept somewhere else: files of a folder, a foreign store.
//!
//! A checkpoint is the whole state, history and leases included. Whoever keeps only the newest versions starts from
//! them here: the numbers of the entries stay, nothing older than the revision can be read, and nothing before it can
//! be watched.

use std::sync::Arc;

use super::{Entry, FIRST_REVISION, Keyspace, NO_LEASE, Revision};
use crate::limits::{KEY_BYTES_MAX, RESTORE_REVISION_MAX, VALUE_BYTES_MAX};

/// An entry that cannot be part of a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the entry {} cannot be loaded: {what}", key.escape_ascii())]
pub struct LoadRefused {
    /// The key.
    pub key: bytes::Bytes,
    /// What is wrong with it.
    pub what: &'static str,
}

impl Keyspace {
    /// A state at `revision`, or at the newest of the entries if that is above, without history and leases.
    ///
    /// # Errors
    /// An entry whose numbers contradict each other, that is there twice, too large, or attached to a lease.
    pub fn load(revision: Revision, entries: impl IntoIterator<Item = Entry>) -> Result<Self, LoadRefused> {
        let mut keyspace = Self {
            revision: revision.max(FIRST_REVISION),
            ..Self::new()
        };
        for Entry { key, version } in entries {
            let within = |revision| (FIRST_REVISION + 1..=RESTORE_REVISION_MAX).contains(&revision);
            let what = if key.is_empty() || key.len() > KEY_BYTES_MAX || version.value.len() > VALUE_BYTES_MAX {
                Some("its key or value is too long, or its key is empty")
            } else if version.lease != NO_LEASE {
                Some("it is attached to a lease")
            } else if !within(version.create_revision) || !within(version.mod_revision) || version.version == 0 {
                Some("its numbers are out of bounds")
            } else if version.create_revision > version.mod_revision {
                Some("it was changed before it was created")
            } else {
                None
            };
            if let Some(what) = what {
                return Err(LoadRefused { key, what });
            }
            keyspace.revision = keyspace.revision.max(version.mod_revision);
            keyspace.data_bytes += (key.len() + version.value.len()) as u64;
            if keyspace.current.insert(key.clone(), Arc::new(version)).is_some() {
                return Err(LoadRefused {
                    key,
                    what: "it is there twice",
                });
            }
        }
        keyspace.compacted = keyspace.revision;
        keyspace.history.cut(keyspace.revision + 1);
        Ok(keyspace)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::keyspace::{KeyRange, Op, Operation, RangeQuery, Txn, Version};

    fn entry(key: &'static str, create_revision: u64, mod_revision: u64) -> Entry {
        let version = Version {
            create_revision,
            mod_revision,
            version: 1,
            lease: NO_LEASE,
            value: Bytes::from_static(b"v"),
        };
        Entry {
            key: Bytes::from_static(key.as_bytes()),
            version,
        }
    }

    #[test]
    fn what_was_loaded_reads_as_it_was_and_goes_on_above_it() {
        let entries = vec![entry("a", 2, 4), entry("b", 3, 3)];
        let mut keyspace = Keyspace::load(3, entries.clone()).unwrap();
        assert_eq!(keyspace.revision(), 4);
        let all = keyspace.range(&RangeQuery::of(KeyRange::All)).unwrap();
        assert_eq!(all.entries, entries);
        assert!(keyspace.get_at(b"a", 3).is_err(), "what came before is not known");
        assert!(keyspace.events_after(3, 10).is_err(), "nor what happened before");
        assert!(keyspace.events_after(4, 10).unwrap().is_empty());

        let outcome = keyspace
            .apply(Operation::Txn(Txn::always(vec![Op::put("a", "w")])))
            .unwrap();
        assert_eq!(outcome.revision, 5);
        assert_eq!(keyspace.get(b"a").unwrap().version, 2);
        assert_eq!(keyspace.events_after(4, 10).unwrap().len(), 1);
    }

    #[test]
    fn entries_that_cannot_be_are_refused() {
        for entries in [
            vec![entry("a", 2, 2), entry("a", 2, 2)],
            vec![entry("", 2, 2)],
            vec![entry("a", 3, 2)],
            vec![entry("a", 0, 2)],
            vec![entry("a", 2, u64::MAX)],
        ] {
            assert!(Keyspace::load(1, entries.clone()).is_err(), "{entries:?}");
        }
    }
}
