//! The bytes of a segment.
//!
//! A segment is one header and then records, each aligned to 8 bytes. Everything that a reader needs to decide whether
//! a record is whole, is of *this* segment, and was ever acknowledged is in the record itself:
//!
//! - `sequence` grows by one with each record of the whole log, so a lost record is a gap that shows;
//! - `synced` is the highest sequence that was durable when the record was written. One write is in flight at a time,
//!   so a record that cannot be read was torn by a crash if no later record claims `synced >= sequence`, and is rot if
//!   one does. Blocks of one unfinished write may reach the disk in any order, which is why "a valid record follows"
//!   alone would not tell the two apart;
//! - both checksums start from a salt made of the log's identity and the segment's number, so bytes of another
//!   segment or another log are not taken for records.
//!
//! The header's checksum is apart from the payload's, so that a length is believed only after it was checked.
//!
//! Rejected: a checksum per batch instead of per record. It is smaller by 20 bytes a record, but then one record
//! cannot be read back by position without its batch.
//!
//! All integers are little-endian. See [`RECORD_HEADER_BYTES`] and [`SegmentHeader`] for the layouts.

use std::collections::BTreeMap;

use bytes::Bytes;

/// The first bytes of every segment.
pub(super) const MAGIC: [u8; 8] = *b"RVLOGSEG";
/// The format that this build writes, and the newest that it reads.
pub(super) const FORMAT_VERSION: u32 = 1;
/// `header crc u32, payload crc u32, payload length u32, kind u8, slot u8, zero u16, sequence u64, synced u64, index u64`.
pub(super) const RECORD_HEADER_BYTES: usize = 40;
/// The part of a segment header before its metadata.
pub(super) const SEGMENT_HEADER_FIXED_BYTES: usize = 64;
/// Records begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// The payload of the entry at `index`.
    Entry,
    /// The new value of `slot`.
    Metadata,
    /// The entries from `index` on are gone.
    TruncateFrom,
    /// The entries up to and including `index` are gone.
    PurgeTo,
    /// Not part of the log, and overwritten by what follows: a witness that `synced` was durable, written while idle.
    Mark,
}

impl RecordKind {
    const fn code(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::Metadata => 2,
            Self::TruncateFrom => 3,
            Self::PurgeTo => 4,
            Self::Mark => 5,
        }
    }

    const fn of(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Entry),
            2 => Some(Self::Metadata),
            3 => Some(Self::TruncateFrom),
            4 => Some(Self::PurgeTo),
            5 => Some(Self::Mark),
            _ => None,
        }
    }
}

/// Where both checksums of a record start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(u32);

impl Salt {
    pub fn of(identity: u64, segment: u64) -> Self {
        Self(crc32c::crc32c_append(
            crc32c::crc32c(&identity.to_le_bytes()),
            &segment.to_le_bytes(),
        ))
    }
}

/// A record without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RecordHeader {
    pub kind: RecordKind,
    pub slot: u8,
    pub sequence: u64,
    pub synced: u64,
    pub index: u64,
    pub length: u32,
    payload_crc: u32,
}

/// What a record takes in a segment, padding included.
pub(super) const fn record_bytes(payload_bytes: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_bytes).next_multiple_of(ALIGNMENT)
}

/// What a caller fills in of a record; the rest follows from the payload and the salt.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordFields {
    pub kind: RecordKind,
    pub slot: u8,
    pub sequence: u64,
    pub synced: u64,
    pub index: u64,
}

/// Appends a record to `buffer`, padded.
///
/// Panics if the payload is longer than a `u32` counts: the engine bounds payloads far below.
pub(super) fn encode_record(buffer: &mut Vec<u8>, salt: Salt, fields: RecordFields, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are bounded by LOG_ENTRY_BYTES_MAX");
    let mut header = [0; RECORD_HEADER_BYTES];
    header[4..8].copy_from_slice(&crc32c::crc32c_append(salt.0, payload).to_le_bytes());
    header[8..12].copy_from_slice(&length.to_le_bytes());
    header[12] = fields.kind.code();
    header[13] = fields.slot;
    header[16..24].copy_from_slice(&fields.sequence.to_le_bytes());
    header[24..32].copy_from_slice(&fields.synced.to_le_bytes());
    header[32..40].copy_from_slice(&fields.index.to_le_bytes());
    let crc = crc32c::crc32c_append(salt.0, &header[4..]);
    header[0..4].copy_from_slice(&crc.to_le_bytes());
    let end = buffer.len() + record_bytes(payload.len());
    buffer.extend_from_slice(&header);
    buffer.extend_from_slice(payload);
    buffer.resize(end, 0);
}

