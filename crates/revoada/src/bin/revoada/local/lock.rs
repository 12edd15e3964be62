//! One `up` at a time in one folder.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};

use revoada_core::error::ErrorKind;
use rustix::fs::FlockOperation;

use super::folder::Folder;
use crate::failure::CliError;

/// Held while an `up` runs; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub struct UpLock {
    _file: File,
}

impl UpLock {
    /// Takes the lock, or says who has it.
    pub fn take(folder: &Folder) -> Result<Self, CliError> {
        let path = folder.lock();
        let failed = |error: &std::io::Error| CliError::file(format!("cannot lock {}", path.display()), error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&error))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                // Who holds it is a courtesy.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                return Err(CliError::new(
                    ErrorKind::Conflict,
                    format!("another `revoada up` runs in {}{holder}", folder.root().display()),
                )
                .hint("`revoada status` shows its cluster; `revoada start NODE` starts one node of it"));
            }
            Err(errno) => return Err(failed(&errno.into())),
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(|error| failed(&error))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_up_is_told_who_runs_and_one_after_it_is_let_in() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        let held = UpLock::take(&folder).unwrap();
        let error = UpLock::take(&folder).unwrap_err();
        assert_eq!(error.code(), 6);
        assert!(
            error.failure.message.contains(&std::process::id().to_string()),
            "{error:?}"
        );
        drop(held);
        UpLock::take(&folder).unwrap();
    }
}
