//! The port of a member's peer URLs: nodes of the mesh, and members that are not introduced yet, tell apart by the first
//! bytes that they send.
//!
//! A node speaks TLS and names a protocol of the mesh in its hello (ALPN, RFC 7301 §3.1), which is looked at and left
//! where it is. Whatever else is TLS is an introduction over TLS, whatever is not TLS one in the clear, each where the
//! URLs of the port allow it. Rejected: a second port. A firewall that was opened for etcd has one.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::RwLock;
use revoada_attest::{Digest, NodeId};
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_core::machine::Command;
use revoada_core::roster::RosterChange;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::transport::{Incoming, Protocol};
use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::words::{
    FOUND, FounderWord, JOIN, JoinWord, MemberStanding, PROTOCOL, Refusal, RefusalKind, STANDING, StandingWord, Welcome,
};
use super::{Pins, node_name};
use crate::boot::BootError;

/// The certificates for peers, as far as there are such.
#[derive(Clone, Default)]
pub struct PeerTls {
    /// With which introductions over TLS are answered.
    pub server: Option<Arc<ServerConfig>>,
    /// With which others are asked over TLS.
    pub client: Option<Arc<ClientConfig>>,
}

/// What a member answers to those that it is not introduced to. It knows more as the member starts.
pub struct Introductions {
    pub(super) tls: PeerTls,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    founder: Option<FounderWord>,
    pins: Option<Pins>,
    host: Option<Host>,
}

/// A member that runs, and can take others in.
#[derive(Clone)]
pub(crate) struct Host {
    pub consensus: Consensus,
    pub genesis: Arc<Genesis>,
    pub token: String,
}

impl Introductions {
    /// Knows nothing yet.
    pub fn new(tls: PeerTls) -> Arc<Self> {
        let known = RwLock::default();
        Arc::new(Self { tls, known })
    }

    /// The certificates for peers.
    pub fn tls(&self) -> &PeerTls {
        &self.tls
    }

    pub(super) fn founder(&self, word: FounderWord) {
        self.known.write().founder = Some(word);
    }

    pub(super) fn pinned(&self, pins: &Pins) {
        self.known.write().pins = Some(pins.clone());
    }

    /// This member was introduced before: as the node with this key, in a group of that digest.
    pub fn returned(&self, pins: &Pins, node: NodeId, group: Option<Digest>) {
        self.pinned(pins);
        let Some(group) = group else { return };
        self.founder(FounderWord {
            protocol: PROTOCOL,
            id: pins.id,
            node,
            group,
        });
    }

    pub(crate) fn host(&self, host: Host) {
        self.known.write().host = Some(host);
    }

    /// A founder has said its word: this member's own.
    fn found(&self, word: &FounderWord) -> Result<FounderWord, Refusal> {
        let known = self.known.read();
        let later = || refuse(RefusalKind::Later, "this member is starting");
        let mine = known.founder.as_ref().ok_or_else(later)?;
        if word.protocol != PROTOCOL {
            let why = format!("it speaks version {}, and this member {PROTOCOL}", word.protocol);
            return Err(refuse(RefusalKind::OtherGroup, why));
        }
        if word.group != mine.group {
            let why = "it was started with another token, or with other members";
            return Err(refuse(RefusalKind::OtherGroup, why));
        }
        let pinned = known.pins.iter().flat_map(|pins| &pins.members);
        let mut pinned = pinned
            .filter(|member| member.id == word.id)
            .filter_map(|member| member.node);
        if let Some(node) = pinned.find(|node| *node != word.node) {
            let why = format!(
                "{} was here with the key {}, and has lost it: remove it as a member and add it again",
                node_name(word.id),
                node.short()
            );
            return Err(refuse(RefusalKind::Bootstrapped, why));
        }
        Ok(mine.clone())
    }

    fn hosted(&self) -> Result<Host, Refusal> {
        let host = self.known.read().host.clone();
        host.ok_or_else(|| refuse(RefusalKind::Later, "this member is starting"))
    }

