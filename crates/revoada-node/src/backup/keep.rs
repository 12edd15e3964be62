//! Backups again and again: what a node does beside its work, and `revoada backup --every` without one.

use std::io::{BufWriter, Write as _};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_mesh::keyspace::Clock;
use revoada_store::{Check, StoreBackend};
use tokio::runtime::Handle;

use super::{BUFFER_BYTES, Backup, BackupError, BackupFolder};
use crate::config::NodeConfig;

/// How long to wait after each failure in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    last: Option<Duration>,
}

impl Backoff {
    /// The pause before the next attempt: twice the one before, and never longer than the time between two backups.
    pub fn next_pause(&mut self, every: Duration) -> Duration {
        let next = self.last.map_or(limits::BACKUP_RETRY_MIN, |last| last * 2);
        let next = next.min(limits::BACKUP_RETRY_MAX).min(every);
        self.last = Some(next);
        next
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

/// In how many milliseconds the next backup is due, where the newest was taken at `newest_ms`. By a clock that went back
/// the newest is in the future: then at once.
pub fn next_due_ms(newest_ms: Option<u64>, every: Duration, now_ms: u64) -> u64 {
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
    match newest_ms.and_then(|newest| now_ms.checked_sub(newest)) {
        Some(age) => every.saturating_sub(age),
        None => 0,
    }
}

/// How a node's backups stand, for whoever asks for its health.
#[derive(Debug)]
pub struct Standing {
    folder: BackupFolder,
    every: Duration,
    keep: usize,
    /// When the node began to make them: none is missing before the first was due.
    since_ms: u64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    newest_ms: Option<u64>,
    failures: u64,
    /// Why the last attempt failed, if it did.
    failure: Option<String>,
}

impl Standing {
    /// Before the first look into the folder.
    pub fn new(folder: BackupFolder, every: Duration, keep: usize, since_ms: u64) -> Self {
        Self {
            folder,
            every,
            keep,
            since_ms,
            told: Mutex::default(),
        }
    }

    /// What health says of them. Not well: the last attempt failed, or the newest is older than twice the time between
    /// two.
    pub fn check(&self, now_ms: u64) -> Check {
        let told = self.told.lock();
        let folder = self.folder.path().display();
        let age = |ms: u64| {
            let seconds = Duration::from_secs(now_ms.saturating_sub(ms) / 1_000);
            humantime::format_duration(seconds).to_string()
        };
        let newest = match told.newest_ms {
            Some(newest) => format!("the last good one in {folder} is {} old", age(newest)),
            None => format!("there is none in {folder} yet"),
        };
        let since = told.newest_ms.unwrap_or(self.since_ms);
        let late = u128::from(now_ms.saturating_sub(since)) > self.every.as_millis().saturating_mul(2);
        Check {
            name: "backup".to_owned(),
            ok: told.failure.is_none() && !late,
            detail: match &told.failure {
                Some(failure) => format!("{failure}; {newest}"),
                None => newest,
            },
        }
    }

    /// The age of the last good one in seconds, where there is one, and how many attempts failed since the start.
    pub fn figures(&self, now_ms: u64) -> (Option<u64>, u64) {
        let told = self.told.lock();
        let age = told.newest_ms.map(|newest| now_ms.saturating_sub(newest) / 1_000);
        (age, told.failures)
    }

    fn found(&self, newest_ms: Option<u64>) {
        self.told.lock().newest_ms = newest_ms;
    }

    fn made(&self, backup: &Backup) {
        let mut told = self.told.lock();
        told.newest_ms = Some(backup.taken_ms);
        told.failure = None;
    }

    fn failed(&self, failure: String) {
        let mut told = self.told.lock();
        told.failures += 1;
        told.failure = Some(failure);
    }
}

/// The backups that a node makes by its configuration, which has been running since `since_ms`.
pub(crate) fn of(config: &NodeConfig, genesis: &Genesis, since_ms: u64) -> Option<Arc<Standing>> {
    let backup = config.backup.as_ref()?;
    let (cluster, identity) = (genesis.declaration().name(), genesis.digest());
    let folder = BackupFolder::new(&backup.to, cluster, &identity, &config.name);
    Some(Arc::new(Standing::new(folder, backup.every, backup.keep, since_ms)))
}

/// Makes backups of `store` for as long as it is polled.
pub async fn keep(standing: Arc<Standing>, store: Arc<dyn StoreBackend>, clock_ms: Clock) {
    let folder = standing.folder.clone();
    match blocking(move || folder.backups()).await {
        Ok(backups) => standing.found(backups.last().map(super::BackupName::taken_ms)),
        Err(error) => tell(&standing, &error),
    }
    let mut backoff = Backoff::default();
    let newest = standing.told.lock().newest_ms;
    let mut pause = Duration::from_millis(next_due_ms(newest, standing.every, clock_ms()));
    loop {
        tokio::time::sleep(pause).await;
        let made = make(standing.folder.clone(), standing.keep, store.clone(), clock_ms.clone());
        pause = match made.await {
            Ok((backup, pruned)) => {
                backoff.reset();
                standing.made(&backup);
                let file = backup.file.display();
                tracing::info!(%file, revision = backup.inspection.revision, "a backup was written and verified");
                if let Err(error) = pruned {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "an older backup cannot be deleted"
                    );
                }
                Duration::from_millis(next_due_ms(Some(backup.taken_ms), standing.every, clock_ms()))
            }
            Err(error) => {
                tell(&standing, &error);
                backoff.next_pause(standing.every)
            }
        };
    }
}

fn tell(standing: &Standing, error: &BackupError) {
    tracing::warn!(error = error as &dyn std::error::Error, "there is no new backup");
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    standing.failed(causes.join(": "));
}

/// One backup, and whether older ones could be deleted.
async fn make(
    folder: BackupFolder,
    keep: usize,
    store: Arc<dyn StoreBackend>,
    clock_ms: Clock,
) -> Result<(Backup, Result<(), BackupError>), BackupError> {
    let runtime = Handle::current();
    blocking(move || {
        let taken_ms = clock_ms();
        let mut sink = BufWriter::with_capacity(BUFFER_BYTES, folder.begin()?);
        let failed = |source| BackupError::File {
            verb: "write to",
            path: folder.path().to_owned(),
            source,
        };
        let snapshotted = runtime.block_on(store.snapshot(&mut sink));
        snapshotted.map_err(|error| match io_of(&error) {
            // What the disk says is of more use than that the snapshot could not be written.
            Some(source) => failed(source),
            None => BackupError::NoSnapshot(error),
        })?;
        sink.flush().map_err(failed)?;
        let unfinished = sink.into_inner().map_err(|error| failed(error.into_error()))?;
        let backup = unfinished.finish(taken_ms)?;
        let pruned = folder.prune(keep, &backup).map(drop);
        Ok((backup, pruned))
    })
    .await
}

/// The error of the disk below an error of the snapshot's, if there is one.
fn io_of(error: &(dyn std::error::Error + 'static)) -> Option<std::io::Error> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let code = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>()?.raw_os_error())?;
    Some(std::io::Error::from_raw_os_error(code))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(BackupError::GivenUp(error.to_string())),
    }
}
