//! The snapshot file: the resources of a cluster, as every backend writes and reads them.
//!
//! ```text
//! magic (16) | format u32 | header | resource section | named sections | digest (32) | end (8)
//! header:    revision u64 | created-by u32+text | declaration u32+text
//! resources: { 1 | format u8 | group kind namespace name, each u16+text | document u32+bytes }* in the order of
//!            the references | 0 | entries u64 | BLAKE3 of the section up to here (32)
//! sections:  { 2 | name u16+text | { u32 > 0 + bytes }* | u32 0 }* | 255
//! ```
//!
//! Numbers are little-endian. The resource section holds nothing that differs between backends (no revisions of
//! entries, no times), so one data set gives the same bytes and the same [`Inspection::resources`] digest from each
//! of them. What else a cluster needs to start again is in named sections, which others pass over. No clock is asked:
//! the file says what it holds, not when.
//!
//! The last 40 bytes are the digest of everything before them and a fixed mark. They keep this place in every format
//! to come: so [`verify`] can tell a file that was cut (no mark) from one that was changed (a digest that is not the
//! file's), and both from one that a newer build wrote, whatever the first thing was that did not parse.
//!
//! Whoever saves it as a snapshot of etcd finds the SHA-256 of the file behind it (`etcdctl snapshot save`), 32 bytes that
//! are passed over: what they could tell, the digest has told.
//!
//! Rejected: an archive format (tar, zip), whose headers hold times and owners, and whose readers differ in what they
//! accept.

mod reader;
mod writer;

use bytes::Bytes;
use revoada_attest::Digest;

use crate::error::ErrorKind;
use crate::keyspace::Revision;
use crate::resource::{ResourceFormat, ResourceRef};

pub use reader::{Item, SnapshotReader, inspect, verify};
pub use writer::{SnapshotWriter, WriteSnapshotError};

/// The format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// The names of the sections that a running cluster adds.
pub mod section {
    /// The committed roles of the nodes.
    pub const ROLES: &str = "roles";
    /// The attestation chain.
    pub const CHAIN: &str = "chain";
    /// The leases.
    pub const LEASES: &str = "leases";
    /// The prefixes of the keys beside resources that the snapshot holds.
    pub const SPACES: &str = "spaces";
    /// In front of the number of each part of those keys, from 0.
    pub const KEYS: &str = "keys-";
    /// In front of the number of each part of the numbers that those keys keep, in the same order: only in a snapshot
    /// that a new cluster begins with.
    pub const NUMBERS: &str = "numbers-";
    /// Zeros, for whoever wants files of certain lengths.
    pub const PADDING: &str = "padding";
}

const MAGIC: [u8; 16] = *b"revoada-snapshot";
const END: [u8; 8] = *b"snap-end";
/// The digest and the mark.
const TRAILER_BYTES: usize = Digest::BYTES + END.len();
/// What `etcdctl snapshot save` puts behind a snapshot.
const ETCD_DIGEST_BYTES: usize = 32;

/// What comes next in the file.
mod tag {
    pub(super) const RESOURCES_END: u8 = 0;
    pub(super) const RESOURCE: u8 = 1;
    pub(super) const SECTION: u8 = 2;
    pub(super) const END: u8 = 255;
}

/// What the file says of itself before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The revision whose state this is; a restore moves the revision above it.
    pub revision: Revision,
    /// The declaration of the cluster, as text in the format it was given in; empty if there is none.
    pub declaration: String,
    /// The program and backend that wrote it, for people: `revoada 0.1.0, raft`.
    pub created_by: String,
}

/// One resource: its address and its document as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The address.
    pub reference: ResourceRef,
    /// The format of the document.
    pub format: ResourceFormat,
    /// The document, at most [`DOCUMENT_BYTES_MAX`](crate::limits::DOCUMENT_BYTES_MAX) bytes.
    pub document: Bytes,
}

/// What a whole snapshot is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The format of the file.
    pub format: u32,
    /// The revision whose state this is.
    pub revision: Revision,
    /// The digest in the trailer: of everything before it.
    pub digest: Digest,
    /// The digest of the resource section alone: equal if and only if the resources are, whatever wrote them.
    pub resources: Digest,
    /// How many resources there are.
    pub entries: u64,
    /// The size of the file.
    pub bytes: u64,
    /// The declaration, as text; empty if there is none.
    pub declaration: String,
    /// What wrote it.
    pub created_by: String,
    /// The names of the further sections, in their order.
    pub sections: Vec<String>,
}

/// Why a file is no snapshot that this build can read. Positions are bytes from the start of the file.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It begins with something else.
    #[error("this is not a revoada snapshot")]
    NotASnapshot,
    /// A newer build wrote it.
    #[error("the snapshot has format {found}; this build reads up to {known}")]
    NewerFormat {
        /// The format found.
        found: u32,
        /// The newest that this build knows.
        known: u32,
    },
    /// It ends too early: the trailer is missing.
    #[error("the snapshot is cut short after {bytes} bytes")]
    CutShort {
        /// How many bytes there are.
        bytes: u64,
    },
    /// It is not what was written: at least one bit differs.
    #[error("the snapshot is damaged: its digest is {actual}, and {expected} was written")]
    Damaged {
        /// The digest in the trailer (or, of the resource section, behind it).
        expected: Digest,
        /// The digest of what is there.
        actual: Digest,
    },
    /// A size that is above its bound, in a file that is otherwise whole: no build of ours wrote it.
    #[error("{what} at byte {at} has {size} bytes; {max} is the most")]
    OutOfBounds {
        /// What is too large.
        what: &'static str,
        /// Where.
        at: u64,
        /// Its size.
        size: u64,
        /// The largest.
        max: u64,
    },
    /// Something that cannot be there, in a file that is otherwise whole: no build of ours wrote it.
    #[error("the snapshot is malformed at byte {at}: {what}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// Where.
        at: u64,
    },
    /// It could not be read.
    #[error("reading the snapshot failed at byte {at}")]
    Read {
        /// Where.
        at: u64,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SnapshotError {
    /// What kind of condition it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotASnapshot
            | Self::CutShort { .. }
            | Self::Damaged { .. }
            | Self::OutOfBounds { .. }
            | Self::Malformed { .. } => ErrorKind::Invalid,
            Self::NewerFormat { .. } => ErrorKind::Unsupported,
            Self::Read { .. } => ErrorKind::Unavailable,
        }
    }
}

/// The number of a document's format in the file; never reused for another.
const fn format_number(format: ResourceFormat) -> u8 {
    match format {
        ResourceFormat::Native => 0,
        ResourceFormat::Yaml => 1,
        ResourceFormat::Json => 2,
        ResourceFormat::Hcl => 3,
    }
}

/// The format of a number.
const fn format_of(number: u8) -> Option<ResourceFormat> {
    match number {
        0 => Some(ResourceFormat::Native),
        1 => Some(ResourceFormat::Yaml),
        2 => Some(ResourceFormat::Json),
        3 => Some(ResourceFormat::Hcl),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
