//! Which change may follow which state.

use std::collections::BTreeMap;

use revoada_attest::{NodeId, Role, Transition, TransitionKind};
use serde::{Deserialize, Serialize};

use super::record::{Location, Moving, NodeRecord, Quarantine, QuarantinedBy};
use crate::error::ErrorKind;
use crate::limits::{FLAPPING_LOSSES, FLAPPING_WINDOW_MS, NAME_BYTES_MAX, NODES_MAX};

/// The committed roles of a cluster: part of the replicated state, the same on every node at the same log index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roles {
    /// Every node that was ever admitted, evicted ones included, so that their keys stay refused.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
}

/// A committed fact about a node that is not a transition: it changes no role and no standing in the chain.
///
/// Notes are idempotent: one that is committed twice, because its first outcome was unknown, changes nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "note", rename_all = "kebab-case")]
pub enum RoleNote {
    /// The Raft membership has followed the node's last role change.
    Confirm {
        /// The node.
        node: NodeId,
    },
    /// Both detectors say that it is gone.
    Lost {
        /// The node.
        node: NodeId,
        /// Since when, in milliseconds since 1970.
        at_ms: u64,
    },
    /// It is alive again.
    Returned {
        /// The node.
        node: NodeId,
        /// Since when, in milliseconds since 1970.
        at_ms: u64,
        /// Whether an operator ended the loss (start, resume, up): then it does not count.
        excused: bool,
    },
    /// An operator ended the newest loss, or is about to: it does not count.
    Excuse {
        /// The node.
        node: NodeId,
    },
    /// Where it can be reached and where it stands.
    Located {
        /// The node.
        node: NodeId,
        /// All of it; replaces what was known.
        location: Location,
    },
    /// An operator wants it out of the voters, or no longer.
    Drain {
        /// The node.
        node: NodeId,
        /// Whether it is to be drained. A `restore` undoes it as well, with a block in the chain.
        on: bool,
    },
    /// An operator asks for a role, or takes the wish back. Fulfilled wishes vanish by themselves.
    Wish {
        /// The node.
        node: NodeId,
        /// The role; none takes the wish back.
        role: Option<Role>,
    },
}

impl RoleNote {
    /// The node that it is about.
    pub fn node(&self) -> NodeId {
        match self {
            Self::Confirm { node }
            | Self::Lost { node, .. }
            | Self::Returned { node, .. }
            | Self::Excuse { node }
            | Self::Located { node, .. }
            | Self::Drain { node, .. }
            | Self::Wish { node, .. } => *node,
        }
    }
}

/// Why a transition or a note was not applied. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionRefused {
    /// No node with this key was ever admitted.
    #[error("no node has the key {node}")]
    UnknownNode {
        /// The key.
        node: NodeId,
    },
    /// The node was evicted, for good.
    #[error("{name} was evicted")]
    Evicted {
        /// Its name.
        name: String,
    },
    /// The key is admitted already.
    #[error("{name} is admitted already")]
    AlreadyAdmitted {
        /// Its name.
        name: String,
    },
    /// Another key has this name.
    #[error("the name {name} belongs to the key {holder}, not to {node}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: NodeId,
        /// Who wants it.
        node: NodeId,
    },
    /// The name is empty or too long.
    #[error("a node's name has 1 to {NAME_BYTES_MAX} bytes, not {bytes}")]
    NameLength {
        /// Its length.
        bytes: usize,
    },
    /// The transition carries another name than the record.
    #[error("the key {node} belongs to {name}, not to {given}")]
    NameMismatch {
        /// The key.
        node: NodeId,
        /// The record's name.
        name: String,
        /// The transition's name.
        given: String,
    },
    /// The cluster has as many records as it may.
    #[error("the cluster has records of {NODES_MAX} nodes, which is the limit")]
    TooManyNodes,
    /// The transition was planned from another state.
    #[error("{name} is {}, not {}", role_or_none(*.actual), role_or_none(*.given))]
    FromMismatch {
        /// Its name.
        name: String,
        /// The record's role.
        actual: Option<Role>,
        /// The transition's `from`.
        given: Option<Role>,
    },
    /// The roles do not fit the kind of the transition, such as a promotion to worker.
    #[error("{name}: {kind} does not lead from {} to {}", role_or_none(*.from), role_or_none(*.to))]
    NotThisKind {
        /// The node's name.
        name: String,
        /// The kind.
        kind: TransitionKind,
        /// From which role.
        from: Option<Role>,
        /// To which.
        to: Option<Role>,
    },
    /// The node is quarantined, and the change is not open to such a node.
    #[error("{name} is quarantined")]
    Quarantined {
        /// Its name.
        name: String,
    },
    /// The node is being drained, and the change is not open to such a node.
    #[error("{name} is draining")]
    Draining {
        /// Its name.
        name: String,
    },
    /// A lost node is never promoted.
    #[error("{name} is lost")]
    Lost {
        /// Its name.
        name: String,
    },
    /// There is nothing to restore.
    #[error("{name} is neither quarantined nor drained")]
    NothingToRestore {
        /// Its name.
        name: String,
    },
}

