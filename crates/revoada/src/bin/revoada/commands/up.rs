//! `up`: starts or resumes a cluster on this machine, each node as a process of its own.
//!
//! It does nothing that a person could not do by hand: prove a declaration, make keys and a genesis, write configs,
//! start `revoada node` with each. It never restarts a node that died: replacing it is the cluster's own business.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use revoada_core::Role;
use revoada_core::declaration::{
    ClusterDeclaration, DraftDeclaration, FabricFace, FaceKind, Finding, Severity, prescribed_for,
};
use revoada_core::error::ErrorKind;
use revoada_core::roles::NodeState;
use revoada_store::admin::{ClusterStatus, NodeStatus};
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

use super::top::Live;
use super::{check, ready};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::Folder;
use crate::local::lock::UpLock;
use crate::local::process::Process;
use crate::local::record::Record;
use crate::local::{config, make, ports, start};
use crate::output::{Format, note};

const NODES_DEFAULT: usize = 5;
const TOPOLOGY_DEFAULT: &str = "cluster-3m-nw";
/// What a shape takes, for whoever asked for one that is none.
const SHAPES: &str = "--topology solo (from 1 node on), pair (2), quorum-3m (3), cluster-3m-nw (4), mesh-all-peers (3), \
                      phalanx (5); --nodes N";
/// How long the first write may take to be possible.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How often a foreground `up` looks at its cluster.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts or resumes a cluster on this machine
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada up                                    five nodes, until Ctrl-C
  revoada up --detach                           in the background; `revoada down` stops it
  revoada up --topology quorum-3m --nodes 3
  revoada up --declaration cluster.yaml --dir /tmp/lab

A second `up` in the same folder finds the cluster again, with everything in it, and starts
the nodes that do not run. A node that dies while `up` runs is not restarted: a worker takes
over. What is in DIR: nodes/NAME/config.yaml, node.log, node.key; genesis.json; token.")]
pub struct Up {
    /// How many nodes [default: 5]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub nodes: Option<u16>,
    /// The shape [default: cluster-3m-nw]: solo, pair, quorum-3m, cluster-3m-nw, mesh-all-peers, phalanx
    #[arg(long, value_name = "NAME", conflicts_with = "declaration")]
    pub topology: Option<String>,
    /// What it speaks besides its own API [default: pure-raft]: etcd
    #[arg(long, value_name = "KIND", conflicts_with = "declaration")]
    pub face: Option<String>,
    /// A declaration of one's own, in YAML, JSON or HCL
    #[arg(long, value_name = "FILE")]
    pub declaration: Option<PathBuf>,
    /// Returns when the first write can be committed (or after 60 s), and leaves the nodes running
    #[arg(long)]
    pub detach: bool,
    /// Sets a field of every node's config; repeatable
    #[arg(long = "node-arg", value_name = "K=V")]
    pub node_args: Vec<String>,
}

pub async fn run(context: &Context, arguments: Up) -> Outcome {
    if context.endpoint.is_some() {
        return Err(CliError::invalid("`up` starts nodes here, and takes no --endpoint"));
    }
    let folder = context.folder()?;
    config::check_arguments(&folder, &arguments.node_args)?;
    let fresh = !folder.record().exists() && !folder.forming().exists();
    // What is not coherent is refused before anything is written.
    let planned = if fresh { Some(plan(&arguments)?) } else { None };
    fs::create_dir_all(folder.root())
        .map_err(|error| CliError::file(format!("cannot make {}", folder.root().display()), &error))?;
    let folder = context.folder()?;
    let lock = UpLock::take(&folder)?;
    make::complete(&folder)?;
    let record = match Record::read(&folder)? {
        Some(record) => resume(&folder, record, &arguments)?,
        None => {
            let planned = planned.map_or_else(|| plan(&arguments), Ok)?;
            make::make(&folder, &planned)?
        }
    };
    let mut children = start_all(&folder, &record).await?;
    if arguments.detach {
        let status = ready::wait(context, &folder, &record, READY_LIMIT).await?;
        drop(lock);
        announce(context, &folder, &record, &status)?;
        return Ok(Exit::Done);
    }
    let outcome = foreground(context, &folder, &record, &mut children).await;
    stop_all(&folder, &record).await?;
    outcome
}

