//! The process of a node: found, signalled, waited for, and never mistaken for another.
//!
//! A pid says little: it may have been given to somebody else since it was written down. So the process is held by a
//! pidfd first and looked at second, and signals go to what is held: what was looked at is what is signalled.
//! Rejected: `kill(pid)` after a look at `/proc`, between which the pid may change hands.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use revoada_core::error::ErrorKind;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::folder::Folder;
use crate::failure::CliError;

/// A node's process, while it lives.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    fd: OwnedFd,
}

impl Process {
    /// The process of the node called `name`; none where none runs.
    pub fn find(folder: &Folder, name: &str) -> Option<Self> {
        let config = folder.config(name);
        [folder.pid(name), folder.spawned(name)]
            .iter()
            .find_map(|file| Self::of_file(file, &config))
    }

    /// The process whose pid is in `file`, if it is the node of `config`.
    fn of_file(file: &Path, config: &Path) -> Option<Self> {
        let text = fs::read_to_string(file).ok()?;
        let pid: u32 = text.trim().parse().ok()?;
        let held = pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()?;
        is_node(pid, config).then_some(Self { pid, fd: held })
    }

    /// Its pid.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<(), CliError> {
        match pidfd_send_signal(&self.fd, signal) {
            // It ended by itself in between, which is what most signals are sent for.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => {
                let source = io::Error::from(errno);
                let message = format!("cannot send a signal to process {}", self.pid);
                let kind = if errno == rustix::io::Errno::PERM {
                    ErrorKind::Denied
                } else {
                    ErrorKind::Unavailable
                };
                Err(CliError::because(kind, message, &source))
            }
        }
    }

    /// Waits until it has ended, for `limit` at most. Whether it has.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        let Ok(descriptor) = self.fd.try_clone() else {
            return false;
        };
        // SAFETY: the descriptor is owned by what it is moved into, which gives out the same one for its whole life.
        let Ok(descriptor) = (unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }) else {
            return false;
        };
        // A pidfd is readable when its process has ended (pidfd_open(2)).
        tokio::time::timeout(limit, descriptor.readable())
            .await
            .is_ok_and(|ready| ready.is_ok())
    }

    /// Whether it is stopped by a signal, and goes on at SIGCONT.
    pub fn is_paused(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The state is the first field behind the command, which is in parentheses and may contain any (proc_pid_stat(5)).
        let state = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.trim_start().chars().next());
        matches!(state, Some('T' | 't'))
    }
}

/// Whether the process is `revoada node --config CONFIG`. One that has ended and was not waited for has no arguments.
fn is_node(pid: u32, config: &Path) -> bool {
    let Ok(arguments) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    let here = || fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    config_of(&arguments).is_some_and(|given| {
        let given = here().join(given);
        let same = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        same(&given) == same(config)
    })
}

/// The config that a command line, as `/proc` has it, gives to `node`.
fn config_of(arguments: &[u8]) -> Option<PathBuf> {
    let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
    arguments.iter().position(|argument| *argument == b"node")?;
    let path = arguments
        .iter()
        .enumerate()
        .find_map(|(at, argument)| match *argument {
            b"--config" => arguments.get(at + 1).copied(),
            joined => joined.strip_prefix(b"--config="),
        })?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_is_read_from_either_spelling_of_the_command_line() {
        let of = |text: &str| config_of(text.as_bytes()).map(|path| path.display().to_string());
        assert_eq!(of("/x/revoada\0node\0--config\0/a b/c\0").as_deref(), Some("/a b/c"));
        assert_eq!(of("revoada\0-v\0node\0--config=c\0").as_deref(), Some("c"));
        assert_eq!(of("revoada\0up\0--config=c\0"), None);
        assert_eq!(of("revoada\0node\0"), None);
        assert_eq!(of(""), None);
    }

    #[test]
    fn a_pid_that_belongs_to_somebody_else_is_no_node() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        fs::create_dir_all(folder.node("node-1")).unwrap();
        assert!(Process::find(&folder, "node-1").is_none());
        fs::write(folder.pid("node-1"), format!("{}\n", std::process::id())).unwrap();
        assert!(Process::find(&folder, "node-1").is_none());
        fs::write(folder.pid("node-1"), "-1").unwrap();
        assert!(Process::find(&folder, "node-1").is_none());
    }
}
