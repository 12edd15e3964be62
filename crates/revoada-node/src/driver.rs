//! The loop of a node: observe, plan, commit, act, confirm. On a node that does not lead it only observes.
//!
//! Every plan is made from what is committed and what is seen, and nothing of it is kept: a new leader goes on where the
//! old one was. The loop runs at the declared cadence, and at once when membership or leadership changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use revoada_attest::planted::{Bug, is_planted};
use revoada_attest::{Block, BlockBody, Digest, NodeId, NodeKey, Transition, TransitionKind};
use revoada_core::genesis::Genesis;
use revoada_core::keyspace::Operation;
use revoada_core::limits;
use revoada_core::machine::{Command, Done, RoleView};
use revoada_core::policy::{Founder, Intent, Observed, Plan, Replication, Seen, Step, Wish, admissible, plan};
use revoada_core::roles::{Location, Membership, RoleNote};
use revoada_core::topology::TopologyStrategy;
use revoada_mesh::consensus::{Consensus, ProposeError, RaftView};
use revoada_mesh::failpoints::{self, Point};
use revoada_mesh::keyspace::Clock;
use revoada_mesh::membership::View;
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, Ticks, Tokio, elapsed};
use tokio::sync::{Notify, watch};

use crate::positions::{Position, Positions};

/// What the driver works with. Cheap to clone.
pub(crate) struct Driver<R: Runtime = Tokio> {
    pub me: NodeId,
    pub key: NodeKey,
    pub genesis: Arc<Genesis>,
    pub topology: Arc<dyn TopologyStrategy>,
    pub consensus: Consensus<R>,
    pub view: watch::Receiver<View<R>>,
    pub positions: Arc<Positions<R>>,
    pub clock_ms: Clock,
    pub started: InstantOf<R>,
    /// Wakes the loop: an operator's wish was committed.
    pub wake: Arc<Notify>,
    /// One hand at a time commits transitions, so that two do not race for one parent.
    pub acting: Arc<tokio::sync::Mutex<()>>,
    /// What stands in the way of the declared shape, as the newest plan has it.
    pub why: Arc<Mutex<Vec<String>>>,
    /// Who spoke with this node other than by gossip.
    pub spoke: Arc<Mutex<Spoke<R>>>,
    /// The least silence of a node before it is lost.
    pub silence_min: Duration,
}

/// What is known of nodes that gossip has not told of yet.
pub(crate) struct Spoke<R: Runtime = Tokio> {
    /// When each founder answered last while this node formed the cluster.
    pub formed_with: BTreeMap<NodeId, InstantOf<R>>,
    /// From when on this node leads, if it does.
    leads_since: Option<InstantOf<R>>,
}

impl<R: Runtime> Default for Spoke<R> {
    fn default() -> Self {
        Self {
            formed_with: BTreeMap::new(),
            leads_since: None,
        }
    }
}

impl<R: Runtime> Spoke<R> {
    fn lead(&mut self, leads: bool) {
        self.leads_since = leads.then(|| self.leads_since.unwrap_or_else(InstantOf::<R>::now));
    }
}

impl<R: Runtime> Clone for Driver<R> {
    fn clone(&self) -> Self {
        Self {
            me: self.me,
            key: self.key.clone(),
            genesis: self.genesis.clone(),
            topology: self.topology.clone(),
            consensus: self.consensus.clone(),
            view: self.view.clone(),
            positions: self.positions.clone(),
            clock_ms: self.clock_ms.clone(),
            started: self.started,
            wake: self.wake.clone(),
            acting: self.acting.clone(),
            why: self.why.clone(),
            spoke: self.spoke.clone(),
            silence_min: self.silence_min,
        }
    }
}

/// Why a step was not done; the next plan looks again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    /// Nothing was changed, or it is unknown whether; planning again tells.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The state machine refused it.
    #[error("{0}")]
    Refused(String),
    /// Another node acts now.
    #[error("this node no longer leads")]
    Deposed,
    /// The membership change takes long.
    #[error("the membership change is still under way")]
    Slow,
}

impl<R: Runtime> Driver<R> {
    /// Runs until its consensus stops.
    pub async fn run(mut self) {
        let cadence = self.genesis.declaration().strategy().reconciliation;
        let mut ticks = Ticks::<R>::every(cadence);
        let mut has_led = false;
        loop {
            tokio::select! {
                biased;
                () = ticks.tick() => {}
                changed = self.view.changed() => if changed.is_err() { return },
                () = self.consensus.changes() => {}
                () = self.wake.notified() => {}
            }
            let raft = self.consensus.view();
            if let Some(why) = &raft.stopped {
                tracing::error!(why, "consensus has stopped on this node");
                return;
            }
            self.remember(&raft);
            self.spoke.lock().lead(raft.leads);
            has_led |= raft.leads;
            if raft.leads || (has_led && is_planted(Bug::ActsWhenDeposed)) {
                self.reconcile().await;
                self.keep_house().await;
            } else {
                self.why.lock().clear();
            }
        }
    }

