//! What operators see and ask, as the port has it. Looking never needs a quorum; asking goes to the leader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use revoada_attest::{NodeId, TrustedKeys};
use revoada_core::error::ErrorKind;
use revoada_core::limits;
use revoada_core::policy::{Step, Wish as PolicyWish, WishKind, WishRefused, survives, voters_declared};
use revoada_core::roles::{Membership, NodeState, RoleNote};
use revoada_core::{Role, machine::ClusterState as Machine};
use revoada_mesh::consensus::{EXTRA_VERBS, Extra, ProposeError};
use revoada_mesh::membership::Facts;
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, Tokio, changed, elapsed};
use revoada_store::admin::{
    AdminError, ChainHead, ClusterState, ClusterStatus, ClusterSummary, HealthReport, History, HistoryItem, NodeStatus,
    Redundancy, Wish, WishGranted,
};
use revoada_store::{Check, ClusterAdmin, GroupChangeError, StoreBackend};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::backup::Standing;
use crate::driver::{Driver, StepError, WishError};
use crate::node::Stop;
use crate::roster;

const WISH: u8 = EXTRA_VERBS;
const STATUS: u8 = EXTRA_VERBS + 1;
const SHAPE: u8 = EXTRA_VERBS + 2;
pub(crate) const ROSTER: u8 = EXTRA_VERBS + 3;

/// The admin port of one node.
pub(crate) struct Admin<R: Runtime = Tokio> {
    pub driver: Driver<R>,
    pub name: String,
    pub address: std::net::SocketAddr,
    pub facts: watch::Receiver<Facts>,
    pub store: Arc<dyn StoreBackend>,
    pub backups: Option<Arc<Standing>>,
    pub stop: watch::Sender<Option<Stop>>,
}

#[derive(Serialize, Deserialize)]
struct ForwardedWish {
    node: NodeId,
    wish: Wish,
}

/// A wish's fate at the leader, as it travels.
#[derive(Serialize, Deserialize)]
enum WishFate {
    Granted(Option<u64>),
    /// It is so without it, in these words.
    Already(String),
    Refused {
        kind: FateKind,
        why: String,
    },
}

