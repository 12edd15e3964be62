//! The port to a keyspace, for what faces need beyond resources: transactions, ranges, watches of keys, leases.
//!
//! It is three questions. A change is an operation of core's keyspace, sent to wherever operations are put in order. A
//! read is a *view*: a root of the persistent map, which costs nothing, blocks nobody and answers everything (ranges
//! at a revision, events, leases) without another call. And a watcher asks to be woken. Rejected: one method for each
//! thing that can be read; it repeats core's keyspace one level up, and every read pays for its own confirmation.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::{
    Answer, Event, KeyRange, Keyspace as View, Operation, OperationRefused, Outcome, Revision, Txn, TxnAnswer, space,
};
use revoada_core::planted::{Bug, is_planted};
use revoada_core::snapshot::section;

use crate::backend::Check;
use crate::error::{Cause, StoreError};
use crate::limits::WATCH_EVENTS_MAX;

/// What a keyspace can answer instead of its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyspaceError {
    /// The operation was refused; nothing was changed.
    #[error("the operation was refused")]
    Refused(#[source] OperationRefused),
    /// This keyspace cannot do it, now or later.
    #[error("the {keyspace} keyspace cannot {what}")]
    Unsupported {
        /// The keyspace's name.
        keyspace: String,
        /// What it cannot do.
        what: &'static str,
    },
    /// It cannot be done now; nothing was changed.
    #[error("{what}")]
    Unavailable {
        /// What is missing.
        what: String,
        /// What failed, if another component did.
        #[source]
        source: Option<Cause>,
    },
    /// A limit was reached; nothing was changed.
    #[error("{what}")]
    Exhausted {
        /// Which limit.
        what: String,
        /// What failed, if another component did.
        #[source]
        source: Option<Cause>,
    },
    /// It was sent and no answer came: it may or may not have happened, and may still happen.
    #[error("the outcome is unknown: {what}")]
    OutcomeUnknown {
        /// What was sent.
        what: String,
        /// What failed, if another component did.
        #[source]
        source: Option<Cause>,
    },
}

impl KeyspaceError {
    /// Which condition it is, for callers that branch.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refused) => refused.kind(),
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Exhausted { .. } => ErrorKind::Exhausted,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
        }
    }
}

impl From<OperationRefused> for KeyspaceError {
    fn from(refused: OperationRefused) -> Self {
        Self::Refused(refused)
    }
}

/// For verbs on resources, whose operations are well formed and hold no leases: a refusal is then about size or space.
impl From<KeyspaceError> for StoreError {
    fn from(error: KeyspaceError) -> Self {
        match error {
            KeyspaceError::Refused(refused) => match refused.kind() {
                ErrorKind::Exhausted => Self::Exhausted(crate::error::Exhausted {
                    what: "the keyspace is full".to_owned(),
                    source: Some(refused.into()),
                }),
                _ => Self::invalid_because("the keyspace refused it", refused),
            },
            KeyspaceError::Unsupported { keyspace, what } => {
                Self::invalid(format_args!("the {keyspace} keyspace cannot {what}"))
            }
            KeyspaceError::Unavailable { what, source } => {
                Self::Unavailable(crate::error::Unavailable { what, source })
            }
            KeyspaceError::Exhausted { what, source } => Self::Exhausted(crate::error::Exhausted { what, source }),
            KeyspaceError::OutcomeUnknown { what, source } => {
                Self::OutcomeUnknown(crate::error::OutcomeUnknown { what, source })
            }
        }
    }
}

/// How new a view has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Consistency {
    /// At least everything that was acknowledged to anybody before the call.
    #[default]
    Linearizable,
    /// Whatever is at hand.
    Stale,
}

/// What a snapshot holds beside resources: for whoever starts a cluster from it, and passed over by everyone else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotExtras {
    /// The declaration of the cluster, as text; empty where there is none.
    pub declaration: String,
    /// The prefixes of keys beside resources that belong to the snapshot.
    pub spaces: Vec<Bytes>,
    /// Sections by name, see `revoada_core::snapshot::section`.
    pub sections: Vec<crate::keyspace_backend::SnapshotSection>,
}

impl SnapshotExtras {
    /// What every keyspace that has more than resources adds: the keys beside them, and their leases.
    pub fn of(view: &View) -> Self {
        Self {
            declaration: String::new(),
            spaces: space::ALL.map(Bytes::from_static).into(),
            sections: vec![crate::keyspace_backend::SnapshotSection {
                name: section::LEASES.to_owned(),
                content: Self::leases_of(view),
            }],
        }
    }

    /// The section of leases of a view: those that its keys are attached to.
    pub(crate) fn leases_of(view: &View) -> Bytes {
        let leases: Vec<_> = view.leases().map(|lease| (lease.id, lease.ttl_ms)).collect();
        cbor4ii::serde::to_vec(Vec::new(), &leases)
            .unwrap_or_else(|_| unreachable!("a vector takes every write, and numbers have no keys that CBOR lacks"))
            .into()
    }
}

