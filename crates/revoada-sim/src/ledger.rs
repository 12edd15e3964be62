//! What the cluster as a whole has committed, gathered from every node as it applies: the common truth.
//!
//! Two nodes that differ in what they applied at one place contradict each other here, whoever is right. Rejected: to ask
//! one node at the end. What it lost would not be missed.

use std::collections::BTreeMap;

use bytes::Bytes;
use parking_lot::Mutex;
use revoada_attest::Digest;
use revoada_core::keyspace::{EventKind, KeyRange, Keyspace, RangeQuery, Revision};
use revoada_core::machine::ClusterState;

use crate::oracles::{Violation, one_chain};
use crate::wire::Place;

/// What one revision did.
pub type Changes = BTreeMap<Bytes, Option<Bytes>>;
/// All keys with their values.
pub type Whole = BTreeMap<Bytes, Bytes>;

/// The truth so far.
#[derive(Debug, Default)]
pub struct Truth {
    /// What each revision changed.
    pub changes: BTreeMap<Revision, Changes>,
    /// Everything that was there at a revision from which one had to start anew: behind a restore.
    pub wholes: BTreeMap<Revision, Whole>,
    /// The chain.
    pub blocks: BTreeMap<u64, Digest>,
    /// Digests of the whole state by the index of the last entry in it.
    states: BTreeMap<u64, (Place, Revision, Digest)>,
    /// Who led each term.
    pub leaders: BTreeMap<u64, Place>,
    /// Entries by index and term, with the term before them.
    pub entries: BTreeMap<(u64, u64), (Digest, Option<u64>)>,
    /// Entries that are known to be committed.
    pub committed: BTreeMap<u64, (u64, Digest)>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Truth>);

fn value_of(kind: &EventKind) -> Option<Bytes> {
    match kind {
        EventKind::Put { version, .. } => Some(version.value.clone()),
        EventKind::Delete { .. } => None,
    }
}

impl Ledger {
    /// Looks at it.
    pub fn look<T>(&self, look: impl FnOnce(&Truth) -> T) -> T {
        look(&self.0.lock())
    }

    /// Takes what a node has applied since `after`; how far that is.
    pub fn applied(
        &self,
        place: Place,
        state: &ClusterState,
        index: u64,
        after: Revision,
    ) -> Result<Revision, Violation> {
        let mut truth = self.0.lock();
        let keyspace = state.keyspace();
        let newest = truth.keyspace(place, keyspace, after)?;
        let fingerprint = fingerprint(state);
        if let Some((other, revision, digest)) = truth.states.insert(index, (place, newest, fingerprint))
            && (revision, digest) != (newest, fingerprint)
        {
            return Err(Violation::of(
                "state-machine-safety",
                format!("node-{place} and node-{other} differ behind entry {index}: revisions {newest} and {revision}"),
            ));
        }
        let chain = state.chain();
        let known = truth.blocks.len() as u64;
        for number in known.min(chain.len())..chain.len() {
            if let Some(sealed) = chain.get(number) {
                one_chain::block(&mut truth, place, number, sealed.block.digest())?;
            }
        }
        if let Some(number) = chain.len().checked_sub(1) {
            one_chain::block(&mut truth, place, number, chain.head())?;
        }
        Ok(newest)
    }

    /// Looks at it, to add to it.
    pub fn add<T>(&self, add: impl FnOnce(&mut Truth) -> T) -> T {
        add(&mut self.0.lock())
    }
}

