//! Snapshots over HTTP, saved and restored.
//!
//! A backend writes a snapshot into something that takes bytes at once, and a socket does not. So the snapshot goes
//! through a file without a name: the backend is never held up by a slow client, an error is answered as an error and
//! not as a body cut short, and a restore begins only when the whole upload is there. Rejected: a bounded pipe between
//! the two, which saves the disk and gives up all three.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::stream;
use http_body_util::BodyExt as _;
use revoada_core::error::ErrorKind;
use revoada_core::limits::{HTTP_BODY_DURATION_MAX, SNAPSHOT_TRANSFERS_MAX, SNAPSHOT_UPLOAD_BYTES_MAX};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::too_slow;
use super::message::{REVISION_HEADER, RestoredSnapshot};
use super::{Caller, Failure, NativeFace};

/// What is read from a spool file at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// The snapshot file as the body, with its revision in a header.
pub async fn save(State(face): State<NativeFace>, _: Caller) -> Result<Response, Failure> {
    let place = place(&face)?;
    let mut spool = spool(&face).await?;
    let backend = Arc::clone(face.resources.backend());
    let runtime = Handle::current();
    let (file, bytes, snapshotted) = blocking(move || {
        let mut sink = BufWriter::with_capacity(CHUNK_BYTES, &mut spool);
        let snapshotted = runtime.block_on(backend.snapshot(&mut sink))?;
        sink.flush().map_err(spool_failure)?;
        drop(sink);
        let bytes = spool.stream_position().map_err(spool_failure)?;
        spool.seek(SeekFrom::Start(0)).map_err(spool_failure)?;
        Ok((spool, bytes, snapshotted))
    })
    .await?;
    let mut response = Body::from_stream(stream::try_unfold((file, place), next_chunk)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    headers.insert(REVISION_HEADER, HeaderValue::from(snapshotted.revision));
    Ok(response)
}

/// A spool file that is being sent, and the right to have one.
type Sending = (File, OwnedSemaphorePermit);

async fn next_chunk((mut file, place): Sending) -> io::Result<Option<(Bytes, Sending)>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = file.read(&mut chunk)?;
        chunk.truncate(count);
        Ok::<_, io::Error>((Bytes::from(chunk), file))
    });
    let (chunk, file) = read.await.map_err(io::Error::other)??;
    Ok(if chunk.is_empty() {
        None
    } else {
        Some((chunk, (file, place)))
    })
}

/// Restores the snapshot that is the body.
pub async fn restore(
    State(face): State<NativeFace>,
    caller: Caller,
    body: Body,
) -> Result<Json<RestoredSnapshot>, Failure> {
    caller.must_operate("restore a snapshot")?;
    let place = place(&face)?;
    let mut spool = receive(spool(&face).await?, body).await?;
    tracing::warn!(caller = caller.who, "restores a snapshot");
    let backend = Arc::clone(face.resources.backend());
    let runtime = Handle::current();
    let restored = blocking(move || {
        // The place is given back when the work is done, also if nobody waits for it any more.
        let _place = place;
        spool.seek(SeekFrom::Start(0)).map_err(spool_failure)?;
        let mut source = BufReader::with_capacity(CHUNK_BYTES, spool);
        Ok(runtime.block_on(backend.restore(&mut source))?)
    })
    .await?;
    Ok(Json(RestoredSnapshot {
        revision: restored.revision,
        entries: restored.entries,
    }))
}

/// Spools a whole body; it may be long, but every chunk has to come in time.
async fn receive(mut spool: File, mut body: Body) -> Result<File, Failure> {
    let mut bytes = 0;
    while let Some(frame) = tokio::time::timeout(HTTP_BODY_DURATION_MAX, body.frame())
        .await
        .map_err(|_| too_slow())?
    {
        let frame = frame.map_err(|error| Failure::because(ErrorKind::Invalid, "the snapshot ended early", &error))?;
        let Ok(chunk) = frame.into_data() else { continue };
        bytes += chunk.len() as u64;
        if bytes > SNAPSHOT_UPLOAD_BYTES_MAX {
            let message = format!("the snapshot is larger than {SNAPSHOT_UPLOAD_BYTES_MAX} bytes");
            return Err(Failure::new(ErrorKind::Exhausted, message));
        }
        spool = blocking(move || {
            spool.write_all(&chunk).map_err(spool_failure)?;
            Ok(spool)
        })
        .await?;
    }
    Ok(spool)
}

fn place(face: &NativeFace) -> Result<OwnedSemaphorePermit, Failure> {
    Arc::clone(&face.snapshot_transfers).try_acquire_owned().map_err(|_| {
        Failure::new(
            ErrorKind::Exhausted,
            format!("this node works on {SNAPSHOT_TRANSFERS_MAX} snapshots already; try again when one is done"),
        )
    })
}

async fn spool(face: &NativeFace) -> Result<File, Failure> {
    let folder = Arc::clone(&face.spool);
    blocking(move || tempfile::tempfile_in(folder.as_path()).map_err(spool_failure)).await
}

fn spool_failure(error: io::Error) -> Failure {
    Failure::because(
        ErrorKind::Unavailable,
        "the snapshot cannot be spooled on this node",
        &error,
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        // Work that was begun may have come to its end: whether it did is not known here.
        Failure::because(
            ErrorKind::OutcomeUnknown,
            "the work on the snapshot was abandoned",
            &error,
        )
    })?
}