/// How far the leader is from the declared shape.
#[derive(Serialize, Deserialize, Default)]
struct ShapeSeen {
    /// It is there, and nothing is under way.
    whole: bool,
    /// It is not, and time alone brings it no nearer.
    stuck: bool,
    /// What is in the way.
    why: Vec<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
enum FateKind {
    Unknown,
    Refused,
    Unavailable,
    OutcomeUnknown,
}

/// Answers what other nodes ask of the leader.
pub(crate) fn extra<R: Runtime>(admin: Arc<Admin<R>>) -> Extra {
    Arc::new(move |verb, body| {
        let admin = admin.clone();
        Box::pin(async move {
            if verb == STATUS {
                return admin.status_here_as_leader();
            }
            if verb == SHAPE {
                let seen = admin.shape_here_as_leader();
                return serde_json::to_vec(&seen).expect("a shape has string keys only").into();
            }
            let driver = admin.driver.clone();
            if verb == ROSTER {
                let unread = |error: serde_json::Error| Err(GroupChangeError::Invalid(error.to_string()));
                let fate = match serde_json::from_slice(&body) {
                    Ok(ask) => roster::decide(&driver, ask).await,
                    Err(error) => unread(error),
                };
                return serde_json::to_vec(&fate).expect("a fate has string keys only").into();
            }
            let fate = match serde_json::from_slice::<ForwardedWish>(&body) {
                Ok(asked) if verb == WISH => grant(&driver, asked.node, asked.wish).await,
                _ => WishFate::Refused {
                    kind: FateKind::Refused,
                    why: "the leader does not know this request".into(),
                },
            };
            serde_json::to_vec(&fate).expect("a fate has string keys only").into()
        })
    })
}

async fn grant<R: Runtime>(driver: &Driver<R>, node: NodeId, wish: Wish) -> WishFate {
    let kind = match wish {
        Wish::Promote => WishKind::Promote,
        Wish::Demote => WishKind::Demote,
        Wish::Drain => WishKind::Drain,
        Wish::Quarantine => WishKind::Quarantine,
        Wish::Restore => WishKind::Restore,
    };
    if !driver.consensus.view().leads {
        return WishFate::Refused {
            kind: FateKind::Unavailable,
            why: "this node no longer leads".to_owned(),
        };
    }
    let refused = |kind, why| WishFate::Refused { kind, why };
    let deadline = InstantOf::<R>::now() + Duration::from_millis(limits::WISH_SETTLE_MS_MAX);
    let granted = loop {
        match driver.grant(PolicyWish { node, kind }).await {
            Err(WishError::Refused(error)) if error.is_passing() && InstantOf::<R>::now() < deadline => {
                R::sleep(Duration::from_millis(limits::WISH_POLL_MS)).await;
            }
            granted => break granted,
        }
    };
    match granted {
        Ok(block) => WishFate::Granted(block),
        Err(WishError::Refused(error)) if error.kind() == ErrorKind::Unavailable => {
            refused(FateKind::Unavailable, error.to_string())
        }
        Err(WishError::Refused(error @ WishRefused::UnknownNode { .. })) => {
            refused(FateKind::Unknown, error.to_string())
        }
        // Who asks twice, or asks again because the first answer was lost, has what was asked for.
        Err(WishError::Refused(error @ (WishRefused::AlreadySo { .. } | WishRefused::NothingToRestore { .. }))) => {
            WishFate::Already(error.to_string())
        }
        Err(WishError::Refused(error)) => refused(FateKind::Refused, error.to_string()),
        Err(WishError::Step(StepError::Propose(ProposeError::OutcomeUnknown(why)))) => {
            refused(FateKind::OutcomeUnknown, why)
        }
        Err(WishError::Step(error)) => refused(FateKind::Unavailable, error.to_string()),
    }
}

impl<R: Runtime> Admin<R> {
    fn find(&self, node: &str) -> Result<(NodeId, String), AdminError> {
        let by_roles = self.driver.consensus.read(|state| {
            let roles = state.roles();
            let record = roles
                .by_name(node)
                .or_else(|| node.parse().ok().and_then(|id| roles.get(&id)));
            record.map(|record| (record.id, record.name.clone()))
        });
        let founders = self.driver.genesis.founders();
        by_roles
            .or_else(|| {
                founders
                    .iter()
                    .find(|(id, founder)| founder.name == node || id.to_string() == node)
                    .map(|(id, founder)| (*id, founder.name.clone()))
            })
            .ok_or_else(|| AdminError::UnknownNode { node: node.to_owned() })
    }

    fn name_of(&self, state: &Machine, id: &NodeId) -> String {
        let founder = || {
            self.driver
                .genesis
                .founders()
                .get(id)
                .map(|founder| founder.name.clone())
        };
        state
            .roles()
            .get(id)
            .map(|record| record.name.clone())
            .or_else(founder)
            .unwrap_or_else(|| id.short())
    }

    /// Whether what was wished for is so.
    fn is_done(&self, node: &NodeId, wish: Wish) -> bool {
        let raft = self.driver.consensus.view();
        let votes = raft.voters.contains(node);
        let state = self
            .driver
            .consensus
            .read(|state| state.roles().get(node).map(|record| record.state()));
        let settled = !raft.changing && !matches!(state, None | Some(NodeState::Promoting | NodeState::Demoting));
        settled
            && match wish {
                Wish::Promote => votes,
                Wish::Demote | Wish::Drain => !votes,
                Wish::Quarantine => state == Some(NodeState::Quarantined),
                Wish::Restore => !matches!(state, Some(NodeState::Quarantined | NodeState::Draining)),
            }
    }