/// What is to be made: proved, or refused with all findings.
fn plan(arguments: &Up) -> Result<make::Plan, CliError> {
    let nodes = arguments.nodes.map_or(NODES_DEFAULT, usize::from);
    let declaration = match &arguments.declaration {
        Some(file) => {
            let verdict = check::read(file)?;
            tell_findings(&verdict.findings);
            verdict.into_result().map_err(|error| not_coherent(&error.findings))?
        }
        None => {
            let topology = arguments.topology.as_deref().unwrap_or(TOPOLOGY_DEFAULT);
            let mut draft = prescribed_for(topology, nodes)
                .map_err(|error| CliError::because(error.kind(), "no cluster can be made so", &error).hint(SHAPES))?;
            if let Some(face) = &arguments.face {
                draft.face = face_named(face)?;
            }
            prove(draft)?
        }
    };
    let least = declaration
        .topology()
        .nodes_min()
        .max(declaration.strategy().consensus.size as usize);
    if nodes < least {
        let message = format!("{} starts from at least {least} nodes, not {nodes}", declaration.id());
        return Err(CliError::invalid(message).hint(format!("--nodes {least}")));
    }
    if let Some(what) = revoada::node::unserved(&declaration, nodes) {
        return Err(CliError::new(ErrorKind::Unsupported, what));
    }
    Ok(make::Plan {
        declaration,
        nodes,
        node_args: arguments.node_args.clone(),
    })
}

/// A face that needs nothing else to be declared.
fn face_named(name: &str) -> Result<FabricFace, CliError> {
    match FaceKind::ALL.iter().find(|kind| kind.name() == name) {
        Some(FaceKind::PureRaft) => Ok(FabricFace::prescribed_native()),
        Some(FaceKind::Etcd) => Ok(FabricFace::etcd()),
        Some(kind) => Err(CliError::new(
            ErrorKind::Unsupported,
            format!("this build does not serve the face {}", kind.name()),
        )
        .hint("--face etcd, or a declaration of your own with --declaration FILE")),
        None => Err(CliError::invalid(format!("there is no face {name:?}")).hint("--face etcd")),
    }
}

fn prove(draft: DraftDeclaration) -> Result<ClusterDeclaration, CliError> {
    let declaration = ClusterDeclaration::prove(draft).map_err(|error| not_coherent(&error.findings))?;
    tell_findings(declaration.findings());
    Ok(declaration)
}

/// Says on stderr what a proof found, notes excepted.
pub fn tell_findings(findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.severity != Severity::Note) {
        note(check::finding_text(finding, false).trim_end());
    }
}

/// The error of a declaration that is not coherent, with all findings.
pub fn not_coherent(findings: &[Finding]) -> CliError {
    let mut error = CliError::invalid("the declaration is not coherent: no cluster can be started from it").exit(1);
    let errors = findings.iter().filter(|finding| finding.is_error());
    error.failure.causes = errors
        .map(|finding| format!("{}[{}] {}", finding.path, finding.code, finding.message))
        .collect();
    error
}

