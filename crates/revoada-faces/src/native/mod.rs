//! The native face: everything that revoada can do, as JSON over HTTP and as frames.
//!
//! It is what the command line, the benchmark and the library's client speak, and what `curl` can speak too: one path
//! per noun, one JSON object per answer, one line per watch event, and the contract of the command line as its schema.
//! Rejected: gRPC, which no shell can speak and which measured a third of the frames' throughput.
//!
//! | method and path | what |
//! |---|---|
//! | `GET /v1/status` `/v1/health` `/v1/history` `/v1/members` `/v1/declaration` | as on the command line |
//! | `GET /v1/chain` `/v1/chain/heads` `/v1/chain/trust` | the export, the heads by node, the keys for a verifier |
//! | `POST /v1/resources` | apply: an envelope in JSON, or a document as it is |
//! | `GET /v1/resources/{kind}` | list |
//! | `GET` `DELETE /v1/resources/{kind}/{name}` | get, delete |
//! | `GET /v1/watch/{kind}` | watch, a line per event |
//! | `POST /v1/nodes/{name}/{wish}` | `promote` `demote` `drain` `quarantine` `restore` `excuse` |
//! | `POST /v1/shutdown` `/v1/recover` | stop this node; the way back without a majority |
//! | `GET` `POST /v1/snapshot` | save, restore |
//! | `GET /v1/frames` | the framed protocol, by upgrade |
//! | `GET /metrics` | Prometheus' text format |
//!
//! The listener puts a [`Caller`] into each request's extensions; without one nothing is answered.

mod access;
mod extract;
mod failure;
pub mod frames;
mod looking;
pub mod message;
mod operating;
mod resources;
mod snapshots;
mod upgrade;
mod watching;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use revoada_core::error::ErrorKind;
use revoada_core::limits::{FRAME_CONNECTIONS_MAX, SNAPSHOT_TRANSFERS_MAX};
use revoada_store::{ClusterAdmin, StoreBackend};
use tokio::sync::{Semaphore, watch};

pub use access::{Caller, May};
pub use failure::{Failure, FailureBody, status};
pub use looking::{Members, boot_failed};
pub use resources::Resources;

/// What the native face is built from. Cloning it is cheap, and all clones share their limits.
#[derive(Clone)]
pub struct NativeFace {
    resources: Resources,
    cluster: Arc<dyn ClusterAdmin>,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    spool: Arc<PathBuf>,
    stopping: Option<watch::Receiver<bool>>,
    frame_connections: Arc<Semaphore>,
    snapshot_transfers: Arc<Semaphore>,
}

impl NativeFace {
    /// A face of `backend` and `cluster`. Snapshots are spooled in files without a name in `spool`, a folder that has
    /// room for one of them.
    pub fn new(backend: Arc<dyn StoreBackend>, cluster: Arc<dyn ClusterAdmin>, spool: impl Into<PathBuf>) -> Self {
        Self {
            resources: Resources::new(backend),
            cluster,
            metrics: Arc::new(String::new),
            spool: Arc::new(spool.into()),
            stopping: None,
            frame_connections: Arc::new(Semaphore::new(FRAME_CONNECTIONS_MAX)),
            snapshot_transfers: Arc::new(Semaphore::new(SNAPSHOT_TRANSFERS_MAX)),
        }
    }

    /// The same face, whose `/metrics` answers what `text` gives, in Prometheus' text format.
    #[must_use]
    pub fn with_metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Arc::new(text);
        self
    }

    /// The same face, whose watches and framed connections end when `stopping` becomes true, or its sender is gone.
    /// Everything else ends by itself, so a listener can then wait for its connections.
    #[must_use]
    pub fn with_stopping(mut self, stopping: watch::Receiver<bool>) -> Self {
        self.stopping = Some(stopping);
        self
    }

    /// The service. The listener has to serve connections with upgrades, for the framed protocol.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/status", get(looking::status))
            .route("/v1/health", get(looking::health))
            .route("/v1/history", get(looking::history))
            .route("/v1/members", get(looking::members))
            .route("/v1/declaration", get(looking::declaration))
            .route("/v1/chain", get(looking::chain))
            .route("/v1/chain/heads", get(looking::chain_heads))
            .route("/v1/chain/trust", get(looking::chain_trust))
            .route("/v1/resources", post(resources::http::apply))
            .route("/v1/resources/{kind}", get(resources::http::list))
            .route(
                "/v1/resources/{kind}/{name}",
                get(resources::http::get).delete(resources::http::delete),
            )
            .route("/v1/watch/{kind}", get(watching::watch))
            .route("/v1/nodes/{name}/{wish}", post(operating::wish))
            .route("/v1/shutdown", post(operating::shutdown))
            .route("/v1/recover", post(operating::recover))
            .route("/v1/snapshot", get(snapshots::save).post(snapshots::restore))
            .route("/v1/frames", get(upgrade::frames))
            .route("/metrics", get(looking::metrics))
            .fallback(no_such_route)
            .method_not_allowed_fallback(no_such_method)
            .with_state(self)
    }

    /// Completes when this side stops.
    fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopping = self.stopping.clone();
        async move {
            match stopping {
                // A sender that is gone belonged to a node that is gone.
                Some(mut stopping) => drop(stopping.wait_for(|stopping| *stopping).await),
                None => std::future::pending().await,
            }
        }
    }
}

async fn no_such_route(uri: Uri) -> Failure {
    Failure::new(ErrorKind::NotFound, format!("there is no {} here", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let failure = Failure::new(ErrorKind::Unsupported, format!("{} does not know {method}", uri.path()));
    // HTTP has a status of its own for this one, which says more than the kind's; axum adds `allow`.
    let mut response = failure.into_response();
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
