//! Many calls at once over one connection.
//!
//! Callers append their frames to one buffer and wake one task; it writes whatever has gathered in one piece and hands
//! out whatever answers have come. The more callers there are, the more of them share a system call. Rejected: a
//! channel from the callers to the task, which costs a slot, a wake-up and a copy for each call.
//!
//! What can have happened is known exactly: a frame that was not written to its last byte was not acted on, and after
//! the node's farewell nothing unanswered was begun. Only in between is an outcome unknown.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use revoada_core::limits::FRAME_REQUESTS_IN_FLIGHT_MAX;
use revoada_faces::native::Failure;
use revoada_faces::native::frames::{
    Answer, CONNECTION_ID, Call, FrameError, FrameReader, FrameWriter, Request as FramedRequest, Response, append,
    decode,
};
use revoada_faces::native::message::{
    AppliedDocuments, ApplyDocuments, DeleteResource, DeletedResource, FRAMES_PROTOCOL, GetResource, GotResource,
    ListResources, ListedResources,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::error::{Cause, ClientError};
use super::http::{Client, ClientOptions, SentBody, empty};

/// How many bytes of a frame take one place among the calls in flight: with large frames there are fewer of them, so
/// that the buffer stays below about 8 MiB.
const BYTES_PER_PLACE: usize = 8 * 1024;
/// What a frame's buffer begins with, in bytes.
const FRAME_BYTES_USUAL: usize = 256;
/// The largest refusal of an upgrade that is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// The places for calls in flight; not more than the node works on at once.
const PLACES: u32 = FRAME_REQUESTS_IN_FLIGHT_MAX as u32;

/// A framed connection to one node. Cloning it is cheap; all clones use the same connection, which ends when the last
/// of them is dropped. Once it has ended every call fails; connecting anew is the caller's matter.
#[derive(Clone)]
pub struct FramedClient {
    handle: Arc<Handle>,
}

struct Handle {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    endpoint: String,
    answer_timeout: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.abandoned = true;
        state.wake();
    }
}

impl FramedClient {
    /// Connects, and enters the framed protocol.
    pub async fn connect(endpoint: Endpoint, options: ClientOptions) -> Result<Self, ClientError> {
        let client = Client::new(endpoint, options)?;
        let upgraded = tokio::time::timeout(options.connect_timeout, upgrade(&client)).await;
        let stream = upgraded.map_err(|_| ClientError::ConnectTimedOut {
            endpoint: client.endpoint().to_string(),
            after: options.connect_timeout,
        })??;
        Ok(Self::over(
            stream,
            client.endpoint().to_string(),
            options.answer_timeout,
        ))
    }

