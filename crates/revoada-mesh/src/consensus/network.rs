//! Raft's messages between nodes: pipelined appends, votes, checkpoints.
//!
//! An append stream is a stream of a link: its messages go in order and are answered in order, many in flight. openraft's
//! own `stream_append` waits for each answer before the next request; on loopback that alone costs two thirds of the
//! throughput. Heartbeats and votes have a link of their own (`peers`).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesResponse, SnapshotResponse, StreamAppendError, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::vote::RaftLeaderId as _;
use openraft::{AnyError, Instant as _, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use revoada_attest::NodeId;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{CheckpointError, CheckpointFile, Checkpoints};
use super::peers::{Lane, LinkError, Peers};
use super::seats::Seats;
use super::types::{
    AppendEntriesRequest, LogId, Member, Raft, RpcError, Snapshot, SnapshotMeta, StreamAppendResult, Types, Vote,
};
use crate::files::{OpenFile, read_exact_at};
use crate::runtime::{InstantOf, Runtime};
use crate::transport::link::{CallError, Link, LinkStream, Message, write};
use crate::transport::{Connection, chain};

mod verb {
    pub const APPEND: u8 = 1;
    pub const VOTE: u8 = 2;
    pub const PRE_VOTE: u8 = 3;
    pub const TRANSFER: u8 = 4;
    pub const SNAPSHOT_BEGIN: u8 = 5;
    pub const SNAPSHOT_CHUNK: u8 = 6;
    pub const SNAPSHOT_END: u8 = 7;
}

/// The start of a checkpoint's transfer.
#[derive(Serialize, Deserialize)]
struct SnapshotBegin {
    vote: Vote,
    meta: SnapshotMeta,
    bytes: u64,
}

/// Room for a message without entries, so that the many small ones grow their buffer at no time.
const MESSAGE_BYTES: usize = 256;

fn encode<R: Runtime, T: Serialize>(value: &T) -> Result<Bytes, RpcError<R>> {
    cbor4ii::serde::to_vec(Vec::with_capacity(MESSAGE_BYTES), value)
        .map(Bytes::from)
        .map_err(|error| {
            RpcError::Network(NetworkError::new(&io::Error::other(format!(
                "a message cannot be encoded: {error}"
            ))))
        })
}

fn decode<R: Runtime, T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RpcError<R>> {
    cbor4ii::serde::from_slice(bytes).map_err(|error| {
        let error = io::Error::new(io::ErrorKind::InvalidData, format!("an answer cannot be read: {error}"));
        RpcError::Network(NetworkError::new(&error))
    })
}

fn unreachable<R: Runtime>(error: &LinkError) -> RpcError<R> {
    RpcError::Unreachable(Unreachable::new(&AnyError::error(chain(error))))
}

fn failed<R: Runtime>(error: CallError) -> RpcError<R> {
    match error {
        // openraft waits before it calls an unreachable node again, and calls at once after a network error.
        CallError::NotSent | CallError::Full | CallError::Late => RpcError::Unreachable(Unreachable::new(&error)),
        CallError::Broken => RpcError::Network(NetworkError::new(&error)),
    }
}

/// How many bytes of appends were sent to each node and not answered yet: what this node holds in memory for those that
/// are slow. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct OnTheirWay(Arc<parking_lot::Mutex<BTreeMap<NodeId, usize>>>);

impl OnTheirWay {
    /// The bytes by node; a node that was sent nothing, or has answered all of it, is not there.
    pub fn bytes(&self) -> BTreeMap<NodeId, usize> {
        self.0.lock().clone()
    }
}

/// One stream's part of [`OnTheirWay`], taken out of it when this is dropped.
struct InFlight {
    /// The bytes of each append, the oldest first.
    appends: VecDeque<usize>,
    bytes: usize,
    target: NodeId,
    all: OnTheirWay,
}

impl InFlight {
    fn new(target: NodeId, all: OnTheirWay) -> Self {
        Self {
            appends: VecDeque::new(),
            bytes: 0,
            target,
            all,
        }
    }

    fn has_room(&self) -> bool {
        self.appends.len() < limits::APPENDS_IN_FLIGHT_MAX && self.bytes < limits::APPENDS_IN_FLIGHT_BYTES_MAX
    }

    fn is_empty(&self) -> bool {
        self.appends.is_empty()
    }

    fn sent(&mut self, bytes: usize) {
        self.appends.push_back(bytes);
        self.bytes += bytes;
        *self.all.0.lock().entry(self.target).or_default() += bytes;
    }

    fn answered(&mut self) {
        if let Some(bytes) = self.appends.pop_front() {
            self.forget(bytes);
        }
    }

    fn forget(&mut self, bytes: usize) {
        self.bytes -= bytes;
        let mut all = self.all.0.lock();
        if let Some(sum) = all.get_mut(&self.target) {
            *sum -= bytes;
            if *sum == 0 {
                all.remove(&self.target);
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.forget(self.bytes);
    }
}

/// Makes a client for each node that openraft wants to speak with.
pub struct Network<R: Runtime> {
    id: NodeId,
    peers: Peers<R>,
    on_their_way: OnTheirWay,
    seats: Arc<Seats>,
}

impl<R: Runtime> Network<R> {
    /// The network of node `id`, which counts what is on its way, and hears only who has a seat.
    pub fn new(id: NodeId, peers: Peers<R>, on_their_way: OnTheirWay, seats: Arc<Seats>) -> Self {
        Self {
            id,
            peers,
            on_their_way,
            seats,
        }
    }

    fn client(&self, target: NodeId, lane: Lane) -> Client<R> {
        Client {
            id: self.id,
            target,
            lane,
            peers: self.peers.clone(),
            on_their_way: self.on_their_way.clone(),
            seats: self.seats.clone(),
        }
    }
}

impl<R: Runtime> RaftNetworkFactory<Types<R>> for Network<R> {
    type Network = Client<R>;

    async fn new_client(&mut self, target: NodeId, _: &Member) -> Client<R> {
        self.client(target, Lane::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, _: &Member) -> Client<R> {
        self.client(target, Lane::Urgent)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, _: &Member) -> Client<R> {
        self.client(target, Lane::Snapshot)
    }
}

/// Speaks Raft with one node.
pub struct Client<R: Runtime> {
    id: NodeId,
    target: NodeId,
    lane: Lane,
    peers: Peers<R>,
    on_their_way: OnTheirWay,
    seats: Arc<Seats>,
}

impl<R: Runtime> Client<R> {
    async fn link(&self, lane: Lane, limit: Duration) -> Result<Link<R>, RpcError<R>> {
        let link = self
            .peers
            .link(self.target, lane, limit)
            .await
            .map_err(|error| unreachable(&error))?;
        if let Err(error) = self.heard(&link) {
            // A new connection may show another disk, or one that is vouched for by then.
            self.peers.close(self.target, lane).await;
            return Err(error);
        }
        Ok(link)
    }

    /// Whether what comes over this link counts now.
    fn heard(&self, link: &Link<R>) -> Result<(), RpcError<R>> {
        if self.seats.counts(&self.target, link.shown()) {
            return Ok(());
        }
        let what = format!(
            "{} is not on the disk that it votes with, but on {}",
            self.target.short(),
            link.shown().disk
        );
        Err(RpcError::Unreachable(Unreachable::new(&io::Error::other(what))))
    }

    /// As [`Client::call`], for a node that may stand for election.
    async fn stand<A: Serialize, B: DeserializeOwned>(
        &self,
        verb: u8,
        request: &A,
        option: &RPCOption,
    ) -> Result<B, RpcError<R>> {
        if !self.seats.may_stand(&self.id) {
            let what = "this node is not on the disk that it votes with";
            return Err(RpcError::Unreachable(Unreachable::new(&io::Error::other(what))));
        }
        self.call(verb, request, option).await
    }

    async fn call<A: Serialize, B: DeserializeOwned>(
        &self,
        verb: u8,
        request: &A,
        option: &RPCOption,
    ) -> Result<B, RpcError<R>> {
        let link = self.link(Lane::Urgent, option.soft_ttl()).await?;
        let answer = link
            .call(verb, encode(request)?, option.soft_ttl())
            .await
            .map_err(failed)?;
        self.heard(&link)?;
        decode::<R, Result<B, String>>(&answer)?
            .map_err(|reason| RpcError::Network(NetworkError::new(&io::Error::other(reason))))
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let limit = Duration::from_millis(limits::SNAPSHOT_CHUNK_MS_MAX);
        let link = self.link(Lane::Snapshot, limit).await.map_err(streaming)?;
        let broken = |error: CallError| streaming(failed(error));
        let unread = |source: io::Error| StreamingError::Network(NetworkError::new(&source));
        let source = snapshot.snapshot;
        let opened = R::blocking(move || source.open().and_then(|file| Ok((file.len()?, Arc::from(file)))));
        let (bytes, file): (u64, Arc<dyn OpenFile>) = opened.await.flatten().map_err(unread)?;
        let begin = encode(&SnapshotBegin {
            vote,
            meta: snapshot.meta,
            bytes,
        })
        .map_err(streaming)?;
        accepted(&link.call(verb::SNAPSHOT_BEGIN, begin, limit).await.map_err(broken)?)?;
        let mut sent = 0;
        while sent < bytes {
            let (file, offset) = (file.clone(), sent);
            let mut chunk = vec![0; limits::SNAPSHOT_CHUNK_BYTES.min((bytes - sent) as usize)];
            let read = R::blocking(move || read_exact_at(&*file, &mut chunk, offset).map(|()| chunk));
            let chunk = read.await.flatten().map_err(unread)?;
            sent += chunk.len() as u64;
            accepted(
                &link
                    .call(verb::SNAPSHOT_CHUNK, chunk.into(), limit)
                    .await
                    .map_err(broken)?,
            )?;
        }
        let installing = Duration::from_millis(limits::SNAPSHOT_INSTALL_MS_MAX);
        let answer = link
            .call(verb::SNAPSHOT_END, Bytes::new(), installing)
            .await
            .map_err(broken)?;
        self.heard(&link).map_err(streaming)?;
        let vote: Result<Vote, String> = decode(&answer).map_err(streaming)?;
        vote.map(SnapshotResponse::new).map_err(refused)
    }
}

fn refused<R: Runtime>(reason: String) -> StreamingError<Types<R>> {
    StreamingError::Network(NetworkError::new(&io::Error::other(reason)))
}

fn accepted<R: Runtime>(answer: &[u8]) -> Result<(), StreamingError<Types<R>>> {
    decode::<R, Result<(), String>>(answer)
        .map_err(streaming)?
        .map_err(refused)
}

fn streaming<R: Runtime>(error: RpcError<R>) -> StreamingError<Types<R>> {
    match error {
        RpcError::Timeout(error) => StreamingError::Timeout(error),
        RpcError::Unreachable(error) => StreamingError::Unreachable(error),
        RpcError::Network(error) => StreamingError::Network(error),
        RpcError::RemoteError(never) => match never.source {},
    }
}

/// An append stream under way; see [`Client::stream_append`].
struct Appending<R: Runtime, S> {
    input: S,
    input_ended: bool,
    in_flight: InFlight,
    stream: LinkStream<R>,
    target: NodeId,
    seats: Arc<Seats>,
    /// Of the newest request.
    vote: Option<Vote>,
    silence_max: Duration,
    /// Whether a link that is silent for too long is given up, with what waits in it.
    closes: bool,
    timeout: Timeout<Types<R>>,
    over: bool,
}

impl<R: Runtime, S: Stream<Item = AppendEntriesRequest<R>> + Unpin> Appending<R, S> {
    /// How long the next answer may take: what is on its way takes its time on a slow line, or a slow disk. To send it
    /// again before it can have arrived would never end, and fill the link.
    fn patience(&self) -> Duration {
        let bytes = self.in_flight.bytes as u64;
        self.silence_max + Duration::from_millis(bytes * 1000 / limits::APPEND_BYTES_PER_SECOND_MIN)
    }

    async fn next(&mut self) -> Option<Result<StreamAppendResult<R>, RpcError<R>>> {
        let silence = R::sleep(self.patience());
        tokio::pin!(silence);
        while !self.over {
            if self.input_ended && self.in_flight.is_empty() {
                return None;
            }
            let has_room = self.in_flight.has_room();
            tokio::select! {
                biased;
                answer = self.stream.receive(), if !self.in_flight.is_empty() => {
                    self.in_flight.answered();
                    let Some(answer) = answer else { return self.fail(failed(CallError::Broken)) };
                    if !self.seats.counts(&self.target, self.stream.shown()) {
                        self.stream.close_link();
                        return self.fail(failed(CallError::NotSent));
                    }
                    let answer = match decode::<R, StreamAppendResult<R>>(&answer) {
                        Ok(answer) => answer,
                        Err(error) => return self.fail(error),
                    };
                    let mut answer = answer;
                    if is_planted(Bug::CountsOldTerms)
                        && let (Ok(Some(matched)), Some(vote)) = (&mut answer, &self.vote)
                    {
                        *matched = LogId::new(vote.leader_id().to_committed(), matched.index);
                    }
                    // The other side ends its stream with the first refusal, and so must this one.
                    self.over = answer.is_err();
                    return Some(Ok(answer));
                }
                request = self.input.next(), if !self.input_ended && has_room => {
                    let Some(request) = request else { self.input_ended = true; continue };
                    self.vote = Some(request.vote);
                    let mut request = request;
                    if is_planted(Bug::SendsEmptyEntries) && self.target.as_bytes()[0].is_multiple_of(2) {
                        for entry in &mut request.entries {
                            if matches!(entry.payload, openraft::EntryPayload::Normal(_)) {
                                entry.payload = openraft::EntryPayload::Blank;
                            }
                        }
                    }
                    let sent = match encode(&request) {
                        Ok(body) => {
                            self.in_flight.sent(body.len());
                            self.stream.send(verb::APPEND, body).await.map_err(failed)
                        }
                        Err(error) => Err(error),
                    };
                    if let Err(error) = sent {
                        return self.fail(error);
                    }
                    silence.set(R::sleep(self.patience()));
                }
                () = &mut silence, if !self.in_flight.is_empty() => {
                    if self.closes {
                        self.stream.close_link();
                    }
                    return self.fail(RpcError::Timeout(self.timeout.clone()));
                }
            }
        }
        None
    }

    fn fail(&mut self, error: RpcError<R>) -> Option<Result<StreamAppendResult<R>, RpcError<R>>> {
        self.over = true;
        Some(Err(error))
    }
}

impl<R: Runtime> RaftNetworkV2<Types<R>> for Client<R> {
    type SnapshotData = CheckpointFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<R>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types<R>>, RpcError<R>> {
        let mut answers = self.stream_append(futures::stream::iter([request]), option).await?;
        let first = answers.next().await;
        match first {
            Some(answer) => answer.map(AppendEntriesResponse::from),
            None => Err(failed(CallError::Broken)),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> openraft::base::BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<R>, RpcError<R>>>, RpcError<R>>>
    where
        S: Stream<Item = AppendEntriesRequest<R>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let mut input = input;
            // openraft waits out a node that cannot be reached where the first request is made. Asked for before the link,
            // or a refusal that costs no time would be met again at once, for ever.
            let Some(first) = input.next().await else {
                return Ok(futures::stream::empty().boxed());
            };
            let link = self.link(self.lane, option.soft_ttl()).await?;
            let stream = link.stream(limits::APPENDS_IN_FLIGHT_MAX + 1).map_err(failed)?;
            // A sync may take longer than a heartbeat; silence is only taken for a loss after the longer of the two.
            let floor = match self.lane {
                Lane::Urgent => Duration::ZERO,
                _ => Duration::from_millis(limits::APPEND_SILENCE_MS_MAX),
            };
            let silence_max = option.soft_ttl().max(floor);
            let timeout = Timeout {
                action: RPCTypes::AppendEntries,
                id: self.id,
                target: self.target,
                timeout: silence_max,
            };
            let appending = Appending {
                input_ended: false,
                input: futures::stream::iter([first]).chain(input),
                in_flight: InFlight::new(self.target, self.on_their_way.clone()),
                stream,
                target: self.target,
                seats: self.seats.clone(),
                vote: None,
                silence_max,
                closes: self.lane != Lane::Urgent,
                timeout,
                over: false,
            };
            let answers = futures::stream::unfold(appending, |mut appending| async move {
                let answer = appending.next().await?;
                Some((answer, appending))
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RpcError<R>> {
        self.stand(verb::VOTE, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<R>>, RpcError<R>> {
        self.stand(verb::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types<R>>, StreamingError<Types<R>>> {
        let cancelled = tokio::select! {
            biased;
            sent = self.send_snapshot(vote, snapshot) => return sent,
            closed = cancel => closed,
        };
        // A transfer given up half-way leaves the other side waiting for chunks: a new link starts afresh.
        self.peers.close(self.target, Lane::Snapshot).await;
        Err(StreamingError::Closed(cancelled))
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<R>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<R>>, RpcError<R>> {
        self.call(verb::TRANSFER, &request, &option).await
    }
}

/// What answers Raft's messages on this node.
pub struct Served<R: Runtime> {
    /// Raft.
    pub raft: Raft<R>,
    /// Where received checkpoints go.
    pub checkpoints: Arc<Checkpoints>,
    /// When a leader was last heard.
    pub heard_leader: Arc<parking_lot::Mutex<InstantOf<R>>>,
    /// This node.
    pub id: NodeId,
    /// Whether it may lead.
    pub seats: Arc<Seats>,
}

impl<R: Runtime> Clone for Served<R> {
    fn clone(&self) -> Self {
        Self {
            raft: self.raft.clone(),
            checkpoints: self.checkpoints.clone(),
            heard_leader: self.heard_leader.clone(),
            id: self.id,
            seats: self.seats.clone(),
        }
    }
}

/// Answers one connection's Raft messages until it closes.
///
/// Appends are given to Raft in order and read no faster than Raft takes them; votes are answered beside them.
pub async fn serve<R: Runtime>(connection: Connection<R>, served: Served<R>) {
    let Served {
        raft,
        checkpoints,
        heard_leader,
        id,
        seats,
    } = served;
    let (sink, mut frames) = connection.frames.split();
    let (answers, queue) = mpsc::channel(limits::LINK_CALLS_MAX);
    let stop = CancellationToken::new();
    let _stop_tasks = stop.clone().drop_guard();
    R::detach(stop.clone().run_until_cancelled_owned(write(sink, queue)));
    let mut append: Option<(u64, mpsc::Sender<AppendEntriesRequest<R>>)> = None;
    let mut incoming = None;
    while let Some(Ok(frame)) = frames.next().await {
        let Some(Message { verb, call, body }) = Message::decode(frame) else {
            return;
        };
        let answer = match verb {
            verb::APPEND => {
                let Ok(request) = decode::<R, _>(&body) else { return };
                *heard_leader.lock() = InstantOf::<R>::now();
                if append.as_ref().is_none_or(|(current, _)| *current != call) {
                    append = Some((call, start_append(call, &raft, &answers, &stop)));
                }
                if let Some((_, requests)) = &append {
                    // A stream that Raft has ended takes nothing more; its end was already answered.
                    drop(requests.send(request).await);
                }
                continue;
            }
            verb::VOTE | verb::PRE_VOTE => {
                let Ok(mut request) = decode::<R, VoteRequest<Types<R>>>(&body) else {
                    return;
                };
                if is_planted(Bug::VotesForAnybody)
                    && let Some(last) = &mut request.last_log_id
                {
                    last.index += 1_000_000;
                }
                let (raft, answers) = (raft.clone(), answers.clone());
                R::detach(stop.clone().run_until_cancelled_owned(async move {
                    let answer = match verb {
                        verb::VOTE => raft.vote(request).await,
                        _ => raft.pre_vote(request).await,
                    };
                    reply(&answers, verb, call, &answer.map_err(|error| chain(&error))).await;
                }));
                continue;
            }
            verb::TRANSFER => {
                let Ok(request) = decode::<R, _>(&body) else { return };
                let answer = match seats.may_stand(&id) {
                    true => raft
                        .handle_transfer_leader(request)
                        .await
                        .map_err(|error| chain(&error)),
                    false => Err("this node is not on the disk that it votes with".to_owned()),
                };
                reply(&answers, verb, call, &answer).await;
                continue;
            }
            verb::SNAPSHOT_BEGIN => {
                let Ok(SnapshotBegin { vote, meta, bytes }) = decode::<R, _>(&body) else {
                    return;
                };
                // What was begun before on this connection, and never ended, is given up.
                incoming = None;
                let checkpoints = checkpoints.clone();
                off_the_runtime::<R, _>(move || checkpoints.receive(bytes))
                    .await
                    .map(|receiving| incoming = Some((vote, meta, receiving)))
            }
            verb::SNAPSHOT_CHUNK => match incoming.take() {
                Some((vote, meta, mut receiving)) => {
                    off_the_runtime::<R, _>(move || receiving.write(&body).map(|()| receiving))
                        .await
                        .map(|receiving| incoming = Some((vote, meta, receiving)))
                }
                None => Err("a piece of a checkpoint that was never begun".to_owned()),
            },
            verb::SNAPSHOT_END => {
                let installed = match incoming.take() {
                    Some((vote, meta, receiving)) => match off_the_runtime::<R, _>(move || receiving.finish()).await {
                        Ok(file) => raft
                            .install_full_snapshot(vote, Snapshot { meta, snapshot: file })
                            .await
                            .map(|response| response.vote)
                            .map_err(|error| chain(&error)),
                        Err(error) => Err(error),
                    },
                    None => Err("the end of a checkpoint that was never begun".to_owned()),
                };
                reply(&answers, verb, call, &installed).await;
                continue;
            }
            _ => return,
        };
        reply(&answers, verb, call, &answer).await;
    }
}

/// Does what waits for the disk on a thread where waiting is allowed: heartbeats share the runtime.
async fn off_the_runtime<R: Runtime, T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, String> {
    match R::blocking(work).await {
        Ok(done) => done.map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    }
}

fn start_append<R: Runtime>(
    call: u64,
    raft: &Raft<R>,
    answers: &mpsc::Sender<Message>,
    stop: &CancellationToken,
) -> mpsc::Sender<AppendEntriesRequest<R>> {
    let (requests, queue) = mpsc::channel(limits::APPENDS_IN_FLIGHT_MAX);
    let input = futures::stream::unfold(queue, |mut queue| async move { Some((queue.recv().await?, queue)) });
    let results = raft.stream_append(input);
    let answers = answers.clone();
    R::detach(stop.clone().run_until_cancelled_owned(async move {
        futures::pin_mut!(results);
        while let Some(Ok(result)) = results.next().await {
            let result: Result<_, StreamAppendError<Types<R>>> = result;
            if !reply(&answers, verb::APPEND, call, &result).await {
                return;
            }
        }
    }));
    requests
}

async fn reply<T: Serialize>(answers: &mpsc::Sender<Message>, verb: u8, call: u64, answer: &T) -> bool {
    match cbor4ii::serde::to_vec(Vec::with_capacity(MESSAGE_BYTES), answer) {
        Ok(body) => answers
            .send(Message {
                verb,
                call,
                body: body.into(),
            })
            .await
            .is_ok(),
        Err(error) => {
            tracing::error!(%error, verb, "an answer cannot be encoded");
            false
        }
    }
}
