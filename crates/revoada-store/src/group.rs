//! The port to the Raft group that a node is of: what faces say of it beside each answer.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

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

/// A change of who belongs to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum GroupChange {
    /// A member that is to be started.
    Add {
        /// Where members will reach it, as URLs.
        peer_urls: Vec<String>,
        /// Whether it is to replicate without a vote.
        learner: bool,
    },
    /// A member goes, for good.
    Remove {
        /// Its number.
        id: u64,
    },
    /// A member is reached elsewhere.
    Update {
        /// Its number.
        id: u64,
        /// Where members reach it, as URLs.
        peer_urls: Vec<String>,
    },
    /// A learner is to vote.
    Promote {
        /// Its number.
        id: u64,
    },
}

/// Why a group was not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum GroupChangeError {
    /// Who belongs to this group is not for its clients to say.
    #[error("who votes is decided by the topology: see `revoada promote`, `demote`, `drain`")]
    NotByClients,
    /// No member has this number, and none had.
    #[error("no member has this number")]
    NotFound,
    /// The member with this number was removed.
    #[error("the member was removed")]
    Removed,
    /// Another member has one of these URLs.
    #[error("another member has one of these URLs")]
    UrlTaken,
    /// There are as many learners as there may be.
    #[error("there are as many learners as there may be")]
    TooManyLearners,
    /// The member votes already.
    #[error("the member is no learner")]
    NoLearner,
    /// The learner lacks too much of the log.
    #[error("the learner has not caught up")]
    LearnerLags,
    /// Too few members were ever started to be a quorum after it.
    #[error("too few members were ever started")]
    NotEnoughStarted,
    /// Too few members have been there for long enough to be a quorum after it.
    #[error("too few members are healthy")]
    Unhealthy,
    /// Nothing was changed: there is no leader, or it does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// It was asked for, and no answer came: it may or may not have happened.
    #[error("{0}")]
    OutcomeUnknown(String),
    /// It is of no form that can be kept.
    #[error("{0}")]
    Invalid(String),
}

/// What came of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupChanged {
    /// The number of the member that it was about.
    pub id: u64,
    /// All members after it.
    pub members: Vec<GroupMember>,
}

/// A Raft group, seen from one of its members.
#[async_trait]
pub trait RaftGroup: Send + Sync {
    /// The member's term: [`Standing::term`], for whoever asks often.
    fn term(&self) -> u64;

    /// Whether this member was asked for as a learner, by name: then it serves no more than stale reads. A standby of a
    /// topology is none of those.
    fn is_asked_learner(&self) -> bool {
        false
    }

    /// How this member stands.
    fn standing(&self) -> Standing;

    /// Who votes and who replicates, by number.
    fn members(&self) -> Vec<GroupMember>;

    /// Lets another voter lead. Returns when it does, as far as this member sees.
    async fn move_leader(&self, to: u64) -> Result<(), MoveLeaderError>;

    /// Changes who belongs to it. Returns when that is recorded, which is before a member that was added votes.
    ///
    /// # Errors
    /// [`GroupChangeError`] says which condition does not hold.
    async fn change(&self, change: GroupChange) -> Result<GroupChanged, GroupChangeError>;
}
