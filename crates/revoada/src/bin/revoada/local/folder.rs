//! Where the parts of a cluster are in its folder.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use crate::failure::CliError;

/// The longest path of a Unix socket, in bytes: `sun_path` without its NUL (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// The folder of a cluster, by its absolute path.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder `dir`, which need not exist.
    pub fn new(dir: &Path) -> Result<Self, CliError> {
        let found = match fs::canonicalize(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::path::absolute(dir),
            found => found,
        };
        let root = found.map_err(|error| CliError::file(format!("cannot use the folder {}", dir.display()), &error))?;
        Ok(Self { root })
    }

    /// Its absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What `up` decided.
    pub fn record(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// The genesis.
    pub fn genesis(&self) -> PathBuf {
        self.root.join("genesis.json")
    }

    /// The operator's token.
    pub fn token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// The lock of a running `up`.
    pub fn lock(&self) -> PathBuf {
        self.root.join("up.lock")
    }

    /// What an `up` makes before it is whole.
    pub fn forming(&self) -> PathBuf {
        self.root.join(".forming")
    }

    /// The nodes' folders.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// The folder of one node.
    pub fn node(&self, name: &str) -> PathBuf {
        self.nodes().join(name)
    }

    /// A node's config.
    pub fn config(&self, name: &str) -> PathBuf {
        self.node(name).join("config.yaml")
    }

    /// What a node says.
    pub fn log(&self, name: &str) -> PathBuf {
        self.node(name).join("node.log")
    }

    /// The pid of a process that `up` or `start` began, written down before the node does it itself.
    pub fn spawned(&self, name: &str) -> PathBuf {
        self.node(name).join("spawned.pid")
    }

    /// The pid of a node that runs. It is the node's lock, and never replaced by anyone else.
    pub fn pid(&self, name: &str) -> PathBuf {
        self.node(name).join("node.pid")
    }

    /// A node's control socket: in its folder, or where the system's limit on such paths allows it.
    pub fn control(&self, name: &str) -> PathBuf {
        let path = self.node(name).join("control.sock");
        if path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return path;
        }
        self.short_sockets().join(format!("{name}.sock"))
    }

    /// Whether a node's control socket is in its own folder.
    pub fn control_is_at_home(&self, name: &str) -> bool {
        self.control(name).starts_with(&self.root)
    }

    /// The folder of sockets whose own place has too long a path.
    fn short_sockets(&self) -> PathBuf {
        let digest = blake3::hash(self.root.as_os_str().as_bytes()).to_hex();
        own_short_folder().join(&digest.as_str()[..16])
    }

    /// Makes the folders that control sockets need beside the nodes' own.
    pub fn prepare_sockets(&self, name: &str) -> Result<(), CliError> {
        if self.control_is_at_home(name) {
            return Ok(());
        }
        for folder in [own_short_folder(), self.short_sockets()] {
            private_folder(&folder).map_err(|error| {
                CliError::file(format!("cannot use {} for control sockets", folder.display()), &error)
            })?;
        }
        Ok(())
    }

    /// Takes away what [`Self::prepare_sockets`] made for this cluster.
    pub fn remove_sockets(&self) {
        // What is left is an empty folder below /tmp, which the system clears.
        let _ = fs::remove_dir_all(self.short_sockets());
    }
}

fn own_short_folder() -> PathBuf {
    PathBuf::from(format!("/tmp/revoada-{}", rustix::process::geteuid().as_raw()))
}

/// Makes a folder that only this user may enter, or makes sure that the one that is there is such a folder: anyone can
/// make one below /tmp first.
fn private_folder(path: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(path)?;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if !found.is_dir() || !own || found.mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is there and not a folder that only this user may enter",
        ));
    }
    Ok(())
}

/// Writes a file so that it is whole, the old one, or absent, whenever the machine stops; readable by its owner only.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new().prefix(".revoada-").tempfile_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_folder(folder)
}

/// The folder that `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes renames in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_whose_path_is_too_long_moves_to_a_short_place() {
        let near = Folder::new(Path::new("/nowhere/c")).unwrap();
        assert_eq!(
            near.control("node-1"),
            Path::new("/nowhere/c/nodes/node-1/control.sock")
        );
        let far = Folder::new(&Path::new("/nowhere").join("x".repeat(100))).unwrap();
        let path = far.control("node-1");
        assert!(path.as_os_str().len() <= SOCKET_PATH_BYTES_MAX, "{}", path.display());
        assert!(path.starts_with("/tmp") && !far.control_is_at_home("node-1"));
        assert_ne!(path, far.control("node-2"));
    }

    #[test]
    fn a_folder_that_others_may_enter_holds_no_sockets() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("sockets");
        private_folder(&path).unwrap();
        private_folder(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(
            private_folder(&path).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
