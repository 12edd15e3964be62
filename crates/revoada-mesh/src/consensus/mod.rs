//! One Raft group: the log, the state machine, writing, reading, changing who votes. openraft stays behind this module.
//!
//! A node opens its consensus from its folder alone: who votes is in the log and the checkpoint, never in the
//! configuration. Only the very first membership is given, once, by [`Consensus::form`].

mod checkpoint;
mod forward;
mod gentle;
mod log_store;
mod machine;
mod network;
pub mod peers;
mod propose;
mod queues;
mod read;
mod recover;
mod seats;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{InitializeError, RaftError};
use openraft::{ChangeMembers, Config, Instant as _, ServerState, SnapshotPolicy, StorageHelper};
use revoada_attest::planted::{Bug, is_planted};
use revoada_attest::{Digest, NodeId};
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_core::machine::{ClusterState, Command, Reply};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::disk_id::{DiskId, Shown};
use crate::failpoints::{self, Point};
use crate::files::Files;
use crate::log::{LogEngine, LogOptions, OpenError as LogOpenError, Recovered};
use crate::runtime::{InstantOf, Runtime, Tokio, Watched, elapsed};
use crate::transport::link::CallError;
use crate::transport::{Handler, chain};
use checkpoint::Checkpoints;
use log_store::LogStore;
use machine::{Machine, Shared};
use network::{Network, OnTheirWay};
use peers::{Lane, Peers};
use propose::Proposer;
use read::Reads;
use seats::Seats;
use types::{Member, Raft};

pub use checkpoint::CheckpointError;
pub use forward::{EXTRA_VERBS, Extra};
pub use machine::Applied;
pub use propose::ProposeError;
pub use queues::Filled;
pub use read::ReadError;
pub use seats::Seat;

/// The longest time that a node waits for its leader before it stands for election, and a leader's lease, in
/// milliseconds: a tenth more than the declared timeout.
pub const fn election_ms_max(timeout_ms: u64) -> u64 {
    timeout_ms + timeout_ms / 10 + 1
}

/// How consensus is to run on one node.
pub struct ConsensusConfig {
    /// This node.
    pub id: NodeId,
    /// Its folder; `log` and `checkpoints` are made in it.
    pub folder: PathBuf,
    /// The cluster.
    pub genesis: Arc<Genesis>,
    /// The least time without a leader before a node stands for election.
    pub election_timeout: Duration,
    /// The time between two heartbeats.
    pub heartbeat: Duration,
    /// After how many entries a checkpoint is due, unless the log is still small beside the state.
    pub snapshot_interval: u64,
    /// What else makes a checkpoint due.
    pub checkpoints: CheckpointRule,
    /// How the log is kept.
    pub log: LogOptions,
    /// The name of its disk, if that has none yet: drawn anew at each start.
    pub new_disk: DiskId,
}

/// When a checkpoint is due, beside the number of entries, and what stays of the log behind it.
#[derive(Debug, Clone, Copy)]
pub struct CheckpointRule {
    /// Not before the log has grown by so many bytes.
    pub log_bytes_min: u64,
    /// Once the log has grown by the size of the state and so many bytes.
    pub log_bytes_max: u64,
    /// How many entries stay, so that a node that was away shortly needs no checkpoint.
    pub entries_kept: u64,
}

impl Default for CheckpointRule {
    fn default() -> Self {
        Self {
            log_bytes_min: limits::CHECKPOINT_LOG_BYTES_MIN,
            log_bytes_max: limits::CHECKPOINT_LOG_BYTES_MAX,
            entries_kept: limits::ENTRIES_KEPT_BEHIND_CHECKPOINT,
        }
    }
}

