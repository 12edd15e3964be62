//! One stream of watches: what its client asks, and what it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use revoada_core::keyspace::{Event, KeyRange, Revision};
use revoada_core::limits::{
    ETCD_FRAGMENT_BYTES, ETCD_NO_LEADER_MS, ETCD_WATCH_ANSWERS_PER_TURN, ETCD_WATCH_ROUND_EVENTS_MAX, ETCD_WATCHES_MAX,
};
use revoada_etcd_api::etcdserverpb::watch_create_request::FilterType;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse};
use tokio::sync::watch as channel;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Request, Status, Streaming};

use super::Answers;
use super::encode::{Answer, Batch, Wants};
use super::hub::{Found, Hub, Joining, Queue, Ticket};
use super::index::Index;
use crate::etcd::auth::{self, Credentials};
use crate::etcd::{EtcdFace, keys, refusal};

/// The number of an answer that is about no single watch.
const NO_WATCH: i64 = -1;
/// Into how many parts the silence that is allowed is cut by looking at it.
const LOOKS_PER_SILENCE: u32 = 10;
/// How often is looked whether somebody leads, for whom that is a condition.
const LEADER_LOOK: Duration = Duration::from_millis(ETCD_NO_LEADER_MS / 6);

/// One watch of a stream.
struct One {
    ticket: Ticket,
    range: KeyRange,
    /// Everything up to here was told, or is not wanted; it counts while the watch is behind.
    position: Revision,
    wants: Wants,
    in_fragments: bool,
    /// Since when it was told nothing, where it wants to hear of progress.
    silent_since: Option<Instant>,
}

