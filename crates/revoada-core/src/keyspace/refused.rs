//! Why an operation or a read was refused. A refusal changes nothing and takes no revision.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::entry::{LeaseId, Revision};
use crate::error::ErrorKind;

/// The history that was asked for is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the history before revision {oldest} was compacted")]
pub struct Compacted {
    /// For a read: the oldest revision that can be read. For events: the oldest whose events are all there, so that
    /// `oldest - 1` is the lowest position to watch from. After a restore that is one above the current revision.
    pub oldest: Revision,
}

impl Compacted {
    /// Always [`ErrorKind::Compacted`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Compacted
    }
}

/// A revision that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ReadError {
    /// It is too old.
    #[error("revision {asked} was compacted; the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// It has not happened yet.
    #[error("revision {asked} is in the future; the newest is {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest.
        current: Revision,
    },
}

impl ReadError {
    /// What kind of condition it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Compacted { .. } => ErrorKind::Compacted,
            Self::Future { .. } => ErrorKind::Invalid,
        }
    }
}

/// Why an operation was refused; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum OperationRefused {
    /// The lease does not exist, or ended.
    #[error("lease {id} does not exist")]
    LeaseNotFound {
        /// The lease.
        id: LeaseId,
    },
    /// The lease exists already.
    #[error("lease {id} exists already")]
    LeaseExists {
        /// The lease.
        id: LeaseId,
    },
    /// 0 names no lease.
    #[error("a lease cannot have the id 0")]
    LeaseIdZero,
    /// The time of a lease is out of bounds.
    #[error("a lease lives for 1 to {max} ms, not {ttl_ms}")]
    LeaseTime {
        /// What was given.
        ttl_ms: u64,
        /// The longest.
        max: u64,
    },
    /// There are as many leases as there may be.
    #[error("there are {max} leases already")]
    TooManyLeases {
        /// The largest number.
        max: usize,
    },
    /// What should be compacted is compacted already, or what should be read is.
    #[error("revision {asked} was compacted; the oldest is {oldest}")]
    Compacted {
        /// The revision asked for.
        asked: Revision,
        /// The oldest that can be read.
        oldest: Revision,
    },
    /// What should be compacted, or read, has not happened yet.
    #[error("revision {asked} is in the future; the newest is {current}")]
    Future {
        /// The revision asked for.
        asked: Revision,
        /// The newest.
        current: Revision,
    },
    /// Numbers are kept only where nothing was ever written.
    #[error("revisions are kept only in a new cluster, and this one is at revision {revision}")]
    NotNew {
        /// The newest revision.
        revision: Revision,
    },
    /// An entry whose numbers cannot be.
    #[error("the entry {} cannot have the numbers that it comes with", key.escape_ascii())]
    EntryNumbers {
        /// Its key.
        key: Bytes,
    },
    /// No revision is left above the one given.
    #[error("there is no revision above {revision}")]
    NoRevisionLeft {
        /// The revision given.
        revision: Revision,
    },
    /// One transaction puts a key twice, or puts and deletes it.
    #[error("the key {} is changed twice in one transaction", key.escape_ascii())]
    DuplicateKey {
        /// The key.
        key: Bytes,
    },
    /// A put that keeps the value or the lease of a key that does not exist.
    #[error("the key {} does not exist, so its value or lease cannot be kept", key.escape_ascii())]
    KeyNotFound {
        /// The key.
        key: Bytes,
    },
    /// A key without bytes.
    #[error("a key cannot be empty")]
    EmptyKey,
    /// A key that is too long.
    #[error("a key of {bytes} bytes is longer than {max}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// A value that is too long.
    #[error("a value of {bytes} bytes is longer than {max}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
        /// The longest.
        max: usize,
    },
    /// A put that keeps the value, and gives one.
    #[error("a put that keeps the value cannot give one")]
    ValueGiven,
    /// A put that keeps the lease, and gives one.
    #[error("a put that keeps the lease cannot give one")]
    LeaseGiven,
    /// More compares and operations than one transaction may have, nested ones included.
    #[error("a transaction has at most {max} compares and operations, nested ones included")]
    TooManyOps {
        /// The largest number.
        max: usize,
    },
    /// Transactions nested too deep.
    #[error("transactions nest at most {max} deep")]
    TooDeep {
        /// The greatest depth.
        max: usize,
    },
    /// An entry to restore that is not under the prefix.
    #[error("the key {} is not under the prefix that is restored", key.escape_ascii())]
    OutsidePrefix {
        /// The key.
        key: Bytes,
    },
}

impl OperationRefused {
    /// What kind of condition it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::LeaseNotFound { .. } | Self::KeyNotFound { .. } => ErrorKind::NotFound,
            Self::LeaseExists { .. } => ErrorKind::AlreadyExists,
            Self::NotNew { .. } => ErrorKind::Conflict,
            Self::TooManyLeases { .. } | Self::NoRevisionLeft { .. } => ErrorKind::Exhausted,
            Self::Compacted { .. } => ErrorKind::Compacted,
            Self::LeaseIdZero
            | Self::LeaseTime { .. }
            | Self::Future { .. }
            | Self::DuplicateKey { .. }
            | Self::EmptyKey
            | Self::KeyTooLong { .. }
            | Self::ValueTooLong { .. }
            | Self::ValueGiven
            | Self::LeaseGiven
            | Self::TooManyOps { .. }
            | Self::TooDeep { .. }
            | Self::EntryNumbers { .. }
            | Self::OutsidePrefix { .. } => ErrorKind::Invalid,
        }
    }
}

impl From<ReadError> for OperationRefused {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Compacted { asked, oldest } => Self::Compacted { asked, oldest },
            ReadError::Future { asked, current } => Self::Future { asked, current },
        }
    }
}
