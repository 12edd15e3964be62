//! The chain as a file: framing and digests, with no opinion on what the blocks say.
//!
//! All numbers are big-endian.
//!
//! ```text
//! file    = header record* trailer
//! header  = "REVCHAIN" version: u32 (1)  cluster: 32 bytes  records: u64  digest: 32 bytes
//! record  = "BLCK" length: u32  payload: `length` bytes  digest: 32 bytes
//! payload = signature: 64 bytes  witnesses: u16  (node: 32 bytes  signature: 64 bytes)*  body
//! trailer = "TAIL" head: 32 bytes  digest: 32 bytes
//! ```
//!
//! `body` is the canonical form of a block body (module `canonical`). Each digest is BLAKE3 in a domain of its own
//! over what stands before it in the header or the record; the trailer's is over the whole file before it. These
//! digests say *damaged here* and nothing more: whoever changes a file on purpose computes them anew, and is caught by
//! signatures, parents and heads.
//!
//! Rejected: one digest at the end. It tells that a file of a thousand blocks is damaged, and not which block. Also
//! rejected: looking for the next record behind a damaged length. A crafted file could make that search quadratic, and
//! the file is refused anyway.

use blake3::Hasher;

use crate::block::BLOCK_BYTES_MAX;
use crate::chain::WITNESSES_MAX;
use crate::{Chain, Digest, NodeId, SealedBlock, Signature, Witness};

/// The version that is written, and the newest that is read.
pub const EXPORT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"REVCHAIN";
const RECORD_TAG: &[u8; 4] = b"BLCK";
const TRAILER_TAG: &[u8; 4] = b"TAIL";
const HEADER_BYTES: usize = 8 + 4 + 32 + 8 + 32;
const TRAILER_BYTES: usize = 4 + 32 + 32;
const WITNESS_BYTES: usize = 32 + 64;
const PAYLOAD_BYTES_MAX: usize = 64 + 2 + WITNESSES_MAX * WITNESS_BYTES + BLOCK_BYTES_MAX;

const PART_CONTEXT: &str = "revoada 2026-11 attest export part v1";
const FILE_CONTEXT: &str = "revoada 2026-11 attest export file v1";

impl Chain {
    /// The chain as a self-describing file (layout in the module `export`): deterministic, so equal chains give equal
    /// bytes. [`crate::verify()`] reads it.
    pub fn export(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(MAGIC);
        file.extend(EXPORT_VERSION.to_be_bytes());
        file.extend(self.cluster().as_bytes());
        file.extend(self.len().to_be_bytes());
        seal_part(&mut file, 0);
        self.iter().for_each(|sealed| write_record(&mut file, sealed));
        file.extend(TRAILER_TAG);
        file.extend(self.head().as_bytes());
        let whole = file_digest(&file);
        file.extend(whole.as_bytes());
        file
    }
}

fn write_record(file: &mut Vec<u8>, sealed: &SealedBlock) {
    let start = file.len();
    let body = sealed.block.body.canonical_bytes();
    let length = 64 + 2 + sealed.witnesses.len() * WITNESS_BYTES + body.len();
    debug_assert!(
        length <= PAYLOAD_BYTES_MAX,
        "a chain keeps the limits of blocks and witnesses"
    );
    file.extend(RECORD_TAG);
    file.extend((length as u32).to_be_bytes());
    file.extend(sealed.block.signature.as_bytes());
    file.extend((sealed.witnesses.len() as u16).to_be_bytes());
    for witness in &sealed.witnesses {
        file.extend(witness.node.as_bytes());
        file.extend(witness.signature.as_bytes());
    }
    file.extend(body);
    seal_part(file, start);
}

/// Appends the digest of what stands behind `start`.
fn seal_part(file: &mut Vec<u8>, start: usize) {
    let digest = part_digest(&file[start..]);
    file.extend(digest.as_bytes());
}

fn part_digest(bytes: &[u8]) -> Digest {
    Digest::from_bytes(blake3::derive_key(PART_CONTEXT, bytes))
}

