//! Backups: snapshots in a folder, each verified before it counts, and only so many.
//!
//! A backup is a snapshot file. It is written under a name that nobody takes for one, synced, read back from the disk
//! and checked for all that a restore would refuse; only then it gets its name, so what has the name of a backup was
//! whole when it got it. Only after that older ones go. Rejected: naming it first and verifying it then; a process that
//! is killed in between leaves a file that looks like the newest backup and may be none.
//!
//! Several writers may share a folder. Each has the cluster's identity and its own name in the names of its files,
//! looks at no others, and so can neither count nor delete what another one wrote.

mod keep;
mod name;

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use revoada_attest::Digest;
use revoada_core::error::ErrorKind;
use revoada_core::snapshot::Inspection;
use revoada_store::{StoreError, verify_snapshot};

pub(crate) use keep::of;
pub use keep::{Backoff, Standing, keep, next_due_ms};
pub use name::BackupName;

/// How much is read of a backup at once when it is verified.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why there is no new backup. Those that are there already are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The folder, or a file in it, cannot be used.
    #[error("cannot {verb} {}", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What came back from the disk is not what a restore would take.
    #[error("what was written to {} is no snapshot that could be restored, and was thrown away", folder.display())]
    NotWhole {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it.
        #[source]
        source: StoreError,
    },
    /// The cluster gave no snapshot.
    #[error("the cluster gives no snapshot")]
    NoSnapshot(#[source] StoreError),
    /// The work was given up.
    #[error("the backup was given up: {0}")]
    GivenUp(String),
}

impl BackupError {
    /// What kind of condition it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
                _ => ErrorKind::Unavailable,
            },
            Self::NotWhole { .. } | Self::GivenUp(_) => ErrorKind::Unavailable,
            Self::NoSnapshot(source) => source.kind(),
        }
    }

    /// What to do about it, where that is known.
    pub fn hint(&self) -> Option<&'static str> {
        let Self::File { source, .. } = self else { return None };
        match source.kind() {
            io::ErrorKind::NotFound => Some("make the folder first, or mount what it is on: a backup makes none"),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some("make room there, or keep fewer; the backups that are there were left as they are")
            }
            _ => None,
        }
    }
}

/// One folder, as one writer of backups of one cluster sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFolder {
    path: PathBuf,
    prefix: String,
}

/// A backup that was written, read back and found whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// The file.
    pub file: PathBuf,
    /// When it was taken, in milliseconds since 1970, in whole seconds.
    pub taken_ms: u64,
    /// What it is.
    pub inspection: Inspection,
}

