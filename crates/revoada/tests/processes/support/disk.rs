//! A disk of a node's own, which the kernel can make full, slow, or stand still.
//!
//! It is mounted in a namespace that a process of its own holds, so that nothing of it is left when the test is killed.
//! Rejected: faults scripted in the program. What the kernel says of a full disk, and when, nobody would have thought of.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use rustix::fs::{FallocateFlags, fallocate, major, minor, statvfs};

use super::tools::missing;
use super::{NodeProcess, TestCluster};

/// Writes to a slow disk in a second, of whatever size: a sync is some of them.
pub const SLOW_WRITES_PER_SECOND: u32 = 20;
const BLOCKS_BYTES: [usize; 2] = [4096, 1024];

/// See the module. Gone when it is dropped.
pub struct OwnDisk {
    folder: PathBuf,
    holder: Child,
    /// Closed to let the holder end.
    lives: Option<ChildStdin>,
    /// The group of processes to whom it is slow.
    slowed: Option<PathBuf>,
}

impl OwnDisk {
    /// What is missing here for one of memory.
    pub fn missing() -> Option<String> {
        let probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/tmp"];
        missing(&["unshare", "nsenter", "mount"], &probe)
    }

    /// What is missing here for one on a device.
    pub fn missing_device() -> Option<String> {
        let script =
            "f=$(mktemp) && truncate -s 4M $f && mkfs.ext4 -q $f && mount -o loop $f /mnt; s=$?; rm -f $f; exit $s";
        Self::missing().or_else(|| missing(&["mkfs.ext4", "fsfreeze"], &["unshare", "-m", "sh", "-c", script]))
    }

    /// What is missing here to make one slow.
    pub fn missing_slowness() -> Option<String> {
        Self::missing_device().or_else(|| {
            let reason = || "it needs the controller blkio of version 1 of cgroups".to_owned();
            groups().is_none().then(reason)
        })
    }

    /// Puts the folder of a node that does not run on `bytes` of memory; its key goes with it.
    pub fn of_memory(cluster: &mut TestCluster, node: usize, bytes: u64) -> Self {
        Self::mount(cluster, node, &format!("mount -t tmpfs -o size={bytes} tmpfs \"$0\""))
    }

    /// The same, on a device that is a file of at most `bytes`, with ext4 on it.
    pub fn of_file(cluster: &mut TestCluster, node: usize, bytes: u64) -> Self {
        let image = cluster.path().join(format!("{}.img", cluster.nodes[node].name()));
        File::create(&image).and_then(|file| file.set_len(bytes)).unwrap();
        let image = image.display();
        // Without blocks that are kept for root, who all of this runs as.
        let script = format!("mkfs.ext4 -q -m 0 '{image}' && mount -o loop '{image}' \"$0\"");
        Self::mount(cluster, node, &script)
    }

    fn mount(cluster: &mut TestCluster, node: usize, mount: &str) -> Self {
        let control = cluster.path().join(format!("{}.sock", cluster.nodes[node].name()));
        let node = &mut cluster.nodes[node];
        let folder = node.config.folder.clone();
        let key = folder.with_extension("key");
        fs::rename(folder.join("node.key"), &key).unwrap();
        // A file system that stands still would keep every process on it from ending, killed or not.
        let script = format!("{mount} && cp -p \"$1\" \"$0/node.key\" && echo ready && cat; fsfreeze -u \"$0\"");
        let mut holder = Command::new("unshare")
            .args(["-m", "sh", "-c", &script])
            .arg(&folder)
            .arg(&key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        assert_eq!(said, "ready\n", "a file system cannot be mounted");
        let enter = ["nsenter", "-m", "-t", &holder.id().to_string()].map(str::to_owned);
        node.launcher.splice(0..0, enter);
        node.config.control = Some(control);
        let lives = holder.stdin.take();
        Self {
            folder,
            holder,
            lives,
            slowed: None,
        }
    }

    pub fn remount(&self, options: &str) {
        let pid = self.holder.id().to_string();
        let options = format!("remount,{options}");
        let done = Command::new("nsenter")
            .args(["-m", "-t", &pid, "mount", "-o", &options])
            .arg(&self.folder)
            .status()
            .unwrap();
        assert!(done.success());
    }

    /// The node's folder, as it is seen from outside.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").unwrap())
    }

    fn filler(&self) -> PathBuf {
        self.seen().join("filler")
    }

    /// Leaves no room on it.
    pub fn fill(&self) {
        let free = statvfs(self.seen()).map(|of| of.f_bavail * of.f_frsize).unwrap();
        let mut filler = File::create(self.filler()).unwrap();
        // The last blocks go one by one: what the file system itself takes is not known before, nor how large they are.
        let most = free.saturating_sub(1 << 20).max(1);
        fallocate(&filler, FallocateFlags::empty(), 0, most).unwrap();
        filler.seek(SeekFrom::Start(most)).unwrap();
        for bytes in BLOCKS_BYTES {
            let full = loop {
                if let Err(error) = filler.write_all(&vec![0; bytes]).and_then(|()| filler.sync_data()) {
                    break error.kind();
                }
            };
            assert_eq!(full, ErrorKind::StorageFull);
        }
    }

    /// Gives the room back.
    pub fn free(&self) {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != ErrorKind::NotFound => panic!("the disk stays full: {error}"),
            _ => {}
        }
    }

    /// Whoever writes to it waits, until it [goes on](Self::thaw).
    pub fn freeze(&self) {
        let done = Command::new("fsfreeze").arg("-f").arg(self.seen()).status().unwrap();
        assert!(done.success(), "the file system does not stand still");
    }

    pub fn thaw(&self) {
        // Whether or not it stands still.
        drop(
            Command::new("fsfreeze")
                .arg("-u")
                .arg(self.seen())
                .stderr(Stdio::null())
                .status(),
        );
    }

    /// Lets a node that runs on it write a few times in a second, and no more.
    pub fn slow(&mut self, node: &NodeProcess) {
        let group = groups()
            .expect("slowness was asked for")
            .join(format!("revoada-test-{}", self.holder.id()));
        fs::create_dir_all(&group).unwrap();
        limit(&group, &self.seen(), SLOW_WRITES_PER_SECOND);
        fs::write(group.join("cgroup.procs"), node.pid().to_string()).unwrap();
        self.slowed = Some(group);
    }

    /// Lets everybody write as fast as can be.
    pub fn hasten(&mut self) {
        if let Some(group) = self.slowed.take() {
            limit(&group, &self.seen(), 0);
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            for member in members.lines() {
                // One that has ended meanwhile is in no group.
                drop(fs::write(group.with_file_name("cgroup.procs"), member));
            }
            drop(fs::remove_dir(group));
        }
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        self.thaw();
        self.hasten();
        // The namespace goes with its last process, and the file system with it.
        drop(self.lives.take());
        drop(self.holder.wait());
    }
}

/// The group that this process is in, of those that limit what is written to devices.
fn groups() -> Option<PathBuf> {
    let mine = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mine = mine.lines().find_map(|line| line.split_once(":blkio:"))?.1;
    let group = Path::new("/sys/fs/cgroup/blkio").join(mine.strip_prefix('/')?);
    group.join("cgroup.procs").is_file().then_some(group)
}

/// So many writes in a second to the device that `folder` is on; any number, for none.
fn limit(group: &Path, folder: &Path, writes: u32) {
    let device = fs::metadata(folder).unwrap().dev();
    let rule = format!("{}:{} {writes}", major(device), minor(device));
    fs::write(group.join("blkio.throttle.write_iops_device"), rule).unwrap();
}
