//! Flags that every command has, and the list of commands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands;
use crate::output::Format;

/// A cluster that keeps the shape it was declared with.
#[derive(Debug, Parser)]
#[command(
    name = "revoada",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
First steps:
  revoada up                          five nodes on this machine, until Ctrl-C
  revoada status                      from another terminal: who is what
  revoada apply -f manifest.yaml      store a resource
  revoada get ConfigMap hello -o json
  revoada kill node-1                 and watch a worker take over

Exit codes:
  0 done, or yes   1 the answer is no   2 wrong usage or input   3 unavailable
  4 outcome unknown   5 denied   6 conflict"
)]
pub struct Arguments {
    /// Flags that every command has.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command has.
#[derive(Debug, Args)]
pub struct Global {
    /// The folder of a cluster that `up` made
    #[arg(
        long,
        global = true,
        env = "REVOADA_DIR",
        default_value = "./.revoada",
        value_name = "DIR"
    )]
    pub dir: PathBuf,
    /// A node to talk to: its control socket, or https://HOST:PORT
    #[arg(
        long,
        global = true,
        value_name = "URL|SOCKET",
        help_heading = "Another node than those of DIR"
    )]
    pub endpoint: Option<OsString>,
    /// The file with the operator's token, for an https endpoint
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Another node than those of DIR"
    )]
    pub token: Option<PathBuf>,
    /// The file with the certificate that vouches for the node, for an https endpoint
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Another node than those of DIR"
    )]
    pub ca: Option<PathBuf>,
    /// The format of stdout
    #[arg(short = 'o', long, global = true, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Logs more to stderr: -v what happens, -vv why, -vvv everything (RUST_LOG has precedence)
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Starts or resumes a cluster on this machine
    Up(commands::up::Up),
    /// Stops all nodes of the cluster in DIR
    Down(commands::down::Down),
    /// Runs one node in the foreground
    Node(commands::node::Node),
    /// Runs a member of an etcd cluster, with etcd's own flags
    Etcd(commands::etcd::Etcd),
    /// Kills a node that `up` started (SIGKILL)
    Kill(commands::process::One),
    /// Stops a node in its tracks (SIGSTOP)
    Pause(commands::process::One),
    /// Lets a paused node go on (SIGCONT)
    Resume(commands::process::One),
    /// Starts a node again that was killed
    Start(commands::process::One),

    /// Stores resources
    Apply(commands::apply::Apply),
    /// Reads one resource
    Get(commands::get::Get),
    /// Reads the resources of a kind
    List(commands::list::List),
    /// Deletes resources
    Delete(commands::delete::Delete),
    /// Tells every change of a kind as it happens
    Watch(commands::watch::Watch),

    /// Who is what, and how many losses are survived
    Status,
    /// Whether everything is as it should be
    Health,
    /// Every change of a role, and who signed it
    History,
    /// The nodes, where they are and how they are
    Members,
    /// The nodes, what they are and what they are becoming
    Roles,
    /// The status, live
    Top(commands::top::Top),

    /// Makes a node a voter
    Promote(commands::wish::OfNode),
    /// Makes a voter a worker
    Demote(commands::wish::OfNode),
    /// Takes a node out of the voters and keeps it out
    Drain(commands::wish::OfNode),
    /// Keeps a node from any change of its role, and out of the voters
    Quarantine(commands::wish::OfNode),
    /// Lets a drained or quarantined node be chosen again
    Restore(commands::wish::OfNode),

    /// Proves a declaration: all findings at once, no cluster needed
    Check(commands::check::Check),
    /// What becomes of a declaration over years of failures
    Simulate(commands::simulate::Simulate),
    /// Saves, inspects and restores snapshots
    Snapshot(commands::snapshot::Snapshot),
    /// Writes verified snapshots into a folder, once or again and again
    Backup(commands::backup::BackupArguments),
    /// Brings the keys and leases of an etcd, from a snapshot or while it runs
    Migrate(commands::migrate::Migrate),
    /// The signed history: shows, exports and verifies it
    Chain(commands::chain::Chain),
    /// The one way back without a majority
    Recover(commands::recover::Recover),

    /// Kills nodes under load, measures, and counts what was lost
    Drill(commands::drill::Drill),
    /// Measures the cluster
    Bench(commands::bench::Bench),

    /// Makes a node's key, or shows its id: for machines of one's own
    Key(commands::key::Key),
    /// Makes or shows a genesis: for machines of one's own
    Genesis(commands::genesis::Genesis),
    /// Prints the completions of a shell
    Completions(commands::completions::Completions),
    /// Writes the manual pages
    Man(commands::man::Man),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_one_that_clap_accepts() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_of_the_contract_is_there() {
        let command = Arguments::command();
        let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        let wanted = "up down node kill pause resume start apply get list delete watch status health history members \
                      roles top promote demote drain quarantine restore check snapshot backup migrate chain recover drill bench";
        for name in wanted.split_whitespace() {
            assert!(names.contains(&name), "{name}");
        }
    }
}
