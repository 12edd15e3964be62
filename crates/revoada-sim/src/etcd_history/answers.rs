//! What each answer to a watch has to be by itself, and in its place among the others.

use std::collections::BTreeMap;

use bytes::Bytes;
use revoada_core::keyspace::{Event, EventKind, Revision, Version};

use super::{Answer, EtcdWatch};
use crate::ledger::Truth;

/// What a watch asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// What was there before (`prev_kv`).
    pub previous: bool,
    /// That answers are cut where they are large (`fragment`).
    pub fragments: bool,
    /// Puts: no filter NOPUT.
    pub puts: bool,
    /// Deletions: no filter NODELETE.
    pub deletions: bool,
}

impl Default for Wants {
    fn default() -> Self {
        Self {
            previous: false,
            fragments: false,
            puts: true,
            deletions: true,
        }
    }
}

/// Each key's versions by the revision that made them; none where it was deleted.
pub(super) type States = BTreeMap<Bytes, BTreeMap<Revision, Option<Version>>>;

/// What an event puts; none for a deletion.
pub(super) fn value(event: &Event) -> Option<&Bytes> {
    match &event.kind {
        EventKind::Put { version, .. } => Some(&version.value),
        EventKind::Delete { .. } => None,
    }
}

/// Every version of every key, as the changes alone make them.
pub(super) fn replay(truth: &Truth) -> States {
    let mut states = States::new();
    for (revision, changes) in &truth.changes {
        for (key, value) in changes {
            let versions = states.entry(key.clone()).or_default();
            let before = versions.values().next_back().cloned().flatten();
            let after = value.as_ref().map(|value| Version {
                create_revision: before.as_ref().map_or(*revision, |before| before.create_revision),
                mod_revision: *revision,
                version: before.map_or(0, |before| before.version) + 1,
                lease: revoada_core::keyspace::NO_LEASE,
                value: value.clone(),
            });
            versions.insert(*revision, after);
        }
    }
    states
}

/// The events of each answer, with fragments put together; fragments whose last one never came are left out, as a client
/// leaves them out.
pub(super) fn assembled(answers: &[Answer]) -> Vec<Vec<Event>> {
    let (mut whole, mut parts) = (Vec::new(), Vec::new());
    for answer in answers {
        if let Answer::Events { goes_on, events } = answer {
            parts.extend(events.iter().cloned());
            if !goes_on {
                whole.push(std::mem::take(&mut parts));
            }
        }
    }
    whole
}

/// Atomic, bookmarkable, and true about versions. That nothing is missing, told twice or out of order is the oracle's.
pub(super) fn check(watch: &EtcdWatch, states: &States) -> Result<(), String> {
    let (mut bookmark, mut parts) = (0, false);
    for answer in &watch.answers {
        match answer {
            Answer::Progress(revision) => {
                if parts {
                    return Err(format!("a bookmark at {revision} came between two fragments"));
                }
                bookmark = bookmark.max(*revision);
            }
            Answer::Events { goes_on, events } => {
                if *goes_on && !watch.wants.fragments {
                    return Err("it was told a fragment, and did not ask for any".to_owned());
                }
                parts = *goes_on;
                if let Some(event) = events.iter().find(|event| event.revision <= bookmark) {
                    let revision = event.revision;
                    return Err(format!("told of revision {revision} behind a bookmark at {bookmark}"));
                }
                events.iter().try_for_each(|event| of_event(watch, event, states))?;
            }
        }
    }
    let mut last = watch.after;
    for events in assembled(&watch.answers) {
        let (Some(first), Some(end)) = (events.first(), events.last()) else {
            return Err("it was told an answer without events".to_owned());
        };
        if first.revision <= last {
            return Err(format!("revision {} is told in two answers, or twice", first.revision));
        }
        last = end.revision;
        let mut told = std::collections::BTreeSet::new();
        if let Some(event) = events.iter().find(|event| !told.insert((event.revision, &event.key))) {
            return Err(format!("told of {:?} in revision {} twice", event.key, event.revision));
        }
    }
    Ok(())
}

fn of_event(watch: &EtcdWatch, event: &Event, states: &States) -> Result<(), String> {
    let (key, revision) = (&event.key, event.revision);
    if !key.starts_with(&watch.prefix) {
        return Err(format!("told of {key:?}, which it does not watch"));
    }
    let versions = states.get(key);
    let at = versions.and_then(|versions| versions.get(&revision)).cloned().flatten();
    let earlier = versions.and_then(|versions| versions.range(..revision).next_back());
    let before = earlier.and_then(|(_, before)| before.clone());
    let previous = match &event.kind {
        EventKind::Put { version, previous } => {
            if !watch.wants.puts {
                return Err(format!("told of a put of {key:?}, which it left out"));
            }
            if at.as_ref() != Some(version) {
                return Err(format!(
                    "{key:?} became {at:?} in revision {revision}, and it was told {version:?}"
                ));
            }
            previous.as_ref()
        }
        EventKind::Delete { previous } => {
            if !watch.wants.deletions {
                return Err(format!("told of a deletion of {key:?}, which it left out"));
            }
            Some(previous).filter(|previous| previous.version > 0)
        }
    };
    let wanted = before.as_ref().filter(|_| watch.wants.previous);
    if previous == wanted {
        return Ok(());
    }
    Err(format!(
        "before revision {revision} {key:?} was {wanted:?}, and it was told {previous:?}"
    ))
}
