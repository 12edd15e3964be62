//! `key`: a node's key, for machines of one's own.

use std::path::PathBuf;

use clap::Args;
use revoada_core::error::ErrorKind;
use revoada_mesh::identity::{KeyFileError, load_or_create};
use serde_json::json;

use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::make::random_bytes;

/// Makes a node's key, or shows the id of the one that is there
#[derive(Debug, Args)]
#[command(after_help = "\
A node is its key: the file is made once (mode 0600), and never replaced. What is printed is
the id, which is public and goes into the genesis.

Example, on each machine:
  revoada key /var/lib/revoada/node.key")]
pub struct Key {
    /// The key file: node.key in the node's folder
    pub file: PathBuf,
}

pub fn run(context: &Context, arguments: &Key) -> Outcome {
    let made = !arguments.file.exists();
    let key = load_or_create(&arguments.file, random_bytes).map_err(|error| {
        let kind = match &error {
            KeyFileError::Io { .. } | KeyFileError::Exposed { .. } | KeyFileError::Malformed { .. } => {
                ErrorKind::Invalid
            }
        };
        CliError::because(kind, "there is no usable key", &error)
    })?;
    let id = key.id().to_string();
    context
        .out
        .value(&json!({"id": id, "made": made}), || format!("{id}\n"))?;
    Ok(Exit::Done)
}
