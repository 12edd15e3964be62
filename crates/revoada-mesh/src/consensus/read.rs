//! Reading the newest: one confirmation of leadership for everyone who waits (ReadIndex, Raft thesis §6.4).
//!
//! A round asks a quorum whether the leader still leads; whoever arrives meanwhile waits for the next round. Any node
//! may read: it asks the leader for the index and waits until it has applied it. Leases would save the round trip and
//! trust clocks for it; they are not used.

use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant as _, ReadPolicy};
use revoada_attest::NodeId;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::limits;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use super::forward::{self, Confirmed};
use super::machine::Shared;
use super::peers::{Lane, Peers};
use super::propose::superseded;
use super::types::Raft;
use crate::runtime::{InstantOf, Runtime, Tokio, elapsed, wait_until};
use crate::transport::chain;
use crate::transport::link::CallError;

/// Why the newest cannot be read now. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ReadError {
    /// No confirmation came, or not what was confirmed.
    #[error("{0}")]
    Unavailable(String),
    /// Another node, to which the log goes, knows that none comes to this one.
    #[error("this node is neither a voter nor a standby, and no log reaches it: ask one of those")]
    LeftOut,
}

/// Confirms reads. Cheap to clone.
pub struct Reads<R: Runtime = Tokio> {
    rounds: mpsc::Sender<oneshot::Sender<Result<(), ReadError>>>,
    here: Arc<Here<R>>,
}

impl<R: Runtime> Clone for Reads<R> {
    fn clone(&self) -> Self {
        Self {
            rounds: self.rounds.clone(),
            here: self.here.clone(),
        }
    }
}

struct Here<R: Runtime> {
    raft: Raft<R>,
    peers: Peers<R>,
    id: NodeId,
    shared: Arc<Shared<R>>,
    /// When it was last found out, and what.
    left_out: tokio::sync::Mutex<Option<(InstantOf<R>, bool)>>,
}

impl<R: Runtime> Reads<R> {
    /// Starts the task that confirms.
    pub fn start(raft: Raft<R>, peers: Peers<R>, id: NodeId, shared: Arc<Shared<R>>) -> Self {
        let (rounds, queue) = mpsc::channel(limits::READS_WAITING_MAX);
        let here = Arc::new(Here {
            raft,
            peers,
            id,
            shared,
            left_out: tokio::sync::Mutex::default(),
        });
        R::detach(confirm_rounds(queue, here.clone()));
        Self { rounds, here }
    }

    /// Returns once the applied state of this node holds everything that was acknowledged before the call. Cancel-safe.
    pub async fn newest(&self) -> Result<(), ReadError> {
        let (confirmed, wait) = oneshot::channel();
        let stopped = |_| ReadError::Unavailable("this node is stopping".to_owned());
        self.rounds.send(confirmed).await.map_err(|_| stopped(()))?;
        wait.await.map_err(|_| stopped(()))?
    }

    /// How many readers wait for the next confirmation.
    pub(super) fn waiting(&self) -> usize {
        self.rounds.max_capacity() - self.rounds.capacity()
    }

    /// The node that reads.
    pub(super) fn me(&self) -> NodeId {
        self.here.id
    }

    /// Whether another node knows that no log comes to this one any more. Asked once for all who want to know.
    pub async fn is_left_out(&self) -> bool {
        let mut answered = self.here.left_out.lock().await;
        let fresh = Duration::from_millis(limits::QUORUM_SILENCE_MS_MAX);
        match *answered {
            Some((at, left_out)) if elapsed::<R>(at) < fresh => left_out,
            _ => {
                let left_out = self.here.is_left_out().await;
                *answered = Some((InstantOf::<R>::now(), left_out));
                left_out
            }
        }
    }

    /// For another node: the index that it has to apply, if this node leads.
    pub(super) async fn confirm_here(&self, limit: Duration) -> Confirmed {
        self.here.confirm(limit).await
    }
}

