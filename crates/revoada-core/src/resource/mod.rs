//! Resources: a document with a kind and a name, and its address.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The formats in which a resource is given and rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResourceFormat {
    /// The CBOR envelope; what was applied in it comes back byte for byte.
    Native,
    /// YAML 1.2.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// HCL 2 (native syntax).
    Hcl,
}

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

/// A parsed resource: the document as it was given, and what it means.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its address, read from the document.
    pub reference: ResourceRef,
    /// The format that `document` is in.
    pub format: ResourceFormat,
    /// The document as it was given.
    pub document: Bytes,
    /// The parsed content. Objects keep the order of the document; comparison by content ignores it.
    pub content: serde_json::Value,
}
