//! A resource as the value of its key.
//!
//! ```text
//! version          1 byte, 1
//! content digest  32 bytes
//! format           1 byte: 0 native, 1 yaml, 2 json, 3 hcl
//! namespace        a length (1 byte) and that many bytes: the namespace, if it was supplied from outside, else empty
//! document         the rest, as it was given
//! ```
//! The digest stands first, so that the keyspace tells "nothing changes" from the first bytes of two values, without
//! parsing either. Rejected: keeping the parsed content beside the document, which doubles every entry and is parsed
//! from the document in microseconds.

use bytes::Bytes;
use revoada_attest::Digest;
use serde_json::Value;

use super::{ManifestError, Resource, ResourceFormat, ResourceRef};
use crate::error::ErrorKind;
use crate::limits;

const VERSION: u8 = 1;
const DIGEST_AT: usize = 1;
const FORMAT_AT: usize = DIGEST_AT + Digest::BYTES;
const NAMESPACE_AT: usize = FORMAT_AT + 1;

/// Two stored values that agree in this many bytes have the same content.
pub const SAME_CONTENT_PREFIX_BYTES: u32 = FORMAT_AT as u32;

/// How many bytes of the stored values have to agree for "nothing changes".
///
/// All of them in the native format, whose documents come back byte for byte, else [`SAME_CONTENT_PREFIX_BYTES`].
pub const fn same_prefix_bytes(resource: &Resource) -> u32 {
    match resource.format {
        ResourceFormat::Native => u32::MAX,
        ResourceFormat::Yaml | ResourceFormat::Json | ResourceFormat::Hcl => SAME_CONTENT_PREFIX_BYTES,
    }
}

/// A stored value that this build cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoredError {
    /// It was written by a newer build.
    #[error("the stored resource has version {version}, and this build reads version 1; use a newer revoada")]
    Newer {
        /// Its version.
        version: u8,
    },
    /// It is no stored resource.
    #[error("the stored resource is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// Its document cannot be read.
    #[error("the document of the stored resource cannot be read")]
    Document {
        /// Why.
        #[source]
        source: ManifestError,
    },
}

impl StoredError {
    /// `Unsupported` for a newer version, else `Invalid`.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Newer { .. } => ErrorKind::Unsupported,
            Self::Damaged { .. } | Self::Document { .. } => ErrorKind::Invalid,
        }
    }
}

/// The stored form of a resource.
pub fn encode(resource: &Resource) -> Bytes {
    // A namespace that the document states is not repeated.
    let stated = resource
        .content
        .get("metadata")
        .and_then(|metadata| metadata.get("namespace"))
        .and_then(Value::as_str);
    let namespace = if stated == Some(&*resource.reference.namespace) {
        ""
    } else {
        &*resource.reference.namespace
    };
    debug_assert!(
        namespace.len() <= limits::NAME_BYTES_MAX,
        "a namespace that was not checked"
    );
    let mut stored = Vec::with_capacity(NAMESPACE_AT + 1 + namespace.len() + resource.document.len());
    stored.push(VERSION);
    stored.extend_from_slice(resource.content_digest().as_bytes());
    stored.push(match resource.format {
        ResourceFormat::Native => 0,
        ResourceFormat::Yaml => 1,
        ResourceFormat::Json => 2,
        ResourceFormat::Hcl => 3,
    });
    stored.push(namespace.len() as u8);
    stored.extend_from_slice(namespace.as_bytes());
    stored.extend_from_slice(&resource.document);
    Bytes::from(stored)
}

/// The format and the document, without parsing it; a slice of `stored`.
///
/// # Errors
/// [`StoredError::Newer`], [`StoredError::Damaged`].
pub fn document(stored: &Bytes) -> Result<(ResourceFormat, Bytes), StoredError> {
    let (format, _, document) = split(stored)?;
    Ok((format, document))
}

/// The digest of the content, without parsing the document.
///
/// # Errors
/// [`StoredError::Newer`], [`StoredError::Damaged`].
pub fn digest(stored: &[u8]) -> Result<Digest, StoredError> {
    check_version(stored)?;
    let digest = stored
        .get(DIGEST_AT..FORMAT_AT)
        .and_then(|digest| <[u8; Digest::BYTES]>::try_from(digest).ok());
    digest.map(Digest::from_bytes).ok_or(StoredError::Damaged {
        what: "it is cut short",
    })
}

/// The resource that is stored under the key of `reference`; its document is a slice of `stored`.
///
/// # Errors
/// [`StoredError`]; `Damaged` also if the document is that of another resource.
pub fn decode(stored: &Bytes, reference: &ResourceRef) -> Result<Resource, StoredError> {
    let (format, namespace, document) = split(stored)?;
    let damaged = |what| StoredError::Damaged { what };
    let namespace = std::str::from_utf8(namespace).map_err(|_| damaged("its namespace is not UTF-8"))?;
    let resource = Resource::parse(document, format)
        .and_then(|resource| resource.with_default_namespace(namespace))
        .map_err(|source| StoredError::Document { source })?;
    if resource.reference != *reference {
        return Err(damaged("its document is that of another resource"));
    }
    Ok(resource)
}

fn check_version(stored: &[u8]) -> Result<(), StoredError> {
    match stored.first() {
        Some(&VERSION) => Ok(()),
        Some(&version) if version > VERSION => Err(StoredError::Newer { version }),
        Some(_) => Err(StoredError::Damaged {
            what: "it has version 0",
        }),
        None => Err(StoredError::Damaged { what: "it is empty" }),
    }
}

fn split(stored: &Bytes) -> Result<(ResourceFormat, &[u8], Bytes), StoredError> {
    check_version(stored)?;
    let damaged = |what| StoredError::Damaged { what };
    let format = match stored.get(FORMAT_AT) {
        Some(0) => ResourceFormat::Native,
        Some(1) => ResourceFormat::Yaml,
        Some(2) => ResourceFormat::Json,
        Some(3) => ResourceFormat::Hcl,
        Some(_) => return Err(damaged("it names no format")),
        None => return Err(damaged("it is cut short")),
    };
    let start = NAMESPACE_AT + 1;
    let length = usize::from(*stored.get(NAMESPACE_AT).ok_or_else(|| damaged("it is cut short"))?);
    let namespace = stored
        .get(start..start + length)
        .ok_or_else(|| damaged("it is cut short"))?;
    Ok((format, namespace, stored.slice(start + length..)))
}
