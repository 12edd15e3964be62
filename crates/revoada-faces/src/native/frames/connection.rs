//! One framed connection, on the side that answers.
//!
//! Everything of a connection happens in one task: it takes what the socket has, begins every whole request in it,
//! polls what is begun, and writes all answers that are ready in one piece. So a wake-up is shared by everything that
//! is ready, and nothing has to be locked. Rejected: a task per request with a channel back to a writer; at 100,000
//! small requests a second the hops cost more than the requests.
//!
//! What one connection may hold is bounded: with [`FRAME_REQUESTS_IN_FLIGHT_MAX`] requests begun or
//! [`FRAME_ANSWERS_BYTES_MAX`] of answers unsent it reads no more, and the socket pushes back on the sender.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use revoada_core::error::ErrorKind;
use revoada_core::limits::{FRAME_ANSWERS_BYTES_MAX, FRAME_DURATION_MAX, FRAME_REQUESTS_IN_FLIGHT_MAX};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep};

use super::codec::{FrameError, FrameReader, FrameWriter, decode};
use super::protocol::{Answer, CONNECTION_ID, Call, Request, Response};
use crate::native::Failure;

/// What answers the calls of a connection.
pub trait Calls: Send {
    /// Begins a call; pings are answered without it. The future may be dropped when the connection is gone.
    fn begin(&self, call: Call) -> BoxFuture<'static, Answer>;
}

impl<F: Fn(Call) -> BoxFuture<'static, Answer> + Send> Calls for F {
    fn begin(&self, call: Call) -> BoxFuture<'static, Answer> {
        self(call)
    }
}

/// How a connection ended.
#[derive(Debug)]
pub enum Closed {
    /// The other side had no more requests, and everything was answered.
    Done,
    /// This side stops; everything that was begun was answered.
    Stopping,
    /// It could not go on. Where the other side could still be told why, everything that was begun was answered.
    Broken(FrameError),
}

/// Serves one connection until its end. `stopping` completes when this side stops: then nothing more is begun, and what
/// is begun is answered.
///
/// Dropping the future drops the connection and the calls that it has begun.
pub async fn serve<S, C, Q>(stream: S, calls: C, stopping: Q) -> Closed
where
    S: AsyncRead + AsyncWrite,
    C: Calls,
    Q: Future<Output = ()>,
{
    let mut stream = pin!(stream);
    let mut stopping = pin!(stopping);
    let mut timer = pin!(tokio::time::sleep(FRAME_DURATION_MAX));
    let mut connection = Connection {
        calls,
        reader: FrameReader::default(),
        writer: FrameWriter::default(),
        begun: FuturesUnordered::new(),
        ending: None,
        frames: 0,
        written_bytes: 0,
        stall: None,
    };
    let last_words = std::future::poll_fn(|cx| {
        if connection.ending.is_none() && stopping.as_mut().poll(cx).is_ready() {
            connection.ending = Some(Closed::Stopping);
        }
        connection.poll(cx, stream.as_mut(), timer.as_mut())
    });
    let closed = last_words.await;
    let farewell = async {
        if let Some(failure) = farewell(&closed) {
            connection.writer.push(&Response {
                id: CONNECTION_ID,
                answer: Answer::Failed(failure),
            })?;
        }
        while !connection.writer.is_idle() {
            std::future::poll_fn(|cx| connection.writer.poll_write(cx, stream.as_mut()))
                .await
                .map_err(FrameError::Io)?;
        }
        stream.shutdown().await.map_err(FrameError::Io)
    };
    match tokio::time::timeout(FRAME_DURATION_MAX, farewell).await {
        Ok(Ok(())) => {}
        // The peer is gone or does not listen: it learns of the end by the end.
        Ok(Err(error)) => tracing::debug!(%error, "a framed connection ended before its last answer was taken"),
        Err(_) => tracing::debug!("the last answer of a framed connection was not taken in time"),
    }
    closed
}

/// What the other side is told about the end, if it is still there to be told.
fn farewell(closed: &Closed) -> Option<Failure> {
    match closed {
        Closed::Done | Closed::Broken(FrameError::Io(_) | FrameError::NotTaken | FrameError::Unanswered) => None,
        Closed::Stopping => Some(Failure::new(ErrorKind::Unavailable, "this node stops")),
        Closed::Broken(error) => Some(Failure::of(error.kind(), error)),
    }
}

/// What the connection waits for that has a deadline, and how far it had come: a change of either starts it anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stall {
    /// The rest of the frame after so many.
    Frame(u64),
    /// The other side to take more than so many bytes.
    Answers(u64),
    /// The answers to what is begun, before the end.
    Ending,
}

struct Connection<C> {
    calls: C,
    reader: FrameReader,
    writer: FrameWriter,
    begun: FuturesUnordered<Begun>,
    /// Why nothing more is read.
    ending: Option<Closed>,
    frames: u64,
    written_bytes: u64,
    stall: Option<Stall>,
}

