//! A folder as a backend: one file per resource, in a tree that a person can read.
//!
//! ```text
//! folder.json                      format, generation, and a revision that was reached
//! lock                             held by the one process that has the folder
//! resources-GENERATION/KIND[@GROUP]/NAMESPACE/NAME.resource
//! ```
//!
//! The files are the truth, and a keyspace in memory is their index: it is filled when the folder is opened, answers
//! every read, and takes a change only after the file is durable. A put is one file replaced; its revision stands in
//! it. A delete first writes the revision that it takes into `folder.json`, so that no crash makes a revision go back.
//! A restore writes a new generation beside the old one, and one replacement of `folder.json` moves over.
//!
//! Files are not to be edited: each carries a digest, and a folder with a file that does not fit its digest is not
//! opened, which names the file. Damage and a well-meant edit look the same, and taking the one for the other loses
//! data in silence; the way in is `apply`. History lives in memory: a watch cannot resume over a restart.
//!
//! Rejected: a journal beside the files. It makes two truths, and the one that people see would be the lesser.

mod disk;
mod error;
mod file;
mod load;
mod names;
mod state;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use revoada_core::keyspace::{
    Event, EventKind, KeyRange, Keyspace as View, Operation, Outcome, RangeQuery, Revision, Version,
};
use revoada_core::resource::{RESOURCE_PREFIX, ResourceRef, parse_key, stored};
use serde::{Deserialize, Serialize};

use self::disk::{Folder, WriteFailed};
use self::file::ResourceFile;
use self::names::{Place, TEMPORARY};
use self::state::State;
use crate::backend::Check;
use crate::capability::{Capabilities, Capability};
use crate::keyspace::{Consistency, Keyspace, KeyspaceError};
use crate::keyspace_backend::KeyspaceBackend;
use crate::local::{Durability, Local};

pub use error::OpenFolderError;

/// Keeps resources in a folder of this machine, durably.
pub type FolderBackend = KeyspaceBackend<FolderKeyspace>;

/// Where a [`FolderBackend`] keeps its resources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FolderConfig {
    /// The folder: one that is not there yet (its parent is), an empty one, or one that this backend made.
    pub path: PathBuf,
}

impl FolderBackend {
    /// The name used in declarations.
    pub const NAME: &'static str = "folder";

    const CAPABILITIES: Capabilities = Capabilities::of(&Capability::ALL)
        .without(Capability::Transactions)
        .without(Capability::Leases)
        .without(Capability::Replicated);

    /// Opens or creates the folder, reads everything in it, and becomes its only user for as long as this lives.
    /// Blocks while it reads.
    ///
    /// # Errors
    /// [`OpenFolderError`]; the folder is then as it was.
    pub fn open(config: &FolderConfig) -> Result<Self, OpenFolderError> {
        let (files, state) = Files::open(&config.path)?;
        let keyspace = FolderKeyspace {
            local: Arc::new(Local::new(state, files)),
            path: config.path.clone(),
        };
        Ok(Self::on(Self::NAME, Self::CAPABILITIES, Arc::new(keyspace)))
    }
}

/// The keyspace of a folder. It holds resources and nothing else, and changes one at a time.
pub struct FolderKeyspace {
    local: Arc<Local<Files>>,
    path: PathBuf,
}

impl FolderKeyspace {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[async_trait]
impl Keyspace for FolderKeyspace {
    async fn execute(&self, operation: Operation) -> Result<Outcome, KeyspaceError> {
        match operation {
            Operation::Txn(_) | Operation::Restore(_) | Operation::Compact { .. } => {}
            Operation::LeaseGrant { .. }
            | Operation::LeaseRevoke { .. }
            | Operation::LeaseKeepAlive { .. }
            | Operation::LeaseExpire { .. } => return Err(unsupported("keep leases")),
        }
        let local = Arc::clone(&self.local);
        // Files are written where blocking is allowed; once begun it is finished, also when nobody waits any more.
        tokio::task::spawn_blocking(move || local.execute(operation))
            .await
            .unwrap_or_else(|panic| {
                Err(KeyspaceError::OutcomeUnknown {
                    what: "writing to the folder ended early".into(),
                    source: Some(panic.into()),
                })
            })
    }

    async fn view(&self, _: Consistency) -> Result<View, KeyspaceError> {
        Ok(self.local.view())
    }

    fn view_at_hand(&self) -> View {
        self.local.view()
    }

    async fn changed(&self, revision: Revision) -> Option<Revision> {
        self.local.changed(revision).await
    }

