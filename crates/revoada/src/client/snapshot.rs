//! Snapshots, down and up, without holding one in memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::CONTENT_LENGTH;
use revoada_faces::native::message::{REVISION_HEADER, RestoredSnapshot};

use super::error::{Cause, ClientError};
use super::http::{Client, Outgoing};

/// What is read from a file at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// A snapshot that comes in.
pub struct SnapshotDownload {
    client: Client,
    body: Incoming,
    /// The revision that it shows.
    pub revision: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl SnapshotDownload {
    /// The next part; none after the last. An error means that what came is no whole snapshot.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        let timeout = self.client.options().answer_timeout;
        loop {
            match tokio::time::timeout(timeout, self.body.frame()).await {
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => return Ok(Some(chunk)),
                    Err(_trailers) => {}
                },
                Ok(Some(Err(error))) => return Err(self.client.no_answer(false, error)),
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.client.no_answer(false, error)),
            }
        }
    }
}

impl Client {
    /// Begins to download a snapshot of everything.
    pub async fn snapshot(&self) -> Result<SnapshotDownload, ClientError> {
        let timeout = self.options().long_answer_timeout;
        let response = self
            .streamed(Outgoing {
                timeout,
                ..self.read("/v1/snapshot")
            })
            .await?;
        let revision = self.number(response.headers(), REVISION_HEADER)?;
        let bytes = self.number(response.headers(), CONTENT_LENGTH.as_str())?;
        Ok(SnapshotDownload {
            client: self.clone(),
            body: response.into_body(),
            revision,
            bytes,
        })
    }

    /// Restores the snapshot in `file`, from its beginning to its end.
    pub async fn restore_file(&self, file: File) -> Result<RestoredSnapshot, ClientError> {
        let bytes = file
            .metadata()
            .map_err(|error| ClientError::Request(error.into()))?
            .len();
        self.restore(stream::try_unfold(file, next_chunk), bytes).await
    }

    /// Restores the snapshot of `bytes` bytes that `chunks` gives. While not all of it was sent nothing is changed.
    pub async fn restore(
        &self,
        chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
        bytes: u64,
    ) -> Result<RestoredSnapshot, ClientError> {
        let all_sent = Arc::new(AtomicBool::new(bytes == 0));
        let upload = Upload {
            chunks: chunks.boxed(),
            left: bytes,
            all_sent: Arc::clone(&all_sent),
        };
        let request = Outgoing {
            body: upload.boxed_unsync(),
            content_type: Some("application/octet-stream"),
            timeout: self.options().long_answer_timeout,
            ..self.change(Method::POST, "/v1/snapshot")
        };
        let outcome = self.json(request).await;
        match outcome {
            // The node begins only when it has everything, so until then it cannot have changed anything.
            Err(ClientError::NoAnswer { endpoint, source, .. }) if !all_sent.load(Ordering::Acquire) => {
                Err(ClientError::NotSent { endpoint, source })
            }
            outcome => outcome,
        }
    }
}

async fn next_chunk(mut file: File) -> io::Result<Option<(Bytes, File)>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        chunk.truncate(count);
        Ok::<_, io::Error>((Bytes::from(chunk), file))
    });
    let (chunk, file) = read.await.map_err(io::Error::other)??;
    Ok(if chunk.is_empty() { None } else { Some((chunk, file)) })
}

/// A body of known length that remembers whether all of it was taken.
struct Upload {
    chunks: Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>,
    left: u64,
    all_sent: Arc<AtomicBool>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Cause;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cause>>> {
        let chunk = match ready!(self.chunks.as_mut().poll_next(cx)) {
            Some(chunk) => chunk?,
            None if self.left > 0 => return Poll::Ready(Some(Err("the snapshot is shorter than was said".into()))),
            None => return Poll::Ready(None),
        };
        let Some(left) = self.left.checked_sub(chunk.len() as u64) else {
            return Poll::Ready(Some(Err("the snapshot is longer than was said".into())));
        };
        self.left = left;
        if left == 0 {
            self.all_sent.store(true, Ordering::Release);
        }
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
