//! The state machine as openraft drives it: applies batches in memory, and writes checkpoints beside the traffic.
//!
//! Applying holds the lock for one batch and never while anything is read from or written to disk: a reader clones the
//! root, and a checkpoint is written from a clone on a thread of its own.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::async_runtime::watch::{Watch, WatchReceiver as _, WatchSender as _};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend};
use parking_lot::{Mutex, RwLock};
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_core::machine::{ClusterState, Command, Context};

use super::checkpoint::{CheckpointFile, Checkpoints};
use super::seats::Seats;
use super::types::{LogId, Replies, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::failpoints::{self, Point};
use crate::runtime::{Announcer, Runtime, Tokio, Watched};

/// How far the state machine has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// The index of the last applied entry; 0 before the first.
    pub index: u64,
    /// The keyspace's revision.
    pub revision: u64,
    /// The number of blocks in the chain.
    pub blocks: u64,
}

/// The applied state and where it stands in the log. Shared by the machine that writes and everyone who reads.
pub struct Shared<R: Runtime = Tokio> {
    state: RwLock<Position>,
    applied: Watched<R, Applied>,
    /// Locked for a moment behind each batch.
    announcer: Mutex<Announcer<R, Applied>>,
}

struct Position {
    state: ClusterState,
    last_applied: Option<LogId>,
    membership: StoredMembership,
}

impl<R: Runtime> Shared<R> {
    /// Looks at the applied state. `look` must be short: applying waits for it. To read much, clone the root.
    pub fn read<T>(&self, look: impl FnOnce(&ClusterState) -> T) -> T {
        look(&self.state.read().state)
    }

    /// The same with the index of the last entry in it.
    pub fn read_at<T>(&self, look: impl FnOnce(u64, &ClusterState) -> T) -> T {
        let position = self.state.read();
        look(position.last_applied.map_or(0, |id| id.index), &position.state)
    }

    /// How far it has come, and a way to wait for more.
    pub fn applied(&self) -> Watched<R, Applied> {
        let mut applied = self.applied.clone();
        applied.borrow_and_update();
        applied
    }

    fn publish(&self, applied: Applied) {
        self.announcer.lock().send_if_modified(|current| {
            *current = applied;
            true
        });
    }
}

/// See the module.
pub struct Machine<R: Runtime = Tokio> {
    shared: Arc<Shared<R>>,
    checkpoints: Arc<Checkpoints>,
    seats: Arc<Seats>,
}

impl<R: Runtime> Machine<R> {
    /// A machine that starts from the newest checkpoint, or from the genesis.
    pub fn new(
        genesis: &Arc<Genesis>,
        checkpoints: Arc<Checkpoints>,
        loaded: Option<(SnapshotMeta, ClusterState)>,
        seats: Arc<Seats>,
    ) -> Self {
        let (meta, state) = match loaded {
            Some((meta, state)) => (Some(meta), state),
            None => (None, ClusterState::new(genesis)),
        };
        let (last_applied, membership) =
            meta.map_or_else(Default::default, |meta| (meta.last_log_id, meta.last_membership));
        let position = Position {
            state,
            last_applied,
            membership,
        };
        let (announcer, applied) = R::Watch::channel(applied(&position));
        Self {
            shared: Arc::new(Shared {
                state: RwLock::new(position),
                applied,
                announcer: Mutex::new(announcer),
            }),
            checkpoints,
            seats,
        }
    }

    /// The last applied entry.
    pub fn last_applied(&self) -> Option<LogId> {
        self.shared.state.read().last_applied
    }

    /// What readers use.
    pub fn shared(&self) -> &Arc<Shared<R>> {
        &self.shared
    }
}

fn applied(position: &Position) -> Applied {
    Applied {
        index: position.last_applied.as_ref().map_or(0, |id| id.index),
        revision: position.state.keyspace().revision(),
        blocks: position.state.chain().len(),
    }
}