/// The state of one stream.
struct Stream {
    face: EtcdFace,
    hub: Arc<Hub>,
    credentials: Credentials,
    number: u64,
    queue: Arc<Queue>,
    requests: Streaming<WatchRequest>,
    watches: BTreeMap<i64, One>,
    /// Those that the hub tells nothing.
    behind: BTreeSet<i64>,
    behind_by_key: Index<()>,
    /// What is to be told next.
    answers: VecDeque<Answer>,
    next_id: i64,
    next_number: u64,
    /// The client asked how far all of its watches are, when the keyspace was here.
    asked_at: Option<Revision>,
    reached: channel::Receiver<Revision>,
    ticks: Interval,
    /// Since when nobody leads, where the client wants somebody to.
    leaderless_since: Option<Instant>,
    needs_leader: bool,
    answers_since_asked: u32,
    stopping: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

/// The answers of a stream of watches.
pub(super) fn answers(face: &EtcdFace, request: Request<Streaming<WatchRequest>>) -> Result<Answers, Status> {
    let needs_leader = face.needs_leader(&request)?;
    let credentials = Credentials::of(&request);
    let hub = face.hub.clone();
    let silence = face.options.progress_interval / LOOKS_PER_SILENCE;
    let period = if needs_leader {
        silence.min(LEADER_LOOK)
    } else {
        silence
    };
    let mut ticks = tokio::time::interval(period.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stream = Stream {
        credentials,
        number: hub.stream(),
        queue: Arc::default(),
        requests: request.into_inner(),
        watches: BTreeMap::new(),
        behind: BTreeSet::new(),
        behind_by_key: Index::default(),
        answers: VecDeque::new(),
        next_id: 0,
        next_number: 0,
        asked_at: None,
        reached: hub.reached(),
        ticks,
        leaderless_since: None,
        needs_leader,
        answers_since_asked: 0,
        stopping: Box::pin(face.stopping()),
        ended: false,
        hub,
        face: face.clone(),
    };
    Ok(Box::pin(futures::stream::unfold(stream, |mut stream| async move {
        stream.next().await.map(|answer| (answer, stream))
    })))
}

impl Stream {
    /// The next answer; none when the client has closed its side.
    async fn next(&mut self) -> Option<Result<Answer, Status>> {
        if self.ended {
            return None;
        }
        loop {
            // Neither side's zeal keeps the other from being heard.
            if self.answers_since_asked >= ETCD_WATCH_ANSWERS_PER_TURN {
                self.answers_since_asked = 0;
                if let Some(request) = self.requests.next().now_or_never() {
                    self.asked(request?.ok()?);
                }
            }
            if let Some(answer) = self.answers.pop_front() {
                self.answers_since_asked += 1;
                return Some(Ok(answer));
            }
            match self.queue.pop() {
                Some(Found::Events(ticket, batch)) => {
                    self.tell(ticket, &batch);
                    continue;
                }
                Some(Found::Fallen(ticket, told)) => {
                    self.fall(ticket, told);
                    continue;
                }
                // Another node may know more.
                Some(Found::Ended) => return Some(Err(self.end(refusal::NO_LEADER))),
                None => {}
            }
            if !self.behind.is_empty() {
                self.catch_up();
                continue;
            }
            if self.tell_progress() {
                continue;
            }
            tokio::select! {
                request = self.requests.next() => self.asked(request?.ok()?),
                () = self.queue.filled() => {}
                _ = self.reached.changed(), if self.asked_at.is_some() => {}
                _ = self.ticks.tick() => {
                    self.tell_silent();
                    if self.is_leaderless() {
                        return Some(Err(self.end(refusal::NO_LEADER)));
                    }
                }
                () = &mut self.stopping => return Some(Err(self.end(refusal::STOPPED))),
            }
        }
    }

    fn end(&mut self, why: refusal::Refusal) -> Status {
        self.ended = true;
        why.into()
    }

    fn head(&self, watch_id: i64, revision: Revision) -> WatchResponse {
        WatchResponse {
            header: self.face.header(revision),
            watch_id,
            ..WatchResponse::default()
        }
    }

    fn asked(&mut self, request: WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.asked_at = Some(self.face.revision()),
            None => {}
        }
    }

    fn create(&mut self, create: WatchCreateRequest) {
        let revision = self.face.revision();
        let id = match create.watch_id {
            0 => {
                while self.watches.contains_key(&self.next_id) {
                    self.next_id += 1;
                }
                self.next_id
            }
            id => id,
        };
        // No key is the smallest key there can be.
        let key = if create.key.is_empty() {
            Bytes::from_static(&[0])
        } else {
            create.key
        };
        if let Err(why) = self.may_create(id, &key, &create.range_end) {
            let refused = WatchResponse {
                created: true,
                canceled: true,
                cancel_reason: why,
                ..self.head(NO_WATCH, revision)
            };
            self.answers.push_back(refused.into());
            return;
        }
        if create.watch_id == 0 {
            self.next_id += 1;
        }
        let start = u64::try_from(create.start_revision).ok().filter(|start| *start > 0);
        let unwanted = |filter: FilterType| create.filters.contains(&(filter as i32));
        let one = One {
            ticket: Ticket {
                id,
                number: self.next_number,
            },
            range: keys::range(&key, &create.range_end),
            position: start.map_or(revision, |start| start - 1),
            wants: Wants {
                previous: create.prev_kv,
                puts: !unwanted(FilterType::Noput),
                deletions: !unwanted(FilterType::Nodelete),
            },
            in_fragments: create.fragment,
            silent_since: create.progress_notify.then(Instant::now),
        };
        self.next_number += 1;
        self.behind.insert(id);
        self.behind_by_key.insert(&one.range, (self.number, id), ());
        self.watches.insert(id, one);
        let created = WatchResponse {
            created: true,
            ..self.head(id, revision)
        };
        self.answers.push_back(created.into());
    }

    /// Whether there may be such a watch, or why not.
    fn may_create(&self, id: i64, key: &Bytes, end: &Bytes) -> Result<(), String> {
        if self.watches.contains_key(&id) {
            return Err("mvcc: duplicate watch ID provided on the WatchStream".to_owned());
        }
        if self.watches.len() >= ETCD_WATCHES_MAX {
            return Err(refusal::TOO_MANY_REQUESTS.text().to_owned());
        }
        if !end.is_empty() && end[..] != [0] && key >= end {
            return Err("mvcc: watcher range is empty".to_owned());
        }
        let caller = self.face.caller_with(&self.credentials);
        caller
            .and_then(|caller| caller.may(&[auth::read(key, end)]))
            .map_err(|status| format!("rpc error: code = {:?} desc = {}", status.code(), status.message()))
    }

    fn cancel(&mut self, id: i64) {
        if self.forget(id) {
            let canceled = WatchResponse {
                canceled: true,
                ..self.head(id, self.face.revision())
            };
            self.answers.push_back(canceled.into());
        }
    }

    /// Whether the watch was there.
    fn forget(&mut self, id: i64) -> bool {
        let Some(one) = self.watches.remove(&id) else {
            return false;
        };
        self.hub.leave(&one.range, (self.number, id));
        self.behind.remove(&id);
        self.behind_by_key.remove(&one.range, (self.number, id));
        true
    }

    fn fall(&mut self, ticket: Ticket, told: Revision) {
        if let Some(one) = self.watches.get_mut(&ticket.id)
            && one.ticket == ticket
        {
            one.position = told;
            self.behind.insert(ticket.id);
            self.behind_by_key.insert(&one.range, (self.number, ticket.id), ());
        }
    }

    fn tell(&mut self, ticket: Ticket, batch: &Batch) {
        // What a cancelled watch had under way is not told, nor is it another's that has its number by now.
        let Some(one) = self.watches.get_mut(&ticket.id).filter(|one| one.ticket == ticket) else {
            return;
        };
        let encoded = batch.encoded(one.wants);
        if encoded.is_empty() {
            return;
        }
        if let Some(since) = &mut one.silent_since {
            *since = Instant::now();
        }
        let in_fragments = one.in_fragments && encoded.bytes() >= ETCD_FRAGMENT_BYTES;
        let head = self.head(ticket.id, batch.last());
        if in_fragments {
            self.answers.extend(encoded.fragments(&head));
        } else {
            self.answers.push_back(encoded.whole(head));
        }
    }

    /// Reads for all watches that are behind what they missed, or a part of it, and lets those join the hub that
    /// miss nothing more.
    fn catch_up(&mut self) {
        let view = self.face.keyspace.view_at_hand();
        let oldest = view.oldest_position();
        let positions = self.behind.iter().map(|id| (*id, self.watches[id].position));
        let gone: Vec<_> = positions.clone().filter(|(_, position)| *position < oldest).collect();
        if !gone.is_empty() {
            for (id, _) in gone {
                self.forget(id);
                let canceled = WatchResponse {
                    canceled: true,
                    compact_revision: (oldest + 1) as i64,
                    ..self.head(id, view.revision())
                };
                self.answers.push_back(canceled.into());
            }
            return;
        }
        let lowest = positions.map(|(_, position)| position).min().unwrap_or(oldest);
        let missed = |key: &[u8]| self.behind_by_key.matches(key);
        let Ok(events) = view.events_of(missed, lowest, ETCD_WATCH_ROUND_EVENTS_MAX) else {
            // The oldest position was looked at above, on the same view.
            unreachable!("a view forgets nothing")
        };
        drop(view);
        let mut told: BTreeMap<i64, Vec<Arc<Event>>> = BTreeMap::new();
        for event in events.events {
            let event = Arc::new(event);
            self.behind_by_key.matching(&event.key, &mut |group| {
                for (_, id) in group.members.keys() {
                    if self.watches[id].position < event.revision {
                        told.entry(*id).or_default().push(event.clone());
                    }
                }
            });
        }
        for (id, events) in told {
            let ticket = self.watches[&id].ticket;
            for batch in Batch::of(events) {
                self.tell(ticket, &batch);
            }
        }
        self.rejoin(events.position);
    }

    /// Everything up to `position` was told; who misses nothing more joins the hub.
    fn rejoin(&mut self, position: Revision) {
        for id in std::mem::take(&mut self.behind) {
            let Some(one) = self.watches.get_mut(&id) else { continue };
            one.position = one.position.max(position);
            let watch = Joining {
                range: one.range.clone(),
                queue: self.queue.clone(),
                ticket: one.ticket,
                after: one.position,
            };
            if self.hub.join(self.number, watch) {
                self.behind_by_key.remove(&one.range, (self.number, id));
            } else {
                self.behind.insert(id);
            }
        }
    }

    /// Answers the client's question once every watch is as far as the keyspace was when it asked. Whether it did.
    fn tell_progress(&mut self) -> bool {
        let Some(asked_at) = self.asked_at else { return false };
        if self.watches.is_empty() {
            self.asked_at = None;
            return false;
        }
        // Seen before looking, so that no move of the hub is missed.
        self.reached.mark_unchanged();
        let Some(position) = self.settled().filter(|position| *position >= asked_at) else {
            return false;
        };
        self.asked_at = None;
        self.answers.push_back(self.head(NO_WATCH, position).into());
        true
    }

    /// The revision up to which every watch was told everything, once nothing more waits.
    fn settled(&self) -> Option<Revision> {
        let told = self.answers.is_empty() && self.behind.is_empty();
        told.then(|| self.hub.settled(&self.queue)).flatten()
    }

    /// Tells those that want it, and were told nothing for long, how far they are.
    fn tell_silent(&mut self) {
        let Some(position) = self.settled() else { return };
        let now = Instant::now();
        let long = self.face.options.progress_interval;
        let mut silent = Vec::new();
        for (id, one) in &mut self.watches {
            if one.silent_since.is_some_and(|since| now - since >= long) {
                one.silent_since = Some(now);
                silent.push(*id);
            }
        }
        let heads: Vec<_> = silent.into_iter().map(|id| self.head(id, position).into()).collect();
        self.answers.extend(heads);
    }

    /// Whether nobody has led for so long that a client that needs a leader looks for one elsewhere.
    fn is_leaderless(&mut self) -> bool {
        if !self.needs_leader || self.face.group.standing().leader.is_some() {
            self.leaderless_since = None;
            return false;
        }
        let since = *self.leaderless_since.get_or_insert_with(Instant::now);
        since.elapsed() >= Duration::from_millis(ETCD_NO_LEADER_MS)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        for (id, one) in &self.watches {
            self.hub.leave(&one.range, (self.number, *id));
        }
    }
}
