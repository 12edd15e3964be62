//! What the engine asks of the operating system, and the order in which it has to be asked.
//!
//! A segment's space is taken by `fallocate`, and its bytes are appended by `pwritev2(RWF_DSYNC)`: one system call
//! that returns when they are durable. Where a file system knows neither, a sparse file and `pwrite` + `fdatasync` do
//! the same, slower.
//!
//! Rejected: filling the next segment with zeros, so that no extent has to be converted by the journal. It was
//! measured to stall every node of a machine for 30 to 45 ms, for a gain within the noise.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::faults::{DiskStep, FaultHook, Verdict, error_of};

/// A file of the log with the name that errors call it by.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub path: PathBuf,
    pub file: File,
}

/// The folder, and how it is written.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    faults: Option<Arc<dyn FaultHook>>,
    /// Cleared once when the kernel or the file system refuses `RWF_DSYNC`.
    dsync: AtomicBool,
}

impl Disk {
    pub fn new(folder: &Path, faults: Option<Arc<dyn FaultHook>>) -> Self {
        Self {
            folder: folder.to_owned(),
            faults,
            dsync: AtomicBool::new(cfg!(target_os = "linux")),
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn segment_path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:016x}.log"))
    }

    /// The number in a segment's name; other files are not ours to touch.
    pub fn segment_number(name: &std::ffi::OsStr) -> Option<u64> {
        let digits = name.to_str()?.strip_suffix(".log")?;
        (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
    }

    pub fn open_segment(&self, number: u64) -> io::Result<SegmentFile> {
        let path = self.segment_path(number);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(SegmentFile { path, file })
    }

    /// A new segment of zeros whose name is durable when this returns; left over bytes of an earlier attempt go.
    pub fn create_segment(&self, number: u64, bytes: u64) -> io::Result<SegmentFile> {
        let path = self.segment_path(number);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)?;
        self.allocate(&file, bytes)?;
        self.sync_folder()?;
        Ok(SegmentFile { path, file })
    }

    /// Makes the file at least so long, with its space taken where the file system can do that.
    pub fn allocate(&self, file: &File, bytes: u64) -> io::Result<()> {
        if let Verdict::Fail(number) = self.verdict(DiskStep::Allocate { bytes }) {
            return Err(error_of(number));
        }
        allocate(file, bytes)?;
        file.sync_all()
    }

    pub fn sync_folder(&self) -> io::Result<()> {
        if let Verdict::Fail(number) = self.verdict(DiskStep::SyncFolder) {
            return Err(error_of(number));
        }
        File::open(&self.folder)?.sync_all()
    }

    pub fn remove_segment(&self, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.segment_path(number))
    }

    /// Writes all of `bytes` at `offset`; they are durable when this returns `Ok`, and of unknown fate when it does
    /// not.
    pub fn append(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (mut limit, mut sync_fault) = (bytes.len(), None);
        match self.verdict(DiskStep::Append { bytes: bytes.len() }) {
            Verdict::Proceed => {}
            Verdict::Fail(number) => return Err(error_of(number)),
            Verdict::FailSync(number) => sync_fault = Some(number),
            Verdict::Short(bytes) => limit = bytes.max(1),
        }
        let mut written = 0;
        while written < bytes.len() {
            let end = bytes.len().min(written + limit);
            written += match self.write_durably(file, &bytes[written..end], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            limit = bytes.len();
        }
        sync_fault.map_or(Ok(()), |number| Err(error_of(number)))
    }

    fn write_durably(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.dsync.load(Ordering::Relaxed) {
            match pwrite_dsync(file, bytes, offset) {
                Err(error) if is_unsupported(&error) => self.dsync.store(false, Ordering::Relaxed),
                result => return result,
            }
        }
        file.write_all_at(bytes, offset)?;
        file.sync_data()?;
        Ok(bytes.len())
    }

    fn verdict(&self, step: DiskStep) -> Verdict {
        self.faults
            .as_ref()
            .map_or(Verdict::Proceed, |faults| faults.before(step))
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
