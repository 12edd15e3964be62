//! Reading a folder back: every record is checked, and what a crash tore is told from what rotted.
//!
//! Only the end of the last segment can be torn, because one write is in flight at a time and a segment is entered
//! after the one before it is durable. So a record that cannot be read is rot in every segment but the last, and in
//! the last if anything behind it says that it was durable once (see `format`). A torn tail was never acknowledged: it
//! is cut off and reported. Rot is an error: dropping what was acknowledged would let a voter forget its vote.
//!
//! What cannot be told: a record that rotted in the very last write before the machine stopped, if the stop came
//! before the engine was idle for a moment (it then leaves a mark) and before anything else was written.
//!
//! Rejected: cutting at the first bad record wherever it is, as many logs do.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use revoada_core::limits::LOG_READ_CHUNK_BYTES;

use super::disk::{Disk, SegmentFile};
use super::error::{OpenError, Rot};
use super::format::{
    ALIGNMENT, Extent, FORMAT_VERSION, HeaderFault, RECORD_HEADER_BYTES, RecordHeader, RecordKind,
    SEGMENT_HEADER_FIXED_BYTES, Salt, SegmentHeader, record_bytes,
};
use super::index::{Position, Positions};
use crate::files::{OpenFile, read_up_to};

/// The end of the last segment was not written to its end: a crash came in between, and none of it was acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub file: PathBuf,
    /// Where the log was cut, in bytes from the segment's beginning.
    pub offset: u64,
    /// How many bytes behind that were not zero, to the last of them.
    pub bytes: u64,
}

/// A log as it was read back.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub extent: Extent,
    pub metadata: BTreeMap<u8, Bytes>,
    pub positions: Positions,
    /// The newest record's sequence number.
    pub sequence: u64,
    pub segments: BTreeMap<u64, Arc<SegmentFile>>,
    /// The segment to go on with, and where.
    pub active: u64,
    pub tail: u64,
    pub torn_tail: Option<TornTail>,
}

/// Reads the folder, makes it ready to be appended to, and makes what was read durable.
///
/// The last step matters: records may be readable that the crashed process had written and never synced. Once they
/// are handed out they must not vanish.
pub(super) fn replay(disk: &Disk, identity: u64, segment_bytes: u64) -> Result<Replayed, OpenError> {
    let numbers = used_segments(disk)?;
    let Some(last) = numbers.last().copied() else {
        return first_segment(disk, identity, segment_bytes);
    };
    let mut log = Replayed::default();
    let mut torn_header = None;
    for number in numbers.iter().copied() {
        let segment = open_segment(disk, number)?;
        match read_header(&segment)? {
            Ok(header) => log.enter(&segment, header, identity, number)?,
            Err(fault) => {
                torn_header = Some(judge_header(&segment, fault, &log, (identity, number), number == last)?);
                break;
            }
        }
        log.scan(&segment, Salt::of(identity, number))?;
        log.segments.insert(number, Arc::new(segment));
    }
    if log.segments.is_empty() {
        return Ok(Replayed {
            torn_tail: torn_header,
            ..first_segment(disk, identity, segment_bytes)?
        });
    }
    let torn_end = log.judge_tail(identity)?;
    if !log.positions.covers(log.extent.first, log.extent.next) {
        return Err(OpenError::Missing {
            file: disk.segment_path(numbers[0].saturating_sub(1)),
        });
    }
    log.settle_tail(disk, torn_end, segment_bytes)?;
    if let Some(torn) = torn_header {
        disk.remove_segment(last)
            .and_then(|()| disk.sync_folder())
            .map_err(|source| OpenError::of("remove", &torn.file, source))?;
        log.torn_tail = Some(torn);
    }
    Ok(log)
}