fn role_or_none(role: Option<Role>) -> &'static str {
    role.map_or("nothing", Role::name)
}

impl TransitionRefused {
    /// The kind to branch on.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownNode { .. } => ErrorKind::NotFound,
            Self::AlreadyAdmitted { .. } | Self::NameTaken { .. } => ErrorKind::AlreadyExists,
            Self::NameLength { .. } | Self::NotThisKind { .. } => ErrorKind::Invalid,
            Self::TooManyNodes => ErrorKind::Exhausted,
            Self::Evicted { .. } => ErrorKind::Denied,
            Self::NameMismatch { .. }
            | Self::FromMismatch { .. }
            | Self::Quarantined { .. }
            | Self::Draining { .. }
            | Self::Lost { .. }
            | Self::NothingToRestore { .. } => ErrorKind::Conflict,
        }
    }
}

impl Roles {
    /// The record of a node, evicted or not.
    pub fn get(&self, node: &NodeId) -> Option<&NodeRecord> {
        self.nodes.get(node)
    }

    /// The record of the member with this name.
    pub fn by_name(&self, name: &str) -> Option<&NodeRecord> {
        self.members().find(|record| record.name == name)
    }

    /// The nodes that belong to the cluster, in the order of their keys.
    pub fn members(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes.values().filter(|record| record.is_member())
    }

    /// Applies a committed transition. `at_ms` is the block's time.
    ///
    /// A refusal changes nothing, and is the same on every node: it depends on the committed state alone.
    ///
    /// # Errors
    /// [`TransitionRefused`] says which condition does not hold.
    pub fn apply(&mut self, transition: &Transition, at_ms: u64) -> Result<(), TransitionRefused> {
        if transition.kind == TransitionKind::Admit {
            return self.admit(transition, at_ms);
        }
        let record = self.checked(transition)?;
        let refused_kind = || TransitionRefused::NotThisKind {
            name: transition.name.clone(),
            kind: transition.kind,
            from: transition.from,
            to: transition.to,
        };
        let to_other = match transition.to {
            Some(to @ (Role::Worker | Role::Observer)) if to != record.role => Some(to),
            _ => None,
        };
        match transition.kind {
            TransitionKind::Admit => unreachable!("admissions returned above"),
            TransitionKind::Promote => {
                if transition.to != Some(Role::ControlPlane) || record.role == Role::ControlPlane {
                    return Err(refused_kind());
                }
                refuse_unfit(record)?;
                if record.lost_since_ms.is_some() {
                    return Err(TransitionRefused::Lost {
                        name: record.name.clone(),
                    });
                }
                record.change(Role::ControlPlane, Some(Moving::Promoting), at_ms);
            }
            TransitionKind::Demote => {
                let to = to_other.filter(|_| record.is_voter()).ok_or_else(refused_kind)?;
                record.change(to, Some(Moving::Demoting), at_ms);
            }
            TransitionKind::Reassign => {
                let to = to_other.filter(|_| !record.is_voter()).ok_or_else(refused_kind)?;
                refuse_unfit(record)?;
                record.change(to, record.moving, at_ms);
            }
            TransitionKind::Quarantine => {
                if transition.to != Some(record.role) {
                    return Err(refused_kind());
                }
                if record.quarantined.is_some() {
                    return Err(TransitionRefused::Quarantined {
                        name: record.name.clone(),
                    });
                }
                record.quarantine(at_ms);
            }
            TransitionKind::Restore => {
                if transition.to != Some(record.role) {
                    return Err(refused_kind());
                }
                if record.is_fit() {
                    return Err(TransitionRefused::NothingToRestore {
                        name: record.name.clone(),
                    });
                }
                // A release from quarantine does not end a drain that an operator asked for as well.
                match record.quarantined.take() {
                    Some(_) => record.losses_ms.clear(),
                    None => record.drained = false,
                }
            }
            TransitionKind::Evict => {
                if transition.to.is_some() || record.is_voter() {
                    return Err(refused_kind());
                }
                record.evicted_at_ms = Some(at_ms);
                record.moving = None;
                record.wish = None;
            }
        }
        Ok(())
    }

    /// Applies a committed note.
    ///
    /// # Errors
    /// [`TransitionRefused::UnknownNode`] and [`TransitionRefused::Evicted`]; nothing was changed.
    pub fn apply_note(&mut self, note: &RoleNote) -> Result<(), TransitionRefused> {
        let record = self.member_mut(note.node())?;
        match note {
            RoleNote::Confirm { .. } => record.moving = None,
            RoleNote::Lost { at_ms, .. } => record.lose(*at_ms),
            RoleNote::Returned { at_ms, excused, .. } => record.come_back(*at_ms, *excused),
            RoleNote::Excuse { .. } => record.excuse(),
            RoleNote::Located { location, .. } => record.location = location.clone(),
            RoleNote::Drain { on, .. } => {
                record.drained = *on;
                record.wish = None;
            }
            RoleNote::Wish { role, .. } => {
                record.wish = role.filter(|role| *role != Role::ControlPlane || record.role != Role::ControlPlane);
            }
        }
        Ok(())
    }

