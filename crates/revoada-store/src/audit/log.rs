//! The file behind an audit log, and the one thread that writes it.
//!
//! Verbs come in concurrently, and a sync costs as much for a hundred lines as for one. So one thread takes everything
//! that is pending, writes it once, syncs once, and then tells every waiter. Rejected: a lock around write and sync,
//! which makes the slowest disk operation the queue of every verb.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use revoada_core::Digest;
use rustix::fs::{FlockOperation, OFlags};
use std::os::unix::fs::OpenOptionsExt;
use tokio::sync::{mpsc, oneshot};

use super::line::{AuditLine, NOTHING_BEFORE, digest};
use crate::limits::{AUDIT_GROUP_LINES_MAX, AUDIT_LINE_BYTES_MAX, AUDIT_QUEUE_LINES_MAX};

/// The time in milliseconds since the Unix epoch, from whoever has a clock.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Why an audit log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenAuditError {
    /// The file cannot be used.
    #[error("the audit log {} cannot be {did}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried: `opened`, `read`, …
        did: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Another process writes to it.
    #[error("the audit log {} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Its last line is not one, so nothing can be chained to it.
    #[error("the audit log {} does not end in a line of an audit log", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why it is none; absent if no line ends within the last bytes.
        #[source]
        source: Option<serde_json::Error>,
    },
}

/// A line could not be made durable. The log takes no more lines until it is opened again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the audit log takes no lines any more")]
pub struct AuditLogFailed {
    /// What failed first.
    #[source]
    pub source: Arc<std::io::Error>,
}

/// What a line says before the log adds its number, its time and its predecessor.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub who: Arc<str>,
    pub verb: &'static str,
    pub reference: Option<String>,
    pub outcome: &'static str,
    pub revision: Option<u64>,
}

struct Pending {
    records: Vec<Record>,
    /// Told once the records are durable; none for reads, which do not wait.
    durable: Option<oneshot::Sender<Result<(), AuditLogFailed>>>,
}

/// An audit log that is open for writing. Clones write to the same log; when the last is dropped, what is pending is
/// written and synced and the file is given up. The drop waits for that, so that whoever stopped a log can open it again,
/// and a process that ends takes no line with it.
#[derive(Clone)]
pub struct AuditLog {
    pending: mpsc::Sender<Pending>,
    failed: Arc<parking_lot::Mutex<Option<AuditLogFailed>>>,
    path: Arc<Path>,
    // Behind `pending`, and so dropped after it: the thread ends when nobody can give it lines any more.
    _thread: Arc<Joined>,
}

/// The thread that writes, which is waited for when the last clone is dropped.
struct Joined(Option<thread::JoinHandle<()>>);

