//! What an operator may ask for, and why not.
//!
//! A wish that may be granted becomes committed facts and, where it can be done at once, the first transitions of the
//! very plan that the leader would make with it. Rejected: executing a wish beside the policy; the next plan would
//! undo it.

use revoada_attest::{NodeId, Role, Transition, TransitionKind};

use super::draft::Draft;
use super::shape::{others, voters_declared};
use super::{Intent, Observed, Step, plan, survives};
use crate::error::ErrorKind;
use crate::roles::{NodeRecord, RoleNote};

/// What an operator asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// The node.
    pub node: NodeId,
    /// What should become of it.
    pub kind: WishKind,
}

/// What should become of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WishKind {
    /// A voter, in the place of another where the topology is full.
    Promote,
    /// No voter; another takes its place.
    Demote,
    /// No voter and no standby until it is restored: its machine is going to be worked on.
    Drain,
    /// Kept from being chosen until it is restored.
    Quarantine,
    /// May be chosen again.
    Restore,
}

/// Why a wish is not granted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WishRefused {
    /// Nothing can be committed.
    #[error("there is no quorum: nothing can be decided")]
    NoQuorum,
    /// The founders are not admitted yet.
    #[error("the cluster is forming: its founders are not all admitted yet")]
    Forming,
    /// Members come and go by name, and nobody's wish moves them.
    #[error("who votes in this cluster is what calls of etcd's API made it: see `etcdctl member`")]
    RosterDecides,
    /// No member has this key.
    #[error("no node of this cluster has the key {node}")]
    UnknownNode {
        /// The key.
        node: NodeId,
    },
    /// It is so already, and on its way nowhere else.
    #[error("{name} is {what} already")]
    AlreadySo {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A node that is quarantined is not promoted.
    #[error("{name} is quarantined: restore it first")]
    Quarantined {
        /// Its name.
        name: String,
    },
    /// A node that is drained is not promoted.
    #[error("{name} is draining: restore it first")]
    Draining {
        /// Its name.
        name: String,
    },
    /// A node that is not alive is not promoted.
    #[error("{name} is not alive: a lost node is never promoted")]
    NotAlive {
        /// Its name.
        name: String,
    },
    /// It is the only voter, and no other node could be one.
    #[error("{name} is the only control plane and no other node can take its place")]
    OnlyControlPlane {
        /// Its name.
        name: String,
    },
    /// Without it there would be fewer voters than declared.
    #[error("{topology} wants {declared} voters, and no alive worker can take the place of {name}")]
    NobodyCanReplace {
        /// Its name.
        name: String,
        /// The topology's name.
        topology: String,
        /// How many voters it wants.
        declared: usize,
    },
    /// A node that could take its place was not heard of for a moment: it will be heard again, or be lost.
    #[error("{other}, which could take the place of {name}, has not been heard of for a moment")]
    ReplacementUnheard {
        /// Its name.
        name: String,
        /// The other's name.
        other: String,
    },
    /// There is nothing to undo.
    #[error("{name} is neither quarantined nor drained")]
    NothingToRestore {
        /// Its name.
        name: String,
    },
}

impl WishRefused {
    /// Whether it ends by itself within seconds: asking again then gets another answer.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Forming | Self::ReplacementUnheard { .. })
    }

    /// The kind to branch on.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownNode { .. } => ErrorKind::NotFound,
            Self::RosterDecides => ErrorKind::Unsupported,
            Self::AlreadySo { .. } => ErrorKind::AlreadyExists,
            Self::NoQuorum | Self::Forming | Self::ReplacementUnheard { .. } => ErrorKind::Unavailable,
            Self::Quarantined { .. }
            | Self::Draining { .. }
            | Self::NotAlive { .. }
            | Self::OnlyControlPlane { .. }
            | Self::NobodyCanReplace { .. }
            | Self::NothingToRestore { .. } => ErrorKind::Conflict,
        }
    }
}

