//! Routes that show the cluster: its state, its history, its chain, its numbers.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use revoada_core::error::ErrorKind;
use revoada_store::Check;
use revoada_store::admin::{AdminError, ClusterStatus, HealthReport, History, NodeStatus};
use serde::{Deserialize, Serialize};

use super::message::ChainHeads;
use super::{Caller, Failure, NativeFace};

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        Self::of(error.kind(), &error)
    }
}

/// The members of the cluster: the nodes of its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    /// By name.
    pub nodes: Vec<NodeStatus>,
}

pub async fn status(State(face): State<NativeFace>, _: Caller) -> Result<Json<ClusterStatus>, Failure> {
    Ok(Json(face.cluster.status().await?))
}

/// The status is 503 when the cluster is unhealthy, with the same body, for probes that read no bodies.
pub async fn health(State(face): State<NativeFace>, _: Caller) -> Result<Response, Failure> {
    Ok(health_response(face.cluster.health().await?))
}

fn health_response(report: HealthReport) -> Response {
    let status = if report.healthy {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(report)).into_response()
}

pub async fn history(State(face): State<NativeFace>, _: Caller) -> Result<Json<History>, Failure> {
    Ok(Json(face.cluster.history().await?))
}

pub async fn members(State(face): State<NativeFace>, _: Caller) -> Result<Json<Members>, Failure> {
    let ClusterStatus { nodes, .. } = face.cluster.status().await?;
    Ok(Json(Members { nodes }))
}

pub async fn declaration(State(face): State<NativeFace>, _: Caller) -> Result<Json<serde_json::Value>, Failure> {
    Ok(Json(face.cluster.declaration().await?))
}

pub async fn chain(State(face): State<NativeFace>, _: Caller) -> Result<Response, Failure> {
    let export = face.cluster.chain_export().await?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], export).into_response())
}

pub async fn chain_heads(State(face): State<NativeFace>, _: Caller) -> Result<Json<ChainHeads>, Failure> {
    Ok(Json(ChainHeads {
        items: face.cluster.chain_heads().await?,
    }))
}

pub async fn chain_trust(State(face): State<NativeFace>, _: Caller) -> Result<Response, Failure> {
    let keys = face.cluster.trust().await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], keys).into_response())
}

pub async fn metrics(State(face): State<NativeFace>, _: Caller) -> Response {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        (face.metrics)(),
    )
        .into_response()
}

/// The service of a node that could not start: it answers everything with `reason`, and health with a check that says
/// so. Callers are not told apart, because there is nothing here to protect from them.
pub fn boot_failed(reason: Failure) -> Router {
    let detail = std::iter::once(reason.message.as_str()).chain(reason.causes.iter().map(String::as_str));
    let report = HealthReport {
        healthy: false,
        checks: vec![Check {
            name: "boot".to_owned(),
            ok: false,
            detail: detail.collect::<Vec<_>>().join(": "),
        }],
        cluster_running: false,
        face_running: true,
        resource_count: 0,
        subscriber_count: 0,
        freshness_ms: 0,
    };
    let failure = Failure {
        causes: std::iter::once(reason.message).chain(reason.causes).collect(),
        ..Failure::new(ErrorKind::Unavailable, "this node could not start")
    };
    Router::new()
        .route("/v1/health", get(move || async move { health_response(report) }))
        .fallback(move || async move { failure })
}