/// What is cheap to compare of a state, and what is not shared is in it.
fn fingerprint(state: &ClusterState) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let keyspace = state.keyspace();
    for number in [
        keyspace.revision(),
        keyspace.len() as u64,
        keyspace.data_bytes(),
        keyspace.leases().count() as u64,
        state.chain().len(),
        state.roles().nodes.len() as u64,
    ] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(state.chain().head().as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

impl Truth {
    fn keyspace(&mut self, place: Place, keyspace: &Keyspace, after: Revision) -> Result<Revision, Violation> {
        let newest = keyspace.revision();
        if newest < after {
            return Err(Violation::of(
                "revision-never-goes-back",
                format!("node-{place} was at revision {after} and is at {newest}"),
            ));
        }
        let mut after = after;
        if keyspace.oldest_position() > after {
            // Cut: by a compaction, a checkpoint of another node, or a restore. What the others know is compared.
            after = keyspace.oldest_position();
            let query = RangeQuery {
                revision: Some(after),
                ..RangeQuery::of(KeyRange::All)
            };
            if let Ok(answer) = keyspace.range(&query) {
                let whole: Whole = answer
                    .entries
                    .into_iter()
                    .map(|entry| (entry.key, entry.version.value))
                    .collect();
                match self.at(after) {
                    Some(known) if known != whole => {
                        return Err(Violation::of(
                            "state-machine-safety",
                            format!("node-{place} holds something else at revision {after} than what was committed"),
                        ));
                    }
                    Some(_) => {}
                    None => {
                        self.wholes.insert(after, whole);
                    }
                }
            }
        }
        let events = keyspace
            .events_in(&KeyRange::All, after, usize::MAX)
            .map_err(|compacted| {
                let what = format!("node-{place} cannot tell its events behind {after}: {compacted}");
                Violation::of("state-machine-safety", what)
            })?;
        let mut revisions: BTreeMap<Revision, Changes> = BTreeMap::new();
        for event in events.events {
            revisions
                .entry(event.revision)
                .or_default()
                .insert(event.key, value_of(&event.kind));
        }
        for (revision, changes) in revisions {
            match self.changes.get(&revision) {
                Some(known) if *known != changes => {
                    return Err(Violation::of(
                        "state-machine-safety",
                        format!("node-{place} did something else in revision {revision} than somebody else"),
                    ));
                }
                Some(_) => {}
                None => {
                    self.changes.insert(revision, changes);
                }
            }
        }
        Ok(newest)
    }

    /// The revisions whose changes are known, to be asked about many.
    pub fn known(&self) -> Known {
        Known {
            wholes: self.wholes.keys().copied().collect(),
            changes: self.changes.keys().copied().collect(),
        }
    }

    /// Everything that was there at a revision; none where that is not known.
    pub fn at(&self, revision: Revision) -> Option<Whole> {
        let (start, mut whole) = match self.wholes.range(..=revision).next_back() {
            Some((start, whole)) => (*start, whole.clone()),
            None => (1, Whole::new()),
        };
        if start >= revision {
            return Some(whole).filter(|_| start == revision || revision == 1);
        }
        // A revision for each change: if one is missing the rest cannot be told.
        let known = self.changes.range(start + 1..=revision).count() as u64;
        if known != revision.saturating_sub(start) {
            return None;
        }
        for changes in self.changes.range(start + 1..=revision).map(|(_, changes)| changes) {
            for (key, value) in changes {
                match value {
                    Some(value) => whole.insert(key.clone(), value.clone()),
                    None => whole.remove(key),
                };
            }
        }
        Some(whole)
    }
}

/// Which revisions are known: a change that nobody looked at before a restore cut it off is not.
#[derive(Debug)]
pub struct Known {
    wholes: Vec<Revision>,
    changes: Vec<Revision>,
}

impl Known {
    /// Whether it is known what this revision did.
    pub fn is_change(&self, revision: Revision) -> bool {
        self.changes.binary_search(&revision).is_ok()
    }

    /// Whether it is known what was there at this revision.
    pub fn is_state(&self, revision: Revision) -> bool {
        let whole = self.wholes.partition_point(|whole| *whole <= revision);
        let start = whole.checked_sub(1).map_or(1, |at| self.wholes[at]);
        let before = |revision: Revision| self.changes.partition_point(|change| *change <= revision) as u64;
        before(revision) - before(start) == revision.saturating_sub(start)
    }
}
