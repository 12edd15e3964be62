//! The listeners for people and programs: the control socket, which trusts the kernel's word for who calls, and TLS,
//! which trusts the cluster's token. Nothing else on the machine or the network gets in.

mod authority;
mod etcd;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::RwLock;
use revoada_attest::Digest;
use revoada_core::limits;
use rustix::net::RecvFlags;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::Interest;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::boot::BootError;
pub(crate) use etcd::EtcdListener;
pub use etcd::{EtcdListen, EtcdServes, PeerCertificate};

/// Who calls, as the listener found it. Whatever serves the request decides what that caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// For logs and refusals: `uid 1000`, `token`.
    pub who: String,
}

/// Why a listener could not be opened.
pub type ListenError = BootError;

/// Where the etcd face is on the control socket, over HTTP/2.
pub const ETCD_PATH: &str = "/v1/etcd";

/// What answers requests now: it changes while the node boots.
pub(crate) type Slot = Arc<RwLock<Router>>;

/// The control socket: a Unix socket of mode 0600, for the node's own user and root.
pub(crate) fn bind_control(path: &Path) -> Result<UnixListener, BootError> {
    let failed = |source| BootError::Control {
        path: path.to_owned(),
        source,
    };
    let short = ShortPath::of(path).map_err(failed)?;
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            let what = "there is something else than a socket, and it is left alone";
            return Err(failed(io::Error::new(io::ErrorKind::AlreadyExists, what)));
        }
        // The folder's lock is ours, but the socket may lie elsewhere and be another node's.
        Ok(_) if std::os::unix::net::UnixStream::connect(short.path()).is_ok() => {
            return Err(failed(io::Error::new(
                io::ErrorKind::AddrInUse,
                "another process answers there",
            )));
        }
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
    }
    // Between the next two lines others could connect, if the folder let them; who calls is asked of the kernel anyway.
    let listener = UnixListener::bind(short.path()).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// A path by which the kernel takes a socket: its addresses hold 107 bytes (unix(7)), and folders may lie deeper.
struct ShortPath {
    path: PathBuf,
    /// Open for as long as the path is used.
    _folder: Option<std::fs::File>,
}

impl ShortPath {
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if path.as_os_str().len() <= limits::SOCKET_PATH_BYTES_MAX {
            let path = path.to_owned();
            return Ok(Self { path, _folder: None });
        }
        let folder = std::fs::File::open(folder)?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name),
            _folder: Some(folder),
        })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

/// Serves the control socket until `stop`.
pub(crate) async fn serve_control(listener: UnixListener, slot: Slot, stop: CancellationToken) {
    let me = rustix::process::geteuid().as_raw();
    let room = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => { pause(&error).await; continue }
            },
        };
        let caller = match stream.peer_cred() {
            Ok(peer) if peer.uid() == me || peer.uid() == 0 => Ok(Caller {
                who: format!("uid {}", peer.uid()),
            }),
            Ok(peer) => Err(format!(
                "the control socket answers its own user and root, not uid {}",
                peer.uid()
            )),
            Err(error) => Err(format!("the kernel does not say who calls: {error}")),
        };
        let (slot, stop) = (slot.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let caller = move |_: &_| caller.clone().map_err(|why| (StatusCode::FORBIDDEN, why));
            let limit = Duration::from_millis(limits::HEADER_MS_MAX);
            match tokio::time::timeout(limit, speaks_http2(&stream)).await {
                Ok(Ok(true)) => serve_http2(TokioIo::new(stream), slot, stop, caller).await,
                Ok(Ok(false)) => serve(TokioIo::new(stream), slot, stop, caller).await,
                // Silent, or gone.
                Ok(Err(_)) | Err(_) => {}
            }
        });
    }
}

/// The HTTP API on TCP.
pub(crate) struct Https {
    pub listener: TcpListener,
    pub acceptor: TlsAcceptor,
    /// BLAKE3 of the token; without one nobody gets in.
    pub token: Option<Digest>,
}

impl Https {
    /// Binds, with the certificate in `folder`, which is made if there is none.
    pub async fn bind(
        address: SocketAddr,
        folder: &Path,
        name: &str,
        token: Option<Digest>,
    ) -> Result<Self, BootError> {
        let config = certificate(folder, name, address)?;
        let hint = "";
        let listener =
            crate::node::bind(address)
                .await
                .map_err(|source| BootError::Listen { address, hint, source })?;
        Ok(Self {
            listener,
            acceptor: TlsAcceptor::from(config),
            token,
        })
    }

