//! The replicated state of a cluster, and the commands that change it.
//!
//! Everything here is a function of the log: two nodes that applied the same entries hold equal states, byte for byte.
//! A command that is refused changes nothing; that it was refused is part of the function too.

mod codec;
mod command;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use revoada_attest::{Block, Chain, Digest, NodeId, Witness};

use crate::error::ErrorKind;
use crate::genesis::Genesis;
use crate::keyspace::{EntryNumbers, Keyspace, Operation, Restore, RestoredLease};
use crate::limits;
use crate::roles::Roles;
use crate::roster::Roster;

pub use command::{Command, DecodeError, Done, Refused, Reply};

/// Where in the log a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The index of its entry.
    pub index: u64,
    /// The term that its entry was committed in.
    pub term: u64,
}

/// Entries of a restore that have arrived and are not in the keyspace yet.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Staged {
    id: u64,
    entries: Vec<(Bytes, Bytes)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<EntryNumbers>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    leases: Vec<RestoredLease>,
}

/// The state. A clone is a snapshot and costs little.
#[derive(Debug, Clone)]
pub struct ClusterState {
    keyspace: Keyspace,
    roles: Arc<Roles>,
    chain: Chain,
    founders: Arc<BTreeSet<NodeId>>,
    staged: Option<Arc<Staged>>,
    roster: Arc<Roster>,
}

impl ClusterState {
    /// The state before the first entry.
    pub fn new(genesis: &Genesis) -> Self {
        Self {
            keyspace: Keyspace::new(),
            roles: Arc::default(),
            chain: Chain::new(genesis.digest()),
            founders: Arc::new(genesis.founders().keys().copied().collect()),
            staged: None,
            roster: Arc::default(),
        }
    }

    /// What the cluster stores.
    pub fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    /// Who is what.
    pub fn roles(&self) -> &Arc<Roles> {
        &self.roles
    }

    /// Who belongs to the group, where that is asked for by name; empty elsewhere.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// How it came to be so.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Whether `node` is one that this cluster knows and has not evicted.
    pub fn is_member(&self, node: &NodeId) -> bool {
        match self.roles.get(node) {
            Some(record) => record.is_member(),
            None => self.founders.contains(node),
        }
    }

    /// Applies one command of an entry.
    pub fn apply(&mut self, command: Command, context: Context) -> Reply {
        match command {
            Command::Keyspace(operation) => self.change(operation),
            Command::Transit(block) => self.transit(block, context),
            Command::Note(note) => {
                let mut roles = (*self.roles).clone();
                roles
                    .apply_note(&note)
                    .map_err(|refused| Refused::new(refused.kind(), &refused))?;
                self.roles = Arc::new(roles);
                Ok(Done::Noted)
            }
            Command::Witness { index, digest, witness } => self.witness(index, &digest, witness),
            Command::Stage {
                id,
                first,
                entries,
                numbers,
                leases,
            } => self.stage(id, first, entries, numbers, leases),
            Command::RestoreStaged {
                id,
                prefix,
                also,
                revision,
                now_ms,
            } => match self.staged.take() {
                Some(staged) if staged.id == id => {
                    let Staged {
                        entries,
                        numbers,
                        leases,
                        ..
                    } = Arc::unwrap_or_clone(staged);
                    self.change(Operation::Restore(Restore {
                        prefix,
                        also,
                        revision,
                        entries,
                        numbers,
                        leases,
                        now_ms,
                    }))
                }
                other => {
                    self.staged = other;
                    Err(Refused::because(
                        ErrorKind::Conflict,
                        "another restore was begun before this one ended".to_owned(),
                    ))
                }
            },
            Command::Roster(change) => {
                let mut roster = (*self.roster).clone();
                roster
                    .apply(&change)
                    .map_err(|refused| Refused::new(refused.kind(), &refused))?;
                self.roster = Arc::new(roster);
                Ok(Done::Roster)
            }
        }
    }

    fn change(&mut self, operation: Operation) -> Reply {
        match self.keyspace.apply(operation) {
            Ok(outcome) => Ok(Done::Keyspace(Box::new(outcome))),
            Err(refused) => {
                let reason = refused.to_string();
                Err(Refused {
                    kind: refused.kind(),
                    reason,
                    operation: Some(Box::new(refused)),
                })
            }
        }
    }

    fn transit(&mut self, block: Block, context: Context) -> Reply {
        if !self.is_member(&block.body.proposer) {
            return Err(Refused::because(
                ErrorKind::Denied,
                format!(
                    "the proposer {} is not a member of this cluster",
                    block.body.proposer.short()
                ),
            ));
        }
        let refused = |refused: crate::roles::TransitionRefused| Refused::new(refused.kind(), &refused);
        // Both must accept it before either changes.
        self.chain
            .check(&block, context.term)
            .map_err(|error| Refused::new(ErrorKind::Conflict, &error))?;
        let mut roles = (*self.roles).clone();
        roles
            .apply(&block.body.transition, block.body.time_ms)
            .map_err(refused)?;
        let index = block.body.index;
        let digest = self
            .chain
            .append(block, context.term)
            .map_err(|error| Refused::new(ErrorKind::Conflict, &error))?;
        self.roles = Arc::new(roles);
        Ok(Done::Chained { index, digest })
    }

    fn witness(&mut self, index: u64, digest: &Digest, witness: Witness) -> Reply {
        if !self.is_member(&witness.node) {
            return Err(Refused::because(
                ErrorKind::Denied,
                format!("the witness {} is not a member of this cluster", witness.node.short()),
            ));
        }
        match self.chain.add_witness(index, digest, witness) {
            Ok(new) => Ok(Done::Witnessed { new }),
            Err(error) => Err(Refused::new(ErrorKind::Invalid, &error)),
        }
    }

    fn stage(
        &mut self,
        id: u64,
        first: bool,
        entries: Vec<(Bytes, Bytes)>,
        numbers: Vec<EntryNumbers>,
        leases: Vec<RestoredLease>,
    ) -> Reply {
        if first {
            self.staged = Some(Arc::new(Staged {
                id,
                entries: Vec::new(),
                numbers: Vec::new(),
                leases: Vec::new(),
            }));
        }
        let conflict = || {
            Refused::because(
                ErrorKind::Conflict,
                "another restore was begun before this one ended".to_owned(),
            )
        };
        let staged = self
            .staged
            .as_mut()
            .filter(|staged| staged.id == id)
            .ok_or_else(conflict)?;
        let staged = Arc::make_mut(staged);
        if staged.entries.len() + entries.len() > limits::RESTORE_ENTRIES_MAX {
            self.staged = None;
            return Err(Refused::because(
                ErrorKind::Exhausted,
                format!("a snapshot of more than {} entries", limits::RESTORE_ENTRIES_MAX),
            ));
        }
        staged.entries.extend(entries);
        staged.numbers.extend(numbers);
        staged.leases.extend(leases);
        Ok(Done::Staged {
            entries: staged.entries.len() as u64,
        })
    }
}

/// What the driver may ask of the state in one look, without holding it.
#[derive(Debug, Clone)]
pub struct RoleView {
    /// Who is what.
    pub roles: Arc<Roles>,
    /// The digest that the next block has to name as its parent.
    pub head: Digest,
    /// The number of blocks, which is the number of the next one.
    pub blocks: u64,
}

impl From<&ClusterState> for RoleView {
    fn from(state: &ClusterState) -> Self {
        Self {
            roles: state.roles.clone(),
            head: state.chain.head(),
            blocks: state.chain.len(),
        }
    }
}
