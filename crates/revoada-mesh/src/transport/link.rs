//! Calls and answers over one connection: many callers, one socket, answers in any order.
//!
//! A frame is one byte of verb, eight bytes of call number, and a body. The writer takes everything that waits and
//! flushes once, so that a burst of calls costs one write. A connection per caller was rejected: a hundred callers would
//! be a hundred handshakes after every loss.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use revoada_core::limits;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Connection, Frames};
use crate::disk_id::Shown;
use crate::runtime::{Runtime, Tokio};

/// One frame of a link.
#[derive(Debug, Clone)]
pub struct Message {
    /// What it is about; each protocol has its own verbs.
    pub verb: u8,
    /// Which call it belongs to.
    pub call: u64,
    /// The rest.
    pub body: Bytes,
}

impl Message {
    const HEADER_BYTES: usize = 9;

    /// The frame's bytes.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(Self::HEADER_BYTES + self.body.len());
        bytes.put_u8(self.verb);
        bytes.put_u64_le(self.call);
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// Reads a frame; none when it is too short to be one.
    pub fn decode(frame: BytesMut) -> Option<Self> {
        let mut frame = frame.freeze();
        if frame.len() < Self::HEADER_BYTES {
            return None;
        }
        let verb = frame.get_u8();
        let call = frame.get_u64_le();
        Some(Self {
            verb,
            call,
            body: frame,
        })
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The link is gone and the call was never sent.
    #[error("the link is closed; nothing was sent")]
    NotSent,
    /// It was sent, and the link went away before an answer came: the outcome is unknown.
    #[error("the link broke before an answer came")]
    Broken,
    /// It was sent, and no answer came in time: the outcome is unknown.
    #[error("no answer in time")]
    Late,
    /// Too many calls wait on this link; nothing was sent.
    #[error("too many calls wait on this link")]
    Full,
}

type Waiting = Arc<Mutex<Option<BTreeMap<u64, Waiter>>>>;

enum Waiter {
    Once(oneshot::Sender<Bytes>),
    Stream(mpsc::Sender<Bytes>),
}

/// The calling side of a link. Cheap to clone; the connection closes with the last clone.
pub struct Link<R: Runtime = Tokio> {
    calls: mpsc::Sender<Message>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
    closed: CancellationToken,
    shown: Shown,
    runtime: PhantomData<fn() -> R>,
}

impl<R: Runtime> Clone for Link<R> {
    fn clone(&self) -> Self {
        Self {
            calls: self.calls.clone(),
            waiting: self.waiting.clone(),
            next: self.next.clone(),
            closed: self.closed.clone(),
            shown: self.shown,
            runtime: PhantomData,
        }
    }
}

impl<R: Runtime> Link<R> {
    /// Takes over a connection that this side made.
    pub fn start(connection: Connection<R>) -> Self {
        let (calls, queue) = mpsc::channel(limits::LINK_CALLS_MAX);
        let waiting: Waiting = Arc::new(Mutex::new(Some(BTreeMap::new())));
        let link = Self {
            calls,
            waiting: waiting.clone(),
            next: Arc::default(),
            closed: CancellationToken::new(),
            shown: connection.hello.shown,
            runtime: PhantomData,
        };
        let closed = link.closed.clone();
        let (frames, held) = (connection.frames, connection.held);
        R::detach(async move {
            let (sink, stream) = frames.split();
            tokio::select! {
                biased;
                () = write(sink, queue) => {}
                () = read(stream, &waiting) => {}
                () = held.ended() => {}
                () = closed.cancelled() => {}
            }
            // Every caller that still waits learns that no answer comes: its sender is dropped.
            waiting.lock().take();
        });
        link
    }

    /// The disk that the other side has shown.
    pub fn shown(&self) -> Shown {
        self.shown
    }

    /// Whether the connection still stands, as far as this side knows.
    pub fn is_open(&self) -> bool {
        !self.calls.is_closed() && self.waiting.lock().is_some()
    }

    /// How many calls and streams wait for answers.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().as_ref().map_or(0, BTreeMap::len)
    }

