//! Manifests from files and from stdin.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use revoada_core::resource::{Resource, ResourceFormat, parse_documents};

use crate::failure::CliError;

/// The largest input, in bytes: so that a device that never ends is refused and does not fill the memory.
const INPUT_BYTES_MAX: u64 = 1 << 30;

/// Reads a whole file, or stdin for `-`.
pub fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| CliError::unreadable(path, &error))?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(CliError::invalid(format!(
            "{} has more than {INPUT_BYTES_MAX} bytes",
            name(path)
        )));
    }
    Ok(bytes)
}

/// What errors call an input.
pub fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        path.display().to_string()
    }
}

/// Parses all documents of all files, in order; none is returned unless all are good.
pub fn manifests(paths: &[PathBuf], namespace: Option<&str>) -> Result<Vec<Resource>, CliError> {
    if paths.iter().filter(|path| path.as_path() == Path::new("-")).count() > 1 {
        return Err(CliError::invalid("stdin can be read only once: one `-f -`"));
    }
    let mut resources = Vec::new();
    for path in paths {
        let bytes = read(path)?;
        let format = path
            .extension()
            .and_then(|extension| extension.to_str())
            .and_then(ResourceFormat::of_extension);
        // Whatever is wrong with a manifest, a limit of its size included, is wrong usage: nothing was sent.
        let parsed = parse_documents(&bytes, format, &name(path));
        for resource in parsed.map_err(|error| CliError::invalid(error.to_string()))? {
            let resource = resource.with_default_namespace(namespace.unwrap_or_default());
            resources.push(resource.map_err(|error| CliError::invalid(error.to_string()))?);
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_returned_where_the_second_document_is_bad_and_the_place_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.yaml");
        std::fs::write(&path, "kind: A\nmetadata: {name: a}\n---\nkind: A\nmetadata: {}\n").unwrap();
        let error = manifests(std::slice::from_ref(&path), None).unwrap_err();
        assert_eq!(error.code(), 2);
        let message = &error.failure.message;
        assert!(message.contains("two.yaml, document 2, line 4"), "{message}");
    }

    #[test]
    fn a_namespace_is_given_only_to_resources_that_name_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("two.yaml");
        std::fs::write(
            &path,
            "kind: A\nmetadata: {name: a}\n---\nkind: A\nmetadata: {name: b, namespace: own}\n",
        )
        .unwrap();
        let resources = manifests(&[path], Some("given")).unwrap();
        let namespaces: Vec<&str> = resources.iter().map(|one| one.reference.namespace.as_str()).collect();
        assert_eq!(namespaces, ["given", "own"]);
    }

    #[test]
    fn stdin_is_read_only_once() {
        let twice = [PathBuf::from("-"), PathBuf::from("-")];
        assert_eq!(manifests(&twice, None).unwrap_err().code(), 2);
    }
}
