//! Which faces a node of this build serves, and how they are mounted.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use revoada_core::error::ErrorKind;
use revoada_faces::etcd::{CertificateName, EtcdFace, EtcdOptions, Operator};
use revoada_faces::native::{Caller, Failure, NativeFace, boot_failed};
use revoada_node::{EtcdParts, Faces, Parts, PeerCertificate};

/// The native HTTP API, which every node serves whatever else its declaration asks for.
#[derive(Debug, Clone, Default)]
pub struct NativeFaces {
    /// How the etcd face behaves, on a node that serves it.
    pub etcd: EtcdOptions,
}

impl Faces for NativeFaces {
    fn serve(&self, parts: Parts) -> Router {
        let figures = parts.metrics;
        NativeFace::new(parts.store, parts.admin, parts.spool)
            .with_metrics(move || figures())
            .with_stopping(parts.stopping)
            .router()
            .layer(middleware::from_fn(introduce))
    }

    fn serve_etcd(&self, parts: EtcdParts) -> Router {
        let figures = parts.metrics;
        let face = EtcdFace::new(parts.keyspace, parts.group, parts.clock_ms, parts.entropy)
            .with_metrics(move || figures())
            .with_stopping(parts.stopping)
            .with_options(self.etcd.clone());
        tokio::spawn(face.clone().keep_house());
        let router = face.router().layer(middleware::from_fn(admit_operator));
        if self.etcd.certificate_names {
            router.layer(middleware::from_fn(name_by_certificate))
        } else {
            router
        }
    }

    fn unavailable(&self, what: &str, causes: Vec<String>) -> Router {
        boot_failed(Failure {
            causes,
            ..Failure::new(ErrorKind::Unavailable, what)
        })
    }
}

/// Tells the face who calls, in the face's own terms: whoever the listeners let in is an operator.
async fn introduce(mut request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<revoada_node::Caller>().cloned() {
        request.extensions_mut().insert(Caller::operator(caller.who));
    }
    next.run(request).await
}

/// Tells the etcd face that an operator calls: only the listeners of the native face name callers, and let in no other.
async fn admit_operator(mut request: Request, next: Next) -> Response {
    if request.extensions().get::<revoada_node::Caller>().is_some() {
        request.extensions_mut().insert(Operator);
    }
    next.run(request).await
}

/// Tells the etcd face the name in the certificate that a client has shown.
async fn name_by_certificate(mut request: Request, next: Next) -> Response {
    let shown = request.extensions().get::<PeerCertificate>();
    if let Some(name) = shown.and_then(|shown| CertificateName::of(&shown.0)) {
        request.extensions_mut().insert(name);
    }
    next.run(request).await
}
