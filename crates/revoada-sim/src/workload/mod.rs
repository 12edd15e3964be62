//! What clients and operators do meanwhile: writes, conditions, transactions, reads, lists, watches, leases, restores;
//! resources through the store's port, floods, and wishes.

mod flood;
mod operators;
mod resources;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::executor::{SimInstant, SimRuntime};
use bytes::Bytes;
use futures::StreamExt;
use openraft_rt::{AsyncRuntime, Instant as _};
use revoada_core::keyspace::{
    Answer, Compare, CompareTarget, KeyRange, Keyspace as View, NO_LEASE, Op, Operation, RangeQuery, Relation, Restore,
    Txn,
};
use revoada_mesh::runtime::Runtime;
use revoada_store::{Consistency, KeyEvents, Keyspace, KeyspaceError, watch_keys};

use crate::cluster::{Cluster, Running};
use crate::entropy::Chance;
use crate::history::{Glance, History, Mismatch, Read, Span, Watched, Write};
use crate::runtime::Sim;
use crate::wire::Place;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// The keys that everybody writes begin so.
const PREFIX: &str = "k";
/// How many they are.
const KEYS: u64 = 7;
/// With more nodes than these most neither vote nor replicate, and make whoever reads wait until they refuse: clients that
/// asked any node would do next to nothing else.
const CROWD: usize = 10;
/// How many of a thousand questions go to any node there, all others to those that replicate.
const ASKED_AT_RANDOM_PERMILLE: u64 = 100;

/// What clients share.
#[derive(Clone)]
pub struct Clients {
    /// Whom they ask.
    pub cluster: Arc<Cluster>,
    /// Where they note what they are told.
    pub history: Arc<History>,
    /// Ends them.
    pub stop: Arc<AtomicBool>,
    /// How many of them wait for an answer, or watch.
    pub waiting: Arc<AtomicUsize>,
    /// Operators let roles alone from here on.
    pub hands_off: Arc<AtomicBool>,
}

/// The time since the beginning, as it stands in the history.
fn now() -> Duration {
    SimInstant::now().elapsed_since_start()
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("{PREFIX}{number}"))
}

/// What a client's write sets; each value is set by no other.
fn values_of(operation: &Operation) -> Vec<(Bytes, Bytes)> {
    let Operation::Txn(txn) = operation else {
        return Vec::new();
    };
    let put = |op: &Op| match op {
        Op::Put { key, value, .. } if value.starts_with(b"w") => Some((key.clone(), value.clone())),
        _ => None,
    };
    txn.then.iter().filter_map(put).collect()
}

impl Clients {
    /// Starts them all; they run until they are stopped.
    pub fn start(&self) {
        let seed = self.cluster.seed;
        let spawn =
            |name: String, client: fn(Self, usize, Chance) -> futures::future::BoxFuture<'static, ()>, number| {
                let chance = Chance::of(seed, &name);
                Sim::detach(client(self.clone(), number, chance));
            };
        for number in 0..4 {
            spawn(
                format!("writer {number}"),
                |clients, number, chance| Box::pin(clients.write(number, chance)),
                number,
            );
        }
        for number in 0..2 {
            spawn(
                format!("watcher {number}"),
                |clients, number, chance| Box::pin(clients.watch(number, chance)),
                number,
            );
        }
        spawn(
            "lister".to_owned(),
            |clients, _, chance| Box::pin(clients.list(chance)),
            0,
        );
        spawn(
            "looker".to_owned(),
            |clients, _, chance| Box::pin(clients.look(chance)),
            0,
        );
        spawn(
            "lessee".to_owned(),
            |clients, _, chance| Box::pin(clients.lease(chance)),
            0,
        );
        spawn(
            "restorer".to_owned(),
            |clients, _, chance| Box::pin(clients.restore(chance)),
            0,
        );
        spawn(
            "keeper".to_owned(),
            |clients, _, chance| Box::pin(clients.keep(chance)),
            0,
        );
        if Chance::of(seed, "floods").permille(100) {
            spawn(
                "flooder".to_owned(),
                |clients, _, chance| Box::pin(clients.flood(chance)),
                0,
            );
        }
        if Chance::of(seed, "operators").permille(400) {
            spawn(
                "operator".to_owned(),
                |clients, _, chance| Box::pin(clients.operate(chance)),
                0,
            );
        }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn somebody(&self, chance: &mut Chance) -> Option<(Place, Running)> {
        let mut running: Vec<_> = self.cluster.all_running().into_iter().collect();
        if running.len() > CROWD && !chance.permille(ASKED_AT_RANDOM_PERMILLE) {
            let replicates = |running: &Running| !running.consensus().view().voters.is_empty();
            let any = running.iter().any(|(_, running)| replicates(running));
            running.retain(|(_, running)| !any || replicates(running));
        }
        (!running.is_empty()).then(|| chance.pick(&running).clone())
    }