    /// Serves until `stop`.
    pub async fn serve(self, slot: Slot, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
        loop {
            let Ok(place) = room.clone().acquire_owned().await else {
                return;
            };
            let stream = tokio::select! {
                () = stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => stream,
                    Err(error) => { pause(&error).await; continue }
                },
            };
            let (acceptor, token) = (self.acceptor.clone(), self.token);
            let (slot, stop) = (slot.clone(), stop.clone());
            tokio::spawn(async move {
                let _place = place;
                let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
                // A handshake that fails or takes too long is the caller's loss alone.
                let Ok(Ok(tls)) = tokio::time::timeout(limit, acceptor.accept(stream)).await else {
                    return;
                };
                serve(TokioIo::new(tls), slot, stop, move |request| bearer(request, token)).await;
            });
        }
    }
}

fn bearer<B>(request: &Request<B>, token: Option<Digest>) -> Result<Caller, (StatusCode, String)> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .map(|given| blake3::hash(given.trim().as_bytes()));
    match (given, token) {
        // blake3's comparison takes the same time whatever differs.
        (Some(given), Some(token)) if given == blake3::Hash::from_bytes(*token.as_bytes()) => Ok(Caller {
            who: "token".to_owned(),
        }),
        (None, _) => Err((
            StatusCode::UNAUTHORIZED,
            "a token is needed: Authorization: Bearer TOKEN".to_owned(),
        )),
        (Some(_), _) => Err((StatusCode::UNAUTHORIZED, "this is not the cluster's token".to_owned())),
    }
}

pub(crate) async fn pause(error: &io::Error) {
    tracing::warn!(%error, "cannot accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

async fn serve<I, A>(io: TokioIo<I>, slot: Slot, stop: CancellationToken, authorise: A)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    A: Fn(&Request<hyper::body::Incoming>) -> Result<Caller, (StatusCode, String)> + Send + Sync + 'static,
{
    let service = answer(slot, authorise);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEADER_MS_MAX))
        .serve_connection(io, service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection of the API broke");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // What was being answered is answered; what streams is told to end by whoever serves it.
            drop(tokio::time::timeout(Duration::from_millis(limits::GOODBYE_MS_MAX), connection).await);
        }
    }
}

/// Whether a client speaks HTTP/2 without having been told to: its first bytes say so (RFC 9113 §3.4). They are left to be
/// read.
async fn speaks_http2(stream: &UnixStream) -> io::Result<bool> {
    const BEGINS: &[u8; 3] = b"PRI";
    loop {
        stream.readable().await?;
        let peeked = stream.try_io(Interest::READABLE, || {
            let mut begins = [0; BEGINS.len()];
            let (count, _) = rustix::net::recv(stream, &mut begins, RecvFlags::PEEK)?;
            Ok((count, begins))
        });
        match peeked {
            Ok((count, begins)) if begins[..count] != BEGINS[..count] || count == 0 => return Ok(false),
            Ok((count, _)) if count == BEGINS.len() => return Ok(true),
            // A client that sends single bytes: what is there stays readable.
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// The service of a connection: what is in `slot`, for whom `authorise` lets in.
fn answer<A>(
    slot: Slot,
    authorise: A,
) -> impl hyper::service::Service<
    Request<hyper::body::Incoming>,
    Response = Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Send
+ 'static
where
    A: Fn(&Request<hyper::body::Incoming>) -> Result<Caller, (StatusCode, String)> + Send + Sync + 'static,
{
    let authorise = Arc::new(authorise);
    hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let (slot, authorise) = (slot.clone(), authorise.clone());
        async move {
            let caller = match authorise(&request) {
                Ok(caller) => caller,
                Err((status, why)) => return Ok(denied(status, &why)),
            };
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(caller);
            let router = slot.read().clone();
            router.oneshot(request).await
        }
    })
}

/// As [`serve`], for clients that speak HTTP/2 (gRPC).
async fn serve_http2<I, A>(io: TokioIo<I>, slot: Slot, stop: CancellationToken, authorise: A)
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    A: Fn(&Request<hyper::body::Incoming>) -> Result<Caller, (StatusCode, String)> + Send + Sync + 'static,
{
    let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::ETCD_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::ETCD_CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(Some(Duration::from_millis(limits::ETCD_PING_MS)))
        .keep_alive_timeout(Duration::from_millis(limits::ETCD_PING_MS))
        .serve_connection(io, answer(slot, authorise));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection of the control socket broke");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(tokio::time::timeout(Duration::from_millis(limits::GOODBYE_MS_MAX), connection).await);
        }
    }
}

