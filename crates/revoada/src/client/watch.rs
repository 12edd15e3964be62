//! A watch, line by line.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use futures::Stream;
use hyper::body::{Body as _, Incoming};
use revoada_core::limits::HTTP_BODY_BYTES_MAX;
use revoada_faces::native::message::{LineType, WatchLine};

use super::error::ClientError;
use super::http::Client;

/// The lines of a watch, in the order of their revisions.
///
/// It ends after a `reset` line, after an error, or when the node stops: then a watch may be resumed at another node
/// after the last revision. A line of type `error` comes as an error. Dropping it closes the watch.
pub struct Watch {
    client: Client,
    body: Option<Incoming>,
    read: BytesMut,
    /// The bytes of `read` in which no end of a line was found.
    searched: usize,
}

impl Watch {
    pub(super) fn new(client: Client, body: Incoming) -> Self {
        Self {
            client,
            body: Some(body),
            read: BytesMut::new(),
            searched: 0,
        }
    }

    fn take_line(&mut self) -> Option<BytesMut> {
        let end = self.read[self.searched..].iter().position(|&byte| byte == b'\n');
        let Some(end) = end else {
            self.searched = self.read.len();
            return None;
        };
        let line = self.read.split_to(self.searched + end);
        self.read.advance(1);
        self.searched = 0;
        Some(line)
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // Trailers, which have no data, are passed over.
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
    }

    fn parse(&mut self, line: &[u8]) -> Result<WatchLine, ClientError> {
        let line: WatchLine = self.client.parse(line, false)?;
        match (line.line_type, line.error) {
            (LineType::Error, Some(failure)) => Err(ClientError::Refused(failure)),
            (line_type, error) => {
                if line_type == LineType::Reset {
                    self.body = None;
                }
                Ok(WatchLine { error, ..line })
            }
        }
    }
}

impl Stream for Watch {
    type Item = Result<WatchLine, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while this.body.is_some() {
            let error = if let Some(line) = this.take_line() {
                match this.parse(&line) {
                    Ok(line) => return Poll::Ready(Some(Ok(line))),
                    Err(error) => error,
                }
            } else if this.read.len() > HTTP_BODY_BYTES_MAX {
                this.client
                    .bad_answer(false, format!("a line of more than {HTTP_BODY_BYTES_MAX} bytes"))
            } else {
                match ready!(this.poll_body(cx)) {
                    Some(Ok(chunk)) => {
                        this.read.extend_from_slice(&chunk);
                        continue;
                    }
                    Some(Err(error)) => this.client.no_answer(false, error),
                    None if this.read.is_empty() => break,
                    None => this
                        .client
                        .bad_answer(false, "a watch that ends inside a line".to_owned()),
                }
            };
            this.body = None;
            return Poll::Ready(Some(Err(error)));
        }
        this.body = None;
        Poll::Ready(None)
    }
}