impl<R: Runtime> RaftStateMachine<Types<R>> for Machine<R> {
    type SnapshotData = CheckpointFile;
    type SnapshotBuilder = Builder<R>;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.shared.state.read();
        Ok((position.last_applied, position.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types<R>>>> + Unpin + OptionalSend,
    {
        let mut bytes = 0;
        while let Some((entry, responder)) = entries.try_next().await? {
            failpoints::hit(Point::BeforeApply);
            let term = entry.log_id.committed_leader_id().term;
            let replies = {
                let mut position = self.shared.state.write();
                let replies = match &entry.payload {
                    EntryPayload::Blank => Replies::default(),
                    EntryPayload::Normal(batch) => {
                        let commands = Command::decode_batch(&batch.0).map_err(io::Error::other)?;
                        let context = Context {
                            index: entry.log_id.index,
                            term,
                        };
                        Replies(
                            commands
                                .into_iter()
                                .map(|command| position.state.apply(command, context))
                                .collect(),
                        )
                    }
                    EntryPayload::Membership(membership) => {
                        position.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                        Replies::default()
                    }
                };
                position.last_applied = Some(entry.log_id);
                replies
            };
            failpoints::hit(Point::AfterApply);
            if let Some(responder) = responder {
                responder.send(replies);
            }
            if let EntryPayload::Normal(batch) = &entry.payload {
                bytes += batch.0.len();
            }
            // A node that catches up has much to apply, and everything that is heard and said shares its thread.
            if bytes >= limits::APPLY_BYTES_PER_TURN {
                bytes = 0;
                self.shared.publish(applied(&self.shared.state.read()));
                R::yield_now().await;
            }
        }
        self.shared.publish(applied(&self.shared.state.read()));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder<R> {
        let position = self.shared.state.read();
        let meta = SnapshotMeta {
            last_log_id: position.last_applied.map(|mut last| {
                last.index += u64::from(is_planted(Bug::CheckpointWithoutTail));
                last
            }),
            last_membership: position.membership.clone(),
        };
        Builder {
            meta,
            state: Some(position.state.clone()),
            checkpoints: self.checkpoints.clone(),
            runtime: PhantomData,
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, file: CheckpointFile) -> io::Result<()> {
        let (checkpoints, announced) = (self.checkpoints.clone(), meta.last_log_id);
        let (found, state) = R::blocking(move || {
            let (found, state) = checkpoints.read(file.path()).map_err(io::Error::other)?;
            if found.last_log_id != announced {
                let what = "the checkpoint is not the one that was announced";
                return Err(io::Error::new(io::ErrorKind::InvalidData, what));
            }
            failpoints::hit(Point::BeforeInstall);
            checkpoints.adopt(found.clone(), file).map_err(io::Error::other)?;
            failpoints::hit(Point::AfterInstall);
            Ok((found, state))
        })
        .await??;
        let next = Position {
            state,
            last_applied: found.last_log_id,
            membership: found.last_membership,
        };
        if let Some(at) = next.membership.log_id() {
            let last = next.last_applied.map_or(0, |last| last.index);
            self.seats.install(last, at.index, next.membership.membership().clone());
        }
        let applied = applied(&next);
        let old = std::mem::replace(&mut *self.shared.state.write(), next);
        self.shared.publish(applied);
        // Taking a state apart takes as long as it is large: not under the lock, and not where heartbeats wait for it.
        R::detach_blocking(move || drop(old));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(self
            .checkpoints
            .current()
            .map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes one checkpoint from a clone of the state.
pub struct Builder<R: Runtime> {
    meta: SnapshotMeta,
    /// Given away when it is written.
    pub(super) state: Option<ClusterState>,
    checkpoints: Arc<Checkpoints>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> RaftSnapshotBuilder<Types<R>> for Builder<R> {
    type SnapshotData = CheckpointFile;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let (meta, checkpoints) = (self.meta.clone(), self.checkpoints.clone());
        let written = || io::Error::other("this checkpoint was written before");
        let state = self.state.take().ok_or_else(written)?;
        // The state goes with the closure. It holds much that nobody else does, and taking that apart here would keep
        // heartbeats waiting.
        let snapshot = R::blocking(move || checkpoints.write(meta, state))
            .await?
            .map_err(io::Error::other)?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot,
        })
    }
}
