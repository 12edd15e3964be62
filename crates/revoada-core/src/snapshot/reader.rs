//! Reading a snapshot, item by item, and telling what is wrong with one.

use std::collections::BTreeSet;
use std::io::{self, Read};

use bytes::Bytes;
use revoada_attest::Digest;

use super::{
    END, ETCD_DIGEST_BYTES, FORMAT, Header, Inspection, MAGIC, SnapshotEntry, SnapshotError, TRAILER_BYTES, format_of,
    tag,
};
use crate::limits::{
    DOCUMENT_BYTES_MAX, NAME_BYTES_MAX, SNAPSHOT_CHUNK_BYTES_MAX, SNAPSHOT_SECTION_BYTES_MAX, SNAPSHOT_TEXT_BYTES_MAX,
};
use crate::resource::ResourceRef;

const BUFFER_BYTES: usize = 256 * 1024;

/// What a snapshot holds, in its order: all resources, then the sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A resource.
    Entry(SnapshotEntry),
    /// A section that who does not know its name passes over.
    Section {
        /// Its name.
        name: String,
        /// Its content.
        content: Bytes,
    },
}

/// Reads a whole snapshot and checks all of it; memory stays small whatever its size.
///
/// After `Ok` every byte is what was written, the resources are in order, and each is within its bounds; whether a
/// document parses is not looked at. A file that can be read again should be verified first and then read: nothing
/// has to be undone so.
///
/// # Errors
/// Every variant of [`SnapshotError`]. Damage and missing bytes go before anything else that they cause.
pub fn verify(from: impl Read) -> Result<Inspection, SnapshotError> {
    let mut reader = SnapshotReader::open(from)?;
    while reader.next_item()?.is_some() {}
    reader.finish()
}

/// Says what a snapshot holds; the same as [`verify`], since a file that is damaged says nothing.
///
/// # Errors
/// As [`verify`].
pub fn inspect(from: impl Read) -> Result<Inspection, SnapshotError> {
    verify(from)
}

/// Reads a snapshot item by item.
///
/// What it gives out is within its bounds and in order, but may have been changed on the way until [`Self::finish`]
/// has returned `Ok`. Act on nothing before, or call [`verify`] on the same file first. On any error the rest of the
/// file is read to find out whether it was cut or changed, and that is what is then reported.
#[derive(Debug)]
pub struct SnapshotReader<R> {
    input: Input<R>,
    header: Header,
    stage: Stage,
    last: Option<ResourceRef>,
    entries: u64,
    resources: Digest,
    sections: Vec<String>,
    section_names: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Resources,
    Sections,
    End,
}

impl<R: Read> SnapshotReader<R> {
    /// Reads the header. It gathers what it reads: `from` needs no buffer.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn open(from: R) -> Result<Self, SnapshotError> {
        let mut input = Input::new(from);
        let header = match input.header() {
            Ok(header) => header,
            Err(error) => return Err(input.diagnose(error)),
        };
        Ok(Self {
            input,
            header,
            stage: Stage::Resources,
            last: None,
            entries: 0,
            resources: Digest::default(),
            sections: Vec::new(),
            section_names: BTreeSet::new(),
        })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next item, `None` behind the last.
    ///
    /// # Errors
    /// As [`verify`]; the reader is of no further use then.
    pub fn next_item(&mut self) -> Result<Option<Item>, SnapshotError> {
        self.item().map_err(|error| self.input.diagnose(error))
    }

