//! `drill`: kills nodes under load, measures how long writes and redundancy were away, and counts what was lost.
//!
//! Writers run all the time, each write under a name of its own, and every write that was acknowledged is read back at
//! the end. The writers are paced and share one connection per node: on a machine that runs the whole cluster, a drill
//! that writes as fast as it can would measure itself.

mod report;
mod writers;

use std::time::Duration;

use clap::{Args, ValueEnum};
use revoada::client::message::ListResources;
use revoada::client::{Client, Endpoint};
use revoada_core::TransitionKind;
use revoada_core::error::ErrorKind;
use revoada_core::roles::Membership;
use revoada_store::admin::{ClusterState, ClusterStatus};
use rustix::process::Signal;
use tokio::time::Instant;

use super::process;
use crate::connect::{Context, Found, probe};
use crate::failure::{CliError, Exit, Outcome};
use crate::local::folder::Folder;
use crate::local::process::Process;
use crate::local::record::Record;
use crate::local::start;
use crate::output::{Format, note};
use report::{Report, Round};
use writers::{KIND, NAMESPACE, Writers};

/// How often the state is looked at while it is waited for.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// How long a round may take to be whole again.
const ROUND_LIMIT: Duration = Duration::from_secs(60);
/// How long the writers run before the first round and after the last.
const CALM: Duration = Duration::from_millis(500);
/// How many resources are read back at once.
const PAGE_ITEMS: usize = 1_000;

/// Kills nodes under load, measures, and counts what was lost
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada drill kill-leader --times 20
  revoada drill kill-all --times 5 -o json

Only for a cluster that `up` started here. Between rounds the victim is started again and the
cluster is waited for. Exit code 1: an acknowledged write was lost, or a round did not end
within 60 s. The resources (kind Drill, namespace revoada-drill) are taken away afterwards.")]
pub struct Drill {
    /// What happens in each round
    #[arg(value_enum)]
    pub drill: Kind,
    /// How many rounds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub times: u32,
    /// How many writers
    #[arg(long, value_name = "W", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub writers: u32,
    /// Leaves the resources that were written
    #[arg(long)]
    pub keep: bool,
}

/// What happens in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// SIGKILL to the leader
    KillLeader,
    /// SIGKILL to one voter after another
    KillControlPlane,
    /// SIGKILL to a node that does not vote
    KillWorker,
    /// SIGKILL to all nodes at once, and `up` again
    KillAll,
    /// SIGSTOP to the leader
    PauseLeader,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill-leader",
            Self::KillControlPlane => "kill-control-plane",
            Self::KillWorker => "kill-worker",
            Self::KillAll => "kill-all",
            Self::PauseLeader => "pause-leader",
        }
    }
}

pub async fn run(context: &Context, arguments: &Drill) -> Outcome {
    let format = context.out.format(Format::Table);
    if matches!(format, Format::Hcl | Format::Name) {
        return Err(context.out.unsupported(format));
    }
    let (folder, record) = context.local()?;
    let drill = Running {
        context,
        folder,
        record,
        kind: arguments.drill,
    };
    drill.whole(&[]).await?;
    let promotions_before = drill.promotions().await?;
    let writers = Writers::start(context.candidates()?, arguments.writers)?;
    let rounds = drill.rounds(&writers, arguments.times).await;
    let acknowledged = writers.stop().await;
    let rounds = rounds?;
    drill.whole(&[]).await?;
    let promotions = drill.promotions().await?.saturating_sub(promotions_before);
    let lost = drill.read_back(&acknowledged, writers.run()).await?;
    if !arguments.keep {
        writers.take_away(&acknowledged).await;
    }
    let report = Report::new(arguments.drill.name(), acknowledged.len(), &lost, promotions, rounds);
    context.out.value(&report, || report.render())?;
    for name in lost.iter().take(10) {
        note(format!("lost: {name}"));
    }
    Ok(Exit::of_answer(lost.is_empty()))
}

/// A drill that runs.
struct Running<'a> {
    context: &'a Context,
    folder: Folder,
    record: Record,
    kind: Kind,
}

