//! Routes by which an operator steers the cluster.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use revoada_core::error::ErrorKind;
use revoada_store::admin::Wish;
use serde::Deserialize;

use super::extract::{Flag, Parameters, Segments, whole_body};
use super::message::{Done, RecoverRequest};
use super::{Caller, Failure, NativeFace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WishParameters {
    #[serde(default)]
    wait: Flag,
}

pub async fn wish(
    State(face): State<NativeFace>,
    caller: Caller,
    Segments((node, action)): Segments<(String, String)>,
    Parameters(WishParameters { wait: Flag(wait) }): Parameters<WishParameters>,
) -> Result<Response, Failure> {
    let wish = match action.as_str() {
        "promote" => Wish::Promote,
        "demote" => Wish::Demote,
        "drain" => Wish::Drain,
        "quarantine" => Wish::Quarantine,
        "restore" => Wish::Restore,
        "excuse" => {
            caller.must_operate("excuse a loss")?;
            face.cluster.excuse(&node).await?;
            return Ok(Json(Done {}).into_response());
        }
        other => {
            return Err(Failure::new(
                ErrorKind::NotFound,
                format!("a node cannot be asked to {other}"),
            ));
        }
    };
    caller.must_operate(&format!("{} a node", wish.name()))?;
    tracing::info!(caller = caller.who, node, wish = wish.name(), "asked for");
    Ok(Json(face.cluster.role_wish(&node, wish, wait).await?).into_response())
}

pub async fn shutdown(State(face): State<NativeFace>, caller: Caller) -> Result<Json<Done>, Failure> {
    caller.must_operate("stop a node")?;
    tracing::info!(caller = caller.who, "asked to stop");
    face.cluster.shutdown().await?;
    Ok(Json(Done {}))
}

pub async fn recover(
    State(face): State<NativeFace>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Done>, Failure> {
    caller.must_operate("recover a cluster")?;
    let body = whole_body(&headers, body).await?;
    let RecoverRequest { reason } = serde_json::from_slice(&body)
        .map_err(|error| Failure::because(ErrorKind::Invalid, "the body is not a request to recover", &error))?;
    tracing::warn!(caller = caller.who, reason, "asked to go on without a quorum");
    face.cluster.recover(&reason).await?;
    Ok(Json(Done {}))
}