    /// Passes over what was not read yet and checks the digest. After `Ok` everything that was given out is what was
    /// written.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn finish(mut self) -> Result<Inspection, SnapshotError> {
        while self.next_item()?.is_some() {}
        let digest = self.input.trailer()?;
        Ok(Inspection {
            format: FORMAT,
            revision: self.header.revision,
            digest,
            resources: self.resources,
            entries: self.entries,
            bytes: self.input.at + TRAILER_BYTES as u64,
            declaration: self.header.declaration,
            created_by: self.header.created_by,
            sections: self.sections,
        })
    }

    fn item(&mut self) -> Result<Option<Item>, SnapshotError> {
        if self.stage == Stage::Resources {
            self.input.hash_resources = true;
            if let Some(entry) = self.entry()? {
                return Ok(Some(Item::Entry(entry)));
            }
            self.stage = Stage::Sections;
        }
        if self.stage == Stage::Sections {
            if let Some((name, content)) = self.section()? {
                return Ok(Some(Item::Section { name, content }));
            }
            self.stage = Stage::End;
        }
        Ok(None)
    }

    fn entry(&mut self) -> Result<Option<SnapshotEntry>, SnapshotError> {
        match self.input.byte()? {
            tag::RESOURCE => {}
            tag::RESOURCES_END => {
                self.end_resources()?;
                return Ok(None);
            }
            _ => return Err(self.input.malformed("neither a resource nor the end of the resources")),
        }
        let format = format_of(self.input.byte()?);
        let format = format.ok_or_else(|| self.input.malformed("an unknown format of a document"))?;
        let reference = ResourceRef {
            group: self.input.short("a group")?,
            kind: self.input.short("a kind")?,
            namespace: self.input.short("a namespace")?,
            name: self.input.short("a name")?,
        };
        if self.last.as_ref().is_some_and(|last| *last >= reference) {
            return Err(self.input.malformed("a resource that is out of order"));
        }
        let document = Bytes::from(self.input.sized("a document", DOCUMENT_BYTES_MAX)?);
        self.last = Some(reference.clone());
        self.entries += 1;
        Ok(Some(SnapshotEntry {
            reference,
            format,
            document,
        }))
    }

    fn end_resources(&mut self) -> Result<(), SnapshotError> {
        if self.input.u64()? != self.entries {
            return Err(self.input.malformed("another number of resources than there are"));
        }
        self.input.hash_resources = false;
        let actual = Digest::from_bytes(*self.input.resources.finalize().as_bytes());
        let expected = Digest::from_bytes(self.input.array()?);
        if actual != expected {
            return Err(SnapshotError::Damaged { expected, actual });
        }
        self.resources = actual;
        Ok(())
    }

    fn section(&mut self) -> Result<Option<(String, Bytes)>, SnapshotError> {
        match self.input.byte()? {
            tag::SECTION => {}
            tag::END => {
                return match self.input.available()? {
                    0 => Ok(None),
                    _ => Err(self.input.malformed("bytes between the last section and the trailer")),
                };
            }
            _ => return Err(self.input.malformed("neither a section nor the end")),
        }
        let name = self.input.short("the name of a section")?;
        if !self.section_names.insert(name.clone()) {
            return Err(self.input.malformed("a section that is there already"));
        }
        let mut content = Vec::new();
        loop {
            let chunk = self.input.sized("a piece of a section", SNAPSHOT_CHUNK_BYTES_MAX)?;
            if chunk.is_empty() {
                break;
            }
            content.extend_from_slice(&chunk);
            self.input
                .bounded("a section", content.len(), SNAPSHOT_SECTION_BYTES_MAX)?;
        }
        self.sections.push(name.clone());
        Ok(Some((name, Bytes::from(content))))
    }
}

/// The file without its trailer: it keeps the last bytes back until it knows that they are the last, and hashes what
/// it gives out.
#[derive(Debug)]
struct Input<R> {
    from: R,
    buffer: Box<[u8]>,
    /// What is read and not given out: `buffer[start..end]`.
    start: usize,
    end: usize,
    /// `buffer[hashed..start]` was given out and is not hashed yet.
    hashed: usize,
    ended: bool,
    all: blake3::Hasher,
    resources: blake3::Hasher,
    hash_resources: bool,
    /// How many bytes were given out.
    at: u64,
}