    /// Speaks frames over a stream that is in the framed protocol already. `endpoint` is its name in errors.
    pub fn over<S>(stream: S, endpoint: String, answer_timeout: Duration) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let shared = Arc::new(Shared::default());
        tokio::spawn(run(stream, Arc::clone(&shared)));
        let places = Arc::new(Semaphore::new(FRAME_REQUESTS_IN_FLIGHT_MAX));
        Self {
            handle: Arc::new(Handle {
                shared,
                places,
                endpoint,
                answer_timeout,
            }),
        }
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.handle.shared.lock().ended.is_some()
    }

    /// An answer, and nothing else.
    pub async fn ping(&self) -> Result<(), ClientError> {
        match self.call(Call::Ping).await? {
            Answer::Pong => Ok(()),
            other => Err(self.unexpected(false, &other)),
        }
    }

    /// Applies documents; all are parsed before the first resource is applied.
    pub async fn apply(&self, request: ApplyDocuments) -> Result<AppliedDocuments, ClientError> {
        match self.call(Call::Apply(request)).await? {
            Answer::Applied(applied) => Ok(applied),
            other => Err(self.unexpected(true, &other)),
        }
    }

    /// Reads one resource, as it is stored where no format is asked for.
    pub async fn get(&self, request: GetResource) -> Result<GotResource, ClientError> {
        match self.call(Call::Get(request)).await? {
            Answer::Got(got) => Ok(got),
            other => Err(self.unexpected(false, &other)),
        }
    }

    /// Deletes one resource.
    pub async fn delete(&self, request: DeleteResource) -> Result<DeletedResource, ClientError> {
        match self.call(Call::Delete(request)).await? {
            Answer::Deleted(deleted) => Ok(deleted),
            other => Err(self.unexpected(true, &other)),
        }
    }

    /// Reads one page of resources; it has to fit into a frame.
    pub async fn list(&self, request: ListResources) -> Result<ListedResources, ClientError> {
        match self.call(Call::List(request)).await? {
            Answer::Listed(page) => serde_json::from_slice(&page).map_err(|error| ClientError::BadAnswer {
                endpoint: self.handle.endpoint.clone(),
                mutation: false,
                what: error.to_string(),
            }),
            other => Err(self.unexpected(false, &other)),
        }
    }

    /// Makes a call; an answer that is a failure comes as an error.
    ///
    /// Dropping the future, or its time-out, leaves the call where it is: it keeps its place until it is answered.
    pub async fn call(&self, call: Call) -> Result<Answer, ClientError> {
        let Handle {
            shared,
            places,
            endpoint,
            answer_timeout,
        } = &*self.handle;
        let mutation = call.is_mutation();
        let id = shared.ids.next();
        let mut frame = Vec::with_capacity(FRAME_BYTES_USUAL);
        append(&mut frame, &FramedRequest { id, call }).map_err(|error| ClientError::Request(error.into()))?;
        let deadline = Instant::now() + *answer_timeout;
        let wanted = u32::try_from(1 + frame.len() / BYTES_PER_PLACE)
            .unwrap_or(PLACES)
            .min(PLACES);
        let place = match tokio::time::timeout_at(deadline, Arc::clone(places).acquire_many_owned(wanted)).await {
            Ok(Ok(place)) => place,
            Ok(Err(closed)) => {
                return Err(ClientError::NotSent {
                    endpoint: endpoint.clone(),
                    source: closed.into(),
                });
            }
            Err(late) => {
                return Err(ClientError::NotSent {
                    endpoint: endpoint.clone(),
                    source: late.into(),
                });
            }
        };
        let answer = shared
            .send(id, &frame, place)
            .map_err(|lost| lost.into_error(endpoint, mutation))?;
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(Ok(Answer::Failed(failure)))) => Err(ClientError::Refused(failure)),
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(lost))) => Err(lost.into_error(endpoint, mutation)),
            Ok(Err(gone)) => Err(ClientError::NoAnswer {
                endpoint: endpoint.clone(),
                mutation,
                source: gone.into(),
            }),
            Err(_) => Err(ClientError::NoAnswerInTime {
                endpoint: endpoint.clone(),
                mutation,
                after: *answer_timeout,
            }),
        }
    }

    fn unexpected(&self, mutation: bool, answer: &Answer) -> ClientError {
        let what = match answer {
            Answer::Pong => "a pong",
            Answer::Applied(_) => "an answer to an apply",
            Answer::Got(_) => "an answer to a get",
            Answer::Deleted(_) => "an answer to a delete",
            Answer::Listed(_) => "an answer to a list",
            Answer::Failed(_) => "a failure",
        };
        ClientError::BadAnswer {
            endpoint: self.handle.endpoint.clone(),
            mutation,
            what: what.to_owned(),
        }
    }
}

