//! The way from HTTP into the framed protocol.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::rt::TokioIo;
use revoada_core::error::ErrorKind;
use revoada_core::limits::FRAME_CONNECTIONS_MAX;

use super::frames::{Answer, Call, Calls, serve};
use super::message::FRAMES_PROTOCOL;
use super::{Caller, Failure, NativeFace, Resources};

/// Answers 101; then the connection speaks frames until it ends.
pub async fn frames(State(face): State<NativeFace>, caller: Caller, mut request: Request) -> Result<Response, Failure> {
    let wanted = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(FRAMES_PROTOCOL.as_bytes()));
    if !wanted {
        return Err(Failure::invalid(format!(
            "ask for the framed protocol by the header `upgrade: {FRAMES_PROTOCOL}`"
        )));
    }
    let Some(upgrade) = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>() else {
        return Err(Failure::new(
            ErrorKind::Unsupported,
            "this connection cannot be upgraded",
        ));
    };
    let Ok(place) = Arc::clone(&face.frame_connections).try_acquire_owned() else {
        let message = format!("this node has {FRAME_CONNECTIONS_MAX} framed connections already");
        return Err(Failure::new(ErrorKind::Exhausted, message));
    };
    let stopping = face.stopping();
    let calls = CallerCalls {
        resources: face.resources.clone(),
        caller: Arc::new(caller),
    };
    tokio::spawn(async move {
        match upgrade.await {
            Ok(connection) => {
                let closed = serve(TokioIo::new(connection), calls, stopping).await;
                tracing::debug!(?closed, "a framed connection ended");
            }
            Err(error) => tracing::debug!(%error, "a connection was not upgraded to frames"),
        }
        drop(place);
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, FRAMES_PROTOCOL)];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}

/// The calls of one caller.
struct CallerCalls {
    resources: Resources,
    caller: Arc<Caller>,
}

impl Calls for CallerCalls {
    fn begin(&self, call: Call) -> BoxFuture<'static, Answer> {
        let resources = self.resources.clone();
        let caller = Arc::clone(&self.caller);
        async move {
            let answer = match call {
                Call::Ping => Ok(Answer::Pong),
                Call::Apply(request) => resources.apply(&caller, request).await.map(Answer::Applied),
                Call::Get(request) => resources.get(request).await.map(Answer::Got),
                Call::Delete(request) => resources.delete(&caller, request).await.map(Answer::Deleted),
                Call::List(request) => resources.list(request).await.map(Answer::Listed),
            };
            answer.unwrap_or_else(Answer::Failed)
        }
        .boxed()
    }
}
