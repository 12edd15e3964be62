//! Opening a folder: who may, what it is, and everything that is in it.

use std::io::{self, Read, Seek, Write};
use std::path::Path;

use revoada_core::keyspace::{Entry, Keyspace as View, NO_LEASE, Version};
use revoada_core::limits::DOCUMENT_BYTES_MAX;
use revoada_core::resource::{Resource, key, stored};
use rustix::fs::{FileType, FlockOperation};
use serde::Deserialize;

use super::Files;
use super::disk::{Folder, WriteFailed};
use super::error::OpenFolderError;
use super::file::{LINE_BYTES_MAX, ResourceFile};
use super::names::{Place, SUFFIX, TEMPORARY};
use super::state::{FILE, FILE_TEMPORARY, FORMAT, RESOURCES, State};

/// The file that the one user of a folder holds.
const LOCK: &str = "lock";
/// The longest `folder.json`.
const STATE_BYTES_MAX: usize = 4_096;

impl Files {
    /// Opens or creates the folder at `path` and reads everything in it.
    pub(super) fn open(path: &Path) -> Result<(Self, View), OpenFolderError> {
        let root = open_root(path)?;
        let names = root.names().map_err(failed(path, "read"))?;
        let is_new = !names.iter().any(|(name, _)| name == FILE);
        let known = |name: &str| name == LOCK || name == FILE_TEMPORARY;
        if is_new && names.iter().any(|(name, _)| !known(name)) {
            return Err(OpenFolderError::NotOurs { path: path.to_owned() });
        }
        if !is_new {
            // Before anything is written, the lock included.
            read_state(&root, path)?;
        }
        let lock = take_lock(&root, path)?;
        // Only now nobody else changes it.
        let state = if root
            .names()
            .map_err(failed(path, "read"))?
            .iter()
            .any(|(name, _)| name == FILE)
        {
            read_state(&root, path)?
        } else {
            State::NEW
                .write(&root)
                .map_err(|(WriteFailed::NotDone(error) | WriteFailed::Unknown(error))| {
                    failed(&path.join(FILE), "written")(error)
                })?;
            State::NEW
        };
        let name = state.resources();
        let folder = path.join(&name);
        let resources = match root.folder(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if state != State::NEW {
                    let what = "the folder of its resources is missing".to_owned();
                    return Err(OpenFolderError::Damaged {
                        path: folder,
                        what,
                        source: None,
                    });
                }
                root.folder_or_new(&name).map_err(failed(&folder, "created"))?
            }
            Err(error) => return Err(not_plain_or(&folder, error)),
            Ok(resources) => resources,
        };
        let entries = read_all(&resources, &folder)?;
        let view = View::load(state.revision, entries).map_err(|refused| OpenFolderError::Damaged {
            path: folder,
            what: "its files contradict each other".to_owned(),
            source: Some(refused.into()),
        })?;
        remove_leftovers(&root, path, &name)?;
        Ok((
            Self {
                root,
                resources,
                state,
                broken: None,
                _lock: lock,
            },
            view,
        ))
    }
}

fn failed(path: &Path, did: &'static str) -> impl FnOnce(io::Error) -> OpenFolderError {
    let path = path.to_owned();
    move |source| OpenFolderError::File { path, did, source }
}

/// An open that was refused because of what the name stands for.
fn not_plain_or(path: &Path, error: io::Error) -> OpenFolderError {
    // A symlink answers ELOOP to NOFOLLOW, or ENOTDIR where a folder was wanted.
    match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            OpenFolderError::NotPlain { path: path.to_owned() }
        }
        _ => failed(path, "opened")(error),
    }
}

fn open_root(path: &Path) -> Result<Folder, OpenFolderError> {
    use std::os::unix::fs::DirBuilderExt;

    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(path, "created")(error)),
        _ => {}
    }
    let root = Folder::open(path).map_err(failed(path, "opened"))?;
    let owner = root.owner().map_err(failed(path, "read"))?;
    let user = rustix::process::geteuid().as_raw();
    if owner != user {
        return Err(OpenFolderError::OtherUser {
            path: path.to_owned(),
            owner,
            user,
        });
    }
    Ok(root)
}

/// Becomes the only user. The lock is the kernel's and ends with the process; what stands in the file is for people.
fn take_lock(root: &Folder, path: &Path) -> Result<std::fs::File, OpenFolderError> {
    let lock_path = path.join(LOCK);
    let mut lock = root.lock_file(LOCK).map_err(failed(&lock_path, "opened"))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut owner = String::new();
            // Whoever has it may not have said so yet.
            let read = (&mut lock).take(64).read_to_string(&mut owner);
            let owner = match (read, owner.trim()) {
                (Ok(_), named) if !named.is_empty() => named.to_owned(),
                _ => "another process".to_owned(),
            };
            return Err(OpenFolderError::InUse {
                path: path.to_owned(),
                owner,
            });
        }
        Err(errno) => return Err(failed(&lock_path, "locked")(errno.into())),
    }
    let owner = format!("process {}\n", std::process::id());
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(owner.as_bytes()))
        .map_err(failed(&lock_path, "written"))?;
    Ok(lock)
}

