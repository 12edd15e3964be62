//! The state machine on disk: one file that holds the applied index and the state it belongs to (invariant 7).
//!
//! Applying writes nothing: the log covers what was applied since the newest checkpoint, and the log is cut only behind
//! one. A store that is written at every apply was rejected: it costs a second copy of each write and a second engine to
//! keep consistent, and buys nothing that the log does not already give.
//!
//! Layout: eight bytes of magic, a little-endian u32 of format, a little-endian u32 and that many bytes of CBOR (cluster
//! and [`SnapshotMeta`]), the state, 32 bytes of BLAKE3 over all before.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use revoada_attest::Digest;
use revoada_core::genesis::Genesis;
use revoada_core::machine::ClusterState;
use serde::{Deserialize, Serialize};

use super::gentle::Gentle;
use super::types::SnapshotMeta;
use crate::failpoints::{self, Point};
use crate::files::{Files, OpenFile, Sequential};

const MAGIC: &[u8; 8] = b"RVCHKPNT";
const FORMAT: u32 = 1;
const DIGEST_BYTES: u64 = 32;
const HEADER_BYTES_MAX: u32 = 1 << 20;

/// Why a checkpoint could not be written, read or received.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refused.
    #[error("cannot {verb} the checkpoint {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is no checkpoint, or cut short, or a bit of it flipped.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// It was written by a newer program.
    #[error("{} has format {found}; this program reads up to {FORMAT}", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It is another cluster's.
    #[error("{} belongs to cluster {}, not to {}", path.display(), found.short(), expected.short())]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// This cluster.
        expected: Digest,
        /// The one it belongs to.
        found: Digest,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    cluster: Digest,
    meta: SnapshotMeta,
}

/// A whole, synced checkpoint file. One that does not count, because a newer one took its place or it was received and
/// never installed, is removed when its last clone is dropped, so that a transfer under way can finish reading it.
#[derive(Debug, Clone)]
pub struct CheckpointFile(Arc<OnDisk>);

#[derive(Debug)]
struct OnDisk {
    files: Arc<dyn Files>,
    path: PathBuf,
    /// Whether the file goes with the last clone.
    passing: AtomicBool,
}

impl CheckpointFile {
    fn new(files: Arc<dyn Files>, path: PathBuf, passing: bool) -> Self {
        Self(Arc::new(OnDisk {
            files,
            path,
            passing: passing.into(),
        }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Opens it to be read. Blocks.
    pub fn open(&self) -> io::Result<Box<dyn OpenFile>> {
        self.0.files.open(&self.0.path, false)
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        if self.passing.load(Ordering::Relaxed)
            && let Err(error) = self.files.remove(&self.path)
        {
            // Harmless: opening the folder again removes it.
            tracing::debug!(path = %self.path.display(), %error, "cannot remove an old checkpoint");
        }
    }
}

/// The folder that holds a node's checkpoints: one that counts, perhaps one that is being written or received.
pub struct Checkpoints {
    files: Arc<dyn Files>,
    folder: PathBuf,
    genesis: Arc<Genesis>,
    cluster: Digest,
    current: Mutex<Option<(SnapshotMeta, CheckpointFile)>>,
    /// One hand at a time puts a file in place, so that the highest number is the newest state.
    placing: Mutex<()>,
    next: AtomicU64,
}

impl Checkpoints {
    /// Opens the folder, removes what was never finished, and reads the newest checkpoint, if there is one.
    ///
    /// A damaged newest checkpoint is an error and is left where it is: the log behind it may be gone, so going on
    /// without it would lose what was acknowledged.
    pub fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        genesis: Arc<Genesis>,
    ) -> Result<(Self, Option<(SnapshotMeta, ClusterState)>), CheckpointError> {
        let failed = |verb, path: &Path| {
            let path = path.to_owned();
            move |source| CheckpointError::Io { verb, path, source }
        };
        files
            .make_folder(folder)
            .map_err(failed("make the folder of", folder))?;
        let mut whole = Vec::new();
        for name in files.names(folder).map_err(failed("list", folder))? {
            let path = folder.join(name);
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".checkpoint")?.parse::<u64>().ok());
            match number {
                Some(number) => whole.push((number, path)),
                None if path.extension().is_some_and(|extension| extension == "part") => {
                    files.remove(&path).map_err(failed("remove the unfinished", &path))?;
                }
                None => {}
            }
        }
        whole.sort();
        let checkpoints = Self {
            files,
            folder: folder.to_owned(),
            cluster: genesis.digest(),
            genesis,
            current: Mutex::new(None),
            placing: Mutex::new(()),
            next: AtomicU64::new(whole.last().map_or(1, |(number, _)| number + 1)),
        };
        let Some((_, newest)) = whole.pop() else {
            return Ok((checkpoints, None));
        };
        let (meta, state) = checkpoints.read(&newest)?;
        for (_, older) in whole {
            checkpoints
                .files
                .remove(&older)
                .map_err(failed("remove the older", &older))?;
        }
        *checkpoints.current.lock() = Some((meta.clone(), checkpoints.file(newest, false)));
        Ok((checkpoints, Some((meta, state))))
    }

