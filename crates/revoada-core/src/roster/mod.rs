//! The members of a group as somebody asked for them by name, one by one: the way of etcd.
//!
//! Where a topology decides who votes, there is no roster. Where there is one, nothing else decides: a member is in it
//! because a call put it there, votes if it is not a learner, and leaves when a call takes it out. What follows from it
//! for roles and for Raft is [`crate::policy`]'s matter.
//!
//! A member is recorded before the machine that it is to be was ever started, so it has a number and URLs at first, and
//! the key of a node only once it has introduced itself. The numbers of members that were removed are kept, since
//! clients ask for them, and never used again.
//!
//! Rejected: to keep it in the keyspace, behind a prefix. Each change would take a revision, and clients of etcd count
//! those.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use revoada_attest::NodeId;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::limits::{NODES_MAX, ROSTER_TEXT_BYTES_MAX, ROSTER_URLS_MAX};

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RosterMember {
    /// Its number; never 0, and never that of another member, removed ones included.
    pub id: u64,
    /// Its name, as it said itself when it started; empty before that. Names need not differ.
    pub name: String,
    /// Where other members reach it, sorted. No two members share one.
    pub peer_urls: Vec<String>,
    /// Where clients reach it, as it said itself when it started; empty before that.
    pub client_urls: Vec<String>,
    /// Whether it replicates without a vote.
    pub learner: bool,
    /// The key of the node that it is; none until it has introduced itself.
    pub node: Option<NodeId>,
}

impl RosterMember {
    /// Whether it has ever been started.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// One change of a roster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum RosterChange {
    /// The members that the group began with. Every founder asks for the same; the first one counts.
    Found {
        /// All of them.
        members: Vec<RosterMember>,
    },
    /// A member that is to come.
    Add {
        /// Its number.
        id: u64,
        /// Where other members will reach it.
        peer_urls: Vec<String>,
        /// Whether it is to be a learner.
        learner: bool,
        /// How many learners there may be, this one included.
        learners_max: usize,
    },
    /// A member goes.
    Remove {
        /// Its number.
        id: u64,
    },
    /// A member is reached elsewhere.
    Update {
        /// Its number.
        id: u64,
        /// Where, from now on.
        peer_urls: Vec<String>,
    },
    /// A learner is to vote.
    Promote {
        /// Its number.
        id: u64,
    },
    /// A member that has started says its name, and where clients reach it.
    Publish {
        /// Its number.
        id: u64,
        /// Its name.
        name: String,
        /// Where clients reach it.
        client_urls: Vec<String>,
    },
    /// A member is the node with this key. Said once; the same again changes nothing.
    Introduce {
        /// Its number.
        id: u64,
        /// Its key.
        node: NodeId,
    },
}

/// Why a roster was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RosterRefused {
    /// No member has this number, and none ever had.
    #[error("no member has the number {id:x}")]
    NotFound {
        /// The number.
        id: u64,
    },
    /// The member was removed.
    #[error("the member {id:x} was removed for good")]
    Removed {
        /// The number.
        id: u64,
    },
    /// The number is taken, or is 0.
    #[error("the number {id:x} is taken")]
    IdTaken {
        /// The number.
        id: u64,
    },
    /// One of the URLs is another member's.
    #[error("{url} belongs to another member")]
    UrlTaken {
        /// The URL.
        url: String,
    },
    /// There would be too many learners.
    #[error("there may be {learners_max} learners at once")]
    TooManyLearners {
        /// How many there may be.
        learners_max: usize,
    },
    /// The member votes already.
    #[error("the member {id:x} is no learner")]
    NoLearner {
        /// The number.
        id: u64,
    },
    /// The member is another node, or the node another member.
    #[error("the member {id:x} and the key {node} do not belong together")]
    OtherNode {
        /// The number.
        id: u64,
        /// The key.
        node: NodeId,
    },
    /// Nobody would vote any more.
    #[error("the member {id:x} is the last one that votes")]
    LastVoter {
        /// The number.
        id: u64,
    },
    /// Too much, or too long.
    #[error("{what}")]
    TooMuch {
        /// Of what.
        what: String,
    },
}

impl RosterRefused {
    /// The kind to branch on.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::Removed { .. } => ErrorKind::NotFound,
            Self::IdTaken { .. } | Self::UrlTaken { .. } => ErrorKind::AlreadyExists,
            Self::OtherNode { .. } => ErrorKind::Denied,
            Self::NoLearner { .. } | Self::LastVoter { .. } => ErrorKind::Conflict,
            Self::TooManyLearners { .. } | Self::TooMuch { .. } => ErrorKind::Exhausted,
        }
    }
}

/// The members of a group, the same on every node at the same index of the log. Empty where a topology decides.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    members: BTreeMap<u64, RosterMember>,
    removed: BTreeSet<u64>,
}

impl Roster {
    /// Whether it was ever founded.
    pub fn is_founded(&self) -> bool {
        !self.members.is_empty() || !self.removed.is_empty()
    }

