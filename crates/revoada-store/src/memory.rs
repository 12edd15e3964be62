//! A keyspace that lives as long as its process: for tests, for trying things out, and as the measure of the others.

use std::sync::Arc;

use async_trait::async_trait;
use revoada_core::keyspace::{Keyspace as View, Operation, Outcome, Revision};

use crate::audit::Clock;
use crate::capability::{Capabilities, Capability};
use crate::keyspace::{Consistency, Keyspace, KeyspaceError, SnapshotExtras};
use crate::keyspace_backend::KeyspaceBackend;
use crate::limits::LEASES_EXPIRED_MAX;
use crate::local::{Local, Volatile};

/// Keeps resources in memory. Everything that a keyspace can do, and nothing survives the process.
pub type MemoryBackend = KeyspaceBackend<MemoryKeyspace>;

impl MemoryBackend {
    /// The name used in declarations.
    pub const NAME: &'static str = "memory";

    const CAPABILITIES: Capabilities = Capabilities::of(&Capability::ALL)
        .without(Capability::Durable)
        .without(Capability::Replicated);

    /// An empty one. Leases do not run out in it, as it has no clock; see [`MemoryKeyspace::with_clock`].
    pub fn new() -> Self {
        Self::over(Arc::new(MemoryKeyspace::new()))
    }

    /// The resources of a keyspace that is used in other ways, too.
    pub fn over(keyspace: Arc<MemoryKeyspace>) -> Self {
        Self::on(Self::NAME, Self::CAPABILITIES, keyspace)
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

/// A keyspace in memory.
pub struct MemoryKeyspace {
    local: Local<Volatile>,
    clock: Clock,
}

impl MemoryKeyspace {
    /// An empty one, whose time stands still: leases do not run out.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(|| 0))
    }

    /// An empty one, whose leases run out by this clock (milliseconds since the Unix epoch): when it is next used,
    /// or when [`Self::expire_leases`] is called.
    pub fn with_clock(clock: Clock) -> Self {
        Self {
            local: Local::new(View::new(), Volatile),
            clock,
        }
    }

    /// Ends the leases whose time is over, for whoever has a timer.
    pub fn expire_leases(&self) {
        let now_ms = (self.clock)();
        loop {
            let ids = self.local.view().leases_over(now_ms, LEASES_EXPIRED_MAX);
            if ids.is_empty() || self.local.execute(Operation::LeaseExpire { ids, now_ms }).is_err() {
                return;
            }
        }
    }
}

impl Default for MemoryKeyspace {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Keyspace for MemoryKeyspace {
    async fn execute(&self, mut operation: Operation) -> Result<Outcome, KeyspaceError> {
        self.expire_leases();
        stamp(&mut operation, (self.clock)());
        self.local.execute(operation)
    }

    async fn view(&self, _: Consistency) -> Result<View, KeyspaceError> {
        Ok(self.view_at_hand())
    }

    fn view_at_hand(&self) -> View {
        self.expire_leases();
        self.local.view()
    }

    async fn changed(&self, revision: Revision) -> Option<Revision> {
        self.local.changed(revision).await
    }

    fn snapshot_extras(&self) -> SnapshotExtras {
        SnapshotExtras::of(&self.view_at_hand())
    }
}

/// Puts the keyspace's own time into an operation that holds one.
pub fn stamp(operation: &mut Operation, now: u64) {
    match operation {
        Operation::LeaseGrant { now_ms, .. }
        | Operation::LeaseKeepAlive { now_ms, .. }
        | Operation::LeaseExpire { now_ms, .. } => *now_ms = now,
        Operation::Restore(restore) => restore.now_ms = now,
        Operation::Txn(_) | Operation::Compact { .. } | Operation::LeaseRevoke { .. } => {}
    }
}
