//! The hub: reads what happens once, for all watches of a node.
//!
//! A watch that has caught up is in the hub's index; what its keys undergo is put into the queue of its stream. A queue
//! is bounded: a watch whose stream is slow is taken out of the index and falls behind, which costs nothing; its stream
//! reads what it missed from the history, and joins again. A watch joins only where the hub stands or before, under
//! the lock that the hub tells events under, so none is missed and none comes twice.
//!
//! Rejected: a queue that waits for its stream, because then everybody waits for the slowest; and a channel for
//! each watch, because a stream with a thousand of them would be woken for each.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use revoada_core::keyspace::{Event, KeyRange, Revision};
use revoada_core::limits::{ETCD_WATCH_QUEUE_BATCHES_MAX, ETCD_WATCH_QUEUE_BYTES_MAX, ETCD_WATCH_ROUND_EVENTS_MAX};
use revoada_store::Keyspace;
use tokio::sync::{Notify, watch as channel};

use super::encode::Batch;
use super::index::{Group, Index, Who};
use crate::etcd::keys;

/// What waits for one stream.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    /// Something is there, or the hub has ended.
    filled: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    batches: VecDeque<(Ticket, Arc<Batch>)>,
    bytes: usize,
    fallen: Vec<(Ticket, Revision)>,
    ended: bool,
}

/// A watch of a stream as it joined: the number that its client knows, and one that is never given again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The client's number for it.
    pub id: i64,
    /// Its number among all watches that the stream ever had.
    pub number: u64,
}

/// What a stream finds in its queue.
#[derive(Debug)]
pub enum Found {
    /// Events of a watch.
    Events(Ticket, Arc<Batch>),
    /// A watch has fallen behind: it was told everything up to this revision.
    Fallen(Ticket, Revision),
    /// There will be no more: what happens no longer reaches this node.
    Ended,
}

impl Queue {
    /// What waits longest.
    pub fn pop(&self) -> Option<Found> {
        let mut waiting = self.waiting.lock();
        if let Some((ticket, batch)) = waiting.batches.pop_front() {
            waiting.bytes -= batch.bytes();
            return Some(Found::Events(ticket, batch));
        }
        if let Some((ticket, told)) = waiting.fallen.pop() {
            return Some(Found::Fallen(ticket, told));
        }
        waiting.ended.then_some(Found::Ended)
    }

    /// Completes when there is something, now or since the last time.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    fn is_empty(&self) -> bool {
        let waiting = self.waiting.lock();
        waiting.batches.is_empty() && waiting.fallen.is_empty()
    }

    /// Whether there was room.
    fn push(&self, ticket: Ticket, batch: Arc<Batch>) -> bool {
        let mut waiting = self.waiting.lock();
        let full = waiting.batches.len() >= ETCD_WATCH_QUEUE_BATCHES_MAX || waiting.bytes >= ETCD_WATCH_QUEUE_BYTES_MAX;
        if full {
            waiting.fallen.push((ticket, batch.first() - 1));
        } else {
            waiting.bytes += batch.bytes();
            waiting.batches.push_back((ticket, batch));
        }
        drop(waiting);
        self.filled.notify_one();
        !full
    }

    fn fall(&self, ticket: Ticket, told: Revision) {
        self.waiting.lock().fallen.push((ticket, told));
        self.filled.notify_one();
    }

    fn end(&self) {
        self.waiting.lock().ended = true;
        self.filled.notify_one();
    }
}

/// A watch that has caught up, or begins in the future.
#[derive(Debug, Clone)]
pub struct Joining {
    /// What it watches.
    pub range: KeyRange,
    /// Where its events go.
    pub queue: Arc<Queue>,
    /// Which watch of the stream it is.
    pub ticket: Ticket,
    /// It was told everything up to here, or does not want it.
    pub after: Revision,
}

/// See the module.
pub struct Hub {
    keyspace: Arc<dyn Keyspace>,
    stopping: Option<channel::Receiver<bool>>,
    state: Mutex<State>,
    reached: channel::Sender<Revision>,
}

#[derive(Default)]
struct State {
    /// Everything up to here is in the queues.
    position: Revision,
    index: Index<Joining>,
    /// Somebody tells the watches of what happens.
    runs: bool,
    streams: u64,
}

