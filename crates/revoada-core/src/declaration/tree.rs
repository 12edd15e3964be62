//! A document before it means anything: what all three formats have in common.
//!
//! A declaration is read into this first and judged afterwards, so that one wrong value does not hide the next.
//! Rejected: `serde_json::Value`. It keeps the last of two equal keys, and has no place for `.nan` or `1e400`, which
//! must become findings rather than disappear.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::DOCUMENT_DEPTH_MAX;

/// The key under which serde_json hands over a number that it keeps as text (its feature `arbitrary_precision`).
const JSON_NUMBER: &str = "$serde_json::private::Number";

/// A document or a part of it. Objects keep the order of the file and have no two equal keys.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Integer(i128),
    /// Also an integer beyond `i128`; infinite where the text overflows.
    Float(f64),
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl Tree {
    /// What it is, in a message.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {}", quoted(text)),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Object(fields) => format!("an object of {} fields", fields.len()),
        }
    }
}

/// Text of others in a message: quoted, escaped, and not longer than a line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN_CHARS_MAX: usize = 60;
    let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Seed { depth: 0 }.deserialize(deserializer)
    }
}

/// Reads a part of a document that is `depth` objects and lists deep.
#[derive(Clone, Copy)]
struct Seed {
    depth: usize,
}

impl Seed {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == DOCUMENT_DEPTH_MAX {
            return Err(E::custom(format_args!(
                "it nests deeper than {DOCUMENT_DEPTH_MAX} levels"
            )));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tree, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Tree, E> {
        Ok(Tree::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let seed = self.deeper()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(seed)? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let seed = self.deeper()?;
        let mut keys = BTreeSet::new();
        let mut fields = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            if key == JSON_NUMBER {
                return number(&entries.next_value::<String>()?);
            }
            if !keys.insert(key.clone()) {
                return Err(A::Error::custom(format_args!(
                    "the key {} is there twice",
                    quoted(&key)
                )));
            }
            fields.push((key, entries.next_value_seed(seed)?));
        }
        Ok(Tree::Object(fields))
    }
}

fn number<E: Error>(text: &str) -> Result<Tree, E> {
    if let Ok(integer) = text.parse() {
        return Ok(Tree::Integer(integer));
    }
    text.parse()
        .map(Tree::Float)
        .map_err(|_| E::custom(format_args!("{} is not a number", quoted(text))))
}
