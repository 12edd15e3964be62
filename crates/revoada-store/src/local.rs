//! A keyspace in one process: what the memory and the folder backend have in common.
//!
//! Operations are done one after the other on a copy of the root, which costs nothing. The copy is made durable
//! first, where there is something to make it so, and becomes the state only then: a reader never sees what a crash
//! could take back. Rejected: changing the state in place and undoing it when the disk refuses.

use parking_lot::{Mutex, RwLock};
use revoada_core::keyspace::{Keyspace as View, Operation, Outcome, Revision};
use tokio::sync::watch;

use crate::keyspace::KeyspaceError;
use crate::limits::{HISTORY_BYTES_MAX, HISTORY_EVENTS_MAX};

/// What has to happen before an operation may be seen.
pub(crate) trait Durability: Send {
    /// Makes the difference between `before` and `after` durable, or fails with nothing changed, or with
    /// `OutcomeUnknown`.
    fn commit(&mut self, before: &View, after: &View, operation: &Operation) -> Result<(), KeyspaceError>;
}

/// Nothing has to happen: what is in memory is lost with it.
#[derive(Debug)]
pub(crate) struct Volatile;

impl Durability for Volatile {
    fn commit(&mut self, _: &View, _: &View, _: &Operation) -> Result<(), KeyspaceError> {
        Ok(())
    }
}

/// The state, and the order of what changes it.
pub(crate) struct Local<D> {
    state: RwLock<View>,
    /// Held from reading the state to replacing it: the order of operations.
    order: Mutex<D>,
    newest: watch::Sender<Revision>,
}

impl<D: Durability> Local<D> {
    pub(crate) fn new(state: View, durability: D) -> Self {
        let newest = watch::Sender::new(state.revision());
        Self {
            state: RwLock::new(state),
            order: Mutex::new(durability),
            newest,
        }
    }

    /// Does an operation. Blocks for as long as it takes to make it durable.
    pub(crate) fn execute(&self, operation: Operation) -> Result<Outcome, KeyspaceError> {
        let mut durability = self.order.lock();
        let before = self.view();
        let mut after = before.clone();
        let outcome = after.apply(operation.clone())?;
        if outcome.changed {
            durability.commit(&before, &after, &operation)?;
            bound_history(&mut after);
        }
        *self.state.write() = after;
        // A compaction changes no revision, and watchers behind it are to learn of it, too: all are woken.
        self.newest.send_replace(outcome.revision);
        Ok(outcome)
    }

    pub(crate) fn view(&self) -> View {
        self.state.read().clone()
    }

    /// Returns when the state is above `revision`.
    pub(crate) async fn changed(&self, revision: Revision) -> Option<Revision> {
        let mut newest = self.newest.subscribe();
        // The sender lives as long as `self`, which is borrowed here.
        newest
            .wait_for(|newest| *newest > revision)
            .await
            .ok()
            .map(|newest| *newest)
    }

    /// Looks at the durability without anybody writing meanwhile.
    pub(crate) fn with_durability<T>(&self, look: impl FnOnce(&D) -> T) -> T {
        look(&self.order.lock())
    }
}

/// Forgets the older half of the history while it is larger than allowed.
fn bound_history(view: &mut View) {
    while view.history_events() > HISTORY_EVENTS_MAX || view.history_bytes() > HISTORY_BYTES_MAX {
        let oldest = view.oldest_readable();
        let middle = oldest + (view.revision() - oldest).div_ceil(2);
        if middle <= oldest || view.apply(Operation::Compact { revision: middle }).is_err() {
            return;
        }
    }
}