impl Running<'_> {
    async fn rounds(&self, writers: &Writers, times: u32) -> Result<Vec<Round>, CliError> {
        let mut rounds = Vec::new();
        tokio::time::sleep(CALM).await;
        for number in 0..times {
            let before = self.whole(&[]).await?;
            let round = match self.kind {
                Kind::KillAll => self.kill_all(writers).await?,
                _ => self.one(writers, &before, number).await?,
            };
            note(format!("round {} of {times}: {round}", number + 1));
            rounds.push(round);
        }
        self.whole(&[]).await?;
        tokio::time::sleep(CALM).await;
        Ok(rounds)
    }

    /// A round that takes one node away.
    async fn one(&self, writers: &Writers, before: &ClusterStatus, number: u32) -> Result<Round, CliError> {
        let victim = self.victim(before, number)?;
        let voted = before.nodes.iter().any(|node| node.name == victim && node.voter);
        let can_be_replaced = !voted || before.nodes.iter().any(|node| !node.voter);
        let process = process::running(&self.folder, &self.record, &victim)?;
        let pause = self.kind == Kind::PauseLeader;
        let signal = if pause { Signal::STOP } else { Signal::KILL };
        // Nothing is awaited between the time and the signal, so no writer runs in between.
        let began = writers.begin_gap();
        process.signal(signal)?;
        let mut back = None;
        if !can_be_replaced {
            // Nobody can take its place: redundancy comes back with the node itself.
            writers
                .gap(began, ROUND_LIMIT)
                .await
                .ok_or_else(|| self.missed("no write came through", began))?;
            self.bring_back(&victim, &process, pause).await?;
            back = Some(());
        }
        let others = [victim.as_str()];
        let left_out: &[&str] = if back.is_some() { &[] } else { &others };
        let left = voted && can_be_replaced;
        let after = self.redundant(left_out, left, began).await?;
        let redundancy = began.elapsed();
        let gap = writers.gap(began, ROUND_LIMIT).await;
        let gap = gap.ok_or_else(|| self.missed("no write came through", began))?;
        if back.is_none() {
            self.bring_back(&victim, &process, pause).await?;
        }
        let voters_before: Vec<&str> = voters(before);
        let promoted = voters(&after).into_iter().find(|name| !voters_before.contains(name));
        Ok(Round::new(victim, promoted.map(str::to_owned), gap, redundancy))
    }

    fn victim(&self, status: &ClusterStatus, number: u32) -> Result<String, CliError> {
        let pick = |names: Vec<&str>| {
            let at = usize::try_from(number).unwrap_or(0) % names.len().max(1);
            names.get(at).map(|name| (*name).to_owned())
        };
        let found = match self.kind {
            Kind::KillLeader | Kind::PauseLeader => status.cluster.leader.clone(),
            Kind::KillControlPlane => pick(voters(status)),
            Kind::KillWorker => pick(
                status
                    .nodes
                    .iter()
                    .filter(|node| !node.voter)
                    .map(|node| node.name.as_str())
                    .collect(),
            ),
            Kind::KillAll => None,
        };
        found.ok_or_else(|| {
            CliError::new(
                ErrorKind::NotFound,
                format!("there is no node for the drill {}", self.kind.name()),
            )
        })
    }

    async fn bring_back(&self, name: &str, process: &Process, paused: bool) -> Result<(), CliError> {
        if paused {
            process.signal(Signal::CONT)?;
        } else {
            process.ended_within(ROUND_LIMIT).await;
            process::start_and_wait(&self.folder, &self.record, name).await?;
        }
        process::excuse(self.context, name).await;
        Ok(())
    }

    /// A round that takes all nodes away at once, and starts them again.
    async fn kill_all(&self, writers: &Writers) -> Result<Round, CliError> {
        let names = self.record.nodes.iter().map(|node| node.name.as_str());
        let processes: Vec<Process> = names.filter_map(|name| Process::find(&self.folder, name)).collect();
        let began = writers.begin_gap();
        for process in &processes {
            process.signal(Signal::KILL)?;
        }
        for process in &processes {
            process.ended_within(ROUND_LIMIT).await;
        }
        for node in &self.record.nodes {
            start::start(&self.folder, &self.record, node)?;
        }
        self.whole(&[]).await?;
        let redundancy = began.elapsed();
        let gap = writers.gap(began, ROUND_LIMIT).await;
        let gap = gap.ok_or_else(|| self.missed("no write came through", began))?;
        Ok(Round::new("all".to_owned(), None, gap, redundancy))
    }

    /// Waits until the declared voters are alive and caught up, `left_out` not asked and, with `left`, no voter.
    async fn redundant(&self, left_out: &[&str], left: bool, began: Instant) -> Result<ClusterStatus, CliError> {
        let is_back = |status: &ClusterStatus| {
            let gone = left_out
                .iter()
                .all(|name| !left || !status.nodes.iter().any(|node| node.name == **name && node.voter));
            gone && has_declared_voters(status)
        };
        self.wait(left_out, began, "the declared voters", is_back).await
    }

    /// Waits until the cluster has its declared shape and every node is alive.
    async fn whole(&self, left_out: &[&str]) -> Result<ClusterStatus, CliError> {
        let is_whole = |status: &ClusterStatus| {
            has_declared_voters(status)
                && status.cluster.leader.is_some()
                && status.nodes.len() >= self.record.nodes.len()
                && status.nodes.iter().all(|node| node.membership == Membership::Alive)
        };
        self.wait(
            left_out,
            Instant::now(),
            "every node alive, and the declared voters",
            is_whole,
        )
        .await
    }

    async fn wait(
        &self,
        left_out: &[&str],
        began: Instant,
        what: &str,
        is_there: impl Fn(&ClusterStatus) -> bool,
    ) -> Result<ClusterStatus, CliError> {
        let candidates: Vec<(String, Endpoint)> = self.context.candidates()?;
        let candidates: Vec<_> = candidates
            .into_iter()
            .filter(|(name, _)| !left_out.contains(&name.as_str()))
            .collect();
        let mut client: Option<Client> = None;
        let mut last = None;
        while began.elapsed() < ROUND_LIMIT {
            let status = match &client {
                Some(client) => client.status().await.ok(),
                None => match probe(&candidates).await {
                    Ok(Found { client: found, status }) => {
                        client = Some(found);
                        Some(status)
                    }
                    Err(_) => None,
                },
            };
            match status {
                Some(status) if is_there(&status) => return Ok(status),
                Some(status) => {
                    // A node outside of the working cluster may be the last to learn of it.
                    if status.cluster.state != ClusterState::Formed {
                        client = None;
                    }
                    last = Some(status);
                }
                None => client = None,
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        let mut error = self.missed(&format!("waited for {what}"), began);
        if let Some(status) = last {
            error.failure.causes.push(super::status::render(&status, false));
        }
        Err(error)
    }

    fn missed(&self, what: &str, began: Instant) -> CliError {
        let message = format!("{}: {what} for {} s", self.kind.name(), began.elapsed().as_secs());
        CliError::new(ErrorKind::Unavailable, message).exit(1)
    }

    /// How many promotions the history tells of.
    async fn promotions(&self) -> Result<usize, CliError> {
        let history = self.context.call(async |client| client.history().await).await?;
        let promotions = history
            .items
            .iter()
            .filter(|item| item.transition == TransitionKind::Promote);
        Ok(promotions.count())
    }

    /// The names of the acknowledged writes that are not there, or not as they were written.
    async fn read_back(&self, acknowledged: &[String], run: &str) -> Result<Vec<String>, CliError> {
        let request = ListResources {
            kind: KIND.to_owned(),
            namespace: Some(NAMESPACE.to_owned()),
            selector: Some(format!("run={run}")),
            limit: Some(PAGE_ITEMS),
            ..ListResources::default()
        };
        let listed = self
            .context
            .call(async |client| client.list_all(&request).await)
            .await?;
        let there: std::collections::BTreeSet<&str> = listed
            .items
            .iter()
            .filter_map(|item| {
                let name = item.get("metadata")?.get("name")?.as_str()?;
                (item.get("data")?.get("name")?.as_str()? == name).then_some(name)
            })
            .collect();
        let lost = acknowledged.iter().filter(|name| !there.contains(name.as_str()));
        Ok(lost.cloned().collect())
    }
}

fn voters(status: &ClusterStatus) -> Vec<&str> {
    let voters = status.nodes.iter().filter(|node| node.voter);
    voters.map(|node| node.name.as_str()).collect()
}

fn has_declared_voters(status: &ClusterStatus) -> bool {
    let redundancy = &status.cluster.redundancy;
    status.cluster.state == ClusterState::Formed
        && redundancy.voters == redundancy.voters_declared
        && redundancy.voters_caught_up == redundancy.voters_declared
}
