//! Snapshots of resources, and of what other keys a cluster has, and the way back.
//!
//! A snapshot is written from one view, page by page, so writers go on meanwhile. A restore reads and checks the whole
//! file before it changes anything, and is then one operation. Rejected: restoring as one reads; a file that turns out
//! to be damaged in its last byte would have replaced half of what was there.

use std::io;

use bytes::Bytes;
use revoada_core::error::ErrorKind;
use revoada_core::keyspace::{
    Answer, Entry, KeyRange, Keyspace as View, LeaseId, Operation, RangeQuery, Restore, Revision,
};
use revoada_core::limits::{RESTORE_ENTRIES_MAX, SNAPSHOT_PART_BYTES};
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
        // The extras are those of another moment: a lease that ended since the view would leave its keys without one, and
        // a restore would keep them for ever.
        let content = match section.name == section::LEASES {
            true => SnapshotExtras::leases_of(view),
            false => section.content.clone(),
        };
        writer.section(&section.name, &content).map_err(unwritten)?;
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

/// Writes keys from elsewhere as a snapshot that a new cluster begins with: they keep their revisions and versions, and
/// the cluster's revision is `revision` then. A cluster that is not new refuses it.
///
/// `entries` are in the order of their keys, all of which begin with `space`; `leases` are ids with their whole time in
/// milliseconds.
///
/// # Errors
/// What `entries` gives; `Unavailable` when the sink fails, `Invalid` when something is too large.
pub fn write_first_snapshot<E: From<StoreError>>(
    sink: &mut (dyn io::Write + Send),
    (revision, created_by): (Revision, String),
    space: &Bytes,
    leases: &[(LeaseId, u64)],
    entries: impl IntoIterator<Item = Result<Entry, E>>,
) -> Result<Inspection, E> {
    let unwritten = |error| E::from(unwritten(error));
    let header = Header {
        revision,
        declaration: String::new(),
        created_by,
    };
    let mut writer = SnapshotWriter::new(sink, header).map_err(unwritten)?;
    let leases = spaces::encode_leases(leases)?;
    writer.section(section::LEASES, &leases).map_err(unwritten)?;
    let spaces = spaces::encode(std::slice::from_ref(space))?;
    writer.section(section::SPACES, &spaces).map_err(unwritten)?;
    let mut number = 0;
    let (mut part, mut numbers) = (Vec::new(), Vec::new());
    let mut entries = entries.into_iter().peekable();
    while let Some(entry) = entries.next() {
        spaces::put_entry(&mut part, &mut numbers, &entry?);
        if part.len() >= SNAPSHOT_PART_BYTES || entries.peek().is_none() {
            let name = |what| format!("{what}{number}");
            writer.section(&name(section::KEYS), &part).map_err(unwritten)?;
            writer.section(&name(section::NUMBERS), &numbers).map_err(unwritten)?;
            (part, numbers) = (Vec::new(), Vec::new());
            number += 1;
        }
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
    let (mut keys, mut numbers) = (Vec::new(), Vec::new());
    while let Some(item) = reader.next_item().map_err(unread)? {
        match item {
            Item::Entry(entry) => match parsed(entry) {
                Ok(resource) => entries.push((key(&resource.reference), stored::encode(&resource))),
                // Only a whole file is worth a complaint about what stands in it.
                Err(complaint) => {
                    reader.finish().map_err(unread)?;
                    return Err(complaint);
                }
            },
            Item::Section { name, content } if name.starts_with(section::KEYS) => keys.push(content),
            Item::Section { name, content } if name.starts_with(section::NUMBERS) => numbers.push(content),
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
    let numbers = spaces::read_numbers(&numbers)?;
    if !numbers.is_empty() && numbers.len() != entries.len() {
        return Err(StoreError::invalid(format_args!(
            "the snapshot holds {} entries, and the numbers of {}",
            entries.len(),
            numbers.len()
        )));
    }
    let restore = Restore {
        numbers,
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

/// Reads a snapshot to its end and checks all that a restore would refuse, keeping nothing of it but the name of each
/// lease: what [`read_snapshot`] checks, and that keys are in order and within their bounds.
///
/// # Errors
/// As [`read_snapshot`].
pub fn verify_snapshot(source: &mut (dyn io::Read + Send)) -> Result<Inspection, StoreError> {
    let mut reader = SnapshotReader::open(source).map_err(unread)?;
    let mut keys = spaces::CheckedKeys::default();
    let mut entries = 0;
    let mut complaint = None;
    while let Some(item) = reader.next_item().map_err(unread)? {
        let checked = match item {
            Item::Entry(entry) => parsed(entry).map(|_| entries += 1),
            Item::Section { name, content } if name.starts_with(section::KEYS) => keys.check_part(&content),
            Item::Section { name, content } if name == section::SPACES => keys.check_spaces(&content),
            Item::Section { name, content } if name == section::LEASES => keys.check_leases(&content),
            Item::Section { .. } => Ok(()),
        };
        complaint = complaint.or(checked.err());
    }
    let inspection = reader.finish().map_err(unread)?;
    if let Some(complaint) = complaint {
        return Err(complaint);
    }
    entries += keys.count();
    if entries > RESTORE_ENTRIES_MAX {
        return Err(StoreError::invalid(format_args!(
            "the snapshot holds {entries} entries; {RESTORE_ENTRIES_MAX} is the most that can be restored"
        )));
    }
    Ok(inspection)
}

/// A resource of a snapshot, which is what it stands for.
fn parsed(entry: SnapshotEntry) -> Result<Resource, StoreError> {
    let SnapshotEntry {
        reference,
        format,
        document,
    } = entry;
    let resource =
        Resource::parse(document, format).and_then(|resource| resource.with_default_namespace(&reference.namespace));
    match resource {
        Ok(resource) if resource.reference == reference => Ok(resource),
        Ok(other) => Err(StoreError::invalid(format_args!(
            "the snapshot holds {} in the place of {reference}",
            other.reference
        ))),
        Err(error) => {
            let what = format_args!("the snapshot holds {reference} in a form that cannot be read");
            Err(StoreError::invalid_because(what, error))
        }
    }
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
    let count = entries.len();
    restore.entries = entries.into_iter().filter(|(key, _)| restore.replaces(key)).collect();
    if !restore.numbers.is_empty() && restore.entries.len() != count {
        return Err(StoreError::invalid(
            "the snapshot holds keys of etcd's clients with their revisions, which this backend does not keep",
        ));
    }
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