/// The cluster that is there, if it is the one that is asked for.
fn resume(folder: &Folder, mut record: Record, arguments: &Up) -> Result<Record, CliError> {
    let other = |what: String| {
        let message = format!("the cluster in {} is another: {what}", folder.root().display());
        Err(CliError::new(ErrorKind::Conflict, message)
            .hint("`revoada up` without these flags resumes it; `revoada down --purge` takes it away; --dir DIR names another folder"))
    };
    if let Some(nodes) = arguments.nodes
        && usize::from(nodes) != record.nodes.len()
    {
        return other(format!("it has {} nodes, not {nodes}", record.nodes.len()));
    }
    if let Some(topology) = &arguments.topology
        && *topology != record.topology
    {
        return other(format!("it was made as {}, not {topology}", record.topology));
    }
    if let Some(face) = &arguments.face {
        let asked = face_named(face)?.kind();
        let has = record.nodes.iter().any(|node| node.etcd.is_some());
        if (asked == FaceKind::Etcd) != has {
            return other(format!(
                "it was made {} the face etcd",
                if has { "with" } else { "without" }
            ));
        }
    }
    if arguments.declaration.is_some() {
        let planned = plan(&Up {
            nodes: arguments.nodes.or_else(|| u16::try_from(record.nodes.len()).ok()),
            topology: None,
            face: None,
            declaration: arguments.declaration.clone(),
            detach: false,
            node_args: Vec::new(),
        })?;
        if planned.declaration.digest() != record.declaration {
            return other("it was made from another declaration".to_owned());
        }
    }
    if !arguments.node_args.is_empty() && arguments.node_args != record.node_args {
        record.node_args = arguments.node_args.clone();
        config::check(folder, &record)?;
        record.write(&folder.record())?;
        if record
            .nodes
            .iter()
            .any(|node| Process::find(folder, &node.name).is_some())
        {
            note("nodes that run already take --node-arg at their next start");
        }
    }
    Ok(record)
}

/// Starts every node that does not run; if one cannot be started, none of them stays.
async fn start_all(folder: &Folder, record: &Record) -> Result<Vec<(String, Child)>, CliError> {
    let stopped: Vec<_> = record
        .nodes
        .iter()
        .filter(|node| match Process::find(folder, &node.name) {
            Some(process) => {
                if process.is_paused() {
                    note(format!("{} is paused: `revoada resume {}`", node.name, node.name));
                }
                false
            }
            None => true,
        })
        .collect();
    for node in &stopped {
        for address in [node.mesh, node.http].into_iter().chain(node.etcd) {
            ports::check_free(&node.name, address)?;
        }
    }
    let mut children = Vec::with_capacity(stopped.len());
    for node in stopped {
        match start::start(folder, record, node) {
            Ok(child) => children.push((node.name.clone(), child)),
            Err(error) => {
                let names: Vec<&str> = children.iter().map(|(name, _)| name.as_str()).collect();
                start::stop(folder, &names).await?;
                return Err(error);
            }
        }
    }
    Ok(children)
}

async fn stop_all(folder: &Folder, record: &Record) -> Result<(), CliError> {
    let names: Vec<&str> = record.nodes.iter().map(|node| node.name.as_str()).collect();
    if names.iter().all(|name| Process::find(folder, name).is_none()) {
        return Ok(());
    }
    note("stopping all nodes");
    for name in start::stop(folder, &names).await? {
        note(format!("{name} did not stop in time and was killed"));
    }
    Ok(())
}

fn announce(context: &Context, folder: &Folder, record: &Record, status: &ClusterStatus) -> Result<(), CliError> {
    if context.out.format(Format::Table) == Format::Table {
        let text = format!(
            "{} ({}) runs: {} in {}\n",
            status.cluster.name,
            status.cluster.id,
            match status.nodes.len() {
                1 => "1 node".to_owned(),
                nodes => format!("{nodes} nodes"),
            },
            folder.root().display()
        );
        context.out.text(&text)?;
        if let Some(settles) = settles(status) {
            note(settles);
        }
        note(next_steps(context, record, status, true).trim_end());
        return Ok(());
    }
    context.out.value(status, String::new)
}

