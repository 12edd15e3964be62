//! Fixed-size names: a node's public key, a BLAKE3 digest, an ed25519 signature.
//!
//! They read and print as lower-case hex (contracts of the command line), and travel as raw bytes in binary formats.
//! A type per meaning, rather than one `[u8; 32]`, so that a digest can never be taken for a key.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A text that is not the lower-case or upper-case hex of exactly `bytes` bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {bytes} bytes in hex ({} characters), not {given:?}", bytes * 2)]
pub struct ParseHexError {
    what: &'static str,
    bytes: usize,
    given: String,
}

macro_rules! fixed_bytes {
    ($(#[$doc:meta])* $name:ident, $bytes:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $bytes]);

        impl $name {
            /// The number of raw bytes.
            pub const BYTES: usize = $bytes;

            /// Wraps raw bytes; any value is accepted, validity is checked where it is used.
            pub const fn from_bytes(bytes: [u8; $bytes]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            pub const fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }

            /// The first eight hex characters: enough for a person to tell two apart, never for a decision.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self([0; $bytes])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = ParseHexError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let refused = || ParseHexError { what: $what, bytes: $bytes, given: text.chars().take(160).collect() };
                if text.len() != $bytes * 2 || !text.is_ascii() {
                    return Err(refused());
                }
                let mut bytes = [0; $bytes];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
                    let digits = std::str::from_utf8(pair).map_err(|_| refused())?;
                    if !pair.iter().all(u8::is_ascii_hexdigit) {
                        return Err(refused());
                    }
                    *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl de::Visitor<'_> for Visitor {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{} of {} bytes", $what, $bytes)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        bytes.try_into().map($name).map_err(|_| E::invalid_length(bytes.len(), &self))
                    }
                }
                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Visitor)
                } else {
                    deserializer.deserialize_bytes(Visitor)
                }
            }
        }
    };
}

fixed_bytes!(
    /// A node: its ed25519 public key (RFC 8032), 32 bytes.
    NodeId,
    32,
    "a node id"
);
fixed_bytes!(
    /// A BLAKE3 digest, 32 bytes.
    Digest,
    32,
    "a digest"
);
fixed_bytes!(
    /// An ed25519 signature (RFC 8032), 64 bytes.
    Signature,
    64,
    "a signature"
);

#[cfg(feature = "testing")]
impl From<u64> for NodeId {
    fn from(number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}