    /// Closes the connection under all clones, with whatever still waits to be sent.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Sends a call and waits for its answer.
    ///
    /// Cancel-safe: a dropped call's answer is thrown away; the call itself may still take effect.
    pub async fn call(&self, verb: u8, body: Bytes, limit: Duration) -> Result<Bytes, CallError> {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, receive) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            let waiting = waiting.as_mut().ok_or(CallError::NotSent)?;
            if waiting.len() >= limits::LINK_CALLS_MAX {
                return Err(CallError::Full);
            }
            waiting.insert(call, Waiter::Once(answer));
        }
        let _forget = Forget {
            waiting: &self.waiting,
            call,
        };
        let sent = async {
            self.calls
                .send(Message { verb, call, body })
                .await
                .map_err(|_| CallError::NotSent)?;
            receive.await.map_err(|_| CallError::Broken)
        };
        R::timeout(limit, sent).await.map_err(|_| CallError::Late)?
    }

    /// Opens a stream: every message sent on it has the same call number, and so have its answers, in order.
    pub fn stream(&self, window: usize) -> Result<LinkStream<R>, CallError> {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answers, receive) = mpsc::channel(window);
        let mut waiting = self.waiting.lock();
        waiting
            .as_mut()
            .ok_or(CallError::NotSent)?
            .insert(call, Waiter::Stream(answers));
        drop(waiting);
        Ok(LinkStream {
            link: self.clone(),
            call,
            receive,
        })
    }
}

struct Forget<'a> {
    waiting: &'a Waiting,
    call: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.remove(&self.call);
        }
    }
}

/// A stream of messages within a link; see [`Link::stream`].
pub struct LinkStream<R: Runtime = Tokio> {
    link: Link<R>,
    call: u64,
    receive: mpsc::Receiver<Bytes>,
}

impl<R: Runtime> LinkStream<R> {
    /// Sends one message of the stream; waits while the link is busy.
    pub async fn send(&self, verb: u8, body: Bytes) -> Result<(), CallError> {
        let message = Message {
            verb,
            call: self.call,
            body,
        };
        self.link.calls.send(message).await.map_err(|_| CallError::NotSent)
    }

    /// The disk that the other side has shown.
    pub fn shown(&self) -> Shown {
        self.link.shown
    }

    /// Closes the link that it is a stream of; see [`Link::close`].
    pub fn close_link(&self) {
        self.link.close();
    }

    /// The next answer; none once the link is gone. Cancel-safe.
    pub async fn receive(&mut self) -> Option<Bytes> {
        self.receive.recv().await
    }
}

impl<R: Runtime> Drop for LinkStream<R> {
    fn drop(&mut self) {
        if let Some(waiting) = self.link.waiting.lock().as_mut() {
            waiting.remove(&self.call);
        }
    }
}

/// Writes what comes from `queue`, flushing once per burst, until either end closes.
pub async fn write<F: Frames>(mut sink: SplitSink<F, Bytes>, mut queue: mpsc::Receiver<Message>) {
    let mut burst = Vec::new();
    while queue.recv_many(&mut burst, 256).await > 0 {
        for message in burst.drain(..) {
            if sink.feed(message.encode()).await.is_err() {
                return;
            }
        }
        if sink.flush().await.is_err() {
            return;
        }
    }
}

async fn read<F: Frames>(mut stream: SplitStream<F>, waiting: &Waiting) {
    while let Some(Ok(frame)) = stream.next().await {
        let Some(message) = Message::decode(frame) else { return };
        let stream = {
            let mut waiting = waiting.lock();
            let Some(waiting) = waiting.as_mut() else { return };
            match waiting.get(&message.call) {
                Some(Waiter::Stream(answers)) => answers.clone(),
                Some(Waiter::Once(_)) => {
                    if let Some(Waiter::Once(answer)) = waiting.remove(&message.call) {
                        // A caller that gave up no longer listens, and that is its right.
                        drop(answer.send(message.body));
                    }
                    continue;
                }
                // The caller gave up, or the other side made a number up: either way nobody waits.
                None => continue,
            }
        };
        // An abandoned stream no longer listens; its answers are thrown away.
        drop(stream.try_send(message.body));
    }
}
