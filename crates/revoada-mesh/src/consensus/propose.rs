//! Writing: commands wait together, travel together, and are answered one by one.
//!
//! What arrives while appends are in flight becomes one log entry. A command that was refused before it was appended is
//! tried again until the time is up; one that may have been appended is never tried again, and its outcome is unknown
//! (invariants 5 and 6). An entry per command was measured against this and costs about a third of the throughput with
//! many clients, most of it in the log's bookkeeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{FuturesUnordered, StreamExt};
use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use revoada_attest::NodeId;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::limits;
use revoada_core::machine::{Command, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::forward;
use super::peers::{Lane, Peers};
use super::types::{Batch, Raft};
use crate::runtime::{InstantOf, Runtime};
use crate::transport::chain;
use crate::transport::link::CallError;

/// Why a command has no reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ProposeError {
    /// It was not appended anywhere; nothing has changed and nothing will.
    #[error("{0}")]
    Unavailable(String),
    /// It may or may not take effect.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// The command is larger than an entry of the log may be; nothing was sent.
    #[error("a write of about {bytes} bytes is larger than {bytes_max}, which is what an entry of the log may have")]
    TooLarge {
        /// Its size, as estimated.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
}

/// What one attempt to append a batch came to.
pub(super) enum Attempt {
    Done(Vec<Reply>),
    /// Not appended: worth another attempt, perhaps elsewhere.
    Again(String),
    Failed(ProposeError),
}

struct Waiting {
    command: Command,
    answer: oneshot::Sender<Result<Reply, ProposeError>>,
}

/// Takes commands from everyone on this node. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Waiting>,
    batches: Arc<AtomicUsize>,
}

impl Proposer {
    /// Starts the task that gathers and sends.
    pub fn start<R: Runtime>(raft: Raft<R>, peers: Peers<R>, id: NodeId, patience: Duration) -> Self {
        let (queue, waiting) = mpsc::channel(limits::WRITES_WAITING_MAX);
        let batches = Arc::<AtomicUsize>::default();
        R::detach(gather(
            waiting,
            batches.clone(),
            Arc::new(Sender {
                raft,
                peers,
                id,
                patience,
            }),
        ));
        Self { queue, batches }
    }

    /// How many commands wait, and how many entries are in flight.
    pub fn waiting(&self) -> (usize, usize) {
        let waiting = self.queue.max_capacity() - self.queue.capacity();
        (waiting, self.batches.load(Ordering::Relaxed))
    }

    /// Proposes one command and waits for its reply.
    ///
    /// Waits while the queue is full, for as long as the caller likes. Cancel-safe in this sense: a dropped call's
    /// command may still take effect.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        let (bytes, bytes_max) = (command.size_hint(), limits::COMMAND_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        let (answer, wait) = oneshot::channel();
        let stopped = || ProposeError::Unavailable("this node is stopping".to_owned());
        self.queue
            .send(Waiting { command, answer })
            .await
            .map_err(|_| stopped())?;
        wait.await.unwrap_or_else(|_| {
            Err(ProposeError::OutcomeUnknown(
                "this node stopped before the answer".to_owned(),
            ))
        })
    }
}

async fn gather<R: Runtime>(mut queue: mpsc::Receiver<Waiting>, batches: Arc<AtomicUsize>, sender: Arc<Sender<R>>) {
    let mut in_flight = FuturesUnordered::new();
    let mut waiting: Vec<Waiting> = Vec::new();
    let has_room = |in_flight: usize| in_flight < limits::BATCHES_IN_FLIGHT_MAX || is_planted(Bug::GathersWithoutLimit);
    loop {
        batches.store(in_flight.len(), Ordering::Relaxed);
        // One batch leaves as soon as there is anything to send and room in flight; the rest gathers meanwhile.
        tokio::select! {
            biased;
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            received = queue.recv_many(&mut waiting, limits::BATCH_COMMANDS_MAX),
                if waiting.is_empty() && has_room(in_flight.len()) =>
            {
                if received == 0 {
                    while in_flight.next().await.is_some() {}
                    return;
                }
            }
        }
        while !waiting.is_empty() && has_room(in_flight.len()) {
            let mut bytes = 0;
            let count = waiting
                .iter()
                .take_while(|next| {
                    let first = bytes == 0;
                    bytes += next.command.size_hint();
                    first || bytes <= limits::BATCH_BYTES_MAX
                })
                .count();
            let batch: Vec<Waiting> = waiting.drain(..count).collect();
            let sender = sender.clone();
            in_flight.push(async move {
                let (commands, answers): (Vec<_>, Vec<_>) = batch
                    .into_iter()
                    .map(|waiting| (waiting.command, waiting.answer))
                    .unzip();
                match sender.send(Command::encode_batch(&commands)).await {
                    Ok(mut replies) => {
                        if is_planted(Bug::AnswersInAnotherOrder) {
                            replies.reverse();
                        }
                        for (answer, reply) in answers.into_iter().zip(replies) {
                            // A caller that gave up no longer listens.
                            drop(answer.send(Ok(reply)));
                        }
                    }
                    Err(error) => answers
                        .into_iter()
                        .for_each(|answer| drop(answer.send(Err(error.clone())))),
                }
            });
        }
    }
}

struct Sender<R: Runtime> {
    raft: Raft<R>,
    peers: Peers<R>,
    id: NodeId,
    patience: Duration,
}