impl Hub {
    /// A hub that tells what happens in `keyspace`, until `stopping`.
    pub fn new(keyspace: Arc<dyn Keyspace>, stopping: Option<channel::Receiver<bool>>) -> Arc<Self> {
        Arc::new(Self {
            keyspace,
            stopping,
            state: Mutex::default(),
            reached: channel::Sender::new(0),
        })
    }

    /// A number for a stream.
    pub fn stream(&self) -> u64 {
        let mut state = self.state.lock();
        state.streams += 1;
        state.streams
    }

    /// Lets a watch hear of what happens from now on, if it has heard of everything before.
    pub fn join(self: &Arc<Self>, stream: u64, watch: Joining) -> bool {
        let mut state = self.state.lock();
        if !state.runs {
            state.runs = true;
            state.position = self.keyspace.view_at_hand().revision();
            tokio::spawn(self.clone().run());
        }
        let joins = watch.after >= state.position;
        if joins {
            let range = watch.range.clone();
            state.index.insert(&range, (stream, watch.ticket.id), watch);
        }
        joins
    }

    /// Lets a watch hear of nothing any more.
    pub fn leave(&self, range: &KeyRange, who: Who) {
        self.state.lock().index.remove(range, who);
    }

    /// The revision up to which everything has left this queue; none while something waits there.
    pub fn settled(&self, queue: &Queue) -> Option<Revision> {
        let state = self.state.lock();
        (state.runs && queue.is_empty()).then_some(state.position)
    }

    /// How far the hub is, each time that it moves.
    pub fn reached(&self) -> channel::Receiver<Revision> {
        self.reached.subscribe()
    }

    async fn run(self: Arc<Self>) {
        let mut stopping = self.stopping.clone();
        let mut stopped = std::pin::pin!(async {
            match &mut stopping {
                Some(stopping) => drop(stopping.wait_for(|stopping| *stopping).await),
                None => std::future::pending().await,
            }
        });
        loop {
            let position = {
                let mut state = self.state.lock();
                if state.index.is_empty() {
                    state.runs = false;
                    return;
                }
                state.position
            };
            let changed = tokio::select! {
                changed = self.keyspace.changed(position) => changed,
                () = &mut stopped => None,
            };
            if changed.is_none() {
                return self.end();
            }
            while !self.round() {
                // The streams have their turn, so that queues empty as they fill.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Tells of what happened since the last time, of so much at once. Whether that was all.
    fn round(&self) -> bool {
        let mut state = self.state.lock();
        let view = self.keyspace.view_at_hand();
        let newest = view.revision();
        let done = match view.events_in(&keys::every(), state.position, ETCD_WATCH_ROUND_EVENTS_MAX) {
            Ok(events) => {
                drop(view);
                state.tell(events.events);
                state.position = events.position;
                events.position >= newest
            }
            Err(_) => {
                // It is gone before it was told: each watch finds that out by itself.
                drop(view);
                let told = state.position;
                state.position = newest;
                for (_, watch) in mem::take(&mut state.index).into_watchers() {
                    watch.queue.fall(watch.ticket, told.max(watch.after));
                }
                true
            }
        };
        self.reached.send_replace(state.position);
        done
    }

    fn end(&self) {
        let mut state = self.state.lock();
        state.runs = false;
        for (_, watch) in mem::take(&mut state.index).into_watchers() {
            watch.queue.end();
        }
    }
}

impl State {
    fn tell(&mut self, events: Vec<Event>) {
        let mut fallen = Vec::new();
        let mut told: BTreeMap<u64, (&Group<Joining>, Vec<Arc<Event>>)> = BTreeMap::new();
        for event in events {
            let key = event.key.clone();
            let event = Arc::new(event);
            self.index.matching(&key, &mut |group| {
                let (_, events) = told.entry(group.number).or_insert_with(|| (group, Vec::new()));
                events.push(event.clone());
            });
        }
        for (group, events) in told.into_values() {
            let batches = Batch::of(events);
            for (who, watch) in &group.members {
                let behind = batches.iter().filter_map(|batch| batch.behind(watch.after));
                for batch in behind {
                    if !watch.queue.push(watch.ticket, batch) {
                        fallen.push((watch.range.clone(), *who));
                        break;
                    }
                }
            }
        }
        for (range, who) in fallen {
            self.index.remove(&range, who);
        }
    }
}
