//! Faults on purpose: the seam by which a test, or a node that was told to, makes the disk fail.
//!
//! A [`FaultHook`] is asked before each step on the disk and may let it pass, fail it, shorten it, or simply not
//! return until it is let go. [`ScriptedFaults`] is the one that can be written in a line, for a process that cannot
//! be handed an object.
//!
//! Rejected: a whole file system behind a trait. What has to be tested is what the engine does with the kernel's
//! answers; a second file system would be tested instead.

use std::fmt::Debug;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};

/// What the engine is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskStep {
    /// One write that has to be durable when it returns.
    Append {
        /// How much is written.
        bytes: usize,
    },
    /// Making the next segment and taking its space. Runs on the engine's second thread.
    Allocate {
        /// How much space.
        bytes: u64,
    },
    /// Making created or removed names durable. Runs on the engine's second thread, but for the first segment.
    SyncFolder,
}

/// What is to come of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Proceed,
    /// It is not done, and fails with this system error number.
    Fail(i32),
    /// It is done, but its sync is reported as failed with this system error number; only an append has one.
    FailSync(i32),
    /// The first system call writes only so many bytes, as the kernel may; the rest has to be written by another.
    Short(usize),
}

/// Asked before each step on the disk, on the thread that takes it; it may block, and the engine's thread with it.
pub trait FaultHook: Send + Sync + Debug {
    /// What is to come of this step.
    fn before(&self, step: DiskStep) -> Verdict;
}

/// Faults from a line of text: `what=N` items separated by commas, N counted from 1.
///
/// - `fail-sync=N`: the N-th append and all later ones fail in their sync, with the bytes written;
/// - `hang-sync=N`: the N-th append does not return until [`ScriptedFaults::release`];
/// - `full-disk=N`: from the N-th append on there is no space;
/// - `full-allocate=N`: there is no space for the N-th prepared segment, nor for later ones;
/// - `short-write=N`: the N-th append is written in two system calls.
#[derive(Debug, Default)]
pub struct ScriptedFaults {
    fail_sync: Option<u64>,
    hang_sync: Option<u64>,
    full_disk: Option<u64>,
    full_allocate: Option<u64>,
    short_write: Option<u64>,
    appends: AtomicU64,
    allocations: AtomicU64,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    hanging: bool,
    released: bool,
}

/// A fault script cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{item}` is no fault: fail-sync=N, hang-sync=N, full-disk=N, full-allocate=N and short-write=N are")]
pub struct FaultScriptError {
    /// The item that was not understood.
    pub item: String,
}

impl FaultScriptError {
    /// What kind of condition this is.
    pub const fn kind(&self) -> revoada_core::error::ErrorKind {
        revoada_core::error::ErrorKind::Invalid
    }
}

impl FromStr for ScriptedFaults {
    type Err = FaultScriptError;

    fn from_str(script: &str) -> Result<Self, Self::Err> {
        let mut faults = Self::default();
        for item in script.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let unknown = || FaultScriptError { item: item.to_owned() };
            let (what, count) = item.split_once('=').ok_or_else(unknown)?;
            let count = count
                .parse::<u64>()
                .ok()
                .filter(|count| *count > 0)
                .ok_or_else(unknown)?;
            let place = match what {
                "fail-sync" => &mut faults.fail_sync,
                "hang-sync" => &mut faults.hang_sync,
                "full-disk" => &mut faults.full_disk,
                "full-allocate" => &mut faults.full_allocate,
                "short-write" => &mut faults.short_write,
                _ => return Err(unknown()),
            };
            *place = Some(count);
        }
        Ok(faults)
    }
}

impl ScriptedFaults {
    /// Lets hanging steps go on, now and later.
    pub fn release(&self) {
        self.gate.lock().released = true;
        self.changed.notify_all();
    }

    /// Returns once a step hangs, or was let go.
    pub fn wait_until_hanging(&self) {
        let mut gate = self.gate.lock();
        while !gate.hanging && !gate.released {
            self.changed.wait(&mut gate);
        }
    }

    /// How many appends were asked about.
    pub fn appends(&self) -> u64 {
        self.appends.load(Ordering::SeqCst)
    }
}

impl FaultHook for ScriptedFaults {
    fn before(&self, step: DiskStep) -> Verdict {
        let reached = |limit: Option<u64>, count: u64| limit.is_some_and(|limit| count >= limit);
        match step {
            DiskStep::Append { bytes } => {
                let count = self.appends.fetch_add(1, Ordering::SeqCst) + 1;
                if self.hang_sync == Some(count) {
                    let mut gate = self.gate.lock();
                    gate.hanging = true;
                    self.changed.notify_all();
                    while !gate.released {
                        self.changed.wait(&mut gate);
                    }
                }
                if reached(self.full_disk, count) {
                    Verdict::Fail(rustix::io::Errno::NOSPC.raw_os_error())
                } else if reached(self.fail_sync, count) {
                    Verdict::FailSync(rustix::io::Errno::IO.raw_os_error())
                } else if self.short_write == Some(count) {
                    Verdict::Short(bytes / 2)
                } else {
                    Verdict::Proceed
                }
            }
            DiskStep::Allocate { .. } => {
                let count = self.allocations.fetch_add(1, Ordering::SeqCst) + 1;
                if reached(self.full_allocate, count) {
                    Verdict::Fail(rustix::io::Errno::NOSPC.raw_os_error())
                } else {
                    Verdict::Proceed
                }
            }
            DiskStep::SyncFolder => Verdict::Proceed,
        }
    }
}

/// The `io::Error` of a verdict's number.
pub(super) fn error_of(number: i32) -> io::Error {
    io::Error::from_raw_os_error(number)
}