    /// Waits until what was wished for is so and the cluster has its declared shape, whoever takes the node's place
    /// included. Done, and what keeps the shape away where that does not end by itself.
    async fn wait_until_done(&self, id: &NodeId, name: &str, wish: Wish) -> Result<(bool, Vec<String>), AdminError> {
        let deadline = InstantOf::<R>::now() + Duration::from_millis(limits::WISH_WAIT_MS_MAX);
        let mut stuck_since = None;
        loop {
            let now = InstantOf::<R>::now();
            let done = self.is_done(id, wish);
            let shape = self.shape().await;
            if done && shape.whole {
                return Ok((true, Vec::new()));
            }
            stuck_since = shape.stuck.then(|| stuck_since.unwrap_or(now));
            let stuck = stuck_since.is_some_and(|since| elapsed::<R>(since) >= Duration::from_millis(limits::STUCK_MS));
            if done && (stuck || now >= deadline) {
                return Ok((true, shape.why));
            }
            if now >= deadline {
                let mut what = format!(
                    "{name} is committed to be {}, and it is not done yet",
                    wish.participle()
                );
                for why in shape.why {
                    what = format!("{what}; {why}");
                }
                return Err(AdminError::Unavailable { what, source: None });
            }
            R::sleep(Duration::from_millis(limits::WISH_POLL_MS)).await;
        }
    }

    /// What the leader sees of the shape; nothing is known of it while nobody answers as one.
    async fn shape(&self) -> ShapeSeen {
        if self.driver.consensus.view().leads {
            return self.shape_here_as_leader();
        }
        let limit = Duration::from_millis(limits::STATUS_MS_MAX);
        let answer = self.driver.consensus.ask_leader(SHAPE, bytes::Bytes::new(), limit);
        match R::timeout(limit, answer).await {
            Ok(Ok(answer)) => serde_json::from_slice(&answer).unwrap_or_default(),
            Ok(Err(_)) | Err(_) => ShapeSeen::default(),
        }
    }

    fn shape_here_as_leader(&self) -> ShapeSeen {
        let raft = self.driver.consensus.view();
        if !raft.leads {
            return ShapeSeen::default();
        }
        // Made now: the shape is whole for a moment after a voter is quarantined, until the leader has thought about it.
        let (plan, waits) = self.driver.outlook();
        let (nodes, cluster) = self.figures();
        let redundancy = &cluster.redundancy;
        let moves = |node: &NodeStatus| matches!(node.state, NodeState::Promoting | NodeState::Demoting);
        let acts = !plan.steps.iter().all(|step| matches!(step, Step::WaitCaughtUp { .. }));
        let settled = !raft.changing && !acts && !nodes.iter().any(moves);
        let whole = settled
            && plan.why.is_empty()
            && cluster.state == ClusterState::Formed
            && redundancy.voters == redundancy.voters_declared
            && redundancy.voters_caught_up == redundancy.voters_declared;
        let mut why = plan.why;
        if !whole && why.is_empty() {
            why.push(format!(
                "{} of {} declared voters are alive and caught up",
                redundancy.voters_caught_up, redundancy.voters_declared
            ));
        }
        ShapeSeen {
            whole,
            stuck: !whole && settled && plan.steps.is_empty() && !waits,
            why,
        }
    }

