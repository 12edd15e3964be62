//! How far each other node's log had come, as far as this node knows: a voter that comes back behind that went back; and
//! the first disk that each other founder was seen on.
//!
//! A disk that was restored or emptied forgets votes and acknowledged entries, and its node could then vote a second time
//! in one term. Its peers remember. Kept on disk without a sync: this is a second line of defence, and the first one,
//! the node's own log, never loses what it acknowledged.
//!
//! The first disks are synced before they are told. They count until the first membership names disks, and only where a
//! majority of founders tells the same ([`revoada_mesh::consensus::Seat::Founder`]). None is ever taken back.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_mesh::consensus::RaftView;
use revoada_mesh::disk_id::DiskId;
use revoada_mesh::files::{Files, read_whole, replace, replace_durably};
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, Ticks, Tokio, elapsed};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// A position in the log. Both numbers are ones that the node cannot lose by a crash: whoever calls
/// [`Positions::saw`] vouches for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The term of a durable vote of the node.
    pub term: u64,
    /// The index of an entry that is committed, and that the node has synced.
    pub index: u64,
}

/// The positions of all other nodes.
pub(crate) struct Positions<R: Runtime = Tokio> {
    files: Arc<dyn Files>,
    path: PathBuf,
    disks_path: PathBuf,
    /// A first disk is to be written down.
    due: Notify,
    known: Mutex<Known<R>>,
}

struct Known<R: Runtime> {
    positions: BTreeMap<NodeId, Position>,
    changed: bool,
    /// The first disk of each founder, and those that are durable here.
    disks: BTreeMap<NodeId, DiskId>,
    told: BTreeMap<NodeId, DiskId>,
    refused: BTreeMap<NodeId, Refusals<InstantOf<R>>>,
}

/// From the first to the newest of refusals that followed each other closely.
#[derive(Clone, Copy)]
struct Refusals<I> {
    first: I,
    newest: I,
}

/// Refusals further apart than this are not of one kind.
const REFUSALS_APART_MAX: Duration = Duration::from_secs(2);
/// For how long a node is refused before it counts: a hello may be a moment older than what was heard of its node.
const REFUSED_MIN: Duration = Duration::from_millis(500);

/// Under load positions change all the time, and each file costs the disk something that the log needs.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

impl<R: Runtime> Positions<R> {
    /// Reads what was remembered. A file that cannot be read counts as nothing remembered, and says so in the log.
    pub fn open(files: Arc<dyn Files>, path: PathBuf) -> Self {
        let disks_path = path.with_file_name("disks.json");
        let positions = read(&*files, &path);
        let disks: BTreeMap<NodeId, DiskId> = read(&*files, &disks_path);
        Self {
            files,
            path,
            disks_path,
            due: Notify::new(),
            known: Mutex::new(Known {
                positions,
                changed: false,
                told: disks.clone(),
                disks,
                refused: BTreeMap::new(),
            }),
        }
    }

    /// Remembers the disk of a founder, if it is the first one that is seen of it.
    pub fn saw_disk(&self, node: NodeId, disk: DiskId) {
        let mut known = self.known.lock();
        if let Entry::Vacant(first) = known.disks.entry(node) {
            first.insert(disk);
            self.due.notify_one();
        }
    }

    /// The first disk of a founder that was seen, if any.
    pub fn first_disk(&self, node: &NodeId) -> Option<DiskId> {
        self.known.lock().disks.get(node).copied()
    }

    /// The same once it is durable here.
    pub fn first_disk_told(&self, node: &NodeId) -> Option<DiskId> {
        self.known.lock().told.get(node).copied()
    }

    /// Writes the first disks down, if any is new; they are told from then on. Blocks as [`Positions::save`] does.
    pub fn save_disks(&self) {
        let disks = {
            let known = self.known.lock();
            if known.disks == known.told {
                return;
            }
            known.disks.clone()
        };
        let written = serde_json::to_vec(&disks)
            .map_err(std::io::Error::other)
            .and_then(|bytes| replace_durably(&*self.files, &self.disks_path, &bytes));
        match written {
            Ok(()) => self.known.lock().told = disks,
            Err(error) => {
                tracing::warn!(path = %self.disks_path.display(), %error, "the first disks of other nodes cannot be saved");
            }
        }
    }

    /// Remembers that `node` was refused because it went back, or was let in.
    pub fn answered(&self, node: &NodeId, refused: bool) {
        let mut known = self.known.lock();
        if !refused {
            known.refused.remove(node);
            return;
        }
        let now = InstantOf::<R>::now();
        let refusals = known.refused.entry(*node).or_insert(Refusals {
            first: now,
            newest: now,
        });
        if now.saturating_duration_since(refusals.newest) > REFUSALS_APART_MAX {
            refusals.first = now;
        }
        refusals.newest = now;
    }

