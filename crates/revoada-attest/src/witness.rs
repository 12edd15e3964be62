//! A witness: another voter's word that a block was committed.
//!
//! A leader alone could show one history to one auditor and another to the next. A witness co-signs the digest of a
//! block that it has applied, so two histories need two liars. Witnesses arrive after the block and stand outside its
//! digest; whether a witness was a voter is a question for whoever accepts it, since the chain alone cannot know.
//!
//! Rejected: witnesses inside the next block. A cluster at rest would leave its newest block without any for days.

use serde::{Deserialize, Serialize};

use crate::{Digest, NodeId, NodeKey, Signature};

/// Domain of a witness' signature: what stands before the digest in the signed message.
const SIGNATURE_DOMAIN: &[u8] = b"revoada attest witness signature v1\0";

/// One co-signature under a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Who co-signs.
    pub node: NodeId,
    /// Its signature over the block's digest, in the domain of witnesses.
    pub signature: Signature,
}

impl Witness {
    /// Co-signs the block with this digest.
    pub fn sign(block: &Digest, key: &NodeKey) -> Self {
        Self {
            node: key.id(),
            signature: key.sign(&signed_message(block)),
        }
    }

    /// Whether this is the node's signature under the block with this digest.
    pub fn is_signed(&self, block: &Digest) -> bool {
        self.node.verify(&signed_message(block), &self.signature)
    }
}

fn signed_message(block: &Digest) -> Vec<u8> {
    [SIGNATURE_DOMAIN, block.as_bytes()].concat()
}
