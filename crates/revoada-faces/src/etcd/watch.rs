//! Watch: many watches on one stream.
//!
//! Each watch is a pull from the keyspace's history, so a client that does not read costs nothing but its position; what
//! it misses meanwhile is read later, or was compacted, and then it is told so. One task a stream turns them into
//! answers and waits wherever the client is slow. A revision is one answer, whole, unless the client asked for
//! fragments (etcd: "atomic").

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use bytes::Bytes;
use futures::stream::{AbortHandle, Abortable, SelectAll};
use futures::{Stream, StreamExt, stream};
use prost::Message;
use revoada_core::keyspace::{Event, EventKind, Revision};
use revoada_core::limits::{
    ETCD_FRAGMENT_BYTES, ETCD_WATCH_ANSWERS_WAITING_MAX, ETCD_WATCH_PROGRESS_MS, ETCD_WATCHES_MAX,
};
use revoada_etcd_api::etcdserverpb::watch_create_request::FilterType;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::etcdserverpb::watch_server::Watch;
use revoada_etcd_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use revoada_etcd_api::mvccpb;
use revoada_store::{KeyEvents, watch_keys};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::{Request, Response, Status, Streaming};

use super::auth::{self, Caller};
use super::{EtcdFace, keys, refusal, version_of};

/// The number of an answer that is about no single watch.
const NO_WATCH: i64 = -1;

/// What the watches of one stream yield: whose it is, and what.
type Yields = SelectAll<Pin<Box<dyn Stream<Item = (i64, KeyEvents)> + Send>>>;