impl BackupFolder {
    /// The folder at `path`, for backups that `writer` makes of the cluster with this name and identity. Nothing is
    /// looked at yet.
    pub fn new(path: impl Into<PathBuf>, cluster: &str, identity: &Digest, writer: &str) -> Self {
        Self {
            path: path.into(),
            prefix: name::prefix(cluster, identity, writer),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What this writer has in it, oldest first. They were whole when they got their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn backups(&self) -> Result<Vec<BackupName>, BackupError> {
        let mut backups: Vec<_> = self.names()?.iter().filter_map(|name| self.parse(name)).collect();
        backups.sort();
        Ok(backups)
    }

    /// Where a backup is.
    pub fn file(&self, name: &BackupName) -> PathBuf {
        self.path.join(name.render(&self.prefix))
    }

    /// Begins a backup, and removes what this writer began and never ended.
    ///
    /// # Errors
    /// The folder cannot be read or written to.
    pub fn begin(&self) -> Result<Unfinished, BackupError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        self.remove_abandoned()?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = format!(".{}{}-{number}{}", self.prefix, std::process::id(), name::PART);
        let path = self.path.join(part);
        let failed = |source| BackupError::File {
            verb: "write to",
            path: self.path.clone(),
            source,
        };
        let mut options = fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let file = file.open(&path).map_err(failed)?;
        let unfinished = Unfinished {
            folder: self.clone(),
            file,
            path: Some(path),
        };
        // Held while it is written: who finds it without a lock finds what a dead process left.
        unfinished.file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => failed(io::ErrorKind::ResourceBusy.into()),
            fs::TryLockError::Error(source) => failed(source),
        })?;
        Ok(unfinished)
    }

    /// Deletes the oldest of this writer's backups until `keep` are left, at least one; never `newest`, which was
    /// verified just now, nor what came behind it.
    ///
    /// # Errors
    /// One could not be deleted; the others before it were.
    pub fn prune(&self, keep: usize, newest: &Backup) -> Result<Vec<PathBuf>, BackupError> {
        let backups = self.backups()?;
        let surplus = backups.len().saturating_sub(keep.max(1));
        let mut deleted = Vec::new();
        for name in backups.into_iter().take(surplus) {
            let file = self.file(&name);
            if file == newest.file {
                // By a clock that went back the newest can be the oldest by name.
                continue;
            }
            remove(&file)?;
            deleted.push(file);
        }
        if !deleted.is_empty() {
            self.sync()?;
        }
        Ok(deleted)
    }

    fn names(&self) -> Result<Vec<String>, BackupError> {
        let failed = |source| BackupError::File {
            verb: "look into",
            path: self.path.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            // A name that is no text is nobody's of ours.
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }

    fn parse(&self, name: &str) -> Option<BackupName> {
        BackupName::parse(name, &self.prefix)
    }

    fn remove_abandoned(&self) -> Result<(), BackupError> {
        let began = format!(".{}", self.prefix);
        for name in self.names()? {
            if !name.starts_with(&began) || !name.ends_with(name::PART) {
                continue;
            }
            let path = self.path.join(name);
            let abandoned = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if abandoned {
                remove(&path)?;
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), BackupError> {
        let synced = File::open(&self.path).and_then(|folder| folder.sync_all());
        synced.map_err(|source| BackupError::File {
            verb: "sync",
            path: self.path.clone(),
            source,
        })
    }
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(()),
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BackupError::File {
            verb: "delete",
            path: path.to_owned(),
            source,
        }),
    }
}

/// A backup that is being written. Dropped before [`Self::finish`], nothing of it stays.
#[derive(Debug)]
pub struct Unfinished {
    folder: BackupFolder,
    file: File,
    path: Option<PathBuf>,
}

impl Unfinished {
    /// Syncs what was written, reads it back, checks all of it, and gives it the name of a backup that was taken at
    /// `now_ms`. Blocks.
    ///
    /// # Errors
    /// It is not whole, or the disk failed; nothing of it stays then.
    pub fn finish(mut self, now_ms: u64) -> Result<Backup, BackupError> {
        let (folder, path) = (self.folder.clone(), self.path.clone().unwrap_or_default());
        let failed = |verb, source| BackupError::File {
            verb,
            path: folder.path.clone(),
            source,
        };
        self.file.sync_all().map_err(|source| failed("write to", source))?;
        let written = File::open(&path).map_err(|source| failed("read back from", source))?;
        // What was just written lies in memory; what counts is what the disk gives back. A file system that cannot
        // forget it is read from memory.
        let _ = rustix::fs::fadvise(&written, 0, None, rustix::fs::Advice::DontNeed);
        let mut source = io::BufReader::with_capacity(BUFFER_BYTES, written);
        let inspection = verify_snapshot(&mut source).map_err(|source| BackupError::NotWhole {
            folder: folder.path.clone(),
            source,
        })?;
        let name = BackupName::new(now_ms, inspection.revision);
        let file = folder.file(&name);
        fs::rename(&path, &file).map_err(|source| failed("write to", source))?;
        self.path = None;
        folder.sync()?;
        Ok(Backup {
            file,
            taken_ms: name.taken_ms(),
            inspection,
        })
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = remove(&path)
        {
            // Harmless: the next backup of this writer removes it.
            tracing::debug!(error = &error as &dyn std::error::Error, "an unfinished backup stays");
        }
    }
}

#[cfg(test)]
mod tests;