fn read_state(root: &Folder, path: &Path) -> Result<State, OpenFolderError> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }

    let file = path.join(FILE);
    let bytes = root
        .read(FILE, STATE_BYTES_MAX)
        .map_err(|error| not_plain_or(&file, error))?;
    let damaged = |source: serde_json::Error| OpenFolderError::Damaged {
        path: file.clone(),
        what: "it does not say what the folder is".to_owned(),
        source: Some(source.into()),
    };
    // The format is read by itself: a newer one may say more.
    let Format { format } = serde_json::from_slice(&bytes).map_err(damaged)?;
    if format > FORMAT {
        return Err(OpenFolderError::NewerFormat {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    let state: State = serde_json::from_slice(&bytes).map_err(damaged)?;
    if state.format == 0 || state.generation == 0 {
        let what = "there is no format or generation 0".to_owned();
        return Err(OpenFolderError::Damaged {
            path: file,
            what,
            source: None,
        });
    }
    Ok(state)
}

fn read_all(resources: &Folder, path: &Path) -> Result<Vec<Entry>, OpenFolderError> {
    let mut entries = Vec::new();
    for (kind, folder) in folders(resources, path)? {
        let path = path.join(&kind);
        for (namespace, folder) in folders(&folder, &path)? {
            let path = path.join(&namespace);
            for (file, what) in folder.names().map_err(failed(&path, "read"))? {
                let path = path.join(&file);
                if file == TEMPORARY {
                    folder.unlink(&file).map_err(failed(&path, "removed"))?;
                    continue;
                }
                if !file.ends_with(SUFFIX) {
                    tracing::warn!(file = %path.display(), "this is no file of a resource, and is left alone");
                    continue;
                }
                if what != FileType::RegularFile {
                    return Err(OpenFolderError::NotPlain { path });
                }
                let place = Place {
                    kind: kind.clone(),
                    namespace: namespace.clone(),
                    file,
                };
                entries.push(read_one(&folder, &place, &path)?);
            }
        }
    }
    Ok(entries)
}

/// The folders in a folder; anything else that is there is not ours and not plain.
fn folders(folder: &Folder, path: &Path) -> Result<Vec<(String, Folder)>, OpenFolderError> {
    let mut folders = Vec::new();
    for (name, what) in folder.names().map_err(failed(path, "read"))? {
        let inner = path.join(&name);
        match what {
            FileType::Directory => {
                folders.push((
                    name.clone(),
                    folder.folder(&name).map_err(|error| not_plain_or(&inner, error))?,
                ));
            }
            FileType::RegularFile => {
                tracing::warn!(file = %inner.display(), "this is no folder of resources, and is left alone");
            }
            _ => return Err(OpenFolderError::NotPlain { path: inner }),
        }
    }
    Ok(folders)
}

fn read_one(folder: &Folder, place: &Place, path: &Path) -> Result<Entry, OpenFolderError> {
    let damaged = |what: &str, source| OpenFolderError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
        source,
    };
    let bytes = folder
        .read(&place.file, DOCUMENT_BYTES_MAX + LINE_BYTES_MAX)
        .map_err(|error| not_plain_or(path, error))?;
    let file = ResourceFile::parse(&bytes).map_err(|what| damaged(&what, None))?;
    let resource = Resource::parse(file.document, file.format)
        .and_then(|resource| resource.with_default_namespace(&file.namespace))
        .map_err(|error| damaged("its document cannot be read", Some(error.into())))?;
    if Place::of(&resource.reference) != *place {
        return Err(damaged(
            &format!("it holds {}, whose place is elsewhere", resource.reference),
            None,
        ));
    }
    let version = Version {
        create_revision: file.create_revision,
        mod_revision: file.revision,
        version: file.version,
        lease: NO_LEASE,
        value: stored::encode(&resource),
    };
    Ok(Entry {
        key: key(&resource.reference),
        version,
    })
}

/// Removes what an interrupted restore left behind.
fn remove_leftovers(root: &Folder, path: &Path, counts: &str) -> Result<(), OpenFolderError> {
    for (name, what) in root.names().map_err(failed(path, "read"))? {
        let is_generation = name
            .strip_prefix(RESOURCES)
            .is_some_and(|number| number.parse::<u64>().is_ok());
        if is_generation && name != counts && what == FileType::Directory {
            root.remove_folder(&name)
                .map_err(failed(&path.join(&name), "removed"))?;
        }
    }
    Ok(())
}