    /// The checkpoint that counts.
    pub fn current(&self) -> Option<(SnapshotMeta, CheckpointFile)> {
        self.current.lock().clone()
    }

    /// Writes `state` as it was at `meta`, synced and renamed into place, and lets go of it on the way. Blocks; call it
    /// off the runtime.
    pub fn write(&self, meta: SnapshotMeta, state: ClusterState) -> Result<CheckpointFile, CheckpointError> {
        failpoints::hit(Point::BeforeCheckpoint);
        let part = self.part();
        let failed = |source| CheckpointError::Io {
            verb: "write",
            path: part.clone(),
            source,
        };
        let written = (|| {
            let mut out = Hashing {
                inner: BufWriter::with_capacity(1 << 18, Gentle::new(self.files.create(&part)?)),
                hasher: blake3::Hasher::new(),
            };
            out.write_all(MAGIC)?;
            out.write_all(&FORMAT.to_le_bytes())?;
            let header = cbor4ii::serde::to_vec(
                Vec::new(),
                &Header {
                    cluster: self.cluster,
                    meta: meta.clone(),
                },
            )
            .map_err(io::Error::other)?;
            out.write_all(&u32::try_from(header.len()).map_err(io::Error::other)?.to_le_bytes())?;
            out.write_all(&header)?;
            state.write_checkpoint(&mut out)?;
            let digest = out.hasher.finalize();
            out.inner.write_all(digest.as_bytes())?;
            let out = out.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
            failpoints::hit(Point::BeforeCheckpointSync);
            out.file().sync()
        })();
        if let Err(error) = written {
            // The first error is the one to tell of; a part that stays is removed at the next start.
            drop(self.files.remove(&part));
            return Err(failed(error));
        }
        self.place(meta, self.file(part, true))
    }

    /// Makes a received checkpoint, whose state was read from `file`, the one that counts. Blocks.
    pub fn adopt(&self, meta: SnapshotMeta, file: CheckpointFile) -> Result<(), CheckpointError> {
        self.place(meta, file).map(drop)
    }