    /// Takes in a member that was added, or says why not.
    async fn join(&self, word: JoinWord) -> Result<Welcome, Refusal> {
        let host = self.hosted()?;
        let later = |error: &dyn std::error::Error| refuse(RefusalKind::Later, error.to_string());
        host.consensus.newest().await.map_err(|error| later(&error))?;
        let roster = || host.consensus.read(|state| state.roster().clone());
        let member = roster().of_urls(&word.peer_urls).cloned().ok_or_else(|| {
            let why = format!("no member was added with the peer URLs {}", word.peer_urls.join(","));
            refuse(RefusalKind::NotAdded, why)
        })?;
        if member.node != Some(word.node) {
            let (id, node) = (member.id, word.node);
            let taken = |why: &str| {
                let why = format!("{}: {why}: remove it as a member and add it again", node_name(id));
                refuse(RefusalKind::Bootstrapped, why)
            };
            if member.node.is_some() {
                return Err(taken("it was here with another key"));
            }
            let introduce = Command::Roster(RosterChange::Introduce { id, node });
            let reply = host.consensus.propose(introduce).await.map_err(|error| later(&error))?;
            reply.map_err(|refused| taken(&refused.reason))?;
            host.consensus.newest().await.map_err(|error| later(&error))?;
        }
        Ok(Welcome {
            id: member.id,
            token: host.token,
            genesis: host.genesis.render(),
            members: roster().members().cloned().collect(),
        })
    }

    /// What is committed of somebody who was here before.
    async fn standing(&self, word: StandingWord) -> Result<MemberStanding, Refusal> {
        let host = self.hosted()?;
        let later = |error: &dyn std::error::Error| refuse(RefusalKind::Later, error.to_string());
        host.consensus.newest().await.map_err(|error| later(&error))?;
        let standing = host.consensus.read(|state| match state.roster().get(word.id) {
            Some(member) if member.node == Some(word.node) => MemberStanding::Member,
            None if state.roster().was_removed(word.id) => MemberStanding::Removed,
            _ => MemberStanding::Unknown,
        });
        let raft = host.consensus.view();
        if raft.voters.contains(&word.node) || raft.learners.contains(&word.node) {
            // One that still replicates is not out yet: its word may be needed for that.
            return Ok(MemberStanding::Member);
        }
        Ok(standing)
    }
}

fn refuse(kind: RefusalKind, why: impl Into<String>) -> Refusal {
    Refusal { kind, why: why.into() }
}

type Answer<T> = Result<Json<T>, (StatusCode, Json<Refusal>)>;

fn answer<T>(result: Result<T, Refusal>) -> Answer<T> {
    result
        .map(Json)
        .map_err(|refusal| (StatusCode::CONFLICT, Json(refusal)))
}

fn router(introductions: Arc<Introductions>) -> Router {
    type Us = State<Arc<Introductions>>;
    Router::new()
        .route(
            FOUND,
            post(async |State(us): Us, Json(word): Json<FounderWord>| answer(us.found(&word))),
        )
        .route(
            JOIN,
            post(async |State(us): Us, Json(word): Json<JoinWord>| answer(us.join(word).await)),
        )
        .route(
            STANDING,
            post(async |State(us): Us, Json(word): Json<StandingWord>| answer(us.standing(word).await)),
        )
        .layer(DefaultBodyLimit::max(limits::INTRODUCTION_BYTES_MAX))
        .with_state(introductions)
}

/// Connections of the mesh that came to the port of a member.
#[derive(Clone)]
pub(crate) struct Nodes(Arc<Mutex<mpsc::Receiver<(TcpStream, SocketAddr)>>>);

impl Incoming for Nodes {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self.0.lock().await.recv().await {
            Some(connection) => Ok(connection),
            // The port is closed.
            None => std::future::pending().await,
        }
    }
}

/// The port, which answers introductions from the moment that it is open, and until this is dropped.
pub struct PeerPort {
    nodes: Nodes,
    _open: DropGuard,
}

impl PeerPort {
    /// Listens on every address, each with whether it is one of a URL with TLS.
    ///
    /// # Errors
    /// [`BootError::Listen`].
    pub async fn open(listen: &[(SocketAddr, bool)], introductions: &Arc<Introductions>) -> Result<Self, BootError> {
        let (sender, receiver) = mpsc::channel(limits::HANDSHAKES_MAX);
        let closed = CancellationToken::new();
        for (address, secure) in listen.iter().copied() {
            let hint = "";
            let failed = |source| BootError::Listen { address, hint, source };
            let listener = crate::node::bind(address).await.map_err(failed)?;
            let door = Door {
                acceptor: introductions
                    .tls
                    .server
                    .clone()
                    .filter(|_| secure)
                    .map(TlsAcceptor::from),
                router: router(introductions.clone()),
                nodes: sender.clone(),
            };
            tokio::spawn(closed.clone().run_until_cancelled_owned(door.attend(listener)));
        }
        Ok(Self {
            nodes: Nodes(Arc::new(Mutex::new(receiver))),
            _open: closed.drop_guard(),
        })
    }

    pub(crate) fn nodes(&self) -> Nodes {
        self.nodes.clone()
    }
}

/// One listener of the port.
#[derive(Clone)]
struct Door {
    acceptor: Option<TlsAcceptor>,
    router: Router,
    nodes: mpsc::Sender<(TcpStream, SocketAddr)>,
}

