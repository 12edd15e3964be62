//! chitchat's messages over authenticated links; see [`Courier`].

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chitchat::transport::{Socket, Transport as ChitchatTransport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::courier::{Courier, QUEUE};
use crate::runtime::Tokio;
use crate::transport::{Handler, Transport};

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
            courier: Courier::new(self.transport.clone()),
            inbox,
        }))
    }
}

struct Endpoint {
    courier: Courier<Tokio>,
    inbox: mpsc::Receiver<Inbox>,
}

#[async_trait]
impl Socket for Endpoint {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> Result<(), anyhow::Error> {
        self.courier.send(to, Bytes::from(message.serialize_to_vec()));
        Ok(())
    }

    async fn recv(&mut self) -> Result<Inbox, anyhow::Error> {
        self.inbox
            .recv()
            .await
            .ok_or_else(|| anyhow::Error::msg("gossip has stopped"))
    }
}
