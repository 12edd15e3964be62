//! Which start of its node a process is: a number that grows with every start, also when the clock was set back. To the
//! others a node with a lower one is the process before it, and dead.

use std::io;
use std::path::Path;

use revoada_mesh::files::{Files, read_whole, replace};

/// Takes the next number, and remembers it in a file. A file that was cut short by a crash, or is not there: the clock
/// alone has to do.
///
/// # Errors
/// Those of the file system; nothing was taken then.
pub fn next(files: &dyn Files, path: &Path, started_ms: u64) -> io::Result<u64> {
    let before: u64 = match read_whole(files, path) {
        Ok(text) => std::str::from_utf8(&text)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    let next = started_ms.max(before.saturating_add(1));
    replace(files, path, format!("{next}\n").as_bytes())?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use revoada_mesh::files::SystemFiles;

    use super::*;

    #[test]
    fn a_generation_grows_also_when_the_clock_was_set_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("generation");
        let next = |started_ms| next(&SystemFiles::default(), &path, started_ms).unwrap();
        assert_eq!(next(1_000), 1_000);
        assert_eq!(next(10), 1_001);
        assert_eq!(next(1_001), 1_002);
        assert_eq!(next(5_000), 5_000);
        std::fs::write(&path, "").unwrap();
        assert_eq!(next(6_000), 6_000);
    }
}