impl<R: Runtime> Sender<R> {
    async fn send(&self, batch: Bytes) -> Result<Vec<Reply>, ProposeError> {
        // The estimate of a command's size passes over what is seldom large; this is the size itself.
        let (bytes, bytes_max) = (batch.len(), limits::COMMAND_BYTES_MAX + limits::BATCH_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        let deadline = InstantOf::<R>::now() + self.patience;
        loop {
            let (leader, runs) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                // To a node that is in no membership no leader speaks, and what it knew may be long over.
                let membership = metrics.membership_config.membership();
                let leader = match membership.get_node(&self.id) {
                    Some(_) => metrics.current_leader,
                    None => self.peers.book().leader_by_gossip().filter(|leader| *leader != self.id),
                };
                (leader, metrics.running_state.is_ok())
            };
            if !runs {
                // Whatever was tried before this was not appended, or it would not be tried again.
                return Err(ProposeError::Unavailable(
                    "consensus has stopped on this node".to_owned(),
                ));
            }
            let attempt = match leader {
                Some(leader) if leader == self.id => {
                    // A leader that was cut off from its quorum keeps what it appended, and does not know its fate.
                    match R::timeout_at(
                        deadline.max(InstantOf::<R>::now() + self.patience / 2),
                        append(&self.raft, batch.clone()),
                    )
                    .await
                    {
                        Ok(attempt) => attempt,
                        Err(_) => Attempt::Failed(ProposeError::OutcomeUnknown(
                            "it was appended here, and no quorum has answered".to_owned(),
                        )),
                    }
                }
                Some(leader) => self.forward(leader, batch.clone(), deadline).await,
                None => Attempt::Again("no leader is known: there may be no quorum".to_owned()),
            };
            match attempt {
                Attempt::Done(replies) => return Ok(replies),
                Attempt::Failed(ProposeError::OutcomeUnknown(_)) if is_planted(Bug::RetriesUnknown) => {}
                Attempt::Failed(error) => return Err(error),
                Attempt::Again(why) if InstantOf::<R>::now() >= deadline => return Err(ProposeError::Unavailable(why)),
                Attempt::Again(_) => self.pause(deadline).await,
            }
        }
    }

    /// Waits for another leader, or for a moment.
    async fn pause(&self, deadline: InstantOf<R>) {
        let mut metrics = self.raft.server_metrics();
        metrics.borrow_and_update();
        let moment = InstantOf::<R>::now() + Duration::from_millis(limits::RETRY_PAUSE_MS);
        // Either end of the wait is a reason to look again.
        drop(R::timeout_at(moment.min(deadline), metrics.changed()).await);
    }

    async fn forward(&self, leader: NodeId, batch: Bytes, deadline: InstantOf<R>) -> Attempt {
        let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
        let link = match self.peers.link(leader, Lane::Forward, limit).await {
            Ok(link) => link,
            Err(error) => return Attempt::Again(chain(&error)),
        };
        let limit = deadline
            .saturating_duration_since(InstantOf::<R>::now())
            .max(Duration::from_millis(limits::CONNECT_MS_MAX));
        let answer = tokio::select! {
            biased;
            answer = link.call(forward::verb::PROPOSE, batch, limit) => answer,
            // A leader that was superseded, because it hangs, may answer much later or never: what waits behind this
            // batch must not wait for that.
            () = superseded(&self.raft, leader) => Err(CallError::Broken),
        };
        match answer {
            Ok(answer) => match cbor4ii::serde::from_slice::<forward::Proposed>(&answer) {
                Ok(forward::Proposed::Done(replies)) => Attempt::Done(replies),
                Ok(forward::Proposed::Again(why)) => Attempt::Again(why),
                Ok(forward::Proposed::Failed(error)) => Attempt::Failed(error),
                Err(error) => Attempt::Failed(ProposeError::OutcomeUnknown(format!(
                    "the leader's answer is garbage: {error}"
                ))),
            },
            Err(CallError::NotSent | CallError::Full) => Attempt::Again("the leader cannot be reached".to_owned()),
            Err(error @ (CallError::Broken | CallError::Late)) => Attempt::Failed(ProposeError::OutcomeUnknown(
                format!("it was sent to the leader: {error}"),
            )),
        }
    }
}

/// Resolves a moment after another node than `leader` was seen to lead; the moment is for answers under way.
pub(super) async fn superseded<R: Runtime>(raft: &Raft<R>, leader: NodeId) {
    let mut metrics = raft.server_metrics();
    while metrics
        .borrow_and_update()
        .current_leader
        .is_none_or(|current| current == leader)
    {
        if metrics.changed().await.is_err() {
            // Raft has stopped: whoever waits learns it in another way.
            std::future::pending::<()>().await;
        }
    }
    R::sleep(Duration::from_millis(limits::SUPERSEDED_GRACE_MS)).await;
}

/// Appends a batch on this node, if it leads.
pub(super) async fn append<R: Runtime>(raft: &Raft<R>, batch: Bytes) -> Attempt {
    match raft.client_write(Batch(batch)).await {
        Ok(written) => Attempt::Done(written.data.0),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Attempt::Again(format!("this node does not lead ({:?})", to.reason))
        }
        Err(RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_))) => Attempt::Failed(
            ProposeError::OutcomeUnknown(format!("the leader changed while it was written: {error}")),
        ),
        Err(RaftError::APIError(error)) => Attempt::Failed(ProposeError::Unavailable(chain(&error))),
        Err(RaftError::Fatal(error)) => Attempt::Failed(ProposeError::OutcomeUnknown(format!(
            "consensus has stopped on this node: {}",
            chain(&error)
        ))),
    }
}