    fn admit(&mut self, transition: &Transition, at_ms: u64) -> Result<(), TransitionRefused> {
        let Transition {
            node,
            name,
            kind,
            from,
            to,
            ..
        } = transition;
        if let Some(record) = self.nodes.get(node) {
            let name = record.name.clone();
            return Err(match record.is_member() {
                true => TransitionRefused::AlreadyAdmitted { name },
                false => TransitionRefused::Evicted { name },
            });
        }
        if let Some(holder) = self.by_name(name) {
            return Err(TransitionRefused::NameTaken {
                name: name.clone(),
                holder: holder.id,
                node: *node,
            });
        }
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(TransitionRefused::NameLength { bytes: name.len() });
        }
        if self.nodes.len() >= NODES_MAX {
            return Err(TransitionRefused::TooManyNodes);
        }
        let (None, Some(role)) = (from, to) else {
            return Err(TransitionRefused::NotThisKind {
                name: name.clone(),
                kind: *kind,
                from: *from,
                to: *to,
            });
        };
        let record = NodeRecord {
            id: *node,
            name: name.clone(),
            role: *role,
            location: Location::default(),
            admitted_at_ms: at_ms,
            changed_at_ms: None,
            moving: None,
            losses_ms: Vec::new(),
            last_loss_ms: None,
            lost_since_ms: None,
            quarantined: None,
            drained: false,
            wish: None,
            asked: false,
            evicted_at_ms: None,
        };
        self.nodes.insert(*node, record);
        Ok(())
    }

    fn member_mut(&mut self, node: NodeId) -> Result<&mut NodeRecord, TransitionRefused> {
        let record = self
            .nodes
            .get_mut(&node)
            .ok_or(TransitionRefused::UnknownNode { node })?;
        if !record.is_member() {
            return Err(TransitionRefused::Evicted {
                name: record.name.clone(),
            });
        }
        Ok(record)
    }

    /// The member that the transition is about, once its name and its `from` are those of the record.
    fn checked(&mut self, transition: &Transition) -> Result<&mut NodeRecord, TransitionRefused> {
        let record = self.member_mut(transition.node)?;
        if record.name != transition.name {
            return Err(TransitionRefused::NameMismatch {
                node: transition.node,
                name: record.name.clone(),
                given: transition.name.clone(),
            });
        }
        if transition.from != Some(record.role) {
            return Err(TransitionRefused::FromMismatch {
                name: record.name.clone(),
                actual: Some(record.role),
                given: transition.from,
            });
        }
        Ok(record)
    }
}

fn refuse_unfit(record: &NodeRecord) -> Result<(), TransitionRefused> {
    if record.quarantined.is_some() {
        return Err(TransitionRefused::Quarantined {
            name: record.name.clone(),
        });
    }
    if record.drained {
        return Err(TransitionRefused::Draining {
            name: record.name.clone(),
        });
    }
    Ok(())
}

impl NodeRecord {
    fn change(&mut self, to: Role, moving: Option<Moving>, at_ms: u64) {
        self.role = to;
        self.asked = self.wish == Some(to);
        self.moving = moving;
        self.changed_at_ms = Some(at_ms);
        // A change answers the wish, whichever it was: a wish is for the next change, not for ever.
        self.wish = None;
    }

    fn quarantine(&mut self, at_ms: u64) {
        // Who asks is a function of the committed losses, so that it needs no field in the signed transition.
        let flapping = self.is_flapping();
        self.quarantined = Some(Quarantine {
            since_ms: at_ms,
            by: if flapping {
                QuarantinedBy::Flapping
            } else {
                QuarantinedBy::Operator
            },
            alive_since_ms: self.lost_since_ms.is_none().then_some(at_ms),
            loss_ms: flapping.then_some(self.last_loss_ms).flatten(),
        });
        self.wish = None;
    }

    fn lose(&mut self, at_ms: u64) {
        if self.lost_since_ms.is_some() {
            return;
        }
        self.lost_since_ms = Some(at_ms);
        self.last_loss_ms = Some(at_ms);
        self.losses_ms
            .retain(|loss_ms| at_ms.abs_diff(*loss_ms) <= FLAPPING_WINDOW_MS);
        self.losses_ms.push(at_ms);
        let surplus = self.losses_ms.len().saturating_sub(FLAPPING_LOSSES);
        self.losses_ms.drain(..surplus);
        if let Some(quarantine) = &mut self.quarantined {
            quarantine.alive_since_ms = None;
        }
    }

    fn come_back(&mut self, at_ms: u64, excused: bool) {
        if self.lost_since_ms.take().is_none() {
            return;
        }
        if excused {
            self.excuse();
        }
        if let Some(quarantine) = &mut self.quarantined {
            quarantine.alive_since_ms = Some(at_ms);
        }
    }

    fn excuse(&mut self) {
        let Some(loss_ms) = self.last_loss_ms else {
            return;
        };
        self.losses_ms.retain(|counted_ms| *counted_ms != loss_ms);
        if let Some(quarantine) = &mut self.quarantined
            && quarantine.loss_ms == Some(loss_ms)
        {
            quarantine.loss_ms = None;
        }
    }
}