#[tonic::async_trait]
impl Watch for EtcdFace {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let caller = self.caller(&request)?;
        let (answers, answered) = mpsc::channel(ETCD_WATCH_ANSWERS_WAITING_MAX);
        let watching = Watching {
            face: self.clone(),
            caller,
            answers,
            watches: BTreeMap::new(),
            yields: SelectAll::new(),
            next_id: 0,
            asked_at: None,
        };
        tokio::spawn(watching.run(request.into_inner()));
        let answers = stream::unfold(answered, |mut answered| async move {
            answered.recv().await.map(|answer| (answer, answered))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// One watch of a stream.
struct One {
    /// Everything up to here was told.
    position: Revision,
    with_previous: bool,
    without: BTreeSet<i32>,
    in_fragments: bool,
    /// Since when it was told nothing, where it wants to hear of progress.
    silent_since: Option<Instant>,
    end: AbortHandle,
}

/// One stream.
struct Watching {
    face: EtcdFace,
    caller: Caller,
    answers: mpsc::Sender<Result<WatchResponse, Status>>,
    watches: BTreeMap<i64, One>,
    yields: Yields,
    next_id: i64,
    /// The client asked how far all of its watches are, when the keyspace was here.
    asked_at: Option<Revision>,
}

/// The client is gone.
struct Gone;

impl Watching {
    async fn run(mut self, mut requests: Streaming<WatchRequest>) {
        let stopping = self.face.stopping();
        let work = async {
            let mut progress = tokio::time::interval(Duration::from_millis(ETCD_WATCH_PROGRESS_MS / 10));
            progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let done = tokio::select! {
                    request = requests.next() => match request {
                        Some(Ok(request)) => self.asked(request).await,
                        // The client has closed its side or broke off: no watch of it can be meant to go on.
                        Some(Err(_)) | None => Err(Gone),
                    },
                    Some((id, events)) = self.yields.next(), if !self.yields.is_empty() => self.happened(id, events).await,
                    _ = progress.tick() => self.tell_silent().await,
                };
                if done.is_err() {
                    return;
                }
            }
        };
        let ended = {
            tokio::pin!(work);
            tokio::select! {
                () = &mut work => false,
                () = stopping => true,
            }
        };
        if ended {
            drop(self.answers.send(Err(refusal::STOPPED.into())).await);
        }
    }

    async fn send(&mut self, answer: WatchResponse) -> Result<(), Gone> {
        self.answers.send(Ok(answer)).await.map_err(|_| Gone)
    }

    fn answer(&self, watch_id: i64, revision: Revision) -> WatchResponse {
        WatchResponse {
            header: self.face.header(revision),
            watch_id,
            ..WatchResponse::default()
        }
    }

    async fn asked(&mut self, request: WatchRequest) -> Result<(), Gone> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create).await,
            Some(RequestUnion::CancelRequest(cancel)) => {
                let Some(one) = self.watches.remove(&cancel.watch_id) else {
                    return Ok(());
                };
                one.end.abort();
                let revision = self.face.keyspace.view_at_hand().revision();
                let answer = WatchResponse {
                    canceled: true,
                    ..self.answer(cancel.watch_id, revision)
                };
                self.send(answer).await
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.asked_at = Some(self.face.keyspace.view_at_hand().revision());
                self.tell_progress().await
            }
            None => Ok(()),
        }
    }

    async fn create(&mut self, create: WatchCreateRequest) -> Result<(), Gone> {
        let revision = self.face.keyspace.view_at_hand().revision();
        let id = match create.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id
            }
            id => id,
        };
        let taken = self.watches.contains_key(&id);
        if taken || self.watches.len() >= ETCD_WATCHES_MAX {
            let why = if taken {
                "mvcc: duplicate watch ID provided on the WatchStream"
            } else {
                refusal::TOO_MANY_REQUESTS.text()
            };
            let refused = WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: why.to_owned(),
                ..self.answer(NO_WATCH, revision)
            };
            return self.send(refused).await;
        }
        if create.watch_id == 0 {
            self.next_id += 1;
        }
        // No key is the smallest key there can be.
        let key = if create.key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            create.key
        };
        if let Err(denied) = self.caller.may(&[auth::read(&key, &create.range_end)]) {
            let refused = WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: format!("rpc error: code = PermissionDenied desc = {}", denied.message()),
                ..self.answer(NO_WATCH, revision)
            };
            return self.send(refused).await;
        }
        let range = keys::range(&key, &create.range_end);
        let start = u64::try_from(create.start_revision).ok().filter(|start| *start > 0);
        let after = start.map_or(revision, |start| start - 1);
        let (end, ended) = AbortHandle::new_pair();
        let events = watch_keys(self.face.keyspace.clone(), range, after).map(move |events| (id, events));
        self.yields.push(Box::pin(Abortable::new(events, ended)));
        self.watches.insert(
            id,
            One {
                position: after,
                with_previous: create.prev_kv,
                without: create.filters.into_iter().collect(),
                in_fragments: create.fragment,
                silent_since: create.progress_notify.then(Instant::now),
                end,
            },
        );
        let answer = WatchResponse {
            created: true,
            ..self.answer(id, revision)
        };
        self.send(answer).await
    }

    async fn happened(&mut self, id: i64, events: KeyEvents) -> Result<(), Gone> {
        // What a cancelled watch had under way.
        let Some(one) = self.watches.get_mut(&id) else {
            return Ok(());
        };
        match events {
            KeyEvents::Progress(revision) => {
                one.position = revision;
            }
            KeyEvents::Changed(events) => {
                let Some(last) = events.last() else { return Ok(()) };
                let revision = last.revision;
                one.position = revision;
                let shown: Vec<_> = events.into_iter().filter_map(|event| one.shows(event)).collect();
                if !shown.is_empty() {
                    if one.silent_since.is_some() {
                        one.silent_since = Some(Instant::now());
                    }
                    let in_fragments = one.in_fragments;
                    let whole = WatchResponse {
                        events: shown,
                        ..self.answer(id, revision)
                    };
                    if in_fragments {
                        for fragment in fragments(whole) {
                            self.send(fragment).await?;
                        }
                    } else {
                        self.send(whole).await?;
                    }
                }
            }
            KeyEvents::Compacted { oldest } => {
                self.watches.remove(&id);
                let revision = self.face.keyspace.view_at_hand().revision();
                let answer = WatchResponse {
                    canceled: true,
                    compact_revision: oldest as i64,
                    ..self.answer(id, revision)
                };
                self.send(answer).await?;
            }
        }
        self.tell_progress().await
    }

    /// Answers the client's question once every watch is as far as the keyspace was when it asked.
    async fn tell_progress(&mut self) -> Result<(), Gone> {
        let Some(asked_at) = self.asked_at else { return Ok(()) };
        let Some(position) = self.watches.values().map(|one| one.position).min() else {
            self.asked_at = None;
            return Ok(());
        };
        if position < asked_at {
            return Ok(());
        }
        self.asked_at = None;
        let answer = self.answer(NO_WATCH, position);
        self.send(answer).await
    }

    /// Tells those that want it, and were told nothing for long, how far they are.
    async fn tell_silent(&mut self) -> Result<(), Gone> {
        let long = Duration::from_millis(ETCD_WATCH_PROGRESS_MS);
        let now = Instant::now();
        let mut answers = Vec::new();
        for (id, one) in &mut self.watches {
            if one.silent_since.is_some_and(|since| now - since >= long) {
                one.silent_since = Some(now);
                answers.push((*id, one.position));
            }
        }
        for (id, position) in answers {
            let answer = self.answer(id, position);
            self.send(answer).await?;
        }
        Ok(())
    }
}

