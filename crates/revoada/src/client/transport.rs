//! One connection to an endpoint: a Unix socket as it is, or TLS over TCP.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::endpoint::Endpoint;
use super::error::{Cause, ClientError};

/// How connections to one endpoint are made.
#[derive(Clone)]
pub struct Transport {
    endpoint: Arc<Endpoint>,
    tls: Option<TlsConnector>,
    connect_timeout: Duration,
}

impl Transport {
    /// Reads the authorities of an https endpoint; connects to nothing yet.
    pub fn new(endpoint: Endpoint, connect_timeout: Duration) -> Result<Self, ClientError> {
        let tls = match &endpoint {
            Endpoint::Socket(_) => None,
            Endpoint::Https { ca_file, .. } => Some(connector(ca_file).map_err(|source| ClientError::Authorities {
                file: ca_file.display().to_string(),
                source,
            })?),
        };
        Ok(Self {
            endpoint: Arc::new(endpoint),
            tls,
            connect_timeout,
        })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects, within the time for it.
    pub async fn connect(&self) -> Result<Stream, ClientError> {
        match tokio::time::timeout(self.connect_timeout, self.try_connect()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(source)) => Err(ClientError::Connect {
                endpoint: self.endpoint.to_string(),
                source: source.into(),
            }),
            Err(_) => Err(ClientError::ConnectTimedOut {
                endpoint: self.endpoint.to_string(),
                after: self.connect_timeout,
            }),
        }
    }

    async fn try_connect(&self) -> io::Result<Stream> {
        match (&*self.endpoint, &self.tls) {
            (Endpoint::Https { host, port, .. }, Some(tls)) => {
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tls(Box::new(tls.connect(name, stream).await?)))
            }
            (Endpoint::Socket(path), _) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
            (Endpoint::Https { .. }, None) => unreachable!("the connector is made together with the endpoint"),
        }
    }
}

fn connector(ca_file: &Path) -> Result<TlsConnector, Cause> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in it".into());
    }
    // Named here, and not taken from the process, so that a program that embeds this needs no set-up of its own.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection to a node.
pub enum Stream {
    /// To its control socket.
    Unix(UnixStream),
    /// To its TLS listener.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