/// The numbers of the segments that were written to, in order; behind them there may be one that was only prepared.
fn used_segments(disk: &Disk) -> Result<Vec<u64>, OpenError> {
    let failed = |source| OpenError::of("read", disk.folder(), source);
    let mut numbers = Vec::new();
    for name in disk.names().map_err(failed)? {
        numbers.extend(Disk::segment_number(&name));
    }
    numbers.sort_unstable();
    for pair in numbers.windows(2) {
        if pair[1] != pair[0] + 1 {
            return Err(OpenError::Missing {
                file: disk.segment_path(pair[0] + 1),
            });
        }
    }
    while let Some(last) = numbers.last().copied() {
        let segment = open_segment(disk, last)?;
        let end = nonzero_end(&*segment.file, 0).map_err(|source| OpenError::of("read", &segment.path, source))?;
        if end.is_some() {
            break;
        }
        numbers.pop();
        if numbers.is_empty() && last > 1 {
            return Err(OpenError::Missing {
                file: disk.segment_path(last - 1),
            });
        }
    }
    Ok(numbers)
}

fn open_segment(disk: &Disk, number: u64) -> Result<SegmentFile, OpenError> {
    disk.open_segment(number)
        .map_err(|source| OpenError::of("open", disk.segment_path(number), source))
}

/// A log that never held anything.
fn first_segment(disk: &Disk, identity: u64, segment_bytes: u64) -> Result<Replayed, OpenError> {
    let number = 1;
    let failed = |source| OpenError::of("create", disk.segment_path(number), source);
    let segment = disk.create_segment(number, segment_bytes).map_err(failed)?;
    let header = SegmentHeader {
        identity,
        number,
        first_sequence: 1,
        extent: Extent::default(),
        metadata: BTreeMap::new(),
    };
    let bytes = header.encode();
    segment
        .file
        .write_at(&bytes, 0)
        .and_then(|()| segment.file.sync())
        .map_err(failed)?;
    Ok(Replayed {
        active: number,
        tail: bytes.len() as u64,
        segments: BTreeMap::from([(number, Arc::new(segment))]),
        ..Replayed::default()
    })
}

type Header = Result<(SegmentHeader, usize), HeaderFault>;

