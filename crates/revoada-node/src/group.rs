//! The Raft group as foreign protocols count it: members by 64-bit numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_core::machine::ClusterState;
use revoada_core::roster::RosterMember;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::membership::{Facts, View};
use revoada_mesh::runtime::{Runtime, Tokio};
use revoada_store::{
    GroupChange, GroupChangeError, GroupChanged, GroupFigures, GroupMember, MoveLeaderError, RaftGroup, Standing,
};
use tokio::sync::watch;

use crate::driver::Driver;
use crate::roster::{self, RosterAsk};

/// The group of one node.
pub(crate) struct Group<R: Runtime = Tokio> {
    pub me: NodeId,
    pub address: std::net::SocketAddr,
    pub genesis: Arc<Genesis>,
    pub consensus: Consensus<R>,
    pub view: watch::Receiver<View<R>>,
    pub facts: watch::Receiver<Facts>,
    /// Where members come and go by name: how.
    pub by_name: Option<ByName<R>>,
    /// How often somebody else came to lead: see [`count_leaders`].
    pub leader_changes: Arc<AtomicU64>,
}

/// Counts whenever somebody leads who did not before, as far as this node sees; never ends by itself.
pub(crate) async fn count_leaders<R: Runtime>(consensus: Consensus<R>, changes: Arc<AtomicU64>) {
    let mut leader = None;
    loop {
        // Seen before looking, so that no change is missed.
        let changed = consensus.changes();
        let view = consensus.view();
        if view.stopped.is_some() {
            return;
        }
        if view.leader.is_some() && view.leader != leader {
            leader = view.leader;
            changes.fetch_add(1, Ordering::Relaxed);
        }
        changed.await;
    }
}

/// How members come and go by name.
pub(crate) struct ByName<R: Runtime = Tokio> {
    /// What changes are decided with where this node leads.
    pub driver: Driver<R>,
    /// This member's number.
    pub id: u64,
    /// The token of its group.
    pub token: String,
    /// See [`crate::AsMember`].
    pub strict: bool,
    /// See [`crate::AsMember`].
    pub learners_max: usize,
}

/// The first bytes of what identifies something. 0 is nobody's number.
fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first).max(1)
}

impl<R: Runtime> Group<R> {
    /// The number of a node: that of the member that it is, where members have numbers of their own.
    fn number_of(&self, id: &NodeId) -> u64 {
        if self.by_name.is_some()
            && let Some(member) = self
                .consensus
                .read(|state| state.roster().of_node(id).map(|member| member.id))
        {
            return member;
        }
        number(id.as_bytes())
    }

    /// The members by name.
    fn members_by_name(&self) -> Vec<GroupMember> {
        let roster = self.consensus.read(|state| state.roster().clone());
        roster.members().cloned().map(shown).collect()
    }
}

fn shown(member: RosterMember) -> GroupMember {
    GroupMember {
        id: member.id,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.learner,
    }
}

#[async_trait]
impl<R: Runtime> RaftGroup for Group<R> {
    fn term(&self) -> u64 {
        self.consensus.term()
    }

    fn is_asked_learner(&self) -> bool {
        // One that was added as a voter and catches up is no learner to clients.
        self.by_name.as_ref().is_some_and(|by_name| {
            let learner = |state: &ClusterState| state.roster().get(by_name.id).is_some_and(|member| member.learner);
            self.consensus.read(learner)
        })
    }

    fn standing(&self) -> Standing {
        let raft = self.consensus.view();
        Standing {
            cluster: number(self.genesis.digest().as_bytes()),
            member: self
                .by_name
                .as_ref()
                .map_or_else(|| number(self.me.as_bytes()), |by_name| by_name.id),
            term: raft.term,
            leader: raft.leader.as_ref().map(|leader| self.number_of(leader)),
            last_index: raft.last_index,
            applied_index: raft.applied,
            learner: match &self.by_name {
                Some(_) => self.is_asked_learner(),
                None => !raft.voters.contains(&self.me),
            },
        }
    }

    fn figures(&self) -> GroupFigures {
        GroupFigures {
            leader_changes: self.leader_changes.load(Ordering::Relaxed),
            committed_index: self.consensus.view().committed,
            syncs: self.consensus.log_stats().sync_times,
        }
    }

    fn members(&self) -> Vec<GroupMember> {
        if self.by_name.is_some() {
            return self.members_by_name();
        }
        let raft = self.consensus.view();
        let view = self.view.borrow();
        let mut members: Vec<_> = raft
            .voters
            .union(&raft.learners)
            .map(|id| {
                let (address, url) = if *id == self.me {
                    (Some(self.address), self.facts.borrow().etcd_url.clone())
                } else {
                    let peer = view.get(id);
                    let url = peer.map_or_else(String::new, |peer| peer.facts.etcd_url.clone());
                    (peer.map(|peer| peer.address), url)
                };
                GroupMember {
                    id: number(id.as_bytes()),
                    name: self.consensus.name_of(id),
                    peer_urls: address.iter().map(|address| format!("https://{address}")).collect(),
                    client_urls: Some(url).into_iter().filter(|url| !url.is_empty()).collect(),
                    learner: !raft.voters.contains(id),
                }
            })
            .collect();
        members.sort_by_key(|member| member.id);
        members
    }

    async fn move_leader(&self, to: u64) -> Result<(), MoveLeaderError> {
        let raft = self.consensus.view();
        if !raft.leads {
            return Err(MoveLeaderError::NotLeader);
        }
        let to = raft
            .voters
            .iter()
            .find(|id| self.number_of(id) == to)
            .ok_or(MoveLeaderError::NoVoter)?;
        if *to == self.me {
            return Ok(());
        }
        self.consensus
            .hand_over(*to)
            .await
            .map_err(|error| MoveLeaderError::Failed(error.to_string()))?;
        let follows = async {
            while self.consensus.view().leads {
                self.consensus.changes().await;
            }
        };
        let limit = Duration::from_millis(limits::LEADER_MOVES_MS_MAX);
        R::timeout(limit, follows)
            .await
            .map_err(|_| MoveLeaderError::Failed("it did not happen in time".to_owned()))
    }

    async fn change(&self, change: GroupChange) -> Result<GroupChanged, GroupChangeError> {
        let by_name = self.by_name.as_ref().ok_or(GroupChangeError::NotByClients)?;
        let asked = RosterAsk {
            change,
            token: by_name.token.clone(),
            strict: by_name.strict,
            learners_max: by_name.learners_max,
        };
        let id = roster::ask(&by_name.driver, asked).await?;
        let members = self.members_by_name();
        Ok(GroupChanged { id, members })
    }
}