    fn remember(&self, raft: &RaftView) {
        // Only what a node can never lose counts, or an honest one would be refused after a crash: what it says that it
        // keeps, and what the leader knows to be synced there.
        for (id, peer) in self.view.borrow().iter() {
            self.positions.saw(
                *id,
                Position {
                    term: peer.facts.kept_term,
                    index: peer.facts.kept,
                },
            );
        }
        self.positions.saw_replicated(&self.me, raft);
        // A node that votes no longer may come back with an empty log. One that does not know who votes, because it
        // replicates nothing, forgets nobody.
        let known = !raft.voters.is_empty();
        if known {
            self.positions.forget_all_but(&raft.voters);
        }
    }

    /// What the leader sees now.
    pub fn observe(&self) -> Observed {
        let raft = self.consensus.view();
        let (RoleView { roles, head, .. }, roster) = self
            .consensus
            .read(|state| (RoleView::from(state), state.roster().clone()));
        let now_ms = (self.clock_ms)();
        let now = InstantOf::<R>::now();
        let at = |since: InstantOf<R>| now_ms.saturating_sub(now.saturating_duration_since(since).as_millis() as u64);
        let failsafe = self.genesis.declaration().strategy().membership.failsafe_timeout;
        let view = self.view.borrow();
        let mut membership: BTreeMap<NodeId, Seen> = view
            .iter()
            .map(|(id, peer)| {
                let facts = &peer.facts;
                let place = |place: &String| Some(place.clone()).filter(|place| !place.is_empty());
                let location = Location {
                    address: peer.address.to_string(),
                    zone: place(&facts.zone),
                    rack: place(&facts.rack),
                };
                // A voter whose log went back gossips on with nodes that did not see it go back. It is lost all the same.
                let refused = self.positions.refused_since(id);
                let seen = Seen {
                    membership: if refused.is_some() {
                        Membership::Dead
                    } else {
                        peer.membership
                    },
                    since_ms: at(refused.unwrap_or(peer.since)),
                    excused: facts.by_operator,
                    location: Some(location).filter(|_| refused.is_none() && peer.membership == Membership::Alive),
                    log_went_back: refused.is_some(),
                };
                (*id, seen)
            })
            .collect();
        for id in raft.voters.iter().chain(&raft.learners).chain(roles.nodes.keys()) {
            if !membership.contains_key(id)
                && let Some(since) = self.lost_unheard(id, &raft)
            {
                let seen = Seen {
                    membership: Membership::Dead,
                    since_ms: at(since),
                    excused: false,
                    location: None,
                    log_went_back: self.positions.refused_since(id).is_some(),
                };
                membership.insert(*id, seen);
            }
        }
        let replication = raft
            .voters
            .union(&raft.learners)
            .filter(|id| **id != self.me)
            .map(|id| {
                let lag = raft
                    .last_index
                    .saturating_sub(raft.matched.get(id).copied().unwrap_or_default());
                let reachable = raft.answered.get(id).is_some_and(|answered| *answered < failsafe);
                (
                    *id,
                    Replication {
                        reachable,
                        caught_up: (reachable && lag <= limits::CAUGHT_UP_LAG_MAX) || is_planted(Bug::PromotesLaggards),
                        lag,
                    },
                )
            })
            .collect();
        let founders = self.genesis.founders().iter().map(|(id, founder)| {
            let location = Location {
                address: String::new(),
                zone: founder.zone.clone(),
                rack: founder.rack.clone(),
            };
            (
                *id,
                Founder {
                    name: founder.name.clone(),
                    location,
                },
            )
        });
        Observed {
            leader: self.me,
            chain_head: head,
            roles: (*roles).clone(),
            membership,
            replication,
            voters: raft.voters.clone(),
            learners: raft.learners.clone(),
            membership_change_in_flight: raft.changing,
            founders: founders.collect(),
            roster: self.topology.has_roster().then_some(roster),
        }
    }

    /// Since when a node is lost that gossip has never told of, if it is. One that spoke with this node while the
    /// cluster formed, or has answered it as its leader, is lost as soon as any other that falls silent; of one that
    /// never said anything it takes longer to know.
    ///
    /// Only a leader has asked all of them, and only from when it leads.
    pub fn lost_unheard(&self, id: &NodeId, raft: &RaftView) -> Option<InstantOf<R>> {
        let now = InstantOf::<R>::now();
        let answered = raft.answered.get(id).map(|ago| now - *ago);
        let spoke = self.spoke.lock();
        let last = answered.max(spoke.formed_with.get(id).copied());
        let leads_since = spoke.leads_since.filter(|_| raft.leads);
        let fell_silent = last.zip(leads_since).and_then(|(last, leads_since)| {
            (now.saturating_duration_since(last.max(leads_since)) >= self.silence_min).then_some(last)
        });
        let never_spoke = elapsed::<R>(self.started) > Duration::from_millis(limits::UNHEARD_MS_MAX);
        fell_silent.or(never_spoke.then_some(self.started))
    }

