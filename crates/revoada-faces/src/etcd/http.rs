//! What is asked of etcd without gRPC: its version, its health, its metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use revoada_store::Consistency;
use serde_json::json;

use super::EtcdFace;

/// The version of etcd whose protocol is served: clients decide by it what they may ask.
pub const SERVED_AS: &str = "3.6.16";
/// The version of the protocol alone.
pub const API_VERSION: &str = "3.6.0";

pub(super) fn router(face: Arc<EtcdFace>) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/health", get(health))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(face)
}

async fn version() -> Json<serde_json::Value> {
    Json(json!({"etcdserver": SERVED_AS, "etcdcluster": API_VERSION, "storage": API_VERSION}))
}

/// Healthy is who can confirm a read, as in etcd.
async fn health(State(face): State<Arc<EtcdFace>>) -> Response {
    match face.view(Consistency::Linearizable).await {
        Ok(_) => Json(json!({"health": "true", "reason": ""})).into_response(),
        Err(status) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"health": "false", "reason": status.message()})),
        )
            .into_response(),
    }
}

/// Alive is who answers.
async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(face): State<Arc<EtcdFace>>) -> Response {
    match face.view(Consistency::Linearizable).await {
        Ok(_) => "ok\n".into_response(),
        Err(status) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", status.message())).into_response(),
    }
}

async fn metrics(State(face): State<Arc<EtcdFace>>) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    // Ours end with a line that says so.
    (kind, face.figures() + &(face.metrics)()).into_response()
}
