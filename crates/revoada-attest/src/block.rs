//! A block: one committed transition, where it stands in the chain, and the proposer's signature.
//!
//! What is hashed and signed is one byte string per block, laid out by hand in `canonical`, so that a verifier written
//! by somebody else from that page alone comes to the same digest. The signature covers the digest behind a prefix of
//! its own, as a witness' does behind another: neither can be passed off as the other, nor as anything else that a
//! node signs.
//!
//! Rejected: signing the bytes that serde happens to write. They follow the field order of a struct and the habits of
//! a codec, and a chain has to verify years after both have changed.

use serde::{Deserialize, Serialize};

use crate::{Digest, NodeId, NodeKey, Signature, Transition, canonical};

/// The longest canonical form of a block body, in bytes: names and reasons are sentences, not documents.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024;

/// Domain of the block digest (BLAKE3's key derivation context).
const DIGEST_CONTEXT: &str = "revoada 2026-11 attest block digest v1";
/// Domain of the proposer's signature: what stands before the digest in the signed message.
const SIGNATURE_DOMAIN: &[u8] = b"revoada attest block signature v1\0";

/// What a block says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockBody {
    /// The cluster's identity: the digest of its genesis.
    pub cluster: Digest,
    /// The block's number, from 0.
    pub index: u64,
    /// The digest of the block before; for block 0 the cluster's digest.
    pub parent: Digest,
    /// The Raft term in which the proposer led.
    pub term: u64,
    /// The proposer's clock, in milliseconds since 1970-01-01T00:00:00Z; for readers, never for an order.
    pub time_ms: u64,
    /// Who proposed, and signs: the leader.
    pub proposer: NodeId,
    /// What changes.
    pub transition: Transition,
}

impl BlockBody {
    /// The canonical bytes: what the digest is taken over (layout in the module `canonical`).
    pub fn canonical_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// BLAKE3 over the canonical bytes, in a domain of its own.
    pub fn digest(&self) -> Digest {
        digest_of(&self.canonical_bytes())
    }
}

/// The digest of a block body in its canonical form.
pub(crate) fn digest_of(canonical: &[u8]) -> Digest {
    Digest::from_bytes(blake3::derive_key(DIGEST_CONTEXT, canonical))
}

/// Whether `signature` is `proposer`'s over the block with this digest.
pub(crate) fn is_signed_by(proposer: &NodeId, digest: &Digest, signature: &Signature) -> bool {
    proposer.verify(&signed_message(digest), signature)
}

fn signed_message(digest: &Digest) -> Vec<u8> {
    [SIGNATURE_DOMAIN, digest.as_bytes()].concat()
}

/// A body with its proposer's signature. Nothing is promised about the signature until [`Block::is_signed`] or
/// [`crate::Chain::check`] says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What the block says.
    pub body: BlockBody,
    /// The proposer's signature over the digest.
    pub signature: Signature,
}

impl Block {
    /// Signs `body` with `key`, which should be the key of `body.proposer`: with any other the block will be refused.
    pub fn seal(body: BlockBody, key: &NodeKey) -> Self {
        let signature = key.sign(&signed_message(&body.digest()));
        Self { body, signature }
    }

    /// The block's name: the digest of its body.
    ///
    /// The signature is outside it on purpose, so that a block has one name even if its proposer signed it twice.
    pub fn digest(&self) -> Digest {
        self.body.digest()
    }

    /// Whether the signature is the proposer's.
    pub fn is_signed(&self) -> bool {
        is_signed_by(&self.body.proposer, &self.digest(), &self.signature)
    }
}
