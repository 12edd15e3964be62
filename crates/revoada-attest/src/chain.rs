//! The chain: every committed transition of a cluster, in order, each block naming the one before.
//!
//! It is a value of the replicated state machine: the same commands give the same chain on every node. [`Chain::check`]
//! decides whether a block may be appended and needs nothing but the chain; who leads, who votes and who may witness
//! is for the caller to know. What `check` lets in, the offline verifier accepts, given the right keys and witnesses.
//!
//! Cloning copies two pointers; the first append after a clone copies one pointer per block, which for a log of role
//! changes (a few a day) is nothing. Rejected: a persistent vector. It makes that append cheaper and every reader of
//! this crate, which is meant to be audited, learn one more library.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::block::{BLOCK_BYTES_MAX, digest_of};
use crate::planted::{Bug, is_planted};
use crate::{Block, Digest, NodeId, TransitionKind, Witness};

/// How many witnesses one block keeps; a topology has far fewer voters.
pub const WITNESSES_MAX: usize = 1024;

/// A block of the chain with those who co-signed it so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedBlock {
    /// The block.
    pub block: Block,
    /// Its witnesses, in the order of their node ids, each node once.
    pub witnesses: Vec<Witness>,
}

/// Why a block cannot be appended. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockRefused {
    /// The block was made for another cluster.
    #[error("the block is of cluster {found}, not of {expected}")]
    OtherCluster {
        /// This chain's cluster.
        expected: Digest,
        /// The block's.
        found: Digest,
    },
    /// The parent is not the head: somebody else's block came first. Propose again on the new head.
    #[error("the block was proposed on {found}, and the head is {expected}")]
    StaleParent {
        /// The head.
        expected: Digest,
        /// The parent that the block names.
        found: Digest,
    },
    /// The parent is the head, and the number does not follow it.
    #[error("the block is numbered {found}, and {expected} comes next")]
    WrongIndex {
        /// The number of the next block.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// The block was proposed by a leader of another term than the one that it is committed in.
    #[error("the block was proposed in term {found}, and is committed in term {expected}")]
    OtherTerm {
        /// The term of the log entry that carries the block.
        expected: u64,
        /// The block's.
        found: u64,
    },
    /// The term is lower than that of the block before.
    #[error("the block is of term {found}, and the one before it is of term {last}")]
    TermWentBack {
        /// The term of the head.
        last: u64,
        /// The block's.
        found: u64,
    },
    /// The proposer left the cluster for good in an earlier block.
    #[error("the proposer {proposer} was evicted")]
    ProposerEvicted {
        /// The block's proposer.
        proposer: NodeId,
    },
    /// The signature is not the proposer's.
    #[error("the signature under the block is not that of {proposer}")]
    BadSignature {
        /// The block's proposer.
        proposer: NodeId,
    },
    /// The block is longer than [`BLOCK_BYTES_MAX`].
    #[error("the block has {bytes} bytes, and {max} are the most")]
    TooLarge {
        /// The length of its canonical form, in bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

/// Why a witness was not added. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessRefused {
    /// The chain has no block of that number (yet).
    #[error("there is no block {index}: the chain has {len}")]
    NoSuchBlock {
        /// The number asked for.
        index: u64,
        /// How many blocks there are.
        len: u64,
    },
    /// The witness saw another block under that number.
    #[error("block {index} is {expected}, and {found} was witnessed")]
    OtherBlock {
        /// The block's number.
        index: u64,
        /// The digest of this chain's block.
        expected: Digest,
        /// The digest that was witnessed.
        found: Digest,
    },
    /// A proposer is no witness of its own block.
    #[error("{node} proposed block {index} and cannot witness it")]
    Proposer {
        /// The block's number.
        index: u64,
        /// The proposer.
        node: NodeId,
    },
    /// The signature is not the witness'.
    #[error("the signature under block {index} is not that of {node}")]
    BadSignature {
        /// The block's number.
        index: u64,
        /// The witness.
        node: NodeId,
    },
    /// The block has [`WITNESSES_MAX`] witnesses.
    #[error("block {index} has {max} witnesses, and that is the most")]
    Full {
        /// The block's number.
        index: u64,
        /// The limit.
        max: usize,
    },
}

/// A stored chain whose blocks do not follow each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the stored chain is damaged at block {index}")]
pub struct ChainDamaged {
    /// The number of the first block that does not fit.
    pub index: u64,
}

/// The blocks of one cluster. Cheap to clone.
///
/// Reading a stored chain checks that its blocks follow each other, and not their signatures: those were checked before
/// each was appended, and [`crate::verify()`] of an [export](Chain::export) checks all of them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Chain {
    cluster: Digest,
    blocks: Arc<Vec<Arc<SealedBlock>>>,
    #[serde(skip_serializing)]
    head: Digest,
}

/// A chain as it is stored.
#[derive(Deserialize)]
#[serde(rename = "Chain")]
struct Stored {
    cluster: Digest,
    blocks: Vec<SealedBlock>,
}

impl Chain {
    /// The empty chain of a cluster.
    pub fn new(cluster: Digest) -> Self {
        Self {
            cluster,
            blocks: Arc::default(),
            head: cluster,
        }
    }

    /// The cluster's identity.
    pub fn cluster(&self) -> Digest {
        self.cluster
    }

    /// How many blocks there are, which is also the number of the next one.
    pub fn len(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Whether nothing was committed yet.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// What the next block has to name as its parent: the digest of the newest block, or of the cluster.
    pub fn head(&self) -> Digest {
        self.head
    }

    /// The block of that number.
    pub fn get(&self, index: u64) -> Option<&SealedBlock> {
        self.blocks.get(usize::try_from(index).ok()?).map(Arc::as_ref)
    }

    /// The blocks, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &SealedBlock> + ExactSizeIterator + Clone {
        self.blocks.iter().map(Arc::as_ref)
    }

