use crate::native::Failure;
use crate::native::message::Document;
use bytes::Bytes;
use revoada_core::resource::{Resource, ResourceFormat};
use revoada_store::Selector;
pub fn parse(document: &Document, source: &str) -> Result<Vec<Resource>, Failure> {
    let _ = (document, source);
    Err(Failure::invalid("x"))
}
pub fn parse_selector(text: Option<&str>) -> Result<Option<Selector>, Failure> {
    let _ = text;
    Ok(None)
}
pub fn render(resource: &Resource, format: ResourceFormat) -> Result<Bytes, Failure> {
    let _ = format;
    Ok(resource.document.clone())
}
