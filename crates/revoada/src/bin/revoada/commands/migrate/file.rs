//! From a snapshot that etcd wrote, into a new cluster, which goes on as etcd would have: the same revisions.
//!
//! It becomes a snapshot of ours that says which numbers its keys keep, and is restored at once: before the last part of
//! it was taken nothing has changed, and an attempt that was interrupted leaves nothing to go on from.

use std::fs::File;
use std::io::{BufWriter, Seek as _, Write as _};
use std::path::Path;

use revoada_bridges::etcd::{FileError, SnapshotFile, Summary};
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::FIRST_REVISION;

use super::progress::Progress;
use super::{Migrate, Migrated, Plan, left_behind, must_know};
use crate::commands::confirm::confirm;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::note;

pub async fn run(context: &Context, arguments: &Migrate) -> Outcome {
    let path = Path::new(&arguments.from);
    let file = File::open(path).map_err(|error| CliError::unreadable(path, &error))?;
    let check_digest = !arguments.skip_hash_check;
    let snapshot = blocking(move || {
        let bar = Progress::new("reading", 1);
        SnapshotFile::open(file, check_digest, &mut |done, total| bar.of(done, total))
    })
    .await
    .map_err(|error| {
        let failure = unusable(path, &error);
        match error {
            FileError::NoDigest => failure.hint("for a copy of etcd's own database, say --skip-hash-check"),
            _ => failure,
        }
    })?;
    let summary = snapshot.summary().clone();
    let cluster = context.find().await?.status.cluster;
    let plan = plan(arguments, &summary);
    let new = cluster.revision == FIRST_REVISION;
    if arguments.plan {
        plan.show(context)?;
        return Ok(Exit::of_answer(
            new && (plan.left_behind.is_empty() || arguments.without_users),
        ));
    }
    must_know(arguments, &plan.left_behind)?;
    if !new {
        let message = format!(
            "{} is at revision {}: revisions are kept only in a cluster to which nothing was ever written",
            cluster.name, cluster.revision
        );
        return Err(CliError::new(ErrorKind::Conflict, message).hint(
            "form a new cluster (`revoada up --face etcd`), or run the snapshot under etcd and bring its keys by \
             --from etcd://",
        ));
    }
    if !cluster.id.starts_with("etcd/") {
        note(format!(
            "warning: {} does not serve the face etcd: no client of etcd will reach these keys",
            cluster.name
        ));
    }
    note(plan.text().trim_end());
    confirm(&format!("{} begins with these keys", cluster.name), arguments.yes)?;

    let (bump, keys) = (arguments.bump_revision, summary.keys);
    let spooled = blocking(move || {
        let failed = |source| FileError::Read { at: 0, source };
        let mut spool = tempfile::tempfile().map_err(failed)?;
        let bar = Progress::new("converting", keys);
        let mut sink = BufWriter::new(&mut spool);
        snapshot.write(bump, &mut sink, &mut |done| bar.at(done))?;
        sink.flush().map_err(failed)?;
        drop(sink);
        spool.rewind().map_err(failed)?;
        Ok(spool)
    });
    let spooled = spooled.await.map_err(|error| unusable(path, &error))?;
    let client = context.find().await?.client;
    let restored = client.restore_file(spooled).await?;
    let migrated = Migrated {
        from: arguments.from.clone(),
        source_revision: summary.revision,
        revision: restored.revision,
        keys: summary.keys,
        leases: summary.leases,
        revisions_kept: summary.keys > 0,
    };
    context.out.value(&migrated, || {
        format!(
            "{} keys and {} leases, with their revisions; this cluster is at revision {}\n",
            migrated.keys, migrated.leases, migrated.revision
        )
    })?;
    Ok(Exit::Done)
}

fn plan(arguments: &Migrate, summary: &Summary) -> Plan {
    Plan {
        from: arguments.from.clone(),
        source_revision: summary.revision,
        keys: summary.keys,
        bytes: summary.bytes,
        leases: summary.leases,
        same: 0,
        conflicts: 0,
        conflicting: Vec::new(),
        left_behind: left_behind(&summary.users, &summary.roles, summary.auth_enabled),
        resumes: false,
    }
}

fn unusable(path: &Path, error: &FileError) -> CliError {
    let message = format!("{} is not a snapshot of etcd's that can be used", path.display());
    CliError::because(error.kind(), message, error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
) -> Result<T, FileError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        let source = std::io::Error::other(error);
        Err(FileError::Read { at: 0, source })
    })
}
