//! Resources: documents with a kind and a name, in the four formats, and their addresses.
//!
//! A resource is kept twice: as the bytes it was given in, and as its content, which is what they mean. The bytes come
//! back untouched whenever they are asked for in their own format; the content is what is compared, selected on and
//! converted. One reader and one writer per format stand behind one kind of content, so four formats are eight
//! functions and not twelve conversions. Rejected: a typed model per kind, which would lose what it does not know.

mod content;
mod document;
mod format;
mod number;
mod reference;
mod refusal;
mod selector;
pub mod stored;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use revoada_attest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use content::content_digest;
pub use document::parse_documents;
pub use reference::{RESOURCE_PREFIX, ResourceRef, key, key_prefix, parse_key};
pub use refusal::{ManifestError, Place, Position, Refusal};
pub use selector::{KindSelector, LabelSelector, ParseSelectorError};

use crate::error::ErrorKind;
use crate::limits;

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

impl ResourceFormat {
    /// All formats, in the order of their declaration.
    pub const ALL: [Self; 4] = [Self::Native, Self::Yaml, Self::Json, Self::Hcl];

    /// The name used on the command line: `native`, `yaml`, `json`, `hcl`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Hcl => "hcl",
        }
    }

    /// The format that a file's extension (without the dot) names; none for an extension that says nothing.
    pub fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Self::Yaml,
            "json" => Self::Json,
            "hcl" => Self::Hcl,
            "cbor" | "native" => Self::Native,
            _ => return None,
        })
    }
}

impl fmt::Display for ResourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A parsed resource: the document as it was given, and what it means.
///
/// `==` compares the document's bytes too; [`Resource::same_content`] is the comparison by meaning.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// Its address, read from the document (but for a namespace that was supplied from outside).
    pub reference: ResourceRef,
    /// The format that `document` is in.
    pub format: ResourceFormat,
    /// The document as it was given.
    pub document: Bytes,
    /// The parsed content. Objects keep the order of the document; comparison by content ignores it.
    pub content: Value,
}

impl Resource {
    /// Reads the one document that `document` is. A `List` is not taken apart here: it has no name, and is refused.
    ///
    /// # Errors
    /// [`ManifestError`] with any [`Refusal`]; by size before anything is parsed.
    pub fn parse(document: Bytes, format: ResourceFormat) -> Result<Self, ManifestError> {
        document::parse_one(document, format)
    }

    /// A resource from content that was made here, for instance by a face; its document is written in `format`.
    ///
    /// # Errors
    /// [`ManifestError`] where the content has no address, or its document would be too large or too deep.
    pub fn from_content(content: Value, format: ResourceFormat) -> Result<Self, ManifestError> {
        document::from_content(content, format)
    }

    /// The same resource in the namespace `namespace`, if its document names none. The document stays as it is.
    ///
    /// # Errors
    /// [`ManifestError`] if `namespace` cannot be one. An empty one changes nothing.
    pub fn with_default_namespace(mut self, namespace: &str) -> Result<Self, ManifestError> {
        if self.reference.namespace.is_empty() && !namespace.is_empty() {
            reference::check_name("metadata.namespace", namespace)
                .map_err(|refusal| document::unplaced("the default namespace", refusal))?;
            self.reference.namespace = namespace.to_owned();
        }
        Ok(self)
    }

    /// The digest of what the document means, whatever its format; see [`content_digest`].
    pub fn content_digest(&self) -> Digest {
        content_digest(&self.content)
    }

    /// Whether both documents mean the same: only the order of keys and the spelling of numbers may differ.
    pub fn same_content(&self, other: &Self) -> bool {
        self.content_digest() == other.content_digest()
    }

    /// The document in `format`: byte for byte as it was given if that is its own, else converted from the content.
    ///
    /// Reading the result gives the same content digest. Text formats end with a line break, JSON is one line without.
    /// A namespace that was supplied from outside is not written in.
    ///
    /// # Errors
    /// [`RenderError`]; never for a resource that was parsed.
    pub fn render(&self, format: ResourceFormat) -> Result<Bytes, RenderError> {
        if format == self.format {
            return Ok(self.document.clone());
        }
        render_content(&self.content, format)
    }
}

/// Writes `content` in `format`.
///
/// # Errors
/// [`RenderError`] for what cannot be the content of a resource.
pub fn render_content(content: &Value, format: ResourceFormat) -> Result<Bytes, RenderError> {
    let Value::Object(object) = content else {
        return Err(RenderError::NotAnObject {
            found: content::type_name(content),
        });
    };
    if content::depth(content) > limits::DOCUMENT_DEPTH_MAX {
        return Err(RenderError::TooDeep);
    }
    Ok(Bytes::from(match format {
        ResourceFormat::Native => format::native::write(content),
        ResourceFormat::Yaml => format::yaml_write::write(content),
        ResourceFormat::Json => format::json::write(content),
        ResourceFormat::Hcl => format::hcl_write::write(object),
    }))
}

/// Content that no document can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The content is a list or a scalar.
    #[error("the content of a resource is an object, not {found}")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// The content nests deeper than [`limits::DOCUMENT_DEPTH_MAX`].
    #[error("the content nests deeper than {} levels", limits::DOCUMENT_DEPTH_MAX)]
    TooDeep,
}

impl RenderError {
    /// `Invalid` or `Exhausted`.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAnObject { .. } => ErrorKind::Invalid,
            Self::TooDeep => ErrorKind::Exhausted,
        }
    }
}
