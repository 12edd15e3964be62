//! Clients that write and read through the etcd face of whichever node answers, and write down what they were told: as
//! operations on single registers, for the two checkers of linearizability, and as records with etcd's revisions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use revoada_etcd_api::etcdserverpb::request_op::Request as Ask;
use revoada_etcd_api::etcdserverpb::response_op::Response as Told;
use revoada_sim::client_history::{Kind, Operation, Outcome};
use revoada_sim::etcd_history::Attempt;
use revoada_sim::history::{Glance, Mismatch, Read, Records, Span, Write};
use tonic::Status;

use super::asking::{limited, op, outcome_of, put, range, revision, shown};
use crate::support::{Chance, Channel, Door, LOOK_AGAIN};

/// How many registers are in use at a time, and after how many operations others take their place: the search for an
/// order takes longer the longer the history of one is.
const REGISTERS: u64 = 6;
const OPERATIONS_PER_GENERATION: usize = 600;
/// How many pairs there are, which only transactions write.
const PAIRS: u64 = 4;
/// After how many of its operations the first client writes so many keys at once that an answer with what was there
/// before is cut.
const OPERATIONS_PER_LARGE: usize = 20;
const LARGE_KEYS: usize = 100;
const LARGE_BYTES: usize = 9_000;

/// What all clients share.
pub struct Shared {
    pub began: Instant,
    pub stop: AtomicBool,
    pub asked: AtomicUsize,
    pub written: AtomicUsize,
    sessions: AtomicUsize,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
        }
    }
}

/// What one client was told.
#[derive(Default)]
pub struct Account {
    pub operations: Vec<Operation>,
    pub records: Records,
    pub attempts: Vec<Attempt>,
}

/// A connection to one node, by a number that no other connection has.
struct Session {
    place: usize,
    number: u64,
    channel: Channel,
}

/// One client.
pub struct Writer {
    number: usize,
    doors: Vec<Door>,
    turn: usize,
    shared: Arc<Shared>,
    chance: Chance,
    asked: usize,
    values: usize,
    /// What each register was last seen to be.
    known: HashMap<String, (Option<String>, u64)>,
    told: Account,
}

/// What was asked of a transaction or a deletion.
struct Change {
    puts: BTreeMap<Bytes, Bytes>,
    deletes: Vec<Bytes>,
}