fn denied(status: StatusCode, why: &str) -> Response {
    let kind = if status == StatusCode::UNAUTHORIZED {
        "unauthenticated"
    } else {
        "denied"
    };
    let body = serde_json::json!({"error": {"kind": kind, "message": why, "causes": []}});
    (status, axum::Json(body)).into_response()
}

fn certificate(folder: &Path, name: &str, address: SocketAddr) -> Result<Arc<rustls::ServerConfig>, BootError> {
    let failed = |what: String| BootError::Certificate { what };
    let (cert_path, key_path) = (folder.join("http.crt"), folder.join("http.key"));
    if !cert_path.exists() || !key_path.exists() {
        let names = vec![
            "localhost".to_owned(),
            name.to_owned(),
            address.ip().to_string(),
            "127.0.0.1".to_owned(),
        ];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(error.to_string()))?;
        write_secret(&key_path, made.signing_key.serialize_pem().as_bytes())
            .map_err(|error| failed(format!("{}: {error}", key_path.display())))?;
        // Whole or not at all, because half a certificate would keep the node from every later start.
        let part = folder.join("http.crt.part");
        std::fs::write(&part, made.cert.pem())
            .and_then(|()| std::fs::rename(&part, &cert_path))
            .map_err(|error| failed(format!("{}: {error}", cert_path.display())))?;
    }
    let read = |path: &PathBuf, what: String| failed(format!("{}: {what}", path.display()));
    let certs = CertificateDer::pem_file_iter(&cert_path)
        .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
        .map_err(|error| read(&cert_path, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&key_path).map_err(|error| read(&key_path, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BootError::Tls)?
        .with_no_client_auth()
        .with_single_cert(certs, key)
        .map_err(BootError::Tls)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(authorization: Option<&str>) -> Request<()> {
        let mut request = Request::builder();
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_the_clusters_token_opens_the_api() {
        let token = Some(Digest::from_bytes(*blake3::hash(b"secret").as_bytes()));
        let caller = bearer(&asks(Some("Bearer secret")), token).unwrap();
        assert_eq!(caller.who, "token");
        let refused = [
            None,
            Some(""),
            Some("Bearer"),
            Some("Bearer "),
            Some("bearer secret"),
            Some("Basic secret"),
            Some("Bearer secrets"),
            Some("Bearer secre"),
            Some("Bearer Secret"),
        ];
        for given in refused {
            let (status, why) = bearer(&asks(given), token).unwrap_err();
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{given:?}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
        // A cluster that was formed without a token lets nobody in.
        assert!(bearer(&asks(Some("Bearer secret")), None).is_err());
        assert!(bearer(&asks(Some("Bearer ")), None).is_err());
    }

    #[test]
    fn the_certificate_is_made_once_and_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 7001));
        certificate(dir.path(), "node-1", address).unwrap();
        let (crt, key) = (dir.path().join("http.crt"), dir.path().join("http.key"));
        let before = (std::fs::read(&crt).unwrap(), std::fs::read(&key).unwrap());
        assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        certificate(dir.path(), "node-1", address).unwrap();
        assert_eq!((std::fs::read(&crt).unwrap(), std::fs::read(&key).unwrap()), before);
        std::fs::write(&key, "no key").unwrap();
        let error = certificate(dir.path(), "node-1", address).unwrap_err();
        assert!(error.to_string().contains("http.key"), "{error}");
        assert_eq!(std::fs::read(&key).unwrap(), b"no key");
    }

    #[tokio::test]
    async fn the_control_socket_is_the_owners_alone_and_takes_the_place_of_a_dead_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let listener = bind_control(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = bind_control(&path).unwrap_err();
        assert!(matches!(&error, BootError::Control { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
        // The process is gone, its socket is still there.
        drop(listener);
        bind_control(&path).unwrap();
    }

    #[tokio::test]
    async fn the_control_socket_may_lie_deep() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("deep".repeat(40));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("control.sock");
        let listener = bind_control(&path).unwrap();
        let error = bind_control(&path).unwrap_err();
        assert!(matches!(&error, BootError::Control { source, .. } if source.kind() == io::ErrorKind::AddrInUse));
        drop(listener);
        bind_control(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_at_the_control_sockets_path_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes.txt");
        std::fs::write(&path, "mine").unwrap();
        let error = bind_control(&path).unwrap_err();
        assert!(error.to_string().contains("notes.txt"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}