fn file_digest(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new_derive_key(FILE_CONTEXT);
    hasher.update(bytes);
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Why nothing at all can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoExport {
    #[error("this is not an export of a chain")]
    OtherFile,
    #[error("the file ends within its header")]
    Cut,
    #[error("the file is of format {found}, and {EXPORT_VERSION} is the newest that is known here")]
    Version { found: u32 },
}

/// What the framing of a file gave. Borrows the file, and is a small multiple of its size at most.
#[derive(Debug)]
pub(crate) struct Export<'a> {
    pub header: Option<Header>,
    pub records: Vec<Record<'a>>,
    pub end: End,
}

/// What an undamaged header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub cluster: Digest,
    pub records: u64,
}

/// One record in the place where it stands.
#[derive(Debug)]
pub(crate) enum Record<'a> {
    /// What was written.
    Sound(Sealed<'a>),
    /// Its digest says that bytes were changed.
    Damaged,
    /// The digest is right and the parts do not add up.
    Malformed,
}

/// The parts of a record.
#[derive(Debug)]
pub(crate) struct Sealed<'a> {
    pub signature: Signature,
    pub body: &'a [u8],
    witnesses: &'a [[u8; WITNESS_BYTES]],
}

impl Sealed<'_> {
    pub fn witnesses(&self) -> impl ExactSizeIterator<Item = Witness> {
        self.witnesses.iter().map(|bytes| {
            let (node, signature) = bytes
                .split_first_chunk::<32>()
                .expect("a witness is longer than its node id");
            let signature = signature.first_chunk().expect("a witness is a node id and a signature");
            Witness {
                node: NodeId::from_bytes(*node),
                signature: Signature::from_bytes(*signature),
            }
        })
    }
}

/// How the records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By a trailer; `intact` is whether the file is what its last digest says.
    Trailer { head: Digest, intact: bool },
    /// By a trailer that does not end the file.
    Excess { bytes: usize },
    /// By the end of the file, before a trailer.
    Cut,
    /// By bytes that are neither a record nor a trailer, in a file that was not cut.
    Unreadable,
}

/// Reads the framing of `file`.
pub(crate) fn read(file: &[u8]) -> Result<Export<'_>, NoExport> {
    if file.is_empty() || !file.iter().zip(MAGIC).all(|(found, expected)| found == expected) {
        return Err(NoExport::OtherFile);
    }
    if let Some(version) = file[MAGIC.len().min(file.len())..]
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
        && version != EXPORT_VERSION
    {
        return Err(NoExport::Version { found: version });
    }
    let (header, rest) = file.split_first_chunk::<HEADER_BYTES>().ok_or(NoExport::Cut)?;
    let mut records = Vec::new();
    let mut left = rest;
    let end = loop {
        match read_record(left, is_trailed(rest)) {
            Next::Record(record, behind) => {
                records.push(record);
                left = behind;
            }
            Next::Trailer => break read_trailer(file, left),
            Next::End(end) => break end,
        }
    };
    Ok(Export {
        header: read_header(header),
        records,
        end,
    })
}

fn read_header(bytes: &[u8; HEADER_BYTES]) -> Option<Header> {
    let (fields, digest) = bytes.split_last_chunk::<32>()?;
    if part_digest(fields).as_bytes() != digest {
        return None;
    }
    let (fields, records) = fields.split_last_chunk::<8>()?;
    let cluster = fields.last_chunk::<32>()?;
    Some(Header {
        cluster: Digest::from_bytes(*cluster),
        records: u64::from_be_bytes(*records),
    })
}

/// Whether a trailer ends the file: if so, it was not cut, and what does not fit is damage.
fn is_trailed(rest: &[u8]) -> bool {
    rest.last_chunk::<TRAILER_BYTES>()
        .is_some_and(|trailer| trailer.starts_with(TRAILER_TAG))
}

enum Next<'a> {
    Record(Record<'a>, &'a [u8]),
    Trailer,
    End(End),
}