impl<R: Read> Input<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; BUFFER_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            hashed: 0,
            ended: false,
            all: blake3::Hasher::new(),
            resources: blake3::Hasher::new(),
            hash_resources: false,
            at: 0,
        }
    }

    fn header(&mut self) -> Result<Header, SnapshotError> {
        // The magic is looked at as it comes, so that a short file of another kind is not called a cut snapshot.
        self.available()?;
        let there = &self.buffer[..self.end.min(MAGIC.len())];
        if there.is_empty() || !MAGIC.starts_with(there) {
            return Err(SnapshotError::NotASnapshot);
        }
        self.array::<16>()?;
        let found = u32::from_le_bytes(self.array()?);
        if found != FORMAT {
            return Err(match found {
                0 => self.malformed("there is no format 0"),
                _ => SnapshotError::NewerFormat { found, known: FORMAT },
            });
        }
        Ok(Header {
            revision: self.u64()?,
            created_by: self.text("the name of what wrote it")?,
            declaration: self.text("the declaration")?,
        })
    }

    /// How many bytes can be given out without reading again; 0 only at the end.
    fn available(&mut self) -> Result<usize, SnapshotError> {
        while self.end - self.start <= TRAILER_BYTES + ETCD_DIGEST_BYTES && !self.ended {
            self.hash();
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            (self.start, self.hashed) = (0, 0);
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    self.drop_etcd_digest();
                }
                Ok(read) => self.end += read,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SnapshotError::Read { at: self.at, source }),
            }
        }
        // Until the end is known, what could be the digest behind it is kept back, too.
        let kept = TRAILER_BYTES + if self.ended { 0 } else { ETCD_DIGEST_BYTES };
        Ok((self.end - self.start).saturating_sub(kept))
    }

    /// At the end: the mark of the end is where the file ends.
    fn drop_etcd_digest(&mut self) {
        let there = &self.buffer[self.start..self.end];
        let without = there
            .len()
            .checked_sub(ETCD_DIGEST_BYTES)
            .map(|length| &there[..length]);
        if without.is_some_and(|without| without.ends_with(&END)) && !there.ends_with(&END) {
            self.end -= ETCD_DIGEST_BYTES;
        }
    }

    fn hash(&mut self) {
        self.all.update(&self.buffer[self.hashed..self.start]);
        self.hashed = self.start;
    }

    fn fill(&mut self, mut to: &mut [u8]) -> Result<(), SnapshotError> {
        while !to.is_empty() {
            let available = self.available()?.min(to.len());
            if available == 0 {
                return Err(SnapshotError::CutShort {
                    bytes: self.at + (self.end - self.start) as u64,
                });
            }
            let (now, later) = to.split_at_mut(available);
            now.copy_from_slice(&self.buffer[self.start..self.start + available]);
            if self.hash_resources {
                self.resources.update(now);
            }
            self.start += available;
            self.at += available as u64;
            to = later;
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let mut array = [0; N];
        self.fill(&mut array)?;
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, SnapshotError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.array().map(u64::from_le_bytes)
    }

    fn bounded(&self, what: &'static str, size: usize, max: usize) -> Result<(), SnapshotError> {
        if size > max {
            return Err(SnapshotError::OutOfBounds {
                what,
                at: self.at,
                size: size as u64,
                max: max as u64,
            });
        }
        Ok(())
    }

    fn exactly(&mut self, size: usize) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = vec![0; size];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// Bytes with a length of 32 bits in front.
    fn sized(&mut self, what: &'static str, max: usize) -> Result<Vec<u8>, SnapshotError> {
        let size = u32::from_le_bytes(self.array()?) as usize;
        self.bounded(what, size, max)?;
        self.exactly(size)
    }

    /// A text with a length of 16 bits in front.
    fn short(&mut self, what: &'static str) -> Result<String, SnapshotError> {
        let size = usize::from(u16::from_le_bytes(self.array()?));
        self.bounded(what, size, NAME_BYTES_MAX)?;
        let bytes = self.exactly(size)?;
        String::from_utf8(bytes).map_err(|_| self.malformed("a text that is not UTF-8"))
    }

    /// A text with a length of 32 bits in front.
    fn text(&mut self, what: &'static str) -> Result<String, SnapshotError> {
        let bytes = self.sized(what, SNAPSHOT_TEXT_BYTES_MAX)?;
        String::from_utf8(bytes).map_err(|_| self.malformed("a text that is not UTF-8"))
    }

    fn malformed(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Malformed { what, at: self.at }
    }

    /// Checks the trailer, when everything before it was given out.
    fn trailer(&mut self) -> Result<Digest, SnapshotError> {
        self.hash();
        let there = &self.buffer[self.start..self.end];
        let bytes = self.at + there.len() as u64;
        let Some((digest, mark)) = there.split_first_chunk::<{ Digest::BYTES }>() else {
            return Err(SnapshotError::CutShort { bytes });
        };
        let expected = Digest::from_bytes(*digest);
        let actual = Digest::from_bytes(*self.all.finalize().as_bytes());
        match (expected == actual, mark == END) {
            (true, true) => Ok(actual),
            (true, false) if mark.len() == END.len() => Err(SnapshotError::Malformed {
                what: "the mark at the end",
                at: bytes - END.len() as u64,
            }),
            (false, true) => Err(SnapshotError::Damaged { expected, actual }),
            _ => Err(SnapshotError::CutShort { bytes }),
        }
    }

    /// Why it failed in truth: reads on to the end, and reports what the trailer says, unless that is whole.
    fn diagnose(&mut self, error: SnapshotError) -> SnapshotError {
        if matches!(error, SnapshotError::NotASnapshot | SnapshotError::Read { .. }) {
            return error;
        }
        self.hash_resources = false;
        loop {
            match self.available() {
                Ok(0) => break,
                Ok(available) => {
                    self.start += available;
                    self.at += available as u64;
                }
                Err(error) => return error,
            }
        }
        match self.trailer() {
            Ok(_) => error,
            Err(cause) => cause,
        }
    }
}
