//! Frames on a byte stream: a little-endian `u32` that counts the bytes after it, then one CBOR message.
//!
//! What makes the framed protocol fast is that one system call moves many frames, so both buffers are made for that:
//! a read takes whatever the socket has and leaves all whole frames ready in it, and answers are appended to one
//! buffer that is written in one piece. Rejected: tokio-util's `LengthDelimitedCodec` behind a `Sink`, which splits
//! every frame off into an allocation of its own, and knows no time by which a frame has to be whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cbor4ii::core::dec::Read as _;
use cbor4ii::core::utils::SliceReader;
use revoada_core::error::ErrorKind;
use revoada_core::limits::FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of the length in front of every message.
pub const FRAME_HEADER_BYTES: usize = 4;
/// What a connection's read buffer starts with and returns to, in bytes.
const READ_BUFFER_BYTES: usize = 32 * 1024;

/// What a write buffer keeps of its capacity when everything in it is written, in bytes.
const WRITE_BUFFER_KEPT_BYTES: usize = 256 * 1024;

/// Why a stream of frames cannot go on. Each of them ends the connection, and no other.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// A length above the limit; nothing of the frame was read.
    #[error("a frame of {bytes} bytes; at most {FRAME_BYTES_MAX} are accepted")]
    TooLong {
        /// The length that was announced or that a message would have.
        bytes: usize,
    },
    /// The bytes of a frame are not the message that belongs there.
    #[error("a frame that is not a message of this protocol")]
    Garbage(#[source] cbor4ii::serde::DecodeError<std::convert::Infallible>),
    /// A message, and then more bytes in the same frame.
    #[error("a frame with {bytes} bytes after its message")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A message that cannot be encoded.
    #[error("a message that cannot be written as CBOR")]
    Encode(#[source] cbor4ii::serde::EncodeError<std::collections::TryReserveError>),
    /// A request that used the number which belongs to the connection itself.
    #[error("request number 0 is reserved")]
    ReservedId,
    /// The stream ended inside a frame.
    #[error("the connection ended inside a frame, after {bytes} of its bytes")]
    CutShort {
        /// How many bytes of it had come, its length included.
        bytes: usize,
    },
    /// A frame did not become whole in time.
    #[error("a frame was not whole within {} s", revoada_core::limits::FRAME_DURATION_MAX.as_secs())]
    TooSlow,
    /// The other side did not take what was written for it in time.
    #[error("an answer was not taken within {} s", revoada_core::limits::FRAME_DURATION_MAX.as_secs())]
    NotTaken,
    /// The connection was to end, and something that was begun got no answer in time.
    #[error("what was begun was not answered within {} s", revoada_core::limits::FRAME_DURATION_MAX.as_secs())]
    Unanswered,
    /// The socket failed.
    #[error("the connection broke")]
    Io(#[source] io::Error),
}

impl FrameError {
    /// The kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLong { .. }
            | Self::Garbage(_)
            | Self::Trailing { .. }
            | Self::Encode(_)
            | Self::ReservedId
            | Self::CutShort { .. } => ErrorKind::Invalid,
            Self::TooSlow | Self::NotTaken | Self::Unanswered | Self::Io(_) => ErrorKind::Unavailable,
        }
    }
}

/// Reads frames. It owns one buffer: `start..end` is what was read and not yet taken.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for FrameReader {
    fn default() -> Self {
        Self {
            buffer: vec![0; READ_BUFFER_BYTES],
            start: 0,
            end: 0,
        }
    }
}

impl FrameReader {
    /// Reads once, as much as is there; `Ok(0)` is the end of the stream.
    ///
    /// The buffer grows with what has arrived, not with what a length promises, so that a peer can make this side
    /// hold no more than about twice what it has sent.
    pub fn poll_fill<R: AsyncRead>(&mut self, cx: &mut Context<'_>, reader: Pin<&mut R>) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut spare = ReadBuf::new(&mut self.buffer[self.end..]);
        ready!(reader.poll_read(cx, &mut spare))?;
        let count = spare.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// The next whole frame without its length, or none until more is read.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, FrameError> {
        let Some(bytes) = self.announced()? else {
            return Ok(None);
        };
        let first = self.start + FRAME_HEADER_BYTES;
        if self.end - first < bytes {
            return Ok(None);
        }
        self.start = first + bytes;
        Ok(Some(&self.buffer[first..first + bytes]))
    }

