//! The log's writer without a thread: whoever has none to give it, because time is not real, drives it step by step.
//!
//! A step does what the thread does between two waits, so the two cannot differ in what they write.

use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;

use super::state::Shared;
use super::writer::Writer;

/// Drives the writers of the logs that it is given.
pub trait LogDriver: Send + Sync + Debug {
    /// Takes a log that was just opened. Returns at once.
    fn drive(&self, log: DrivenLog);
}

/// A log's writer, to be driven. Clones are the same.
#[derive(Clone)]
pub struct DrivenLog {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Option<Writer>>>,
}

impl Debug for DrivenLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DrivenLog")
            .field("folder", &self.shared.folder)
            .finish_non_exhaustive()
    }
}

impl DrivenLog {
    pub(super) fn new(shared: Arc<Shared>, writer: Writer) -> Self {
        Self {
            shared,
            writer: Arc::new(Mutex::new(Some(writer))),
        }
    }

    /// Resolves when there is something to write; false when there never will be again. Cancel-safe.
    pub async fn has_work(&self) -> bool {
        loop {
            {
                let state = self.shared.state.lock();
                if state.failed.is_some() || state.closing {
                    return false;
                }
                if state.has_work() {
                    return true;
                }
            }
            match &self.shared.bell.task {
                Some(task) => task.notified().await,
                None => return false,
            }
        }
    }

    /// Writes what waits, as one batch, and completes it. False when the log has stopped.
    pub fn step(&self) -> bool {
        let mut writer = self.writer.lock();
        let batch = {
            let mut state = self.shared.state.lock();
            if !state.has_work() {
                return state.failed.is_none();
            }
            state.take_batch()
        };
        let went_well = writer.as_mut().is_some_and(|writer| writer.complete(batch));
        if !went_well {
            writer.take();
        }
        went_well
    }

    /// Leaves the mark of a log at rest; see the writer.
    pub fn rest(&self) {
        if let Some(writer) = self.writer.lock().as_mut() {
            writer.mark();
        }
    }

    /// Writes everything that waits and lets go of the files.
    pub(super) fn finish(&self) {
        while self.shared.state.lock().has_work() && self.step() {}
        if let Some(mut writer) = self.writer.lock().take()
            && self.shared.state.lock().failed.is_none()
        {
            writer.mark();
        }
    }
}
