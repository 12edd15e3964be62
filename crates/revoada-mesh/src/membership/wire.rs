//! chitchat's messages over authenticated links: a connection each way, one message a frame.
//!
//! Like the datagrams that chitchat expects, a message that cannot be sent at once is dropped: the next round carries
//! the same news. A queue that grows would deliver old heartbeats late, which is worse than never.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport as ChitchatTransport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::transport::{Handler, Protocol, Transport, chain};

/// How many messages may wait for one peer, and how many that came in for chitchat.
const QUEUE: usize = 64;
/// How long one connection attempt may take.
const CONNECT: Duration = Duration::from_millis(500);
/// How long to leave a peer alone that could not be reached.
const PAUSE: Duration = Duration::from_millis(200);

type Inbox = (SocketAddr, ChitchatMessage);

pub(super) struct Wire {
    transport: Arc<Transport>,
    inbox: mpsc::Sender<Inbox>,
    outlet: Mutex<Option<mpsc::Receiver<Inbox>>>,
}

impl Wire {
    pub(super) fn new(transport: Arc<Transport>) -> Self {
        let (inbox, outlet) = mpsc::channel(QUEUE);
        Self {
            transport,
            inbox,
            outlet: Mutex::new(Some(outlet)),
        }
    }

    pub(super) fn handler(&self) -> Handler {
        let inbox = self.inbox.clone();
        Arc::new(move |mut connection| {
            let inbox = inbox.clone();
            Box::pin(async move {
                while let Some(Ok(frame)) = connection.frames.next().await {
                    let Ok(message) = ChitchatMessage::deserialize(&mut &frame[..]) else {
                        return;
                    };
                    if inbox.send((connection.hello.address, message)).await.is_err() {
                        return;
                    }
                }
            })
        })
    }
}

#[async_trait]
impl ChitchatTransport for Wire {
    async fn open(&self, _: SocketAddr) -> Result<Box<dyn Socket>, anyhow::Error> {
        let inbox = self
            .outlet
            .lock()
            .take()
            .ok_or_else(|| anyhow::Error::msg("gossip was opened before"))?;
        Ok(Box::new(Endpoint {
            transport: self.transport.clone(),
            inbox,
            peers: BTreeMap::new(),
        }))
    }
}

struct Endpoint {
    transport: Arc<Transport>,
    inbox: mpsc::Receiver<Inbox>,
    peers: BTreeMap<SocketAddr, mpsc::Sender<Bytes>>,
}

#[async_trait]
impl Socket for Endpoint {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> Result<(), anyhow::Error> {
        let transport = &self.transport;
        let queue = self.peers.entry(to).or_insert_with(|| {
            let (queue, messages) = mpsc::channel(QUEUE);
            tokio::spawn(deliver(transport.clone(), to, messages));
            queue
        });
        // Dropped when the queue is full; see the module.
        drop(queue.try_send(Bytes::from(message.serialize_to_vec())));
        Ok(())
    }

    async fn recv(&mut self) -> Result<Inbox, anyhow::Error> {
        self.inbox
            .recv()
            .await
            .ok_or_else(|| anyhow::Error::msg("gossip has stopped"))
    }
}

async fn deliver(transport: Arc<Transport>, to: SocketAddr, mut messages: mpsc::Receiver<Bytes>) {
    while let Some(first) = messages.recv().await {
        let mut connection = match transport.connect(to, None, Protocol::Gossip, CONNECT).await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!(%to, error = %chain(&error), "cannot gossip");
                tokio::time::sleep(PAUSE).await;
                while messages.try_recv().is_ok() {}
                continue;
            }
        };
        let mut next = Some(first);
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => tokio::select! {
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
