//! What the engine asks of the operating system, and the order in which it has to be asked.
//!
//! A segment's space is taken by `fallocate`, and its bytes are appended by `pwritev2(RWF_DSYNC)`: one system call
//! that returns when they are durable. Where a file system knows neither, a sparse file and `pwrite` + `fdatasync` do
//! the same, slower.
//!
//! Rejected: filling the next segment with zeros, so that no extent has to be converted by the journal. It was
//! measured to stall every node of a machine for 30 to 45 ms, for a gain within the noise.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::faults::{DiskStep, FaultHook, Verdict, error_of};
use crate::files::{Files, OpenFile};

/// A file of the log with the name that errors call it by.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub path: PathBuf,
    pub file: Box<dyn OpenFile>,
}

/// The folder, and how it is written.
#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
    files: Arc<dyn Files>,
    faults: Option<Arc<dyn FaultHook>>,
}

impl Disk {
    pub fn new(folder: &Path, files: Arc<dyn Files>, faults: Option<Arc<dyn FaultHook>>) -> Self {
        Self {
            folder: folder.to_owned(),
            files,
            faults,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn names(&self) -> io::Result<Vec<OsString>> {
        self.files.names(&self.folder)
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
        let file = self.files.open(&path, true)?;
        Ok(SegmentFile { path, file })
    }

    /// A new segment of zeros whose name is durable when this returns; left over bytes of an earlier attempt go.
    pub fn create_segment(&self, number: u64, bytes: u64) -> io::Result<SegmentFile> {
        let path = self.segment_path(number);
        let file = self.files.create(&path)?;
        if let Err(error) = self.allocate(&*file, bytes) {
            // A file system gives what it has before it says that there is no more: that is for others to use now.
            // A name that stays is no harm, nothing was written behind it.
            drop(self.files.remove(&path));
            return Err(error);
        }
        self.sync_folder()?;
        Ok(SegmentFile { path, file })
    }

    /// Makes the file at least so long, with its space taken where the file system can do that.
    pub fn allocate(&self, file: &dyn OpenFile, bytes: u64) -> io::Result<()> {
        if let Verdict::Fail(number) = self.verdict(DiskStep::Allocate { bytes }) {
            return Err(error_of(number));
        }
        file.allocate(bytes)?;
        file.sync()
    }

    pub fn sync_folder(&self) -> io::Result<()> {
        if let Verdict::Fail(number) = self.verdict(DiskStep::SyncFolder) {
            return Err(error_of(number));
        }
        self.files.sync_folder(&self.folder)
    }

    pub fn remove_segment(&self, number: u64) -> io::Result<()> {
        self.files.remove(&self.segment_path(number))
    }

    /// Writes all of `bytes` at `offset`; they are durable when this returns `Ok`, and of unknown fate when it does
    /// not.
    pub fn append(&self, file: &dyn OpenFile, bytes: &[u8], offset: u64) -> io::Result<()> {
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
            written += match file.write_durably(&bytes[written..end], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => return Err(error),
            };
            limit = bytes.len();
        }
        sync_fault.map_or(Ok(()), |number| Err(error_of(number)))
    }

    fn verdict(&self, step: DiskStep) -> Verdict {
        self.faults
            .as_ref()
            .map_or(Verdict::Proceed, |faults| faults.before(step))
    }
}
