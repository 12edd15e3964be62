//! The files of a node, as a port: what log, checkpoints and positions ask of the file system.
//!
//! A name is durable when its folder was synced, bytes when their file was, and neither before: that is all that the
//! callers rely on, and what the simulation's disk takes from them in a crash. [`SystemFiles`] is the operating system's.
//! Rejected: the simulation on real files with faults in front. A real file system keeps what was never synced, so the
//! order of writes and syncs would not be tested at all.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// See the module. All of it blocks.
pub trait Files: Send + Sync + Debug {
    /// Makes a folder and those above it, where they are not there.
    fn make_folder(&self, folder: &Path) -> io::Result<()>;

    /// The names in a folder, in any order.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Opens a file that is there to be read, and if `writable` to be written.
    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn OpenFile>>;

    /// Makes a file of no bytes to be read and written; what was there goes.
    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>>;

    /// Gives a file another name in its folder, at once or not at all; what had that name goes.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Whoever has it open goes on reading it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Whether the folder has to be locked against other processes.
    fn is_shared(&self) -> bool;
}

/// A file that was opened. It is closed with the last reference.
#[expect(clippy::len_without_is_empty, reason = "a file's length is no collection's")]
pub trait OpenFile: Send + Sync + Debug {
    /// Reads some bytes at `offset`; none at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`; durable after [`OpenFile::sync`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes some of `bytes` at `offset`, which are durable when it returns, and of unknown fate if it fails.
    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;

    /// Its length, in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Cuts it, or lengthens it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes it at least so long, with its space taken where the file system can do that.
    fn allocate(&self, bytes: u64) -> io::Result<()>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;

    /// Begins to write `done` to the disk, where the file system can be told to, and leaves disk and processor to others
    /// for the time of `pause`, where there are others.
    fn rest(&self, done: Range<u64>, pause: Duration);
}

/// Fills `buffer` from `offset` on, or fails with `UnexpectedEof`.
pub fn read_exact_at(file: &dyn OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let wanted = buffer.len();
    if read_up_to(file, buffer, offset)? < wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Fills as much of `buffer` as the file has from `offset` on.
pub fn read_up_to(file: &dyn OpenFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read_at(&mut buffer[count..], offset + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// All of a small file.
pub fn read_whole(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Sequential::new(files.open(path, false)?).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Puts a small file in the place of another one, or of none. Not synced.
pub fn replace(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    files.create(&part)?.write_at(bytes, 0)?;
    files.rename(&part, path)
}

/// The same, and durable when it returns.
pub fn replace_durably(files: &dyn Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = path.with_extension("part");
    let file = files.create(&part)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    files.rename(&part, path)?;
    match path.parent() {
        Some(folder) => files.sync_folder(folder),
        None => Ok(()),
    }
}

/// A file read, or written, from its beginning to its end.
#[derive(Debug)]
pub struct Sequential {
    file: Box<dyn OpenFile>,
    offset: u64,
}

impl Sequential {
    /// From the beginning.
    pub fn new(file: Box<dyn OpenFile>) -> Self {
        Self { file, offset: 0 }
    }

    /// The file.
    pub fn file(&self) -> &dyn OpenFile {
        &*self.file
    }
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

impl Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The operating system's files.
#[derive(Debug, Clone)]
pub struct SystemFiles {
    /// Cleared once when the kernel or the file system refuses `RWF_DSYNC`.
    dsync: Arc<AtomicBool>,
}

impl Default for SystemFiles {
    fn default() -> Self {
        Self {
            dsync: Arc::new(AtomicBool::new(cfg!(target_os = "linux"))),
        }
    }
}

impl SystemFiles {
    fn opened(&self, file: File) -> Box<dyn OpenFile> {
        Box::new(SystemFile {
            file,
            dsync: self.dsync.clone(),
        })
    }
}

impl Files for SystemFiles {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir_all(folder)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn open(&self, path: &Path, writable: bool) -> io::Result<Box<dyn OpenFile>> {
        Ok(self.opened(OpenOptions::new().read(true).write(writable).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(self.opened(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct SystemFile {
    file: File,
    dsync: Arc<AtomicBool>,
}

impl OpenFile for SystemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.dsync.load(Ordering::Relaxed) {
            match pwrite_dsync(&self.file, bytes, offset) {
                Err(error) if is_unsupported(&error) => self.dsync.store(false, Ordering::Relaxed),
                result => return result,
            }
        }
        self.file.write_all_at(bytes, offset)?;
        self.file.sync_data()?;
        Ok(bytes.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        allocate(&self.file, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn rest(&self, done: Range<u64>, pause: Duration) {
        // Not to be read again soon: the kernel begins to write such pages. It is advice, and a refusal costs nothing.
        let bytes = NonZeroU64::new(done.end - done.start);
        let _ = rustix::fs::fadvise(&self.file, done.start, bytes, rustix::fs::Advice::DontNeed);
        std::thread::sleep(pause);
    }
}

#[cfg(target_os = "linux")]
fn pwrite_dsync(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    let slices = [io::IoSlice::new(bytes)];
    Ok(rustix::io::pwritev2(
        file,
        &slices,
        offset,
        rustix::io::ReadWriteFlags::DSYNC,
    )?)
}

#[cfg(not(target_os = "linux"))]
fn pwrite_dsync(_: &File, _: &[u8], _: u64) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(errno) if is_unsupported(&errno.into()) => extend(file, bytes),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    extend(file, bytes)
}

/// A sparse file of the same length: appends then change no length, which is half of what `fallocate` is for.
fn extend(file: &File, bytes: u64) -> io::Result<()> {
    if file.metadata()?.len() < bytes {
        file.set_len(bytes)
    } else {
        Ok(())
    }
}

/// `EINVAL` is among them: that is how some file systems answer to flags that they do not know. A write that is
/// invalid for another reason is so again without the flag.
fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
        || error.raw_os_error() == Some(rustix::io::Errno::NOSYS.raw_os_error())
}
