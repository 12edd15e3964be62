//! The port to the Raft group that a node is of: what faces say of it beside each answer.

use std::time::Duration;

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

/// What a member has counted of its group since it started, for whoever watches over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GroupFigures {
    /// How often somebody else came to lead, as far as this member saw.
    pub leader_changes: u64,
    /// The index of the last entry that is known to be committed.
    pub committed_index: u64,
    /// How long writes of the log took until they were durable.
    pub syncs: SyncTimes,
}

/// How long syncs took: a histogram whose classes double, from a millisecond on, which are those of etcd
/// (`server/storage/wal/metrics.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SyncTimes {
    /// How many took as long as the limit of their class, or less, and longer than that of the class before; in the last
    /// one all that took longer than any limit.
    pub counts: [u64; SyncTimes::CLASSES],
    /// All of them together.
    pub total: Duration,
}

impl SyncTimes {
    /// The number of classes.
    pub const CLASSES: usize = 15;

    /// The limit of each class but the last, which has none.
    pub fn limits() -> impl Iterator<Item = Duration> {
        (0..Self::CLASSES as u32 - 1).map(|class| Duration::from_millis(1 << class))
    }

    /// The class of a sync that took so long.
    pub fn class(took: Duration) -> usize {
        Self::limits()
            .position(|limit| took <= limit)
            .unwrap_or(Self::CLASSES - 1)
    }
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

    /// What this member has counted; nothing where nobody counts.
    fn figures(&self) -> GroupFigures {
        GroupFigures::default()
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sync_is_of_one_class() {
        let class = |micros: u64| SyncTimes::class(Duration::from_micros(micros));
        assert_eq!([class(0), class(1_000), class(1_001), class(2_000)], [0, 0, 1, 1]);
        assert_eq!([class(8_192_000), class(8_192_001), class(60_000_000)], [13, 14, 14]);
    }
}
