//! `backup`: a verified snapshot in a folder, once or again and again, and only so many of them.

use std::error::Error as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use revoada::node::backup::{Backoff, Backup, BackupError, BackupFolder, next_due_ms};
use revoada::system;
use revoada_core::error::ErrorKind;
use revoada_core::limits;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::status::bytes;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::note;

/// Writes verified snapshots into a folder, once or again and again
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada backup --to /srv/backups                       one, now: in a cron job or a timer
  revoada backup --every 6h --keep 20 --to /srv/backups  until Ctrl-C or SIGTERM

Each is synced, read back and checked for all that a restore would refuse before it gets its name,
CLUSTER-IDENTITY.WRITER.TIME.rREVISION.snap, and only then older ones go: of this writer alone, so
several machines and nodes may share a folder. `revoada snapshot restore FILE` is the way back.

A node makes them by itself where its config says so:
  backup: { every: 6h, keep: 20, to: /srv/backups }")]
pub struct BackupArguments {
    /// The folder, which has to be there
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
    /// Makes one after another, so far apart: 6h, 30min
    #[arg(long, value_name = "DURATION", value_parser = apart)]
    pub every: Option<Duration>,
    /// How many of this writer's are kept; all without --every, 20 with it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// The writer's name in the names of the files; the machine's where absent
    #[arg(long, value_name = "NAME")]
    pub writer: Option<String>,
}

fn apart(text: &str) -> Result<Duration, String> {
    let every = humantime::parse_duration(text).map_err(|error| format!("{error}; for example 6h"))?;
    if every < limits::BACKUP_EVERY_MIN {
        return Err("a second is the shortest time between two backups".to_owned());
    }
    Ok(every)
}

/// `backup -o json`: one line each.
#[derive(Serialize)]
struct Shown {
    file: PathBuf,
    revision: u64,
    digest: String,
    entries: u64,
    bytes: u64,
    taken_ms: u64,
    deleted: Vec<PathBuf>,
}

pub async fn run(context: &Context, arguments: &BackupArguments) -> Outcome {
    let Some(every) = arguments.every else {
        let keep = arguments.keep.map_or(usize::MAX, |keep| keep as usize);
        once(context, arguments, keep).await?;
        return Ok(Exit::Done);
    };
    let keep = arguments.keep.map_or(limits::BACKUPS_KEPT, |keep| keep as usize);
    let no_signals =
        |error: std::io::Error| CliError::because(ErrorKind::Unavailable, "cannot listen to signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::select! {
        // A backup that is under way is dropped, and nothing of it stays.
        _ = interrupt.recv() => Ok(Exit::Done),
        _ = terminate.recv() => Ok(Exit::Done),
        error = again_and_again(context, arguments, every, keep) => Err(error),
    }
}

/// Until stdout is gone, or something is wrong that no waiting mends.
async fn again_and_again(context: &Context, arguments: &BackupArguments, every: Duration, keep: usize) -> CliError {
    let mut backoff = Backoff::default();
    loop {
        let pause = match once(context, arguments, keep).await {
            Ok(backup) => {
                backoff.reset();
                let now_ms = system::clock()();
                Duration::from_millis(next_due_ms(Some(backup.taken_ms), every, now_ms))
            }
            Err(error) if error.kind() == ErrorKind::Invalid || error.is_quiet() => return error,
            Err(error) => {
                let pause = backoff.next_pause(every);
                note(error.text(context.out.is_json()).trim_end());
                note(format!("the next attempt is in {}", humantime::format_duration(pause)));
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}

async fn once(context: &Context, arguments: &BackupArguments, keep: usize) -> Result<Backup, CliError> {
    let cluster = context.find().await?.status.cluster;
    let writer = arguments.writer.clone().unwrap_or_else(machine);
    let folder = BackupFolder::new(&arguments.to, &cluster.name, &cluster.digest, &writer);
    let failed = |error: BackupError| {
        let failure = match error.source() {
            Some(source) => CliError::because(error.kind(), error.to_string(), source),
            None => CliError::new(error.kind(), error.to_string()),
        };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    };
    // Before anything is asked for: a folder that cannot be written to costs nobody a snapshot.
    let taken_ms = system::clock()();
    let mut unfinished = folder.begin().map_err(failed)?;
    let mut download = context.call(async |client| client.snapshot().await).await?;
    while let Some(chunk) = download.chunk().await? {
        unfinished.write_all(&chunk).map_err(|source| {
            failed(BackupError::File {
                verb: "write to",
                path: arguments.to.clone(),
                source,
            })
        })?;
    }
    let keeping = folder.clone();
    let made = tokio::task::spawn_blocking(move || {
        let backup = unfinished.finish(taken_ms)?;
        let deleted = match keep {
            usize::MAX => Ok(Vec::new()),
            keep => keeping.prune(keep, &backup),
        };
        Ok((backup, deleted))
    });
    let (backup, deleted) = match made.await {
        Ok(made) => made.map_err(failed)?,
        Err(error) => return Err(failed(BackupError::GivenUp(error.to_string()))),
    };
    let deleted = deleted.unwrap_or_else(|error| {
        let error = failed(error);
        note(format!(
            "warning: {}",
            error.text(false).trim_end().trim_start_matches("error: ")
        ));
        Vec::new()
    });
    show(context, &backup, deleted)?;
    Ok(backup)
}

fn show(context: &Context, backup: &Backup, deleted: Vec<PathBuf>) -> Result<(), CliError> {
    let inspection = &backup.inspection;
    let shown = Shown {
        file: backup.file.clone(),
        revision: inspection.revision,
        digest: inspection.digest.to_string(),
        entries: inspection.entries,
        bytes: inspection.bytes,
        taken_ms: backup.taken_ms,
        deleted,
    };
    context.out.value(&shown, || {
        let gone = match shown.deleted.len() {
            0 => String::new(),
            1 => "; 1 older one deleted".to_owned(),
            many => format!("; {many} older ones deleted"),
        };
        format!(
            "{}: revision {}, {}, verified{gone}\n",
            shown.file.display(),
            shown.revision,
            bytes(shown.bytes)
        )
    })
}

/// The machine's name.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
