//! What is asked and answered on the native face, whichever way it travels: JSON over HTTP, or CBOR in frames.
//!
//! One set of types for both sides and both transports, so that the face and its client cannot drift apart. Answers
//! are those of the command line's contract, field for field, so a command prints what it received. Rejected: a schema
//! compiler; there are two dozen types and one language.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use revoada_core::resource::{ResourceFormat, ResourceRef};
use revoada_store::{Action, Applied, WatchEvent};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The header that carries the revision of an answer whose body is a document.
pub const REVISION_HEADER: &str = "revoada-revision";
/// The header that carries the revision at which the document's resource was created.
pub const CREATE_REVISION_HEADER: &str = "revoada-create-revision";
/// The header that carries how often the document's resource was changed.
pub const VERSION_HEADER: &str = "revoada-version";
/// The name of the framed protocol in `Upgrade` headers.
pub const FRAMES_PROTOCOL: &str = "revoada-frames/1";

/// Text in one format, with the resources that are to be applied: one, or several in a format that can hold several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The format that it is in; none to have it recognized from the bytes.
    pub format: Option<ResourceFormat>,
    /// The document, as it is.
    pub document: Bytes,
    /// The namespace of resources in it that name none.
    pub default_namespace: Option<String>,
}

/// What is to be applied. All documents are parsed before the first resource is applied.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyDocuments {
    /// In the order in which they are applied.
    pub documents: Vec<Document>,
    /// Apply only if the resource was last changed at this revision; 0: must not exist. Only with one resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Say what would happen, and change nothing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

/// What applying did: `apply -o json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AppliedDocuments {
    /// One for each resource, in input order.
    pub results: Vec<AppliedResource>,
}

/// What applying one resource did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedResource {
    /// Its group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; empty for a resource that has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What was done.
    pub action: Action,
    /// The revision of its last change.
    pub revision: u64,
}

impl From<&Applied> for AppliedResource {
    fn from(applied: &Applied) -> Self {
        let ResourceRef {
            group,
            kind,
            namespace,
            name,
        } = applied.reference.clone();
        Self {
            group,
            kind,
            namespace,
            name,
            action: applied.action,
            revision: applied.revision,
        }
    }
}

/// Which resource: by its address, in which the group may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Target {
    /// The group; none when the caller knows only the kind, which then has to be unambiguous.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind, exactly as written.
    pub kind: String,
    /// The namespace; empty for a resource that has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl From<ResourceRef> for Target {
    fn from(
        ResourceRef {
            group,
            kind,
            namespace,
            name,
        }: ResourceRef,
    ) -> Self {
        Self {
            group: Some(group),
            kind,
            namespace,
            name,
        }
    }
}

/// Reads one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GetResource {
    /// Which.
    pub target: Target,
    /// At which revision; none for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Answer from what is at hand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stale: bool,
    /// The format of the answer; none for the one that it is stored in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ResourceFormat>,
}

/// One resource, rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GotResource {
    /// The format of the document.
    pub format: ResourceFormat,
    /// The document.
    pub document: Bytes,
    /// The revision that created it.
    pub create_revision: u64,
    /// The revision of its last change.
    pub revision: u64,
    /// How often it was changed since its creation, which is 1.
    pub version: u64,
}

/// Deletes one resource.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeleteResource {
    /// Which.
    pub target: Target,
    /// Delete only if it was last changed at this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
}

/// What deleting did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedResource {
    /// The revision that deleted it.
    pub revision: u64,
}

/// Reads one page of resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ListResources {
    /// The group; empty for the core group, none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind, exactly as written.
    pub kind: String,
    /// The namespace; none for all, empty for resources that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A label selector; none for any labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// At most so many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Where the page before ended, as that page said; everything else must be as it was for that page.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// At which revision; none for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Answer from what is at hand.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stale: bool,
}

/// One page of a list: `list -o json`, and where the next page starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ListedResources<Item = serde_json::Value> {
    /// The revision at which all pages are served.
    pub revision: u64,
    /// The resources, as JSON, in the order of group, kind, namespace, name.
    pub items: Vec<Item>,
    /// Where the next page starts; none on the last.
    #[serde(default, rename = "continue", skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// How many items follow this page, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remaining: Option<u64>,
}

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WatchResources {
    /// The group; empty for the core group, none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind, exactly as written.
    pub kind: String,
    /// The namespace; none for all, empty for resources that have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The name; none for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A label selector; none for any labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Resume after this revision; none to begin with what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
}