impl Writer {
    pub fn new(number: usize, doors: Vec<Door>, seed: u64, shared: Arc<Shared>) -> Self {
        Self {
            number,
            turn: number,
            doors,
            shared,
            chance: Chance::new(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            asked: 0,
            values: 0,
            known: HashMap::new(),
            told: Account::default(),
        }
    }

    pub async fn run(mut self) -> Account {
        let mut kept: Option<Session> = None;
        while !self.shared.stop.load(Ordering::SeqCst) {
            let session = match kept.take().filter(|session| !session.channel.is_closed()) {
                Some(session) => session,
                None => match self.connect().await {
                    Some(session) => session,
                    None => continue,
                },
            };
            let asked = self.shared.asked.fetch_add(1, Ordering::SeqCst);
            if self.ask(&session, asked).await {
                kept = Some(session);
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        self.told
    }

    async fn connect(&mut self) -> Option<Session> {
        self.turn += 1;
        let place = self.turn % self.doors.len();
        let Ok(channel) = self.doors[place].connect().await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            return None;
        };
        let number = self.shared.sessions.fetch_add(1, Ordering::SeqCst) as u64;
        Some(Session { place, number, channel })
    }

    fn value(&mut self) -> String {
        self.values += 1;
        // The oracles know by the first letter that nobody else writes it.
        format!("w{}-{}", self.number, self.values)
    }

    /// Asks for one thing and writes down what came of it; whether the node is one to go on with.
    async fn ask(&mut self, session: &Session, asked: usize) -> bool {
        self.asked += 1;
        if self.number == 0 && self.asked.is_multiple_of(OPERATIONS_PER_LARGE) {
            return self.write_large(session).await;
        }
        let register = format!(
            "register-{}-{}",
            asked / OPERATIONS_PER_GENERATION,
            self.chance.below(REGISTERS)
        );
        let pair = self.chance.below(PAIRS);
        match self.chance.below(12) {
            0..4 => self.get(session, &register).await,
            4..6 => self.put(session, &register).await,
            6..8 if self.known.contains_key(&register) => self.compare_and_set(session, &register).await,
            8 => self.look(session, &format!("pair-{pair}-left")).await,
            9 => self.delete(session, &format!("pair-{pair}-left")).await,
            _ => self.write_pair(session, pair).await,
        }
    }

    fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// Begins an operation on a register.
    fn operation(&self, operation: Kind, key: &str, argument: &str) -> Operation {
        let (expected, expected_revision) = match operation {
            Kind::Cas => self.known[key].clone(),
            Kind::Get | Kind::Put => (None, 0),
        };
        Operation {
            client: self.number,
            operation,
            key: key.to_owned(),
            argument: argument.to_owned(),
            expected,
            expected_revision,
            start_ns: nanoseconds(self.now()),
            end_ns: 0,
            outcome: Outcome::Unknown,
            value: None,
            revision: 0,
        }
    }

    /// Ends it, with what the key is since where that was told.
    fn ended(&mut self, mut operation: Operation, outcome: Outcome, seen: Option<(Option<String>, u64)>) -> Span {
        operation.end_ns = nanoseconds(self.now());
        operation.outcome = outcome;
        match seen {
            Some((value, revision)) => {
                operation.revision = revision;
                if operation.operation == Kind::Get {
                    operation.value.clone_from(&value);
                }
                self.known.insert(operation.key.clone(), (value, revision));
            }
            None => {
                self.known.remove(&operation.key);
            }
        }
        let span = Span {
            called: Duration::from_nanos(operation.start_ns),
            returned: Duration::from_nanos(operation.end_ns),
        };
        self.told.operations.push(operation);
        span
    }

    async fn get(&mut self, session: &Session, key: &str) -> bool {
        let operation = self.operation(Kind::Get, key, "");
        match limited(session.channel.kv().range(range(key, false))).await {
            Ok(told) => {
                let seen = told.kvs.first().map(shown);
                let revision = revision(told.header.as_ref());
                let span = self.ended(operation, Outcome::Done, Some(seen.clone().unwrap_or((None, 0))));
                let seen = seen.and_then(|(value, _)| value).map(Bytes::from);
                self.read(span, revision, key, seen, true);
                true
            }
            Err(status) => {
                self.ended(operation, outcome_of(&status), None);
                false
            }
        }
    }

    async fn put(&mut self, session: &Session, key: &str) -> bool {
        let value = self.value();
        let operation = self.operation(Kind::Put, key, &value);
        let told = limited(session.channel.kv().put(put(key, &value))).await;
        let change = Change::put(key, &value);
        match told {
            Ok(told) => {
                let revision = revision(told.header.as_ref());
                let span = self.ended(operation, Outcome::Done, Some((Some(value), revision)));
                self.wrote(span, revision, change, &[]);
                true
            }
            Err(status) => self.failed(operation, &status, change),
        }
    }

    async fn compare_and_set(&mut self, session: &Session, key: &str) -> bool {
        let value = self.value();
        let operation = self.operation(Kind::Cas, key, &value);
        let (expected, expected_revision) = (operation.expected.clone(), operation.expected_revision);
        let compare = pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Mod as i32,
            key: Bytes::copy_from_slice(key.as_bytes()),
            target_union: Some(TargetUnion::ModRevision(expected_revision as i64)),
            ..pb::Compare::default()
        };
        let txn = pb::TxnRequest {
            compare: vec![compare],
            success: vec![op(Ask::RequestPut(put(key, &value)))],
            failure: vec![op(Ask::RequestRange(range(key, false)))],
        };
        let told = limited(session.channel.kv().txn(txn)).await;
        let change = Change::put(key, &value);
        let told = match told {
            Ok(told) => told,
            Err(status) => return self.failed(operation, &status, change),
        };
        let revision = revision(told.header.as_ref());
        if told.succeeded {
            let span = self.ended(operation, Outcome::Done, Some((Some(value), revision)));
            self.wrote(span, revision, change, &[]);
            return true;
        }
        let Some(Told::ResponseRange(found)) = told.responses.into_iter().next().and_then(|told| told.response) else {
            panic!("a condition that did not hold was answered without what is there");
        };
        let seen = found.kvs.first().and_then(|kv| shown(kv).0).map(Bytes::from);
        let span = self.ended(operation, Outcome::Mismatch, None);
        let key_bytes = Bytes::copy_from_slice(key.as_bytes());
        self.told.records.mismatches.push(Mismatch {
            span,
            revision,
            key: key_bytes,
            expected: expected.map(Bytes::from).unwrap_or_default(),
        });
        self.read(span, revision, key, seen, true);
        true
    }

    /// A read of what this node has at hand: of any age, but on one connection never older than the one before.
    async fn look(&mut self, session: &Session, key: &str) -> bool {
        let called = self.now();
        let Ok(told) = limited(session.channel.kv().range(range(key, true))).await else {
            return false;
        };
        let span = self.since(called);
        let seen = told.kvs.first().and_then(|kv| shown(kv).0).map(Bytes::from);
        let revision = revision(told.header.as_ref());
        self.read(span, revision, key, seen, false);
        self.told.records.glances.push(Glance {
            place: session.place,
            start: session.number,
            revision,
        });
        true
    }

    async fn delete(&mut self, session: &Session, key: &str) -> bool {
        let called = self.now();
        let request = pb::DeleteRangeRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            ..pb::DeleteRangeRequest::default()
        };
        let told = limited(session.channel.kv().delete_range(request)).await;
        let change = Change {
            puts: BTreeMap::new(),
            deletes: vec![Bytes::copy_from_slice(key.as_bytes())],
        };
        let told = match told {
            Ok(told) => told,
            Err(status) => return self.unanswered(&status, change),
        };
        let (span, revision) = (self.since(called), revision(told.header.as_ref()));
        if told.deleted == 0 {
            self.read(span, revision, key, None, true);
        } else {
            self.wrote(span, revision, change, &[true]);
        }
        true
    }