    /// The members, by number.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &RosterMember> {
        self.members.values()
    }

    /// The member with this number.
    pub fn get(&self, id: u64) -> Option<&RosterMember> {
        self.members.get(&id)
    }

    /// The member that is the node with this key.
    pub fn of_node(&self, node: &NodeId) -> Option<&RosterMember> {
        self.members().find(|member| member.node.as_ref() == Some(node))
    }

    /// The member that is reached at exactly these URLs, in any order.
    pub fn of_urls(&self, peer_urls: &[String]) -> Option<&RosterMember> {
        let peer_urls = sorted(peer_urls.to_vec());
        self.members().find(|member| member.peer_urls == peer_urls)
    }

    /// Whether a member with this number was removed.
    pub fn was_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// Applies a committed change. A refusal changes nothing, and depends on the roster alone.
    ///
    /// # Errors
    /// [`RosterRefused`] says which condition does not hold.
    pub fn apply(&mut self, change: &RosterChange) -> Result<(), RosterRefused> {
        match change {
            RosterChange::Found { members } => self.found(members),
            RosterChange::Add {
                id,
                peer_urls,
                learner,
                learners_max,
            } => {
                if *id == 0 || self.members.contains_key(id) || self.removed.contains(id) {
                    return Err(RosterRefused::IdTaken { id: *id });
                }
                let learners = self.members().filter(|member| member.learner).count();
                if *learner && learners >= *learners_max {
                    let learners_max = *learners_max;
                    return Err(RosterRefused::TooManyLearners { learners_max });
                }
                if self.members.len() + self.removed.len() >= NODES_MAX {
                    let what = format!("a group has at most {NODES_MAX} members, removed ones included");
                    return Err(RosterRefused::TooMuch { what });
                }
                self.free(peer_urls, None)?;
                self.insert(RosterMember {
                    id: *id,
                    name: String::new(),
                    peer_urls: peer_urls.clone(),
                    client_urls: Vec::new(),
                    learner: *learner,
                    node: None,
                })
            }
            RosterChange::Remove { id } => {
                self.member(*id)?;
                if !self.members().any(|member| member.id != *id && !member.learner) {
                    return Err(RosterRefused::LastVoter { id: *id });
                }
                self.members.remove(id);
                self.removed.insert(*id);
                Ok(())
            }
            RosterChange::Update { id, peer_urls } => {
                self.member(*id)?;
                self.free(peer_urls, Some(*id))?;
                let changed = RosterMember {
                    peer_urls: peer_urls.clone(),
                    ..self.member(*id)?.clone()
                };
                self.insert(changed)
            }
            RosterChange::Promote { id } => {
                let member = self.member(*id)?;
                if !member.learner {
                    return Err(RosterRefused::NoLearner { id: *id });
                }
                let changed = RosterMember {
                    learner: false,
                    ..member.clone()
                };
                self.insert(changed)
            }
            RosterChange::Publish { id, name, client_urls } => {
                let changed = RosterMember {
                    name: name.clone(),
                    client_urls: client_urls.clone(),
                    ..self.member(*id)?.clone()
                };
                self.insert(changed)
            }
            RosterChange::Introduce { id, node } => {
                let (id, node) = (*id, *node);
                let other_node = self.member(id)?.node.is_some_and(|known| known != node);
                let other_member = self.of_node(&node).is_some_and(|member| member.id != id);
                if other_node || other_member {
                    return Err(RosterRefused::OtherNode { id, node });
                }
                let changed = RosterMember {
                    node: Some(node),
                    ..self.member(id)?.clone()
                };
                self.insert(changed)
            }
        }
    }

    fn found(&mut self, members: &[RosterMember]) -> Result<(), RosterRefused> {
        // Another founder was first, and has said the same.
        if self.is_founded() {
            return Ok(());
        }
        let mut founded = Self::default();
        for member in members {
            if member.id == 0 || founded.members.contains_key(&member.id) {
                return Err(RosterRefused::IdTaken { id: member.id });
            }
            founded.free(&member.peer_urls, None)?;
            founded.insert(member.clone())?;
        }
        *self = founded;
        Ok(())
    }

    fn member(&self, id: u64) -> Result<&RosterMember, RosterRefused> {
        self.members.get(&id).ok_or(if self.removed.contains(&id) {
            RosterRefused::Removed { id }
        } else {
            RosterRefused::NotFound { id }
        })
    }

    /// Whether nobody but `but` has one of these URLs.
    fn free(&self, peer_urls: &[String], but: Option<u64>) -> Result<(), RosterRefused> {
        let others = || self.members().filter(|member| Some(member.id) != but);
        let taken = peer_urls
            .iter()
            .find(|url| others().any(|member| member.peer_urls.contains(url)));
        match taken {
            Some(url) => Err(RosterRefused::UrlTaken { url: url.clone() }),
            None => Ok(()),
        }
    }

    /// Puts a member in its place, if it is of a size that can be kept.
    fn insert(&mut self, mut member: RosterMember) -> Result<(), RosterRefused> {
        let texts = [&member.name]
            .into_iter()
            .chain(&member.peer_urls)
            .chain(&member.client_urls);
        if member.peer_urls.len().max(member.client_urls.len()) > ROSTER_URLS_MAX {
            let what = format!("a member has at most {ROSTER_URLS_MAX} URLs of each kind");
            return Err(RosterRefused::TooMuch { what });
        }
        if texts.map(String::len).any(|bytes| bytes > ROSTER_TEXT_BYTES_MAX) {
            let what = format!("names and URLs of members have at most {ROSTER_TEXT_BYTES_MAX} bytes");
            return Err(RosterRefused::TooMuch { what });
        }
        member.peer_urls = sorted(member.peer_urls);
        self.members.insert(member.id, member);
        Ok(())
    }
}

fn sorted(mut urls: Vec<String>) -> Vec<String> {
    urls.sort();
    urls.dedup();
    urls
}
