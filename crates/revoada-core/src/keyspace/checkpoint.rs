//! The whole keyspace as bytes: what a node writes in the background and starts from again.
//!
//! The layout is flat and little-endian: header, leases, entries in key order, events in order. Each version is
//! written once, as an entry or as what an event ended: what an event wrote is found again as what the next event of
//! its key ended, or as the entry. So a checkpoint is about as large as the memory that it describes, and reading it
//! shares versions between the map and the history as they were shared before.
//!
//! Rejected: CBOR by serde, as for operations. It is no shorter for records of fixed shape, three times slower, and
//! the place where a length is checked against its bound would be somebody else's.
//!
//! Integrity is the container's matter (it checksums the file). Decoding bounds every length before it allocates and
//! checks what the keyspace relies on, so that any bytes at all end in a keyspace or an error.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::mem;
use std::sync::Arc;

use bytes::Bytes;

use super::entry::{NO_LEASE, Revision, Version};
use super::history::Change;
use super::{FIRST_REVISION, Keyspace};
use crate::error::ErrorKind;
use crate::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

const MAGIC: [u8; 8] = *b"rvdstate";
const FORMAT: u32 = 1;
/// How much is gathered before it is written.
const BUFFER_BYTES: usize = 64 * 1024;
/// The flags of an event.
const WRITES: u8 = 1;
const ENDS: u8 = 2;

/// Why bytes are no checkpoint of a keyspace.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// They begin with something else.
    #[error("this is not a checkpoint of a keyspace")]
    NotACheckpoint,
    /// A newer build wrote them.
    #[error("the checkpoint has format {found}; this build reads up to {known}")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// They end too early.
    #[error("the checkpoint is cut short")]
    CutShort,
    /// They contradict themselves.
    #[error("the checkpoint is damaged: {what}")]
    Malformed {
        /// What cannot be.
        what: &'static str,
    },
    /// They could not be read.
    #[error("reading the checkpoint failed")]
    Read {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl CheckpointError {
    /// What kind of condition it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotACheckpoint | Self::CutShort | Self::Malformed { .. } => ErrorKind::Invalid,
            Self::NewerFormat { .. } => ErrorKind::Unsupported,
            Self::Read { .. } => ErrorKind::Unavailable,
        }
    }
}

impl Keyspace {
    /// Writes the complete state: entries, history, leases. The same state gives the same bytes, on every node.
    /// It writes in large pieces, so `to` needs no buffer; it does not flush.
    ///
    /// It takes the state and lets go of each event behind it. Whoever writes slowly, from a clone, while the original
    /// goes on and is compacted, would otherwise be the only one to hold the history by the end: all of it, in memory,
    /// once more. Compaction and this begin at the oldest, so what only the clone holds is what this is behind by.
    ///
    /// # Errors
    /// Whatever writing to `to` gives; what was written until then is of no use.
    pub fn write_checkpoint(mut self, to: &mut impl Write) -> io::Result<()> {
        let mut out = Out {
            to,
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
        };
        out.bytes(&MAGIC)?;
        out.u32(FORMAT)?;
        out.u64(self.revision)?;
        out.u64(self.compacted)?;
        out.u64(self.history.complete_from())?;
        out.u64(self.leases.len() as u64)?;
        out.u64(self.current.len() as u64)?;
        out.u64(self.history.len() as u64)?;
        for (id, lease) in self.leases.iter() {
            out.u64(id)?;
            out.u64(lease.ttl_ms)?;
            out.u64(lease.expires_at_ms)?;
        }
        for (key, version) in self.current.iter() {
            out.key(key)?;
            out.version(version)?;
        }
        while let Some(change) = self.history.take_oldest() {
            let writes = if change.version.is_some() { WRITES } else { 0 };
            let ends = if change.previous.is_some() { ENDS } else { 0 };
            out.bytes(&[writes | ends])?;
            out.u64(change.revision)?;
            out.key(&change.key)?;
            if let Some(previous) = &change.previous {
                out.version(previous)?;
            }
        }
        out.finish()
    }

