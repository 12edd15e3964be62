//! The few things that a folder does to a disk, each so that a crash at any point leaves the old or the new.
//!
//! Everything goes through open folders and single names (`openat` and its kin, never following a symlink), so nobody
//! can turn a path into another while it is used. Rejected: paths and a check before the use.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const FOLDER_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open folder.
#[derive(Debug)]
pub(super) struct Folder(OwnedFd);

/// Whether what failed may have happened.
#[derive(Debug)]
pub(super) enum WriteFailed {
    /// Nothing has changed.
    NotDone(io::Error),
    /// It was done, and may or may not be durable.
    Unknown(io::Error),
}

impl Folder {
    /// Opens a folder by its path, which may lead through symlinks: it is the operator's.
    pub(super) fn open(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(
            path,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Opens a folder in this one.
    pub(super) fn folder(&self, name: &str) -> io::Result<Self> {
        Ok(Self(rustix::fs::openat(&self.0, name, FOLDER, Mode::empty())?))
    }

    /// Opens a folder in this one, which is created durably if it is not there.
    pub(super) fn folder_or_new(&self, name: &str) -> io::Result<Self> {
        match self.folder(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let folder = self.folder_or_new_unsynced(name)?;
                self.sync()?;
                Ok(folder)
            }
            opened => opened,
        }
    }

    /// The same, not durably: for what is synced as a whole later.
    pub(super) fn folder_or_new_unsynced(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, FOLDER_MODE) {
            Ok(()) | Err(Errno::EXIST) => self.folder(name),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The user that it belongs to.
    pub(super) fn owner(&self) -> io::Result<u32> {
        Ok(rustix::fs::fstat(&self.0)?.st_uid)
    }

    /// The names in it and what they are, in order.
    pub(super) fn names(&self) -> io::Result<Vec<(String, FileType)>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.0, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                known => known,
            };
            names.push((name, kind));
        }
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(names)
    }

    /// Reads a regular file of at most `bytes_max` bytes. A longer one is an error.
    pub(super) fn read(&self, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
        // Without NONBLOCK the open of a pipe that somebody put there would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(file).take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > bytes_max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {bytes_max} bytes"),
            ));
        }
        Ok(bytes)
    }

    /// Replaces a file by these bytes, durably: it is the old one or the new one, never a part.
    pub(super) fn replace(&self, name: &str, temporary: &str, bytes: &[u8]) -> Result<(), WriteFailed> {
        self.put(name, temporary, bytes, true).map_err(|error| {
            // What was written of the new file is of no use; if it cannot be removed, the next writer does.
            let _ = self.unlink(temporary);
            WriteFailed::NotDone(error)
        })?;
        self.sync().map_err(WriteFailed::Unknown)
    }

    /// Writes a new file, not durably: for what is synced as a whole later.
    pub(super) fn write_unsynced(&self, name: &str, temporary: &str, bytes: &[u8]) -> io::Result<()> {
        self.put(name, temporary, bytes, false)
    }

    fn put(&self, name: &str, temporary: &str, bytes: &[u8], durable: bool) -> io::Result<()> {
        self.unlink(temporary)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(&self.0, temporary, flags, FILE_MODE)?);
        file.write_all(bytes)?;
        if durable {
            file.sync_all()?;
        }
        Ok(rustix::fs::renameat(&self.0, temporary, &self.0, name)?)
    }

    /// Removes a file durably.
    pub(super) fn remove(&self, name: &str) -> Result<(), WriteFailed> {
        self.unlink(name).map_err(WriteFailed::NotDone)?;
        self.sync().map_err(WriteFailed::Unknown)
    }

    /// Removes a file if it is there.
    pub(super) fn unlink(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes a folder and everything in it, never going through a symlink.
    pub(super) fn remove_folder(&self, name: &str) -> io::Result<()> {
        let folder = match self.folder(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        for (inner, kind) in folder.names()? {
            match kind {
                FileType::Directory => folder.remove_folder(&inner)?,
                _ => folder.unlink(&inner)?,
            }
        }
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.0)?)
    }

    /// Makes everything on its file system durable: one wait for many files.
    pub(super) fn sync_everything(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0)?)
    }

    /// Opens the file that a process holds while it uses the folder.
    pub(super) fn lock_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(File::from(rustix::fs::openat(&self.0, name, flags, FILE_MODE)?))
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