    /// The nodes by name, and the cluster.
    pub fn figures(&self) -> (Vec<NodeStatus>, ClusterSummary) {
        let driver = &self.driver;
        let raft = driver.consensus.view();
        let view = driver.view.borrow().clone();
        let (roles, revision) = driver
            .consensus
            .read(|state| (state.roles().clone(), state.keyspace().revision()));
        let newest = view
            .values()
            .map(|peer| peer.facts.applied)
            .fold(raft.applied, u64::max);
        let now_ms = (driver.clock_ms)();
        let mine = self.facts.borrow().clone();
        let ids = driver.genesis.founders().keys().chain(roles.nodes.keys());
        let ids: std::collections::BTreeSet<_> = ids.copied().collect();
        let mut nodes = Vec::new();
        for id in ids {
            let me = id == driver.me;
            let record = roles.get(&id);
            if record.is_some_and(|record| !record.is_member()) && !raft.voters.contains(&id) {
                continue;
            }
            let peer = view.get(&id);
            let facts = if me { Some(&mine) } else { peer.map(|peer| &peer.facts) };
            let membership = match (me, peer) {
                (true, _) => Membership::Alive,
                (false, Some(peer)) => peer.membership,
                (false, None) if driver.lost_unheard(&id, &raft).is_some() => Membership::Dead,
                // Not heard of yet, by a node that has hardly begun to listen.
                (false, None) => Membership::Suspect,
            };
            let alive = membership != Membership::Dead;
            let applied = if me {
                raft.applied
            } else {
                facts.map_or(0, |facts| facts.applied)
            };
            let lag = match raft.matched.get(&id) {
                _ if me && raft.leads => 0,
                Some(matched) if raft.leads => raft.last_index.saturating_sub(*matched),
                _ => newest.saturating_sub(applied),
            };
            let founder = driver.genesis.founders().get(&id);
            nodes.push(NodeStatus {
                name: record
                    .map(|record| record.name.clone())
                    .or_else(|| founder.map(|founder| founder.name.clone()))
                    .unwrap_or_else(|| id.short()),
                id,
                role: record.map_or(Role::Bootstrap, |record| record.role),
                state: record.map_or(NodeState::Active, |record| record.state()),
                membership,
                leader: raft.leader == Some(id) && alive,
                voter: raft.voters.contains(&id),
                learner: raft.learners.contains(&id),
                applied,
                lag,
                address: if me {
                    self.address
                } else {
                    peer.map_or_else(|| std::net::SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.address)
                },
                pid: facts.filter(|facts| alive && facts.pid > 0).map(|facts| facts.pid),
                rss_bytes: facts
                    .filter(|facts| alive && facts.rss_bytes > 0)
                    .map(|facts| facts.rss_bytes),
                uptime_ms: facts
                    .filter(|facts| alive && facts.started_ms > 0)
                    .map(|facts| now_ms.saturating_sub(facts.started_ms)),
                version: facts.map_or_else(String::new, |facts| facts.version.clone()),
            });
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        let dead =
            |id: &NodeId| *id != driver.me && view.get(id).is_none_or(|peer| peer.membership == Membership::Dead);
        // Founders that are not admitted yet will be: the shape that is declared does not grow while the cluster forms.
        let awaited = driver.genesis.founders().keys().filter(|id| roles.get(id).is_none());
        let members = roles.members().count() + awaited.count();
        let caught_up = nodes
            .iter()
            .filter(|node| node.voter && node.membership == Membership::Alive && node.lag <= limits::CAUGHT_UP_LAG_MAX);
        let leader = raft.leader.filter(|leader| !dead(leader));
        let state = match (leader, raft.applied) {
            (_, 0) => ClusterState::Forming,
            (None, _) => ClusterState::NoQuorum,
            // A leader that was not answered by a quorum for so long leads nobody.
            (Some(_), _)
                if raft.leads
                    && raft.voters.len() > 1
                    && raft
                        .quorum_answered
                        .is_none_or(|ago| ago > Duration::from_millis(limits::QUORUM_SILENCE_MS_MAX)) =>
            {
                ClusterState::NoQuorum
            }
            _ if !raft.leads
                && driver.consensus.heard_leader() > Duration::from_millis(limits::QUORUM_SILENCE_MS_MAX) =>
            {
                ClusterState::NoQuorum
            }
            // A leader on this side of a partition goes on talking to whoever it reaches, and leads nobody either.
            _ if !raft.leads && raft.voters.iter().filter(|id| dead(id)).count() * 2 >= raft.voters.len() => {
                ClusterState::NoQuorum
            }
            _ => ClusterState::Formed,
        };
        let declaration = driver.genesis.declaration();
        let summary = ClusterSummary {
            id: declaration.id(),
            name: declaration.name().to_owned(),
            digest: driver.genesis.digest(),
            state,
            revision,
            term: raft.term,
            leader: match state {
                ClusterState::NoQuorum => None,
                _ => leader.map(|leader| driver.consensus.read(|state| self.name_of(state, &leader))),
            },
            redundancy: Redundancy {
                voters_declared: voters_declared(&*driver.topology, members) as u64,
                voters: raft.voters.len() as u64,
                // Who has what is known by the leader; without one nobody counts.
                voters_caught_up: if state == ClusterState::Formed {
                    caught_up.count() as u64
                } else {
                    0
                },
                survives: survives(&raft.voters, dead).unwrap_or(0) as u64,
            },
        };
        (nodes, summary)
    }
}

impl<R: Runtime> Admin<R> {
    /// The status as JSON for another node, which is `null` where this node does not lead.
    fn status_here_as_leader(&self) -> bytes::Bytes {
        let (nodes, cluster) = self.figures();
        let leads = self.driver.consensus.view().leads && cluster.state == ClusterState::Formed;
        let status = leads.then_some(ClusterStatus { cluster, nodes });
        serde_json::to_vec(&status)
            .expect("a status has string keys only")
            .into()
    }

