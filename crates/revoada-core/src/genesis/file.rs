//! The genesis as a file: JSON with the declaration inside it.
//!
//! ```json
//! {"apiVersion": "revoada.dev/v1", "kind": "Genesis",
//!  "declaration": {"apiVersion": "revoada.dev/v1", "kind": "Cluster", "name": "homelab", "...": "..."},
//!  "founders": [{"id": "8a88e3dd…", "name": "node-1", "zone": "a"}],
//!  "tokenDigest": "…"}
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use revoada_attest::{Digest, NodeId};
use serde::Serialize;

use super::{Founder, Genesis, GenesisParseError};
use crate::declaration::{API_VERSION, ClusterDeclaration, DeclarationFormat, Tree, check_tree, parse_tree};
use crate::topology::TopologyStrategy;

const KIND: &str = "Genesis";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenesisFile<'a> {
    api_version: &'a str,
    kind: &'a str,
    declaration: &'a ClusterDeclaration,
    founders: Vec<FounderFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_digest: Option<Digest>,
}

#[derive(Serialize)]
struct FounderFile<'a> {
    id: &'a NodeId,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rack: Option<&'a str>,
}

const WRITABLE: &str = "a genesis is texts, booleans and finite numbers under texts";

fn file<'a>(
    declaration: &'a ClusterDeclaration,
    founders: &'a BTreeMap<NodeId, Founder>,
    token_digest: Option<Digest>,
) -> GenesisFile<'a> {
    let founders = founders.iter().map(|(id, founder)| FounderFile {
        id,
        name: &founder.name,
        zone: founder.zone.as_deref(),
        rack: founder.rack.as_deref(),
    });
    GenesisFile {
        api_version: API_VERSION,
        kind: KIND,
        declaration,
        founders: founders.collect(),
        token_digest,
    }
}

pub(super) fn render(
    declaration: &ClusterDeclaration,
    founders: &BTreeMap<NodeId, Founder>,
    token_digest: Option<Digest>,
) -> String {
    serde_json::to_string_pretty(&file(declaration, founders, token_digest)).expect(WRITABLE) + "\n"
}

/// The one text of a genesis: keys sorted, founders by key.
pub(super) fn canonical(
    declaration: &ClusterDeclaration,
    founders: &BTreeMap<NodeId, Founder>,
    token_digest: Option<Digest>,
) -> String {
    let mut value = serde_json::to_value(file(declaration, founders, token_digest)).expect(WRITABLE);
    value.sort_all_objects();
    value.to_string()
}

pub(super) fn parse(bytes: &[u8], own: &[Arc<dyn TopologyStrategy>]) -> Result<Genesis, GenesisParseError> {
    let tree =
        parse_tree(bytes, Some(DeclarationFormat::Json)).map_err(|source| GenesisParseError::Syntax { source })?;
    let mut fields = Fields::of(&tree, "the whole")?;
    fields.fixed("apiVersion", API_VERSION)?;
    fields.fixed("kind", KIND)?;
    let declaration = check_tree(fields.required("declaration")?, own)
        .into_result()
        .map_err(|source| GenesisParseError::Declaration { source })?;
    let founders = match fields.required("founders")? {
        Tree::List(items) => items.iter().enumerate().map(founder).collect::<Result<Vec<_>, _>>()?,
        other => return Err(fields.shape("founders", format!("it is {}, not a list", other.describe()))),
    };
    let token_digest = match fields.text("tokenDigest")? {
        Some(text) => Some(
            text.parse()
                .map_err(|error| fields.shape("tokenDigest", format!("{error}")))?,
        ),
        None => None,
    };
    fields.finish()?;
    Genesis::prove(declaration, founders, token_digest).map_err(|source| GenesisParseError::Founders { source })
}

fn founder((nth, tree): (usize, &Tree)) -> Result<(NodeId, Founder), GenesisParseError> {
    let mut fields = Fields::of(tree, &format!("founders[{nth}]"))?;
    let id = fields
        .required_text("id")?
        .parse()
        .map_err(|error| fields.shape("id", format!("{error}")))?;
    let name = fields.required_text("name")?.to_owned();
    let zone = fields.text("zone")?.map(str::to_owned);
    let rack = fields.text("rack")?.map(str::to_owned);
    fields.finish()?;
    Ok((id, Founder { name, zone, rack }))
}

/// The fields of an object that are not read yet. A genesis is written by programs, so the first error is enough.
struct Fields<'t> {
    path: String,
    left: Vec<(&'t str, &'t Tree)>,
}

impl<'t> Fields<'t> {
    fn of(tree: &'t Tree, path: &str) -> Result<Self, GenesisParseError> {
        match tree {
            Tree::Object(fields) => Ok(Self {
                path: path.to_owned(),
                left: fields.iter().map(|(key, value)| (key.as_str(), value)).collect(),
            }),
            other => Err(GenesisParseError::Shape {
                path: path.to_owned(),
                problem: format!("it is {}, not an object", other.describe()),
            }),
        }
    }

    fn shape(&self, key: &str, problem: impl Into<String>) -> GenesisParseError {
        GenesisParseError::Shape {
            path: format!("`{key}` of {}", self.path),
            problem: problem.into(),
        }
    }

    fn take(&mut self, key: &str) -> Option<&'t Tree> {
        let at = self.left.iter().position(|(name, _)| *name == key)?;
        Some(self.left.remove(at).1)
    }

    fn required(&mut self, key: &str) -> Result<&'t Tree, GenesisParseError> {
        self.take(key).ok_or_else(|| self.shape(key, "it is not there"))
    }

    fn text(&mut self, key: &str) -> Result<Option<&'t str>, GenesisParseError> {
        match self.take(key) {
            None => Ok(None),
            Some(Tree::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.shape(key, format!("it is {}, not a text", other.describe()))),
        }
    }

    fn required_text(&mut self, key: &str) -> Result<&'t str, GenesisParseError> {
        self.text(key)?.ok_or_else(|| self.shape(key, "it is not there"))
    }

    fn fixed(&mut self, key: &str, only: &str) -> Result<(), GenesisParseError> {
        match self.required_text(key)? {
            given if given == only => Ok(()),
            given => Err(self.shape(key, format!("it is {given:?}, not {only:?}"))),
        }
    }

    fn finish(self) -> Result<(), GenesisParseError> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(self.shape(key, "there is no such field")),
        }
    }
}
