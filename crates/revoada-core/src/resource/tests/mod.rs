//! Tests over all formats: properties, tables of what survives, tables of what is refused.

mod conversions;
mod properties;
mod refusals;
mod storage;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Resource, ResourceFormat};

/// A ConfigMap with this under `data`.
fn config_map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "default"}, "data": data})
}

fn parse(document: impl Into<Bytes>, format: ResourceFormat) -> Resource {
    Resource::parse(document.into(), format).unwrap_or_else(|error| panic!("{error}"))
}

/// The value of `data` in a YAML manifest where it is written as `text`.
fn yaml_data(text: &str) -> Value {
    parse(
        format!("kind: A\nmetadata: {{name: a}}\ndata: {text}\n"),
        ResourceFormat::Yaml,
    )
    .content["data"]
        .clone()
}