    /// What the leader says, which sees the others' logs; none if it does not answer at once.
    async fn status_of_leader(&self) -> Option<ClusterStatus> {
        let limit = Duration::from_millis(limits::STATUS_MS_MAX);
        let answer = self.driver.consensus.ask_leader(STATUS, bytes::Bytes::new(), limit);
        let answer = R::timeout(limit, answer).await.ok()?.ok()?;
        serde_json::from_slice::<Option<ClusterStatus>>(&answer).ok()?
    }

    /// Waits a moment for what is committed, so that a node that has just started does not tell old tales; without a
    /// quorum it tells what it has.
    async fn catch_up(&self) {
        let limit = Duration::from_millis(limits::STATUS_MS_MAX);
        match R::timeout(limit, self.driver.consensus.newest()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => tracing::debug!("answering from what this node has: there may be no quorum"),
        }
    }
}

#[async_trait]
impl<R: Runtime> ClusterAdmin for Admin<R> {
    async fn status(&self) -> Result<ClusterStatus, AdminError> {
        if !self.driver.consensus.view().leads
            && let Some(status) = self.status_of_leader().await
        {
            return Ok(status);
        }
        let (nodes, cluster) = self.figures();
        Ok(ClusterStatus { cluster, nodes })
    }

    async fn health(&self) -> Result<HealthReport, AdminError> {
        let ClusterStatus { nodes, cluster } = self.status().await?;
        let backend = self.store.health().await;
        let mut checks = vec![
            Check {
                name: "state".to_owned(),
                ok: cluster.state == ClusterState::Formed,
                detail: format!("the cluster is {}", cluster.state.name()),
            },
            Check {
                name: "redundancy".to_owned(),
                ok: cluster.redundancy.voters_caught_up >= cluster.redundancy.voters_declared,
                detail: format!(
                    "{} of {} declared voters are alive and caught up; {}",
                    cluster.redundancy.voters_caught_up,
                    cluster.redundancy.voters_declared,
                    match cluster.redundancy.survives {
                        0 => "no further loss is survived".to_owned(),
                        1 => "1 more loss is survived".to_owned(),
                        losses => format!("{losses} more losses are survived"),
                    }
                ),
            },
        ];
        let lost: Vec<_> = nodes
            .iter()
            .filter(|node| node.membership == Membership::Dead)
            .map(|node| node.name.as_str())
            .collect();
        checks.push(Check {
            name: "nodes".to_owned(),
            ok: lost.is_empty(),
            detail: if lost.is_empty() {
                format!("all {} nodes are there", nodes.len())
            } else {
                format!("not there: {}", lost.join(", "))
            },
        });
        let why = self.driver.why.lock().clone();
        if !why.is_empty() {
            checks.push(Check {
                name: "shape".to_owned(),
                ok: false,
                detail: why.join("; "),
            });
        }
        let now_ms = (self.driver.clock_ms)();
        checks.extend(self.backups.iter().map(|backups| backups.check(now_ms)));
        checks.extend(backend.checks.iter().cloned());
        Ok(HealthReport {
            healthy: checks.iter().all(|check| check.ok),
            cluster_running: cluster.state == ClusterState::Formed,
            face_running: true,
            resource_count: backend.resource_count,
            subscriber_count: backend.subscriber_count,
            freshness_ms: backend.freshness_ms,
            checks,
        })
    }

