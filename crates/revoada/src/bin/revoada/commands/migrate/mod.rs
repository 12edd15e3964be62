//! `migrate`: what an etcd holds becomes what this cluster holds, from a snapshot file or from the running etcd.
//!
//! Either way the plan comes first: how much there is, what is there already, what stays behind. A file is one change of a
//! new cluster and keeps revisions; a running etcd is copied beside whatever the cluster does, at revisions of its own.

mod file;
mod live;
mod progress;

use std::path::PathBuf;

use clap::Args;
use revoada_core::keyspace::Revision;
use serde::Serialize;

use crate::connect::Context;
use crate::failure::{CliError, Outcome};

/// Brings the keys and leases of an etcd, from a snapshot or while it runs
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada migrate --from snapshot.db --plan      what `etcdctl snapshot save` wrote: what would be done
  revoada migrate --from snapshot.db             into a new cluster: every revision and version stays
  revoada migrate --from etcd://10.0.0.1:2379    copied while it runs; interrupted, say it again: it goes on
  revoada migrate --from etcd://10.0.0.1:2379,10.0.0.2:2379 \\
    --cacert ca.pem --cert client.pem --key client-key.pem

From a running etcd the keys are copied as of one revision, then compared again until nothing differs: stop
its writers before the last time, or what they write after it stays behind. A lease has its whole time again.
How far it has come is a key of this cluster's, revoada.migrate/ID, which is gone when it has ended.

Users and roles are not brought: etcd gives out no passwords. --without-users says that this is known.")]
pub struct Migrate {
    /// A snapshot of etcd's, or etcd://HOST:PORT[,HOST:PORT]…
    #[arg(long, value_name = "FILE|URL")]
    pub from: String,
    /// Says what would be done, and does nothing
    #[arg(long)]
    pub plan: bool,
    /// Does not ask
    #[arg(long)]
    pub yes: bool,
    /// Leaves users and roles behind
    #[arg(long)]
    pub without_users: bool,
    /// From a file: goes so far beyond etcd's revision, where etcd went on after the snapshot
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "From a file")]
    pub bump_revision: u64,
    /// From a file: takes one without a digest at its end, a copy of member/snap/db
    #[arg(long, help_heading = "From a file")]
    pub skip_hash_check: bool,
    /// From etcd: keys that are there already with another value are overwritten
    #[arg(long, help_heading = "From a running etcd")]
    pub overwrite: bool,
    /// From etcd: the certificates that vouch for it; TLS is spoken then
    #[arg(long, value_name = "FILE", help_heading = "From a running etcd")]
    pub cacert: Option<PathBuf>,
    /// From etcd: the certificate to show
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "From a running etcd")]
    pub cert: Option<PathBuf>,
    /// From etcd: its key
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "From a running etcd")]
    pub key: Option<PathBuf>,
    /// From etcd: who to log in as, NAME:PASSWORD, or NAME with the password in ETCDCTL_PASSWORD
    #[arg(long, value_name = "NAME[:PASSWORD]", help_heading = "From a running etcd")]
    pub user: Option<String>,
}

/// What etcd holds, and what is not brought: the plan of `-o json`.
#[derive(Debug, Serialize)]
struct Plan {
    from: String,
    /// etcd's revision.
    source_revision: Revision,
    keys: u64,
    bytes: u64,
    leases: u64,
    /// Keys that are there already with the same value and lease.
    same: u64,
    /// Keys that are there already with another one.
    conflicts: u64,
    /// Some of them.
    conflicting: Vec<String>,
    /// Users and roles.
    left_behind: Vec<String>,
    /// Whether an earlier attempt is gone on with.
    resumes: bool,
}

/// What was done: `-o json`.
#[derive(Debug, Serialize)]
struct Migrated {
    from: String,
    source_revision: Revision,
    /// This cluster's revision.
    revision: Revision,
    keys: u64,
    leases: u64,
    revisions_kept: bool,
}

pub async fn run(context: &Context, arguments: &Migrate) -> Outcome {
    match arguments.from.strip_prefix("etcd://") {
        Some(endpoints) => live::run(context, arguments, endpoints).await,
        None if arguments.from.contains("://") => Err(CliError::invalid(format!(
            "{} is neither a file nor an etcd",
            arguments.from
        ))
        .hint("a running etcd is etcd://HOST:PORT, with --cacert where it speaks TLS")),
        None => file::run(context, arguments).await,
    }
}

impl Plan {
    fn show(&self, context: &Context) -> Result<(), CliError> {
        context.out.value(self, || self.text())
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{}: {} keys, {}, {} leases, at revision {}\n",
            self.from,
            self.keys,
            super::status::bytes(self.bytes),
            self.leases,
            self.source_revision
        );
        if self.resumes {
            text.push_str("  an earlier attempt was interrupted, and is gone on with\n");
        }
        if self.same > 0 {
            text.push_str(&format!("  {} of them are here already\n", self.same));
        }
        if self.conflicts > 0 {
            let some = self.conflicting.join(", ");
            text.push_str(&format!("  {} are here with another value: {some}\n", self.conflicts));
        }
        for left in &self.left_behind {
            text.push_str(&format!("  not brought: {left}\n"));
        }
        text
    }
}

/// Refuses what would be left behind, unless that is known.
fn must_know(arguments: &Migrate, left_behind: &[String]) -> Result<(), CliError> {
    if left_behind.is_empty() || arguments.without_users || arguments.plan {
        return Ok(());
    }
    let mut error = CliError::invalid("this etcd has users or roles, which are not brought")
        .hint("--without-users leaves them behind; make them anew with `etcdctl user add` and `role add`");
    error.failure.causes = left_behind.to_vec();
    Err(error)
}

/// Users and roles by name.
fn left_behind(users: &[String], roles: &[String], enabled: bool) -> Vec<String> {
    let mut left = Vec::new();
    for (what, names) in [("users", users), ("roles", roles)] {
        if !names.is_empty() {
            left.push(format!("{what} {}", names.join(", ")));
        }
    }
    if enabled {
        left.push("that callers have to log in (auth enable)".to_owned());
    }
    left
}