/// That the cluster has not its shape yet, where that is so: a write can be committed some moments before.
fn settles(status: &ClusterStatus) -> Option<String> {
    let redundancy = &status.cluster.redundancy;
    let moves = |node: &NodeStatus| {
        node.role == Role::Bootstrap || matches!(node.state, NodeState::Promoting | NodeState::Demoting)
    };
    let whole = redundancy.voters_caught_up == redundancy.voters_declared && !status.nodes.iter().any(moves);
    (!whole).then(|| {
        format!(
            "It takes writes, and is about to have its declared shape: {} of {} voters are caught up so far",
            redundancy.voters_caught_up, redundancy.voters_declared
        )
    })
}

/// What to type next.
fn next_steps(context: &Context, record: &Record, status: &ClusterStatus, detached: bool) -> String {
    let dir = if context.dir.as_os_str() == "./.revoada" || std::env::var_os("REVOADA_DIR").is_some() {
        String::new()
    } else {
        format!(" --dir {}", context.dir.display())
    };
    let victim = status.cluster.leader.as_deref().unwrap_or("node-1");
    // Only where there is somebody who could.
    let takes_over = status.nodes.len() > status.cluster.redundancy.voters_declared as usize;
    let kill = match takes_over && status.cluster.redundancy.voters_declared > 1 {
        true => format!("  revoada{dir} kill {victim}       and a worker takes over\n"),
        false => String::new(),
    };
    let stop = if detached {
        format!("  revoada{dir} down              stops all nodes\n")
    } else {
        "  Ctrl-C                    stops all nodes\n".to_owned()
    };
    let urls: Vec<_> = record
        .nodes
        .iter()
        .filter_map(|node| node.etcd)
        .map(|etcd| format!("http://{etcd}"))
        .collect();
    let etcd = match urls.as_slice() {
        [] => String::new(),
        urls => format!("  export ETCDCTL_ENDPOINTS={}\n", urls.join(",")),
    };
    let elsewhere = if detached { "" } else { ", in another terminal" };
    format!(
        "Next{elsewhere}:\n  revoada{dir} status            who is what\n  \
         revoada{dir} apply -f FILE     stores resources\n{etcd}{kill}{stop}"
    )
}

/// Shows the cluster until it is told to stop, or all of its nodes have been stopped by somebody else.
async fn foreground(
    context: &Context,
    folder: &Folder,
    record: &Record,
    children: &mut Vec<(String, Child)>,
) -> Outcome {
    let no_signals =
        |error: std::io::Error| CliError::because(ErrorKind::Unavailable, "cannot listen to signals", &error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let mut live = Live::new(context);
    let shown = async {
        let status = ready::wait(context, folder, record, READY_LIMIT).await?;
        live.footer = format!("\n{}", next_steps(context, record, &status, false));
        if !live.is_terminal() {
            note(next_steps(context, record, &status, false).trim_end());
        }
        live.show(Ok(status))?;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            for ended in ended(children) {
                // Beside a table that is drawn over itself, a line of its own would be lost: it goes below.
                if live.is_terminal() {
                    live.footer.push_str(&format!("{ended}\n"));
                } else {
                    note(ended);
                }
            }
            if record
                .nodes
                .iter()
                .all(|node| Process::find(folder, &node.name).is_none())
            {
                note("all nodes have stopped");
                return Ok(Exit::Done);
            }
            live.show(context.find().await.map(|found| found.status))?;
        }
    };
    tokio::select! {
        outcome = shown => outcome,
        _ = interrupt.recv() => Ok(Exit::Done),
        _ = terminate.recv() => Ok(Exit::Done),
        _ = hangup.recv() => Ok(Exit::Done),
    }
}

/// What to tell of processes of ours that have ended since the last look. They are not started again.
fn ended(children: &mut Vec<(String, Child)>) -> Vec<String> {
    let mut told = Vec::new();
    children.retain_mut(|(name, child)| match child.try_wait() {
        Ok(Some(status)) => {
            told.push(format!(
                "{name} has ended ({status}); `revoada start {name}` starts it again"
            ));
            false
        }
        Ok(None) | Err(_) => true,
    });
    told
}