    async fn history(&self) -> Result<History, AdminError> {
        self.catch_up().await;
        let items = self.driver.consensus.read(|state| {
            let items = state.chain().iter().map(|sealed| {
                let body = &sealed.block.body;
                let time = std::time::UNIX_EPOCH + Duration::from_millis(body.time_ms);
                HistoryItem {
                    index: body.index,
                    time: humantime::format_rfc3339_millis(time).to_string(),
                    node: body.transition.name.clone(),
                    id: body.transition.node,
                    transition: body.transition.kind,
                    from: body.transition.from,
                    to: body.transition.to,
                    reason: body.transition.reason.clone(),
                    proposed_by: self.name_of(state, &body.proposer),
                    witnesses: sealed
                        .witnesses
                        .iter()
                        .map(|witness| self.name_of(state, &witness.node))
                        .collect(),
                    digest: sealed.block.digest(),
                }
            });
            items.collect()
        });
        Ok(History { items })
    }

    async fn chain_export(&self) -> Result<Vec<u8>, AdminError> {
        self.catch_up().await;
        // A burst of blocks is co-signed in a moment; an export in between would look like blocks that nobody vouches for.
        let mut applied = self.driver.consensus.applied();
        let signed = async {
            while self.driver.consensus.read(|state| state.chain().unwitnessed().count()) > 0 {
                if !changed::<R, _>(&mut applied).await {
                    return;
                }
            }
        };
        let limit = Duration::from_millis(limits::WITNESS_MS_MAX);
        if R::timeout(limit, signed).await.is_err() {
            tracing::debug!("exporting a chain whose newest blocks are not co-signed yet");
        }
        let chain = self.driver.consensus.read(|state| state.chain().clone());
        Ok(chain.export())
    }

    async fn chain_heads(&self) -> Result<Vec<ChainHead>, AdminError> {
        let (len, head) = self
            .driver
            .consensus
            .read(|state| (state.chain().len(), state.chain().head()));
        let mine = ChainHead {
            node: self.name.clone(),
            id: self.driver.me,
            index: len.checked_sub(1),
            head: (len > 0).then_some(head),
        };
        let view = self.driver.view.borrow().clone();
        let others = view.iter().map(|(id, peer)| ChainHead {
            node: peer.facts.name.clone(),
            id: *id,
            index: peer.facts.blocks.checked_sub(1),
            head: (peer.facts.blocks > 0).then_some(peer.facts.head),
        });
        let heads: BTreeMap<String, ChainHead> = others.chain([mine]).map(|head| (head.node.clone(), head)).collect();
        Ok(heads.into_values().collect())
    }

    async fn trust(&self) -> Result<String, AdminError> {
        let mut trust = TrustedKeys::of_cluster(self.driver.genesis.digest());
        for (id, founder) in self.driver.genesis.founders() {
            trust.insert(*id, &founder.name);
        }
        self.driver.consensus.read(|state| {
            for (id, record) in &state.roles().nodes {
                trust.insert(*id, &record.name);
            }
        });
        Ok(trust.to_string())
    }