    /// Number and digest of each block that nobody co-signed yet, oldest first: what a voter that proposed none of
    /// them should witness.
    pub fn unwitnessed(&self) -> impl DoubleEndedIterator<Item = (u64, Digest)> {
        let missing = self.iter().filter(|sealed| sealed.witnesses.is_empty());
        missing.map(|sealed| (sealed.block.body.index, sealed.block.digest()))
    }

    /// Whether `block`, carried by a log entry of `committed_term`, may be appended.
    ///
    /// The cheap questions come first, so that of two leaders' blocks the later is told of its stale parent, not of
    /// its number. That the proposer is a voter is for the caller to check; that it was not evicted is checked here.
    pub fn check(&self, block: &Block, committed_term: u64) -> Result<(), BlockRefused> {
        let body = &block.body;
        if body.cluster != self.cluster {
            return Err(BlockRefused::OtherCluster {
                expected: self.cluster,
                found: body.cluster,
            });
        }
        let unchecked = is_planted(Bug::ParentIsUnchecked);
        if body.parent != self.head && !unchecked {
            return Err(BlockRefused::StaleParent {
                expected: self.head,
                found: body.parent,
            });
        }
        if body.index != self.len() {
            return Err(BlockRefused::WrongIndex {
                expected: self.len(),
                found: body.index,
            });
        }
        if body.term != committed_term {
            return Err(BlockRefused::OtherTerm {
                expected: committed_term,
                found: body.term,
            });
        }
        if let Some(last) = self.blocks.last().map(|sealed| sealed.block.body.term)
            && body.term < last
        {
            return Err(BlockRefused::TermWentBack { last, found: body.term });
        }
        if self.is_evicted(&body.proposer) {
            return Err(BlockRefused::ProposerEvicted {
                proposer: body.proposer,
            });
        }
        let bytes = body.canonical_bytes().len();
        if bytes > BLOCK_BYTES_MAX {
            return Err(BlockRefused::TooLarge {
                bytes,
                max: BLOCK_BYTES_MAX,
            });
        }
        if !block.is_signed() {
            return Err(BlockRefused::BadSignature {
                proposer: body.proposer,
            });
        }
        Ok(())
    }

    /// Appends `block` if [`Chain::check`] lets it, and returns the new head.
    pub fn append(&mut self, block: Block, committed_term: u64) -> Result<Digest, BlockRefused> {
        self.check(&block, committed_term)?;
        self.head = block.digest();
        Arc::make_mut(&mut self.blocks).push(Arc::new(SealedBlock {
            block,
            witnesses: Vec::new(),
        }));
        Ok(self.head)
    }

    /// Adds a co-signature under block `index`, of which the witness saw `digest`. Returns whether it is new: a node
    /// witnesses a block once, and its first signature stays.
    ///
    /// That the witness is a voter is for the caller to check.
    pub fn add_witness(&mut self, index: u64, digest: &Digest, witness: Witness) -> Result<bool, WitnessRefused> {
        let sealed = self
            .get(index)
            .ok_or(WitnessRefused::NoSuchBlock { index, len: self.len() })?;
        let expected = sealed.block.digest();
        if *digest != expected {
            return Err(WitnessRefused::OtherBlock {
                index,
                expected,
                found: *digest,
            });
        }
        let node = witness.node;
        if node == sealed.block.body.proposer {
            return Err(WitnessRefused::Proposer { index, node });
        }
        if !witness.is_signed(digest) && !is_planted(Bug::WitnessesAnotherBlock) {
            return Err(WitnessRefused::BadSignature { index, node });
        }
        let Err(place) = sealed.witnesses.binary_search_by_key(&node, |known| known.node) else {
            return Ok(false);
        };
        if sealed.witnesses.len() >= WITNESSES_MAX {
            return Err(WitnessRefused::Full {
                index,
                max: WITNESSES_MAX,
            });
        }
        // `get` found the block, so the number is a valid position.
        let sealed = &mut Arc::make_mut(&mut self.blocks)[index as usize];
        Arc::make_mut(sealed).witnesses.insert(place, witness);
        Ok(true)
    }

    /// Whether the last thing that the chain says about the node's membership is that it left for good.
    fn is_evicted(&self, node: &NodeId) -> bool {
        let mut said = self
            .iter()
            .rev()
            .map(|sealed| &sealed.block.body.transition)
            .filter(|said| said.node == *node);
        let decides = |kind| matches!(kind, TransitionKind::Admit | TransitionKind::Evict);
        said.find(|said| decides(said.kind))
            .is_some_and(|said| said.kind == TransitionKind::Evict)
    }
}

impl TryFrom<Stored> for Chain {
    type Error = ChainDamaged;

    fn try_from(stored: Stored) -> Result<Self, ChainDamaged> {
        let mut head = stored.cluster;
        for (index, sealed) in (0..).zip(&stored.blocks) {
            let body = &sealed.block.body;
            let witnesses = &sealed.witnesses;
            let follows = body.cluster == stored.cluster && body.index == index && body.parent == head;
            let in_order = witnesses.is_sorted_by(|one, next| one.node < next.node);
            let canonical = body.canonical_bytes();
            let within = witnesses.len() <= WITNESSES_MAX && canonical.len() <= BLOCK_BYTES_MAX;
            if !follows || !in_order || !within {
                return Err(ChainDamaged { index });
            }
            head = digest_of(&canonical);
        }
        let blocks = stored.blocks.into_iter().map(Arc::new).collect();
        Ok(Self {
            cluster: stored.cluster,
            blocks: Arc::new(blocks),
            head,
        })
    }
}

#[cfg(test)]
mod tests;