impl One {
    /// An event as this watch wants it; none where it does not want it.
    fn shows(&self, event: Event) -> Option<mvccpb::Event> {
        let put = matches!(event.kind, EventKind::Put { .. });
        let unwanted = if put { FilterType::Noput } else { FilterType::Nodelete };
        if self.without.contains(&(unwanted as i32)) {
            return None;
        }
        let key = keys::shown(&event.key);
        let (kind, kv, previous) = match event.kind {
            EventKind::Put { version, previous } => (
                mvccpb::event::EventType::Put,
                version_of(key.clone(), version),
                previous,
            ),
            EventKind::Delete { previous } => {
                let deleted = mvccpb::KeyValue {
                    key: key.clone(),
                    mod_revision: event.revision as i64,
                    ..mvccpb::KeyValue::default()
                };
                (mvccpb::event::EventType::Delete, deleted, Some(previous))
            }
        };
        Some(mvccpb::Event {
            r#type: kind as i32,
            kv: Some(kv),
            prev_kv: previous
                .filter(|_| self.with_previous)
                .map(|previous| version_of(key, previous)),
        })
    }
}

/// Cuts an answer into parts that are not much larger than [`ETCD_FRAGMENT_BYTES`]: all but the last say that more of
/// the same revision follows (etcd: `sendFragments`).
fn fragments(mut whole: WatchResponse) -> Vec<WatchResponse> {
    if whole.encoded_len() < ETCD_FRAGMENT_BYTES || whole.events.len() < 2 {
        return vec![whole];
    }
    let events = std::mem::take(&mut whole.events);
    let mut parts = Vec::new();
    let mut part = WatchResponse {
        fragment: true,
        ..whole.clone()
    };
    let mut bytes = 0;
    for event in events {
        let size = event.encoded_len();
        if !part.events.is_empty() && bytes + size >= ETCD_FRAGMENT_BYTES {
            let next = WatchResponse {
                fragment: true,
                ..whole.clone()
            };
            parts.push(std::mem::replace(&mut part, next));
            bytes = 0;
        }
        bytes += size;
        part.events.push(event);
    }
    part.fragment = false;
    parts.push(part);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_have_every_event_once_and_only_the_last_ends() {
        let event = |n: usize| mvccpb::Event {
            kv: Some(mvccpb::KeyValue {
                key: Bytes::from(n.to_string()),
                value: Bytes::from(vec![0; ETCD_FRAGMENT_BYTES / 3]),
                ..mvccpb::KeyValue::default()
            }),
            ..mvccpb::Event::default()
        };
        let whole = WatchResponse {
            watch_id: 7,
            events: (0..8).map(event).collect(),
            ..WatchResponse::default()
        };
        let parts = fragments(whole.clone());
        assert!(parts.len() > 2);
        let (last, others) = parts.split_last().unwrap();
        assert!(!last.fragment && others.iter().all(|part| part.fragment));
        assert!(parts.iter().all(|part| part.watch_id == 7 && !part.events.is_empty()));
        let events: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
        assert_eq!(events, whole.events);
        let small = WatchResponse {
            events: vec![event(0)],
            ..WatchResponse::default()
        };
        assert_eq!(fragments(small.clone()), [small]);
    }
}
