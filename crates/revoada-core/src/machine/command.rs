//! The commands, and what they answer.

use bytes::Bytes;
use revoada_attest::{Block, Digest, Witness};
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;
use crate::keyspace::{EntryNumbers, Op, Operation, OperationRefused, Outcome, RestoredLease, Revision, Txn};
use crate::roles::RoleNote;
use crate::roster::RosterChange;

/// One change of the replicated state. Several travel as one log entry; each is answered by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// A change of what the cluster stores.
    Keyspace(Operation),
    /// A change of a node's role.
    Transit(Block),
    /// A committed fact about a node that is not a transition.
    Note(RoleNote),
    /// A co-signature of a block.
    Witness {
        /// The number of the block.
        index: u64,
        /// Its digest.
        digest: Digest,
        /// Who vouches for it.
        witness: Witness,
    },
    /// A part of a snapshot that is being restored.
    Stage {
        /// Which restore; a number that its leader drew.
        id: u64,
        /// Whether this is the first part, which throws away what another restore left.
        first: bool,
        /// Keys and values.
        entries: Vec<(Bytes, Bytes)>,
        /// The numbers that they keep, in their order; none where they get new ones.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        numbers: Vec<EntryNumbers>,
        /// Leases of entries, of this part or another.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        leases: Vec<RestoredLease>,
    },
    /// The end of a restore: what was staged replaces everything under `prefix` and `also`, at once.
    RestoreStaged {
        /// Which restore.
        id: u64,
        /// What is replaced.
        prefix: Bytes,
        /// What else is replaced.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        also: Vec<Bytes>,
        /// The proposer's clock, in milliseconds since the Unix epoch.
        #[serde(default)]
        now_ms: u64,
        /// The revision of the snapshot; the keyspace goes past it and past its own.
        revision: Revision,
    },
    /// A change of who belongs to the group, where that is asked for by name.
    Roster(RosterChange),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The keyspace changed, or answered.
    Keyspace(Box<Outcome>),
    /// The transition is a block of the chain now.
    Chained {
        /// Its number.
        index: u64,
        /// Its digest.
        digest: Digest,
    },
    /// The fact is noted.
    Noted,
    /// The co-signature stands.
    Witnessed {
        /// Whether it was not there before.
        new: bool,
    },
    /// The part is staged.
    Staged {
        /// How many entries are staged now.
        entries: u64,
    },
    /// The roster is as it was asked for.
    Roster,
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Which condition it is.
    pub kind: ErrorKind,
    /// In words.
    pub reason: String,
    /// What the keyspace refused, where it was the keyspace; faces map it to their own codes.
    pub operation: Option<Box<OperationRefused>>,
}

impl Refused {
    pub(super) fn because(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            operation: None,
        }
    }

    pub(super) fn new(kind: ErrorKind, error: &dyn std::error::Error) -> Self {
        Self {
            kind,
            reason: error.to_string(),
            operation: None,
        }
    }
}

/// The answer to one command.
pub type Reply = Result<Done, Refused>;

/// A log entry that is not a batch of commands: written by a newer program, or damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an entry of the log cannot be read as commands: {0}")]
pub struct DecodeError(String);

impl Command {
    /// Encodes commands as one entry.
    pub fn encode_batch(commands: &[Self]) -> Bytes {
        let capacity = commands.iter().map(Self::size_hint).sum();
        cbor4ii::serde::to_vec(Vec::with_capacity(capacity), &commands)
            .expect("commands have string keys only and a vector takes every write")
            .into()
    }

    /// Reads an entry.
    pub fn decode_batch(entry: &[u8]) -> Result<Vec<Self>, DecodeError> {
        cbor4ii::serde::from_slice(entry).map_err(|error| DecodeError(error.to_string()))
    }

    /// About how many bytes it takes, for batches of bounded size.
    pub fn size_hint(&self) -> usize {
        const FRAME: usize = 128;
        match self {
            Self::Keyspace(operation) => FRAME + bytes_of(operation),
            Self::Stage {
                entries,
                numbers,
                leases,
                ..
            } => FRAME + bytes_of_entries(entries) + bytes_of_numbers(numbers) + bytes_of_leases(leases),
            Self::Roster(RosterChange::Found { members }) => (members.len() + 1) * 4 * FRAME,
            Self::Transit(_) | Self::Note(_) | Self::Witness { .. } | Self::RestoreStaged { .. } | Self::Roster(_) => {
                4 * FRAME
            }
        }
    }
}

fn bytes_of_entries(entries: &[(Bytes, Bytes)]) -> usize {
    entries.iter().map(|(key, value)| key.len() + value.len() + 16).sum()
}

fn bytes_of_numbers(numbers: &[EntryNumbers]) -> usize {
    numbers.len() * 34
}

fn bytes_of_leases(leases: &[RestoredLease]) -> usize {
    let keys = |lease: &RestoredLease| lease.keys.iter().map(|key| key.len() + 16).sum::<usize>();
    leases.iter().map(|lease| keys(lease) + 32).sum()
}

fn bytes_of(operation: &Operation) -> usize {
    match operation {
        Operation::Txn(txn) => bytes_of_txn(txn),
        Operation::Restore(restore) => {
            bytes_of_entries(&restore.entries) + bytes_of_numbers(&restore.numbers) + bytes_of_leases(&restore.leases)
        }
        Operation::Compact { .. }
        | Operation::LeaseGrant { .. }
        | Operation::LeaseRevoke { .. }
        | Operation::LeaseKeepAlive { .. }
        | Operation::LeaseExpire { .. } => 64,
    }
}

fn bytes_of_txn(txn: &Txn) -> usize {
    let ops = txn.then.iter().chain(&txn.otherwise).map(|op| match op {
        Op::Put { key, value, .. } => key.len() + value.len() + 64,
        Op::Txn(inner) => bytes_of_txn(inner),
        Op::Delete { .. } | Op::Range(_) => 128,
    });
    txn.compares.len() * 128 + ops.sum::<usize>()
}