    /// The bytes read that are not part of a taken frame. After `next_frame` gave none: those of a half frame.
    pub fn pending_bytes(&self) -> usize {
        self.end - self.start
    }

    /// The length of the frame at the front, if its header has arrived.
    fn announced(&self) -> Result<Option<usize>, FrameError> {
        let Some(header) = self.buffer[self.start..self.end].first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong { bytes });
        }
        Ok(Some(bytes))
    }

    fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
            if self.buffer.len() > 4 * READ_BUFFER_BYTES {
                self.buffer = vec![0; READ_BUFFER_BYTES];
            }
        } else if self.start > 0 && self.buffer.len() - self.end < self.buffer.len() / 2 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

/// Collects frames and writes as many as the stream takes at once.
#[derive(Debug, Default)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    written: usize,
    unflushed: bool,
}

impl FrameWriter {
    /// Appends one message. On an error the buffer is as before.
    pub fn push<M: Serialize>(&mut self, message: &M) -> Result<(), FrameError> {
        append(&mut self.buffer, message)
    }

    /// Takes whole frames that were appended elsewhere by [`append`]; leaves `frames` empty, with a buffer to reuse.
    pub fn take_from(&mut self, frames: &mut Vec<u8>) {
        if self.buffer.is_empty() {
            std::mem::swap(&mut self.buffer, frames);
        } else {
            self.buffer.append(frames);
        }
    }

    /// The bytes that are not written yet.
    pub fn unsent_bytes(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Whether nothing is left to write or to flush.
    pub fn is_idle(&self) -> bool {
        self.unsent_bytes() == 0 && !self.unflushed
    }

    /// Writes what the stream takes, and flushes once everything is written. Ready with the number of bytes written
    /// when it could do something, pending when the stream is full or when there is nothing to do.
    pub fn poll_write<W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut writer: Pin<&mut W>,
    ) -> Poll<io::Result<usize>> {
        if self.unsent_bytes() > 0 {
            let count = ready!(writer.as_mut().poll_write(cx, &self.buffer[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
            if self.unsent_bytes() == 0 {
                self.buffer.clear();
                self.buffer.shrink_to(WRITE_BUFFER_KEPT_BYTES);
                self.written = 0;
            }
            return Poll::Ready(Ok(count));
        }
        if self.unflushed {
            ready!(writer.poll_flush(cx))?;
            self.unflushed = false;
            return Poll::Ready(Ok(0));
        }
        Poll::Pending
    }
}

/// Appends one message as a frame to `buffer`. On an error the buffer is as before.
pub fn append<M: Serialize>(buffer: &mut Vec<u8>, message: &M) -> Result<(), FrameError> {
    let start = buffer.len();
    let mut encoded = std::mem::take(buffer);
    encoded.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
    let mut serializer = cbor4ii::serde::Serializer::new(cbor4ii::core::utils::BufWriter::new(encoded));
    let result = message.serialize(&mut serializer);
    *buffer = serializer.into_inner().into_inner();
    let bytes = buffer.len() - start - FRAME_HEADER_BYTES;
    let refused = match (result, u32::try_from(bytes)) {
        (Err(error), _) => FrameError::Encode(error),
        (Ok(()), Ok(length)) if bytes <= FRAME_BYTES_MAX => {
            buffer[start..start + FRAME_HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
            return Ok(());
        }
        (Ok(()), _) => FrameError::TooLong { bytes },
    };
    buffer.truncate(start);
    Err(refused)
}

/// Decodes one frame's message, all of it.
pub fn decode<M: DeserializeOwned>(frame: &[u8]) -> Result<M, FrameError> {
    let mut deserializer = cbor4ii::serde::Deserializer::new(SliceReader::new(frame));
    let message = M::deserialize(&mut deserializer).map_err(FrameError::Garbage)?;
    let mut rest = deserializer.into_inner();
    match rest.fill(1) {
        Ok(more) if more.as_ref().is_empty() => Ok(message),
        Ok(more) => Err(FrameError::Trailing {
            bytes: more.as_ref().len(),
        }),
        Err(never) => match never {},
    }
}
