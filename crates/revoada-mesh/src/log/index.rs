//! Where entries are: on the disk ([`Positions`]) and, the newest of them, in memory ([`Cache`]).
//!
//! The two move at different times. The cache follows what was *accepted*, so that an entry can be read (and sent to a
//! follower) while its sync is still running. The positions follow what was *written*. Every entry that was accepted
//! and not yet written is in the cache, so a reader that asks the cache first never sees the gap between them.

use std::collections::VecDeque;

use bytes::Bytes;

/// Where an entry's record begins, and how long its payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub segment: u64,
    /// Fits, because a segment takes no record that begins past `LogOptions::segment_bytes`.
    pub offset: u32,
    pub length: u32,
}

/// The positions of contiguous indexes, 16 bytes each.
#[derive(Debug, Default)]
pub(super) struct Positions {
    base: u64,
    table: VecDeque<Position>,
}

impl Positions {
    pub fn push(&mut self, index: u64, position: Position) {
        if self.table.is_empty() {
            self.base = index;
        }
        debug_assert_eq!(self.base + self.table.len() as u64, index);
        self.table.push_back(position);
    }

    pub fn truncate_from(&mut self, index: u64) {
        let kept = index.saturating_sub(self.base).min(self.table.len() as u64);
        self.table
            .truncate(usize::try_from(kept).expect("no more than the table holds"));
    }

    pub fn purge_to(&mut self, index: u64) {
        while self.base <= index && self.table.pop_front().is_some() {
            self.base += 1;
        }
        if self.table.capacity() > 1024 && self.table.len() < self.table.capacity() / 4 {
            self.table.shrink_to(self.table.len() * 2);
        }
    }

    pub fn get(&self, index: u64) -> Option<Position> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.table.get(at).copied()
    }

    /// The oldest entry's.
    pub fn first(&self) -> Option<Position> {
        self.table.front().copied()
    }

    /// Whether exactly the indexes `first..next` have one.
    pub fn covers(&self, first: u64, next: u64) -> bool {
        self.table.len() as u64 == next.saturating_sub(first) && (self.table.is_empty() || self.base == first)
    }
}

#[derive(Debug)]
struct Cached {
    payload: Bytes,
    /// The record that carries it; it may be forgotten once that is written.
    sequence: u64,
}

/// The payloads of the newest entries: a contiguous run that ends where the log ends.
#[derive(Debug, Default)]
pub(super) struct Cache {
    base: u64,
    entries: VecDeque<Cached>,
    bytes: usize,
}

impl Cache {
    pub fn push(&mut self, index: u64, payload: Bytes, sequence: u64) {
        if self.entries.is_empty() {
            self.base = index;
        }
        debug_assert_eq!(self.base + self.entries.len() as u64, index);
        self.bytes += payload.len();
        self.entries.push_back(Cached { payload, sequence });
    }

    pub fn truncate_from(&mut self, index: u64) {
        while self.base + self.entries.len() as u64 > index
            && let Some(cached) = self.entries.pop_back()
        {
            self.bytes -= cached.payload.len();
        }
    }

    pub fn purge_to(&mut self, index: u64) {
        while self.base <= index && self.pop_front() {}
    }

    /// Forgets the oldest, down to `bytes_max`, but nothing that is not in the files yet.
    pub fn shrink(&mut self, bytes_max: usize, sequence_written: u64) {
        while self.bytes > bytes_max
            && self
                .entries
                .front()
                .is_some_and(|cached| cached.sequence <= sequence_written)
            && self.pop_front()
        {}
        if self.entries.capacity() > 1024 && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    pub fn get(&self, index: u64) -> Option<&Bytes> {
        let at = usize::try_from(index.checked_sub(self.base)?).ok()?;
        self.entries.get(at).map(|cached| &cached.payload)
    }

    fn pop_front(&mut self) -> bool {
        let Some(cached) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= cached.payload.len();
        self.base += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn position(offset: u32) -> Position {
        Position {
            segment: 1,
            offset,
            length: 1,
        }
    }

    #[test]
    fn positions_follow_both_ends_of_the_log() {
        let mut positions = Positions::default();
        for index in 5..10 {
            positions.push(index, position(u32::try_from(index).unwrap()));
        }
        positions.truncate_from(8);
        positions.purge_to(5);
        assert_eq!(positions.get(5), None);
        assert_eq!(positions.get(7), Some(position(7)));
        assert_eq!(positions.get(8), None);
        assert!(positions.covers(6, 8) && !positions.covers(5, 8) && !positions.covers(6, 9));
        positions.truncate_from(2);
        assert!(positions.covers(6, 6));
        positions.push(30, position(30));
        assert_eq!(positions.first(), Some(position(30)));
    }

    #[test]
    fn the_cache_forgets_only_what_was_written() {
        let mut cache = Cache::default();
        for index in 0..10 {
            cache.push(index, Bytes::from_static(b"0123456789"), index + 1);
        }
        cache.shrink(50, 3);
        assert!(cache.get(2).is_none() && cache.get(3).is_some());
        cache.shrink(50, 10);
        assert!(cache.get(4).is_none() && cache.get(5).is_some());
        cache.truncate_from(7);
        assert!(cache.get(6).is_some() && cache.get(7).is_none());
        cache.purge_to(100);
        cache.push(101, Bytes::new(), 11);
        assert!(cache.get(101).is_some() && cache.get(6).is_none());
    }
}