    /// What this node would do now if it led, and whether a node that does not vote waits until it may change its role.
    pub fn outlook(&self) -> (Plan, bool) {
        let now_ms = (self.clock_ms)();
        let observed = self.observe();
        let mut others = observed.roles.members().filter(|record| !record.is_voter());
        let waits = others.any(|record| record.is_fit() && record.is_damped(now_ms));
        (plan(&observed, &self.intent(), now_ms), waits)
    }

    pub fn intent(&self) -> Intent<'_> {
        let strategy = self.genesis.declaration().strategy();
        Intent {
            topology: &*self.topology,
            standbys: strategy.standbys as usize,
            spread: strategy.placement.into(),
        }
    }

    /// Plans and carries out until nothing is left, or something has to be waited for.
    async fn reconcile(&self) {
        let _acting = self.acting.lock().await;
        if let Err(error) = self.settle_membership().await {
            tracing::info!(
                error = &error as &dyn std::error::Error,
                "a membership change is not at its end yet"
            );
        }
        for _ in 0..limits::PLANS_PER_TICK_MAX {
            // Also after what was waited for: another node may have begun to act meanwhile.
            let Ok(term) = self.acts_in() else { return };
            let plan = plan(&self.observe(), &self.intent(), (self.clock_ms)());
            *self.why.lock() = plan.why.clone();
            if plan.is_empty() {
                return;
            }
            let mut head = plan.parent;
            for step in plan.steps {
                match self.carry_out(step, term, &mut head).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::info!(error = &error as &dyn std::error::Error, "a step was not done");
                        return;
                    }
                }
            }
        }
    }

    /// The term that this node leads, and may act in.
    fn acts_in(&self) -> Result<u64, StepError> {
        let raft = self.consensus.view();
        if raft.leads || is_planted(Bug::ActsWhenDeposed) {
            Ok(raft.term)
        } else {
            Err(StepError::Deposed)
        }
    }

    /// Ends a joint membership that its leader began and did not end, because it died or had no more patience. Without
    /// this nobody would, and every plan would wait for it. Then names the disks of voters that are not named yet.
    async fn settle_membership(&self) -> Result<(), StepError> {
        let limit = Duration::from_millis(limits::MEMBERSHIP_CHANGE_MS_MAX);
        let end = async {
            self.consensus.end_joint().await?;
            self.consensus.settle_seats().await
        };
        match R::timeout(limit, end).await {
            Ok(ended) => ended.map_err(StepError::from),
            Err(_) => Err(StepError::Slow),
        }
    }

    /// Does one step. False when the rest has to wait.
    async fn carry_out(&self, step: Step, term: u64, head: &mut Digest) -> Result<bool, StepError> {
        if self.acts_in()? != term && !is_planted(Bug::ActsWhenDeposed) {
            return Err(StepError::Deposed);
        }
        match step {
            Step::Commit(transition)
                if transition.kind == TransitionKind::Demote && is_planted(Bug::DemotesWithoutABlock) =>
            {
                Ok(true)
            }
            Step::Commit(transition) => {
                *head = self.commit(transition, term, *head).await?.1;
                Ok(true)
            }
            Step::Note(note) => {
                self.note(note).await?;
                Ok(true)
            }
            Step::SetMembership { voters, learners } => {
                let limit = Duration::from_millis(limits::MEMBERSHIP_CHANGE_MS_MAX);
                match R::timeout(limit, self.consensus.set_membership(&voters, &learners)).await {
                    Ok(changed) => changed.map(|()| true).map_err(StepError::from),
                    Err(_) => Err(StepError::Slow),
                }
            }
            Step::TransferLeader { to } => {
                self.consensus.hand_over(to).await?;
                Ok(false)
            }
            Step::WaitCaughtUp { node } => {
                tracing::debug!(node = %node.short(), "waiting until it has caught up");
                Ok(false)
            }
        }
    }

    /// Commits one transition, planned in `term`, as the block behind `parent`. Returns its number and digest. A block that
    /// comes to the log in another term is refused there, whoever leads that one.
    async fn commit(&self, transition: Transition, term: u64, parent: Digest) -> Result<(u64, Digest), StepError> {
        let term = if is_planted(Bug::ActsWhenDeposed) {
            self.acts_in()?
        } else {
            term
        };
        let (cluster, index) = self
            .consensus
            .read(|state| (state.chain().cluster(), state.chain().len()));
        failpoints::hit(Point::BeforeTransition);
        let said = format!("{}: {} ({})", transition.name, transition.kind, transition.reason);
        let body = BlockBody {
            cluster,
            index,
            parent: if is_planted(Bug::ParentIsUnchecked) {
                Digest::default()
            } else {
                parent
            },
            term,
            time_ms: (self.clock_ms)(),
            proposer: self.me,
            transition,
        };
        match self
            .consensus
            .propose(Command::Transit(Block::seal(body, &self.key)))
            .await?
        {
            Ok(Done::Chained { index, digest }) => {
                failpoints::hit(Point::AfterTransition);
                tracing::info!(index, "{said}");
                Ok((index, digest))
            }
            Ok(other) => Err(StepError::Refused(format!(
                "it was answered by something else: {other:?}"
            ))),
            Err(refused) => Err(StepError::Refused(refused.reason)),
        }
    }

    /// Commits one transition behind the chain's head, outside of any plan: for what an operator forced.
    pub async fn commit_alone(&self, transition: Transition) -> Result<(), StepError> {
        let _acting = self.acting.lock().await;
        let term = self.acts_in()?;
        let head = self.consensus.read(|state| state.chain().head());
        self.commit(transition, term, head).await.map(drop)
    }

    pub async fn note(&self, note: RoleNote) -> Result<(), StepError> {
        match self.consensus.propose(Command::Note(note)).await? {
            Ok(_) => Ok(()),
            Err(refused) => Err(StepError::Refused(refused.reason)),
        }
    }

    /// Grants an operator's wish, or says why not. Returns the number of the first block that it took, if any.
    pub async fn grant(&self, wish: Wish) -> Result<Option<u64>, WishError> {
        let _acting = self.acting.lock().await;
        let term = self.acts_in().map_err(WishError::Step)?;
        let observed = self.observe();
        let steps = admissible(&wish, &observed, &self.intent(), (self.clock_ms)()).map_err(WishError::Refused)?;
        let mut head = observed.chain_head;
        let mut block = None;
        for (number, step) in steps.into_iter().enumerate() {
            let done = match step {
                Step::Commit(transition) => match self.commit(transition, term, head).await {
                    Ok((index, digest)) => {
                        head = digest;
                        block = block.or(Some(index));
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                Step::Note(note) => self.note(note).await,
                Step::SetMembership { .. } | Step::TransferLeader { .. } | Step::WaitCaughtUp { .. } => break,
            };
            match done {
                // The first step alone carries the wish; the next plan does what is left.
                Err(error) if number == 0 => return Err(WishError::Step(error)),
                Err(error) => {
                    tracing::info!(error = &error as &dyn std::error::Error, "a step was not done");
                    break;
                }
                Ok(()) => {}
            }
        }
        self.wake.notify_one();
        Ok(block)
    }

    /// What a leader does beside roles: bounds the history, and ends leases whose time is over.
    async fn keep_house(&self) {
        let now_ms = (self.clock_ms)();
        let (compact, over) = self.consensus.read(|state| {
            let keyspace = state.keyspace();
            (
                compaction(keyspace),
                keyspace.leases_over(now_ms, limits::LEASES_ENDED_PER_TICK_MAX),
            )
        });
        let mut operations = Vec::new();
        operations.extend(compact.map(|revision| Operation::Compact { revision }));
        if !over.is_empty() {
            operations.push(Operation::LeaseExpire { ids: over, now_ms });
        }
        for operation in operations {
            if let Err(error) = self.consensus.propose(Command::Keyspace(operation)).await {
                tracing::debug!(%error, "history or leases could not be tidied; the next tick tries again");
            }
        }
    }
}

/// The revision to compact to, when the history takes more than it may.
fn compaction(keyspace: &revoada_core::keyspace::Keyspace) -> Option<u64> {
    let excess = [
        keyspace.history_bytes() as f64 / limits::HISTORY_BYTES_MAX as f64,
        keyspace.history_events() as f64 / limits::HISTORY_EVENTS_MAX as f64,
    ];
    let excess = excess.into_iter().fold(0.0, f64::max);
    if excess <= 1.0 {
        return None;
    }
    // Down to nine tenths of what it may take, so that it is not due again at once.
    let oldest = keyspace.oldest_position();
    let span = keyspace.revision().saturating_sub(oldest) as f64;
    let drop = (span * (1.0 - 0.9 / excess)) as u64;
    Some(oldest + drop).filter(|revision| *revision > keyspace.compacted_revision() && *revision < keyspace.revision())
}

/// Why a wish was not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WishError {
    /// It is not admissible.
    #[error(transparent)]
    Refused(revoada_core::policy::WishRefused),
    /// It could not be committed.
    #[error(transparent)]
    Step(StepError),
}
