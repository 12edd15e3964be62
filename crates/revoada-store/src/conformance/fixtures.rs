//! The resources that the suite works with, and short ways to say what it expects.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{Resource, ResourceFormat, ResourceRef};

use super::Outcome;
use crate::backend::{Action, Applied, ApplyRequest, StoreBackend};
use crate::error::StoreError;
use crate::watch::{WatchEvent, WatchStream};

/// A small resource in YAML.
pub(super) fn config(name: &str, value: &str) -> Resource {
    labelled(name, value, "none")
}

/// The same with a label.
pub(super) fn labelled(name: &str, value: &str, tier: &str) -> Resource {
    let document = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: default\n  labels: {{tier: {tier}}}\ndata:\n  value: \"{value}\"\n"
    );
    parse(&document, ResourceFormat::Yaml)
}

pub(super) fn parse(document: &str, format: ResourceFormat) -> Resource {
    Resource::parse(Bytes::copy_from_slice(document.as_bytes()), format).expect("the suite's documents are valid")
}

/// The same resource, given in another format.
pub(super) fn as_given_in(resource: &Resource, format: ResourceFormat) -> Resource {
    let document = resource
        .render(format)
        .expect("the suite's documents have every format");
    Resource::parse(document, format).expect("what was rendered can be read")
}

pub(super) fn reference(name: &str) -> ResourceRef {
    config(name, "").reference
}

/// One data set in every format, with awkward names and values: what a snapshot is compared by.
pub fn data_set() -> Vec<Resource> {
    let mut resources = vec![
        config("plain", "12:30"),
        config("with.dots-and-123", "yes"),
        parse(
            "kind: Node\nmetadata: {name: n1}\nspec: {weight: 1.50, big: 12345678901234567890}\n",
            ResourceFormat::Yaml,
        ),
        parse(
            r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"site","namespace":"web"},"spec":{"nothing":null,"list":[3,1,2]}}"#,
            ResourceFormat::Json,
        ),
        parse(
            "kind: Umlaut\nmetadata: {name: \"Ünïcode ✓\", namespace: CON}\n",
            ResourceFormat::Yaml,
        ),
    ];
    resources.push(as_given_in(&config("native", "bytes"), ResourceFormat::Native));
    resources.push(as_given_in(&config("hcl", "block"), ResourceFormat::Hcl));
    // A namespace that the document leaves open.
    let open = parse("kind: ConfigMap\nmetadata: {name: placed}\n", ResourceFormat::Yaml);
    resources.push(open.with_default_namespace("elsewhere").expect("a plain namespace"));
    resources.extend((0..40).map(|number| config(&format!("bulk-{number:02}"), &"x".repeat(number))));
    resources
}

/// Says what was expected if it is not so.
pub(super) fn ensure(holds: bool, found: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(found()) }
}

pub(super) fn ensure_eq<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    ensure(found == expected, || {
        format!("{what}: {found:?}, expected {expected:?}")
    })
}

/// The error of something that has to fail.
pub(super) fn ensure_kind<T: std::fmt::Debug>(what: &str, result: Result<T, StoreError>, kind: ErrorKind) -> Outcome {
    match result {
        Err(error) if error.kind() == kind => Ok(()),
        other => Err(format!("{what}: {other:?}, expected an error of kind {kind}")),
    }
}

/// The result of something that has to succeed; the whole chain of causes if it does not.
pub(super) fn ok<T>(what: &str, result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| {
        let mut text = format!("{what} failed: {error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(next) = cause {
            text.push_str(&format!(": {next}"));
            cause = next.source();
        }
        text
    })
}

pub(super) async fn apply(backend: &dyn StoreBackend, resource: Resource) -> Result<Applied, String> {
    let what = format!("apply {}", resource.reference);
    let applied = ok(&what, backend.apply(ApplyRequest::one(resource)).await)?;
    <[Applied; 1]>::try_from(applied)
        .map(|[one]| one)
        .map_err(|many| format!("{what} answered {many:?}"))
}

pub(super) async fn apply_expecting(
    backend: &dyn StoreBackend,
    resource: Resource,
    action: Action,
) -> Result<u64, String> {
    let applied = apply(backend, resource).await?;
    ensure_eq(&format!("the action on {}", applied.reference), applied.action, action)?;
    Ok(applied.revision)
}

/// How long an event may take: one that a backend loses is a failure, and no test that never ends.
const EVENT_PATIENCE: Duration = Duration::from_secs(30);

/// The next event of a watch.
pub(super) async fn next(watch: &mut WatchStream) -> Result<WatchEvent, String> {
    match tokio::time::timeout(EVENT_PATIENCE, watch.next()).await {
        Ok(Some(event)) => ok("a watch", event),
        Ok(None) => Err("a watch ended without a reset".to_owned()),
        Err(_) => Err(format!("a watch told nothing for {EVENT_PATIENCE:?}")),
    }
}

/// The next event, as `TYPE NAME@REVISION`.
pub(super) async fn next_line(watch: &mut WatchStream) -> Result<String, String> {
    let event = next(watch).await?;
    let name = event
        .object()
        .map_or("-", |got| &got.resource.reference.name)
        .to_owned();
    Ok(format!("{} {name}@{}", event.name(), event.revision()))
}
