//! Clients that watch through the etcd face of one node after the other, each going on behind the revision to which the one
//! before was told everything, and write down every answer.

use std::time::Duration;

use bytes::Bytes;
use revoada_core::keyspace::{Event, EventKind, NO_LEASE, Version};
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::watch_create_request::FilterType;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::mvccpb;
use revoada_sim::etcd_history::answers::Wants;
use revoada_sim::etcd_history::{Answer, EtcdWatch};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Request;

use super::asking::revision;
use crate::support::{Door, LOOK_AGAIN};

/// How often a watcher asks how far it is.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long a watch may take to be created.
const PATIENCE: Duration = Duration::from_secs(2);

/// What one client watches, and how.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Keys with this prefix; all where it is empty.
    pub prefix: &'static str,
    pub wants: Wants,
    /// It asks how far it is while it watches, and not only at the end.
    pub asks: bool,
    /// It asks for a leader, and so is told when its node has none.
    pub with_leader: bool,
    /// It leaves a node after so many answers with events; without, when that ends the watch.
    pub answers_max: Option<usize>,
    /// It begins behind the revision that its first node has when it comes, and not behind the first.
    pub from_now: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            prefix: "",
            wants: Wants::default(),
            asks: false,
            with_leader: true,
            answers_max: None,
            from_now: false,
        }
    }
}

/// See the module.
pub struct Watcher {
    number: usize,
    doors: Vec<Door>,
    plan: Plan,
    /// Once it is known, the revision at which everybody may stop.
    last: channel::Receiver<Option<u64>>,
    /// Everything up to here was told; none before the first watch of one that begins whenever it comes.
    after: Option<u64>,
    /// The newest bookmark.
    bookmark: u64,
    told: Vec<EtcdWatch>,
}

impl Watcher {
    pub fn new(number: usize, doors: Vec<Door>, plan: Plan, last: channel::Receiver<Option<u64>>) -> Self {
        Self {
            number,
            doors,
            after: (!plan.from_now).then_some(0),
            plan,
            last,
            bookmark: 0,
            told: Vec::new(),
        }
    }

