//! Writers that never stop, and the account of what they were told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use revoada::client::ClientOptions;
use tokio::task::JoinHandle;

use super::TestCluster;
use super::caller::{Caller, counted};
use super::cluster::config_map;

const WAITS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(6),
    long_answer_timeout: Duration::from_secs(6),
};

/// Writers, each of which writes one new resource after the other, and turns to the next node whenever one fails it.
pub struct Load {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    writers: Vec<JoinHandle<BTreeMap<String, u64>>>,
}

/// What was acknowledged: the name of each resource, with the revision that was given for it.
#[derive(Debug, Default)]
pub struct Written(pub BTreeMap<String, u64>);

impl Load {
    pub fn start(sockets: &[PathBuf], writers: usize, prefix: &str) -> Self {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let writers = (0..writers)
            .map(|writer| {
                let prefix = format!("{prefix}-{writer}");
                tokio::spawn(write(
                    sockets.to_vec(),
                    writer,
                    prefix,
                    stop.clone(),
                    acknowledged.clone(),
                ))
            })
            .collect();
        Self {
            stop,
            acknowledged,
            writers,
        }
    }

    /// Waits until so many more writes than now were acknowledged.
    pub async fn more(&self, count: usize) {
        counted(|| self.acknowledged.load(Ordering::SeqCst), count).await;
    }

    pub async fn stop(self) -> Written {
        self.stop.store(true, Ordering::SeqCst);
        let mut written = Written::default();
        for writer in self.writers {
            written.0.extend(writer.await.unwrap());
        }
        written
    }
}

async fn write(
    sockets: Vec<PathBuf>,
    writer: usize,
    prefix: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> BTreeMap<String, u64> {
    let mut told = BTreeMap::new();
    let mut newest = 0;
    let mut number = 0;
    let mut caller = Caller::new(sockets, writer, WAITS);
    while !stop.load(Ordering::SeqCst) {
        let Some(client) = caller.next().await else { continue };
        // A name is used once: whatever became of an attempt that was not acknowledged, nobody is asked about it.
        number += 1;
        let name = format!("{prefix}-{number}");
        if let Ok(applied) = client.apply(config_map(&name, &content_of(&name))).await {
            let revision = applied.results[0].revision;
            assert!(
                revision > newest,
                "{name} has revision {revision}, and {newest} was handed out before it"
            );
            newest = revision;
            told.insert(name, revision);
            acknowledged.fetch_add(1, Ordering::SeqCst);
            caller.keep(client);
        }
    }
    told
}

fn content_of(name: &str) -> String {
    format!("the content of {name}")
}

impl Written {
    /// Asserts that a linearizable read at `node` finds every write that was acknowledged, with its content, at a
    /// revision that is not behind any that was handed out.
    pub async fn assert_kept(&self, cluster: &TestCluster, node: usize) {
        let (revision, found) = cluster.contents(node).await;
        let newest = self.0.values().copied().max().unwrap_or(0);
        assert!(
            revision >= newest,
            "revision {revision} is behind {newest}, which was handed out"
        );
        let lost = self.0.keys().filter(|name| found.get(*name) != Some(&content_of(name)));
        let lost: Vec<_> = lost.take(10).collect();
        assert!(
            lost.is_empty(),
            "lost, of {} acknowledged writes: {lost:?}, …",
            self.0.len()
        );
    }

    pub fn absorb(&mut self, later: Self) {
        let newest = self.0.values().copied().max().unwrap_or(0);
        let oldest = later.0.values().copied().min().unwrap_or(u64::MAX);
        assert!(
            oldest > newest,
            "revision {oldest} was handed out again, after {newest}"
        );
        self.0.extend(later.0);
    }
}