    /// Since when `node` is refused again and again: as a voter it is lost, however lively others find it.
    pub fn refused_since(&self, node: &NodeId) -> Option<InstantOf<R>> {
        let refusals = *self.known.lock().refused.get(node)?;
        let lasting = refusals.newest.saturating_duration_since(refusals.first) >= REFUSED_MIN;
        (lasting && elapsed::<R>(refusals.newest) <= REFUSALS_APART_MAX).then_some(refusals.first)
    }

    /// Remembers that `node` has come this far. A position never goes back here.
    pub fn saw(&self, node: NodeId, seen: Position) {
        let mut known = self.known.lock();
        let position = known.positions.entry(node).or_default();
        let next = Position {
            term: position.term.max(seen.term),
            index: position.index.max(seen.index),
        };
        if next != *position {
            *position = next;
            known.changed = true;
        }
    }

    /// Remembers how far the leader's replication has come on every node but `me`: to what is synced there, and of that
    /// only what is committed, since the rest may yet be cut off. Nothing where `me` does not lead.
    pub fn saw_replicated(&self, me: &NodeId, raft: &RaftView) {
        for (node, index) in raft.matched.iter().filter(|(node, _)| *node != me) {
            self.saw(
                *node,
                Position {
                    term: 0,
                    index: *index.min(&raft.applied),
                },
            );
        }
    }

    /// Whether any node's log was ever seen to hold something: then the cluster was formed.
    pub fn any(&self) -> bool {
        self.known.lock().positions.values().any(|position| position.index > 0)
    }

    /// The remembered position of `node` if `claimed` is behind it.
    pub fn went_back(&self, node: &NodeId, claimed: Position) -> Option<Position> {
        let known = self.known.lock();
        let position = *known.positions.get(node)?;
        (claimed.term < position.term || claimed.index < position.index).then_some(position)
    }

    /// Forgets every node that is not among `voters`, because it votes no longer: it may come back with an empty log.
    pub fn forget_all_but(&self, voters: &BTreeSet<NodeId>) {
        let mut known = self.known.lock();
        let before = known.positions.len();
        known.positions.retain(|node, _| voters.contains(node));
        known.changed |= known.positions.len() != before;
    }

    /// Writes what has changed, atomically. Blocks, under load for as long as the file system's journal is busy; call it
    /// off the runtime, and not twice at once.
    pub fn save(&self) {
        let bytes = {
            let mut known = self.known.lock();
            if !known.changed {
                return;
            }
            known.changed = false;
            serde_json::to_vec(&known.positions)
        };
        let written = bytes
            .map_err(std::io::Error::other)
            .and_then(|bytes| replace(&*self.files, &self.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "the positions of other nodes cannot be saved");
        }
    }
}

fn read<T: DeserializeOwned>(files: &dyn Files, path: &Path) -> BTreeMap<NodeId, T> {
    let Ok(bytes) = read_whole(files, path) else {
        return BTreeMap::new();
    };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), %error, "what is known of other nodes cannot be read");
        BTreeMap::new()
    })
}

/// Saves the positions again and again, on a thread where that may take its time.
pub(crate) async fn keep<R: Runtime>(positions: Arc<Positions<R>>) {
    let mut pauses = Ticks::<R>::every(SAVE_PAUSE);
    loop {
        tokio::select! {
            biased;
            () = positions.due.notified() => {}
            () = pauses.tick() => {}
        }
        let positions = positions.clone();
        let save = move || {
            positions.save_disks();
            positions.save();
        };
        if let Err(error) = R::blocking(save).await {
            tracing::warn!(%error, "the positions of other nodes were not saved");
        }
    }
}

#[cfg(test)]
mod tests {
    use revoada_mesh::files::SystemFiles;

    use super::*;

    #[test]
    fn a_position_that_went_back_is_noticed_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("positions.json");
        let node = NodeId::from_bytes([1; 32]);
        let files: Arc<dyn Files> = Arc::new(SystemFiles::default());
        let positions: Positions = Positions::open(files.clone(), path.clone());
        positions.saw(node, Position { term: 3, index: 10 });
        positions.saw(node, Position { term: 2, index: 11 });
        positions.save();
        let positions: Positions = Positions::open(files, path);
        assert_eq!(positions.went_back(&node, Position { term: 3, index: 11 }), None);
        let remembered = Some(Position { term: 3, index: 11 });
        assert_eq!(positions.went_back(&node, Position { term: 3, index: 10 }), remembered);
        assert_eq!(positions.went_back(&node, Position { term: 2, index: 12 }), remembered);
        positions.forget_all_but(&BTreeSet::from([node]));
        assert!(positions.went_back(&node, Position::default()).is_some());
        positions.forget_all_but(&BTreeSet::new());
        assert_eq!(positions.went_back(&node, Position::default()), None);
    }
}
