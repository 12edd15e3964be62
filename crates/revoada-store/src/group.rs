//! The port to the Raft group that a node is of: what faces say of it beside each answer.

use async_trait::async_trait;

/// How a member stands in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The group's number, never 0.
    pub cluster: u64,
    /// This member's number, never 0.
    pub member: u64,
    /// Its term.
    pub term: u64,
    /// The number of the member that leads, where one is known.
    pub leader: Option<u64>,
    /// The index of the last entry of its log.
    pub last_index: u64,
    /// The index of the last entry that it has applied.
    pub applied_index: u64,
    /// Whether it replicates without a vote.
    pub learner: bool,
}

/// A member, as others know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Its number, never 0.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where members reach it, as URLs.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as URLs; none where that is not known, or where it serves none.
    pub client_urls: Vec<String>,
    /// Whether it replicates without a vote.
    pub learner: bool,
}

/// Why leadership did not move.
#[derive(Debug, thiserror::Error)]
pub enum MoveLeaderError {
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader,
    /// The one that should is no voter.
    #[error("no voter has this number")]
    NoVoter,
    /// It was tried.
    #[error("leadership did not move: {0}")]
    Failed(String),
}

/// A Raft group, seen from one of its members.
#[async_trait]
pub trait RaftGroup: Send + Sync {
    /// The member's term: [`Standing::term`], for whoever asks often.
    fn term(&self) -> u64;

    /// How this member stands.
    fn standing(&self) -> Standing;

    /// Who votes and who replicates, by number.
    fn members(&self) -> Vec<GroupMember>;

    /// Lets another voter lead. Returns when it does, as far as this member sees.
    async fn move_leader(&self, to: u64) -> Result<(), MoveLeaderError>;
}
