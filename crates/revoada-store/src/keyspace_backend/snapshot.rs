//! Snapshots of resources, and the way back.
//!
//! A snapshot is written from one view, page by page, so writers go on meanwhile. A restore reads and checks the whole
//! file before it changes anything, and is then one operation. Rejected: restoring as one reads; a file that turns out
//! to be damaged in its last byte would have replaced half of what was there.

use std::io;

use bytes::Bytes;
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::{Answer, KeyRange, Keyspace as View, Operation, RangeQuery, Restore};
use revoada_core::resource::{RESOURCE_PREFIX, Resource, key, parse_key, stored};
use revoada_core::snapshot::{
    Header, Inspection, Item, SnapshotEntry, SnapshotError, SnapshotReader, SnapshotWriter, WriteSnapshotError,
};

use super::give_way;
use crate::backend::{Restored, Snapshotted};
use crate::error::StoreError;
use crate::keyspace::{Keyspace, KeyspaceError, SnapshotExtras};
use crate::limits::SCAN_ENTRIES_MAX;

/// What a snapshot holds besides resources: named, opaque, and passed over by whoever does not know the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotSection {
    /// The name, see `revoada_core::snapshot::section`.
    pub name: String,
    /// The content.
    pub content: Bytes,
}

/// Writes the resources of a view, then the sections, as a snapshot.
///
/// # Errors
/// `Unavailable` when the sink fails; `Invalid` when a section is too large or there twice.
pub async fn write_snapshot(
    view: &View,
    header: Header,
    sections: &[SnapshotSection],
    sink: &mut (dyn io::Write + Send),
) -> Result<Inspection, StoreError> {
    let mut writer = SnapshotWriter::new(sink, header).map_err(unwritten)?;
    let mut after = None;
    loop {
        let query = RangeQuery {
            limit: SCAN_ENTRIES_MAX as u64,
            after: after.take(),
            skip_count: true,
            ..RangeQuery::of(KeyRange::Prefix(Bytes::from_static(RESOURCE_PREFIX)))
        };
        let read = view.range(&query).map_err(super::unreadable)?;
        for entry in &read.entries {
            let damaged = || StoreError::unavailable("what is stored under the key of a resource is none");
            let reference = parse_key(&entry.key).ok_or_else(damaged)?;
            let (format, document) = stored::document(&entry.version.value).map_err(|damage| {
                StoreError::unavailable_because(format_args!("what is stored as {reference} cannot be read"), damage)
            })?;
            writer.entry(&reference, format, &document).map_err(unwritten)?;
        }
        if !read.more {
            break;
        }
        after = read.entries.last().map(|entry| entry.key.clone());
        give_way().await;
    }
    for section in sections {
        writer.section(&section.name, &section.content).map_err(unwritten)?;
    }
    let (_, inspection) = writer.finish().map_err(unwritten)?;
    Ok(inspection)
}

/// A snapshot that was read and checked whole.
#[derive(Debug)]
pub struct WholeSnapshot {
    /// What it says of itself.
    pub inspection: Inspection,
    /// Its resources, as the operation that restores them.
    pub restore: Restore,
    /// What else it holds.
    pub sections: Vec<SnapshotSection>,
}

/// Reads a snapshot to its end and checks all of it: the digests, the order, and that every document parses and is
/// that of the resource that it stands for.
///
/// # Errors
/// `Invalid`: it is cut short, changed, or of a newer format; `Unavailable`: the source failed.
pub async fn read_snapshot(source: &mut (dyn io::Read + Send)) -> Result<WholeSnapshot, StoreError> {
    let mut reader = SnapshotReader::open(source).map_err(unread)?;
    let mut entries = Vec::new();
    let mut sections = Vec::new();
    while let Some(item) = reader.next_item().map_err(unread)? {
        match item {
            Item::Entry(SnapshotEntry {
                reference,
                format,
                document,
            }) => {
                let resource = Resource::parse(document, format)
                    .and_then(|resource| resource.with_default_namespace(&reference.namespace));
                match resource {
                    Ok(resource) if resource.reference == reference => {
                        entries.push((key(&reference), stored::encode(&resource)));
                    }
                    // Only a whole file is worth a complaint about what stands in it.
                    Ok(other) => {
                        reader.finish().map_err(unread)?;
                        return Err(StoreError::invalid(format_args!(
                            "the snapshot holds {} in the place of {reference}",
                            other.reference
                        )));
                    }
                    Err(error) => {
                        reader.finish().map_err(unread)?;
                        let what = format_args!("the snapshot holds {reference} in a form that cannot be read");
                        return Err(StoreError::invalid_because(what, error));
                    }
                }
            }
            Item::Section { name, content } => sections.push(SnapshotSection { name, content }),
        }
        if entries.len() % SCAN_ENTRIES_MAX == 0 {
            give_way().await;
        }
    }
    let inspection = reader.finish().map_err(unread)?;
    let restore = Restore {
        prefix: Bytes::from_static(RESOURCE_PREFIX),
        revision: inspection.revision,
        entries,
    };
    Ok(WholeSnapshot {
        inspection,
        restore,
        sections,
    })
}

/// Writes a view as this build does without a declaration.
pub(super) async fn write(
    view: &View,
    backend: &str,
    extras: SnapshotExtras,
    sink: &mut (dyn io::Write + Send),
) -> Result<Snapshotted, StoreError> {
    let header = Header {
        revision: view.revision(),
        declaration: extras.declaration,
        created_by: format!("revoada {}, {backend}", env!("CARGO_PKG_VERSION")),
    };
    let written = write_snapshot(view, header, &extras.sections, sink).await?;
    Ok(Snapshotted {
        revision: written.revision,
        entries: written.entries,
    })
}

/// Replaces all resources of a keyspace.
pub(super) async fn restore<K: Keyspace + ?Sized>(
    keyspace: &K,
    source: &mut (dyn io::Read + Send),
) -> Result<Restored, StoreError> {
    let snapshot = read_snapshot(source).await?;
    let outcome = keyspace.execute(Operation::Restore(snapshot.restore)).await?;
    match outcome.answer {
        Answer::Restored { entries, .. } => Ok(Restored {
            revision: outcome.revision,
            entries,
        }),
        other => Err(KeyspaceError::OutcomeUnknown {
            what: format!("a restore was answered by something else: {other:?}"),
            source: None,
        }
        .into()),
    }
}

fn unwritten(error: WriteSnapshotError) -> StoreError {
    match error.kind() {
        ErrorKind::Invalid => StoreError::invalid_because("the snapshot cannot be written", error),
        _ => StoreError::unavailable_because("the snapshot could not be written", error),
    }
}

fn unread(error: SnapshotError) -> StoreError {
    match error {
        SnapshotError::Read { .. } => StoreError::unavailable_because("the snapshot could not be read", error),
        SnapshotError::NotASnapshot
        | SnapshotError::NewerFormat { .. }
        | SnapshotError::CutShort { .. }
        | SnapshotError::Damaged { .. }
        | SnapshotError::OutOfBounds { .. }
        | SnapshotError::Malformed { .. } => {
            StoreError::invalid_because("the snapshot cannot be restored, and nothing was changed", error)
        }
    }
}
