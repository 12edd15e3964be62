//! Documents and selectors, as core reads and writes them, with errors as they travel.

use bytes::Bytes;
use revoada_core::resource::{LabelSelector, ManifestError, Resource, ResourceFormat, parse_documents};

use crate::native::Failure;
use crate::native::message::Document;

/// The resources in one document; `source` is what errors call it.
pub fn parse(document: &Document, source: &str) -> Result<Vec<Resource>, Failure> {
    let failure = |error: ManifestError| Failure::of(error.kind(), &error);
    let namespace = document.default_namespace.as_deref().unwrap_or_default();
    let resources = parse_documents(&document.document, document.format, source).map_err(failure)?;
    resources
        .into_iter()
        .map(|resource| resource.with_default_namespace(namespace).map_err(failure))
        .collect()
}

/// The label selector that is written in `text`.
pub fn parse_selector(text: Option<&str>) -> Result<Option<LabelSelector>, Failure> {
    text.map(|text| {
        text.parse::<LabelSelector>()
            .map_err(|error| Failure::of(error.kind(), &error))
    })
    .transpose()
}

/// The resource's document in `format`.
pub fn render(resource: &Resource, format: ResourceFormat) -> Result<Bytes, Failure> {
    resource
        .render(format)
        .map_err(|error| Failure::of(error.kind(), &error))
}
