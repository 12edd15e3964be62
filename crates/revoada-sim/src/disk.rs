//! The disks of simulated machines: what was synced is there after a crash, and of the rest whatever chance leaves.
//!
//! Bytes and names are durable apart from each other, as on a real file system: a file that was synced under a name that
//! was not is gone. A torn write leaves a beginning of itself, in sectors. A process that was killed leaves everything
//! that it had written; a machine that lost its power does not.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::executor::SimRuntime;
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use revoada_mesh::files::{Files, OpenFile};
use revoada_mesh::log::{DrivenLog, LogDriver};
use revoada_mesh::runtime::Runtime;

use crate::entropy::Chance;
use crate::runtime::Sim;

/// The unit in which a torn write tears, in bytes.
const SECTOR_BYTES: usize = 512;
/// How long nothing has to be written before the log leaves its mark (the log's own is the same).
const REST: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Stored {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// What differs, in bytes, half-open.
    dirty: Vec<(usize, usize)>,
}

impl Stored {
    fn sync(&mut self) {
        self.durable.resize(self.current.len(), 0);
        for (start, end) in self.dirty.drain(..) {
            let end = end.min(self.current.len());
            if start < end {
                self.durable[start..end].copy_from_slice(&self.current[start..end]);
            }
        }
    }

    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.current.len() < end {
            self.current.resize(end, 0);
        }
        self.current[offset..end].copy_from_slice(bytes);
        self.dirty.push((offset, end));
    }

    /// What is left after the power went: of what was not synced any sectors.
    fn lose(&mut self, chance: &mut Chance) {
        let mut left = self.durable.clone();
        for (start, end) in std::mem::take(&mut self.dirty) {
            let mut at = start;
            while at < end {
                let next = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                if chance.permille(300) && next <= self.current.len() {
                    if left.len() < next {
                        left.resize(next, 0);
                    }
                    left[at..next].copy_from_slice(&self.current[at..next]);
                }
                at = next;
            }
        }
        self.current.clone_from(&left);
        self.durable = left;
    }
}

type File = Arc<Mutex<Stored>>;

#[derive(Debug, Default)]
struct Content {
    names: BTreeMap<PathBuf, File>,
    durable_names: BTreeMap<PathBuf, File>,
    folders: BTreeSet<PathBuf>,
    /// Which process may use it; handles of earlier ones fail.
    epoch: u64,
    ills: Ills,
    /// The log that is open on it, to be torn in the middle of a write.
    log: Option<DrivenLog>,
    tearing: bool,
    bytes_written: u64,
    syncs: u64,
}

/// What a disk suffers from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ills {
    /// Nothing can be written.
    pub is_full: bool,
    /// Syncs report an error, and it is unknown what they did.
    pub syncs_fail: bool,
    /// How long a durable write takes, in microseconds, on top of the usual.
    pub slow_us: u64,
}

/// A disk. Clones are the same.
#[derive(Debug, Clone)]
pub struct Disk {
    content: Arc<Mutex<Content>>,
    chance: Arc<Mutex<Chance>>,
    /// How long a durable write takes at least, in microseconds: a good disk or a bad one.
    usual_us: u64,
}

/// A disk as it once was.
pub struct Image {
    names: BTreeMap<PathBuf, Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

impl Disk {
    /// An empty disk.
    pub fn new(mut chance: Chance) -> Self {
        let usual_us = *chance.pick(&[80, 80, 80, 800, 4_000]);
        Self {
            content: Arc::default(),
            chance: Arc::new(Mutex::new(chance)),
            usual_us,
        }
    }

    /// Gives the disk to a new process; from here on the one before it reads and writes nothing.
    pub fn mount(&self) -> Arc<SimFiles> {
        let mut content = self.content.lock();
        content.epoch += 1;
        Arc::new(SimFiles {
            disk: self.clone(),
            epoch: content.epoch,
        })
    }

    /// Takes the disk from the process that has it.
    pub fn detach(&self) {
        let mut content = self.content.lock();
        content.epoch += 1;
        let log = content.log.take();
        drop(content);
        drop(log);
    }

