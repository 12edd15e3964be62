//! Authenticated connections between nodes: one listener, one protocol name per concern, frames of bounded length.
//!
//! A connection is TLS 1.3 by the nodes' own keys, then a hello each way (`hello`), then frames: a little-endian length
//! of four bytes and that many bytes. QUIC was measured for this and costs 130 to 180 µs more for each sequential call.

mod hello;
pub mod link;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::limits;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::runtime::{Runtime, Tokio};

pub use wire::TlsWire;

pub use hello::{Gate, Hello, Refusal, RefusalKind};

/// What a connection is for. Each has a protocol name of its own (ALPN), so that a node of another version is refused in
/// the handshake and a concern never waits behind another one's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Raft's own messages.
    Raft,
    /// Requests that a follower forwards, and their answers.
    Forward,
    /// Membership.
    Gossip,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Raft, Self::Forward, Self::Gossip];

    const fn name(self) -> &'static [u8] {
        match self {
            Self::Raft => b"revoada-raft/1",
            Self::Forward => b"revoada-forward/1",
            Self::Gossip => b"revoada-gossip/1",
        }
    }
}

/// Frames of bounded length over an authenticated stream: in order, none twice, until it ends.
pub trait Frames:
    Stream<Item = io::Result<BytesMut>> + Sink<Bytes, Error = io::Error> + Send + Unpin + 'static
{
    /// Longer frames than this end the connection from here on.
    fn allow(&mut self, frame_bytes_max: usize);
}

/// How bytes come from node to node, and whose they are: the port below the hello.
///
/// To ensure correctness: the key that is named holds the other end, and nobody else reads or writes what goes over.
pub trait Wire: Send + Sync + 'static {
    /// A connection before anybody has shown a key.
    type Socket: Send + 'static;
    /// What it becomes; frames are at most [`limits::HELLO_BYTES_MAX`] long at first.
    type Frames: Frames;

    /// Calls an address.
    fn call(&self, address: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>> + Send;

    /// Shows this node's key to whoever answers, and is shown theirs.
    fn secure(
        &self,
        socket: Self::Socket,
        address: SocketAddr,
        protocol: Protocol,
    ) -> impl Future<Output = io::Result<(NodeId, Self::Frames)>> + Send;

    /// The same on the side that was called.
    fn accept(&self, socket: Self::Socket)
    -> impl Future<Output = io::Result<(Protocol, NodeId, Self::Frames)>> + Send;
}

type WireOf<R> = <R as Runtime>::Wire;
type SocketOf<R> = <WireOf<R> as Wire>::Socket;
type FramesOf<R> = <WireOf<R> as Wire>::Frames;

/// A connection whose other side is known and admitted.
pub struct Connection<R: Runtime = Tokio> {
    /// Whose key the other side holds.
    pub peer: NodeId,
    /// What it said of itself when the connection began.
    pub hello: Hello,
    /// Its address as the socket knows it.
    pub address: SocketAddr,
    /// The frames.
    pub frames: FramesOf<R>,
}

