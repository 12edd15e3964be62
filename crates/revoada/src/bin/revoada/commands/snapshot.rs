//! `snapshot`: all resources in one file, saved, looked at, restored.
//!
//! What is saved is verified before it takes its place, and what is restored before it is sent: a file that is cut or
//! changed replaces nothing.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use revoada_core::error::ErrorKind;
use revoada_core::snapshot::{self, Inspection};
use serde::Serialize;
use serde_json::json;

use super::confirm::confirm;
use super::status::bytes;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::{folder_of, sync_folder};

/// Saves, inspects and restores snapshots
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada snapshot save backup.snap
  revoada snapshot inspect backup.snap -o json      needs no cluster
  revoada snapshot restore backup.snap              replaces all resources; watches end with reset")]
pub struct Snapshot {
    #[command(subcommand)]
    pub what: What,
}

/// What to do with a snapshot.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Writes all resources into a file, which is whole, the old one, or absent
    Save {
        /// The file to write
        file: PathBuf,
    },
    /// Says what a snapshot holds; needs no cluster
    Inspect {
        /// The snapshot
        file: PathBuf,
    },
    /// Replaces all resources by those of a snapshot
    Restore {
        /// The snapshot
        file: PathBuf,
        /// Does not ask
        #[arg(long)]
        yes: bool,
    },
}

/// `snapshot inspect -o json`.
#[derive(Serialize)]
struct Shown {
    format: u32,
    revision: u64,
    digest: String,
    entries: u64,
    bytes: u64,
    declaration: String,
    resources: String,
    created_by: String,
    sections: Vec<String>,
}

impl From<Inspection> for Shown {
    fn from(inspection: Inspection) -> Self {
        Self {
            format: inspection.format,
            revision: inspection.revision,
            digest: inspection.digest.to_string(),
            entries: inspection.entries,
            bytes: inspection.bytes,
            declaration: inspection.declaration,
            resources: inspection.resources.to_string(),
            created_by: inspection.created_by,
            sections: inspection.sections,
        }
    }
}

pub async fn run(context: &Context, arguments: Snapshot) -> Outcome {
    match arguments.what {
        What::Save { file } => save(context, &file).await,
        What::Inspect { file } => {
            let (_, inspection) = open(&file)?;
            show(context, inspection)
        }
        What::Restore { file, yes } => restore(context, &file, yes).await,
    }
}

fn open(path: &Path) -> Result<(File, Inspection), CliError> {
    let file = File::open(path).map_err(|error| CliError::unreadable(path, &error))?;
    let inspection = inspect(&file, path)?;
    Ok((file, inspection))
}

fn inspect(file: &File, path: &Path) -> Result<Inspection, CliError> {
    snapshot::verify(file).map_err(|error| {
        let message = format!("{} is not a snapshot that can be used", path.display());
        // Whatever is wrong with it, the argument is not valid.
        CliError::because(error.kind(), message, &error).exit(2)
    })
}

fn show(context: &Context, inspection: Inspection) -> Outcome {
    let shown = Shown::from(inspection);
    context.out.value(&shown, || {
        format!(
            "{} resources at revision {} in {}, by {}\n  digest {}\n",
            shown.entries,
            shown.revision,
            bytes(shown.bytes),
            shown.created_by,
            shown.digest
        )
    })?;
    Ok(Exit::Done)
}

async fn save(context: &Context, path: &Path) -> Outcome {
    let failed = |error: &io::Error| CliError::file(format!("cannot write {}", path.display()), error);
    let folder = folder_of(path);
    // Before anything is asked for: a folder that cannot be written to costs nobody a snapshot.
    let made = tempfile::Builder::new().prefix(".revoada-").tempfile_in(folder);
    let mut file = made.map_err(|error| failed(&error))?;
    let mut download = context.call(async |client| client.snapshot().await).await?;
    while let Some(chunk) = download.chunk().await? {
        file.write_all(&chunk).map_err(|error| failed(&error))?;
    }
    let synced = file.as_file().sync_all();
    synced.map_err(|error| failed(&error))?;
    let written = file.reopen().map_err(|error| failed(&error))?;
    let inspection = inspect(&written, path).map_err(|error| {
        CliError::new(ErrorKind::Unavailable, "what the node sent is no whole snapshot").with_causes_of(error)
    })?;
    file.persist(path).map_err(|error| failed(&error.error))?;
    sync_folder(folder).map_err(|error| failed(&error))?;
    show(context, inspection)
}

async fn restore(context: &Context, path: &Path, yes: bool) -> Outcome {
    let (_, inspection) = open(path)?;
    let what = format!(
        "all resources of the cluster and all keys of etcd's clients are replaced by what {} holds: the state of \
         revision {}, with {} resources",
        path.display(),
        inspection.revision,
        inspection.entries
    );
    confirm(&what, yes)?;
    let file = || File::open(path).map_err(|error| CliError::unreadable(path, &error));
    let client = context.find().await?.client;
    let restored = client.restore_file(file()?).await?;
    context.out.value(
        &json!({"revision": restored.revision, "entries": restored.entries}),
        || format!("{} resources at revision {}\n", restored.entries, restored.revision),
    )?;
    Ok(Exit::Done)
}
