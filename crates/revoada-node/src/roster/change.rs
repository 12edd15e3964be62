//! Changes of members, which the leader decides: it alone knows who is there and who has caught up.
//!
//! The conditions are etcd's (server/etcdserver/server.go: `mayAddMember`, `mayRemoveMember`, `promoteMember`): with the
//! strict check a change is refused after which too few members would be a quorum of those that were ever started, and
//! one while some are not there.

use std::time::Duration;

use bytes::Bytes;
use revoada_attest::NodeId;
use revoada_core::limits;
use revoada_core::machine::Command;
use revoada_core::roles::Membership;
use revoada_core::roster::{Roster, RosterChange, RosterMember, RosterRefused};
use revoada_mesh::consensus::ProposeError;
use revoada_mesh::runtime::{Runtime, elapsed};
use revoada_store::{GroupChange, GroupChangeError};
use serde::{Deserialize, Serialize};

use crate::admin::ROSTER;
use crate::driver::Driver;
use crate::introduction::number;

/// A change as it travels to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RosterAsk {
    pub change: GroupChange,
    /// The token of the group.
    pub token: String,
    pub strict: bool,
    pub learners_max: usize,
}

/// What became of it: the number of the member that it was about.
pub(crate) type RosterFate = Result<u64, GroupChangeError>;

/// Asks the leader, and returns when its answer is applied here.
pub(crate) async fn ask<R: Runtime>(driver: &Driver<R>, ask: RosterAsk) -> RosterFate {
    let consensus = &driver.consensus;
    if consensus.view().leads {
        return decide(driver, ask).await;
    }
    let body = serde_json::to_vec(&ask).map_err(|error| GroupChangeError::Invalid(error.to_string()))?;
    let limit = Duration::from_millis(limits::WISH_MS_MAX);
    let answer = consensus
        .ask_leader(ROSTER, Bytes::from(body), limit)
        .await
        .map_err(unsaid)?;
    let fate: RosterFate = serde_json::from_slice(&answer)
        .map_err(|error| GroupChangeError::OutcomeUnknown(format!("the leader's answer cannot be read: {error}")))?;
    let id = fate?;
    consensus
        .newest()
        .await
        .map_err(|error| GroupChangeError::OutcomeUnknown(error.to_string()))?;
    Ok(id)
}

fn unsaid(error: ProposeError) -> GroupChangeError {
    match error {
        ProposeError::OutcomeUnknown(why) => GroupChangeError::OutcomeUnknown(why),
        error => GroupChangeError::Unavailable(error.to_string()),
    }
}

/// Decides a change on the leader, and records it.
pub(crate) async fn decide<R: Runtime>(driver: &Driver<R>, ask: RosterAsk) -> RosterFate {
    if !driver.topology.has_roster() {
        return Err(GroupChangeError::NotByClients);
    }
    if !driver.consensus.view().leads {
        return Err(GroupChangeError::Unavailable("this node no longer leads".to_owned()));
    }
    let roster = driver.consensus.read(|state| state.roster().clone());
    let change = match ask.change.clone() {
        GroupChange::Add { peer_urls, learner } => RosterChange::Add {
            id: number(&ask.token, &peer_urls, Some((driver.clock_ms)())),
            peer_urls,
            learner,
            learners_max: ask.learners_max,
        },
        GroupChange::Remove { id } => RosterChange::Remove { id },
        GroupChange::Update { id, peer_urls } => RosterChange::Update { id, peer_urls },
        GroupChange::Promote { id } => RosterChange::Promote { id },
    };
    rehearse(&roster, &change)?;
    let sight = Sight {
        driver,
        roster: &roster,
    };
    sight.allows(&change, ask.strict)?;
    let id = match &change {
        RosterChange::Add { id, .. }
        | RosterChange::Remove { id }
        | RosterChange::Update { id, .. }
        | RosterChange::Promote { id } => *id,
        other => return Err(GroupChangeError::Invalid(format!("{other:?} is no change of members"))),
    };
    let reply = driver.consensus.propose(Command::Roster(change.clone())).await;
    if let Err(refused) = reply.map_err(unsaid)? {
        // Another change came first.
        let roster = driver.consensus.read(|state| state.roster().clone());
        rehearse(&roster, &change)?;
        return Err(GroupChangeError::Invalid(refused.reason));
    }
    driver.wake.notify_one();
    Ok(id)
}

/// What the roster would say.
fn rehearse(roster: &Roster, change: &RosterChange) -> Result<(), GroupChangeError> {
    roster.clone().apply(change).map_err(|refused| match refused {
        RosterRefused::NotFound { .. } => GroupChangeError::NotFound,
        RosterRefused::Removed { .. } => GroupChangeError::Removed,
        RosterRefused::UrlTaken { .. } => GroupChangeError::UrlTaken,
        RosterRefused::TooManyLearners { .. } => GroupChangeError::TooManyLearners,
        RosterRefused::NoLearner { .. } => GroupChangeError::NoLearner,
        RosterRefused::LastVoter { .. } => GroupChangeError::NotEnoughStarted,
        other @ (RosterRefused::IdTaken { .. } | RosterRefused::OtherNode { .. } | RosterRefused::TooMuch { .. }) => {
            GroupChangeError::Invalid(other.to_string())
        }
    })
}

