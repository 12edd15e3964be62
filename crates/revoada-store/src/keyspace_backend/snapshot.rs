//! Snapshots of resources, and of what other keys a cluster has, and the way back.
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
    Header, Inspection, Item, SnapshotEntry, SnapshotError, SnapshotReader, SnapshotWriter, WriteSnapshotError, section,
};

use super::{give_way, spaces};
use crate::backend::Restored;
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

/// Writes the resources of a view, then what else belongs to it, as a snapshot; a multiple of `multiple` bytes long,
/// where there is one.
///
/// # Errors
/// `Unavailable` when the sink fails; `Invalid` when a section is too large or there twice.
pub async fn write_snapshot(
    view: &View,
    backend: &str,
    extras: SnapshotExtras,
    multiple: Option<usize>,
    sink: &mut (dyn io::Write + Send),
) -> Result<Inspection, StoreError> {
    let header = Header {
        revision: view.revision(),
        declaration: extras.declaration,
        created_by: format!("revoada {}, {backend}", env!("CARGO_PKG_VERSION")),
    };
    let mut writer = SnapshotWriter::new(sink, header).map_err(unwritten)?;
    let mut after = None;
    loop {
        let query = RangeQuery {
            limit: SCAN_ENTRIES_MAX as u64,
            after: after.take(),
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
    for section in &extras.sections {
        writer.section(&section.name, &section.content).map_err(unwritten)?;
    }
    if !extras.spaces.is_empty() {
        let spaces = spaces::encode(&extras.spaces)?;
        writer.section(section::SPACES, &spaces).map_err(unwritten)?;
        let mut parts = spaces::Parts::of(view, extras.spaces);
        let mut number = 0;
        while let Some(part) = parts.next_part()? {
            let name = format!("{}{number}", section::KEYS);
            writer.section(&name, &part).map_err(unwritten)?;
            number += 1;
            give_way().await;
        }
    }
    if let Some(multiple) = multiple {
        writer.pad(multiple).map_err(unwritten)?;
    }
    let (_, inspection) = writer.finish().map_err(unwritten)?;
    Ok(inspection)
}

/// A snapshot that was read and checked whole.
#[derive(Debug)]
pub struct WholeSnapshot {
    /// What it says of itself.
    pub inspection: Inspection,
    /// Its resources, and the other keys that it holds, as the operation that restores them.
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
    let mut sections: Vec<SnapshotSection> = Vec::new();
    let mut keys = Vec::new();
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
            Item::Section { name, content } if name.starts_with(section::KEYS) => keys.push(content),
            Item::Section { name, content } => sections.push(SnapshotSection { name, content }),
        }
        if entries.len() % SCAN_ENTRIES_MAX == 0 {
            give_way().await;
        }
    }
    let inspection = reader.finish().map_err(unread)?;
    let content = |name: &str| {
        let section = sections.iter().find(|section| section.name == name);
        section.map(|section| section.content.clone())
    };
    let also = content(section::SPACES)
        .map(|spaces| spaces::decode(&spaces))
        .transpose()?;
    let granted = content(section::LEASES)
        .map(|leases| spaces::decode_leases(&leases))
        .transpose()?;
    let leases = spaces::read_parts(&keys, granted.unwrap_or_default(), &mut entries)?;
    let restore = Restore {
        prefix: Bytes::from_static(RESOURCE_PREFIX),
        also: also.unwrap_or_default(),
        revision: inspection.revision,
        entries,
        leases,
        ..Restore::default()
    };
    Ok(WholeSnapshot {
        inspection,
        restore,
        sections,
    })
}

/// Replaces all resources of a keyspace, and the other keys that both the snapshot and the keyspace hold.
pub(super) async fn restore<K: Keyspace + ?Sized>(
    keyspace: &K,
    source: &mut (dyn io::Read + Send),
) -> Result<Restored, StoreError> {
    let WholeSnapshot {
        inspection,
        mut restore,
        ..
    } = read_snapshot(source).await?;
    let spaces = keyspace.snapshot_extras().spaces;
    restore.also.retain(|space| spaces.contains(space));
    let entries = std::mem::take(&mut restore.entries);
    restore.entries = entries.into_iter().filter(|(key, _)| restore.replaces(key)).collect();
    // Leases are of those other keys alone.
    if restore.also.is_empty() {
        restore.leases.clear();
    }
    let outcome = keyspace.execute(Operation::Restore(restore)).await?;
    match outcome.answer {
        Answer::Restored { .. } => Ok(Restored {
            revision: outcome.revision,
            entries: inspection.entries,
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
