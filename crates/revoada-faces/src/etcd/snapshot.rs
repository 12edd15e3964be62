//! Snapshots as a stream, which `etcdctl snapshot save` stores: our own snapshot file, of the keys and the resources of
//! the cluster, which our own tools restore.
//!
//! Behind it comes its SHA-256, and the file is a multiple of 512 bytes long, since clients look at nothing else to
//! tell whether a snapshot is whole (etcd: `client/v3/snapshot`). It is written beside the traffic from a view, in pieces,
//! into a queue that waits for its client.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};
use std::thread;

use bytes::Bytes;
use revoada_core::limits::{ETCD_SNAPSHOT_PIECE_BYTES, ETCD_SNAPSHOT_PIECES_WAITING_MAX, ETCD_SNAPSHOTS_MAX};
use revoada_etcd_api::etcdserverpb::SnapshotResponse;
use revoada_store::{Consistency, write_snapshot};
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;

use super::{API_VERSION, EtcdFace, alarm, refusal};

/// The length of a snapshot is a multiple of this many bytes.
const MULTIPLE: usize = 512;

/// The right to make a snapshot.
pub fn places() -> Semaphore {
    Semaphore::new(ETCD_SNAPSHOTS_MAX)
}

/// A piece, or why there is no more.
pub type Piece = Result<SnapshotResponse, Status>;

impl EtcdFace {
    /// A snapshot of the state at hand, piece by piece.
    pub(super) async fn snapshot_pieces(&self) -> Result<mpsc::Receiver<Piece>, Status> {
        let place = self.snapshots.clone().try_acquire_owned();
        let place = place.map_err(|_| refusal::TOO_MANY_REQUESTS)?;
        let view = self.view(Consistency::Stale).await?;
        let extras = self.keyspace.snapshot_extras();
        let (pieces, written) = mpsc::channel(ETCD_SNAPSHOT_PIECES_WAITING_MAX);
        let mut sink = Pieces {
            expected: alarm::taken(&view),
            sent: 0,
            piece: Vec::with_capacity(ETCD_SNAPSHOT_PIECE_BYTES),
            hasher: Sha256::new(),
            pieces,
        };
        tokio::task::spawn_blocking(move || {
            // It is given back when the work is done, also if nobody waits for it any more.
            let _place = place;
            let written = complete(write_snapshot(&view, "etcd face", extras, Some(MULTIPLE), &mut sink));
            match written {
                Ok(_) => sink.end(),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "a snapshot was not written");
                    drop(sink.pieces.blocking_send(Err(Status::unavailable(error.to_string()))));
                }
            }
        });
        Ok(written)
    }
}

/// Waits for a future on a thread that may block, and on which what the future calls may block: which the runtime's own
/// way of waiting forbids.
fn complete<F: Future>(future: F) -> F::Output {
    struct Unparks(thread::Thread);
    impl Wake for Unparks {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unparks(thread::current())).into();
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}

/// Takes a snapshot as it is written, and sends it on.
struct Pieces {
    /// About how long it will be.
    expected: u64,
    sent: u64,
    piece: Vec<u8>,
    hasher: Sha256,
    pieces: mpsc::Sender<Piece>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        let blob = std::mem::replace(&mut self.piece, Vec::with_capacity(ETCD_SNAPSHOT_PIECE_BYTES));
        self.hasher.update(&blob);
        self.sent += blob.len() as u64;
        // The length is not known before the end; what is left is never nothing until then.
        self.answer(self.expected.saturating_sub(self.sent).max(1), blob.into())
    }

    fn answer(&self, remaining_bytes: u64, blob: Bytes) -> io::Result<()> {
        let answer = SnapshotResponse {
            header: None,
            remaining_bytes,
            blob,
            version: API_VERSION.to_owned(),
        };
        self.pieces
            .blocking_send(Ok(answer))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// Sends the rest, and the digest. Who is gone by then needs neither.
    fn end(mut self) {
        if self.send().is_ok() {
            let digest = self.hasher.clone().finalize();
            drop(self.answer(0, Bytes::copy_from_slice(&digest)));
        }
    }
}

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = ETCD_SNAPSHOT_PIECE_BYTES - self.piece.len();
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == ETCD_SNAPSHOT_PIECE_BYTES {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
