//! What a document means, apart from how it is written: the digest that says whether two are the same.
//!
//! Canonical form, fed to BLAKE3 as it is walked: a tag byte per value, strings by length, objects by their keys in byte
//! order, lists in their own order, numbers by decimal value (see `number.rs`). It is never written down as a document,
//! so it needs no escaping, and no second copy of the document is made. Rejected: hashing canonical JSON (RFC 8785),
//! which rounds every number through a double.

use revoada_attest::Digest;
use serde_json::map::Entry;
use serde_json::{Map, Value};

use super::number::Decimal;
use super::refusal::Refusal;

/// Names the canonical form, so that a digest of it is a digest of nothing else.
const DOMAIN: &[u8] = b"revoada resource content 1\0";
/// The hasher is given pieces of about this size: feeding it single bytes costs more than hashing.
const PIECE_BYTES: usize = 4096;

/// The digest of what `content` means. Equal for two documents exactly if they are the same but for the order of keys
/// and the spelling of numbers.
pub fn content_digest(content: &Value) -> Digest {
    let mut canonical = Canonical {
        hasher: blake3::Hasher::new(),
        piece: Vec::with_capacity(PIECE_BYTES + 64),
    };
    canonical.piece.extend_from_slice(DOMAIN);
    canonical.value(content);
    canonical.hasher.update(&canonical.piece);
    Digest::from_bytes(*canonical.hasher.finalize().as_bytes())
}

struct Canonical {
    hasher: blake3::Hasher,
    piece: Vec<u8>,
}

impl Canonical {
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(b'n'),
            Value::Bool(false) => self.tag(b'f'),
            Value::Bool(true) => self.tag(b't'),
            Value::Number(number) => self.number(number.as_str()),
            Value::String(text) => {
                self.tag(b's');
                self.text(text);
            }
            Value::Array(items) => {
                self.tag(b'a');
                self.length(items.len());
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(object) => {
                self.tag(b'o');
                self.length(object.len());
                let mut entries: Vec<(&String, &Value)> = object.iter().collect();
                entries.sort_unstable_by_key(|(key, _)| key.as_str());
                for (key, value) in entries {
                    self.text(key);
                    self.value(value);
                }
            }
        }
    }

    fn number(&mut self, spelling: &str) {
        let decimal = Decimal::spelled(spelling).normalized();
        self.tag(if decimal.negative { b'-' } else { b'+' });
        self.piece.extend_from_slice(&decimal.exponent.to_le_bytes());
        self.text(&decimal.digits);
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        if text.len() > PIECE_BYTES {
            self.hasher.update(&self.piece);
            self.piece.clear();
            self.hasher.update(text.as_bytes());
        } else {
            self.piece.extend_from_slice(text.as_bytes());
        }
    }

    fn length(&mut self, length: usize) {
        self.piece.extend_from_slice(&(length as u64).to_le_bytes());
    }

    fn tag(&mut self, tag: u8) {
        if self.piece.len() >= PIECE_BYTES {
            self.hasher.update(&self.piece);
            self.piece.clear();
        }
        self.piece.push(tag);
    }
}

/// What a value is, for messages: "a list".
pub(crate) const fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// How deep a value nests: 0 for a scalar, 1 for a list of scalars.
pub(crate) fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Adds an entry, unless the key is there already.
pub(crate) fn insert(object: &mut Map<String, Value>, key: String, value: Value) -> Result<(), Refusal> {
    match object.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
        Entry::Occupied(entry) => Err(Refusal::DuplicateKey {
            key: entry.key().chars().take(160).collect(),
        }),
    }
}