/// Why consensus could not start on this node's folder.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log.
    #[error("the log in {} cannot be opened", path.display())]
    Log {
        /// Its folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: LogOpenError,
    },
    /// The checkpoint.
    #[error("the state machine cannot be loaded")]
    Checkpoint(#[source] CheckpointError),
    /// The vote cannot be read, or openraft refused what it found.
    #[error("consensus cannot start: {what}")]
    Start {
        /// What was refused.
        what: String,
    },
    /// The folder.
    #[error("cannot make the folder {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What this node's Raft says of itself and, on the leader, of the others.
#[derive(Debug, Clone)]
pub struct RaftView {
    /// The term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    /// Whether this node leads.
    pub leads: bool,
    /// The index of the last entry of the log.
    pub last_index: u64,
    /// The index of the last entry that is known to be committed.
    pub committed: u64,
    /// The index of the last applied entry.
    pub applied: u64,
    /// Who votes, by the committed membership.
    pub voters: BTreeSet<NodeId>,
    /// Who replicates without a vote.
    pub learners: BTreeSet<NodeId>,
    /// Whether a change of the membership is under way.
    pub changing: bool,
    /// On the leader: how far each other node's log is known to reach.
    pub matched: BTreeMap<NodeId, u64>,
    /// On the leader: how long ago each other node last answered; absent if it never did.
    pub answered: BTreeMap<NodeId, Duration>,
    /// On the leader: how long ago a quorum last answered.
    pub quorum_answered: Option<Duration>,
    /// Why consensus has stopped on this node, if it has.
    pub stopped: Option<String>,
}

/// Figures of the log for metrics and tests.
pub use crate::log::LogStats;

/// Consensus on one node. Clones share everything.
pub struct Consensus<R: Runtime = Tokio> {
    /// Ends the task that asks for checkpoints, with the last clone.
    keeping: Arc<(DropGuard, Hushed)>,
    /// Whether Raft is gone without a word: its task has panicked.
    gone: Arc<AtomicBool>,
    heard_leader: Arc<parking_lot::Mutex<InstantOf<R>>>,
    me: NodeId,
    raft: Raft<R>,
    shared: Arc<Shared<R>>,
    log: LogStore<R>,
    checkpoints: Arc<Checkpoints>,
    proposer: Proposer,
    reads: Reads<R>,
    peers: Peers<R>,
    on_their_way: OnTheirWay,
    names: Arc<BTreeMap<NodeId, String>>,
    declaration: Arc<str>,
}

impl<R: Runtime> Clone for Consensus<R> {
    fn clone(&self) -> Self {
        Self {
            keeping: self.keeping.clone(),
            gone: self.gone.clone(),
            heard_leader: self.heard_leader.clone(),
            me: self.me,
            raft: self.raft.clone(),
            shared: self.shared.clone(),
            log: self.log.clone(),
            checkpoints: self.checkpoints.clone(),
            proposer: self.proposer.clone(),
            reads: self.reads.clone(),
            peers: self.peers.clone(),
            on_their_way: self.on_their_way.clone(),
            names: self.names.clone(),
            declaration: self.declaration.clone(),
        }
    }
}

/// What was found in a node's folder, before Raft runs on it: enough for the first hello.
pub struct Opened<R: Runtime = Tokio> {
    config: ConsensusConfig,
    log: LogStore<R>,
    checkpoints: Arc<Checkpoints>,
    machine: Machine<R>,
    /// What the log's recovery found.
    pub recovered: Recovered,
}

impl<R: Runtime> Opened<R> {
    /// Reads log and checkpoint. Blocks; nothing speaks with other nodes yet.
    pub fn open(config: ConsensusConfig) -> Result<Self, OpenError> {
        let log_folder = config.folder.join("log");
        let files = config.log.files.clone();
        make_folder(&*files, &log_folder)?;
        make_folder(&*files, &config.folder.join("checkpoints"))?;
        let (engine, recovered) =
            LogEngine::open(&log_folder, config.log.clone()).map_err(|source| OpenError::Log {
                path: log_folder.clone(),
                source,
            })?;
        let log = LogStore::new(engine).map_err(|error| OpenError::Start {
            what: error.to_string(),
        })?;
        if log.seats().own() == Shown::default() && log.position() != (0, 0) {
            return Err(OpenError::Start {
                what: "the log is of a version of this program that gave disks no names".to_owned(),
            });
        }
        let (checkpoints, loaded) =
            Checkpoints::open(files, &config.folder.join("checkpoints"), config.genesis.clone())
                .map_err(OpenError::Checkpoint)?;
        let checkpoints = Arc::new(checkpoints);
        let machine = Machine::new(&config.genesis, checkpoints.clone(), loaded, log.seats().clone());
        Ok(Self {
            config,
            log,
            checkpoints,
            machine,
            recovered,
        })
    }

    /// Whether this node was ever part of a formed cluster.
    pub fn formed(&self) -> bool {
        self.log.engine().bounds().last_index.is_some() || self.checkpoints.current().is_some()
    }

    /// The durable vote's term, and how far log and checkpoint reach.
    pub fn position(&self) -> (u64, u64) {
        let (term, last) = self.log.position();
        (term, last.max(self.machine.shared().applied().borrow_watched().index))
    }

    /// Starts Raft.
    pub async fn start(mut self, peers: Peers<R>) -> Result<Consensus<R>, OpenError> {
        let refused = |what: String| OpenError::Start { what };
        let named = self.log.name_disk(self.config.new_disk).await;
        named.map_err(|error| refused(chain(&error)))?;
        let seats = self.log.seats().clone();
        let found = StorageHelper::new(&mut self.log, &mut self.machine)
            .get_membership()
            .await
            .map_err(|error| refused(chain(&error)))?;
        for membership in [found.committed(), found.effective()] {
            if let Some(at) = membership.log_id() {
                seats.append(at.index, membership.membership().clone());
            }
        }
        let config = self.config;
        let timeout = config.election_timeout.as_millis() as u64;
        let raft_config = Config {
            cluster_name: config.genesis.digest().short(),
            heartbeat_interval: config.heartbeat.as_millis() as u64,
            election_timeout_min: timeout,
            // The gap after a leader's death is the lease (this maximum) and the drawn timeout: a narrow draw keeps it
            // short, and pre-vote makes a split vote cheap.
            election_timeout_max: election_ms_max(timeout),
            max_payload_entries: limits::APPEND_ENTRIES_MAX,
            replication_lag_threshold: config.snapshot_interval.saturating_mul(4),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: config.checkpoints.entries_kept,
            purge_batch_size: 256,
            install_snapshot_timeout: limits::SNAPSHOT_INSTALL_MS_MAX,
            enable_pre_vote: Some(true),
            // The state machine is rebuilt from the log at start, so a restarted leader must be elected again.
            enable_leader_restore: Some(false),
            // A node without a vote may come back with an older log, or none (the gate refuses a voter that does): its
            // replication begins anew. Without this a leader would take what it once had for what it has, for ever.
            allow_log_reversion: Some(!is_planted(Bug::TrustsOldProgress)),
            backoff: limits::RAFT_BACKOFF.to_owned(),
            // Who may stand for election is told below, and whenever a membership is written.
            enable_elect: false,
            ..Config::default()
        };
        let raft_config = Arc::new(raft_config.validate().map_err(|error| refused(chain(&error)))?);
        let on_their_way = OnTheirWay::default();
        let network = Network::new(config.id, peers.clone(), on_their_way.clone(), seats.clone());
        let shared = self.machine.shared().clone();
        let raft = Raft::<R>::new(config.id, raft_config, network, self.log.clone(), self.machine)
            .await
            .map_err(|error| refused(chain(&error)))?;
        let standing = raft.clone();
        seats.listen(config.id, move |may_stand| standing.runtime_config().elect(may_stand));
        let patience = Duration::from_millis(limits::WRITE_PATIENCE_MS);
        let stop = CancellationToken::new();
        let consensus = Consensus {
            me: config.id,
            gone: Arc::default(),
            keeping: Arc::new((stop.clone().drop_guard(), Hushed(seats))),
            heard_leader: Arc::new(parking_lot::Mutex::new(InstantOf::<R>::now())),
            proposer: Proposer::start(raft.clone(), peers.clone(), config.id, patience),
            reads: Reads::start(raft.clone(), peers.clone(), config.id, shared.clone()),
            peers,
            on_their_way,
            declaration: config.genesis.declaration().canonical_json().into(),
            raft,
            shared,
            log: self.log,
            checkpoints: self.checkpoints,
            names: Arc::new(
                config
                    .genesis
                    .founders()
                    .iter()
                    .map(|(id, founder)| (*id, founder.name.clone()))
                    .collect(),
            ),
        };
        let keeper = CheckpointKeeper {
            raft: consensus.raft.clone(),
            shared: consensus.shared.clone(),
            log: consensus.log.clone(),
            checkpoints: consensus.checkpoints.clone(),
        };
        R::detach(stop.run_until_cancelled_owned(keeper.run(config.snapshot_interval, config.checkpoints)));
        Ok(consensus)
    }
}

/// Ends what the seats tell Raft, with the last clone of a [`Consensus`]: they are Raft's own, and must not keep it.
struct Hushed(Arc<Seats>);

impl Drop for Hushed {
    fn drop(&mut self) {
        self.0.hush();
    }
}

/// Makes a folder in the node's own, with a name that is durable.
fn make_folder(files: &dyn Files, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::Folder {
        path: path.to_owned(),
        source,
    };
    files.make_folder(path).map_err(failed)?;
    match path.parent() {
        Some(above) => files.sync_folder(above).map_err(failed),
        None => Ok(()),
    }
}

impl<R: Runtime> Consensus<R> {
    /// What this node shows of its disk.
    pub fn shown(&self) -> Shown {
        self.log.seats().own()
    }

    /// Which disk of a node counts, by the newest membership of this node's log; none where it is not in it.
    pub fn seat(&self, node: &NodeId) -> Option<Seat> {
        self.log.seats().seat(node)
    }

    /// Notes that a majority of the other founders has written down this disk as the first of its node: from then on it may
    /// vote in the first membership. Durable when it returns.
    pub async fn vouch(&self) -> io::Result<()> {
        self.log.vouch().await
    }

    /// Writes the first membership, if this node's log is empty. Every founder that calls this gives the same voters,
    /// so it does not matter how many do (Raft §4.1 asks for one agreed first configuration).
    pub async fn form(&self, voters: &BTreeSet<NodeId>) -> Result<(), ProposeError> {
        let members: BTreeMap<_, _> = voters.iter().map(|id| (*id, self.member(id, Seat::Founder))).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(ProposeError::Unavailable(chain(&error))),
        }
    }

    fn member(&self, id: &NodeId, seat: Seat) -> Member {
        Member {
            name: self.name_of(id),
            seat,
        }
    }

    /// A node's name, for people.
    pub fn name_of(&self, id: &NodeId) -> String {
        let name = self.names.get(id).cloned().or_else(|| {
            self.shared
                .read(|state| state.roles().get(id).map(|record| record.name.clone()))
        });
        name.unwrap_or_else(|| id.short())
    }

    /// The cluster's declaration, in its canonical form.
    pub fn declaration(&self) -> &str {
        &self.declaration
    }

    /// Proposes one command, here or through the leader.
    pub async fn propose(&self, command: Command) -> Result<Reply, ProposeError> {
        self.proposer.propose(command).await
    }

    /// Returns once this node's state holds everything that was acknowledged anywhere before the call.
    pub async fn newest(&self) -> Result<(), ReadError> {
        self.reads.newest().await
    }

    /// Whether no log comes to this node any more, although the others go on: it is neither voter nor standby. Silence
    /// alone is not that; without a quorum there is nothing to come.
    pub async fn is_left_out(&self) -> bool {
        let silent = self.heard_leader() > Duration::from_millis(limits::QUORUM_SILENCE_MS_MAX);
        silent && !self.view().leads && self.reads.is_left_out().await
    }

    /// Looks at the applied state of this node. `look` must be short; clone the root to read much.
    pub fn read<T>(&self, look: impl FnOnce(&ClusterState) -> T) -> T {
        self.shared.read(look)
    }

    /// As [`Consensus::read`], with the index of the last entry that is in the state.
    pub fn read_at<T>(&self, look: impl FnOnce(u64, &ClusterState) -> T) -> T {
        self.shared.read_at(look)
    }

    /// The entries of the log from `first` on, for whoever compares logs: each one's index, its term, and a digest of
    /// what is in it. Blocks on the disk for those that are not in memory.
    pub async fn log_digests(&self, first: u64) -> io::Result<Vec<(u64, u64, Digest)>> {
        self.log.digests(first).await
    }

    /// How far the state machine is, and a way to wait for more.
    pub fn applied(&self) -> Watched<R, Applied> {
        self.shared.applied()
    }

    /// How many bytes of appends were sent to each other node and not answered yet; a node that owes no answer is not
    /// there.
    pub fn on_their_way(&self) -> BTreeMap<NodeId, usize> {
        self.on_their_way.bytes()
    }

    /// The term, as [`Consensus::view`] has it, for whoever needs nothing else.
    pub fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// What Raft says now.
    pub fn view(&self) -> RaftView {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let committed = &metrics.committed_membership_config;
        let joint = |membership: &types::StoredMembership| membership.membership().get_joint_config().len() > 1;
        let matched = metrics.replication.iter().flatten();
        let answered = metrics.heartbeat.iter().flatten();
        RaftView {
            term: metrics.current_term,
            leader: metrics.current_leader,
            leads: metrics.state == ServerState::Leader,
            last_index: metrics.last_log_index.unwrap_or_default(),
            committed: metrics.local_committed.map_or(0, |id| id.index),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            voters: committed.membership().voter_ids().collect(),
            learners: committed.membership().learner_ids().collect(),
            changing: joint(committed)
                || metrics.membership_config.log_id() != metrics.committed_membership_config.log_id(),
            matched: matched.map(|(id, log)| (*id, log.map_or(0, |log| log.index))).collect(),
            answered: answered.filter_map(|(id, at)| Some((*id, (*at)?.elapsed()))).collect(),
            quorum_answered: metrics.last_quorum_acked.map(|at| at.elapsed()),
            stopped: match metrics.running_state.as_ref() {
                Err(fatal) => Some(chain(fatal)),
                Ok(()) if self.gone.load(Ordering::Relaxed) => Some("its task has panicked".to_owned()),
                Ok(()) => None,
            },
        }
    }

    /// The term, the index of the last applied entry, and whether this node leads: what is told of a view again and again.
    pub fn told(&self) -> (u64, u64, bool) {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let applied = metrics.last_applied.map_or(0, |id| id.index);
        (metrics.current_term, applied, metrics.state == ServerState::Leader)
    }

    /// Resolves when something about leadership or membership may have changed. Cancel-safe.
    pub fn changes(&self) -> impl Future<Output = ()> + Send + use<R> {
        let mut metrics = self.raft.server_metrics();
        metrics.borrow_and_update();
        let gone = self.gone.clone();
        async move {
            // An end of the channel is the end of Raft, which the next look at the view tells, whether or not Raft did.
            if metrics.changed().await.is_err() {
                gone.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Makes the membership what is asked: at most one change of the voters, joint where it has to be, and the learners
    /// before and after it. Only the leader can. Returns when the change is committed. A node that becomes a voter votes with
    /// the disk that it has shown to this one; one that has shown none is refused.
    pub async fn set_membership(
        &self,
        voters: &BTreeSet<NodeId>,
        learners: &BTreeSet<NodeId>,
    ) -> Result<(), ProposeError> {
        let view = self.view();
        let known: BTreeSet<_> = view.voters.union(&view.learners).copied().collect();
        let wanted: BTreeSet<_> = voters.union(learners).copied().collect();
        let new: BTreeMap<_, _> = wanted
            .difference(&known)
            .map(|id| (*id, self.member(id, Seat::Any)))
            .collect();
        if !new.is_empty() {
            self.change(ChangeMembers::AddNodes(new)).await?;
        }
        if *voters != view.voters {
            let mut entering = BTreeMap::new();
            for id in voters.difference(&view.voters) {
                let shown = self.shown_by(id).ok_or_else(|| {
                    ProposeError::Unavailable(format!("{} has not shown its disk yet", self.name_of(id)))
                })?;
                entering.insert(*id, self.member(id, Seat::Disk(shown.disk)));
            }
            // In one entry, so that no disk is named that does not vote.
            let change = vec![
                ChangeMembers::SetNodes(entering),
                ChangeMembers::ReplaceAllVoters(voters.clone()),
            ];
            self.change(ChangeMembers::Batch(change)).await?;
        }
        let gone: BTreeSet<_> = known.difference(&wanted).copied().collect();
        if !gone.is_empty() {
            self.change(ChangeMembers::RemoveNodes(gone)).await?;
        }
        self.settle_seats().await
    }

    /// Names the disks of voters that have none by name yet, and no longer those of nodes that do not vote. Does nothing
    /// where there is nothing to do. Only the leader can.
    pub async fn settle_seats(&self) -> Result<(), ProposeError> {
        let unsettled = self.log.seats().unsettled(&self.me, |node| self.peers.shown(node));
        if unsettled.is_empty() {
            return Ok(());
        }
        let nodes = unsettled.into_iter().map(|(id, seat)| (id, self.member(&id, seat)));
        self.change(ChangeMembers::SetNodes(nodes.collect())).await
    }

    fn shown_by(&self, node: &NodeId) -> Option<Shown> {
        if *node == self.me {
            return Some(self.shown());
        }
        self.peers.shown(node)
    }

    /// Ends a change of the voters that was begun and not ended, by this leader or one before it; does nothing where
    /// there is none. Only the leader can.
    pub async fn end_joint(&self) -> Result<(), ProposeError> {
        let joint = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().get_joint_config().len() > 1
        };
        if !joint {
            return Ok(());
        }
        // Adding nobody to a joint membership makes it the newer of its two halves.
        self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await
    }

    async fn change(&self, change: ChangeMembers<NodeId, Member>) -> Result<(), ProposeError> {
        failpoints::hit(Point::BeforeMembership);
        // Voters that leave stay as learners; whether they are wanted as such is asked for by name.
        match self.raft.change_membership(change, true).await {
            Ok(_) => {
                failpoints::hit(Point::AfterMembership);
                Ok(())
            }
            Err(RaftError::APIError(error)) => Err(ProposeError::Unavailable(chain(&error))),
            Err(RaftError::Fatal(error)) => Err(ProposeError::OutcomeUnknown(chain(&error))),
        }
    }

    /// Asks `to` to lead in this node's stead. It may not come to that; the caller looks again.
    pub async fn hand_over(&self, to: NodeId) -> Result<(), ProposeError> {
        self.raft
            .trigger()
            .transfer_leader(to)
            .await
            .map_err(|error| ProposeError::Unavailable(chain(&error)))
    }

    /// What the listener does with Raft's connections.
    pub fn raft_handler(&self) -> Handler<R> {
        let served = network::Served {
            raft: self.raft.clone(),
            checkpoints: self.checkpoints.clone(),
            heard_leader: self.heard_leader.clone(),
            id: self.me,
            seats: self.log.seats().clone(),
        };
        Arc::new(move |connection| Box::pin(network::serve(connection, served.clone())))
    }

    /// What the listener does with forwarded requests; those that are not consensus's own go to `extra`.
    pub fn forward_handler(&self, extra: Extra) -> Handler<R> {
        let (raft, reads) = (self.raft.clone(), self.reads.clone());
        Arc::new(move |connection| Box::pin(forward::serve(connection, raft.clone(), reads.clone(), extra.clone())))
    }

    /// Asks the leader something that is not consensus's own; `verb` is at least [`EXTRA_VERBS`].
    pub async fn ask_leader(
        &self,
        verb: u8,
        body: bytes::Bytes,
        limit: Duration,
    ) -> Result<bytes::Bytes, ProposeError> {
        let leader = self
            .view()
            .leader
            .ok_or_else(|| ProposeError::Unavailable("no leader is known: there may be no quorum".to_owned()))?;
        let connect = Duration::from_millis(limits::CONNECT_MS_MAX);
        let link = self
            .peers
            .link(leader, Lane::Forward, connect)
            .await
            .map_err(|error| ProposeError::Unavailable(chain(&error)))?;
        link.call(verb, body, limit).await.map_err(|error| match error {
            CallError::NotSent | CallError::Full => ProposeError::Unavailable(error.to_string()),
            CallError::Broken | CallError::Late => ProposeError::OutcomeUnknown(error.to_string()),
        })
    }

    /// How long ago this node last heard from a leader; for a node that never did, since it started.
    pub fn heard_leader(&self) -> Duration {
        elapsed::<R>(*self.heard_leader.lock())
    }

    /// Figures of the log.
    pub fn log_stats(&self) -> LogStats {
        self.log.engine().stats()
    }

    /// How many bytes the log takes on disk.
    pub fn log_bytes(&self) -> io::Result<u64> {
        self.log.engine().size_bytes()
    }

    /// The durable vote's term, and how far log and state reach.
    pub fn position(&self) -> (u64, u64) {
        let (term, last) = self.log.position();
        (term, last.max(self.shared.applied().borrow_watched().index))
    }

    /// The durable vote's term, and the last index that is both committed and durable here: what this node has after a
    /// kill, whatever happens until then. A leader may apply an entry that others have made durable before its own disk
    /// has, and a follower may lose durable entries that were never committed; neither counts.
    pub fn kept(&self) -> (u64, u64) {
        (
            self.log.position().0,
            self.log.durable().min(self.shared.applied().borrow_watched().index),
        )
    }

    /// Stops Raft and closes the log; what was accepted is on disk afterwards.
    pub async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "consensus did not stop cleanly");
        }
        if let Err(error) = self.log.engine().close() {
            tracing::warn!(%error, "the log did not close cleanly");
        }
    }
}