async fn confirm_rounds<R: Runtime>(
    mut queue: mpsc::Receiver<oneshot::Sender<Result<(), ReadError>>>,
    here: Arc<Here<R>>,
) {
    let mut waiting = Vec::new();
    while queue.recv_many(&mut waiting, limits::READS_WAITING_MAX).await > 0 {
        let confirmed = here.round().await;
        for reader in waiting.drain(..) {
            // A reader that gave up no longer listens.
            drop(reader.send(confirmed.clone()));
        }
    }
}

impl<R: Runtime> Here<R> {
    async fn round(&self) -> Result<(), ReadError> {
        let deadline = InstantOf::<R>::now() + Duration::from_millis(limits::READ_MS_MAX);
        loop {
            let (leader, runs) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                (metrics.current_leader, metrics.running_state.is_ok())
            };
            if !runs {
                return Err(ReadError::Unavailable("consensus has stopped on this node".to_owned()));
            }
            let index = match leader {
                Some(leader) if leader == self.id => {
                    self.confirm(deadline.saturating_duration_since(InstantOf::<R>::now()))
                        .await
                }
                Some(leader) => self.ask(leader).await,
                None => Err(ReadError::Unavailable(
                    "no leader is known: there may be no quorum".to_owned(),
                )),
            };
            let failed = match index {
                Ok(_) if is_planted(Bug::ReadsBeforeApplied) => return Ok(()),
                Ok(index) => match self.wait_applied(index, deadline).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if InstantOf::<R>::now() >= deadline {
                return Err(failed);
            }
            R::sleep(Duration::from_millis(limits::RETRY_PAUSE_MS)).await;
        }
    }

    async fn confirm(&self, limit: Duration) -> Confirmed {
        let late = |_| ReadError::Unavailable("no quorum confirmed the leader in time".to_owned());
        let linearizer = R::timeout(limit, self.raft.get_read_linearizer(ReadPolicy::ReadIndex))
            .await
            .map_err(late)?
            .map_err(|error| ReadError::Unavailable(chain(&error)))?;
        Ok(linearizer.read_log_id().index())
    }

    async fn ask(&self, leader: NodeId) -> Confirmed {
        let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
        let link = self
            .peers
            .link(leader, Lane::Forward, limit)
            .await
            .map_err(|error| ReadError::Unavailable(chain(&error)))?;
        let limit = Duration::from_millis(limits::READ_MS_MAX);
        let answer = tokio::select! {
            biased;
            answer = link.call(forward::verb::READ_INDEX, bytes::Bytes::new(), limit) => answer,
            () = superseded(&self.raft, leader) => Err(CallError::Broken),
        };
        let answer = answer.map_err(|error| ReadError::Unavailable(format!("the leader: {error}")))?;
        cbor4ii::serde::from_slice::<Confirmed>(&answer)
            .map_err(|error| ReadError::Unavailable(format!("the leader's answer is garbage: {error}")))?
    }

    /// Asks the leader that was, and then the voters that were: one of those may lead by now, or know who is left.
    async fn is_left_out(&self) -> bool {
        let others: Vec<NodeId> = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let voters = metrics.membership_config.membership().voter_ids();
            let known: Vec<_> = metrics.current_leader.into_iter().chain(voters).collect();
            known.into_iter().filter(|other| *other != self.id).collect()
        };
        for other in others {
            match self.ask(other).await {
                Ok(_) => return false,
                Err(ReadError::LeftOut) => return true,
                Err(ReadError::Unavailable(_)) => {}
            }
        }
        false
    }

    async fn wait_applied(&self, index: u64, deadline: InstantOf<R>) -> Result<(), ReadError> {
        let mut applied = self.shared.applied();
        let waited = wait_until::<R, _>(&mut applied, |applied| applied.index >= index);
        match R::timeout_at(deadline, waited).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(ReadError::Unavailable("this node is stopping".to_owned())),
            Err(_) => Err(ReadError::Unavailable(format!(
                "this node has not applied entry {index} in time"
            ))),
        }
    }
}
