//! HTTP requests to one endpoint, over connections that are kept and used again.
//!
//! The difficult part is to know whether a request that failed was sent. hyper gives a request back when none of it was
//! written; then it goes out again on a new connection if the old one had only been closed while idle, and otherwise
//! the caller learns that nothing was sent. Everything later than that is an unknown outcome.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use revoada_faces::native::FailureBody;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::error::{Cause, ClientError};
use super::transport::Transport;

/// The most idle connections that a client keeps.
const IDLE_CONNECTIONS_MAX: usize = 64;
/// The largest answer that is read whole, in bytes; snapshots and watches are not.
const ANSWER_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// How long a client waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// For a connection, TLS included.
    pub connect_timeout: Duration,
    /// For a whole answer.
    pub answer_timeout: Duration,
    /// For an answer to what may take long: a change of a role that is waited for, a snapshot, a restore.
    pub long_answer_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(3),
            answer_timeout: Duration::from_secs(30),
            long_answer_timeout: Duration::from_secs(600),
        }
    }
}

/// A body that is sent: bytes, or a stream.
pub(super) type SentBody = UnsyncBoxBody<Bytes, Cause>;

/// A client of one node. Cloning it is cheap, and all clones share their connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    transport: Transport,
    options: ClientOptions,
    idle: Mutex<Vec<SendRequest<SentBody>>>,
}

/// A request that is to be sent.
pub(super) struct Outgoing {
    pub method: Method,
    pub path: String,
    pub content_type: Option<&'static str>,
    pub body: SentBody,
    /// Whether it changes something.
    pub mutation: bool,
    /// How long the head of the answer may take; the whole answer where it is read whole.
    pub timeout: Duration,
}

/// The head of an answer; the rest of it comes over the same connection.
pub(super) struct Answered {
    pub response: Response<Incoming>,
    connection: SendRequest<SentBody>,
    deadline: Instant,
}

impl Client {
    /// A client of the node at `endpoint`. Connects to nothing yet; only the authorities of an https endpoint are read.
    pub fn new(endpoint: Endpoint, options: ClientOptions) -> Result<Self, ClientError> {
        let transport = Transport::new(endpoint, options.connect_timeout)?;
        Ok(Self {
            shared: Arc::new(Shared {
                transport,
                options,
                idle: Mutex::default(),
            }),
        })
    }

    /// Where it calls.
    pub fn endpoint(&self) -> &Endpoint {
        self.shared.transport.endpoint()
    }

    /// How long it waits.
    pub fn options(&self) -> ClientOptions {
        self.shared.options
    }

    pub(super) fn transport(&self) -> &Transport {
        &self.shared.transport
    }

    /// A request without a body that changes nothing.
    pub(super) fn read(&self, path: impl Into<String>) -> Outgoing {
        Outgoing {
            method: Method::GET,
            path: path.into(),
            content_type: None,
            body: empty(),
            mutation: false,
            timeout: self.shared.options.answer_timeout,
        }
    }

    /// A request without a body that changes something.
    pub(super) fn change(&self, method: Method, path: impl Into<String>) -> Outgoing {
        Outgoing {
            method,
            mutation: true,
            ..self.read(path)
        }
    }

    /// Sends a request and reads its whole answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, request: Outgoing) -> Result<T, ClientError> {
        let mutation = request.mutation;
        let (_, bytes) = self.bytes(request).await?;
        self.parse(&bytes, mutation)
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn bytes(&self, request: Outgoing) -> Result<(HeaderMap, Bytes), ClientError> {
        let (mutation, timeout) = (request.mutation, request.timeout);
        let answered = self.send(request).await?;
        let (status, headers, bytes) = self.whole(answered, mutation, timeout).await?;
        if status.is_success() {
            Ok((headers, bytes))
        } else {
            Err(self.refused(status, &bytes, mutation))
        }
    }

    /// Sends a request and returns the head of its answer, if it is no error.
    pub(super) async fn streamed(&self, request: Outgoing) -> Result<Response<Incoming>, ClientError> {
        let (mutation, timeout) = (request.mutation, request.timeout);
        let answered = self.send(request).await?;
        if answered.response.status().is_success() {
            return Ok(answered.response);
        }
        let (status, _, bytes) = self.whole(answered, mutation, timeout).await?;
        Err(self.refused(status, &bytes, mutation))
    }

