//! A snapshot of etcd's: its database, with the SHA-256 of it behind, as `etcdctl snapshot save` writes it.
//!
//! Source: etcd, `server/storage/schema/bucket.go` (the names of the buckets), `server/storage/mvcc/revision.go` (the
//! keys of the bucket `key`), `server/storage/mvcc/kvstore.go`, `restore` (what becomes of them), and
//! `etcdutl/snapshot/v3_snapshot.go` (the digest behind).
//!
//! The bucket `key` has each version that was not compacted under its revision, in the order of revisions. One walk over it
//! finds the newest version of every key, and where its value is; values are read when they are written elsewhere, so
//! that a large file does not have to fit into memory, but its keys do.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use bytes::Bytes;
use prost::Message as _;
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::{Entry, LeaseId, Revision, Version, space};
use revoada_core::snapshot::Inspection;
use revoada_etcd_api::{leasepb, mvccpb};
use revoada_store::{StoreError, write_first_snapshot};
use sha2::{Digest as _, Sha256};

use super::bolt::{Bolt, BoltError, Pair};

/// The digest behind the database.
const DIGEST_BYTES: u64 = 32;
/// A database is a multiple of this long, so that a rest of [`DIGEST_BYTES`] tells that there is a digest.
const SECTOR_BYTES: u64 = 512;
/// A revision as a key: main, `_`, sub.
const REVISION_BYTES: usize = 17;
/// Behind the revision of a deletion.
const TOMBSTONE: &[u8] = b"t";
/// How much is read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Why a file is no snapshot of etcd's that can be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The database.
    #[error(transparent)]
    Bolt(#[from] BoltError),
    /// It could not be read.
    #[error("reading the snapshot failed at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no digest behind it: it is cut short, or a copy of a database.
    #[error("the snapshot has no digest at its end: it is cut short, or a copy of member/snap/db")]
    NoDigest,
    /// At least one bit differs.
    #[error("the snapshot is damaged: its digest is {actual}, and {expected} was written")]
    Damaged {
        /// The digest at its end.
        expected: String,
        /// The digest of what is there.
        actual: String,
    },
    /// It is a bbolt database, and not etcd's.
    #[error("the database has no bucket of keys: it is not etcd's")]
    NotEtcd,
    /// A record that etcd does not write.
    #[error("the database holds a record that etcd does not write, at byte {at}: {what}")]
    Record {
        /// What is wrong with it.
        what: String,
        /// Where.
        at: u64,
    },
    /// What was read could not be written elsewhere.
    #[error("what the snapshot holds cannot be written")]
    Unwritten(#[from] StoreError),
}

impl FileError {
    /// What kind of condition it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Read { .. } | Self::Bolt(BoltError::Read { .. }) => ErrorKind::Unavailable,
            Self::Unwritten(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }
}

/// What a snapshot holds, before anything is done with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// etcd's revision.
    pub revision: Revision,
    /// How many keys there are.
    pub keys: u64,
    /// The bytes of keys and values, about: what etcd stores with each is in it.
    pub bytes: u64,
    /// How many leases.
    pub leases: u64,
    /// The names of users.
    pub users: Vec<String>,
    /// The names of roles.
    pub roles: Vec<String>,
    /// Whether who calls has to be one of them.
    pub auth_enabled: bool,
}

/// The newest version of a key, and where in the file it is.
#[derive(Debug, Clone, Copy)]
struct Held {
    at: u64,
    bytes: u32,
}

/// A snapshot that was walked over once.
#[derive(Debug)]
pub struct SnapshotFile {
    file: File,
    length: u64,
    keys: BTreeMap<Bytes, Held>,
    leases: Vec<(LeaseId, u64)>,
    summary: Summary,
}

