//! One file per command.

pub mod apply;
pub mod backup;
pub mod bench;
pub mod chain;
pub mod check;
pub mod completions;
pub mod confirm;
pub mod delete;
pub mod down;
pub mod drill;
pub mod etcd;
pub mod files;
pub mod genesis;
pub mod get;
pub mod health;
pub mod history;
pub mod key;
pub mod list;
pub mod man;
pub mod members;
pub mod migrate;
pub mod node;
pub mod process;
pub mod ready;
pub mod recover;
pub mod simulate;
pub mod snapshot;
pub mod status;
pub mod target;
pub mod top;
pub mod up;
pub mod watch;
pub mod wish;

use revoada_store::admin::Wish;

use crate::arguments::Command;
use crate::connect::Context;
use crate::failure::Outcome;

/// Runs one command to its end.
pub async fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Up(arguments) => up::run(context, arguments).await,
        Command::Down(arguments) => down::run(context, &arguments).await,
        Command::Node(arguments) => node::run(&arguments).await,
        Command::Etcd(_) => unreachable!("it has a main of its own"),
        Command::Kill(one) => process::kill(context, &one).await,
        Command::Pause(one) => process::pause(context, &one),
        Command::Resume(one) => process::resume(context, &one).await,
        Command::Start(one) => process::start(context, &one).await,
        Command::Apply(arguments) => apply::run(context, &arguments).await,
        Command::Get(arguments) => get::run(context, arguments).await,
        Command::List(arguments) => list::run(context, arguments).await,
        Command::Delete(arguments) => delete::run(context, &arguments).await,
        Command::Watch(arguments) => watch::run(context, arguments).await,
        Command::Status => status::run(context).await,
        Command::Health => health::run(context).await,
        Command::History => history::run(context).await,
        Command::Members => members::members(context).await,
        Command::Roles => members::roles(context).await,
        Command::Top(arguments) => top::run(context, &arguments).await,
        Command::Promote(of) => wish::run(context, Wish::Promote, &of).await,
        Command::Demote(of) => wish::run(context, Wish::Demote, &of).await,
        Command::Drain(of) => wish::run(context, Wish::Drain, &of).await,
        Command::Quarantine(of) => wish::run(context, Wish::Quarantine, &of).await,
        Command::Restore(of) => wish::run(context, Wish::Restore, &of).await,
        Command::Check(arguments) => check::run(context, &arguments),
        Command::Snapshot(arguments) => snapshot::run(context, arguments).await,
        Command::Backup(arguments) => backup::run(context, &arguments).await,
        Command::Migrate(arguments) => migrate::run(context, &arguments).await,
        Command::Chain(arguments) => chain::run(context, arguments).await,
        Command::Recover(arguments) => recover::run(context, &arguments).await,
        Command::Drill(arguments) => drill::run(context, &arguments).await,
        Command::Bench(arguments) => bench::run(context, &arguments).await,
        Command::Simulate(arguments) => simulate::run(context, &arguments),
        Command::Key(arguments) => key::run(context, &arguments),
        Command::Genesis(arguments) => genesis::run(context, &arguments),
        Command::Completions(arguments) => completions::run(context, &arguments),
        Command::Man(arguments) => man::run(context, &arguments),
    }
}
