//! What can go wrong, one enum per operation.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use revoada_core::error::ErrorKind;

/// Bytes that were durable once are no longer what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}: {what}", file.display())]
pub struct Rot {
    /// The segment.
    pub file: PathBuf,
    /// Where in it, in bytes from its beginning.
    pub offset: u64,
    /// What was found there.
    pub what: &'static str,
}

impl Rot {
    /// The same as an `io::Error` that can be downcast to it.
    pub(super) fn into_io(self) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, self)
    }

    /// What kind of condition this is: only another copy of the data helps.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Unavailable
    }
}

/// A log folder cannot be used. Nothing in it was changed, except where [`OpenError::Full`] or [`OpenError::Io`] came
/// while a torn tail was being cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or another engine in this one.
    #[error("the log folder {} is in use{}", folder.display(), owner_of(*owner))]
    Locked {
        /// The folder.
        folder: PathBuf,
        /// The process that wrote the lock file, where it could be read.
        owner: Option<u32>,
    },
    /// It may not be written.
    #[error("{} cannot be written", path.display())]
    ReadOnly {
        /// What was opened.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no room for the first segment.
    #[error("no space left for {}", path.display())]
    Full {
        /// What was to be made.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file is named like a segment and is none.
    #[error("{} is not a log segment", file.display())]
    WrongFormat {
        /// The file.
        file: PathBuf,
    },
    /// A segment was written by a newer build.
    #[error("{} has log format {found}; this build reads up to {supported}", file.display())]
    NewerFormat {
        /// The segment.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest that this build reads.
        supported: u32,
    },
    /// A segment belongs to another log.
    #[error("{} belongs to log {found:016x}, not to {expected:016x}", file.display())]
    Foreign {
        /// The segment.
        file: PathBuf,
        /// Whose log was opened: `LogOptions::identity`.
        expected: u64,
        /// Whose it is.
        found: u64,
    },
    /// A segment between others is not there, or the entries that begin the log are not.
    #[error("{} is missing, and the log needs it", file.display())]
    Missing {
        /// The segment.
        file: PathBuf,
    },
    /// Acknowledged bytes are damaged.
    #[error(transparent)]
    Rot(#[from] Rot),
    /// Anything else that the system said.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

fn owner_of(owner: Option<u32>) -> String {
    owner.map_or_else(String::new, |pid| format!(" by process {pid}"))
}

impl OpenError {
    /// For callers that branch.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locked { .. } | Self::Missing { .. } | Self::Rot(_) | Self::Io { .. } => ErrorKind::Unavailable,
            Self::ReadOnly { .. } => ErrorKind::Denied,
            Self::Full { .. } => ErrorKind::Exhausted,
            Self::WrongFormat { .. } | Self::Foreign { .. } => ErrorKind::Invalid,
            Self::NewerFormat { .. } => ErrorKind::Unsupported,
        }
    }

    /// Sorts what the system said into the conditions that have a name.
    pub(super) fn of(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Self::ReadOnly { path, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

/// A write or a sync failed, so the engine has stopped for good.
///
/// After a failed sync nobody knows what is on the disk, and the kernel reports it once only: trying again could
/// acknowledge what is lost. The node has to stop, and recovery reads what is there.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the log has stopped: cannot {action} {}", path.display())]
pub struct LogFailed {
    /// What was attempted.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: Arc<io::Error>,
}

impl LogFailed {
    /// For callers that branch.
    pub fn kind(&self) -> ErrorKind {
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                ErrorKind::Exhausted
            }
            _ => ErrorKind::Unavailable,
        }
    }

    /// The same as an `io::Error` of the same `io::ErrorKind`, that can be downcast to it.
    pub(super) fn to_io(&self) -> io::Error {
        io::Error::new(self.source.kind(), self.clone())
    }
}

/// A request was refused before anything of it was done; the engine goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Entries have to follow each other and the log.
    #[error("entry {found} does not follow the log, which continues at {expected}")]
    Gap {
        /// Where the log continues.
        expected: u64,
        /// What was offered.
        found: u64,
    },
    /// An entry or a metadata value is too large.
    #[error("{bytes} bytes are more than the {bytes_max} that fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Too much waits for the disk: wait for `LogEngine::when_writable` first.
    #[error("{pending_bytes} bytes wait for the disk already")]
    Busy {
        /// What waits.
        pending_bytes: usize,
    },
    /// The engine was closed.
    #[error("the log is closed")]
    Closed,
}

impl Refused {
    /// For callers that branch.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Gap { .. } => ErrorKind::Conflict,
            Self::TooLarge { .. } => ErrorKind::Invalid,
            Self::Busy { .. } => ErrorKind::Exhausted,
            Self::Closed => ErrorKind::Unavailable,
        }
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match self {
            Self::Gap { .. } | Self::TooLarge { .. } => io::ErrorKind::InvalidInput,
            Self::Busy { .. } => io::ErrorKind::WouldBlock,
            Self::Closed => io::ErrorKind::BrokenPipe,
        };
        io::Error::new(kind, self)
    }
}