/// What a line of a watch tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineType {
    /// A resource came into what is watched.
    Added,
    /// A resource changed.
    Modified,
    /// A resource went out of what is watched; the object is what it was before.
    Deleted,
    /// Nothing is missing up to this revision.
    Bookmark,
    /// Events are missing: start again without a position. Always the last line.
    Reset,
    /// The watch failed; `error` says why. Always the last line.
    Error,
}

impl LineType {
    /// The type of the line that tells `event`.
    pub const fn of(event: &WatchEvent) -> Self {
        match event {
            WatchEvent::Added(_) => Self::Added,
            WatchEvent::Modified(_) => Self::Modified,
            WatchEvent::Deleted { .. } => Self::Deleted,
            WatchEvent::Bookmark { .. } => Self::Bookmark,
            WatchEvent::Reset { .. } => Self::Reset,
        }
    }
}

/// One line of a watch: `watch -o json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WatchLine<Object = serde_json::Value> {
    /// What happened.
    #[serde(rename = "type")]
    pub line_type: LineType,
    /// The revision at which it happened; 0 in an `error` line.
    pub revision: u64,
    /// The resource as JSON; none in lines that are about no resource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Object>,
    /// Why the watch failed, in an `error` line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<super::Failure>,
}

/// Why an operator calls for the way back without a majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoverRequest {
    /// Recorded in the chain.
    pub reason: String,
}

/// What restoring a snapshot did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredSnapshot {
    /// The revision now.
    pub revision: u64,
    /// The number of resources now.
    pub entries: u64,
}

/// An answer that says no more than that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Done {}

/// The chain's heads, by node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHeads {
    /// One for each node that is known.
    pub items: Vec<revoada_store::admin::ChainHead>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

/// A document as it is written: text where the transport is text, except for the native format, which is base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TextDocument<Text> {
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    format: Option<ResourceFormat>,
    document: Text,
    #[serde(default = "Option::default", skip_serializing_if = "Option::is_none")]
    default_namespace: Option<String>,
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self {
            format,
            document,
            default_namespace,
        } = self;
        let (format, default_namespace) = (*format, default_namespace.clone());
        if !serializer.is_human_readable() {
            return TextDocument {
                format,
                document,
                default_namespace,
            }
            .serialize(serializer);
        }
        let document = match format {
            Some(ResourceFormat::Native) => BASE64.encode(document),
            Some(ResourceFormat::Yaml | ResourceFormat::Json | ResourceFormat::Hcl) | None => {
                std::str::from_utf8(document)
                    .map_err(|_| serde::ser::Error::custom("the document is not UTF-8"))?
                    .to_owned()
            }
        };
        TextDocument {
            format,
            document,
            default_namespace,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            let TextDocument {
                format,
                document,
                default_namespace,
            } = TextDocument::<Bytes>::deserialize(deserializer)?;
            return Ok(Self {
                format,
                document,
                default_namespace,
            });
        }
        let TextDocument {
            format,
            document,
            default_namespace,
        } = TextDocument::<String>::deserialize(deserializer)?;
        let document = match format {
            Some(ResourceFormat::Native) => BASE64
                .decode(document)
                .map_err(|error| de::Error::custom(format_args!("a native document is base64 in JSON: {error}")))?
                .into(),
            Some(ResourceFormat::Yaml | ResourceFormat::Json | ResourceFormat::Hcl) | None => document.into(),
        };
        Ok(Self {
            format,
            document,
            default_namespace,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_every_format_travel_unchanged_as_json_and_as_cbor() {
        let of = |format, document: &'static [u8]| Document {
            format,
            document: Bytes::from_static(document),
            default_namespace: Some("home".to_owned()),
        };
        let request = ApplyDocuments {
            documents: vec![
                of(Some(ResourceFormat::Native), b"\x00\xff\xfe"),
                of(Some(ResourceFormat::Yaml), "kind: A # \u{e9}\n".as_bytes()),
                of(Some(ResourceFormat::Json), b"{}"),
                of(Some(ResourceFormat::Hcl), b"a = 1"),
                of(None, b"---"),
            ],
            if_revision: Some(0),
            dry_run: true,
        };
        let json = serde_json::to_vec(&request).unwrap();
        assert_eq!(serde_json::from_slice::<ApplyDocuments>(&json).unwrap(), request);
        let cbor = cbor4ii::serde::to_vec(Vec::new(), &request).unwrap();
        assert_eq!(cbor4ii::serde::from_slice::<ApplyDocuments>(&cbor).unwrap(), request);
    }
}