/// The steps with which a wish is granted, all of them [`Step::Commit`] or [`Step::Note`], to be committed in order;
/// the plans that follow do the rest. The first one alone carries the wish: when a later one is refused, because the
/// world has changed meanwhile, the next plan fulfils it from what it then sees.
///
/// A promotion or a demotion whose nodes changed their role within the last minute is granted and waits for its time,
/// and so does one whose successor has not caught up.
///
/// # Errors
/// [`WishRefused`] says why not.
pub fn admissible(
    wish: &Wish,
    observed: &Observed,
    intent: &Intent<'_>,
    now_ms: u64,
) -> Result<Vec<Step>, WishRefused> {
    if observed.roster.is_some() {
        return Err(WishRefused::RosterDecides);
    }
    let draft = Draft::new(observed, intent, now_ms);
    if survives(&observed.voters, |voter| draft.is_lost(voter)).is_none() {
        return Err(WishRefused::NoQuorum);
    }
    if observed
        .founders
        .keys()
        .any(|founder| observed.roles.get(founder).is_none())
    {
        return Err(WishRefused::Forming);
    }
    let node = wish.node;
    let record = observed.roles.get(&node).filter(|record| record.is_member());
    let record = record.ok_or(WishRefused::UnknownNode { node })?;
    let first = match wish.kind {
        WishKind::Promote => promote(&draft, record)?,
        WishKind::Demote => demote(&draft, record)?,
        WishKind::Drain => drain(&draft, record)?,
        WishKind::Quarantine => quarantine(&draft, record)?,
        WishKind::Restore => return restore(record),
    };
    Ok(with_what_follows(first, observed, intent, now_ms))
}

/// The transition with which a node that was not a founder enters: by a join token or an operator. It starts as what
/// the topology makes of those that do not vote; the policy promotes it where its shape wants more voters.
pub fn admission(observed: &Observed, intent: &Intent<'_>, node: NodeId, name: &str, reason: &str) -> Transition {
    let nodes = observed.roles.members().count() + 1;
    Transition {
        node,
        name: name.to_owned(),
        kind: TransitionKind::Admit,
        from: None,
        to: Some(others(intent.topology, nodes)),
        reason: reason.to_owned(),
    }
}

fn promote(draft: &Draft<'_>, record: &NodeRecord) -> Result<Step, WishRefused> {
    let name = record.name.clone();
    if record.quarantined.is_some() {
        return Err(WishRefused::Quarantined { name });
    }
    if record.drained {
        return Err(WishRefused::Draining { name });
    }
    if record.is_voter() {
        // A demotion that still waits for its time is taken back.
        return match record.wish {
            Some(_) => Ok(Step::Note(RoleNote::Wish {
                node: record.id,
                role: None,
            })),
            None => Err(WishRefused::AlreadySo {
                name,
                what: "a control plane",
            }),
        };
    }
    if !draft.is_alive(&record.id) {
        return Err(WishRefused::NotAlive { name });
    }
    Ok(Step::Note(RoleNote::Wish {
        node: record.id,
        role: Some(Role::ControlPlane),
    }))
}

fn demote(draft: &Draft<'_>, record: &NodeRecord) -> Result<Step, WishRefused> {
    let role = others(draft.intent.topology, draft.roles.members().count());
    if !record.is_voter() {
        // A promotion that still waits for its time is taken back.
        return match record.wish {
            Some(Role::ControlPlane) => Ok(Step::Note(RoleNote::Wish {
                node: record.id,
                role: None,
            })),
            _ => Err(WishRefused::AlreadySo {
                name: record.name.clone(),
                what: record.role.name(),
            }),
        };
    }
    if record.wish.is_some() {
        return Err(WishRefused::AlreadySo {
            name: record.name.clone(),
            what: "on its way to a demotion",
        });
    }
    refuse_irreplaceable(draft, record)?;
    Ok(Step::Note(RoleNote::Wish {
        node: record.id,
        role: Some(role),
    }))
}