/// What the leader sees of its members.
struct Sight<'a, R: Runtime> {
    driver: &'a Driver<R>,
    roster: &'a Roster,
}

impl<R: Runtime> Sight<'_, R> {
    fn voters(&self) -> impl Iterator<Item = &RosterMember> {
        self.roster.members().filter(|member| !member.learner)
    }

    fn allows(&self, change: &RosterChange, strict: bool) -> Result<(), GroupChangeError> {
        match change {
            RosterChange::Add { learner, .. } if strict => {
                if !learner && !enough_with_one_more(&standings(self.voters()), false) {
                    return Err(GroupChangeError::NotEnoughStarted);
                }
                // The new one counts as one that is not there.
                let voters = self.voters().count();
                if voters > 1 && self.healthy() < voters.div_ceil(2) + 1 {
                    return Err(GroupChangeError::Unhealthy);
                }
                Ok(())
            }
            RosterChange::Remove { id } if strict => self.allows_removal(*id),
            RosterChange::Promote { id } => {
                let node = self.roster.get(*id).and_then(|member| member.node);
                if !node.is_some_and(|node| self.has_caught_up(&node)) {
                    return Err(GroupChangeError::LearnerLags);
                }
                if strict && !enough_with_one_more(&standings(self.voters()), true) {
                    return Err(GroupChangeError::NotEnoughStarted);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn allows_removal(&self, id: u64) -> Result<(), GroupChangeError> {
        let Some(member) = self.roster.get(id).filter(|member| !member.learner) else {
            return Ok(());
        };
        if !enough_without_one(&standings(self.voters().filter(|other| other.id != id))) {
            return Err(GroupChangeError::NotEnoughStarted);
        }
        // One that is not there is no part of the quorum that lives.
        if !self.is_there(member) {
            return Ok(());
        }
        let voters = self.voters().count();
        if self.healthy().saturating_sub(1) < 1 + voters.saturating_sub(1) / 2 {
            return Err(GroupChangeError::Unhealthy);
        }
        Ok(())
    }

    fn healthy(&self) -> usize {
        self.voters().filter(|member| self.is_healthy(member)).count()
    }

    fn is_there(&self, member: &RosterMember) -> bool {
        self.since(member).is_some()
    }

    fn is_healthy(&self, member: &RosterMember) -> bool {
        self.since(member)
            .is_some_and(|there| there >= Duration::from_millis(limits::MEMBER_HEALTHY_MS))
    }

    /// For how long a member has been there without a break; this one for ever.
    fn since(&self, member: &RosterMember) -> Option<Duration> {
        let node = member.node?;
        if node == self.driver.me {
            return Some(Duration::MAX);
        }
        let view = self.driver.view.borrow();
        let peer = view.get(&node).filter(|peer| peer.membership != Membership::Dead)?;
        Some(elapsed::<R>(peer.since))
    }

    fn has_caught_up(&self, node: &NodeId) -> bool {
        let observed = self.driver.observe();
        let seen = observed.replication.get(node);
        seen.is_some_and(|seen| seen.reachable && seen.caught_up)
    }
}

/// Which of some members were ever started.
fn standings<'a>(members: impl Iterator<Item = &'a RosterMember>) -> Vec<bool> {
    members.map(RosterMember::is_started).collect()
}

/// Whether a majority is started once there is one more, which may be started or not. The only member of a group may take
/// in a second one all the same: there would be no other way to a third.
fn enough_with_one_more(started: &[bool], it_is: bool) -> bool {
    let count = started.iter().filter(|started| **started).count() + usize::from(it_is);
    let members = started.len() + 1;
    (!it_is && count == 1 && members == 2) || count > members / 2
}

/// Whether a majority of those that stay is started.
fn enough_without_one(started: &[bool]) -> bool {
    let count = started.iter().filter(|started| **started).count();
    !started.is_empty() && count > started.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_leaves_a_majority_that_was_started() {
        assert!(enough_with_one_more(&[true], false));
        assert!(enough_with_one_more(&[true, true, true], false));
        assert!(enough_with_one_more(&[true, true, true, false], false));
        assert!(!enough_with_one_more(&[true, false], false));
        assert!(!enough_with_one_more(&[true, true, false, false], false));
        assert!(enough_with_one_more(&[true, false], true));
        assert!(!enough_without_one(&[]));
        assert!(enough_without_one(&[true]));
        assert!(enough_without_one(&[true, true]));
        assert!(!enough_without_one(&[true, false]));
    }
}