    async fn role_wish(&self, node: &str, wish: Wish, wait: bool) -> Result<WishGranted, AdminError> {
        let (id, name) = self.find(node)?;
        let fate = if self.driver.consensus.view().leads {
            grant(&self.driver, id, wish).await
        } else {
            let asked =
                serde_json::to_vec(&ForwardedWish { node: id, wish }).map_err(|error| AdminError::Unavailable {
                    what: "cannot ask the leader".into(),
                    source: Some(error.into()),
                })?;
            let limit = Duration::from_millis(limits::WISH_MS_MAX);
            let answer = self.driver.consensus.ask_leader(WISH, asked.into(), limit).await;
            let answer = answer.map_err(|error| match error {
                ProposeError::OutcomeUnknown(what) => AdminError::OutcomeUnknown { what, source: None },
                other => AdminError::Unavailable {
                    what: other.to_string(),
                    source: None,
                },
            })?;
            serde_json::from_slice(&answer).map_err(|error| AdminError::OutcomeUnknown {
                what: "the leader's answer is garbage".to_owned(),
                source: Some(error.into()),
            })?
        };
        let (index, already) = match fate {
            WishFate::Granted(index) => (index, None),
            WishFate::Already(said) => (None, Some(said)),
            WishFate::Refused { kind, why } => {
                return Err(match kind {
                    FateKind::Unknown => AdminError::UnknownNode { node: node.to_owned() },
                    FateKind::Refused => AdminError::Refused {
                        node: name,
                        wanted: wish.participle(),
                        why,
                    },
                    FateKind::Unavailable => AdminError::Unavailable {
                        what: why,
                        source: None,
                    },
                    FateKind::OutcomeUnknown => AdminError::OutcomeUnknown {
                        what: why,
                        source: None,
                    },
                });
            }
        };
        let (done, why) = if wait {
            self.wait_until_done(&id, &name, wish).await?
        } else {
            (self.is_done(&id, wish), Vec::new())
        };
        Ok(WishGranted {
            node: name,
            index,
            done,
            already,
            why,
        })
    }

    async fn excuse(&self, node: &str) -> Result<(), AdminError> {
        let (id, _) = self.find(node)?;
        self.driver
            .note(RoleNote::Excuse { node: id })
            .await
            .map_err(|error| match error {
                StepError::Propose(ProposeError::OutcomeUnknown(what)) => {
                    AdminError::OutcomeUnknown { what, source: None }
                }
                other => AdminError::Unavailable {
                    what: other.to_string(),
                    source: None,
                },
            })
    }

    async fn recover(&self, reason: &str) -> Result<(), AdminError> {
        let (_, cluster) = self.figures();
        if cluster.state == ClusterState::Formed {
            return Err(AdminError::Refused {
                node: self.name.clone(),
                wanted: "recovered",
                why: "there is a quorum: promote, demote and drain do what is needed".to_owned(),
            });
        }
        if cluster.state == ClusterState::Forming {
            return Err(AdminError::Refused {
                node: self.name.clone(),
                wanted: "recovered",
                why: "the cluster was never formed: start a majority of its founders".to_owned(),
            });
        }
        tracing::warn!(reason, "an operator makes this node the only voter");
        self.stop.send_replace(Some(Stop::Recover {
            reason: reason.to_owned(),
        }));
        Ok(())
    }

    async fn declaration(&self) -> Result<serde_json::Value, AdminError> {
        serde_json::from_str(&self.driver.genesis.declaration().canonical_json()).map_err(|error| {
            AdminError::Unavailable {
                what: "the declaration cannot be rendered".into(),
                source: Some(error.into()),
            }
        })
    }

    async fn shutdown(&self) -> Result<(), AdminError> {
        self.stop.send_replace(Some(Stop::Shutdown));
        Ok(())
    }
}