fn drain(draft: &Draft<'_>, record: &NodeRecord) -> Result<Step, WishRefused> {
    if record.drained {
        return Err(WishRefused::AlreadySo {
            name: record.name.clone(),
            what: "draining",
        });
    }
    refuse_irreplaceable(draft, record)?;
    Ok(Step::Note(RoleNote::Drain {
        node: record.id,
        on: true,
    }))
}

fn quarantine(draft: &Draft<'_>, record: &NodeRecord) -> Result<Step, WishRefused> {
    if record.quarantined.is_some() {
        return Err(WishRefused::AlreadySo {
            name: record.name.clone(),
            what: "quarantined",
        });
    }
    refuse_irreplaceable(draft, record)?;
    Ok(Step::Commit(standing(record, TransitionKind::Quarantine)))
}

fn restore(record: &NodeRecord) -> Result<Vec<Step>, WishRefused> {
    if record.is_fit() {
        return Err(WishRefused::NothingToRestore {
            name: record.name.clone(),
        });
    }
    // An operator who restores a node means all of it, and one block can end only one of the two.
    let both = record.drained && record.quarantined.is_some();
    let undrained = both.then_some(Step::Note(RoleNote::Drain {
        node: record.id,
        on: false,
    }));
    let restored = Step::Commit(standing(record, TransitionKind::Restore));
    Ok(undrained.into_iter().chain([restored]).collect())
}

fn standing(record: &NodeRecord, kind: TransitionKind) -> Transition {
    let reason = "an operator asked for it".to_owned();
    Transition {
        node: record.id,
        name: record.name.clone(),
        kind,
        from: Some(record.role),
        to: Some(record.role),
        reason,
    }
}

/// Refuses to take a voter away that nobody could replace, now or once it has caught up.
fn refuse_irreplaceable(draft: &Draft<'_>, record: &NodeRecord) -> Result<(), WishRefused> {
    let members = || {
        draft
            .roles
            .members()
            .filter(|other| other.id != record.id && other.is_fit())
    };
    let staying = members().filter(|other| other.is_voter() && other.wish.is_none() && !draft.is_lost(&other.id));
    let able = members().filter(|other| !other.is_voter() && draft.is_alive(&other.id));
    let declared = voters_declared(draft.intent.topology, draft.roles.members().count());
    let (voters, able) = (staying.count(), able.count());
    if !record.is_voter() || voters + able >= declared {
        return Ok(());
    }
    let name = record.name.clone();
    let mut unheard = members().filter(|other| !other.is_voter() && draft.is_unheard(&other.id));
    if let Some(other) = unheard
        .next()
        .filter(|_| voters + able + 1 + unheard.count() >= declared)
    {
        let other = other.name.clone();
        return Err(WishRefused::ReplacementUnheard { name, other });
    }
    if voters + able == 0 {
        return Err(WishRefused::OnlyControlPlane { name });
    }
    Err(WishRefused::NobodyCanReplace {
        name,
        topology: draft.intent.topology.name().to_owned(),
        declared,
    })
}

/// `first`, and those commits that the plan would make with it before it does anything else.
fn with_what_follows(first: Step, observed: &Observed, intent: &Intent<'_>, now_ms: u64) -> Vec<Step> {
    let mut granted = observed.clone();
    let applied = match &first {
        Step::Commit(transition) => granted.roles.apply(transition, now_ms),
        Step::Note(note) => granted.roles.apply_note(note),
        Step::SetMembership { .. } | Step::TransferLeader { .. } | Step::WaitCaughtUp { .. } => Ok(()),
    };
    if applied.is_err() {
        return vec![first];
    }
    let follows = plan(&granted, intent, now_ms).steps;
    let commits = follows
        .into_iter()
        .take_while(|step| matches!(step, Step::Commit(_) | Step::Note(_)));
    std::iter::once(first).chain(commits).collect()
}
