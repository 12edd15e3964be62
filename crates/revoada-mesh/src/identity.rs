//! A node's key on disk: 32 bytes of seed as hex, in a file that only its owner may read.
//!
//! The file is made once and never replaced: a node that lost it is another node. PEM was considered and not taken,
//! because nothing but this program may ever read the file.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use revoada_attest::NodeKey;

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("cannot {verb} the key file {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read or write the file.
    #[error("the key file {} may be read by others (mode {mode:04o}): chmod 600 it", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not hold a key.
    #[error("{} is not a key file: it must hold 64 hex characters", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Reads the key in `path`, or makes one from `seed()` when the file does not exist.
///
/// The new file is synced before the key is returned, so that a node never speaks under a key that it may forget, and it
/// is there whole or not at all.
/// Mode 0600 from the first byte on.
pub fn load_or_create(path: &Path, seed: impl FnOnce() -> io::Result<[u8; 32]>) -> Result<NodeKey, KeyFileError> {
    let failed = |verb| {
        move |source| KeyFileError::Io {
            verb,
            path: path.to_owned(),
            source,
        }
    };
    match load(path) {
        Err(KeyFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        other => return other,
    }
    let key = NodeKey::from_seed(seed().map_err(failed("draw a seed for"))?);
    let part = path.with_extension("part");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part)
        .map_err(failed("create"))?;
    let text: String = key
        .seed()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .chain(["\n".to_owned()])
        .collect();
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .map_err(failed("create"))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(failed("write"))?;
    // A link, unlike a rename, never takes the place of a key that came to be meanwhile.
    fs::hard_link(&part, path)
        .and_then(|()| fs::remove_file(&part))
        .map_err(failed("put in place"))?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed("sync the folder of"))?;
    }
    Ok(key)
}

/// Reads the key in `path`; refuses a file that others may read.
pub fn load(path: &Path) -> Result<NodeKey, KeyFileError> {
    let failed = |source| KeyFileError::Io {
        verb: "read",
        path: path.to_owned(),
        source,
    };
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let mut text = String::new();
    file.take(128).read_to_string(&mut text).map_err(failed)?;
    let digest: revoada_attest::Digest = text
        .trim_end()
        .parse()
        .map_err(|_| KeyFileError::Malformed { path: path.to_owned() })?;
    Ok(NodeKey::from_seed(*digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        let made = load_or_create(&path, || Ok([7; 32])).unwrap();
        let found = load_or_create(&path, || panic!("a second seed is never drawn")).unwrap();
        assert_eq!(made.id(), found.id());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_file_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        load_or_create(&path, || Ok([7; 32])).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Exposed { mode: 0o640, .. })));
    }

    #[test]
    fn a_file_that_is_no_key_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.key");
        fs::write(&path, "hello").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let refused = load_or_create(&path, || Ok([7; 32]));
        assert!(matches!(refused, Err(KeyFileError::Malformed { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"hello");
    }
}