    /// Asks for an operation; the outcome with its span if there was an answer.
    async fn ask(
        &self,
        kind: &str,
        running: &Running,
        operation: Operation,
    ) -> Option<(revoada_core::keyspace::Outcome, Span)> {
        if !self.goes_on() {
            return None;
        }
        let called = now();
        let values = values_of(&operation);
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = SimRuntime::timeout(PATIENCE, running.keyspace.execute(operation)).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let span = Span {
            called,
            returned: now(),
        };
        match answer {
            Ok(Ok(outcome)) => {
                self.history.count(kind);
                Some((outcome, span))
            }
            Ok(Err(KeyspaceError::OutcomeUnknown { .. })) | Err(_) => {
                self.history.count(&format!("{kind}-unknown"));
                None
            }
            Ok(Err(_)) => {
                self.history.count(&format!("{kind}-refused"));
                self.history.add(|records| records.refused.extend(values));
                None
            }
        }
    }

    async fn view(&self, kind: &str, running: &Running) -> Option<(View, Span)> {
        if !self.goes_on() {
            return None;
        }
        let called = now();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = SimRuntime::timeout(PATIENCE, running.keyspace.view(Consistency::Linearizable)).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let span = Span {
            called,
            returned: now(),
        };
        match answer {
            Ok(Ok(view)) => {
                self.history.count(kind);
                Some((view, span))
            }
            _ => {
                self.history.count(&format!("{kind}-refused"));
                None
            }
        }
    }