/// The header and what it takes in the file; a file that is too short reads as if zeros followed.
fn read_header(segment: &SegmentFile) -> Result<Header, OpenError> {
    let failed = |source| OpenError::of("read", &segment.path, source);
    let mut fixed = [0; SEGMENT_HEADER_FIXED_BYTES];
    read_up_to(&*segment.file, &mut fixed, 0).map_err(failed)?;
    let claimed = match SegmentHeader::claimed_bytes(&fixed) {
        Ok(claimed) => claimed,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut bytes = vec![0; claimed];
    read_up_to(&*segment.file, &mut bytes, 0).map_err(failed)?;
    Ok(SegmentHeader::decode(&bytes).map(|header| (header, claimed.next_multiple_of(ALIGNMENT))))
}

/// A header that cannot be read is torn if its segment was just being entered, and an error otherwise.
fn judge_header(
    segment: &SegmentFile,
    fault: HeaderFault,
    log: &Replayed,
    (identity, number): (u64, u64),
    is_last: bool,
) -> Result<TornTail, OpenError> {
    let file = segment.path.clone();
    match fault {
        HeaderFault::Version(found) if found > FORMAT_VERSION => {
            return Err(OpenError::NewerFormat {
                file,
                found,
                supported: FORMAT_VERSION,
            });
        }
        HeaderFault::Magic | HeaderFault::Version(_) => return Err(OpenError::WrongFormat { file }),
        HeaderFault::Zero | HeaderFault::Checksum => {}
    }
    let rot = |what| {
        Err(Rot {
            file: file.clone(),
            offset: 0,
            what,
        }
        .into())
    };
    if !is_last || (log.segments.is_empty() && number != 1) {
        return rot("the segment's header cannot be read");
    }
    let behind = look_behind(&*segment.file, Salt::of(identity, number), 0, log.sequence + 1)
        .map_err(|source| OpenError::of("read", &segment.path, source))?;
    match behind {
        Behind { was_durable: true, .. } => rot("the segment's header cannot be read, and records follow it"),
        Behind { nonzero_end, .. } => Ok(TornTail {
            file,
            offset: 0,
            bytes: nonzero_end.unwrap_or(0),
        }),
    }
}

impl Replayed {
    /// Begins a segment: its header has to say what the segments before it add up to.
    fn enter(
        &mut self,
        segment: &SegmentFile,
        (header, header_bytes): (SegmentHeader, usize),
        identity: u64,
        number: u64,
    ) -> Result<(), OpenError> {
        let file = segment.path.clone();
        if header.identity != identity {
            return Err(OpenError::Foreign {
                file,
                expected: identity,
                found: header.identity,
            });
        }
        if header.number != number {
            return Err(Rot {
                file,
                offset: 0,
                what: "the segment's number is not that of its name",
            }
            .into());
        }
        match self.segments.get(&self.active) {
            None => {
                self.extent = header.extent;
                self.metadata = header.metadata;
                self.sequence = header.first_sequence.saturating_sub(1);
            }
            Some(before) if header.first_sequence != self.sequence + 1 => {
                let what = "a record cannot be read, and later segments continue behind it";
                return Err(Rot {
                    file: before.path.clone(),
                    offset: self.tail,
                    what,
                }
                .into());
            }
            Some(_) if header.extent != self.extent || header.metadata != self.metadata => {
                let what = "the segment's header contradicts the records before it";
                return Err(Rot { file, offset: 0, what }.into());
            }
            Some(_) => {}
        }
        self.active = number;
        self.tail = header_bytes as u64;
        Ok(())
    }

    /// Applies the records of the segment just entered, up to the first place where none can be read.
    fn scan(&mut self, segment: &SegmentFile, salt: Salt) -> Result<(), OpenError> {
        let failed = |source| OpenError::of("read", &segment.path, source);
        let mut window = Window::new(&*segment.file).map_err(failed)?;
        while let Some(header) = window.header(self.tail, salt).map_err(failed)? {
            if header.kind == RecordKind::Mark || header.sequence != self.sequence + 1 {
                break;
            }
            let payload_at = self.tail + RECORD_HEADER_BYTES as u64;
            let Some(payload) = window.at(payload_at, header.length as usize).map_err(failed)? else {
                break;
            };
            if !header.is_payload(salt, payload) {
                break;
            }
            if let Err(what) = self.apply(&header, payload) {
                return Err(Rot {
                    file: segment.path.clone(),
                    offset: self.tail,
                    what,
                }
                .into());
            }
            self.sequence = header.sequence;
            self.tail += record_bytes(header.length as usize) as u64;
        }
        Ok(())
    }

    fn apply(&mut self, header: &RecordHeader, payload: &[u8]) -> Result<(), &'static str> {
        match header.kind {
            RecordKind::Entry => {
                if !self.extent.accepts(header.index) {
                    return Err("an entry does not follow the one before it");
                }
                let offset = u32::try_from(self.tail).map_err(|_| "a record begins past the end of a segment")?;
                self.extent.append(header.index);
                let position = Position {
                    segment: self.active,
                    offset,
                    length: header.length,
                };
                self.positions.push(header.index, position);
            }
            RecordKind::Metadata => {
                self.metadata.insert(header.slot, Bytes::copy_from_slice(payload));
            }
            RecordKind::TruncateFrom => {
                self.extent.truncate_from(header.index);
                self.positions.truncate_from(header.index);
            }
            RecordKind::PurgeTo => {
                self.extent.purge_to(header.index);
                self.positions.purge_to(header.index);
            }
            RecordKind::Mark => {}
        }
        Ok(())
    }

    /// Decides what is behind the last record; where it ends, if it was torn.
    fn judge_tail(&self, identity: u64) -> Result<Option<u64>, OpenError> {
        let segment = &self.segments[&self.active];
        let behind = look_behind(
            &*segment.file,
            Salt::of(identity, self.active),
            self.tail,
            self.sequence + 1,
        )
        .map_err(|source| OpenError::of("read", &segment.path, source))?;
        if behind.was_durable {
            let what = "a record cannot be read, and later ones say that it was durable";
            return Err(Rot {
                file: segment.path.clone(),
                offset: self.tail,
                what,
            }
            .into());
        }
        Ok(behind.nonzero_end)
    }

    /// Cuts what was torn, and makes everything before it durable.
    fn settle_tail(&mut self, disk: &Disk, torn_end: Option<u64>, segment_bytes: u64) -> Result<(), OpenError> {
        let segment = &self.segments[&self.active];
        let failed = |source| OpenError::of("repair", &segment.path, source);
        if let Some(end) = torn_end {
            segment.file.set_len(self.tail).map_err(failed)?;
            let file = segment.path.clone();
            self.torn_tail = Some(TornTail {
                file,
                offset: self.tail,
                bytes: end - self.tail,
            });
        }
        disk.allocate(&*segment.file, segment_bytes).map_err(failed)
    }
}

