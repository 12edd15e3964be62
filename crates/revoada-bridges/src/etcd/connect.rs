//! Connections to an etcd: HTTP/2 over TCP, TLS, or a stream that somebody else has opened.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::HeaderValue;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower::Service;

/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How often a silent connection is asked whether it is there, and how long it may take to say so.
const PING: Duration = Duration::from_secs(10);
/// How many bytes of one answer, and of all, may be on their way.
const WINDOW_BYTES: u32 = 8 << 20;

/// Why no connection was made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What was given is no address.
    #[error("{given} is no address of an etcd: HOST:PORT is one")]
    Address {
        /// What was given.
        given: String,
    },
    /// A file of certificates or a key.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The certificates do not fit each other.
    #[error("the certificates cannot be used")]
    Tls(#[from] rustls::Error),
    /// Nobody answers there, or not as an etcd does.
    #[error("no etcd answers at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Files of TLS: what vouches for etcd, and what this side shows.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// The authorities that vouch for etcd.
    pub ca: PathBuf,
    /// A certificate and its key.
    pub shown: Option<(PathBuf, PathBuf)>,
}

/// Where an etcd is, and how it is spoken to.
#[derive(Clone)]
pub struct Address {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Address {
    /// Several of them, `HOST:PORT[,HOST:PORT]…`; all with the same TLS, where there is any.
    ///
    /// # Errors
    /// One is no address, or the files of TLS cannot be used.
    pub fn several(given: &str, tls: Option<&TlsFiles>) -> Result<Vec<Self>, ConnectError> {
        let tls = tls.map(connector).transpose()?;
        let one = |given: &str| {
            let given = given.trim().trim_end_matches('/');
            let (host, port) = given.rsplit_once(':')?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            (!host.is_empty()).then_some(Self {
                host: host.to_owned(),
                port: port.parse().ok()?,
                tls: tls.clone(),
            })
        };
        let several = given.split(',').map(|given| {
            one(given).ok_or_else(|| ConnectError::Address {
                given: given.to_owned(),
            })
        });
        several.collect()
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there within five seconds, or not as an etcd does.
    pub async fn connect(&self) -> Result<Channel, ConnectError> {
        let unreachable = |source| ConnectError::Unreachable {
            address: self.to_string(),
            source,
        };
        match tokio::time::timeout(CONNECT_LIMIT, self.open()).await {
            Ok(opened) => opened.map_err(unreachable),
            Err(elapsed) => Err(unreachable(elapsed.into())),
        }
    }

    async fn open(&self) -> Result<Channel, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Channel::over(stream, &format!("http://{}:{}", bracketed(&self.host), self.port)).await;
        };
        let name = ServerName::try_from(self.host.clone())?;
        let stream = tls.connect(name, stream).await?;
        Channel::over(stream, &format!("https://{}:{}", bracketed(&self.host), self.port)).await
    }
}

/// A host as it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn connector(files: &TlsFiles) -> Result<TlsConnector, ConnectError> {
    let unusable = |path: &Path, source: Box<dyn std::error::Error + Send + Sync>| ConnectError::File {
        path: path.to_owned(),
        source,
    };
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, ConnectError> {
        let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
        read.map_err(|error| unusable(path, error.into()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate)?;
    }
    if roots.is_empty() {
        let source = io::Error::new(io::ErrorKind::InvalidData, "there is no certificate in it");
        return Err(unusable(&files.ca, source.into()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match &files.shown {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let read = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable(key, error.into()))?;
            config.with_client_auth_cert(certificates(certificate)?, read)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One connection, which many calls share.
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    origin: Uri,
    /// Who calls, where somebody has logged in.
    pub(super) token: Option<HeaderValue>,
}

impl Channel {
    /// Speaks over `stream` to what has its methods below the URL `origin`.
    ///
    /// # Errors
    /// The other side does not speak HTTP/2, or `origin` is no URL.
    pub async fn over<S>(stream: S, origin: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let origin = origin.parse()?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream))
            .await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                // Whoever calls is told by its own call.
                tracing::debug!(%error, "a connection to an etcd broke");
            }
        });
        Ok(Self {
            sender,
            origin,
            token: None,
        })
    }

    /// Where its methods are.
    pub(super) fn origin(&self) -> Uri {
        self.origin.clone()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        if let Some(token) = &self.token {
            request.headers_mut().insert("token", token.clone());
        }
        Box::pin(self.sender.send_request(request))
    }
}
