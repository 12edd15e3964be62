//! The keyspace of a running cluster, as the store's port has it: writes through consensus, reads from this node's state.
//!
//! With [`KeyspaceBackend`] on top it is the backend named `openraft`. A restore is cut into parts that fit a log entry
//! and takes effect with the last one.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::{Keyspace as View, Operation, Outcome, Restore, RestoredLease, Revision};
use revoada_core::limits;
use revoada_core::machine::{Command, Done};
use revoada_core::snapshot::section;
use revoada_store::{
    Capabilities, Capability, Check, Consistency, Keyspace, KeyspaceBackend, KeyspaceError, SnapshotExtras,
    SnapshotSection, stamp,
};

use crate::consensus::{Consensus, ProposeError};
use crate::runtime::{Runtime, Tokio, wait_until};

/// Resources kept by the cluster's own Raft group.
pub type RaftBackend<R = Tokio> = KeyspaceBackend<RaftKeyspace<R>>;

/// See the module.
pub struct RaftKeyspace<R: Runtime = Tokio> {
    consensus: Consensus<R>,
    clock_ms: Clock,
    restore_id: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// A clock: milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What resources kept by Raft can do: everything that a keyspace can, durably and on several nodes.
pub const RAFT_CAPABILITIES: Capabilities = Capabilities::of(&[
    Capability::CompareAndSet,
    Capability::ReadAtRevision,
    Capability::Watch,
    Capability::WatchResume,
    Capability::Verbatim,
    Capability::Snapshot,
    Capability::Restore,
    Capability::Transactions,
    Capability::Leases,
    Capability::Durable,
    Capability::Replicated,
]);

/// The backend named `openraft`. `restore_id` draws a number for each restore, so that two at once cannot be mixed up.
pub fn raft_backend<R: Runtime>(
    consensus: Consensus<R>,
    clock_ms: Clock,
    restore_id: Arc<dyn Fn() -> u64 + Send + Sync>,
) -> RaftBackend<R> {
    let keyspace = RaftKeyspace::new(consensus, clock_ms, restore_id);
    KeyspaceBackend::on("openraft", RAFT_CAPABILITIES, Arc::new(keyspace))
}

impl<R: Runtime> RaftKeyspace<R> {
    /// The keyspace of the cluster that `consensus` is of; `restore_id` as in [`raft_backend`].
    pub fn new(consensus: Consensus<R>, clock_ms: Clock, restore_id: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self {
            consensus,
            clock_ms,
            restore_id,
        }
    }

    async fn run(&self, command: Command) -> Result<Done, KeyspaceError> {
        match self.consensus.propose(command).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(refused)) => Err(match refused.operation {
                Some(operation) => KeyspaceError::Refused(*operation),
                None if refused.kind == ErrorKind::Exhausted => KeyspaceError::Exhausted {
                    what: refused.reason,
                    source: None,
                },
                None => KeyspaceError::Unavailable {
                    what: refused.reason,
                    source: None,
                },
            }),
            Err(ProposeError::Unavailable(what)) => Err(KeyspaceError::Unavailable { what, source: None }),
            Err(ProposeError::OutcomeUnknown(what)) if is_planted(Bug::RefusesTheUnknown) => {
                Err(KeyspaceError::Unavailable { what, source: None })
            }
            Err(ProposeError::OutcomeUnknown(what)) => Err(KeyspaceError::OutcomeUnknown { what, source: None }),
            Err(error @ ProposeError::TooLarge { .. }) => Err(KeyspaceError::Exhausted {
                what: error.to_string(),
                source: None,
            }),
        }
    }

    async fn restore(&self, restore: Restore) -> Result<Done, KeyspaceError> {
        let id = (self.restore_id)();
        let mut first = true;
        let mut entries = restore.entries.into_iter().peekable();
        let mut numbers = restore.numbers.into_iter();
        let mut leases = restore.leases.into_iter().flat_map(parts_of).peekable();
        while first || entries.peek().is_some() || leases.peek().is_some() {
            let mut room = limits::BATCH_BYTES_MAX;
            let mut fits = |bytes: usize| {
                let fits = room == limits::BATCH_BYTES_MAX || bytes <= room;
                room = room.saturating_sub(if fits { bytes } else { 0 });
                fits
            };
            let entries = iter::from_fn(|| entries.next_if(|(key, value)| fits(key.len() + value.len())));
            let entries: Vec<_> = entries.collect();
            let numbers = numbers.by_ref().take(entries.len()).collect();
            let leases = iter::from_fn(|| leases.next_if(|lease| fits(lease_bytes(lease)))).collect();
            self.run(Command::Stage {
                id,
                first,
                entries,
                numbers,
                leases,
            })
            .await?;
            first = false;
        }
        self.run(Command::RestoreStaged {
            id,
            prefix: restore.prefix,
            also: restore.also,
            revision: restore.revision,
            now_ms: (self.clock_ms)(),
        })
        .await
    }
}