/// What is behind the place where reading stopped.
#[derive(Debug)]
struct Behind {
    /// A record says that the one which should be there was durable.
    was_durable: bool,
    /// The end of what is not zero, if anything is; a mark right there does not count.
    nonzero_end: Option<u64>,
}

/// Looks at every place behind `from` where a record could begin. `sequence` is what should have been at `from`.
fn look_behind(file: &dyn OpenFile, salt: Salt, from: u64, sequence: u64) -> io::Result<Behind> {
    let mut window = Window::new(file)?;
    let mut start = from;
    if let Some(mark) = window
        .header(from, salt)?
        .filter(|header| header.kind == RecordKind::Mark)
    {
        if mark.synced >= sequence {
            return Ok(Behind {
                was_durable: true,
                nonzero_end: None,
            });
        }
        start += RECORD_HEADER_BYTES as u64;
    }
    let nonzero_end = nonzero_end(file, start)?;
    let mut offset = from;
    while offset < nonzero_end.unwrap_or(0) {
        match window.header(offset, salt)? {
            Some(header) if header.synced >= sequence => {
                return Ok(Behind {
                    was_durable: true,
                    nonzero_end,
                });
            }
            _ => offset += ALIGNMENT as u64,
        }
    }
    Ok(Behind {
        was_durable: false,
        nonzero_end,
    })
}

/// Where the last byte at or behind `from` that is not zero ends.
fn nonzero_end(file: &dyn OpenFile, from: u64) -> io::Result<Option<u64>> {
    let room = (file.len()?.saturating_sub(from) as usize).min(LOG_READ_CHUNK_BYTES);
    let (mut chunk, zeros) = (vec![0; room], vec![0; room]);
    let (mut offset, mut end) = (from, None);
    loop {
        let count = read_up_to(file, &mut chunk, offset)?;
        if count == 0 {
            return Ok(end);
        }
        // Prepared space is many megabytes of zeros, and comparing slices is as fast as memory.
        if chunk[..count] != zeros[..count]
            && let Some(at) = chunk[..count].iter().rposition(|byte| *byte != 0)
        {
            end = Some(offset + at as u64 + 1);
        }
        offset += count as u64;
    }
}

/// A stretch of a file in memory, moved along as it is read.
struct Window<'a> {
    file: &'a dyn OpenFile,
    length: u64,
    start: u64,
    filled: usize,
    buffer: Vec<u8>,
}

impl<'a> Window<'a> {
    fn new(file: &'a dyn OpenFile) -> io::Result<Self> {
        Ok(Self {
            file,
            length: file.len()?,
            start: 0,
            filled: 0,
            buffer: Vec::new(),
        })
    }

    /// So many bytes from `offset` on; none if the file ends before.
    fn at(&mut self, offset: u64, bytes: usize) -> io::Result<Option<&[u8]>> {
        if offset + bytes as u64 > self.length {
            return Ok(None);
        }
        let held = self.start..self.start + self.filled as u64;
        if offset < held.start || offset + bytes as u64 > held.end {
            let left = (self.length - offset) as usize;
            self.buffer.resize(left.min(LOG_READ_CHUNK_BYTES).max(bytes), 0);
            self.start = offset;
            self.filled = read_up_to(self.file, &mut self.buffer, offset)?;
        }
        let from = usize::try_from(offset - self.start).expect("within the buffer");
        Ok(self
            .buffer
            .get(from..from + bytes)
            .filter(|_| from + bytes <= self.filled))
    }

    fn header(&mut self, offset: u64, salt: Salt) -> io::Result<Option<RecordHeader>> {
        let bytes = self.at(offset, RECORD_HEADER_BYTES)?;
        Ok(bytes
            .and_then(|bytes| bytes.first_chunk())
            .and_then(|bytes| RecordHeader::decode(salt, bytes)))
    }
}
