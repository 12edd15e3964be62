//! The engine's second thread: makes the next segment before it is needed, and removes those that nobody needs.
//!
//! Both take milliseconds at a bad moment (a journal commit, freeing 32 MiB of extents), and neither has to be waited
//! for by a write. Rejected: doing them on the writer when it is idle. Under load it never is.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::disk::{Disk, SegmentFile};
use crate::failpoints::{self, Point};

enum Job {
    Prepare(u64),
    Remove(Vec<u64>),
}

/// The writer's end of the thread.
pub(super) struct Preparer {
    disk: Arc<Disk>,
    segment_bytes: u64,
    thread: Option<Thread>,
}

struct Thread {
    jobs: Sender<Job>,
    prepared: Receiver<io::Result<SegmentFile>>,
    handle: JoinHandle<()>,
}

impl Preparer {
    /// Starts the thread; it is asked for `next` at once.
    pub fn start(disk: Arc<Disk>, segment_bytes: u64, next: u64) -> io::Result<Self> {
        let (jobs, todo) = channel();
        let (done, prepared) = channel();
        let worker = Arc::clone(&disk);
        let handle = std::thread::Builder::new()
            .name("revoada-log-2".to_owned())
            .spawn(move || {
                let mut unwanted = VecDeque::new();
                for job in todo {
                    match job {
                        Job::Prepare(number) => {
                            if done.send(worker.create_segment(number, segment_bytes)).is_err() {
                                return;
                            }
                        }
                        Job::Remove(numbers) => {
                            unwanted.extend(numbers);
                            remove(&worker, &mut unwanted);
                        }
                    }
                }
            })?;
        let preparer = Self {
            disk,
            segment_bytes,
            thread: Some(Thread { jobs, prepared, handle }),
        };
        preparer.send(Job::Prepare(next));
        Ok(preparer)
    }

    /// Without a thread: what is asked for is done at once.
    pub fn inline(disk: Arc<Disk>, segment_bytes: u64) -> Self {
        Self {
            disk,
            segment_bytes,
            thread: None,
        }
    }

    /// The segment `number`, which was asked for when the one before it was taken; the one after it is asked for now.
    ///
    /// A failed preparation is tried once more here: unlike a failed sync it has lost nothing, and the disk may have
    /// room again.
    pub fn take(&self, number: u64) -> io::Result<SegmentFile> {
        let prepared = self.thread.as_ref().and_then(|thread| thread.prepared.recv().ok());
        let segment = match prepared {
            Some(Ok(segment)) => segment,
            Some(Err(_)) | None => self.disk.create_segment(number, self.segment_bytes)?,
        };
        self.send(Job::Prepare(number + 1));
        Ok(segment)
    }

    /// Removes segments, at some time.
    pub fn remove(&self, numbers: Vec<u64>) {
        if self.thread.is_none() {
            remove(&self.disk, &mut numbers.into());
            return;
        }
        self.send(Job::Remove(numbers));
    }

    fn send(&self, job: Job) {
        if let Some(thread) = &self.thread
            && thread.jobs.send(job).is_err()
        {
            tracing::warn!("the thread that prepares log segments has stopped");
        }
    }
}

impl Drop for Preparer {
    /// Waits until what was asked for is done, so that nothing touches the folder after its lock is gone.
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The thread ends when nobody can ask it for more; it must not end because nobody takes what it prepares.
        let Thread { jobs, prepared, handle } = thread;
        drop(jobs);
        let ended = handle.join();
        drop(prepared);
        if ended.is_err() {
            tracing::error!("the thread that prepares log segments panicked");
        }
    }
}

/// Oldest first, each durable before the next goes: a gap in the numbers would be taken for a loss.
///
/// What could not be removed is tried again with the next ones, and when the log is opened; nothing but space is lost.
fn remove(disk: &Disk, unwanted: &mut VecDeque<u64>) {
    while let Some(number) = unwanted.front().copied() {
        failpoints::hit(Point::BeforeRemove);
        let removed = disk.remove_segment(number).and_then(|()| {
            failpoints::hit(Point::AfterRemove);
            disk.sync_folder()
        });
        if let Err(error) = removed
            && error.kind() != io::ErrorKind::NotFound
        {
            let file = disk.segment_path(number);
            tracing::warn!(file = %file.display(), %error, "a log segment could not be removed");
            return;
        }
        unwanted.pop_front();
    }
}
