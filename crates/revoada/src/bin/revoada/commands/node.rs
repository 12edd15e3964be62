//! `revoada node`: one node in the foreground.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use revoada::node::config::NodeConfig;
use revoada::node::{Node, NodeOptions, Stopped};
use revoada::{NativeFaces, system};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// For tests of durability: faults of the log's disk, as the log's documentation has them.
const FAULTS: &str = "REVOADA_LOG_FAULTS";

/// Runs the node of a configuration file until SIGINT or SIGTERM.
pub async fn run(config: &Path) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let config = NodeConfig::load(config)?;
    let mut log = revoada::node::LogOptions::default();
    if let Ok(script) = std::env::var(FAULTS) {
        log.faults = Some(Arc::new(script.parse::<revoada::node::ScriptedFaults>()?));
    }
    let options = NodeOptions {
        config,
        faces: Arc::new(NativeFaces),
        clock_ms: system::clock(),
        entropy: Arc::new(system::entropy),
        log,
        topologies: Vec::new(),
        store: None,
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = CancellationToken::new();
    let asked = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        asked.cancel();
    });
    let node = Node::prepare(options)?;
    match node.run(stop, |_| tracing::info!("this node has started")).await {
        Stopped::Asked => Ok(ExitCode::SUCCESS),
        Stopped::NeverBooted(error) => Err(error.into()),
        Stopped::Failed(why) => Err(why.into()),
    }
}