impl Drop for Joined {
    fn drop(&mut self) {
        // It panics over nothing that a caller could still be told of.
        let _ended = self.0.take().map(thread::JoinHandle::join);
    }
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens or creates the log at `path` (mode 0600, never through a symlink), becomes its only writer, drops a last
    /// line that was not finished, and adds a line that says so.
    ///
    /// # Errors
    /// `File`, `InUse`, `Damaged`; the file is then as it was.
    pub fn open(path: impl AsRef<Path>, clock: Clock) -> Result<Self, OpenAuditError> {
        let path: Arc<Path> = path.as_ref().into();
        let failed = |did| move |source| (did, source);
        let file_error = |(did, source)| OpenAuditError::File {
            path: path.to_path_buf(),
            did,
            source,
        };

        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(failed("opened"))
            .map_err(file_error)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenAuditError::InUse {
                    path: path.to_path_buf(),
                });
            }
            Err(errno) => return Err(file_error(("locked", errno.into()))),
        }
        let tail = Tail::read(&mut file).map_err(|error| match error {
            TailError::Read(source) => file_error(("read", source)),
            TailError::NoLine(source) => OpenAuditError::Damaged {
                path: path.to_path_buf(),
                source,
            },
        })?;
        if tail.torn_bytes > 0 {
            file.set_len(tail.whole_bytes)
                .map_err(failed("cut"))
                .map_err(file_error)?;
        }
        let mut writer = Writer {
            file,
            sequence: tail.sequence,
            head: tail.head,
            clock,
        };
        writer
            .write(&[Record {
                who: "revoada".into(),
                verb: "open",
                reference: None,
                outcome: if tail.torn_bytes > 0 { "torn-line-dropped" } else { "ok" },
                revision: None,
            }])
            .and_then(|()| writer.file.sync_all())
            .and_then(|()| sync_folder(&path))
            .map_err(failed("written"))
            .map_err(file_error)?;

        let (pending, queue) = mpsc::channel(AUDIT_QUEUE_LINES_MAX);
        let failed: Arc<parking_lot::Mutex<Option<AuditLogFailed>>> = Arc::default();
        let failure = Arc::clone(&failed);
        let thread = thread::Builder::new()
            .name("revoada-audit".to_owned())
            .spawn(move || writer.run(queue, &failure))
            .map_err(|source| OpenAuditError::File {
                path: path.to_path_buf(),
                did: "written in a thread",
                source,
            })?;
        Ok(Self {
            pending,
            failed,
            path,
            _thread: Arc::new(Joined(Some(thread))),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the log still takes lines.
    ///
    /// # Errors
    /// What made it stop.
    pub fn check(&self) -> Result<(), AuditLogFailed> {
        self.failed.lock().clone().map_or(Ok(()), Err)
    }

    /// Returns when every line that was recorded before is durable.
    ///
    /// # Errors
    /// `AuditLogFailed`: some may not be.
    pub async fn flush(&self) -> Result<(), AuditLogFailed> {
        self.record_durably(Vec::new()).await
    }

    /// Records lines, and returns when they are durable.
    pub(super) async fn record_durably(&self, records: Vec<Record>) -> Result<(), AuditLogFailed> {
        let (durable, answer) = oneshot::channel();
        if self
            .pending
            .send(Pending {
                records,
                durable: Some(durable),
            })
            .await
            .is_err()
        {
            return Err(self.failure());
        }
        answer.await.unwrap_or_else(|_| Err(self.failure()))
    }

    /// Records a line, and returns when it is queued; it waits only while the queue is full.
    pub(super) async fn record(&self, record: Record) -> Result<(), AuditLogFailed> {
        let pending = Pending {
            records: vec![record],
            durable: None,
        };
        self.pending.send(pending).await.map_err(|_| self.failure())
    }

    fn failure(&self) -> AuditLogFailed {
        self.failed.lock().clone().unwrap_or_else(|| AuditLogFailed {
            source: Arc::new(std::io::Error::other("the thread that writes the audit log ended")),
        })
    }
}

/// The end of a log: where to go on.
struct Tail {
    sequence: u64,
    head: Digest,
    whole_bytes: u64,
    torn_bytes: u64,
}

enum TailError {
    Read(std::io::Error),
    NoLine(Option<serde_json::Error>),
}

impl Tail {
    /// Finds the last whole line in the last bytes of the file: a whole line and a torn one are never longer.
    fn read(file: &mut File) -> Result<Self, TailError> {
        let length = file.seek(SeekFrom::End(0)).map_err(TailError::Read)?;
        let window = length.min(2 * (AUDIT_LINE_BYTES_MAX as u64 + 1));
        file.seek(SeekFrom::Start(length - window)).map_err(TailError::Read)?;
        let mut bytes = Vec::new();
        Read::by_ref(file)
            .take(window)
            .read_to_end(&mut bytes)
            .map_err(TailError::Read)?;

        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            // No line has ended: the file is empty or its first line is torn, unless it is longer than a line can be.
            if length > AUDIT_LINE_BYTES_MAX as u64 {
                return Err(TailError::NoLine(None));
            }
            return Ok(Self {
                sequence: 0,
                head: NOTHING_BEFORE,
                whole_bytes: 0,
                torn_bytes: length,
            });
        };
        let torn_bytes = (bytes.len() - end - 1) as u64;
        let start = bytes[..end]
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |before| before + 1);
        let line = &bytes[start..end];
        let read: AuditLine = serde_json::from_slice(line).map_err(|source| TailError::NoLine(Some(source)))?;
        Ok(Self {
            sequence: read.sequence,
            head: digest(line),
            whole_bytes: length - torn_bytes,
            torn_bytes,
        })
    }
}

struct Writer {
    file: File,
    sequence: u64,
    head: Digest,
    clock: Clock,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Pending>, failed: &parking_lot::Mutex<Option<AuditLogFailed>>) {
        let mut group = Vec::new();
        while queue.blocking_recv_many(&mut group, AUDIT_GROUP_LINES_MAX) > 0 {
            let records: Vec<Record> = group.iter_mut().flat_map(|pending| pending.records.drain(..)).collect();
            let done = self.write(&records).and_then(|()| self.file.sync_data());
            let answer = done.map_err(|source| AuditLogFailed {
                source: Arc::new(source),
            });
            if let Err(failure) = &answer {
                // After a failed write the end of the file is unknown, and after a failed sync so is what the disk
                // has: nothing may be chained to it by this process.
                tracing::error!(error = %failure.source, "the audit log failed; mutations are refused from now on");
                *failed.lock() = Some(failure.clone());
            }
            for durable in group.drain(..).filter_map(|pending| pending.durable) {
                // A waiter that went away does not need to be told.
                let _ = durable.send(answer.clone());
            }
            if answer.is_err() {
                return;
            }
        }
    }

    fn write(&mut self, records: &[Record]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for record in records {
            let line = AuditLine {
                sequence: self.sequence + 1,
                time_ms: (self.clock)(),
                who: record.who.to_string(),
                verb: record.verb.to_owned(),
                reference: record.reference.clone(),
                outcome: record.outcome.to_owned(),
                revision: record.revision,
                previous: self.head,
            }
            .render();
            self.sequence += 1;
            self.head = digest(&line);
            bytes.extend_from_slice(&line);
            bytes.push(b'\n');
        }
        self.file.write_all(&bytes)
    }
}

/// Makes the file's name durable.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    File::open(folder)?.sync_all()
}
