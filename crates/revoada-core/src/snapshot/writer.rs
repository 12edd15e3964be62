//! Writing a snapshot, resource by resource.

use std::collections::BTreeSet;
use std::io::{self, Write};

use revoada_attest::Digest;

use super::{END, FORMAT, Header, Inspection, MAGIC, format_number, section, tag};
use crate::error::ErrorKind;
use crate::limits::{
    DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_SECTION_BYTES_MAX, SNAPSHOT_TEXT_BYTES_MAX,
};
use crate::resource::{ResourceFormat, ResourceRef};

/// How much is gathered before it is hashed and written.
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a snapshot could not be written. What was written so far is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum WriteSnapshotError {
    /// The resources must come in the order of their references, each once.
    #[error("{reference} does not come behind the resource before it")]
    OutOfOrder {
        /// The resource that came too late, or twice.
        reference: ResourceRef,
    },
    /// Something is too large.
    #[error("{what} has {size} bytes; {max} is the most")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The largest.
        max: usize,
    },
    /// The resources come before all sections.
    #[error("a resource cannot come behind a section")]
    ResourceBehindSection,
    /// Each section is there once.
    #[error("the section {name:?} is there already")]
    SectionTwice {
        /// Its name.
        name: String,
    },
    /// The destination failed.
    #[error("writing the snapshot failed")]
    Write {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl WriteSnapshotError {
    /// What kind of condition it is.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::OutOfOrder { .. }
            | Self::TooLarge { .. }
            | Self::ResourceBehindSection
            | Self::SectionTwice { .. } => ErrorKind::Invalid,
            Self::Write { .. } => ErrorKind::Unavailable,
        }
    }
}

/// Writes a snapshot: resources in the order of their references, then sections, then [`Self::finish`], without which
/// the file is cut short. After an error the file is of no use. It gathers what it writes: `to` needs no buffer.
#[derive(Debug)]
pub struct SnapshotWriter<W: Write> {
    to: W,
    header: Header,
    buffer: Vec<u8>,
    /// Where in the buffer the part of the resource section begins that `resources` has not seen.
    unhashed: usize,
    written: u64,
    all: blake3::Hasher,
    resources: blake3::Hasher,
    resources_digest: Option<Digest>,
    entries: u64,
    last: Option<ResourceRef>,
    sections: BTreeSet<String>,
    section_order: Vec<String>,
}

impl<W: Write> SnapshotWriter<W> {
    /// Begins a snapshot.
    ///
    /// # Errors
    /// The header's texts are too long, or the destination fails.
    pub fn new(to: W, header: Header) -> Result<Self, WriteSnapshotError> {
        let mut writer = Self {
            to,
            header: header.clone(),
            buffer: Vec::with_capacity(BUFFER_BYTES + 4096),
            unhashed: 0,
            written: 0,
            all: blake3::Hasher::new(),
            resources: blake3::Hasher::new(),
            resources_digest: None,
            entries: 0,
            last: None,
            sections: BTreeSet::new(),
            section_order: Vec::new(),
        };
        let (created_by, declaration) = (header.created_by.as_bytes(), header.declaration.as_bytes());
        within("the name of what writes", created_by, SNAPSHOT_TEXT_BYTES_MAX)?;
        within("the declaration", declaration, SNAPSHOT_TEXT_BYTES_MAX)?;
        writer.put(&MAGIC);
        writer.put(&FORMAT.to_le_bytes());
        writer.put(&header.revision.to_le_bytes());
        writer.sized(created_by);
        writer.sized(declaration);
        writer.unhashed = writer.buffer.len();
        Ok(writer)
    }

    /// Adds a resource.
    ///
    /// # Errors
    /// It is out of order or too large, a section was written already, or the destination fails.
    pub fn entry(
        &mut self,
        reference: &ResourceRef,
        format: ResourceFormat,
        document: &[u8],
    ) -> Result<(), WriteSnapshotError> {
        if self.resources_digest.is_some() {
            return Err(WriteSnapshotError::ResourceBehindSection);
        }
        if self.last.as_ref().is_some_and(|last| last >= reference) {
            return Err(WriteSnapshotError::OutOfOrder {
                reference: reference.clone(),
            });
        }
        within("a document", document, DOCUMENT_BYTES_MAX)?;
        let ResourceRef {
            group,
            kind,
            namespace,
            name,
        } = reference;
        let parts = [
            ("a group", group),
            ("a kind", kind),
            ("a namespace", namespace),
            ("a name", name),
        ];
        for (what, part) in parts {
            within(what, part.as_bytes(), NAME_BYTES_MAX)?;
        }
        self.put(&[tag::RESOURCE, format_number(format)]);
        for (_, part) in parts {
            self.short(part);
        }
        self.sized(document);
        self.entries += 1;
        self.last = Some(reference.clone());
        self.flush_if_large()
    }

