//! The listeners of the etcd face: HTTP/2 for gRPC and HTTP/1.1 for the rest on one port, by TLS or in the clear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use revoada_core::limits;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::authority::Lenient;
use super::pause;
use crate::boot::BootError;
use crate::config::EtcdConfig;
use crate::tls::{CertificateFiles, ServerTls, TlsRules};

/// What one listener of the etcd face serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdServes {
    /// Everything.
    All,
    /// gRPC.
    Grpc,
    /// What is asked without gRPC.
    Http,
    /// Of that, metrics and health.
    Metrics,
}

/// One listener of the etcd face, and how it is reached.
#[derive(Debug, Clone)]
pub struct EtcdListen {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificates; in the clear without.
    pub tls: Option<ServerTls>,
    /// What it serves.
    pub serves: EtcdServes,
}

/// The certificate that a client has shown, in DER; in the extensions of each request of its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerCertificate(pub Arc<[u8]>);

/// What is spoken over TLS.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where metrics and health are.
const METRICS: [&str; 4] = ["/metrics", "/health", "/livez", "/readyz"];

impl EtcdListen {
    /// The listener of a configuration. One that others could reach has to have certificates.
    pub(crate) fn of(config: &EtcdConfig) -> Result<Self, BootError> {
        let address = config.listen;
        if config.tls.is_none() && !address.ip().is_loopback() {
            return Err(BootError::Unsupported {
                what: format!(
                    "the etcd face on {address} could be reached from other machines, and has no certificates: set \
                     etcd.tls.cert and etcd.tls.key in the config, or listen on the loopback address"
                ),
            });
        }
        let tls = config.tls.as_ref().map(|tls| ServerTls {
            shown: CertificateFiles {
                cert: tls.cert.clone(),
                key: tls.key.clone(),
            },
            client_ca: tls.client_ca.clone(),
            revoked: None,
            rules: TlsRules::default(),
        });
        let serves = EtcdServes::All;
        Ok(Self { address, tls, serves })
    }
}

impl EtcdServes {
    fn takes(self, request: &Request) -> bool {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        match self {
            Self::All => true,
            Self::Grpc => grpc,
            Self::Http => !grpc,
            Self::Metrics => !grpc && METRICS.iter().any(|path| request.uri().path().starts_with(path)),
        }
    }

    fn narrow(self, router: Router) -> Router {
        if self == Self::All {
            return router;
        }
        router.layer(middleware::from_fn(move |request: Request, next: Next| async move {
            if self.takes(&request) {
                next.run(request).await
            } else {
                (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
            }
        }))
    }
}

/// A port of the etcd face.
pub(crate) struct EtcdListener {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    serves: EtcdServes,
}

impl EtcdListener {
    /// Binds.
    pub async fn bind(listen: &EtcdListen) -> Result<Self, BootError> {
        let address = listen.address;
        let acceptor = match &listen.tls {
            Some(tls) => Some(TlsAcceptor::from(tls.config(&PROTOCOLS)?)),
            None => None,
        };
        let hint = "";
        let listener =
            crate::node::bind(address)
                .await
                .map_err(|source| BootError::Listen { address, hint, source })?;
        Ok(Self {
            listener,
            acceptor,
            serves: listen.serves,
        })
    }

    /// Serves until `stop`.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(limits::ETCD_CONNECTIONS_MAX));
        let router = self.serves.narrow(router);
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
                    return connection(stream, router, stop).await;
                };
                let limit = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
                // A handshake that fails or takes too long is the caller's loss alone.
                if let Ok(Ok(tls)) = tokio::time::timeout(limit, acceptor.accept(stream)).await {
                    let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
                    let router = match shown.map(|shown| PeerCertificate(shown.as_ref().into())) {
                        Some(shown) => router.layer(middleware::from_fn(move |request, next| {
                            with_certificate(shown.clone(), request, next)
                        })),
                        None => router,
                    };
                    connection(tls, router, stop).await;
                }
            });
        }
    }
}

async fn connection<I>(io: I, router: Router, stop: CancellationToken)
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
    let connection = builder.serve_connection(TokioIo::new(Lenient::new(io)), service);
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

async fn with_certificate(shown: PeerCertificate, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(shown);
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn each_listener_takes_what_it_is_for() {
        let request = |path: &str, kind: &str| {
            let request = Request::builder().uri(path).header(header::CONTENT_TYPE, kind);
            request.body(Body::empty()).unwrap()
        };
        let grpc = request("/etcdserverpb.KV/Range", "application/grpc+proto");
        let version = request("/version", "");
        let metrics = request("/metrics", "");
        let takes = |serves: EtcdServes| [&grpc, &version, &metrics].map(|request| serves.takes(request));
        assert_eq!(takes(EtcdServes::All), [true, true, true]);
        assert_eq!(takes(EtcdServes::Grpc), [true, false, false]);
        assert_eq!(takes(EtcdServes::Http), [false, true, true]);
        assert_eq!(takes(EtcdServes::Metrics), [false, false, true]);
    }
}
