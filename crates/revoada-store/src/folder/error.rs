//! Why a folder cannot be used.

use std::io;
use std::path::PathBuf;

use revoada_core::error::ErrorKind;

use crate::error::Cause;

/// Why a folder could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFolderError {
    /// A file or folder cannot be used.
    #[error("{} cannot be {did}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was tried: `opened`, `read`, `written`, …
        did: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("{} is in use by {owner}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who has it: `process 4711`.
        owner: String,
    },
    /// It belongs to another user.
    #[error("{} belongs to user {owner}, and this process runs as user {user}", path.display())]
    OtherUser {
        /// The folder.
        path: PathBuf,
        /// The user id that it belongs to.
        owner: u32,
        /// The user id of this process.
        user: u32,
    },
    /// There are other things in it.
    #[error("{} is not empty and holds no resources of revoada; give an empty folder, or a new one", path.display())]
    NotOurs {
        /// The folder.
        path: PathBuf,
    },
    /// A newer build wrote it.
    #[error("{} has format {found}, and this build knows up to {known}; use a newer revoada", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest that this build knows.
        known: u64,
    },
    /// Something in it is not as it was written.
    #[error("{} is not as it was written: {what}", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What found it, if another component did.
        #[source]
        source: Option<Cause>,
    },
    /// Something that leads elsewhere.
    #[error("{} is not a file or folder of its own (a symlink, a pipe, a device); remove it", path.display())]
    NotPlain {
        /// Which.
        path: PathBuf,
    },
}

impl OpenFolderError {
    /// Which condition it is, for callers that branch.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                _ => ErrorKind::Unavailable,
            },
            Self::InUse { .. } => ErrorKind::Unavailable,
            Self::OtherUser { .. } => ErrorKind::Denied,
            Self::NotOurs { .. } | Self::Damaged { .. } | Self::NotPlain { .. } => ErrorKind::Invalid,
            Self::NewerFormat { .. } => ErrorKind::Unsupported,
        }
    }
}