/// Who a caller is, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Node,
    OverTls,
    InTheClear,
}

impl Door {
    async fn attend(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(limits::HANDSHAKES_MAX));
        let mut pending = VecDeque::new();
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let Some(place) = place(&places, &mut pending).await else {
                return;
            };
            let (tcp, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    crate::listen::pause(&error).await;
                    continue;
                }
            };
            let over = CancellationToken::new();
            pending.push_back((Instant::now(), over.clone()));
            let door = self.clone();
            tasks.spawn(async move {
                if over.run_until_cancelled(door.answer(tcp, address)).await.is_none() {
                    tracing::debug!(%address, "a connection was ended: others waited for its place");
                }
                over.cancel();
                drop(place);
            });
        }
    }

    /// Takes one connection to its end, or to where nodes are taken.
    async fn answer(self, tcp: TcpStream, address: SocketAddr) {
        let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
        match (tokio::time::timeout(limit, caller(&tcp)).await, self.acceptor) {
            // A node that is not taken yet calls again.
            (Ok(Ok(Caller::Node)), _) => drop(self.nodes.try_send((tcp, address))),
            (Ok(Ok(Caller::InTheClear)), None) => introduce(TokioIo::new(tcp), self.router).await,
            (Ok(Ok(Caller::OverTls)), Some(acceptor)) => {
                match tokio::time::timeout(limit, acceptor.accept(tcp)).await {
                    Ok(Ok(tls)) => introduce(TokioIo::new(tls), self.router).await,
                    Ok(Err(error)) => tracing::warn!(%address, %error, "a peer was refused"),
                    Err(_) => {}
                }
            }
            _ => tracing::debug!(%address, "a connection of no kind that is taken here"),
        }
    }
}

/// Connections that are not done with, the oldest first: since when, and what ends each.
type Pending = VecDeque<(Instant, CancellationToken)>;

/// Waits for a place. Where all are taken the oldest connection goes, once it has had a while: callers who say nothing
/// keep nobody out.
async fn place(places: &Arc<Semaphore>, pending: &mut Pending) -> Option<OwnedSemaphorePermit> {
    pending.retain(|(_, over)| !over.is_cancelled());
    let place = places.clone().acquire_owned();
    let Some((since, over)) = pending.front() else {
        return place.await.ok();
    };
    let patience = Duration::from_millis(limits::HANDSHAKE_MS_CONTENDED);
    if let Ok(place) = tokio::time::timeout_at(*since + patience, place).await {
        return place.ok();
    }
    over.cancel();
    places.clone().acquire_owned().await.ok()
}

async fn introduce<I>(io: TokioIo<I>, router: Router)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEADER_MS_MAX))
        .keep_alive(false)
        .serve_connection(io, TowerToHyperService::new(router));
    if let Err(error) = serving.await {
        tracing::debug!(%error, "an introduction broke off");
    }
}

/// Looks at the first bytes and leaves them there.
async fn caller(tcp: &TcpStream) -> io::Result<Caller> {
    let mut buffer = vec![0; limits::CLIENT_HELLO_BYTES_MAX];
    loop {
        let seen = tcp.peek(&mut buffer).await?;
        match judge(&buffer[..seen]) {
            Some(caller) => return Ok(caller),
            None if seen == 0 || seen == buffer.len() => return Err(io::ErrorKind::InvalidData.into()),
            // What was seen stays readable, so readiness says nothing of what is to come.
            None => tokio::time::sleep(Duration::from_millis(limits::CLIENT_HELLO_POLL_MS)).await,
        }
    }
}

/// None while it cannot be told yet.
fn judge(mut bytes: &[u8]) -> Option<Caller> {
    /// The first byte of a record of a TLS handshake (RFC 8446 §5.1).
    const HANDSHAKE: u8 = 22;
    if *bytes.first()? != HANDSHAKE {
        return Some(Caller::InTheClear);
    }
    let mut acceptor = Acceptor::default();
    // What is no hello is told so by whoever answers it.
    if acceptor.read_tls(&mut bytes).is_err() {
        return Some(Caller::OverTls);
    }
    match acceptor.accept() {
        Ok(None) => None,
        Ok(Some(accepted)) => {
            let hello = accepted.client_hello();
            let mut names = hello.alpn().into_iter().flatten();
            let of_ours = |name: &[u8]| Protocol::ALL.iter().any(|protocol| protocol.name() == name);
            Some(if names.any(of_ours) {
                Caller::Node
            } else {
                Caller::OverTls
            })
        }
        Err(_) => Some(Caller::OverTls),
    }
}
