//! `man`: the manual pages, one per command, or the program's own to stdout.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};

use crate::arguments::Arguments;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};

/// Writes the manual pages
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada man /usr/local/share/man/man1      a page for each command
  revoada man | man -l -                     reads the first of them")]
pub struct Man {
    /// The folder to write them into, made if it is not there; without it, the first goes to stdout
    pub pages: Option<PathBuf>,
}

pub fn run(context: &Context, arguments: &Man) -> Outcome {
    let Some(folder) = &arguments.pages else {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(Arguments::command()).render(&mut page);
        rendered.map_err(|error| CliError::stdout(&error))?;
        context.out.bytes(&page)?;
        return Ok(Exit::Done);
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Arguments::command(), folder));
    written.map_err(|error| CliError::file(format!("cannot write manual pages into {}", folder.display()), &error))?;
    context.out.line(&format!("manual pages are in {}", folder.display()))?;
    Ok(Exit::Done)
}