    /// Both of a pair at once, and a third key that is put and deleted in turns.
    async fn write_pair(&mut self, session: &Session, pair: u64) -> bool {
        let key = |which: &str| Bytes::from(format!("pair-{pair}-{which}"));
        let mut puts = BTreeMap::from([
            (key("left"), Bytes::from(self.value())),
            (key("right"), Bytes::from(self.value())),
        ]);
        let mut deletes = Vec::new();
        if self.chance.below(2) == 0 {
            puts.insert(key("third"), Bytes::from(self.value()));
        } else {
            deletes.push(key("third"));
        }
        self.change(session, Change { puts, deletes }).await
    }

    /// Many large values at once, of the same keys each time.
    async fn write_large(&mut self, session: &Session) -> bool {
        let value = self.value();
        let large = |number: usize| {
            let key = Bytes::from(format!("large-{number:03}"));
            (
                key,
                Bytes::from(format!("{value}-{number}-{}", "x".repeat(LARGE_BYTES))),
            )
        };
        let puts = (0..LARGE_KEYS).map(large).collect();
        let deletes = Vec::new();
        self.change(session, Change { puts, deletes }).await
    }

    async fn change(&mut self, session: &Session, change: Change) -> bool {
        let called = self.now();
        let puts = change.puts.iter().map(|(key, value)| {
            op(Ask::RequestPut(pb::PutRequest {
                key: key.clone(),
                value: value.clone(),
                ..pb::PutRequest::default()
            }))
        });
        let deletes = change.deletes.iter().map(|key| {
            op(Ask::RequestDeleteRange(pb::DeleteRangeRequest {
                key: key.clone(),
                ..pb::DeleteRangeRequest::default()
            }))
        });
        let txn = pb::TxnRequest {
            success: puts.chain(deletes).collect(),
            ..pb::TxnRequest::default()
        };
        match limited(session.channel.kv().txn(txn)).await {
            Ok(told) => {
                let deleted = told.responses.iter().filter_map(|told| match &told.response {
                    Some(Told::ResponseDeleteRange(told)) => Some(told.deleted > 0),
                    _ => None,
                });
                let deleted: Vec<bool> = deleted.collect();
                let (span, revision) = (self.since(called), revision(told.header.as_ref()));
                self.wrote(span, revision, change, &deleted);
                true
            }
            Err(status) => self.unanswered(&status, change),
        }
    }

    fn since(&self, called: Duration) -> Span {
        Span {
            called,
            returned: self.now(),
        }
    }

    fn read(&mut self, span: Span, revision: u64, key: &str, seen: Option<Bytes>, linearizable: bool) {
        self.told.records.reads.push(Read {
            span,
            revision,
            linearizable,
            seen: BTreeMap::from([(Bytes::copy_from_slice(key.as_bytes()), seen)]),
        });
    }

    fn wrote(&mut self, span: Span, revision: u64, change: Change, deleted: &[bool]) {
        self.shared.written.fetch_add(1, Ordering::SeqCst);
        let gone = change.deletes.into_iter().zip(deleted).filter(|(_, was)| **was);
        let puts = change.puts.into_iter().map(|(key, value)| (key, Some(value)));
        let changes = puts.chain(gone.map(|(key, _)| (key, None))).collect();
        self.told.records.writes.push(Write {
            span,
            revision,
            changes,
        });
    }

    /// A write of a register that was not answered with its result.
    fn failed(&mut self, operation: Operation, status: &Status, change: Change) -> bool {
        self.ended(operation, outcome_of(status), None);
        self.unanswered(status, change)
    }

    /// Any write that was not.
    fn unanswered(&mut self, status: &Status, change: Change) -> bool {
        if outcome_of(status) == Outcome::Unknown {
            self.told.attempts.push(Attempt {
                puts: change.puts,
                deletes: BTreeSet::from_iter(change.deletes),
            });
        }
        false
    }
}

impl Change {
    fn put(key: &str, value: &str) -> Self {
        let (key, value) = (key.as_bytes(), value.as_bytes());
        Self {
            puts: BTreeMap::from([(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))]),
            deletes: Vec::new(),
        }
    }
}

fn nanoseconds(since: Duration) -> u64 {
    u64::try_from(since.as_nanos()).unwrap()
}
