//! Messages of gossip between nodes: a connection each way, one message a frame.
//!
//! Like the datagrams that gossip expects, a message that cannot be sent at once is dropped: the next round carries the
//! same news. A queue that grows would deliver old heartbeats late, which is worse than never.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;

use crate::runtime::Runtime;
use crate::transport::{Protocol, Transport, chain};

/// How many messages may wait for one peer, and how many that came in.
pub(super) const QUEUE: usize = 64;
/// How long one connection attempt may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long to leave a peer alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(200);

/// Carries messages to other nodes; see the module.
pub struct Courier<R: Runtime> {
    transport: Arc<Transport<R>>,
    peers: BTreeMap<SocketAddr, mpsc::Sender<Bytes>>,
}

impl<R: Runtime> Courier<R> {
    /// A courier that knows nobody yet.
    pub fn new(transport: Arc<Transport<R>>) -> Self {
        Self {
            transport,
            peers: BTreeMap::new(),
        }
    }

    /// Sends a message, or drops it if too many wait already.
    pub fn send(&mut self, to: SocketAddr, message: Bytes) {
        let transport = &self.transport;
        let queue = self.peers.entry(to).or_insert_with(|| {
            let (queue, messages) = mpsc::channel(QUEUE);
            R::detach(deliver(transport.clone(), to, messages));
            queue
        });
        // Dropped when the queue is full; see the module.
        drop(queue.try_send(message));
    }
}

async fn deliver<R: Runtime>(transport: Arc<Transport<R>>, to: SocketAddr, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(first) = messages.recv().await {
        let mut connection = match transport.connect(to, None, Protocol::Gossip, CONNECT).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%to, error = %chain(&error), "cannot gossip");
                R::sleep(PAUSE).await;
                while messages.try_recv().is_ok() {}
                continue;
            }
        };
        let mut next = Some(first);
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => tokio::select! {
                    biased;
                    message = messages.recv() => match message {
                        Some(message) => message,
                        None => return,
                    },
                    // The other side never speaks on this connection: anything that is read is its end.
                    _ = connection.frames.next() => break,
                    () = connection.held.ended() => break,
                },
            };
            if connection.frames.send(message).await.is_err() {
                break;
            }
        }
    }
}
