//! `down`: stops all nodes in order, and with `--purge` takes the cluster away.

use std::fs;
use std::io;

use clap::Args;
use serde_json::json;

use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::Folder;
use crate::local::lock::UpLock;
use crate::local::process::Process;
use crate::local::{make, start};
use crate::output::note;

/// Stops all nodes of the cluster in DIR
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada down              `revoada up` finds everything again
  revoada down --purge      and takes the cluster away, with everything in it")]
pub struct Down {
    /// Takes the cluster away, with everything in it
    #[arg(long)]
    pub purge: bool,
}

pub async fn run(context: &Context, arguments: &Down) -> Outcome {
    let folder = context.folder()?;
    if arguments.purge && !folder.record().exists() && make::is_anything_there(&folder) {
        // What an `up` that was cut off left behind: no node has ever run from it.
        let _lock = UpLock::take(&folder)?;
        purge(&folder)?;
        return tell(context, &[], true);
    }
    let (folder, record) = context.local()?;
    let names: Vec<&str> = record.nodes.iter().map(|node| node.name.as_str()).collect();
    let running: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| Process::find(&folder, name).is_some())
        .collect();
    let killed = start::stop(&folder, &names).await?;
    for name in &killed {
        note(format!("{name} did not stop in time and was killed"));
    }
    if arguments.purge {
        purge(&folder)?;
    }
    tell(context, &running, arguments.purge)
}

fn tell(context: &Context, stopped: &[&str], purged: bool) -> Outcome {
    context.out.value(&json!({"stopped": stopped, "purged": purged}), || {
        let what = match stopped.len() {
            0 => "no node ran".to_owned(),
            _ => format!("stopped {}", stopped.join(", ")),
        };
        let gone = if purged { "; the cluster is gone" } else { "" };
        format!("{what}{gone}\n")
    })?;
    Ok(Exit::Done)
}

/// Takes away what `up` made, and the folder if nothing else is in it. The record goes last, so that a purge that was
/// cut off can be made again.
fn purge(folder: &Folder) -> Result<(), CliError> {
    let failed = |error: &io::Error| CliError::file(format!("cannot take away {}", folder.root().display()), error);
    folder.remove_sockets();
    for path in [folder.nodes(), folder.forming()] {
        gone(fs::remove_dir_all(&path)).map_err(|error| failed(&error))?;
    }
    for path in [folder.genesis(), folder.token(), folder.lock(), folder.record()] {
        gone(fs::remove_file(&path)).map_err(|error| failed(&error))?;
    }
    match fs::remove_dir(folder.root()) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
            note(format!(
                "{} stays: there are other files in it",
                folder.root().display()
            ));
            Ok(())
        }
        removed => gone(removed).map_err(|error| failed(&error)),
    }
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