    async fn write(self, number: usize, mut chance: Chance) {
        let mut known: BTreeMap<Bytes, Bytes> = BTreeMap::new();
        let mut values = 0;
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(10, 250)).await;
            let Some((_, running)) = self.somebody(&mut chance) else {
                continue;
            };
            let target = key(chance.below(KEYS));
            values += 1;
            let value = Bytes::from(format!("w{number}-{values}"));
            match chance.below(100) {
                0..45 => self.put(&running, &[(target, value)], &mut known).await,
                45..55 => {
                    let other = key(chance.below(KEYS));
                    let pair: BTreeMap<_, _> = [(target, value.clone()), (other, value)].into();
                    let pair: Vec<_> = pair.into_iter().collect();
                    self.put(&running, &pair, &mut known).await;
                }
                55..72 => {
                    let expected = known.get(&target).cloned().unwrap_or_default();
                    self.compare(&running, target, expected, value, &mut known).await;
                }
                72..80 => self.delete(&running, target).await,
                _ => {
                    let Some((view, span)) = self.view("get", &running).await else {
                        continue;
                    };
                    let seen = look(&view, [target.clone(), key(chance.below(KEYS))]);
                    if let Some(Some(value)) = seen.get(&target) {
                        known.insert(target, value.clone());
                    }
                    let read = Read {
                        span,
                        revision: view.revision(),
                        linearizable: true,
                        seen,
                    };
                    self.history.add(|records| records.reads.push(read));
                }
            }
        }
    }

    /// Writes on one node without a pause until so much time has passed, or the node has no answer.
    pub async fn hurry(self, running: Running, number: usize, lasts: Duration) {
        let end = now() + lasts;
        let mut values = 0;
        let mut known = BTreeMap::new();
        while self.goes_on() && now() < end {
            values += 1;
            let value = Bytes::from(format!("h{number}-{values}"));
            self.put(&running, &[(Bytes::from_static(b"hurry"), value.clone())], &mut known)
                .await;
            // Refused or unknown: what is asked at once again may be refused at once again, and no time would pass.
            if known.get(b"hurry".as_slice()) != Some(&value) {
                return;
            }
        }
    }

    async fn put(&self, running: &Running, pairs: &[(Bytes, Bytes)], known: &mut BTreeMap<Bytes, Bytes>) {
        let kind = if pairs.len() > 1 { "txn" } else { "put" };
        let ops = pairs.iter().map(|(key, value)| Op::put(key.clone(), value.clone()));
        let operation = Operation::Txn(Txn::always(ops.collect()));
        let Some((outcome, span)) = self.ask(kind, running, operation).await else {
            return;
        };
        let changes = pairs.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        let write = Write {
            span,
            revision: outcome.revision,
            changes: changes.collect(),
        };
        self.history.add(|records| records.writes.push(write));
        known.extend(pairs.iter().cloned());
    }

    async fn compare(
        &self,
        running: &Running,
        key: Bytes,
        expected: Bytes,
        value: Bytes,
        known: &mut BTreeMap<Bytes, Bytes>,
    ) {
        let txn = Txn {
            compares: vec![Compare {
                range: KeyRange::One(key.clone()),
                target: CompareTarget::Value(expected.clone()),
                relation: Relation::Equal,
            }],
            then: vec![Op::put(key.clone(), value.clone())],
            ..Txn::default()
        };
        let Some((outcome, span)) = self.ask("compare-and-set", running, Operation::Txn(txn)).await else {
            return;
        };
        let Answer::Txn(answer) = outcome.answer else { return };
        if answer.succeeded {
            known.insert(key.clone(), value.clone());
            let write = Write {
                span,
                revision: outcome.revision,
                changes: [(key, Some(value))].into(),
            };
            self.history.add(|records| records.writes.push(write));
        } else {
            known.remove(&key);
            let mismatch = Mismatch {
                span,
                revision: outcome.revision,
                key,
                expected,
            };
            self.history.add(|records| records.mismatches.push(mismatch));
        }
    }

    async fn delete(&self, running: &Running, key: Bytes) {
        let operation = Operation::Txn(Txn::always(vec![Op::delete(KeyRange::One(key.clone()))]));
        let Some((outcome, span)) = self.ask("delete", running, operation).await else {
            return;
        };
        let (revision, changed) = (outcome.revision, outcome.changed);
        self.history.add(|records| {
            if changed {
                records.writes.push(Write {
                    span,
                    revision,
                    changes: [(key, None)].into(),
                });
            } else {
                records.reads.push(Read {
                    span,
                    revision,
                    linearizable: true,
                    seen: [(key, None)].into(),
                });
            }
        });
    }

    /// Lists with pages, each from another node, all at the revision of the first.
    async fn list(self, mut chance: Chance) {
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(100, 900)).await;
            let Some((_, running)) = self.somebody(&mut chance) else {
                continue;
            };
            let Some((first, span)) = self.view("list", &running).await else {
                continue;
            };
            let revision = first.revision();
            let mut seen: BTreeMap<Bytes, Option<Bytes>> = (0..KEYS).map(|number| (key(number), None)).collect();
            let (mut view, mut after) = (first, None);
            let whole = loop {
                let query = RangeQuery {
                    revision: Some(revision),
                    limit: 2,
                    after: after.clone(),
                    ..RangeQuery::of(KeyRange::Prefix(Bytes::from_static(PREFIX.as_bytes())))
                };
                // Compacted meanwhile: the client would start again.
                let Ok(page) = view.range(&query) else { break false };
                after = page.entries.last().map(|entry| entry.key.clone());
                for entry in page.entries {
                    seen.insert(entry.key, Some(entry.version.value));
                }
                if !page.more {
                    break true;
                }
                SimRuntime::sleep(chance.ms(1, 60)).await;
                let Some((_, next)) = self.somebody(&mut chance) else {
                    break false;
                };
                let Some((next, _)) = self.view("list-page", &next).await else {
                    break false;
                };
                view = next;
            };
            if whole {
                let read = Read {
                    span,
                    revision,
                    linearizable: true,
                    seen,
                };
                self.history.add(|records| records.reads.push(read));
            }
        }
    }

    /// Looks at what a node has at hand, without asking anybody.
    async fn look(self, mut chance: Chance) {
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(20, 300)).await;
            let Some((place, running)) = self.somebody(&mut chance) else {
                continue;
            };
            let (called, start) = (now(), self.cluster.starts(place));
            let view = running.keyspace.view_at_hand();
            self.history.count("stale-get");
            let read = Read {
                span: Span {
                    called,
                    returned: now(),
                },
                revision: view.revision(),
                linearizable: false,
                seen: look(&view, [key(chance.below(KEYS))]),
            };
            let glance = Glance {
                place,
                start,
                revision: view.revision(),
            };
            self.history.add(|records| {
                records.reads.push(read);
                records.glances.push(glance);
            });
        }
    }

    /// Watches, and goes on elsewhere now and then.
    async fn watch(self, number: usize, mut chance: Chance) {
        let prefix = Bytes::from_static(PREFIX.as_bytes());
        let mut after = 1;
        while self.goes_on() {
            let Some((place, running)) = self.somebody(&mut chance) else {
                SimRuntime::sleep(chance.ms(50, 200)).await;
                continue;
            };
            self.history.count("watch");
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let mut watched = Watched {
                watcher: number,
                place,
                after,
                prefix: prefix.clone(),
                batches: Vec::new(),
                position: after,
                bookmarks: Vec::new(),
            };
            let mut stream = watch_keys(running.keyspace.clone(), KeyRange::Prefix(prefix.clone()), after);
            let leaves = SimInstant::now() + chance.ms(200, 5_000);
            let mut reset = false;
            while self.goes_on() {
                let looks_up = leaves.min(SimInstant::now() + Duration::from_millis(300));
                match SimRuntime::timeout_at(looks_up, stream.next()).await {
                    Ok(Some(KeyEvents::Changed(events))) => {
                        if let Some(last) = events.last() {
                            watched.position = last.revision;
                        }
                        watched.batches.push(events);
                    }
                    Ok(Some(KeyEvents::Progress(position))) => {
                        watched.position = position;
                        watched.bookmarks.push((watched.batches.len(), position));
                    }
                    Ok(Some(KeyEvents::Compacted { .. })) => {
                        reset = true;
                        break;
                    }
                    Err(_) if looks_up < leaves => {}
                    Ok(None) | Err(_) => break,
                }
            }
            after = watched.position;
            self.history.add(|records| records.watches.push(watched));
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            if reset {
                self.history.count("watch-reset");
                after = after.max(running.keyspace.view_at_hand().revision());
                SimRuntime::sleep(chance.ms(5, 50)).await;
            }
        }
    }

    /// Holds leases for a while, with a key each.
    async fn lease(self, mut chance: Chance) {
        let mut id = 0;
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(200, 1_500)).await;
            let Some((_, running)) = self.somebody(&mut chance) else {
                continue;
            };
            id += 1;
            let grant = Operation::LeaseGrant {
                id,
                ttl_ms: chance.between(500, 4_000),
                now_ms: 0,
            };
            if self.ask("lease-grant", &running, grant).await.is_none() {
                continue;
            }
            let (key, value) = (Bytes::from(format!("lease/{id}")), Bytes::from_static(b"held"));
            let put = Op::Put {
                key: key.clone(),
                value: value.clone(),
                lease: id,
                keep_value: false,
                keep_lease: false,
                same_prefix_bytes: 0,
                previous: false,
            };
            debug_assert_ne!(id, NO_LEASE);
            if let Some((outcome, span)) = self
                .ask("lease-put", &running, Operation::Txn(Txn::always(vec![put])))
                .await
            {
                let write = Write {
                    span,
                    revision: outcome.revision,
                    changes: [(key, Some(value))].into(),
                };
                self.history.add(|records| records.writes.push(write));
            }
            for _ in 0..chance.below(4) {
                SimRuntime::sleep(chance.ms(100, 700)).await;
                let keep = Operation::LeaseKeepAlive { id, now_ms: 0 };
                if self.ask("lease-keep-alive", &running, keep).await.is_none() {
                    break;
                }
            }
        }
    }

    /// Restores a few keys of its own now and then, which ends every watch.
    async fn restore(self, mut chance: Chance) {
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(4_000, 25_000)).await;
            let Some((_, running)) = self.somebody(&mut chance) else {
                continue;
            };
            let old = running.keyspace.view_at_hand().revision();
            let restore = Restore {
                prefix: Bytes::from_static(b"restored/"),
                revision: old.saturating_sub(chance.below(20)).max(1),
                entries: (0..chance.between(1, 5))
                    .map(|number| (Bytes::from(format!("restored/{number}")), Bytes::from_static(b"again")))
                    .collect(),
                ..Restore::default()
            };
            if let Some((outcome, span)) = self.ask("restore", &running, Operation::Restore(restore)).await {
                let write = Write {
                    span,
                    revision: outcome.revision,
                    changes: BTreeMap::new(),
                };
                self.history.add(|records| records.writes.push(write));
            }
        }
    }
}

fn look(view: &View, keys: impl IntoIterator<Item = Bytes>) -> BTreeMap<Bytes, Option<Bytes>> {
    keys.into_iter()
        .map(|key| {
            let value = view.get(&key).map(|version| version.value.clone());
            (key, value)
        })
        .collect()
}