impl<R: Runtime> std::fmt::Debug for Connection<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.peer)
            .field("hello", &self.hello)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// Why no connection could be had. Nothing was sent on it in any of these cases.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No TCP connection within the time.
    #[error("cannot reach {address}")]
    Unreachable {
        /// Who was called.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake or the hello failed.
    #[error("{address} does not speak as a node of revoada")]
    Handshake {
        /// Who was called.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The other side refused this node.
    #[error("{by} at {address} refuses this node")]
    RefusedByPeer {
        /// The name of the node that refused.
        by: String,
        /// Who was called.
        address: SocketAddr,
        /// The reason it gave.
        #[source]
        source: Refusal,
    },
    /// This node refuses the other side.
    #[error("this node refuses the one at {address}")]
    RefusedHere {
        /// Who was called.
        address: SocketAddr,
        /// Why.
        #[source]
        source: Refusal,
    },
}

/// What a listener does with the connections of one protocol.
pub type Handler<R = Tokio> = Arc<dyn Fn(Connection<R>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes and accepts connections for one node.
pub struct Transport<R: Runtime = Tokio> {
    id: NodeId,
    gate: Arc<dyn Gate>,
    wire: WireOf<R>,
    open: Arc<Mutex<BTreeMap<NodeId, usize>>>,
}

impl<R: Runtime> std::fmt::Debug for Transport<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport that speaks as the holder of `key` and lets in whom `gate` admits.
    pub fn new(key: &NodeKey, gate: Arc<dyn Gate>) -> Result<Self, rustls::Error> {
        Ok(Self::over(TlsWire::new(key)?, key.id(), gate))
    }

    /// Accepts connections for ever and gives each to the handler of its protocol, on a task of its own.
    ///
    /// Garbage, slow handshakes and unknown keys cost the one connection and nobody else: at most
    /// [`limits::HANDSHAKES_MAX`] handshakes run at once, each for at most [`limits::HANDSHAKE_MS_MAX`].
    pub async fn serve(self: Arc<Self>, listener: TcpListener, handlers: BTreeMap<Protocol, Handler>) {
        let handlers = Arc::new(handlers);
        let handshakes = Arc::new(Semaphore::new(limits::HANDSHAKES_MAX));
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Ok(slot) = handshakes.clone().acquire_owned().await else {
                return;
            };
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a connection that was gone before it was accepted: neither is a reason
                    // to stop listening, but the former would spin.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            tasks.spawn(self.clone().attend(tcp, address, handlers.clone(), slot));
        }
    }
}

impl<R: Runtime> Transport<R> {
    /// A transport of node `id` over any wire.
    pub fn over(wire: R::Wire, id: NodeId, gate: Arc<dyn Gate>) -> Self {
        Self {
            id,
            gate,
            wire,
            open: Arc::default(),
        }
    }