/// Asks for the upgrade on a connection of its own.
async fn upgrade(client: &Client) -> Result<TokioIo<Upgraded>, ClientError> {
    let refused = |source: Cause| ClientError::Connect {
        endpoint: client.endpoint().to_string(),
        source,
    };
    let stream = client.transport().connect().await?;
    let (mut sender, connection) = http1::handshake::<_, SentBody>(TokioIo::new(stream))
        .await
        .map_err(|error| refused(error.into()))?;
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::builder()
        .method(Method::GET)
        .uri("/v1/frames")
        .body(empty())
        .map_err(|error| ClientError::Request(error.into()))?;
    client.sign(request.headers_mut())?;
    request
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    request
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static(FRAMES_PROTOCOL));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| refused(error.into()))?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX)
            .collect()
            .await
            .map_err(refused)?;
        return Err(client.refused(status, &body.to_bytes(), false));
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| refused(error.into()))?;
    Ok(TokioIo::new(upgraded))
}

/// What the callers and the connection's task share.
#[derive(Default)]
struct Shared {
    ids: Ids,
    state: Mutex<State>,
}

/// Numbers from 1.
struct Ids(AtomicU64);

impl Default for Ids {
    fn default() -> Self {
        Self(AtomicU64::new(CONNECTION_ID + 1))
    }
}

