//! Writes a large file beside traffic that must not wait for it.
//!
//! A checkpoint that is written as fast as it goes takes a processor from the writers, and its one sync at the end puts
//! all of it before them in the disk's queue: on two cores that was the whole tail of a write's latency. So it goes in
//! pieces: each is handed to the disk at once, and then the thread rests for a multiple of the time that the piece took.
//! On a machine that has nothing else to do the pieces are quick and the rests are short; under load both grow, by
//! themselves. Rejected: a rate in bytes a second, which is wrong on every machine but one; and a sync after each piece,
//! which commits the file system's journal, and the log's appends wait for that.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use revoada_core::limits::{CHECKPOINT_PIECE_BYTES, CHECKPOINT_RESTS_PER_WORK};
use rustix::fs::{Advice, fadvise};

/// A file that is written from its beginning to its end. The owner syncs it.
pub(super) struct Gentle {
    file: File,
    written: u64,
    handed_over: u64,
    began: Instant,
}

impl Gentle {
    /// Writes to `file`, which is empty.
    pub fn new(file: File) -> Self {
        Self {
            file,
            written: 0,
            handed_over: 0,
            began: Instant::now(),
        }
    }

    /// The file, with everything written to it, but not synced.
    pub fn into_inner(self) -> File {
        self.file
    }

    fn rest(&mut self) {
        // Not to be read again soon: the kernel begins to write such pages. It is advice, and a refusal costs nothing.
        let piece = NonZeroU64::new(self.written - self.handed_over);
        let _ = fadvise(&self.file, self.handed_over, piece, Advice::DontNeed);
        self.handed_over = self.written;
        let worked = self.began.elapsed();
        std::thread::sleep((worked * CHECKPOINT_RESTS_PER_WORK).min(Duration::from_secs(1)));
        self.began = Instant::now();
    }
}

impl Write for Gentle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        if self.written - self.handed_over >= CHECKPOINT_PIECE_BYTES {
            self.rest();
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