impl SnapshotFile {
    /// Reads a snapshot's digest and all that it holds but the values; `progress` is told how many bytes were read, of how
    /// many. `check_digest` is false for a copy of a database, which has none. Blocks.
    ///
    /// # Errors
    /// Every variant of [`FileError`] but the last.
    pub fn open(file: File, check_digest: bool, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, FileError> {
        let failed = |source| FileError::Read { at: 0, source };
        let whole = file.metadata().map_err(failed)?.len();
        let has_digest = whole % SECTOR_BYTES == DIGEST_BYTES;
        let length = if has_digest { whole - DIGEST_BYTES } else { whole };
        if check_digest {
            if !has_digest {
                // What is no database at all is said first.
                drop(Bolt::open(&file, length)?);
                return Err(FileError::NoDigest);
            }
            check(&file, length, progress)?;
        }
        let bolt = Bolt::open(&file, length)?;
        let (keys, bytes, revision) = newest(&bolt)?;
        let leases = leases(&bolt)?;
        let names = |bucket: &[u8]| -> Result<Vec<String>, FileError> {
            let mut names = Vec::new();
            if let Some(bucket) = bolt.bucket(bucket)? {
                bolt.for_each::<FileError>(&bucket, &mut |pair| {
                    names.push(String::from_utf8_lossy(pair.key).into_owned());
                    Ok(())
                })?;
            }
            Ok(names)
        };
        let mut auth_enabled = false;
        if let Some(auth) = bolt.bucket(b"auth")? {
            bolt.for_each::<FileError>(&auth, &mut |pair| {
                auth_enabled |= pair.key == b"authEnabled" && pair.value == [1];
                Ok(())
            })?;
        }
        let summary = Summary {
            revision,
            keys: keys.len() as u64,
            bytes,
            leases: leases.len() as u64,
            users: names(b"authUsers")?,
            roles: names(b"authRoles")?,
            auth_enabled,
        };
        Ok(Self {
            file,
            length,
            keys,
            leases,
            summary,
        })
    }

    /// What it holds.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes what it holds as a snapshot that a new cluster of ours begins with: every key with its revisions and its
    /// version, at etcd's revision and `bump` above it. `progress` is told how many keys were written. Blocks.
    ///
    /// # Errors
    /// The file cannot be read any more, holds something that does not fit, or `sink` fails.
    pub fn write(
        &self,
        bump: u64,
        sink: &mut (dyn Write + Send),
        progress: &mut dyn FnMut(u64),
    ) -> Result<Inspection, FileError> {
        let bolt = Bolt::open(&self.file, self.length)?;
        let revision = self.summary.revision.saturating_add(bump);
        let created_by = format!("revoada {}, from a snapshot of etcd's", env!("CARGO_PKG_VERSION"));
        let mut written = 0;
        let entries = self.keys.iter().map(|(key, held)| {
            let value = bolt.value(held.at, held.bytes as usize)?;
            let kv = decoded(&value, held.at)?;
            written += 1;
            progress(written);
            let mut stored = Vec::with_capacity(space::ETCD.len() + key.len());
            stored.extend_from_slice(space::ETCD);
            stored.extend_from_slice(key);
            Ok(Entry {
                key: stored.into(),
                version: Version {
                    create_revision: kv.create_revision as u64,
                    mod_revision: kv.mod_revision as u64,
                    version: kv.version as u64,
                    lease: kv.lease as u64,
                    value: kv.value,
                },
            })
        });
        let etcd = Bytes::from_static(space::ETCD);
        write_first_snapshot(sink, (revision, created_by), &etcd, &self.leases, entries)
    }
}

/// Compares the digest behind the database with the one of what is there.
fn check(file: &File, length: u64, progress: &mut dyn FnMut(u64, u64)) -> Result<(), FileError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < length {
        let chunk = (length - at).min(CHUNK_BYTES as u64) as usize;
        let read = file.read_exact_at(&mut buffer[..chunk], at);
        read.map_err(|source| FileError::Read { at, source })?;
        hasher.update(&buffer[..chunk]);
        at += chunk as u64;
        progress(at, length);
    }
    let actual = hasher.finalize();
    let mut expected = [0; DIGEST_BYTES as usize];
    let read = file.read_exact_at(&mut expected, length);
    read.map_err(|source| FileError::Read { at: length, source })?;
    if actual[..] == expected {
        return Ok(());
    }
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Err(FileError::Damaged {
        expected: hex(&expected),
        actual: hex(&actual),
    })
}