fn read_record(left: &[u8], trailed: bool) -> Next<'_> {
    let stop = Next::End(if trailed { End::Unreadable } else { End::Cut });
    let Some(tag) = left.first_chunk::<4>() else {
        return stop;
    };
    if tag == TRAILER_TAG {
        return Next::Trailer;
    }
    if tag != RECORD_TAG {
        return Next::End(End::Unreadable);
    }
    let Some(length) = left[4..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else {
        return stop;
    };
    if length > PAYLOAD_BYTES_MAX {
        return Next::End(End::Unreadable);
    }
    let Some((part, behind)) = left.split_at_checked(8 + length) else {
        return stop;
    };
    let Some((digest, behind)) = behind.split_first_chunk::<32>() else {
        return stop;
    };
    if part_digest(part).as_bytes() != digest {
        return Next::Record(Record::Damaged, behind);
    }
    Next::Record(
        read_payload(&part[8..]).map_or(Record::Malformed, Record::Sound),
        behind,
    )
}

fn read_payload(payload: &[u8]) -> Option<Sealed<'_>> {
    let (signature, rest) = payload.split_first_chunk::<64>()?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_be_bytes(*count));
    let (witnesses, body) = rest.split_at_checked(count * WITNESS_BYTES)?;
    let (witnesses, _) = witnesses.as_chunks::<WITNESS_BYTES>();
    let within = count <= WITNESSES_MAX && body.len() <= BLOCK_BYTES_MAX;
    within.then_some(Sealed {
        signature: Signature::from_bytes(*signature),
        body,
        witnesses,
    })
}

fn read_trailer(file: &[u8], left: &[u8]) -> End {
    let Some((trailer, behind)) = left.split_first_chunk::<TRAILER_BYTES>() else {
        return End::Cut;
    };
    if !behind.is_empty() {
        return End::Excess { bytes: behind.len() };
    }
    let (before, digest) = file
        .split_last_chunk::<32>()
        .expect("a file with a trailer is longer than its digest");
    let head = *trailer[4..]
        .first_chunk()
        .expect("a trailer holds a head behind its tag");
    End::Trailer {
        head: Digest::from_bytes(head),
        intact: file_digest(before).as_bytes() == digest,
    }
}

#[cfg(test)]
pub(crate) mod forge {
    //! Files as an attacker would make them: any header, records and trailer, with all plain digests right.

    use super::*;

    /// Writes `blocks` in the given order under a header and a trailer of one's own choice.
    pub fn file(cluster: Digest, records: u64, blocks: &[SealedBlock], head: Digest) -> Vec<u8> {
        let mut file = [MAGIC.as_slice(), &EXPORT_VERSION.to_be_bytes(), cluster.as_bytes()].concat();
        file.extend(records.to_be_bytes());
        seal_part(&mut file, 0);
        blocks.iter().for_each(|sealed| write_record(&mut file, sealed));
        end(file, head)
    }

    /// Appends a trailer.
    pub fn end(mut file: Vec<u8>, head: Digest) -> Vec<u8> {
        file.extend(TRAILER_TAG);
        file.extend(head.as_bytes());
        let whole = file_digest(&file);
        file.extend(whole.as_bytes());
        file
    }

    /// A file with one record whose payload is `payload`.
    pub fn raw_record(cluster: Digest, payload: &[u8]) -> Vec<u8> {
        let mut file = [MAGIC.as_slice(), &EXPORT_VERSION.to_be_bytes(), cluster.as_bytes()].concat();
        file.extend(1_u64.to_be_bytes());
        seal_part(&mut file, 0);
        let start = file.len();
        file.extend(RECORD_TAG);
        file.extend((payload.len() as u32).to_be_bytes());
        file.extend(payload);
        seal_part(&mut file, start);
        end(file, cluster)
    }

    /// Where each record of a sound file starts and ends.
    pub fn record_spans(file: &[u8]) -> Vec<std::ops::Range<usize>> {
        let mut spans = Vec::new();
        let mut at = HEADER_BYTES;
        while file[at..].starts_with(RECORD_TAG) {
            let length = u32::from_be_bytes(*file[at + 4..].first_chunk().unwrap()) as usize;
            spans.push(at..at + 8 + length + 32);
            at = spans[spans.len() - 1].end;
        }
        spans
    }
}