/// A keyspace that takes operations.
///
/// To ensure correctness:
/// - Operations take effect one after the other, in the order of their revisions, everywhere the same.
/// - When `execute` returns `Ok`, every later linearizable view holds it, and it is as durable as the backend says.
/// - A view never changes, and the revisions of views taken one after the other on one handle never go back.
/// - Whoever runs it expires leases and bounds the history: nobody else does.
#[async_trait]
pub trait Keyspace: Send + Sync {
    /// Does one operation. The times in lease operations (`now_ms`) are the keyspace's own: what the caller puts there
    /// is overwritten.
    ///
    /// Dropping the future leaves the outcome unknown.
    async fn execute(&self, operation: Operation) -> Result<Outcome, KeyspaceError>;

    /// The state, to be read at leisure. Fails only with `Unavailable`, and never if `consistency` is stale.
    async fn view(&self, consistency: Consistency) -> Result<View, KeyspaceError>;

    /// The state at hand, as `view` gives it for [`Consistency::Stale`].
    fn view_at_hand(&self) -> View;

    /// Looks once at the state at hand without keeping it, which costs less than a view. Nothing changes meanwhile, so
    /// `look` is short: a few keys.
    fn look(&self, look: &mut dyn FnMut(&View)) {
        look(&self.view_at_hand());
    }

    /// Returns when the state at hand is above `revision`, with its revision; at once if it is already.
    /// None when there will be no more changes here: the keyspace was shut down, or what happens no longer reaches it.
    async fn changed(&self, revision: Revision) -> Option<Revision>;

    /// What is worth telling of its health, beyond whether it answers.
    async fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    /// How old the state at hand may be, in milliseconds; 0 where there is only one.
    fn freshness_ms(&self) -> u64 {
        0
    }

    /// What a snapshot of it holds beside resources.
    fn snapshot_extras(&self) -> SnapshotExtras {
        SnapshotExtras::default()
    }

    /// Does a transaction: [`Self::execute`] for the most frequent operation. Returns the keyspace's revision after it.
    async fn txn(&self, txn: Txn) -> Result<(Revision, TxnAnswer), KeyspaceError> {
        let outcome = self.execute(Operation::Txn(txn)).await?;
        match outcome.answer {
            Answer::Txn(answer) => Ok((outcome.revision, answer)),
            other => Err(KeyspaceError::OutcomeUnknown {
                what: format!("a transaction was answered by something else: {other:?}"),
                source: None,
            }),
        }
    }
}

/// What a watcher of keys is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyEvents {
    /// Changes, in order, whole revisions only, at least one.
    Changed(Vec<Event>),
    /// Everything up to this revision was looked at, and nothing in the range has changed since the last item.
    Progress(Revision),
    /// Events are missing: they were compacted, or a restore has replaced everything. Always the last item.
    Compacted {
        /// The oldest revision from which a watch can start now.
        oldest: Revision,
    },
}

/// Watches a range of keys from behind `after`: exactly the changes of later revisions, which may all be in the
/// future. It is the same for every keyspace, and pulls: what is not read costs nothing.
///
/// A `Progress` comes whenever the watcher has caught up with the state at hand without a change in its range; the
/// stream ends behind `Compacted`, and when the keyspace was shut down.
pub fn watch_keys<K: Keyspace + ?Sized + 'static>(
    keyspace: Arc<K>,
    range: KeyRange,
    after: Revision,
) -> KeyEventStream {
    struct Watch<K: ?Sized> {
        keyspace: Arc<K>,
        range: KeyRange,
        position: Revision,
        ended: bool,
        /// What a planted bug tells too late.
        late: Vec<Event>,
    }

    let after = match after {
        after if is_planted(Bug::WatchLosesEvents) => after + 1,
        after if is_planted(Bug::WatchRepeatsEvents) => after.saturating_sub(1).max(1),
        after => after,
    };
    let watch = Watch {
        keyspace,
        range,
        position: after,
        ended: false,
        late: Vec::new(),
    };
    Box::pin(futures::stream::unfold(watch, |mut watch| async move {
        if watch.ended {
            return None;
        }
        if !watch.late.is_empty() {
            return Some((KeyEvents::Changed(std::mem::take(&mut watch.late)), watch));
        }
        loop {
            let view = watch.keyspace.view_at_hand();
            let newest = view.revision();
            if newest <= watch.position && view.oldest_position() <= watch.position {
                drop(view);
                watch.keyspace.changed(watch.position).await?;
                continue;
            }
            match view.events_in(&watch.range, watch.position, WATCH_EVENTS_MAX) {
                Err(compacted) => {
                    watch.ended = true;
                    return Some((
                        KeyEvents::Compacted {
                            oldest: compacted.oldest,
                        },
                        watch,
                    ));
                }
                Ok(mut events) => {
                    watch.position = events.position;
                    if is_planted(Bug::WatchTearsRevisions) && events.events.len() > 1 {
                        watch.late = events.events.split_off(1);
                    } else if is_planted(Bug::WatchBookmarksEarly) && !events.events.is_empty() {
                        watch.late = events.events;
                        return Some((KeyEvents::Progress(watch.position), watch));
                    }
                    if !events.events.is_empty() {
                        return Some((KeyEvents::Changed(events.events), watch));
                    }
                    if watch.position >= newest {
                        return Some((KeyEvents::Progress(watch.position), watch));
                    }
                }
            }
        }
    }))
}

/// What [`watch_keys`] yields.
pub type KeyEventStream = Pin<Box<dyn Stream<Item = KeyEvents> + Send>>;