/// The newest version of every key that is there, the bytes of all of them, and etcd's revision.
fn newest(bolt: &Bolt) -> Result<(BTreeMap<Bytes, Held>, u64, Revision), FileError> {
    let bucket = bolt.bucket(b"key")?.ok_or(FileError::NotEtcd)?;
    let mut keys: BTreeMap<Bytes, Held> = BTreeMap::new();
    let mut last = (1, None);
    bolt.for_each::<FileError>(&bucket, &mut |pair: Pair| {
        let record = |what: String| FileError::Record { what, at: pair.at };
        let (revision, mark) = revision_of(pair.key).ok_or_else(|| record("its key is no revision".to_owned()))?;
        if last.1.is_some_and(|last| last >= revision) {
            return Err(record(format!("revision {} comes twice, or too late", revision.0)));
        }
        last = (revision.0, Some(revision));
        // A revision that etcdutl wrote to go past others (`snapshot restore --bump-revision`).
        if pair.value.is_empty() {
            return Ok(());
        }
        let kv = decoded(pair.value, pair.at)?;
        if kv.key.is_empty() {
            return Err(record("it is of no key".to_owned()));
        }
        if mark == TOMBSTONE {
            keys.remove(&kv.key);
            return Ok(());
        }
        let fits = u64::try_from(kv.mod_revision) == Ok(revision.0)
            && kv.create_revision > 1
            && kv.create_revision <= kv.mod_revision
            && kv.version > 0;
        if !fits {
            return Err(record(format!("its numbers are not those of revision {}", revision.0)));
        }
        let bytes = u32::try_from(pair.value.len()).map_err(|_| record("it is too large".to_owned()))?;
        // A copy of its own: the value is in the same page.
        keys.insert(Bytes::copy_from_slice(&kv.key), Held { at: pair.at, bytes });
        Ok(())
    })?;
    let mut revision = last.0;
    if let Some(meta) = bolt.bucket(b"meta")? {
        bolt.for_each::<FileError>(&meta, &mut |pair| {
            // What was compacted may have been the newest (etcd-io/etcd#17780).
            if pair.key == b"finishedCompactRev" || pair.key == b"scheduledCompactRev" {
                revision = revision.max(revision_of(pair.value).map_or(1, |(revision, _)| revision.0));
            }
            Ok(())
        })?;
    }
    let bytes = keys.values().map(|held| u64::from(held.bytes)).sum();
    Ok((keys, bytes, revision))
}

/// Main and sub revision, and what is behind them.
fn revision_of(key: &[u8]) -> Option<((u64, u64), &[u8])> {
    let (revision, mark) = key.split_at_checked(REVISION_BYTES)?;
    let (main, sub) = (revision.first_chunk::<8>()?, revision.last_chunk::<8>()?);
    let [main, sub] = [main, sub].map(|bytes| u64::from_be_bytes(*bytes));
    let fits = revision[8] == b'_' && i64::try_from(main).is_ok() && (mark.is_empty() || mark == TOMBSTONE);
    fits.then_some(((main, sub), mark))
}

fn decoded(value: &[u8], at: u64) -> Result<mvccpb::KeyValue, FileError> {
    mvccpb::KeyValue::decode(value).map_err(|error| FileError::Record {
        what: error.to_string(),
        at,
    })
}

/// The leases, with their whole time in milliseconds: what is left of it is not kept by etcd either when it restores.
fn leases(bolt: &Bolt) -> Result<Vec<(LeaseId, u64)>, FileError> {
    let mut leases = Vec::new();
    let Some(bucket) = bolt.bucket(b"lease")? else {
        return Ok(leases);
    };
    bolt.for_each::<FileError>(&bucket, &mut |pair| {
        let record = |what: String| FileError::Record { what, at: pair.at };
        let lease = leasepb::Lease::decode(pair.value).map_err(|error| record(error.to_string()))?;
        let ttl_ms = u64::try_from(lease.ttl).ok().and_then(|ttl| ttl.checked_mul(1_000));
        match ttl_ms {
            Some(ttl_ms) if lease.id != 0 && ttl_ms > 0 => leases.push((lease.id as u64, ttl_ms)),
            _ => return Err(record(format!("the lease {} of {} s", lease.id, lease.ttl))),
        }
        Ok(())
    })?;
    leases.sort_unstable();
    Ok(leases)
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod tests;