    /// Adds a section that other backends pass over. All resources must have been added.
    ///
    /// # Errors
    /// The name was used already, something is too large, or the destination fails.
    pub fn section(&mut self, name: &str, content: &[u8]) -> Result<(), WriteSnapshotError> {
        within("the name of a section", name.as_bytes(), NAME_BYTES_MAX)?;
        within("a section", content, SNAPSHOT_SECTION_BYTES_MAX)?;
        if !self.sections.insert(name.to_owned()) {
            return Err(WriteSnapshotError::SectionTwice { name: name.to_owned() });
        }
        self.section_order.push(name.to_owned());
        self.end_resources();
        self.put(&[tag::SECTION]);
        self.short(name);
        for chunk in content.chunks(SNAPSHOT_CHUNK_BYTES_MAX) {
            self.sized(chunk);
            self.flush_if_large()?;
        }
        self.sized(&[]);
        self.flush_if_large()
    }

    /// Adds zeros, so that the whole file is a multiple of so many bytes long, at most [`SNAPSHOT_CHUNK_BYTES_MAX`].
    /// Nothing may be added behind them.
    ///
    /// # Errors
    /// As [`Self::section`].
    pub fn pad(&mut self, multiple: usize) -> Result<(), WriteSnapshotError> {
        self.end_resources();
        // A tag, the name, the only chunk's length, the end of the section; the end of the file.
        let frame = 1 + 2 + section::PADDING.len() + 4 + 4 + 1 + super::TRAILER_BYTES;
        let length = (self.written as usize % multiple + self.buffer.len() + frame) % multiple;
        self.section(section::PADDING, &vec![0; multiple - length])
    }

    /// Ends the snapshot and gives the destination back, flushed but not synced.
    ///
    /// # Errors
    /// The destination fails.
    pub fn finish(mut self) -> Result<(W, Inspection), WriteSnapshotError> {
        let resources = self.end_resources();
        self.put(&[tag::END]);
        self.flush()?;
        let digest = Digest::from_bytes(*self.all.finalize().as_bytes());
        let failed = |source| WriteSnapshotError::Write { source };
        self.to.write_all(digest.as_bytes()).map_err(failed)?;
        self.to.write_all(&END).map_err(failed)?;
        self.to.flush().map_err(failed)?;
        let inspection = Inspection {
            format: FORMAT,
            revision: self.header.revision,
            digest,
            resources,
            entries: self.entries,
            bytes: self.written + super::TRAILER_BYTES as u64,
            declaration: self.header.declaration,
            created_by: self.header.created_by,
            sections: self.section_order,
        };
        Ok((self.to, inspection))
    }

    fn end_resources(&mut self) -> Digest {
        if let Some(digest) = self.resources_digest {
            return digest;
        }
        self.put(&[tag::RESOURCES_END]);
        self.put(&self.entries.to_le_bytes());
        self.resources.update(&self.buffer[self.unhashed..]);
        let digest = Digest::from_bytes(*self.resources.finalize().as_bytes());
        self.put(digest.as_bytes());
        self.resources_digest = Some(digest);
        digest
    }

    fn flush_if_large(&mut self) -> Result<(), WriteSnapshotError> {
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), WriteSnapshotError> {
        if self.resources_digest.is_none() {
            self.resources.update(&self.buffer[self.unhashed..]);
        }
        self.all.update(&self.buffer);
        self.to
            .write_all(&self.buffer)
            .map_err(|source| WriteSnapshotError::Write { source })?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.unhashed = 0;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes whose length fits 32 bits, which their bound has made sure of.
    fn sized(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u32).to_le_bytes());
        self.put(bytes);
    }

    /// A text whose length fits 16 bits, which its bound has made sure of.
    fn short(&mut self, text: &str) {
        self.put(&(text.len() as u16).to_le_bytes());
        self.put(text.as_bytes());
    }
}

fn within(what: &'static str, bytes: &[u8], max: usize) -> Result<(), WriteSnapshotError> {
    let size = bytes.len();
    if size > max {
        Err(WriteSnapshotError::TooLarge { what, size, max })
    } else {
        Ok(())
    }
}