    /// Watches until a bookmark says that it was told everything, and gives every watch that it had.
    pub async fn run(mut self) -> Vec<EtcdWatch> {
        let mut place = self.number % self.doors.len();
        while !self.knows_all() {
            self.watch(place).await;
            place = (place + 1) % self.doors.len();
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        self.told
    }

    fn knows_all(&self) -> bool {
        let last = *self.last.borrow();
        last.is_some_and(|last| self.bookmark >= last)
    }

    /// One watch on one node, to its end.
    async fn watch(&mut self, place: usize) {
        let Ok(node) = self.doors[place].connect().await else {
            return;
        };
        let (asks, asked) = mpsc::channel(16);
        let ask = |union: RequestUnion| {
            // A full queue holds such a question already.
            drop(asks.try_send(pb::WatchRequest {
                request_union: Some(union),
            }));
        };
        ask(RequestUnion::CreateRequest(self.created_by()));
        let asked = futures::stream::unfold(asked, async |mut asked| Some((asked.recv().await?, asked)));
        let mut request = Request::new(asked);
        if self.plan.with_leader {
            request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        }
        let mut client = node.watch();
        let begun = async {
            let mut stream = client.watch(request).await?.into_inner();
            let first = stream.message().await?;
            Ok::<_, tonic::Status>((stream, first))
        };
        let Ok(Ok((mut stream, Some(first)))) = tokio::time::timeout(PATIENCE, begun).await else {
            return;
        };
        assert!(first.created && !first.canceled, "a watch was not created: {first:?}");
        let after = self.after.unwrap_or_else(|| revision(first.header.as_ref()));
        let mut session = Session::new(EtcdWatch {
            watcher: self.number,
            place,
            after,
            prefix: Bytes::from_static(self.plan.prefix.as_bytes()),
            wants: self.plan.wants,
            answers: Vec::new(),
        });
        self.after = Some(after);
        let mut ticks = tokio::time::interval_at(Instant::now() + ASK_AGAIN, ASK_AGAIN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut answers = 0;
        while !self.knows_all() {
            tokio::select! {
                told = stream.message() => {
                    let Ok(Some(told)) = told else { break };
                    assert_eq!(told.compact_revision, 0, "watcher {} fell behind the history", self.number);
                    if told.canceled {
                        break;
                    }
                    answers += usize::from(!told.events.is_empty());
                    if told.events.is_empty() {
                        self.bookmark = self.bookmark.max(revision(told.header.as_ref()));
                    }
                    self.after = self.after.max(session.told(told));
                    if self.plan.answers_max.is_some_and(|most| answers >= most) && !session.is_in_parts() {
                        break;
                    }
                }
                _ = ticks.tick() => {
                    if self.plan.asks || self.last.borrow().is_some() {
                        ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
                    }
                }
            }
        }
        self.told.push(session.watch);
    }

    fn created_by(&self) -> pb::WatchCreateRequest {
        let wants = self.plan.wants;
        let (key, range_end) = keys_of(self.plan.prefix);
        let filter = |filter: FilterType, wanted: bool| (!wanted).then_some(filter as i32);
        pb::WatchCreateRequest {
            key,
            range_end,
            start_revision: self.after.map_or(0, |after| after as i64 + 1),
            prev_kv: wants.previous,
            fragment: wants.fragments,
            filters: [
                filter(FilterType::Noput, wants.puts),
                filter(FilterType::Nodelete, wants.deletions),
            ]
            .into_iter()
            .flatten()
            .collect(),
            ..pb::WatchCreateRequest::default()
        }
    }
}

/// The range of a prefix, as etcd's clients ask for it.
fn keys_of(prefix: &str) -> (Bytes, Bytes) {
    let Some((last, head)) = prefix.as_bytes().split_last() else {
        return (Bytes::from_static(&[0]), Bytes::from_static(&[0]));
    };
    let end = [head, &[last + 1]].concat();
    (Bytes::copy_from_slice(prefix.as_bytes()), Bytes::from(end))
}

/// What came of one watch so far.
struct Session {
    watch: EtcdWatch,
    /// The revision of the last event, and how many of it came before.
    at: (u64, u32),
    goes_on: bool,
}

impl Session {
    fn new(watch: EtcdWatch) -> Self {
        Self {
            watch,
            at: (0, 0),
            goes_on: false,
        }
    }

    /// Whether the last answer was a fragment, and the rest of it has not come.
    fn is_in_parts(&self) -> bool {
        self.goes_on
    }

    /// Adds an answer; up to which revision everything has been told, where it says so.
    fn told(&mut self, told: pb::WatchResponse) -> Option<u64> {
        if told.events.is_empty() {
            let at = revision(told.header.as_ref());
            self.watch.answers.push(Answer::Progress(at));
            return Some(at);
        }
        self.goes_on = told.fragment;
        let events: Vec<Event> = told.events.into_iter().map(|event| self.event(event)).collect();
        let at = events.last().map(|event| event.revision);
        let goes_on = self.goes_on;
        self.watch.answers.push(Answer::Events { goes_on, events });
        at.filter(|_| !goes_on)
    }

    fn event(&mut self, event: mvccpb::Event) -> Event {
        let deletes = event.r#type() == mvccpb::event::EventType::Delete;
        let kv = event.kv.expect("every event has a key");
        let revision = kv.mod_revision as u64;
        self.at = match self.at {
            (last, sub) if last == revision => (last, sub + 1),
            _ => (revision, 0),
        };
        let (key, previous) = (kv.key.clone(), event.prev_kv.map(version));
        let kind = if deletes {
            let previous = previous.unwrap_or_else(nothing);
            EventKind::Delete { previous }
        } else {
            let version = version(kv);
            EventKind::Put { version, previous }
        };
        Event {
            revision,
            sub: self.at.1,
            key,
            kind,
        }
    }
}

fn version(kv: mvccpb::KeyValue) -> Version {
    Version {
        create_revision: kv.create_revision as u64,
        mod_revision: kv.mod_revision as u64,
        version: kv.version as u64,
        lease: kv.lease as u64,
        value: kv.value,
    }
}

/// What a deletion shows of what was there before, where it was not asked.
fn nothing() -> Version {
    Version {
        create_revision: 0,
        mod_revision: 0,
        version: 0,
        lease: NO_LEASE,
        value: Bytes::new(),
    }
}
