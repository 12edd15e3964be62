//! Writers that go on whatever happens, and remember what was acknowledged.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream;
use revoada::client::message::{ApplyDocuments, DeleteResource, Document, Target};
use revoada::client::{ClientError, ClientOptions, Endpoint, FramedClient};
use revoada_core::error::ErrorKind;
use revoada_core::resource::ResourceFormat;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::failure::CliError;
use crate::local::make::random_hex;

/// The kind of what is written.
pub const KIND: &str = "Drill";
/// Where it is written.
pub const NAMESPACE: &str = "revoada-drill";

/// A writer writes at most this often: eight of them find the end of a gap to within two milliseconds.
const WRITE_EVERY: Duration = Duration::from_millis(10);
/// How long a writer waits before it tries the next node.
const RETRY_AFTER: Duration = Duration::from_millis(3);
/// How many resources are taken away at once.
const DELETES_IN_FLIGHT: usize = 64;

/// A paused node takes connections and never answers: neither may cost a writer much.
const OPTIONS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_millis(250),
    answer_timeout: Duration::from_millis(1_500),
    long_answer_timeout: Duration::from_secs(30),
};

/// In a gap a write is sent this often, whether or not those before it were answered: all writers may be waiting for a
/// node that will never answer.
const PROBE_EVERY: Duration = Duration::from_millis(10);

/// Writers that run.
pub struct Writers {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    /// What the names and labels of this drill's writes have in common.
    run: String,
    nodes: Vec<Node>,
    told: Mutex<Told>,
    /// A write that was sent in the current round was acknowledged for the first time.
    first: Notify,
    /// How many writes were sent beside those of the writers.
    probes: AtomicU64,
    stop: AtomicBool,
}

struct Node {
    endpoint: Endpoint,
    connection: Mutex<Option<FramedClient>>,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    /// When the current round began.
    began: Option<Instant>,
    /// When the first write was acknowledged that was sent after it.
    first: Option<Instant>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Writers {
    /// Starts `count` writers over the control sockets of the nodes.
    pub fn start(nodes: Vec<(String, Endpoint)>, count: u32) -> Result<Self, CliError> {
        let random = random_hex()
            .map_err(|error| CliError::because(ErrorKind::Unavailable, "the system gives no random bytes", &error))?;
        let nodes = nodes.into_iter().map(|(_, endpoint)| Node {
            endpoint,
            connection: Mutex::default(),
        });
        let shared = Arc::new(Shared {
            run: random[..8].to_owned(),
            nodes: nodes.collect(),
            told: Mutex::default(),
            first: Notify::new(),
            probes: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        let tasks = (0..count).map(|writer| tokio::spawn(write(Arc::clone(&shared), writer)));
        let tasks = Mutex::new(tasks.collect());
        Ok(Self { shared, tasks })
    }

    /// What the writes of this drill have as their label `run`.
    pub fn run(&self) -> &str {
        &self.shared.run
    }

    /// A round begins now: the time, for what follows.
    pub fn begin_gap(&self) -> Instant {
        let mut told = lock(&self.shared.told);
        let now = Instant::now();
        told.began = Some(now);
        told.first = None;
        tokio::spawn(probe(Arc::clone(&self.shared), now));
        now
    }

    /// How long it took until a write was acknowledged that was sent after the round began.
    pub async fn gap(&self, began: Instant, limit: Duration) -> Option<Duration> {
        let first = async {
            loop {
                let mut waiting = std::pin::pin!(self.shared.first.notified());
                // Enlisted before the look, so that nothing is missed in between.
                waiting.as_mut().enable();
                if let Some(first) = lock(&self.shared.told).first {
                    return first.duration_since(began);
                }
                waiting.await;
            }
        };
        tokio::time::timeout(limit, first).await.ok()
    }

    /// Stops all writers, and says what was acknowledged.
    pub async fn stop(&self) -> Vec<String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a writer did not end in order");
            }
        }
        std::mem::take(&mut lock(&self.shared.told).acknowledged)
    }

    /// Takes away what was written, as far as that can be done at once.
    pub async fn take_away(&self, names: &[String]) {
        let failed = stream::iter(names)
            .map(|name| self.delete(name))
            .buffer_unordered(DELETES_IN_FLIGHT)
            .filter(|deleted| std::future::ready(deleted.is_err()))
            .count()
            .await;
        if failed > 0 {
            tracing::warn!(failed, "resources of the drill are still there");
        }
    }

    async fn delete(&self, name: &str) -> Result<(), ClientError> {
        let request = DeleteResource {
            target: Target {
                group: Some(String::new()),
                kind: KIND.to_owned(),
                namespace: NAMESPACE.to_owned(),
                name: name.to_owned(),
            },
            if_revision: None,
        };
        self.shared.connection(0).await?.delete(request).await.map(|_| ())
    }
}

impl Shared {
    /// The connection to a node, shared by all writers; made anew where it has ended.
    async fn connection(&self, node: usize) -> Result<FramedClient, ClientError> {
        let node = &self.nodes[node % self.nodes.len()];
        if let Some(open) = lock(&node.connection).as_ref().filter(|open| !open.is_closed()) {
            return Ok(open.clone());
        }
        let made = FramedClient::connect(node.endpoint.clone(), OPTIONS).await?;
        *lock(&node.connection) = Some(made.clone());
        Ok(made)
    }

    async fn write(&self, node: usize, name: &str) -> Result<(), ClientError> {
        let document = format!(
            r#"{{"kind":"{KIND}","metadata":{{"name":"{name}","namespace":"{NAMESPACE}","labels":{{"run":"{}"}}}},"data":{{"name":"{name}"}}}}"#,
            self.run
        );
        let request = ApplyDocuments {
            documents: vec![Document {
                format: Some(ResourceFormat::Json),
                document: document.into(),
                default_namespace: None,
            }],
            ..ApplyDocuments::default()
        };
        self.connection(node).await?.apply(request).await.map(|_| ())
    }

    fn note(&self, name: String, sent: Instant) {
        let mut told = lock(&self.told);
        told.acknowledged.push(name);
        if told.first.is_none() && told.began.is_some_and(|began| sent > began) {
            told.first = Some(Instant::now());
            self.first.notify_waiters();
        }
    }
}

/// Sends writes at a steady pace until one is acknowledged, or the round is over. Those without an answer end by their
/// time-out, so there are never more than it has room for.
async fn probe(shared: Arc<Shared>, began: Instant) {
    for number in 0_usize.. {
        tokio::time::sleep(PROBE_EVERY).await;
        let over = {
            let told = lock(&shared.told);
            told.first.is_some() || told.began != Some(began)
        };
        if over || shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let name = format!(
                "{}-p{:x}-{number}",
                shared.run,
                shared.probes.fetch_add(1, Ordering::Relaxed)
            );
            let sent = Instant::now();
            if shared.write(number, &name).await.is_ok() {
                shared.note(name, sent);
            }
        });
    }
}

/// One writer: each write has a name of its own, also one whose outcome is unknown.
async fn write(shared: Arc<Shared>, writer: u32) {
    let mut node = usize::try_from(writer).unwrap_or(0);
    for number in 0_u64.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("{}-{writer}-{number}", shared.run);
        let sent = Instant::now();
        match shared.write(node, &name).await {
            Ok(()) => {
                shared.note(name, sent);
                tokio::time::sleep_until(sent + WRITE_EVERY).await;
            }
            Err(error) => {
                tracing::debug!(writer, node, %error, "a write was not acknowledged");
                node = (node + 1) % shared.nodes.len();
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}