    /// Whose key it holds.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Calls a node for one protocol.
    ///
    /// With `expected`, any other key than that one is refused here. Bounded by `limit` and by the handshake's own limit.
    /// Cancel-safe: dropping the future drops the connection.
    pub async fn connect(
        &self,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
        limit: Duration,
    ) -> Result<Connection<R>, ConnectError> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
        let unreachable = |source| ConnectError::Unreachable { address, source };
        let socket = R::timeout(limit, self.wire.call(address))
            .await
            .map_err(|_| unreachable(late()))?
            .map_err(unreachable)?;
        // A process that is stopped still has a kernel that accepts; a busy machine needs a moment for the handshake.
        let least = Duration::from_millis(limits::CONNECT_MS_MAX);
        let limit = limit.clamp(least, Duration::from_millis(limits::HANDSHAKE_MS_MAX));
        R::timeout(limit, self.greet(socket, address, expected, protocol))
            .await
            .map_err(|_| ConnectError::Handshake {
                address,
                source: late(),
            })?
    }

    async fn greet(
        &self,
        socket: SocketOf<R>,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Connection<R>, ConnectError> {
        let failed = |source| ConnectError::Handshake { address, source };
        let (peer, mut frames) = self.wire.secure(socket, address, protocol).await.map_err(failed)?;
        let refuse = |kind, reason| {
            Err(ConnectError::RefusedHere {
                address,
                source: Refusal { kind, reason },
            })
        };
        if peer == self.id {
            return refuse(
                RefusalKind::SameKey,
                format!("{address} is this node itself, or has a copy of its key"),
            );
        }
        if let Some(expected) = expected.filter(|expected| *expected != peer) {
            return refuse(
                RefusalKind::OtherNode,
                format!("the node at {address} is {}, not {}", peer.short(), expected.short()),
            );
        }
        frames
            .send(Bytes::from(hello::encode(&self.gate.hello())))
            .await
            .map_err(failed)?;
        let answer = next_frame(&mut frames).await.map_err(failed)?;
        match hello::decode(&answer) {
            Some(hello::Answer::Welcome(said)) => {
                self.gate
                    .admit(&peer, &said)
                    .map_err(|source| ConnectError::RefusedHere { address, source })?;
                frames.allow(limits::LINK_FRAME_BYTES_MAX);
                Ok(Connection {
                    peer,
                    hello: said,
                    address,
                    frames,
                })
            }
            Some(hello::Answer::Refused { by, refusal }) => Err(ConnectError::RefusedByPeer {
                by,
                address,
                source: refusal,
            }),
            None => Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "the answer to the hello is garbage",
            ))),
        }
    }

    /// Takes one connection that was made to this node, through its handshake to its end. `slot` is given back behind
    /// the handshake.
    pub async fn attend<S: Send>(
        self: Arc<Self>,
        socket: SocketOf<R>,
        address: SocketAddr,
        handlers: Arc<BTreeMap<Protocol, Handler<R>>>,
        slot: S,
    ) {
        let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
        let welcomed = R::timeout(limit, self.welcome(socket, address)).await;
        drop(slot);
        match welcomed {
            Ok(Ok((protocol, connection, _held))) => {
                if let Some(handler) = handlers.get(&protocol) {
                    handler(connection).await;
                }
            }
            Ok(Err(error)) => tracing::debug!(%address, error = %chain(&error), "connection refused"),
            Err(_) => tracing::debug!(%address, "connection refused: the handshake took too long"),
        }
    }

    async fn welcome(&self, socket: SocketOf<R>, address: SocketAddr) -> io::Result<(Protocol, Connection<R>, Held)> {
        let (protocol, peer, mut frames) = self.wire.accept(socket).await?;
        let said: Hello = hello::decode(&next_frame(&mut frames).await?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the hello is garbage"))?;
        let mine = self.gate.hello();
        let admitted = if peer == self.id {
            let reason = format!(
                "{address} has the same key as {}: a key is never copied to a second node",
                mine.name
            );
            Err(Refusal {
                kind: RefusalKind::SameKey,
                reason,
            })
        } else {
            self.gate.admit(&peer, &said).and_then(|()| self.hold(peer))
        };
        let held = match admitted {
            Ok(held) => held,
            Err(refusal) => {
                tracing::warn!(%address, peer = %peer.short(), name = %said.name, reason = %refusal, "a node was refused");
                let answer = hello::Answer::Refused {
                    by: mine.name,
                    refusal: refusal.clone(),
                };
                frames.send(Bytes::from(hello::encode(&answer))).await?;
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
            }
        };
        frames
            .send(Bytes::from(hello::encode(&hello::Answer::Welcome(mine))))
            .await?;
        frames.allow(limits::LINK_FRAME_BYTES_MAX);
        Ok((
            protocol,
            Connection {
                peer,
                hello: said,
                address,
                frames,
            },
            held,
        ))
    }

    fn hold(&self, peer: NodeId) -> Result<Held, Refusal> {
        let mut open = self.open.lock();
        let count = open.entry(peer).or_default();
        if *count >= limits::CONNECTIONS_PER_PEER_MAX {
            let reason = format!("{} already has {count} connections open", peer.short());
            return Err(Refusal {
                kind: RefusalKind::TooMany,
                reason,
            });
        }
        *count += 1;
        Ok(Held {
            open: self.open.clone(),
            peer,
        })
    }
}

/// A connection counted against its peer's limit until this is dropped.
struct Held {
    open: Arc<Mutex<BTreeMap<NodeId, usize>>>,
    peer: NodeId,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(count) = open.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.peer);
            }
        }
    }
}

async fn next_frame(frames: &mut impl Frames) -> io::Result<BytesMut> {
    match frames.next().await {
        Some(frame) => frame,
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the hello")),
    }
}

/// An error with its causes, on one line, for a log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