    /// Reads and verifies a checkpoint. Blocks.
    pub fn read(&self, path: &Path) -> Result<(SnapshotMeta, ClusterState), CheckpointError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => CheckpointError::Damaged {
                path: path.to_owned(),
                what: "it is cut short".to_owned(),
            },
            io::ErrorKind::InvalidData => CheckpointError::Damaged {
                path: path.to_owned(),
                what: source.to_string(),
            },
            _ => CheckpointError::Io {
                verb: "read",
                path: path.to_owned(),
                source,
            },
        };
        let damaged = |what: &str| CheckpointError::Damaged {
            path: path.to_owned(),
            what: what.to_owned(),
        };
        let file = self.files.open(path, false).map_err(failed)?;
        let bytes = file.len().map_err(failed)?;
        let body_bytes = bytes
            .checked_sub(DIGEST_BYTES)
            .ok_or_else(|| damaged("it is cut short"))?;
        let mut input = Hashing {
            inner: BufReader::with_capacity(1 << 18, Sequential::new(file)),
            hasher: blake3::Hasher::new(),
        };
        let mut body = (&mut input).take(body_bytes);
        let mut magic = [0; 8];
        body.read_exact(&mut magic).map_err(failed)?;
        if &magic != MAGIC {
            return Err(damaged("it does not start as a checkpoint does"));
        }
        let format = read_u32(&mut body).map_err(failed)?;
        if format > FORMAT {
            return Err(CheckpointError::NewerFormat {
                path: path.to_owned(),
                found: format,
            });
        }
        let header_bytes = read_u32(&mut body).map_err(failed)?;
        if header_bytes > HEADER_BYTES_MAX {
            return Err(damaged("its header is too long"));
        }
        let mut header = vec![0; header_bytes as usize];
        body.read_exact(&mut header).map_err(failed)?;
        let header: Header = cbor4ii::serde::from_slice(&header).map_err(|_| damaged("its header cannot be read"))?;
        if header.cluster != self.cluster {
            return Err(CheckpointError::OtherCluster {
                path: path.to_owned(),
                expected: self.cluster,
                found: header.cluster,
            });
        }
        let state = ClusterState::read_checkpoint(&self.genesis, &mut body).map_err(failed)?;
        if body.limit() != 0 {
            return Err(damaged("bytes follow its end"));
        }
        let computed = input.hasher.finalize();
        let mut stored = [0; DIGEST_BYTES as usize];
        input.inner.read_exact(&mut stored).map_err(failed)?;
        if computed.as_bytes() != &stored {
            return Err(damaged("its digest does not fit its content"));
        }
        Ok((header.meta, state))
    }

    /// Starts to receive a checkpoint of `bytes` bytes from another node. Blocks shortly.
    pub fn receive(self: &Arc<Self>, bytes: u64) -> Result<Receiving, CheckpointError> {
        let path = self.part();
        let file = self.files.create(&path).map_err(|source| CheckpointError::Io {
            verb: "create",
            path: path.clone(),
            source,
        })?;
        Ok(Receiving {
            file: Sequential::new(file),
            left: bytes,
            part: self.file(path, true),
        })
    }

    fn file(&self, path: PathBuf, passing: bool) -> CheckpointFile {
        CheckpointFile::new(self.files.clone(), path, passing)
    }

    fn part(&self) -> PathBuf {
        self.folder
            .join(format!("{:020}.part", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// Gives a whole and synced part its place, unless what counts already is as new: a checkpoint that took long to
    /// write, while a newer one was installed, must not come back at the next start, where the log behind it is gone.
    fn place(&self, meta: SnapshotMeta, part: CheckpointFile) -> Result<CheckpointFile, CheckpointError> {
        let _placing = self.placing.lock();
        if self
            .current()
            .is_some_and(|(current, _)| current.last_log_id >= meta.last_log_id)
        {
            return Ok(part);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number:020}.checkpoint"));
        let failed = |source| CheckpointError::Io {
            verb: "put in place",
            path: path.clone(),
            source,
        };
        failpoints::hit(Point::BeforeCheckpointName);
        self.files.rename(part.path(), &path).map_err(failed)?;
        failpoints::hit(Point::AfterCheckpointName);
        part.0.passing.store(false, Ordering::Relaxed);
        self.files.sync_folder(&self.folder).map_err(failed)?;
        let file = self.file(path, false);
        let old = self.current.lock().replace((meta, file.clone()));
        if let Some((_, old)) = old {
            old.0.passing.store(true, Ordering::Relaxed);
        }
        failpoints::hit(Point::AfterCheckpoint);
        Ok(file)
    }
}

/// A checkpoint that arrives piece by piece. Until it is installed it is a part, which a start throws away.
pub struct Receiving {
    file: Sequential,
    left: u64,
    part: CheckpointFile,
}

impl Receiving {
    /// Appends a piece; more than was announced is an error. Blocks.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), CheckpointError> {
        self.left = self
            .left
            .checked_sub(piece.len() as u64)
            .ok_or_else(|| CheckpointError::Damaged {
                path: self.part.path().to_owned(),
                what: "more came than was announced".to_owned(),
            })?;
        self.file.write_all(piece).map_err(|source| CheckpointError::Io {
            verb: "write",
            path: self.part.path().to_owned(),
            source,
        })
    }

    /// Syncs what came and verifies its digest: an installation that fails stops the node, so it gets none that is cut
    /// or changed. Blocks.
    pub fn finish(self) -> Result<CheckpointFile, CheckpointError> {
        let path = self.part.path();
        if self.left > 0 {
            return Err(CheckpointError::Damaged {
                path: path.to_owned(),
                what: format!("{} bytes of it never came", self.left),
            });
        }
        self.file.file().sync().map_err(|source| CheckpointError::Io {
            verb: "sync",
            path: path.to_owned(),
            source,
        })?;
        check_digest(&self.part)?;
        Ok(self.part)
    }
}

/// Whether the last 32 bytes of a file are the digest of all before.
fn check_digest(file: &CheckpointFile) -> Result<(), CheckpointError> {
    let path = file.path();
    let failed = |source| CheckpointError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let damaged = |what: &str| CheckpointError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let file = file.open().map_err(failed)?;
    let bytes = file.len().map_err(failed)?;
    let body_bytes = bytes
        .checked_sub(DIGEST_BYTES)
        .ok_or_else(|| damaged("it is cut short"))?;
    let mut file = Sequential::new(file);
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader((&mut file).take(body_bytes)).map_err(failed)?;
    let mut stored = [0; DIGEST_BYTES as usize];
    file.read_exact(&mut stored).map_err(failed)?;
    if hasher.finalize().as_bytes() != &stored {
        return Err(damaged("its digest does not fit its content"));
    }
    Ok(())
}

struct Hashing<T> {
    inner: T,
    hasher: blake3::Hasher,
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(bytes)?;
        self.hasher.update(&bytes[..read]);
        Ok(read)
    }
}

fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}
