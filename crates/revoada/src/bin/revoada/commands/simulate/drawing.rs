//! Where the picture goes: a file that is whole, or as it was.
//!
//! It is written beside the path and renamed over it, so only a regular file can be at the path, and none that the
//! command reads. Rejected: to write through to whatever is there, which an interrupt or a full disk would leave half
//! written.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::CliError;

/// Temporary files are their owner's alone; a picture is not.
const MODE: u32 = 0o644;

/// A path that can be written. Nothing is there, or changed, until [`Drawing::write`].
#[derive(Debug)]
pub struct Drawing {
    /// As it was given, for errors.
    named: PathBuf,
    /// Behind all symbolic links: what is replaced.
    path: PathBuf,
    permissions: Permissions,
}

impl Drawing {
    /// Looks whether a file can be written at `named`. `inputs` are what the command reads, `-` for stdin; what is no file
    /// counts for nothing.
    ///
    /// # Errors
    /// Invalid input, or the file system's refusal: what is there is no regular file, or one of the `inputs`, or the
    /// folder takes no file.
    pub fn at(named: &Path, inputs: &[&Path]) -> Result<Self, CliError> {
        if named == Path::new("-") || named.is_dir() {
            return Err(CliError::invalid("--svg takes the name of a file"));
        }
        let (path, permissions) = match named.canonicalize() {
            Ok(path) => {
                let there = path.metadata().map_err(|error| unwritable(named, &error))?;
                replaceable(named, &there, inputs)?;
                (path, there.permissions())
            }
            Err(error) if error.kind() == ErrorKind::NotFound && !named.is_symlink() => {
                (named.to_owned(), Permissions::from_mode(MODE))
            }
            Err(error) => return Err(unwritable(named, &error)),
        };
        // Without a name wherever the kernel can, so that nothing is left of it, come what may.
        tempfile::tempfile_in(folder(&path)).map_err(|error| unwritable(named, &error))?;
        Ok(Self {
            named: named.to_owned(),
            path,
            permissions,
        })
    }

    /// Writes all of it, in the place of what is there.
    ///
    /// # Errors
    /// The file system's refusal; what was there is as it was.
    pub fn write(self, svg: &str) -> Result<(), CliError> {
        let written = || -> io::Result<()> {
            let mut file = NamedTempFile::new_in(folder(&self.path))?;
            file.write_all(svg.as_bytes())?;
            file.as_file().set_permissions(self.permissions.clone())?;
            file.as_file().sync_all()?;
            file.persist(&self.path).map(drop).map_err(|error| error.error)
        };
        written().map_err(|error| unwritable(&self.named, &error))
    }
}

fn replaceable(named: &Path, there: &Metadata, inputs: &[&Path]) -> Result<(), CliError> {
    let shown = named.display();
    if !there.is_file() {
        let message = format!("cannot write {shown}: it is no regular file, and would be replaced by one");
        return Err(CliError::invalid(message).hint("--svg takes the name of a file"));
    }
    let is_there = |input: &Metadata| (input.dev(), input.ino()) == (there.dev(), there.ino());
    if let Some(input) = inputs.iter().find(|input| metadata(input).as_ref().is_ok_and(is_there)) {
        let message = format!(
            "--svg {shown} would replace {}, which is read",
            super::files::name(input)
        );
        return Err(CliError::invalid(message).hint("--svg takes the name of another file"));
    }
    Ok(())
}

/// Of an input; stdin may be a file as well.
fn metadata(input: &Path) -> io::Result<Metadata> {
    if input == Path::new("-") {
        let stdin = std::os::fd::AsFd::as_fd(&io::stdin()).try_clone_to_owned()?;
        return File::from(stdin).metadata();
    }
    fs::metadata(input)
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::file(format!("cannot write {}", path.display()), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn nothing_is_in_the_folder_before_it_is_written_and_then_that_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.svg");
        let drawing = Drawing::at(&path, &[]).unwrap();
        assert_eq!(names(dir.path()), [""; 0]);
        drawing.write("<svg/>").unwrap();
        assert_eq!(names(dir.path()), ["x.svg"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, MODE);
    }

    #[test]
    fn behind_a_link_the_file_is_replaced_and_keeps_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("x.svg"), dir.path().join("link"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        symlink("x.svg", &link).unwrap();
        Drawing::at(&link, &[]).unwrap().write("new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_to_nothing_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        symlink("nowhere", &link).unwrap();
        assert_eq!(Drawing::at(&link, &[]).unwrap_err().code(), 2);
        assert_eq!(names(dir.path()), ["link"]);
    }
}
