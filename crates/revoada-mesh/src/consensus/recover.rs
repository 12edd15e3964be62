//! Making one node the only voter of its group, while nothing runs: the way back after a majority is lost for good.
//!
//! Raft cannot do this, and rightly so: it throws away what only the lost nodes had acknowledged. It is a membership
//! entry behind the end of the log, in a term that no other node has voted in; at the next start the node elects itself.

use std::collections::BTreeMap;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use openraft::{Membership, RaftLogReader};
use revoada_attest::NodeId;

use super::seats::Seat;
use super::types::{Entry, LogId, Member, Types, Vote};
use super::{OpenError, Opened};
use crate::runtime::Runtime;

impl<R: Runtime> Opened<R> {
    /// Appends a membership of this node alone. Durable when it returns; an error changes nothing that counts.
    pub async fn make_sole_voter(&mut self) -> Result<(), OpenError> {
        let failed = |what: String| OpenError::Start { what };
        let io = |error: std::io::Error| failed(error.to_string());
        self.log.name_disk(self.config.new_disk).await.map_err(io)?;
        let state = self.log.get_log_state().await.map_err(io)?;
        let applied = self.machine.last_applied();
        let last = state
            .last_log_id
            .max(applied)
            .ok_or_else(|| failed("the log is empty".to_owned()))?;
        if state.last_log_id < applied {
            // A checkpoint was installed, and the log was not cut behind it yet.
            self.log.purge(last).await.map_err(io)?;
        }
        let voted = self.log.read_vote().await.map_err(io)?;
        let term = voted
            .map_or(0, |vote| vote.leader_id().term)
            .max(last.committed_leader_id().term)
            + 1;
        let vote = Vote::new(term, self.config.id);
        self.log.save_vote(&vote).await.map_err(io)?;
        let name = self
            .config
            .genesis
            .founders()
            .get(&self.config.id)
            .map(|founder| founder.name.clone());
        let member = Member {
            name: name.unwrap_or_else(|| self.config.id.short()),
            seat: Seat::Disk(self.log.seats().own().disk),
        };
        let nodes: BTreeMap<NodeId, Member> = BTreeMap::from([(self.config.id, member)]);
        let membership =
            Membership::new(vec![nodes.keys().copied().collect()], nodes).map_err(|error| failed(error.to_string()))?;
        let leader = vote.leader_id().to_committed();
        let entry = Entry::new_membership(LogId::new(leader, last.index + 1), membership);
        let (done, flushed) = Types::<R>::oneshot();
        self.log
            .append([entry], IOFlushed::<Types<R>>::signal(done))
            .await
            .map_err(io)?;
        flushed
            .await
            .map_err(|_| failed("the log's writer is gone".to_owned()))?
            .map_err(io)
    }
}