impl Ids {
    fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[derive(Default)]
struct State {
    /// Whole frames that the task has not taken yet.
    gathered: Vec<u8>,
    /// Where in the stream `gathered` ends, in bytes from its beginning.
    gathered_end: u64,
    waiting: HashMap<u64, Waiting>,
    task: Option<Waker>,
    /// Nobody can call any more.
    abandoned: bool,
    ended: Option<Ended>,
}

/// A call that is not answered yet.
struct Waiting {
    /// Where in the stream its frame ends.
    frame_end: u64,
    answer: oneshot::Sender<Result<Answer, Lost>>,
    _place: OwnedSemaphorePermit,
}

/// How the connection ended.
#[derive(Clone)]
enum Ended {
    /// The node said why; everything that it had begun is answered.
    Farewell(Failure),
    /// It broke.
    Broken(Arc<FrameError>),
}

/// Why a call gets no answer.
enum Lost {
    /// The node said so, and did not begin it.
    Farewell(Failure),
    /// Its frame was not sent whole.
    NotSent(Arc<FrameError>),
    /// Its frame was sent.
    NoAnswer(Arc<FrameError>),
}

impl Lost {
    fn into_error(self, endpoint: &str, mutation: bool) -> ClientError {
        let endpoint = endpoint.to_owned();
        match self {
            Self::Farewell(failure) => ClientError::NotSent {
                endpoint,
                source: failure.into(),
            },
            Self::NotSent(source) => ClientError::NotSent {
                endpoint,
                source: source.into(),
            },
            Self::NoAnswer(source) => ClientError::NoAnswer {
                endpoint,
                mutation,
                source: source.into(),
            },
        }
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame where the task finds it.
    fn send(
        &self,
        id: u64,
        frame: &[u8],
        place: OwnedSemaphorePermit,
    ) -> Result<oneshot::Receiver<Result<Answer, Lost>>, Lost> {
        let mut state = self.lock();
        match &state.ended {
            Some(Ended::Farewell(failure)) => return Err(Lost::Farewell(failure.clone())),
            Some(Ended::Broken(error)) => return Err(Lost::NotSent(Arc::clone(error))),
            None => {}
        }
        let (answer, answered) = oneshot::channel();
        state.gathered.extend_from_slice(frame);
        state.gathered_end += frame.len() as u64;
        let frame_end = state.gathered_end;
        state.waiting.insert(
            id,
            Waiting {
                frame_end,
                answer,
                _place: place,
            },
        );
        state.wake();
        Ok(answered)
    }

    fn deliver(&self, responses: &mut Vec<Response>) {
        let mut state = self.lock();
        for Response { id, answer } in responses.drain(..) {
            // A call whose future was dropped has nobody to tell.
            if let Some(waiting) = state.waiting.remove(&id) {
                let _ = waiting.answer.send(Ok(answer));
            }
        }
    }

    /// Tells everyone who waits; `written` bytes of the stream were sent.
    fn end(&self, ended: Ended, written: u64) {
        let mut state = self.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.gathered = Vec::new();
        state.ended = Some(ended.clone());
        drop(state);
        for Waiting { frame_end, answer, .. } in waiting.into_values() {
            let lost = match &ended {
                Ended::Farewell(failure) => Lost::Farewell(failure.clone()),
                Ended::Broken(error) if frame_end > written => Lost::NotSent(Arc::clone(error)),
                Ended::Broken(error) => Lost::NoAnswer(Arc::clone(error)),
            };
            // A call whose future was dropped has nobody to tell.
            let _ = answer.send(Err(lost));
        }
    }
}

/// The task of a connection.
async fn run<S: AsyncRead + AsyncWrite>(stream: S, shared: Arc<Shared>) {
    let mut stream = pin!(stream);
    let mut connection = Connection {
        reader: FrameReader::default(),
        writer: FrameWriter::default(),
        responses: Vec::new(),
        written: 0,
    };
    let ended = poll_fn(|cx| connection.poll(cx, stream.as_mut(), &shared)).await;
    shared.end(ended, connection.written);
    if let Err(error) = stream.shutdown().await {
        // The node is gone, or learns of the end by the end.
        tracing::debug!(%error, "a framed connection was not closed in order");
    }
}

struct Connection {
    reader: FrameReader,
    writer: FrameWriter,
    responses: Vec<Response>,
    /// The bytes of the stream that were sent.
    written: u64,
}

impl Connection {
    fn poll<S: AsyncRead + AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut stream: Pin<&mut S>,
        shared: &Shared,
    ) -> Poll<Ended> {
        loop {
            let abandoned = self.gather(cx, shared);
            let wrote = match self.writer.poll_write(cx, stream.as_mut()) {
                Poll::Ready(Ok(count)) => {
                    self.written += count as u64;
                    true
                }
                Poll::Ready(Err(error)) => return Poll::Ready(broken(FrameError::Io(error))),
                Poll::Pending => false,
            };
            if abandoned && self.writer.is_idle() {
                return Poll::Ready(broken(FrameError::Io(io::ErrorKind::ConnectionAborted.into())));
            }
            let read = match self.reader.poll_fill(cx, stream.as_mut()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(broken(FrameError::Io(io::ErrorKind::UnexpectedEof.into()))),
                Poll::Ready(Ok(_)) => true,
                Poll::Ready(Err(error)) => return Poll::Ready(broken(FrameError::Io(error))),
                Poll::Pending => false,
            };
            if read {
                let outcome = self.take_responses();
                shared.deliver(&mut self.responses);
                match outcome {
                    Ok(None) => {}
                    Ok(Some(farewell)) => return Poll::Ready(Ended::Farewell(farewell)),
                    Err(error) => return Poll::Ready(broken(error)),
                }
            }
            if !(wrote || read) {
                return Poll::Pending;
            }
        }
    }

    /// Takes what the callers have gathered. Whether there are none any more.
    fn gather(&mut self, cx: &mut Context<'_>, shared: &Shared) -> bool {
        let mut state = shared.lock();
        if !state.gathered.is_empty() {
            self.writer.take_from(&mut state.gathered);
        }
        match &state.task {
            Some(task) if task.will_wake(cx.waker()) => {}
            _ => state.task = Some(cx.waker().clone()),
        }
        state.abandoned
    }

    /// Decodes every answer that has arrived whole; the farewell, if it is among them.
    fn take_responses(&mut self) -> Result<Option<Failure>, FrameError> {
        while let Some(frame) = self.reader.next_frame()? {
            match decode::<Response>(frame)? {
                Response {
                    id: CONNECTION_ID,
                    answer: Answer::Failed(failure),
                } => return Ok(Some(failure)),
                response => self.responses.push(response),
            }
        }
        Ok(None)
    }
}

fn broken(error: FrameError) -> Ended {
    Ended::Broken(Arc::new(error))
}