    /// Reads what [`Self::write_checkpoint`] wrote, and not a byte more: give it a buffered reader.
    ///
    /// # Errors
    /// Every variant of [`CheckpointError`]. Bytes that were changed on the way may still be a checkpoint: whoever
    /// keeps it has to checksum it.
    pub fn read_checkpoint(from: impl Read) -> Result<Self, CheckpointError> {
        let mut input = Input { from };
        if input.array::<8>()? != MAGIC {
            return Err(CheckpointError::NotACheckpoint);
        }
        match input.u32()? {
            FORMAT => {}
            0 => return Err(malformed("there is no format 0")),
            found => return Err(CheckpointError::NewerFormat { found, known: FORMAT }),
        }
        let mut keyspace = Self::new();
        keyspace.revision = input.u64()?;
        keyspace.compacted = input.u64()?;
        let complete_from = input.u64()?;
        let newest = keyspace.revision;
        let consistent = (FIRST_REVISION..=i64::MAX as u64).contains(&newest)
            && keyspace.compacted <= newest
            && (keyspace.oldest_readable()..=newest + 1).contains(&complete_from);
        if !consistent {
            return Err(malformed("the revisions of the header do not fit each other"));
        }
        keyspace.history.cut(complete_from);
        let (leases, entries, events) = (input.u64()?, input.u64()?, input.u64()?);
        keyspace.read_leases(&mut input, leases)?;
        keyspace.read_entries(&mut input, entries)?;
        keyspace.read_events(&mut input, events)?;
        Ok(keyspace)
    }

    fn read_leases(&mut self, input: &mut Input<impl Read>, count: u64) -> Result<(), CheckpointError> {
        let mut last = NO_LEASE;
        for _ in 0..count {
            let (id, ttl_ms, expires_at_ms) = (input.u64()?, input.u64()?, input.u64()?);
            if id <= last {
                return Err(malformed("the leases are not in order"));
            }
            self.leases.insert(id, ttl_ms, expires_at_ms);
            last = id;
        }
        Ok(())
    }

    fn read_entries(&mut self, input: &mut Input<impl Read>, count: u64) -> Result<(), CheckpointError> {
        let mut last = Bytes::new();
        for _ in 0..count {
            let key = input.key()?;
            let version = input.version(self.revision)?;
            if key <= last {
                return Err(malformed("the keys are not in order"));
            }
            if version.lease != NO_LEASE {
                if !self.leases.contains(version.lease) {
                    return Err(malformed("a key is attached to a lease that is not there"));
                }
                self.leases.attach(version.lease, key.clone());
            }
            self.data_bytes += (key.len() + version.value.len()) as u64;
            last = key.clone();
            self.current.insert(key, Arc::new(version));
        }
        Ok(())
    }

