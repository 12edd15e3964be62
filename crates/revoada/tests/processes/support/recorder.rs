//! Clients that put, get and compare-and-set a few keys, and write down every word that they were told.
//!
//! What they recorded is judged afterwards, by two checkers that have nothing in common. A key is given up for a new one
//! after some operations, because the search for an order takes longer the longer the history of a key is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use revoada::client::message::{GetResource, Target};
use revoada::client::{ClientError, ClientOptions, FramedClient};
use revoada::core::error::ErrorKind;
use revoada::core::resource::ResourceFormat;
use revoada_sim::client_history::{self, Kind, Operation, Outcome};
use tokio::task::JoinHandle;

use super::LOOK_AGAIN;
use super::caller::{Caller, counted};
use super::cluster::config_map;
use super::tools::{judged_by_porcupine, not_run};

const WAITS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(4),
    long_answer_timeout: Duration::from_secs(4),
};
/// How many keys are in use at a time, and after how many operations on all of them others take their place.
const KEYS: u64 = 6;
const OPERATIONS_PER_GENERATION: usize = 600;

/// Clients at work.
pub struct Recorder {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    clients: Vec<JoinHandle<Vec<Operation>>>,
}

struct Counts {
    began: Instant,
    asked: AtomicUsize,
    written: AtomicUsize,
    /// When the last write was acknowledged, and the longest time between two of them.
    gap: Mutex<(Duration, Duration)>,
}

impl Counts {
    fn note_write(&self) {
        self.written.fetch_add(1, Ordering::SeqCst);
        let (last, longest) = &mut *self.gap.lock();
        // Looked at under the lock, so that no later time is noted before it.
        let now = self.began.elapsed();
        *longest = (*longest).max(now - *last);
        *last = now;
    }
}

/// Everything that clients were told.
pub struct Recorded {
    pub operations: Vec<Operation>,
    /// The longest time in which no write was acknowledged.
    pub longest_gap: Duration,
}

impl Recorder {
    /// Starts clients, each of which waits for `pace` between one operation and the next.
    pub fn start(sockets: &[PathBuf], clients: usize, seed: u64, pace: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts {
            began: Instant::now(),
            asked: AtomicUsize::new(0),
            written: AtomicUsize::new(0),
            gap: Mutex::default(),
        });
        let client = |number: usize| {
            let client = Client {
                number,
                chance: Chance::new(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
                values: 0,
                known: HashMap::new(),
                counts: counts.clone(),
                told: Vec::new(),
            };
            tokio::spawn(client.run(sockets.to_vec(), stop.clone(), pace))
        };
        let clients = (0..clients).map(client).collect();
        Self { stop, counts, clients }
    }

    /// How many operations were asked for, and how many writes acknowledged.
    pub fn counts(&self) -> (usize, usize) {
        let counts = &self.counts;
        (
            counts.asked.load(Ordering::SeqCst),
            counts.written.load(Ordering::SeqCst),
        )
    }

    /// Waits until so many more writes than now were acknowledged.
    pub async fn more(&self, count: usize) {
        counted(|| self.counts().1, count).await;
    }

    pub async fn stop(self) -> Recorded {
        self.stop.store(true, Ordering::SeqCst);
        let mut operations = Vec::new();
        for client in self.clients {
            operations.extend(client.await.unwrap());
        }
        operations.sort_by_key(|operation| operation.start_ns);
        let (last, longest) = *self.counts.gap.lock();
        Recorded {
            operations,
            longest_gap: longest.max(self.counts.began.elapsed() - last),
        }
    }
}

impl Recorded {
    /// Asserts that both checkers find it linearizable. Where one of them is not there, this is said.
    pub fn assert_linearizable(&self, test: &str) {
        let (ours, porcupine) = (self.by_ours(), judged_by_porcupine(&self.operations));
        if ours.is_err() || porcupine == Ok(false) {
            let file = self.keep();
            panic!("{test} is in {}: {ours:?}, by porcupine {porcupine:?}", file.display());
        }
        if let Err(missing) = porcupine {
            not_run(&format!("porcupine's verdict on {test}"), &missing);
        }
    }

    /// Writes all of it into a file that stays.
    pub fn keep(&self) -> PathBuf {
        let file = std::env::temp_dir().join(format!("revoada-history-{}.jsonl", std::process::id()));
        std::fs::write(&file, client_history::render(&self.operations).unwrap()).unwrap();
        file
    }

