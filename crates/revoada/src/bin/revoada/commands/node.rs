//! `node`: one node in the foreground. What `up` starts, and what runs on machines of one's own.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use revoada::node::config::{ConfigError, NodeConfig};
use revoada::node::{self, NodeOptions, Stopped};
use revoada::{NativeFaces, system};
use revoada_core::error::ErrorKind;
use revoada_mesh::failpoints;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::failure::{CliError, Exit, Outcome};

/// For tests of durability: faults of the log's disk, as the log's documentation has them.
const FAULTS: &str = "REVOADA_LOG_FAULTS";

/// For tests, in builds that have failpoints: the file that says at which of them to die.
const FAILPOINTS: &str = "REVOADA_FAILPOINTS";

/// Runs one node in the foreground
#[derive(Debug, Args)]
#[command(after_help = "\
A config, in YAML or JSON; relative paths are relative to it:
  name: node-1
  folder: /var/lib/revoada
  genesis: /etc/revoada/genesis.json
  listen: 10.0.0.1:7100
  seeds: [\"10.0.0.2:7100\", \"10.0.0.3:7100\"]
  http: { listen: 10.0.0.1:7200 }        # optional: the native API by TLS and token
  backup: { every: 6h, keep: 20, to: /srv/backups }    # optional: see `revoada backup --help`

`revoada key` makes the node's key, `revoada genesis create` the genesis.")]
pub struct Node {
    /// The node's config
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
}

/// Runs the node of a configuration file until SIGINT or SIGTERM.
pub async fn run(arguments: &Node) -> Outcome {
    let config = NodeConfig::load(&arguments.config).map_err(|error| match &error {
        ConfigError::Read { .. } | ConfigError::Invalid { .. } => {
            CliError::because(ErrorKind::Invalid, "the node has no usable configuration", &error)
        }
    })?;
    if failpoints::ENABLED
        && let Some(file) = std::env::var_os(FAILPOINTS)
    {
        failpoints::follow(PathBuf::from(file));
    }
    let mut log = node::LogOptions::default();
    if let Ok(script) = std::env::var(FAULTS) {
        let faults = script.parse::<node::ScriptedFaults>();
        let faults =
            faults.map_err(|error| CliError::invalid(format!("{FAULTS} is not a script of faults: {error}")))?;
        log.faults = Some(Arc::new(faults));
    }
    let options = NodeOptions {
        config,
        faces: Arc::new(NativeFaces::default()),
        clock_ms: system::clock(),
        entropy: Arc::new(system::entropy),
        log,
        topologies: Vec::new(),
        store: None,
        as_member: None,
    };
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let no_signals =
        |error: std::io::Error| CliError::because(ErrorKind::Unavailable, "cannot listen to signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    let not_started =
        |error: &node::BootError| CliError::because(ErrorKind::Unavailable, "this node could not start", error);
    let node = node::Node::prepare(options).map_err(|error| not_started(&error))?;
    match node.run(stop, |_| tracing::info!("this node has started")).await {
        Stopped::Asked | Stopped::Removed => Ok(Exit::Done),
        Stopped::NeverBooted(error) => Err(not_started(&error)),
        Stopped::Failed(why) => {
            let mut error = CliError::new(ErrorKind::Unavailable, "this node has failed");
            error.failure.causes.push(why);
            Err(error)
        }
    }
}
