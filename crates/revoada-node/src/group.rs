//! The Raft group as foreign protocols count it: members by 64-bit numbers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::membership::{Facts, View};
use revoada_mesh::runtime::{Runtime, Tokio};
use revoada_store::{GroupMember, MoveLeaderError, RaftGroup, Standing};
use tokio::sync::watch;

/// The group of one node.
pub(crate) struct Group<R: Runtime = Tokio> {
    pub me: NodeId,
    pub address: std::net::SocketAddr,
    pub genesis: Arc<Genesis>,
    pub consensus: Consensus<R>,
    pub view: watch::Receiver<View<R>>,
    pub facts: watch::Receiver<Facts>,
}

/// The first bytes of what identifies something. 0 is nobody's number.
fn number(bytes: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    u64::from_be_bytes(first).max(1)
}

fn number_of(id: &NodeId) -> u64 {
    number(id.as_bytes())
}

#[async_trait]
impl<R: Runtime> RaftGroup for Group<R> {
    fn term(&self) -> u64 {
        self.consensus.term()
    }

    fn standing(&self) -> Standing {
        let raft = self.consensus.view();
        Standing {
            cluster: number(self.genesis.digest().as_bytes()),
            member: number_of(&self.me),
            term: raft.term,
            leader: raft.leader.as_ref().map(number_of),
            last_index: raft.last_index,
            applied_index: raft.applied,
            learner: !raft.voters.contains(&self.me),
        }
    }

    fn members(&self) -> Vec<GroupMember> {
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
                    id: number_of(id),
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
            .find(|id| number_of(id) == to)
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
}