    /// What the checker of the simulation says.
    pub fn by_ours(&self) -> Result<(), String> {
        client_history::check(&self.operations).map_err(|violation| format!("{}: {}", violation.oracle, violation.what))
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        let so = self.operations.iter().filter(|operation| operation.outcome == outcome);
        so.count()
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): what a seed decides, and nothing more is needed of it.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

struct Client {
    number: usize,
    chance: Chance,
    values: usize,
    /// What each key was last seen to be.
    known: HashMap<String, (Option<String>, u64)>,
    counts: Arc<Counts>,
    told: Vec<Operation>,
}

impl Client {
    async fn run(mut self, sockets: Vec<PathBuf>, stop: Arc<AtomicBool>, pace: Duration) -> Vec<Operation> {
        let mut caller = Caller::new(sockets, self.number, WAITS);
        while !stop.load(Ordering::SeqCst) {
            let Some(client) = caller.next().await else { continue };
            let asked = self.next();
            if self.ask(&client, asked).await {
                caller.keep(client);
            } else {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            if !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
        }
        self.told
    }

    /// What is asked next.
    fn next(&mut self) -> Operation {
        let asked = self.counts.asked.fetch_add(1, Ordering::SeqCst);
        let generation = asked / OPERATIONS_PER_GENERATION;
        let key = format!("register-{generation}-{}", self.chance.below(KEYS));
        let operation = match self.chance.below(10) {
            0..4 => Kind::Get,
            4..7 => Kind::Put,
            _ if self.known.contains_key(&key) => Kind::Cas,
            _ => Kind::Get,
        };
        let (mut argument, mut expected, mut expected_revision) = (String::new(), None, 0);
        if operation != Kind::Get {
            self.values += 1;
            argument = format!("{}-{}", self.number, self.values);
        }
        if operation == Kind::Cas {
            (expected, expected_revision) = self.known[&key].clone();
        }
        Operation {
            client: self.number,
            operation,
            key,
            argument,
            expected,
            expected_revision,
            start_ns: 0,
            end_ns: 0,
            outcome: Outcome::Unknown,
            value: None,
            revision: 0,
        }
    }

    /// Asks, and writes down what came of it; whether the node is one to go on with.
    async fn ask(&mut self, client: &FramedClient, mut operation: Operation) -> bool {
        let nanoseconds = |since: Instant| u64::try_from(since.elapsed().as_nanos()).unwrap();
        operation.start_ns = nanoseconds(self.counts.began);
        let answered = match operation.operation {
            Kind::Get => read(client, &operation.key).await,
            Kind::Put | Kind::Cas => {
                let mut document = config_map(&operation.key, &operation.argument);
                document.if_revision = (operation.operation == Kind::Cas).then_some(operation.expected_revision);
                let applied = client.apply(document).await;
                applied.map(|applied| (Some(operation.argument.clone()), applied.results[0].revision))
            }
        };
        operation.end_ns = nanoseconds(self.counts.began);
        let goes_on = answered.is_ok();
        match answered {
            Ok((value, revision)) => {
                operation.outcome = Outcome::Done;
                operation.revision = revision;
                self.known.insert(operation.key.clone(), (value.clone(), revision));
                if operation.operation == Kind::Get {
                    operation.value = value;
                } else {
                    self.counts.note_write();
                }
            }
            Err(error) => operation.outcome = outcome_of(&error, operation.operation),
        }
        if operation.outcome == Outcome::Mismatch {
            self.known.remove(&operation.key);
        }
        let goes_on = goes_on || operation.outcome == Outcome::Mismatch;
        self.told.push(operation);
        goes_on
    }
}

/// The value of a key and the revision that last changed it.
async fn read(client: &FramedClient, key: &str) -> Result<(Option<String>, u64), ClientError> {
    let asked = GetResource {
        target: Target {
            group: Some(String::new()),
            kind: "ConfigMap".into(),
            name: key.into(),
            ..Target::default()
        },
        format: Some(ResourceFormat::Json),
        ..GetResource::default()
    };
    match client.get(asked).await {
        Ok(got) => {
            let document: serde_json::Value = serde_json::from_slice(&got.document).unwrap();
            let value = document["data"]["content"].as_str().unwrap().to_owned();
            Ok((Some(value), got.revision))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((None, 0)),
        Err(error) => Err(error),
    }
}

fn outcome_of(error: &ClientError, kind: Kind) -> Outcome {
    match (kind, error.kind()) {
        (Kind::Cas, ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::NotFound) => Outcome::Mismatch,
        (_, ErrorKind::OutcomeUnknown) => Outcome::Unknown,
        (_, ErrorKind::Unavailable | ErrorKind::Exhausted) => Outcome::Failed,
        (kind, other) => panic!("{kind:?} ended as {other:?}: {error}: {:?}", error.causes()),
    }
}