    fn read_events(&mut self, input: &mut Input<impl Read>, count: u64) -> Result<(), CheckpointError> {
        let mut changes: Vec<Change> = Vec::new();
        // For each key, its newest event so far, by index: that event's version is still to be found.
        let mut newest: BTreeMap<Bytes, usize> = BTreeMap::new();
        let mut writes: Vec<bool> = Vec::new();
        for _ in 0..count {
            let flags = input.array::<1>()?[0];
            if flags == 0 || flags > (WRITES | ENDS) {
                return Err(malformed("an event neither writes nor deletes"));
            }
            let revision = input.u64()?;
            let mut key = input.key()?;
            let previous = if flags & ENDS == 0 {
                None
            } else {
                Some(Arc::new(input.version(revision)?))
            };
            let after = changes
                .last()
                .map_or(self.history.complete_from(), |last| last.revision);
            if revision < after || revision > self.revision {
                return Err(malformed("the events are not in order"));
            }
            match newest.get_mut(&key) {
                Some(newest) => {
                    let before = mem::replace(newest, changes.len());
                    let expected = writes[before].then_some(changes[before].revision);
                    if previous.as_ref().map(|previous| previous.mod_revision) != expected {
                        return Err(malformed("an event does not end what the event before it wrote"));
                    }
                    changes[before].version = previous.clone();
                    key = changes[before].key.clone();
                }
                None => {
                    if let Some((shared, _)) = self.current.get_key_value(key.as_ref()) {
                        key = shared.clone();
                    }
                    newest.insert(key.clone(), changes.len());
                }
            }
            let sub = match changes.last() {
                Some(last) if last.revision == revision => last.sub + 1,
                _ => 0,
            };
            writes.push(flags & WRITES != 0);
            changes.push(Change {
                revision,
                sub,
                key,
                version: None,
                previous,
            });
        }
        for (key, index) in newest {
            let current = self.current.get(key.as_ref());
            let expected = writes[index].then_some(changes[index].revision);
            if current.map(|version| version.mod_revision) != expected {
                return Err(malformed("the last event of a key did not write what is there"));
            }
            changes[index].version = current.cloned();
        }
        for change in changes {
            self.history.record(change);
        }
        Ok(())
    }
}

fn malformed(what: &'static str) -> CheckpointError {
    CheckpointError::Malformed { what }
}

/// Gathers small fields into large writes.
struct Out<'a, W: Write> {
    to: &'a mut W,
    buffer: Vec<u8>,
}

impl<W: Write> Out<'_, W> {
    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.to.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn u32(&mut self, number: u32) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(&mut self, number: u64) -> io::Result<()> {
        self.bytes(&number.to_le_bytes())
    }

    fn length(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.u32(length)
    }

    fn key(&mut self, key: &[u8]) -> io::Result<()> {
        self.length(key)?;
        self.bytes(key)
    }

    fn version(&mut self, version: &Version) -> io::Result<()> {
        self.u64(version.create_revision)?;
        self.u64(version.mod_revision)?;
        self.u64(version.version)?;
        self.u64(version.lease)?;
        self.length(&version.value)?;
        self.bytes(&version.value)
    }

    fn finish(self) -> io::Result<()> {
        self.to.write_all(&self.buffer)
    }
}

/// Reads fields, each length against its bound.
struct Input<R> {
    from: R,
}

impl<R: Read> Input<R> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), CheckpointError> {
        self.from.read_exact(buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => CheckpointError::CutShort,
            _ => CheckpointError::Read { source },
        })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn u32(&mut self) -> Result<u32, CheckpointError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, CheckpointError> {
        self.array().map(u64::from_le_bytes)
    }

    /// Bytes with their length in front, at most `max`, which bounds what is allocated before they are there.
    fn sized(&mut self, max: usize, what: &'static str) -> Result<Bytes, CheckpointError> {
        let length = self.u32()? as usize;
        if length > max {
            return Err(malformed(what));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(Bytes::from(bytes))
    }

    fn key(&mut self) -> Result<Bytes, CheckpointError> {
        let key = self.sized(KEY_BYTES_MAX, "a key is longer than a key may be")?;
        if key.is_empty() {
            Err(malformed("a key is empty"))
        } else {
            Ok(key)
        }
    }

    /// A version that was written at `newest` or before.
    fn version(&mut self, newest: Revision) -> Result<Version, CheckpointError> {
        let [create_revision, mod_revision, version, lease] = [self.u64()?, self.u64()?, self.u64()?, self.u64()?];
        if create_revision > mod_revision || mod_revision > newest || create_revision == 0 || version == 0 {
            return Err(malformed("the revisions of a version do not fit each other"));
        }
        let value = self.sized(VALUE_BYTES_MAX, "a value is longer than a value may be")?;
        Ok(Version {
            create_revision,
            mod_revision,
            version,
            lease,
            value,
        })
    }
}
