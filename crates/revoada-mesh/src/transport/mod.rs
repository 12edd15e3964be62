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

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use parking_lot::Mutex;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

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

    /// The name of its ALPN.
    pub const fn name(self) -> &'static [u8] {
        match self {
            Self::Raft => b"revoada-raft/2",
            Self::Forward => b"revoada-forward/2",
            Self::Gossip => b"revoada-gossip/2",
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
    /// Its place among the connections that stand. Whoever uses the frames ends with it.
    pub held: Arc<Held>,
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

/// Where connections come from.
pub trait Incoming: Send {
    /// The next one. Cancel-safe: a connection is never lost.
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send;
}

impl Incoming for TcpListener {
    fn accept(&mut self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr)>> + Send {
        Self::accept(self)
    }
}

/// Makes and accepts connections for one node.
pub struct Transport<R: Runtime = Tokio> {
    id: NodeId,
    gate: Arc<dyn Gate>,
    wire: WireOf<R>,
    open: Open,
    next: AtomicU64,
}

/// The connections that stand, made and accepted, by the other side; each with what ends it.
type Open = Arc<Mutex<BTreeMap<NodeId, BTreeMap<u64, Standing>>>>;

struct Standing {
    accepted: bool,
    /// Where the other side says that it listens.
    address: SocketAddr,
    ended: CancellationToken,
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
    /// [`limits::HANDSHAKES_MAX`] handshakes run at once, each for at most [`limits::HANDSHAKE_MS_MAX`]; where somebody
    /// waits for its place, the oldest goes after [`limits::HANDSHAKE_MS_CONTENDED`], so that callers who say nothing
    /// cannot keep nodes out.
    pub async fn serve(self: Arc<Self>, mut listener: impl Incoming, handlers: BTreeMap<Protocol, Handler>) {
        let handlers = Arc::new(handlers);
        let handshakes = Arc::new(Semaphore::new(limits::HANDSHAKES_MAX));
        let mut pending = VecDeque::new();
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Some(slot) = room(&handshakes, &mut pending).await else {
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
            let over = CancellationToken::new();
            pending.push_back(Handshake {
                since: Instant::now(),
                over: over.clone(),
            });
            tasks.spawn(self.clone().attend(tcp, address, handlers.clone(), slot, over));
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
            next: AtomicU64::default(),
        }
    }

    /// Whose key it holds.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// How many connections the peer that has made the most of them holds.
    pub fn accepted_most(&self) -> usize {
        let open = self.open.lock();
        let accepted = |standing: &BTreeMap<u64, Standing>| standing.values().filter(|one| one.accepted).count();
        open.values().map(accepted).max().unwrap_or_default()
    }

    /// Judges again who may be here, and ends the connections of those who may no longer. To be called whenever what the
    /// gate decides by has changed: a connection is judged when it begins, and may last for months.
    pub fn review(&self) {
        let peers: Vec<NodeId> = self.open.lock().keys().copied().collect();
        for peer in peers {
            let Err(refusal) = self.gate.keeps(&peer) else {
                continue;
            };
            let ended = self.open.lock().remove(&peer).unwrap_or_default();
            if !ended.is_empty() {
                tracing::warn!(peer = %peer.short(), connections = ended.len(), reason = %refusal, "a node was cut off");
            }
            for standing in ended.into_values() {
                standing.ended.cancel();
            }
        }
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
            .send(Bytes::from(hello::encode(&self.gate.hello(&peer))))
            .await
            .map_err(failed)?;
        let answer = next_frame(&mut frames).await.map_err(failed)?;
        match hello::decode(&answer) {
            Some(hello::Answer::Welcome(said)) => {
                // Before it is judged, so that no review comes between the judgement and the place.
                let refused = |source| ConnectError::RefusedHere { address, source };
                let held = Arc::new(self.hold(peer, false, said.address).map_err(refused)?);
                self.gate.admit(&peer, &said).map_err(refused)?;
                frames.allow(limits::LINK_FRAME_BYTES_MAX);
                Ok(Connection {
                    peer,
                    hello: said,
                    address,
                    frames,
                    held,
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
    /// the handshake; `over` is cancelled then, and ends the handshake where it is cancelled earlier.
    pub async fn attend<S: Send>(
        self: Arc<Self>,
        socket: SocketOf<R>,
        address: SocketAddr,
        handlers: Arc<BTreeMap<Protocol, Handler<R>>>,
        slot: S,
        over: CancellationToken,
    ) {
        let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
        let welcomed = over.run_until_cancelled(R::timeout(limit, self.welcome(socket, address)));
        let Some(welcomed) = welcomed.await else {
            tracing::debug!(%address, "connection refused: others waited for its place");
            return;
        };
        over.cancel();
        drop(slot);
        match welcomed {
            Ok(Ok((protocol, connection))) => {
                let held = connection.held.clone();
                if let Some(handler) = handlers.get(&protocol) {
                    tokio::select! {
                        biased;
                        () = handler(connection) => {}
                        () = held.ended() => {}
                    }
                }
            }
            Ok(Err(error)) => tracing::debug!(%address, error = %chain(&error), "connection refused"),
            Err(_) => tracing::debug!(%address, "connection refused: the handshake took too long"),
        }
    }

    async fn welcome(&self, socket: SocketOf<R>, address: SocketAddr) -> io::Result<(Protocol, Connection<R>)> {
        let (protocol, peer, mut frames) = self.wire.accept(socket).await?;
        let said: Hello = hello::decode(&next_frame(&mut frames).await?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the hello is garbage"))?;
        let name = self.gate.hello(&peer).name;
        let admitted = if peer == self.id {
            let reason = format!("{address} has the same key as {name}: a key is never copied to a second node");
            Err(Refusal {
                kind: RefusalKind::SameKey,
                reason,
            })
        } else {
            // Before the gate is asked, which would count against the node what somebody with a copy of its key says.
            self.hold_one_more(peer, said.address)
                .and_then(|held| self.gate.admit(&peer, &said).map(|()| held))
        };
        let held = match admitted {
            Ok(held) => held,
            Err(refusal) => {
                tracing::warn!(%address, peer = %peer.short(), name = %said.name, reason = %refusal, "a node was refused");
                let answer = hello::Answer::Refused {
                    by: name,
                    refusal: refusal.clone(),
                };
                frames.send(Bytes::from(hello::encode(&answer))).await?;
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, refusal));
            }
        };
        // Behind the gate's judgement, which may have written down whose disk that is.
        let mine = self.gate.hello(&peer);
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
                held: Arc::new(held),
            },
        ))
    }

    /// A place for a connection that the other side made; at most [`limits::CONNECTIONS_PER_PEER_MAX`] of them.
    fn hold_one_more(&self, peer: NodeId, address: SocketAddr) -> Result<Held, Refusal> {
        let held = self.hold(peer, true, address)?;
        let count = self.open.lock().get(&peer).map_or(0, |standing| {
            standing.values().filter(|standing| standing.accepted).count()
        });
        if count > limits::CONNECTIONS_PER_PEER_MAX {
            let reason = format!("{} already has {} connections open", peer.short(), count - 1);
            return Err(Refusal {
                kind: RefusalKind::TooMany,
                reason,
            });
        }
        Ok(held)
    }

    /// A place for a connection with the peer that listens on `address`. While one with the same key that listens elsewhere
    /// is here, there is none: which of two is the node cannot be told, and two that take turns would be a node that
    /// forgets. One that moved is let in when the kernel has given up its old connections.
    fn hold(&self, peer: NodeId, accepted: bool, address: SocketAddr) -> Result<Held, Refusal> {
        let mut open = self.open.lock();
        let standing = open.entry(peer).or_default();
        if let Some(other) = standing.values().find(|standing| standing.address != address) {
            let reason = format!(
                "{} is here from {} already, and {address} has a copy of its key: a key is never copied to a second node",
                peer.short(),
                other.address
            );
            return Err(Refusal {
                kind: RefusalKind::SameKey,
                reason,
            });
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        let one = Standing {
            accepted,
            address,
            ended: ended.clone(),
        };
        standing.insert(number, one);
        Ok(Held {
            open: self.open.clone(),
            peer,
            number,
            ended,
        })
    }
}

/// A handshake that was begun; over when it has ended, or has to.
struct Handshake {
    since: Instant,
    over: CancellationToken,
}

/// Waits until one more handshake may run.
async fn room(handshakes: &Arc<Semaphore>, pending: &mut VecDeque<Handshake>) -> Option<OwnedSemaphorePermit> {
    pending.retain(|handshake| !handshake.over.is_cancelled());
    let slot = handshakes.clone().acquire_owned();
    let Some(oldest) = pending.front() else {
        return slot.await.ok();
    };
    let patience = Duration::from_millis(limits::HANDSHAKE_MS_CONTENDED);
    if let Ok(slot) = timeout_at(oldest.since + patience, slot).await {
        return slot.ok();
    }
    oldest.over.cancel();
    handshakes.clone().acquire_owned().await.ok()
}

/// A connection's place among those that stand, until this is dropped.
pub struct Held {
    open: Open,
    peer: NodeId,
    number: u64,
    ended: CancellationToken,
}

impl Held {
    /// Resolves when the other side may no longer be here. Cancel-safe.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut open = self.open.lock();
        if let Some(standing) = open.get_mut(&self.peer) {
            standing.remove(&self.number);
            if standing.is_empty() {
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