    /// Sends a request and waits for the head of the answer, whatever its status.
    pub(super) async fn send(&self, request: Outgoing) -> Result<Answered, ClientError> {
        let Outgoing {
            method,
            path,
            content_type,
            body,
            mutation,
            timeout,
        } = request;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(body)
            .map_err(|error| ClientError::Request(error.into()))?;
        self.sign(request.headers_mut())?;
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        loop {
            let (mut connection, kept) = match self.idle().await {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            // A kept connection may be closed by the node at the moment it is used again. A read can simply be made
            // once more; a dry run is none, because it has a body.
            let again = (kept && request.method() == Method::GET).then(|| copy_without_body(&request));
            let deadline = Instant::now() + timeout;
            let mut failed = match tokio::time::timeout_at(deadline, connection.try_send_request(request)).await {
                Ok(Ok(response)) => {
                    return Ok(Answered {
                        response,
                        connection,
                        deadline,
                    });
                }
                Ok(Err(failed)) => failed,
                Err(_) => return Err(self.too_late(mutation, timeout)),
            };
            request = match (failed.take_message(), again) {
                (Some(unsent), _) if kept => unsent,
                (Some(_), _) => return Err(self.not_sent(failed.into_error())),
                (None, Some(again)) => again,
                (None, None) => return Err(self.no_answer(mutation, failed.into_error())),
            };
        }
    }

    /// Reads the rest of an answer, and keeps its connection for the next request.
    pub(super) async fn whole(
        &self,
        answered: Answered,
        mutation: bool,
        timeout: Duration,
    ) -> Result<(StatusCode, HeaderMap, Bytes), ClientError> {
        let Answered {
            response,
            connection,
            deadline,
        } = answered;
        let (head, body) = response.into_parts();
        match tokio::time::timeout_at(deadline, Limited::new(body, ANSWER_BYTES_MAX).collect()).await {
            Ok(Ok(body)) => {
                self.keep(connection);
                Ok((head.status, head.headers, body.to_bytes()))
            }
            Ok(Err(source)) => Err(self.no_answer(mutation, source)),
            Err(_) => Err(self.too_late(mutation, timeout)),
        }
    }

    /// Adds what every request carries.
    pub(super) fn sign(&self, headers: &mut HeaderMap) -> Result<(), ClientError> {
        let value = |text: String| HeaderValue::try_from(text).map_err(|error| ClientError::Request(error.into()));
        headers.insert(HOST, value(self.endpoint().host_header())?);
        if let Some(authorization) = self.endpoint().authorization() {
            let mut authorization = value(authorization)?;
            authorization.set_sensitive(true);
            headers.insert(AUTHORIZATION, authorization);
        }
        Ok(())
    }

    pub(super) fn parse<T: DeserializeOwned>(&self, bytes: &[u8], mutation: bool) -> Result<T, ClientError> {
        serde_json::from_slice(bytes).map_err(|error| self.bad_answer(mutation, error.to_string()))
    }

    /// The error that a body with an error status holds.
    pub(super) fn refused(&self, status: StatusCode, body: &[u8], mutation: bool) -> ClientError {
        match serde_json::from_slice::<FailureBody>(body) {
            Ok(FailureBody { error }) => ClientError::Refused(error),
            Err(_) => self.bad_answer(mutation, format!("status {status} without an error in JSON")),
        }
    }

    pub(super) fn bad_answer(&self, mutation: bool, what: String) -> ClientError {
        ClientError::BadAnswer {
            endpoint: self.endpoint().to_string(),
            mutation,
            what,
        }
    }

    pub(super) fn no_answer(&self, mutation: bool, source: impl Into<Cause>) -> ClientError {
        ClientError::NoAnswer {
            endpoint: self.endpoint().to_string(),
            mutation,
            source: source.into(),
        }
    }

    fn not_sent(&self, source: impl Into<Cause>) -> ClientError {
        ClientError::NotSent {
            endpoint: self.endpoint().to_string(),
            source: source.into(),
        }
    }

    fn too_late(&self, mutation: bool, after: Duration) -> ClientError {
        ClientError::NoAnswerInTime {
            endpoint: self.endpoint().to_string(),
            mutation,
            after,
        }
    }

    async fn connect(&self) -> Result<SendRequest<SentBody>, ClientError> {
        let stream = self.transport().connect().await?;
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream))
                .await
                .map_err(|error| ClientError::Connect {
                    endpoint: self.endpoint().to_string(),
                    source: error.into(),
                })?;
        tokio::spawn(async move {
            // Whoever waits for an answer gets the error too; this only says when it was idle.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a node ended");
            }
        });
        Ok(sender)
    }

    /// A kept connection that is still open and ready.
    async fn idle(&self) -> Option<SendRequest<SentBody>> {
        loop {
            let mut connection = self.lock_idle().pop()?;
            let ready = tokio::time::timeout(self.shared.options.connect_timeout, connection.ready()).await;
            if matches!(ready, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    fn keep(&self, connection: SendRequest<SentBody>) {
        let mut idle = self.lock_idle();
        if !connection.is_closed() && idle.len() < IDLE_CONNECTIONS_MAX {
            idle.push(connection);
        }
    }

    fn lock_idle(&self) -> MutexGuard<'_, Vec<SendRequest<SentBody>>> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same request again, for one whose body is empty.
fn copy_without_body(request: &Request<SentBody>) -> Request<SentBody> {
    let mut copy = Request::new(empty());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// A body of nothing.
pub(super) fn empty() -> SentBody {
    whole(Bytes::new())
}

/// A body of bytes.
pub(super) fn whole(bytes: Bytes) -> SentBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
