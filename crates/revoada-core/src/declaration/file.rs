//! The file that a declaration is: what is written, and what `check --schema` describes.

use schemars::JsonSchema;
use serde::Serialize;

use super::backend::BackendSpec;
use super::face::FabricFace;
use super::strategy::FabricStrategy;
use super::{ClusterDeclaration, DraftDeclaration};

/// The only `apiVersion`.
pub const API_VERSION: &str = "revoada.dev/v1";
/// The only `kind`.
pub const KIND: &str = "Cluster";

/// A cluster: how its fabric converges, which API it speaks, what shape it takes, and where its resources rest.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields, rename = "Cluster")]
pub(super) struct ClusterFile<'a> {
    /// Always `revoada.dev/v1`.
    #[schemars(extend("const" = API_VERSION))]
    api_version: &'static str,
    /// Always `Cluster`.
    #[schemars(extend("const" = KIND))]
    kind: &'static str,
    /// The cluster's name.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$")
    )]
    name: &'a str,
    /// How the fabric converges: the name of a prescribed strategy, or a whole one; what it leaves out is prescribed.
    #[schemars(with = "StrategyOrName")]
    strategy: &'a FabricStrategy,
    /// Which API it speaks.
    face: &'a FabricFace,
    /// What shape it takes.
    topology: TopologyFile<'a>,
    /// Where resources rest.
    #[schemars(default = "openraft")]
    backend: &'a BackendSpec,
}

/// The backend of a declaration that states none.
fn openraft() -> &'static BackendSpec {
    static OPENRAFT: BackendSpec = BackendSpec::openraft();
    &OPENRAFT
}

/// What shape a cluster takes.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields, rename = "Topology")]
struct TopologyFile<'a> {
    /// `solo`, `pair`, `quorum-3m`, `cluster-3m-nw`, `mesh-all-peers`, `phalanx`, or one that the program brings.
    #[schemars(extend("examples" = crate::topology::NAMES))]
    kind: &'a str,
    /// Only for `pair`: the name of the third node that votes.
    #[serde(skip_serializing_if = "Option::is_none")]
    witness: Option<&'a str>,
}

/// Only for the schema: a strategy is read by hand, from either form.
#[derive(JsonSchema)]
#[schemars(untagged, description = "A whole strategy, or the name of a prescribed one.")]
#[allow(dead_code, reason = "it exists for its schema")]
enum StrategyOrName {
    /// The name of a prescribed strategy.
    Name(#[schemars(extend("enum" = FabricStrategy::NAMES))] String),
    /// A strategy.
    Whole(FabricStrategy),
}

impl<'a> ClusterFile<'a> {
    pub(super) fn of_draft(draft: &'a DraftDeclaration) -> Self {
        Self {
            api_version: API_VERSION,
            kind: KIND,
            name: &draft.name,
            strategy: &draft.strategy,
            face: &draft.face,
            topology: TopologyFile {
                kind: draft.topology.name(),
                witness: draft.topology.witness(),
            },
            backend: &draft.backend,
        }
    }

    pub(super) fn of(declaration: &'a ClusterDeclaration) -> Self {
        Self::of_draft(&declaration.parts)
    }
}

/// The JSON Schema (2020-12) of a declaration, generated from the types.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(ClusterFile<'static>).to_value()
}
