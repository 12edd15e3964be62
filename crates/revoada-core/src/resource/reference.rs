//! The address of a resource, and its key in the keyspace.
//!
//! A key is the four parts of a reference, each ended by NUL, after [`RESOURCE_PREFIX`]. NUL sorts below every byte that
//! a name may contain, so keys are in the order of [`ResourceRef`] itself, and a namespace or a kind is one range.
//! Rejected: `/` as the separator, which sorts above `-` and `.`, so that `a-b` would come before everything in `a`.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::content;
use super::refusal::Refusal;
use crate::limits;

/// What every resource's key begins with. The leading NUL keeps it apart from keys that people choose.
pub const RESOURCE_PREFIX: &[u8] = b"\0resource\0";

/// The address of a resource. Ordered by group, kind, namespace, name, as in the keyspace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ResourceRef {
    /// The API group without its version; empty for the core group.
    pub group: String,
    /// The kind, as written: `ConfigMap`.
    pub kind: String,
    /// The namespace; empty for a resource that has none.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl fmt::Display for ResourceRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        if !self.namespace.is_empty() {
            write!(f, " {}/{}", self.namespace, self.name)
        } else {
            write!(f, " {}", self.name)
        }
    }
}

impl ResourceRef {
    /// The address that a document's content states.
    ///
    /// `apiVersion` may be absent (the core group) or `VERSION` or `GROUP/VERSION`.
    ///
    /// # Errors
    /// `NotAnObject`, `Missing`, `NotAString`, `NameTooLong`, `BadName`.
    pub fn of(content: &Value) -> Result<Self, Refusal> {
        let Value::Object(object) = content else {
            return Err(Refusal::NotAnObject {
                found: content::type_name(content),
            });
        };
        let group = match text(object, "apiVersion", "apiVersion")? {
            Some(version) => match version.split_once('/') {
                Some((group, version)) => {
                    check_name("apiVersion", version)?;
                    group
                }
                None => "",
            },
            None => "",
        };
        let kind = text(object, "kind", "kind")?.ok_or(Refusal::Missing { field: "kind" })?;
        let metadata = match object.get("metadata") {
            Some(Value::Object(metadata)) => metadata,
            Some(Value::Null) | None => return Err(Refusal::Missing { field: "metadata.name" }),
            Some(other) => {
                return Err(Refusal::Unrepresentable {
                    what: format!("a metadata that is {}", content::type_name(other)),
                    remedy: "make it an object with a name",
                });
            }
        };
        let name = text(metadata, "name", "metadata.name")?.ok_or(Refusal::Missing { field: "metadata.name" })?;
        let namespace = text(metadata, "namespace", "metadata.namespace")?.unwrap_or("");
        let reference = Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        reference.check()?;
        Ok(reference)
    }

    /// Whether every part is one that a document could state; for references that come from elsewhere (a path, a flag).
    ///
    /// # Errors
    /// `Missing`, `NameTooLong`, `BadName`.
    pub fn check(&self) -> Result<(), Refusal> {
        if !self.group.is_empty() {
            check_name("apiVersion", &self.group)?;
        }
        if self.kind.is_empty() {
            return Err(Refusal::Missing { field: "kind" });
        }
        check_name("kind", &self.kind)?;
        if !self.namespace.is_empty() {
            check_name("metadata.namespace", &self.namespace)?;
        }
        if self.name.is_empty() {
            return Err(Refusal::Missing { field: "metadata.name" });
        }
        check_name("metadata.name", &self.name)
    }
}

/// A string field; null and absent are the same.
fn text<'a>(object: &'a Map<String, Value>, key: &str, field: &'static str) -> Result<Option<&'a str>, Refusal> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(Some(text)),
        Some(Value::Null) | None => Ok(None),
        Some(other) => Err(Refusal::NotAString {
            field,
            found: content::type_name(other),
        }),
    }
}

/// Refuses what could leave its place in a path or a key. Faces have stricter rules of their own.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(Refusal::NameTooLong {
            field,
            bytes: name.len(),
        });
    }
    let why = if name.contains('\0') {
        "contains NUL"
    } else if name.contains('/') {
        "contains '/'"
    } else if name.contains("..") || name == "." {
        "is or contains a step of a path ('.' or '..')"
    } else if name.chars().any(char::is_control) {
        "contains a control character"
    } else {
        return Ok(());
    };
    Err(Refusal::BadName {
        field,
        name: name.to_owned(),
        why,
    })
}

/// The key of a resource.
///
/// The reference is one that [`ResourceRef::check`] accepts; other strings could make two references share a key.
pub fn key(reference: &ResourceRef) -> Bytes {
    debug_assert!(
        reference.check().is_ok(),
        "a reference without a place in the keyspace: {reference:?}"
    );
    join(&[&reference.group, &reference.kind, &reference.namespace, &reference.name])
}

/// What the keys of all resources of a kind begin with, perhaps in one namespace only.
///
/// `Some("")` are those that have no namespace, `None` those in any.
pub fn key_prefix(group: &str, kind: &str, namespace: Option<&str>) -> Bytes {
    match namespace {
        Some(namespace) => join(&[group, kind, namespace]),
        None => join(&[group, kind]),
    }
}

/// The reference of a key that [`key`] made; none for any other bytes.
pub fn parse_key(key: &[u8]) -> Option<ResourceRef> {
    let parts = key.strip_prefix(RESOURCE_PREFIX)?.strip_suffix(&[0])?;
    let parts = std::str::from_utf8(parts).ok()?;
    let mut parts = parts.split('\0');
    let mut part = || parts.next().map(str::to_owned);
    let reference = ResourceRef {
        group: part()?,
        kind: part()?,
        namespace: part()?,
        name: part()?,
    };
    (part().is_none() && reference.check().is_ok()).then_some(reference)
}

fn join(parts: &[&str]) -> Bytes {
    let length = RESOURCE_PREFIX.len() + parts.iter().map(|part| part.len() + 1).sum::<usize>();
    let mut key = Vec::with_capacity(length);
    key.extend_from_slice(RESOURCE_PREFIX);
    for part in parts {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    Bytes::from(key)
}