impl RecordHeader {
    /// The header, if its checksum holds under this salt and every field has a meaning.
    pub fn decode(salt: Salt, bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        if u32_at(bytes, 0) != crc32c::crc32c_append(salt.0, &bytes[4..]) || bytes[14..16] != [0, 0] {
            return None;
        }
        Some(Self {
            kind: RecordKind::of(bytes[12])?,
            slot: bytes[13],
            sequence: u64_at(bytes, 16),
            synced: u64_at(bytes, 24),
            index: u64_at(bytes, 32),
            length: u32_at(bytes, 8),
            payload_crc: u32_at(bytes, 4),
        })
    }

    /// Whether these bytes, of length `length`, are what was written.
    pub fn is_payload(&self, salt: Salt, payload: &[u8]) -> bool {
        self.payload_crc == crc32c::crc32c_append(salt.0, payload)
    }
}

/// Which entries a log has: `first..next`.
///
/// A log that never held or purged anything accepts any first index; from then on indexes are contiguous.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub first: u64,
    pub next: u64,
    pub started: bool,
}

impl Extent {
    pub fn accepts(&self, index: u64) -> bool {
        index < u64::MAX && (!self.started || index == self.next)
    }

    pub fn last(&self) -> Option<u64> {
        (self.first < self.next).then(|| self.next - 1)
    }

    pub fn append(&mut self, index: u64) {
        debug_assert!(self.accepts(index));
        if !self.started {
            self.first = index;
            self.started = true;
        }
        self.next = index + 1;
    }

    /// Removes `index..`; what is purged already stays purged.
    pub fn truncate_from(&mut self, index: u64) {
        self.next = self.next.min(index.max(self.first));
    }

    /// Removes `..=index`, also where the log does not reach that far (a snapshot was installed).
    pub fn purge_to(&mut self, index: u64) {
        if self.started && index < self.first {
            return;
        }
        self.started = true;
        self.first = index.saturating_add(1);
        self.next = self.next.max(self.first);
    }
}

/// The state of the log as a segment begins, so that the segments before it can be deleted.
///
/// Layout: `magic 8 bytes, version u32, length u32, crc u32, slots u16, started u16, identity u64, number u64,
/// first_sequence u64, first_index u64, next_index u64`, then per slot `slot u8, length u32, value`, then padding.
/// The checksum covers everything else up to `length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub identity: u64,
    pub number: u64,
    pub first_sequence: u64,
    pub extent: Extent,
    pub metadata: BTreeMap<u8, Bytes>,
}

