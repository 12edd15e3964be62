//! Starting and stopping the processes of nodes.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::process::Stdio;
use std::time::Duration;

use revoada_core::error::ErrorKind;
use rustix::process::Signal;
use tokio::process::{Child, Command};

use super::folder::{Folder, write_atomically};
use super::process::Process;
use super::record::{NodeEntry, Record};
use super::{config, ports};
use crate::failure::CliError;

/// How long a node may take to stop in order, before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How much of a log is shown when a node does not start, in bytes from its end.
const LOG_TAIL_BYTES: u64 = 8 * 1024;
/// How many lines of it are shown.
const LOG_TAIL_LINES: usize = 5;

/// Starts the process of a node that does not run.
///
/// It gets a session of its own, so that a Ctrl-C in the terminal reaches only whoever started it; nothing as its
/// input; its log as its output; and no other open file, so that nobody waits for a pipe that it holds.
pub fn start(folder: &Folder, record: &Record, node: &NodeEntry) -> Result<Child, CliError> {
    for address in [node.mesh, node.http] {
        if address.port() != 0 {
            ports::check_free(&node.name, address)?;
        }
    }
    folder.prepare_sockets(&node.name)?;
    config::write(folder, record, node)?;
    let log_path = folder.log(&node.name);
    let log = OpenOptions::new().append(true).create(true).open(&log_path);
    let log = log.map_err(|error| CliError::file(format!("cannot write {}", log_path.display()), &error))?;
    let failed = |error: &io::Error| {
        CliError::because(
            ErrorKind::Unavailable,
            format!("cannot start the process of {}", node.name),
            error,
        )
    };
    let errors = log.try_clone().map_err(|error| failed(&error))?;
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let arguments: [OsString; 3] = ["node".into(), "--config".into(), folder.config(&node.name).into()];
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder.node(&node.name))
        .env_remove("REVOADA_DIR")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors);
    // SAFETY: between fork and exec only two system calls are made, which allocate nothing and take no locks.
    unsafe {
        command.pre_exec(enter_own_session);
    }
    let child = command.spawn().map_err(|error| failed(&error))?;
    if let Some(pid) = child.id() {
        // The node writes it down itself when it begins; until then it can be found by this.
        let path = folder.spawned(&node.name);
        write_atomically(&path, format!("{pid}\n").as_bytes())
            .map_err(|error| CliError::file(format!("cannot write {}", path.display()), &error))?;
    }
    Ok(child)
}

/// What the new process does before it becomes a node.
fn enter_own_session() -> io::Result<()> {
    rustix::process::setsid()?;
    // SAFETY: a system call on numbers. It closes no file yet: exec does, so the error pipe of `spawn` stays usable.
    let marked = unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // Before Linux 5.11. All files of our own are closed by exec anyway; those of whoever called us then are not.
        Some(libc::ENOSYS | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

/// Stops nodes in order: asks all of them, waits, and kills those that did not listen. The names of those killed.
pub async fn stop(folder: &Folder, names: &[&str]) -> Result<Vec<String>, CliError> {
    let running: Vec<(&str, Process)> = names
        .iter()
        .filter_map(|name| Some((*name, Process::find(folder, name)?)))
        .collect();
    for (_, process) in &running {
        process.signal(Signal::TERM)?;
        // A node that is paused hears it when it goes on.
        process.signal(Signal::CONT)?;
    }
    let deadline = tokio::time::Instant::now() + STOP_LIMIT;
    let mut killed = Vec::new();
    for (name, process) in running {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        if !process.ended_within(left).await {
            kill(name, &process).await?;
            killed.push(name.to_owned());
        }
        forget(folder, name);
    }
    Ok(killed)
}

/// Kills a process and waits until it is gone.
pub async fn kill(name: &str, process: &Process) -> Result<(), CliError> {
    process.signal(Signal::KILL)?;
    if process.ended_within(KILL_LIMIT).await {
        return Ok(());
    }
    let message = format!(
        "{name} (process {}) was killed and is not gone: the system does not let go of it",
        process.pid()
    );
    Err(CliError::new(ErrorKind::Unavailable, message))
}

/// Takes away the note of a process that is gone. The node's own pid file is its lock, and stays.
fn forget(folder: &Folder, name: &str) {
    if Process::find(folder, name).is_none() {
        // One that stays is recognised as nobody's.
        let _ = fs::remove_file(folder.spawned(name));
    }
}

/// The last lines that a node wrote.
pub fn log_tail(folder: &Folder, name: &str) -> Vec<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(folder.log(name))?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(LOG_TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read has nothing to add to the error that it was to explain.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = lines.len().saturating_sub(LOG_TAIL_LINES);
    lines[shown..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_of_a_log_is_its_last_lines() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        assert!(log_tail(&folder, "node-1").is_empty());
        fs::create_dir_all(folder.node("node-1")).unwrap();
        let lines: Vec<String> = (0..5000).map(|n| format!("line {n}\n\n")).collect();
        fs::write(folder.log("node-1"), lines.concat()).unwrap();
        assert_eq!(log_tail(&folder, "node-1")[0], "line 4995");
        assert_eq!(log_tail(&folder, "node-1").len(), 5);
    }
}