impl<C: Calls> Connection<C> {
    fn poll<S: AsyncRead + AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut S>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Closed> {
        loop {
            let answered = self.collect_answers(cx);
            let read = self.read(cx, stream.as_mut());
            let wrote = match self.writer.poll_write(cx, stream.as_mut()) {
                Poll::Ready(Ok(count)) => {
                    self.written_bytes += count as u64;
                    true
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Closed::Broken(FrameError::Io(error))),
                Poll::Pending => false,
            };
            if self.begun.is_empty()
                && self.writer.is_idle()
                && let Some(closed) = self.ending.take()
            {
                return Poll::Ready(closed);
            }
            if !(answered || read || wrote) {
                break;
            }
        }
        self.watch_the_clock(cx, timer.as_mut())
    }

    /// Encodes every answer that is ready. Whether there was one.
    fn collect_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while self.writer.unsent_bytes() < FRAME_ANSWERS_BYTES_MAX
            && let Poll::Ready(Some(response)) = self.begun.poll_next_unpin(cx)
        {
            self.answer(response);
            any = true;
        }
        any
    }

    /// Begins every request that has arrived whole, then reads once. Whether something moved.
    fn read<S: AsyncRead>(&mut self, cx: &mut Context<'_>, stream: Pin<&mut S>) -> bool {
        if self.ending.is_some() {
            return false;
        }
        let mut any = false;
        while self.has_room() {
            match next_request(&mut self.reader) {
                Ok(Some(request)) => {
                    self.frames += 1;
                    any = true;
                    self.begin(request);
                }
                Ok(None) => match self.reader.poll_fill(cx, stream) {
                    Poll::Pending => return any,
                    Poll::Ready(Ok(0)) => {
                        let bytes = self.reader.pending_bytes();
                        self.ending = Some(if bytes == 0 {
                            Closed::Done
                        } else {
                            Closed::Broken(FrameError::CutShort { bytes })
                        });
                        return true;
                    }
                    Poll::Ready(Ok(_)) => return true,
                    Poll::Ready(Err(error)) => {
                        self.ending = Some(Closed::Broken(FrameError::Io(error)));
                        return true;
                    }
                },
                Err(error) => {
                    self.ending = Some(Closed::Broken(error));
                    return true;
                }
            }
        }
        any
    }

    fn has_room(&self) -> bool {
        self.begun.len() < FRAME_REQUESTS_IN_FLIGHT_MAX && self.writer.unsent_bytes() < FRAME_ANSWERS_BYTES_MAX
    }

    fn begin(&mut self, Request { id, call }: Request) {
        match call {
            Call::Ping => self.answer(Response {
                id,
                answer: Answer::Pong,
            }),
            call => self.begun.push(Begun {
                id,
                answer: self.calls.begin(call),
            }),
        }
    }

    fn answer(&mut self, response: Response) {
        if let Err(error) = self.writer.push(&response) {
            let kind = match error {
                FrameError::TooLong { .. } => ErrorKind::Exhausted,
                _ => error.kind(),
            };
            let failure = Failure::because(kind, "the answer does not fit into a frame", &error);
            if let Err(error) = self.writer.push(&Response {
                id: response.id,
                answer: Answer::Failed(failure),
            }) {
                self.ending = Some(Closed::Broken(error));
            }
        }
    }

    /// Ends the connection when what it waits for has taken too long.
    fn watch_the_clock(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<Closed> {
        let stall = if self.writer.unsent_bytes() > 0 {
            Stall::Answers(self.written_bytes)
        } else if self.ending.is_some() {
            Stall::Ending
        } else if self.reader.pending_bytes() > 0 && self.has_room() {
            Stall::Frame(self.frames)
        } else {
            self.stall = None;
            return Poll::Pending;
        };
        if self.stall != Some(stall) {
            self.stall = Some(stall);
            timer.as_mut().reset(Instant::now() + FRAME_DURATION_MAX);
        }
        ready!(timer.as_mut().poll(cx));
        match stall {
            Stall::Answers(_) => Poll::Ready(Closed::Broken(FrameError::NotTaken)),
            Stall::Ending => Poll::Ready(Closed::Broken(FrameError::Unanswered)),
            Stall::Frame(_) if self.begun.is_empty() => Poll::Ready(Closed::Broken(FrameError::TooSlow)),
            Stall::Frame(_) => {
                self.ending = Some(Closed::Broken(FrameError::TooSlow));
                self.watch_the_clock(cx, timer)
            }
        }
    }
}

fn next_request(reader: &mut FrameReader) -> Result<Option<Request>, FrameError> {
    let Some(frame) = reader.next_frame()? else {
        return Ok(None);
    };
    let request: Request = decode(frame)?;
    if request.id == CONNECTION_ID {
        return Err(FrameError::ReservedId);
    }
    Ok(Some(request))
}

/// A call that is begun, and the number that its answer carries.
struct Begun {
    id: u64,
    answer: BoxFuture<'static, Answer>,
}

impl Future for Begun {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Response> {
        let answer = ready!(self.answer.as_mut().poll(cx));
        Poll::Ready(Response { id: self.id, answer })
    }
}
