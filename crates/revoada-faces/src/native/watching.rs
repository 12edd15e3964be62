//! Watches over HTTP: one line of JSON per event.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::Stream;
use revoada_core::error::ErrorKind;
use revoada_core::limits::WATCH_LINES_BYTES_MAX;
use revoada_store::{StoreError, WatchEvent, WatchStream};
use serde::Deserialize;

use super::extract::{Parameters, Segments};
use super::message::{LineType, WatchLine, WatchResources};
use super::{Caller, Failure, NativeFace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchParameters {
    group: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
    selector: Option<String>,
    from: Option<u64>,
}

/// Lines until a reset or an error, or until this node stops: a stream that ends without either may be resumed elsewhere
/// after its last revision.
pub async fn watch(
    State(face): State<NativeFace>,
    _: Caller,
    Segments(kind): Segments<String>,
    Parameters(parameters): Parameters<WatchParameters>,
) -> Result<Response, Failure> {
    let WatchParameters {
        group,
        namespace,
        name,
        selector,
        from,
    } = parameters;
    let request = WatchResources {
        group,
        kind,
        namespace,
        name,
        selector,
        from,
    };
    let events = face.resources.watch(request).await?;
    let lines = Lines {
        events: Some(events),
        stopping: Box::pin(face.stopping()),
    };
    Ok((
        [(header::CONTENT_TYPE, "application/x-ndjson")],
        Body::from_stream(lines),
    )
        .into_response())
}

/// The lines of a watch. All events that are ready become one chunk, so that a burst costs few system calls; the next
/// are taken from the backend only when the chunk was taken from here.
struct Lines {
    events: Option<WatchStream>,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stream for Lines {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.events.is_some() && self.stopping.as_mut().poll(cx).is_ready() {
            self.events = None;
        }
        let mut chunk = Vec::new();
        while let Some(events) = &mut self.events {
            match events.as_mut().poll_next(cx) {
                Poll::Ready(Some(event)) => {
                    if push_line(&mut chunk, event) == Then::End {
                        self.events = None;
                    } else if chunk.len() >= WATCH_LINES_BYTES_MAX {
                        break;
                    }
                }
                Poll::Ready(None) => self.events = None,
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        if chunk.is_empty() {
            Poll::Ready(None)
        } else {
            Poll::Ready(Some(Ok(chunk.into())))
        }
    }
}

#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    End,
}

fn push_line(chunk: &mut Vec<u8>, event: Result<WatchEvent, StoreError>) -> Then {
    let (line, then) = match &event {
        Ok(event) => {
            let line = WatchLine {
                line_type: LineType::of(event),
                revision: event.revision(),
                object: event.object().map(|got| &got.resource.content),
                error: None,
            };
            let then = if matches!(event, WatchEvent::Reset { .. }) {
                Then::End
            } else {
                Then::GoOn
            };
            (line, then)
        }
        Err(error) => (error_line(Failure::of(error.kind(), error)), Then::End),
    };
    let whole_lines = chunk.len();
    if let Err(error) = serde_json::to_writer(&mut *chunk, &line) {
        chunk.truncate(whole_lines);
        let failure = Failure::because(ErrorKind::Invalid, "an object cannot be written as JSON", &error);
        serde_json::to_writer(&mut *chunk, &error_line(failure)).expect("strings and numbers are always JSON");
        chunk.push(b'\n');
        return Then::End;
    }
    chunk.push(b'\n');
    then
}

fn error_line(failure: Failure) -> WatchLine<&'static serde_json::Value> {
    WatchLine {
        line_type: LineType::Error,
        revision: 0,
        object: None,
        error: Some(failure),
    }
}
