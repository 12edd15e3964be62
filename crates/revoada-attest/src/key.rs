//! A node's key, and the check of a signature under a node's id.
//!
//! A node *is* its ed25519 key (RFC 8032): the public half is its [`NodeId`], the secret half a seed of 32 bytes that
//! the caller draws and stores. Every message is signed under a domain of its own (see `block` and `witness`), so a
//! signature that was given for one purpose is worthless for another; this module signs bytes and knows no purposes.
//!
//! Rejected: the permissive check of RFC 8032 §8.4 (cofactored, as ZIP-215 has it). It makes batches agree, and lets
//! a key of small order sign for almost every message; a chain that is meant as evidence wants the strict check.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::{NodeId, Signature, verdicts};

/// PKCS #8 version 1 of an ed25519 key without attributes (RFC 8410 §7): everything but the seed that follows.
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A node's secret key. Its memory is wiped when it is dropped, and `Debug` prints the public half only.
#[derive(Clone)]
pub struct NodeKey {
    signing: SigningKey,
}

impl NodeKey {
    /// The key of `seed`, which has to be 32 bytes from the system's random source; every seed is a valid key.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self {
            signing: SigningKey::from_bytes(&seed),
        }
    }

    /// The seed, to be stored. A reference, so that no unwiped copy is made on the way.
    pub fn seed(&self) -> &[u8; 32] {
        self.signing.as_bytes()
    }

    /// The public half.
    pub fn id(&self) -> NodeId {
        NodeId::from_bytes(self.signing.verifying_key().to_bytes())
    }

    /// Signs `message` (RFC 8032 §5.1.6): deterministic, so it needs no random source.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature::from_bytes(self.signing.sign(message).to_bytes())
    }

    /// The key as PKCS #8 in DER (RFC 8410 §7, version 1), as TLS libraries take it. The caller owns this copy of the
    /// secret and should not keep it.
    pub fn to_pkcs8_der(&self) -> Vec<u8> {
        [PKCS8_PREFIX.as_slice(), self.seed()].concat()
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeKey")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl NodeId {
    /// Whether these bytes are a public key that can be told from every other: the canonical encoding of a point that
    /// is not of small order. Nothing verifies under an id for which this is false.
    pub fn is_valid_key(&self) -> bool {
        self.verifying_key().is_some()
    }

    /// Whether `signature` is this node's over `message`, by the strict check: canonical scalar, no point of small
    /// order.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> bool {
        verdicts::reached(self, message, signature, || {
            let signature = ed25519_dalek::Signature::from_bytes(signature.as_bytes());
            self.verifying_key()
                .is_some_and(|key| key.verify_strict(message, &signature).is_ok())
        })
    }

    fn verifying_key(&self) -> Option<VerifyingKey> {
        let key = VerifyingKey::from_bytes(self.as_bytes()).ok()?;
        // Decompression accepts a few encodings that no key generation yields; a second name for one key is refused.
        let canonical = key.to_edwards().compress().to_bytes() == *self.as_bytes();
        (canonical && !key.is_weak()).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        bytes.try_into().unwrap()
    }

    // RFC 8032 §7.1, TEST 2
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNED_0X72: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                               085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    #[test]
    fn the_vector_of_rfc_8032_is_reproduced() {
        let key = NodeKey::from_seed(hex(SEED));
        assert_eq!(key.id().to_string(), PUBLIC);
        let signature = key.sign(&[0x72]);
        assert_eq!(signature.to_string(), SIGNED_0X72);
        assert!(key.id().verify(&[0x72], &signature));
        assert!(!key.id().verify(&[0x73], &signature));
    }

    #[test]
    fn the_pkcs8_form_is_the_one_of_rfc_8410() {
        // RFC 8410 §10.3, the first example
        let key = NodeKey::from_seed(hex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842"));
        let expected: [u8; 48] = hex("302e020100300506032b657004220420\
                                      d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");
        assert_eq!(key.to_pkcs8_der(), expected);
    }

    #[test]
    fn debug_output_never_holds_the_seed() {
        let shown = format!("{:?}", NodeKey::from_seed(hex(SEED)));
        assert!(!shown.contains(&SEED[..8]), "{shown}");
        assert!(!shown.contains("76, 205"), "{shown}");
        assert!(shown.contains(&PUBLIC[..8]), "{shown}");
    }

    #[test]
    fn a_key_of_small_order_is_no_key() {
        // The neutral element (y = 1), and the point of order two (y = -1).
        for weak in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let id = NodeId::from_bytes(hex(weak));
            assert!(!id.is_valid_key(), "{weak}");
            // R = neutral, s = 0: what the permissive check would take for any message.
            let mut signature = [0; 64];
            signature[0] = 1;
            assert!(!id.verify(b"anything", &Signature::from_bytes(signature)), "{weak}");
        }
    }

    #[test]
    fn a_second_encoding_of_a_key_is_no_key() {
        // y = p + 3 encodes the point with y = 3, which is on the curve and not of small order.
        let mut canonical = [0; 32];
        canonical[0] = 3;
        let second: [u8; 32] = hex("f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        assert!(NodeId::from_bytes(canonical).is_valid_key());
        assert!(!NodeId::from_bytes(second).is_valid_key());
    }

    proptest! {
        #[test]
        fn a_signature_holds_for_its_own_message_and_key_only(
            seed: [u8; 32], other: [u8; 32], message: Vec<u8>, changed: Vec<u8>,
        ) {
            let (key, stranger) = (NodeKey::from_seed(seed), NodeKey::from_seed(other));
            let signature = key.sign(&message);
            prop_assert!(key.id().verify(&message, &signature));
            prop_assert_eq!(key.id().verify(&changed, &signature), changed == message);
            prop_assert_eq!(stranger.id().verify(&message, &signature), seed == other);
        }

        #[test]
        fn any_bytes_as_key_and_signature_are_answered(id: [u8; 32], signature: [[u8; 32]; 2], message: Vec<u8>) {
            let signature = Signature::from_bytes(signature.concat().try_into().unwrap());
            prop_assert!(!NodeId::from_bytes(id).verify(&message, &signature));
        }
    }
}
