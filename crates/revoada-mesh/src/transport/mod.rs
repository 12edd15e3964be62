//! Authenticated connections between nodes: one listener, one protocol name per concern, frames of bounded length.
//!
//! A connection is TLS 1.3 by the nodes' own keys, then a hello each way (`hello`), then frames: a little-endian length
//! of four bytes and that many bytes. QUIC was measured for this and costs 130 to 180 µs more for each sequential call.

mod hello;
pub mod link;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::limits;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};
use tokio_util::sync::CancellationToken;

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

/// Frames over an authenticated stream.
pub type Frames = Framed<TlsStream<TcpStream>, LengthDelimitedCodec>;

/// A connection whose other side is known and admitted.
#[derive(Debug)]
pub struct Connection {
    /// Whose key the other side holds.
    pub peer: NodeId,
    /// What it said of itself when the connection began.
    pub hello: Hello,
    /// Its address as the socket knows it.
    pub address: SocketAddr,
    /// The frames.
    pub frames: Frames,
    /// Its place among the connections that stand. Whoever uses the frames ends with it.
    pub held: Arc<Held>,
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
pub type Handler = Arc<dyn Fn(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Makes and accepts connections for one node.
pub struct Transport {
    id: NodeId,
    gate: Arc<dyn Gate>,
    server: Arc<ServerConfig>,
    clients: BTreeMap<Protocol, Arc<ClientConfig>>,
    open: Open,
    next: AtomicU64,
}

/// The connections that stand, made and accepted, by the other side; each with what ends it.
type Open = Arc<Mutex<BTreeMap<NodeId, BTreeMap<u64, Standing>>>>;

struct Standing {
    accepted: bool,
    ended: CancellationToken,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Transport {
    /// A transport that speaks as the holder of `key` and lets in whom `gate` admits.
    pub fn new(key: &NodeKey, gate: Arc<dyn Gate>) -> Result<Self, rustls::Error> {
        let names: Vec<&[u8]> = Protocol::ALL.iter().map(|protocol| protocol.name()).collect();
        let clients = Protocol::ALL
            .iter()
            .map(|protocol| Ok((*protocol, tls::client(key, protocol.name())?)))
            .collect::<Result<_, rustls::Error>>()?;
        Ok(Self {
            id: key.id(),
            gate,
            server: tls::server(key, &names)?,
            clients,
            open: Arc::default(),
            next: AtomicU64::default(),
        })
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
    ) -> Result<Connection, ConnectError> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}"));
        let unreachable = |source| ConnectError::Unreachable { address, source };
        let tcp = timeout(limit, TcpStream::connect(address))
            .await
            .map_err(|_| unreachable(late()))?
            .map_err(unreachable)?;
        // A process that is stopped still has a kernel that accepts; a busy machine needs a moment for the handshake.
        let least = Duration::from_millis(limits::CONNECT_MS_MAX);
        let limit = limit.clamp(least, Duration::from_millis(limits::HANDSHAKE_MS_MAX));
        timeout(limit, self.greet(tcp, address, expected, protocol))
            .await
            .map_err(|_| ConnectError::Handshake {
                address,
                source: late(),
            })?
    }

    async fn greet(
        &self,
        tcp: TcpStream,
        address: SocketAddr,
        expected: Option<NodeId>,
        protocol: Protocol,
    ) -> Result<Connection, ConnectError> {
        let failed = |source| ConnectError::Handshake { address, source };
        tune(&tcp).map_err(failed)?;
        let config = self.clients[&protocol].clone();
        let name = ServerName::IpAddress(address.ip().into());
        let tls = TlsConnector::from(config).connect(name, tcp).await.map_err(failed)?;
        let stream = TlsStream::Client(tls);
        let peer = peer_of(&stream, protocol).map_err(failed)?.1;
        let mut frames = Framed::new(stream, codec(limits::HELLO_BYTES_MAX));
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
                // Before it is judged, so that no review comes between the judgement and the place.
                let held = Arc::new(self.hold(peer, false));
                self.gate
                    .admit(&peer, &said)
                    .map_err(|source| ConnectError::RefusedHere { address, source })?;
                frames.codec_mut().set_max_frame_length(limits::LINK_FRAME_BYTES_MAX);
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

    /// Accepts connections for ever and gives each to the handler of its protocol, on a task of its own.
    ///
    /// Garbage, slow handshakes and unknown keys cost the one connection and nobody else: at most
    /// [`limits::HANDSHAKES_MAX`] handshakes run at once, each for at most [`limits::HANDSHAKE_MS_MAX`]; where somebody
    /// waits for its place, the oldest goes after [`limits::HANDSHAKE_MS_CONTENDED`], so that callers who say nothing
    /// cannot keep nodes out.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, handlers: BTreeMap<Protocol, Handler>) {
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
            let (transport, handlers) = (self.clone(), handlers.clone());
            let over = CancellationToken::new();
            pending.push_back(Handshake {
                since: Instant::now(),
                over: over.clone(),
            });
            tasks.spawn(async move {
                let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
                let welcomed = over.run_until_cancelled(timeout(limit, transport.welcome(tcp, address)));
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
                                () = handler(connection) => {}
                                () = held.ended() => {}
                            }
                        }
                    }
                    Ok(Err(error)) => tracing::debug!(%address, error = %chain(&error), "connection refused"),
                    Err(_) => tracing::debug!(%address, "connection refused: the handshake took too long"),
                }
            });
        }
    }

    async fn welcome(&self, tcp: TcpStream, address: SocketAddr) -> io::Result<(Protocol, Connection)> {
        tune(&tcp)?;
        let tls = TlsAcceptor::from(self.server.clone()).accept(tcp).await?;
        let stream = TlsStream::Server(tls);
        let (protocol, peer) = peer_of(&stream, Protocol::Raft)?;
        let mut frames = Framed::new(stream, codec(limits::HELLO_BYTES_MAX));
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
            self.hold_one_more(peer)
                .and_then(|held| self.gate.admit(&peer, &said).map(|()| held))
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
        frames.codec_mut().set_max_frame_length(limits::LINK_FRAME_BYTES_MAX);
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
    fn hold_one_more(&self, peer: NodeId) -> Result<Held, Refusal> {
        let held = self.hold(peer, true);
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

    fn hold(&self, peer: NodeId, accepted: bool) -> Held {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let ended = CancellationToken::new();
        let standing = Standing {
            accepted,
            ended: ended.clone(),
        };
        self.open.lock().entry(peer).or_default().insert(number, standing);
        Held {
            open: self.open.clone(),
            peer,
            number,
            ended,
        }
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

/// Small messages leave at once, and a connection whose other side is gone without a word ends: without that a reader
/// waits for ever, and after a partition TCP's own patience doubles with each attempt.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(limits::LINK_PROBE_S))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(limits::LINK_PROBE_S))?;
    sockopt::set_tcp_keepcnt(tcp, limits::LINK_PROBES_MAX)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(tcp, limits::LINK_UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
}

fn codec(frame_bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(frame_bytes_max)
        .new_codec()
}

async fn next_frame(frames: &mut Frames) -> io::Result<BytesMut> {
    match frames.next().await {
        Some(frame) => frame,
        None => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed before the hello")),
    }
}

fn peer_of(stream: &TlsStream<TcpStream>, called: Protocol) -> io::Result<(Protocol, NodeId)> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (_, session) = stream.get_ref();
    let key = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or_else(|| refused("it showed no key"))?;
    let peer = tls::node_of(key).ok_or_else(|| refused("its key is not an ed25519 key"))?;
    let protocol = match session.alpn_protocol() {
        Some(name) => Protocol::ALL.into_iter().find(|protocol| protocol.name() == name),
        None => None,
    };
    let protocol = protocol.ok_or_else(|| refused("it speaks none of this node's protocols"))?;
    if matches!(stream, TlsStream::Client(_)) && protocol != called {
        return Err(refused("it answered for another protocol"));
    }
    Ok((protocol, peer))
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
