//! The listener of the etcd face: HTTP/2 for gRPC and HTTP/1.1 for the rest on one port, by TLS, or in the clear on the
//! loopback address.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use revoada_core::limits;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::pause;
use crate::boot::BootError;
use crate::config::{EtcdConfig, EtcdTls};

/// The port of the etcd face.
pub(crate) struct EtcdListener {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
}

impl EtcdListener {
    /// Binds. Who could be reached from elsewhere has to have certificates.
    pub async fn bind(config: &EtcdConfig) -> Result<Self, BootError> {
        let address = config.listen;
        let acceptor = match &config.tls {
            Some(tls) => Some(TlsAcceptor::from(Arc::new(tls_config(tls)?))),
            None if address.ip().is_loopback() => None,
            None => {
                return Err(BootError::Unsupported {
                    what: format!(
                        "the etcd face on {address} could be reached from other machines, and has no certificates: set \
                         etcd.tls.cert and etcd.tls.key in the config, or listen on the loopback address"
                    ),
                });
            }
        };
        let hint = "";
        let listener =
            crate::node::bind(address)
                .await
                .map_err(|source| BootError::Listen { address, hint, source })?;
        Ok(Self { listener, acceptor })
    }

    /// Serves until `stop`.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(limits::ETCD_CONNECTIONS_MAX));
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
            // Answers are small and are waited for.
            drop(stream.set_nodelay(true));
            let (acceptor, router, stop) = (self.acceptor.clone(), router.clone(), stop.clone());
            tokio::spawn(async move {
                let _place = place;
                let Some(acceptor) = acceptor else {
                    return connection(TokioIo::new(stream), router, stop).await;
                };
                let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
                // A handshake that fails or takes too long is the caller's loss alone.
                if let Ok(Ok(tls)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    connection(TokioIo::new(tls), router, stop).await;
                }
            });
        }
    }
}

async fn connection<I>(io: TokioIo<I>, router: Router, stop: CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(limits::HEADER_MS_MAX));
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(limits::ETCD_STREAM_WINDOW_BYTES)
        .initial_connection_window_size(limits::ETCD_CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(limits::ETCD_STREAMS_MAX)
        .keep_alive_interval(Some(Duration::from_millis(limits::ETCD_PING_MS)))
        .keep_alive_timeout(Duration::from_millis(limits::ETCD_PING_MS));
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => {
            if let Err(error) = result {
                tracing::debug!(%error, "a connection of the etcd face broke");
            }
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(tokio::time::timeout(Duration::from_millis(limits::GOODBYE_MS_MAX), connection).await);
        }
    }
}

fn tls_config(files: &EtcdTls) -> Result<rustls::ServerConfig, BootError> {
    let failed = |path: &Path, what: String| BootError::Certificate {
        what: format!("{}: {what}", path.display()),
    };
    let certificates = |path: &Path| {
        CertificateDer::pem_file_iter(path)
            .and_then(|certs| certs.collect::<Result<Vec<_>, _>>())
            .map_err(|error| failed(path, error.to_string()))
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(BootError::Tls)?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for root in certificates(path)? {
                roots.add(root).map_err(|error| failed(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| failed(path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error.to_string()))?;
    let mut config = builder
        .with_single_cert(certificates(&files.cert)?, key)
        .map_err(BootError::Tls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
