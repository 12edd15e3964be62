//! What a follower asks of the leader: to append a batch, and to confirm a read.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use openraft::async_runtime::watch::WatchReceiver;
use revoada_attest::NodeId;
use revoada_core::limits;
use revoada_core::machine::{Command, Reply};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::propose::{Attempt, ProposeError, append};
use super::read::{ReadError, Reads};
use super::types::Raft;
use crate::runtime::Runtime;
use crate::transport::Connection;
use crate::transport::link::{Message, write};

pub(super) mod verb {
    pub const PROPOSE: u8 = 1;
    pub const READ_INDEX: u8 = 2;
}

/// The answer to a forwarded batch.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Proposed {
    Done(Vec<Reply>),
    /// Nothing was appended.
    Again(String),
    Failed(ProposeError),
}

/// The answer to a forwarded read: the index that must be applied before it may be served.
pub(super) type Confirmed = Result<u64, ReadError>;

/// Answers requests that are not consensus's own: a verb and a body, and the answer's body.
pub type Extra = std::sync::Arc<dyn Fn(u8, Bytes) -> futures::future::BoxFuture<'static, Bytes> + Send + Sync>;

/// The first verb that is left to [`Extra`].
pub const EXTRA_VERBS: u8 = 64;

/// Answers one connection's forwarded requests until it closes. Requests are answered beside each other, at most
/// [`limits::FORWARDED_PER_CONNECTION_MAX`] at once; more are not read.
pub async fn serve<R: Runtime>(connection: Connection<R>, raft: Raft<R>, reads: Reads<R>, extra: Extra) {
    let peer = connection.peer;
    let (sink, mut frames) = connection.frames.split();
    let (answers, queue) = mpsc::channel(limits::LINK_CALLS_MAX);
    let stop = CancellationToken::new();
    let _stop_tasks = stop.clone().drop_guard();
    R::detach(stop.clone().run_until_cancelled_owned(write(sink, queue)));
    let room = std::sync::Arc::new(tokio::sync::Semaphore::new(limits::FORWARDED_PER_CONNECTION_MAX));
    while let Some(Ok(frame)) = frames.next().await {
        let Some(Message { verb, call, body }) = Message::decode(frame) else {
            return;
        };
        let Ok(slot) = room.clone().acquire_owned().await else {
            return;
        };
        let (raft, reads, extra, answers) = (raft.clone(), reads.clone(), extra.clone(), answers.clone());
        R::detach(stop.clone().run_until_cancelled_owned(async move {
            let _slot = slot;
            let body = match verb {
                verb::PROPOSE => encode(&propose(&raft, body).await),
                verb::READ_INDEX if leaves_out(&raft, &reads.me(), &peer) => {
                    encode(&Confirmed::Err(ReadError::LeftOut))
                }
                verb::READ_INDEX => encode(&reads.confirm_here(Duration::from_millis(limits::READ_MS_MAX)).await),
                verb if verb >= EXTRA_VERBS => extra(verb, body).await,
                // Another version's verb: no answer, and the caller's time runs out.
                _ => return,
            };
            // A closed connection takes no answer.
            drop(answers.send(Message { verb, call, body }).await);
        }));
    }
}

/// Whether no log goes to `peer`, as far as `me` knows; one to which none goes itself knows nothing of it.
fn leaves_out<R: Runtime>(raft: &Raft<R>, me: &NodeId, peer: &NodeId) -> bool {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    membership.get_node(me).is_some() && membership.get_node(peer).is_none()
}

async fn propose<R: Runtime>(raft: &Raft<R>, batch: Bytes) -> Proposed {
    // What cannot be read must not reach the log: every node would stop at it, and again after each start.
    if let Err(error) = Command::decode_batch(&batch) {
        return Proposed::Failed(ProposeError::Unavailable(format!(
            "the leader did not take it: {error}"
        )));
    }
    match append(raft, batch).await {
        Attempt::Done(replies) => Proposed::Done(replies),
        Attempt::Again(why) => Proposed::Again(why),
        Attempt::Failed(error) => Proposed::Failed(error),
    }
}

fn encode<T: Serialize>(answer: &T) -> Bytes {
    cbor4ii::serde::to_vec(Vec::new(), answer)
        .expect("answers have string keys only and a vector takes every write")
        .into()
}