/// How large a lease is in a command, about.
fn lease_bytes(lease: &RestoredLease) -> usize {
    32 + lease.keys.iter().map(|key| key.len() + 16).sum::<usize>()
}

/// A lease in parts that fit a log entry each.
fn parts_of(lease: RestoredLease) -> impl Iterator<Item = RestoredLease> {
    let keys_max = limits::BATCH_BYTES_MAX / (limits::KEY_BYTES_MAX + 64);
    let RestoredLease { id, ttl_ms, keys } = lease;
    let none = keys.is_empty().then(Vec::new);
    let parts: Vec<_> = keys.chunks(keys_max).map(<[Bytes]>::to_vec).chain(none).collect();
    parts.into_iter().map(move |keys| RestoredLease { id, ttl_ms, keys })
}

#[async_trait]
impl<R: Runtime> Keyspace for RaftKeyspace<R> {
    async fn execute(&self, operation: Operation) -> Result<Outcome, KeyspaceError> {
        let done = match operation {
            Operation::Restore(restore) => self.restore(restore).await?,
            mut operation => {
                stamp(&mut operation, (self.clock_ms)());
                self.run(Command::Keyspace(operation)).await?
            }
        };
        match done {
            Done::Keyspace(outcome) => Ok(*outcome),
            other => Err(KeyspaceError::OutcomeUnknown {
                what: format!("it was answered by something else: {other:?}"),
                source: None,
            }),
        }
    }

    async fn view(&self, consistency: Consistency) -> Result<View, KeyspaceError> {
        if consistency == Consistency::Linearizable && !is_planted(Bug::ReadsStale) {
            self.consensus
                .newest()
                .await
                .map_err(|error| KeyspaceError::Unavailable {
                    what: error.to_string(),
                    source: None,
                })?;
        }
        Ok(self.view_at_hand())
    }

    fn view_at_hand(&self) -> View {
        self.consensus.read(|state| state.keyspace().clone())
    }

    fn look(&self, look: &mut dyn FnMut(&View)) {
        self.consensus.read(|state| look(state.keyspace()));
    }

    async fn changed(&self, revision: Revision) -> Option<Revision> {
        let mut applied = self.consensus.applied();
        let look = Duration::from_millis(limits::LEFT_OUT_LOOK_MS);
        loop {
            // A node that is drained, or no standby any more, would be silent for ever.
            tokio::select! {
                biased;
                newer = wait_until::<R, _>(&mut applied, |applied| applied.revision > revision) => {
                    return newer.map(|newer| newer.revision);
                }
                () = R::sleep(look) => {}
            }
            if self.consensus.is_left_out().await {
                return None;
            }
        }
    }

    async fn checks(&self) -> Vec<Check> {
        let view = self.consensus.view();
        // A leader that died is known until there is another.
        let silence = match view.leads {
            true if view.voters.len() == 1 => Some(Duration::ZERO),
            true => view.quorum_answered,
            false => Some(self.consensus.heard_leader()),
        };
        let silent = silence.is_none_or(|silence| silence > Duration::from_millis(limits::QUORUM_SILENCE_MS_MAX));
        let (ok, detail) = match view.leader {
            Some(leader) => {
                let name = self.consensus.name_of(&leader);
                match silent {
                    false => (true, format!("{name} leads in term {}", view.term)),
                    true if view.leads => (
                        false,
                        format!("no majority answers {name}, which led in term {}", view.term),
                    ),
                    true => (false, format!("{name} led in term {}, and is not heard of", view.term)),
                }
            }
            None => (false, format!("no leader is known in term {}", view.term)),
        };
        vec![Check {
            name: "quorum".to_owned(),
            ok,
            detail,
        }]
    }

    fn snapshot_extras(&self) -> SnapshotExtras {
        let (roles, chain, view) = self.consensus.read(|state| {
            let view = state.keyspace().clone();
            (state.roles().clone(), state.chain().clone(), view)
        });
        let roles = cbor4ii::serde::to_vec(Vec::new(), &*roles)
            .expect("a vector takes every write, and nothing in roles has keys that CBOR lacks");
        let section = |name: &str, content| SnapshotSection {
            name: name.to_owned(),
            content,
        };
        let mut extras = SnapshotExtras::of(&view);
        extras.declaration = self.consensus.declaration().to_owned();
        extras.sections.insert(0, section(section::ROLES, roles.into()));
        extras
            .sections
            .insert(1, section(section::CHAIN, chain.export().into()));
        extras
    }

    fn freshness_ms(&self) -> u64 {
        let view = self.consensus.view();
        let since_leader = if view.leads {
            view.quorum_answered
        } else {
            Some(self.consensus.heard_leader())
        };
        since_leader.map_or(0, |since| since.as_millis() as u64)
    }
}
