//! etcd's guarantees for a watch: ordered, unique, atomic, reliable, resumable, bookmarkable
//! (etcd, *API guarantees*, Watch APIs).

use std::collections::BTreeMap;

use super::Violation;
use crate::history::{Records, Watched};
use crate::ledger::{Changes, Known, Truth};

/// All watches, those that went on where another had ended among them.
pub fn check(records: &Records, truth: &Truth) -> Result<(), Violation> {
    let known = truth.known();
    for watched in &records.watches {
        if let Err(what) = one(watched, truth, &known) {
            let what = format!(
                "watcher {} on node-{} behind revision {}: {what}",
                watched.watcher, watched.place, watched.after
            );
            return Err(Violation::of("watches", what));
        }
    }
    Ok(())
}

fn one(watched: &Watched, truth: &Truth, known: &Known) -> Result<(), String> {
    let mut told: BTreeMap<u64, Changes> = BTreeMap::new();
    let mut last = (watched.after, u32::MAX);
    let mut bookmarks = watched.bookmarks.iter().peekable();
    let mut bookmark = watched.after;
    for (number, batch) in watched.batches.iter().enumerate() {
        while let Some((_, revision)) = bookmarks.next_if(|(behind, _)| *behind <= number) {
            bookmark = bookmark.max(*revision);
        }
        // Atomic: what one revision did comes at once.
        if let Some(event) = batch.first().filter(|event| event.revision == last.0) {
            return Err(format!("told of revision {} in two parts", event.revision));
        }
        for event in batch {
            if event.revision <= bookmark {
                return Err(format!(
                    "told of revision {} behind a bookmark at {bookmark}",
                    event.revision
                ));
            }
            let at = (event.revision, event.sub);
            if event.revision <= watched.after {
                return Err(format!("told of revision {}, which it had seen", event.revision));
            }
            if at <= last {
                return Err(format!("told of {at:?} behind {last:?}: not in order, or twice"));
            }
            last = at;
            let value = match &event.kind {
                revoada_core::keyspace::EventKind::Put { version, .. } => Some(version.value.clone()),
                revoada_core::keyspace::EventKind::Delete { .. } => None,
            };
            told.entry(event.revision).or_default().insert(event.key.clone(), value);
        }
    }
    let until = watched.position.max(last.0);
    if until <= watched.after {
        return Ok(());
    }
    for (revision, changes) in truth.changes.range(watched.after + 1..=until) {
        let wanted: Changes = changes
            .iter()
            .filter(|(key, _)| key.starts_with(&watched.prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let got = told.remove(revision).unwrap_or_default();
        if wanted != got {
            return Err(format!("revision {revision} did {wanted:?}, and it was told {got:?}"));
        }
    }
    match told
        .into_iter()
        .find(|(revision, _)| known.is_change(*revision) || truth.wholes.range(revision..).next().is_none())
    {
        None => Ok(()),
        Some((revision, changes)) => Err(format!("told of revision {revision}, which never was: {changes:?}")),
    }
}