    /// The power goes, perhaps in the middle of a write.
    pub fn lose_power(&self) {
        let log = self.content.lock().log.take();
        if let Some(log) = log
            && self.chance.lock().permille(700)
        {
            self.content.lock().tearing = true;
            log.step();
            self.content.lock().tearing = false;
        }
        let mut content = self.content.lock();
        let mut chance = self.chance.lock();
        content.epoch += 1;
        // Names that were never synced: some are there all the same.
        let mut names = content.durable_names.clone();
        for (path, file) in &content.names {
            if !names.contains_key(path) && chance.permille(500) {
                names.insert(path.clone(), file.clone());
            }
        }
        for file in names.values() {
            file.lock().lose(&mut chance);
        }
        content.durable_names.clone_from(&names);
        content.names = names;
    }

    /// What it suffers from, from here on.
    pub fn suffer(&self, ills: Ills) {
        self.content.lock().ills = ills;
    }

    /// What it suffers from.
    pub fn ills(&self) -> Ills {
        self.content.lock().ills
    }

    /// Everything on it, as it is now.
    pub fn image(&self) -> Image {
        let content = self.content.lock();
        Image {
            names: content
                .names
                .iter()
                .map(|(path, file)| (path.clone(), file.lock().current.clone()))
                .collect(),
            folders: content.folders.clone(),
        }
    }

    /// Puts an image in the place of everything.
    pub fn restore(&self, image: &Image) {
        let mut content = self.content.lock();
        let files: BTreeMap<PathBuf, File> = image
            .names
            .iter()
            .map(|(path, bytes)| {
                let stored = Stored {
                    current: bytes.clone(),
                    durable: bytes.clone(),
                    dirty: Vec::new(),
                };
                (path.clone(), Arc::new(Mutex::new(stored)))
            })
            .collect();
        content.names.clone_from(&files);
        content.durable_names = files;
        content.folders.clone_from(&image.folders);
    }

    /// Removes everything.
    pub fn wipe(&self) {
        self.restore(&Image {
            names: BTreeMap::new(),
            folders: BTreeSet::new(),
        });
    }

    /// Flips one bit in the older half of what was written to a file whose name has `part` in it; the newest record cannot
    /// be told from one that was torn (see the log's recovery). The path, if there was one to flip.
    pub fn rot(&self, part: &str) -> Option<PathBuf> {
        let content = self.content.lock();
        let mut chance = self.chance.lock();
        let candidates: Vec<_> = content
            .names
            .iter()
            .filter(|(path, file)| path.to_string_lossy().contains(part) && !file.lock().current.is_empty())
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let (path, file) = chance.pick(&candidates);
        let mut stored = file.lock();
        let used = stored.current.iter().rposition(|byte| *byte != 0)?;
        let (at, bit) = (chance.below(used as u64 / 2 + 1) as usize, chance.below(8));
        stored.current[at] ^= 1 << bit;
        stored.durable = stored.current.clone();
        Some((*path).clone())
    }

    /// How many durable writes it has seen.
    pub fn syncs(&self) -> u64 {
        self.content.lock().syncs
    }

    fn latency(&self) -> Duration {
        let slow = self.content.lock().ills.slow_us;
        Duration::from_micros(self.chance.lock().between(self.usual_us, self.usual_us * 4) + slow)
    }
}

/// A disk as one process has it.
#[derive(Debug, Clone)]
pub struct SimFiles {
    disk: Disk,
    epoch: u64,
}

fn gone() -> io::Error {
    io::Error::other("the process is dead")
}

fn full() -> io::Error {
    io::ErrorKind::StorageFull.into()
}

impl SimFiles {
    fn content(&self) -> io::Result<parking_lot::MutexGuard<'_, Content>> {
        let content = self.disk.content.lock();
        if content.epoch == self.epoch {
            Ok(content)
        } else {
            Err(gone())
        }
    }
}