    async fn checks(&self) -> Vec<Check> {
        let (ok, detail) = match self.local.with_durability(|files| files.broken.clone()) {
            None => (true, format!("writes go to {}", self.path.display())),
            Some(why) => (
                false,
                format!(
                    "{} takes no writes until it is opened again: {why}",
                    self.path.display()
                ),
            ),
        };
        vec![Check {
            name: "folder".to_owned(),
            ok,
            detail,
        }]
    }
}

fn unsupported(what: &'static str) -> KeyspaceError {
    KeyspaceError::Unsupported {
        keyspace: FolderBackend::NAME.to_owned(),
        what,
    }
}

/// The files, and the right to change them.
#[derive(Debug)]
struct Files {
    root: Folder,
    resources: Folder,
    state: State,
    /// Set once it is unknown what the disk holds: another write could then contradict it.
    broken: Option<String>,
    /// Released when it is closed.
    _lock: File,
}

impl Durability for Files {
    fn commit(&mut self, before: &View, after: &View, operation: &Operation) -> Result<(), KeyspaceError> {
        if let Some(why) = &self.broken {
            let what = format!("the folder takes no writes until it is opened again: {why}");
            return Err(KeyspaceError::Unavailable { what, source: None });
        }
        let done = match operation {
            Operation::Restore(restore) if restore.prefix == RESOURCE_PREFIX => self.replace_all(after),
            Operation::Txn(_) => {
                let events = after.events_after(before.revision(), 2);
                match events.as_deref() {
                    Ok([event]) => self.change(event),
                    _ => return Err(unsupported("change more than one resource at once")),
                }
            }
            _ => return Err(unsupported("keep anything but resources")),
        };
        done.map_err(|failed| self.failed(failed))
    }
}

/// Why a change was not made durable.
enum ChangeFailed {
    NoResource,
    Write(WriteFailed),
}

impl From<WriteFailed> for ChangeFailed {
    fn from(failed: WriteFailed) -> Self {
        Self::Write(failed)
    }
}

/// For steps before the one that counts: what failed there has changed nothing that is read.
fn not_done(error: io::Error) -> ChangeFailed {
    ChangeFailed::Write(WriteFailed::NotDone(error))
}

impl Files {
    fn change(&mut self, event: &Event) -> Result<(), ChangeFailed> {
        let reference = parse_key(&event.key).ok_or(ChangeFailed::NoResource)?;
        let place = Place::of(&reference);
        match &event.kind {
            EventKind::Put { version, .. } => {
                let file = file_of(&reference, version).ok_or(ChangeFailed::NoResource)?;
                let kind = self.resources.folder_or_new(&place.kind).map_err(not_done)?;
                let namespace = kind.folder_or_new(&place.namespace).map_err(not_done)?;
                namespace.replace(&place.file, TEMPORARY, &file.render())?;
            }
            EventKind::Delete { .. } => {
                let state = State {
                    revision: event.revision,
                    ..self.state
                };
                // A failure here that may have happened has at most moved the revision, which nobody was told.
                state
                    .write(&self.root)
                    .map_err(|(WriteFailed::NotDone(error) | WriteFailed::Unknown(error))| not_done(error))?;
                self.state = state;
                let kind = self.resources.folder(&place.kind).map_err(not_done)?;
                kind.folder(&place.namespace).map_err(not_done)?.remove(&place.file)?;
            }
        }
        Ok(())
    }

    /// Writes all resources of `after` as a new generation, and moves over to it.
    fn replace_all(&mut self, after: &View) -> Result<(), ChangeFailed> {
        let state = State {
            generation: self.state.generation + 1,
            revision: after.revision(),
            ..self.state
        };
        let name = state.resources();
        let written = self.write_generation(&name, after).and_then(|resources| {
            state.write(&self.root)?;
            Ok(resources)
        });
        match written {
            Ok(resources) => {
                let old = std::mem::replace(&mut self.state, state).resources();
                self.resources = resources;
                if let Err(error) = self.root.remove_folder(&old) {
                    tracing::warn!(%error, folder = old, "the files from before a restore could not be removed yet");
                }
                Ok(())
            }
            Err(failed) => {
                if !matches!(failed, ChangeFailed::Write(WriteFailed::Unknown(_)))
                    && let Err(error) = self.root.remove_folder(&name)
                {
                    tracing::warn!(%error, folder = name, "the files of a failed restore could not be removed yet");
                }
                Err(failed)
            }
        }
    }

    fn write_generation(&self, name: &str, after: &View) -> Result<Folder, ChangeFailed> {
        self.root.remove_folder(name).map_err(not_done)?;
        let resources = self.root.folder_or_new(name).map_err(not_done)?;
        let query = RangeQuery::of(KeyRange::Prefix(Bytes::from_static(RESOURCE_PREFIX)));
        // The newest state of a keyspace can always be read.
        let entries = after
            .range(&query)
            .map_err(|error| not_done(io::Error::other(error)))?
            .entries;
        for entry in &entries {
            let reference = parse_key(&entry.key).ok_or(ChangeFailed::NoResource)?;
            let file = file_of(&reference, &entry.version).ok_or(ChangeFailed::NoResource)?;
            let place = Place::of(&reference);
            let kind = resources.folder_or_new_unsynced(&place.kind).map_err(not_done)?;
            let namespace = kind.folder_or_new_unsynced(&place.namespace).map_err(not_done)?;
            namespace
                .write_unsynced(&place.file, TEMPORARY, &file.render())
                .map_err(not_done)?;
        }
        resources.sync_everything().map_err(not_done)?;
        Ok(resources)
    }

    fn failed(&mut self, failed: ChangeFailed) -> KeyspaceError {
        match failed {
            ChangeFailed::NoResource => unsupported("keep anything but resources"),
            ChangeFailed::Write(WriteFailed::Unknown(error)) => {
                self.broken = Some(error.to_string());
                let what = "the folder could not be made durable".to_owned();
                KeyspaceError::OutcomeUnknown {
                    what,
                    source: Some(error.into()),
                }
            }
            ChangeFailed::Write(WriteFailed::NotDone(error)) => match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => KeyspaceError::Exhausted {
                    what: "the folder is full".to_owned(),
                    source: Some(error.into()),
                },
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => KeyspaceError::Unavailable {
                    what: "the folder is read-only".to_owned(),
                    source: Some(error.into()),
                },
                _ => KeyspaceError::Unavailable {
                    what: "the folder could not be written".to_owned(),
                    source: Some(error.into()),
                },
            },
        }
    }
}

/// The file of a resource; none if the value is not one.
fn file_of(reference: &ResourceRef, version: &Version) -> Option<ResourceFile> {
    let (format, document) = stored::document(&version.value).ok()?;
    Some(ResourceFile {
        format,
        create_revision: version.create_revision,
        revision: version.mod_revision,
        version: version.version,
        namespace: reference.namespace.clone(),
        document,
    })
}