/// Why a segment's header cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Nothing but zeros: prepared and never used, or not written out when the machine stopped.
    Zero,
    /// Does not begin like a segment.
    Magic,
    /// Another format.
    Version(u32),
    /// Begins like a segment and fails its checksum.
    Checksum,
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEADER_FIXED_BYTES];
        for (slot, value) in &self.metadata {
            bytes.push(*slot);
            let length = u32::try_from(value.len()).expect("metadata is bounded by LOG_METADATA_BYTES_MAX");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(value);
        }
        let length = u32::try_from(bytes.len()).expect("at most 256 slots of bounded size");
        let slots = u16::try_from(self.metadata.len()).expect("a slot is a u8");
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&length.to_le_bytes());
        bytes[20..22].copy_from_slice(&slots.to_le_bytes());
        bytes[22..24].copy_from_slice(&u16::from(self.extent.started).to_le_bytes());
        bytes[24..32].copy_from_slice(&self.identity.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_sequence.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.extent.first.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.extent.next.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes
    }

    /// How long the header says it is, from its fixed part; to be believed only after [`SegmentHeader::decode`].
    pub fn claimed_bytes(fixed: &[u8; SEGMENT_HEADER_FIXED_BYTES]) -> Result<usize, HeaderFault> {
        if fixed.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Zero);
        }
        if fixed[0..8] != MAGIC {
            // What never reached the disk, or was cut off, reads as zeros; anything else was never a segment.
            let is_cut = fixed
                .iter()
                .zip(MAGIC)
                .all(|(found, byte)| *found == byte || *found == 0);
            return Err(if is_cut {
                HeaderFault::Checksum
            } else {
                HeaderFault::Magic
            });
        }
        match u32_at(fixed, 8) {
            FORMAT_VERSION => {}
            // No version is: it was cut off behind the magic.
            0 => return Err(HeaderFault::Checksum),
            other => return Err(HeaderFault::Version(other)),
        }
        let claimed = u32_at(fixed, 12) as usize;
        let longest = SEGMENT_HEADER_FIXED_BYTES + 256 * (5 + revoada_core::limits::LOG_METADATA_BYTES_MAX);
        if !(SEGMENT_HEADER_FIXED_BYTES..=longest).contains(&claimed) {
            return Err(HeaderFault::Checksum);
        }
        Ok(claimed)
    }

    /// `bytes` is exactly as long as the header claims.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderFault> {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..16]), &bytes[20..]);
        if u32_at(bytes, 16) != crc {
            return Err(HeaderFault::Checksum);
        }
        let mut metadata = BTreeMap::new();
        let mut rest = &bytes[SEGMENT_HEADER_FIXED_BYTES..];
        for _ in 0..u16::from_le_bytes([bytes[20], bytes[21]]) {
            let (slot, length) = match rest {
                [slot, a, b, c, d, ..] => (*slot, u32::from_le_bytes([*a, *b, *c, *d]) as usize),
                _ => return Err(HeaderFault::Checksum),
            };
            let value = rest.get(5..5 + length).ok_or(HeaderFault::Checksum)?;
            metadata.insert(slot, Bytes::copy_from_slice(value));
            rest = &rest[5 + length..];
        }
        Ok(Self {
            identity: u64_at(bytes, 24),
            number: u64_at(bytes, 32),
            first_sequence: u64_at(bytes, 40),
            extent: Extent {
                first: u64_at(bytes, 48),
                next: u64_at(bytes, 56),
                started: bytes[22] == 1,
            },
            metadata,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(salt: Salt, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let fields = RecordFields {
            kind: RecordKind::Entry,
            slot: 3,
            sequence: 9,
            synced: 7,
            index: 42,
        };
        encode_record(&mut buffer, salt, fields, payload);
        buffer
    }

    fn header_of(bytes: &[u8]) -> [u8; RECORD_HEADER_BYTES] {
        bytes[..RECORD_HEADER_BYTES].try_into().unwrap()
    }

    #[test]
    fn a_record_reads_back_under_its_own_salt_only() {
        let salt = Salt::of(1, 2);
        let bytes = record(salt, b"hello");
        assert_eq!(bytes.len(), record_bytes(5));
        let header = RecordHeader::decode(salt, &header_of(&bytes)).unwrap();
        assert_eq!((header.kind, header.slot, header.sequence), (RecordKind::Entry, 3, 9));
        assert_eq!((header.synced, header.index, header.length), (7, 42, 5));
        assert!(header.is_payload(salt, b"hello"));
        assert!(!header.is_payload(salt, b"hellp"));
        assert_eq!(RecordHeader::decode(Salt::of(1, 3), &header_of(&bytes)), None);
        assert_eq!(RecordHeader::decode(Salt::of(2, 2), &header_of(&bytes)), None);
    }

    #[test]
    fn zeros_are_not_a_record() {
        for segment in 0..1000 {
            assert_eq!(
                RecordHeader::decode(Salt::of(7, segment), &[0; RECORD_HEADER_BYTES]),
                None
            );
        }
    }

    #[test]
    fn every_bit_of_a_record_is_covered() {
        let salt = Salt::of(1, 2);
        let bytes = record(salt, b"12345678");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let whole = RecordHeader::decode(salt, &header_of(&flipped))
                .is_some_and(|header| header.is_payload(salt, &flipped[RECORD_HEADER_BYTES..]));
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn every_bit_of_a_segment_header_is_covered() {
        let header = SegmentHeader {
            identity: 1,
            number: 2,
            first_sequence: 3,
            extent: Extent {
                first: 4,
                next: 5,
                started: true,
            },
            metadata: BTreeMap::from([(0, Bytes::from_static(b"vote")), (9, Bytes::new())]),
        };
        let bytes = header.encode();
        let read = |bytes: &[u8]| {
            let fixed = bytes[..SEGMENT_HEADER_FIXED_BYTES].try_into().unwrap();
            let claimed = SegmentHeader::claimed_bytes(&fixed)?;
            SegmentHeader::decode(bytes.get(..claimed).ok_or(HeaderFault::Checksum)?)
        };
        assert_eq!(read(&bytes), Ok(header));
        let covered = SEGMENT_HEADER_FIXED_BYTES + 5 + 4 + 5;
        for bit in 0..covered * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn an_extent_is_contiguous_once_it_has_started() {
        let mut extent = Extent::default();
        assert!(extent.accepts(7));
        extent.append(7);
        assert!(extent.accepts(8) && !extent.accepts(7) && !extent.accepts(9));
        extent.append(8);
        extent.truncate_from(3);
        assert_eq!((extent.first, extent.next, extent.last()), (7, 7, None));
        extent.purge_to(20);
        assert_eq!((extent.first, extent.next), (21, 21));
        extent.purge_to(5);
        assert_eq!(extent.first, 21);
        assert!(extent.accepts(21) && !extent.accepts(7));
    }
}
