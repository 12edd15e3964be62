//! `completions`: what a shell needs to complete this command line.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::arguments::Arguments;
use crate::connect::Context;
use crate::failure::{Exit, Outcome};

/// Prints the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  revoada completions bash > ~/.local/share/bash-completion/completions/revoada")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(context: &Context, arguments: &Completions) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "revoada", &mut text);
    context.out.bytes(&text)?;
    Ok(Exit::Done)
}