impl Files for SimFiles {
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        self.content()?.folders.insert(folder.to_owned());
        Ok(())
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let content = self.content()?;
        if !content.folders.contains(folder) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let within = content.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(within.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn open(&self, path: &Path, _: bool) -> io::Result<Box<dyn OpenFile>> {
        let file = self.content()?.names.get(path).cloned();
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SimFile {
            files: self.clone(),
            file,
        }))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn OpenFile>> {
        let mut content = self.content()?;
        if content.ills.is_full {
            return Err(full());
        }
        let file: File = Arc::default();
        content.names.insert(path.to_owned(), file.clone());
        Ok(Box::new(SimFile {
            files: self.clone(),
            file,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut content = self.content()?;
        let file = content.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        content.names.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.content()?.names.remove(path);
        removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut content = self.content()?;
        if content.ills.syncs_fail {
            return Err(io::Error::other("the sync failed"));
        }
        content.durable_names.retain(|path, _| path.parent() != Some(folder));
        let durable: Vec<_> = content
            .names
            .iter()
            .filter(|(path, _)| path.parent() == Some(folder))
            .map(|(path, file)| (path.clone(), file.clone()))
            .collect();
        content.durable_names.extend(durable);
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct SimFile {
    files: SimFiles,
    file: File,
}

impl OpenFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        drop(self.files.content()?);
        let stored = self.file.lock();
        let start = (offset as usize).min(stored.current.len());
        let count = buffer.len().min(stored.current.len() - start);
        buffer[..count].copy_from_slice(&stored.current[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.files.content()?;
        let mut stored = self.file.lock();
        // What has its space already can be written over on a full disk.
        if content.ills.is_full && offset as usize + bytes.len() > stored.current.len() {
            return Err(full());
        }
        content.bytes_written += bytes.len() as u64;
        stored.write(bytes, offset as usize);
        Ok(())
    }

    fn write_durably(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let tearing = self.files.content()?.tearing;
        if tearing {
            let sectors = bytes.len() / SECTOR_BYTES + 1;
            let kept =
                (self.files.disk.chance.lock().below(sectors as u64 + 1) as usize * SECTOR_BYTES).min(bytes.len());
            let mut stored = self.file.lock();
            stored.write(&bytes[..kept], offset as usize);
            stored.sync();
            return Err(gone());
        }
        self.write_at(bytes, offset)?;
        let mut content = self.files.content()?;
        content.syncs += 1;
        if content.ills.syncs_fail {
            return Err(io::Error::other("the sync failed"));
        }
        self.file.lock().sync();
        Ok(bytes.len())
    }

    fn len(&self) -> io::Result<u64> {
        drop(self.files.content()?);
        Ok(self.file.lock().current.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        drop(self.files.content()?);
        let mut stored = self.file.lock();
        let before = stored.current.len();
        stored.current.resize(bytes as usize, 0);
        let after = stored.current.len();
        stored.dirty.push((before.min(after), after));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        if self.files.content()?.ills.is_full {
            return Err(full());
        }
        if self.len()? < bytes {
            self.set_len(bytes)?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.files.content()?.ills.syncs_fail {
            return Err(io::Error::other("the sync failed"));
        }
        self.file.lock().sync();
        Ok(())
    }

    /// Nobody else runs while a task of the simulation does.
    fn rest(&self, _: Range<u64>, _: Duration) {}
}

/// Writes the log of a simulated node: each batch takes as long as the disk does.
#[derive(Debug)]
pub struct SimLogDriver(pub Disk);

impl LogDriver for SimLogDriver {
    fn drive(&self, log: DrivenLog) {
        let disk = self.0.clone();
        disk.content.lock().log = Some(log.clone());
        Sim::detach(async move {
            loop {
                match SimRuntime::timeout(REST, log.has_work()).await {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(_) => {
                        log.rest();
                        if !log.has_work().await {
                            return;
                        }
                    }
                }
                SimRuntime::sleep(disk.latency()).await;
                if !log.step() {
                    return;
                }
            }
        });
    }
}