/// Asks for checkpoints. It holds no [`Consensus`], whose last clone ends it.
struct CheckpointKeeper<R: Runtime> {
    raft: Raft<R>,
    shared: Arc<Shared<R>>,
    log: LogStore<R>,
    checkpoints: Arc<Checkpoints>,
}

impl<R: Runtime> CheckpointKeeper<R> {
    /// Asks for checkpoints when enough has been logged: after the declared number of entries, but not before the log
    /// has outgrown the state, so that a big state is not written again for every few entries.
    async fn run(self, interval: u64, rule: CheckpointRule) {
        let mut applied = self.shared.applied();
        let mut asked_at = self
            .checkpoints
            .current()
            .map_or(0, |(meta, _)| meta.last_log_id.map_or(0, |id| id.index));
        let mut bytes_at = self.log.engine().stats().bytes_written;
        // What an earlier process logged counts as well, or a node that restarts often would never write one.
        let mut found = self.log.engine().size_bytes().unwrap_or(0);
        while applied.changed().await.is_ok() {
            let index = applied.borrow_and_update().index;
            let logged = found + self.log.engine().stats().bytes_written.saturating_sub(bytes_at);
            let due = index.saturating_sub(asked_at) >= interval && logged >= rule.log_bytes_min;
            let state_bytes = self
                .shared
                .read(|state| state.keyspace().data_bytes() + state.keyspace().history_bytes());
            if (due && logged >= state_bytes) || logged >= state_bytes.saturating_add(rule.log_bytes_max) {
                asked_at = index;
                found = 0;
                bytes_at = self.log.engine().stats().bytes_written;
                if let Err(error) = self.raft.trigger().snapshot().await {
                    tracing::debug!(error = %chain(&error), "no checkpoint");
                }
            }
        }
    }
}
