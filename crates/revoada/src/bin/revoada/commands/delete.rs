//! `delete`: deletes one resource, or those in files.

use std::path::PathBuf;

use clap::Args;
use revoada::client::message::{DeleteResource, GetResource, Target};
use revoada_core::resource::{KindSelector, ResourceFormat};
use serde::Serialize;

use super::{files, target};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Format, Output};

/// Deletes resources
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada delete ConfigMap hello
  revoada delete ConfigMap hello -n prod --if-revision 42
  revoada delete -f web.yaml")]
pub struct Delete {
    /// KIND, or KIND.GROUP
    #[arg(required_unless_present = "files", requires = "name", conflicts_with = "files")]
    pub kind: Option<KindSelector>,
    /// Its name
    pub name: Option<String>,
    /// Every resource in a file, or in stdin for -
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The namespace; with -f, of resources that name none
    #[arg(short = 'n', long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Only if it was last changed at this revision; 0, it must not exist, deletes nothing
    #[arg(long, value_name = "R")]
    pub if_revision: Option<u64>,
    /// Says what would happen, and changes nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Serialize)]
struct Deleted {
    kind: String,
    namespace: String,
    name: String,
    action: &'static str,
    revision: u64,
    #[serde(skip)]
    group: String,
}

#[derive(Serialize)]
struct Results {
    results: Vec<Deleted>,
}

pub async fn run(context: &Context, arguments: &Delete) -> Outcome {
    let format = context.out.format(Format::Table);
    if format == Format::Hcl {
        return Err(context.out.unsupported(format));
    }
    let targets = targets(arguments)?;
    if arguments.if_revision.is_some() && targets.len() != 1 {
        let message = format!("--if-revision is about one resource, and there are {}", targets.len());
        return Err(CliError::invalid(message));
    }
    let mut results = Vec::new();
    let mut failed: Option<CliError> = None;
    for target in targets {
        match delete(context, arguments, target).await {
            Ok(deleted) => results.push(deleted),
            // One that is not there does not keep the others; anything else ends it.
            Err(error) if error.code() == 1 => failed = failed.or(Some(error)),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    match failed {
        None => print(&context.out, results, arguments.dry_run)?,
        Some(error) => {
            if !results.is_empty() {
                print(&context.out, results, arguments.dry_run)?;
            }
            return Err(error);
        }
    }
    Ok(Exit::Done)
}

fn targets(arguments: &Delete) -> Result<Vec<Target>, CliError> {
    let namespace = arguments.namespace.as_deref();
    match (&arguments.kind, &arguments.name) {
        (Some(kind), Some(name)) => Ok(vec![target::one(kind, namespace, name)?]),
        _ => {
            let resources = files::manifests(&arguments.files, namespace)?;
            Ok(resources.into_iter().map(|one| one.reference.into()).collect())
        }
    }
}

async fn delete(context: &Context, arguments: &Delete, target: Target) -> Result<Deleted, CliError> {
    // What must not exist is never deleted: that it is there is a conflict, and that it is not, no deletion.
    let only_looks = arguments.dry_run || arguments.if_revision == Some(0);
    let revision = if only_looks {
        let request = GetResource {
            target: target.clone(),
            format: Some(ResourceFormat::Json),
            ..GetResource::default()
        };
        let got = context.call(async |client| client.get(&request).await).await?;
        if let Some(expected) = arguments.if_revision
            && expected != got.revision
        {
            let message = format!(
                "it was expected at revision {expected} and is at revision {}",
                got.revision
            );
            return Err(CliError::new(revoada_core::error::ErrorKind::Conflict, message));
        }
        got.revision
    } else {
        let request = DeleteResource {
            target: target.clone(),
            if_revision: arguments.if_revision,
        };
        context
            .call(async |client| client.delete(&request).await)
            .await?
            .revision
    };
    let Target {
        group,
        kind,
        namespace,
        name,
    } = target;
    Ok(Deleted {
        kind,
        namespace,
        name,
        action: "deleted",
        revision,
        group: group.unwrap_or_default(),
    })
}

fn print(out: &Output, results: Vec<Deleted>, dry_run: bool) -> Result<(), CliError> {
    let results = Results { results };
    if out.format(Format::Table) == Format::Name {
        let names = results
            .results
            .iter()
            .map(|one| target::short_name(&one.group, &one.kind, &one.name) + "\n");
        return out.text(&names.collect::<String>());
    }
    out.value(&results, || {
        let lines = results.results.iter().map(|one| {
            let name = target::short_name(&one.group, &one.kind, &one.name);
            let what = if dry_run { " (dry run)" } else { "" };
            format!("{name} deleted{what}\n")
        });
        lines.collect()
    })
}
