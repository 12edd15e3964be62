//! One file of a folder: a line that says what the document cannot, and the document as it was given.
//!
//! ```text
//! # revoada 1 yaml created=3 revision=7 version=2 blake3=HEX namespace=default
//! kind: ConfigMap
//! …
//! ```
//!
//! The line is a comment to YAML and HCL, so those files can be used as they are; the digest tells a file that was
//! changed from outside or cut short. A line has one spelling: one that means the same in other letters (`03`, upper-case
//! hex) was not written here, and is refused. Rejected: the numbers in a second file, which could be lost or moved alone.

use bytes::Bytes;
use revoada_core::Digest;
use revoada_core::resource::ResourceFormat;

/// The format of the line.
const VERSION: u32 = 1;
/// The longest line, in bytes.
pub(super) const LINE_BYTES_MAX: usize = 1_024;

/// What a file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResourceFile {
    pub(super) format: ResourceFormat,
    pub(super) create_revision: u64,
    pub(super) revision: u64,
    pub(super) version: u64,
    /// The namespace of the resource, which its document may leave open; empty for none.
    pub(super) namespace: String,
    pub(super) document: Bytes,
}

impl ResourceFile {
    pub(super) fn render(&self) -> Vec<u8> {
        let mut bytes = self.line().into_bytes();
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.document);
        bytes
    }

    /// Reads a whole file; the error says what is wrong with it.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.iter().take(LINE_BYTES_MAX).position(|byte| *byte == b'\n');
        let end = end.ok_or("its first line is missing")?;
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "its first line is not text")?;
        // A name may contain spaces, so the namespace is the rest of the line.
        let (fields, namespace) = line
            .split_once(" namespace=")
            .ok_or("its first line has no namespace")?;
        let mut words = fields.split(' ');
        if words.next() != Some("#") || words.next() != Some("revoada") {
            return Err("its first line is not one of a stored resource".to_owned());
        }
        match words.next().and_then(|version| version.parse::<u32>().ok()) {
            Some(VERSION) => {}
            Some(newer) if newer > VERSION => {
                return Err(format!("it has format {newer}, and this build reads {VERSION}"));
            }
            _ => return Err("its first line names no format".to_owned()),
        }
        let format = words
            .next()
            .and_then(format_named)
            .ok_or("its first line names no format of a document")?;
        let mut number = |name: &str| {
            let value = words.next().and_then(|word| word.strip_prefix(name)?.strip_prefix('='));
            value
                .and_then(|value| value.parse::<u64>().ok())
                .ok_or_else(|| format!("its first line has no {name}"))
        };
        let (create_revision, revision, version) = (number("created")?, number("revision")?, number("version")?);
        if !words.next().is_some_and(|word| word.starts_with("blake3=")) {
            return Err("its first line has no digest".to_owned());
        }
        let document = Bytes::copy_from_slice(&bytes[end + 1..]);
        let namespace = namespace.to_owned();
        let file = Self {
            format,
            create_revision,
            revision,
            version,
            namespace,
            document,
        };
        // As text: a digest that is read into bytes and compared as bytes may be spelled in upper case.
        if file.line() != line {
            return Err("it was changed from outside, or cut short".to_owned());
        }
        Ok(file)
    }

    fn line(&self) -> String {
        let (numbers, digest) = (self.numbers(), self.digest());
        format!("{numbers} blake3={digest} namespace={}", self.namespace)
    }

    fn numbers(&self) -> String {
        format!(
            "# revoada {VERSION} {} created={} revision={} version={}",
            self.format.name(),
            self.create_revision,
            self.revision,
            self.version
        )
    }

    /// Of everything else in the file: a number that was changed shows, too.
    fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.numbers().as_bytes()).update(b"\n");
        hasher
            .update(self.namespace.as_bytes())
            .update(b"\n")
            .update(&self.document);
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }
}

fn format_named(name: &str) -> Option<ResourceFormat> {
    ResourceFormat::ALL.into_iter().find(|format| format.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> ResourceFile {
        ResourceFile {
            format: ResourceFormat::Yaml,
            create_revision: 3,
            revision: 7,
            version: 2,
            namespace: "de fault".to_owned(),
            document: Bytes::from_static(b"kind: A\r\nmetadata: {name: \"\xc3\xa9\"}\n\n"),
        }
    }

    #[test]
    fn a_file_comes_back_as_it_was() {
        let file = file();
        assert_eq!(ResourceFile::parse(&file.render()), Ok(file));
    }

    #[test]
    fn no_byte_of_a_file_can_change_unnoticed() {
        let whole = file().render();
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[index] ^= 1 << bit;
                assert!(ResourceFile::parse(&changed).is_err(), "byte {index}, bit {bit}");
            }
            assert!(ResourceFile::parse(&whole[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn a_line_in_another_spelling_is_refused() {
        let whole = String::from_utf8(file().render()).expect("the test's document is text");
        let (_, digest) = whole.split_once("blake3=").expect("the line has a digest");
        let digest = &digest[..Digest::BYTES * 2];
        assert_ne!(
            digest,
            digest.to_uppercase(),
            "the digest of the test's file has letters"
        );
        let spellings = [
            (digest, digest.to_uppercase().as_str()),
            ("created=3", "created=03"),
            ("revision=7", "revision=+7"),
            ("revoada 1", "revoada 01"),
            (" namespace=", " more namespace="),
            (" namespace=", "  namespace="),
        ]
        .map(|(ours, other)| whole.replacen(ours, other, 1));
        for other in spellings {
            assert_ne!(other, whole);
            assert_eq!(
                ResourceFile::parse(other.as_bytes()),
                Err("it was changed from outside, or cut short".to_owned())
            );
        }
    }

    #[test]
    fn a_file_of_a_newer_format_is_refused_by_it() {
        let newer = String::from_utf8(file().render())
            .expect("the test's document is text")
            .replace("revoada 1", "revoada 2");
        assert_eq!(
            ResourceFile::parse(newer.as_bytes()),
            Err("it has format 2, and this build reads 1".to_owned())
        );
    }
}
