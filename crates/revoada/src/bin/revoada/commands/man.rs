//! `man`: the manual pages, one per command.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::arguments::Arguments;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};

/// Writes the manual pages
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  revoada man /usr/local/share/man/man1")]
pub struct Man {
    /// The folder to write them into, made if it is not there; without it, that of --dir
    pub pages: Option<PathBuf>,
}

pub fn run(context: &Context, arguments: &Man) -> Outcome {
    let folder = arguments.pages.as_ref().unwrap_or(&context.dir);
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.map_err(|error| CliError::file(format!("cannot write manual pages into {}", folder.display()), &error))?;
    context.out.line(&format!("manual pages are in {}", folder.display()))?;
    Ok(Exit::Done)
}
