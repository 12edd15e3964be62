//! Writes a large file beside traffic that must not wait for it.
//!
//! A checkpoint that is written as fast as it goes takes a processor from the writers, and its one sync at the end puts
//! all of it before them in the disk's queue: on two cores that was the whole tail of a write's latency. So it goes in
//! pieces: each is handed to the disk at once, and then the thread rests for a multiple of the time that the piece took.
//! On a machine that has nothing else to do the pieces are quick and the rests are short; under load both grow, by
//! themselves. Rejected: a rate in bytes a second, which is wrong on every machine but one; and a sync after each piece,
//! which commits the file system's journal, and the log's appends wait for that.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use revoada_core::limits::{CHECKPOINT_PIECE_BYTES, CHECKPOINT_RESTS_PER_WORK};

use crate::files::OpenFile;

/// A file that is written from its beginning to its end. The owner syncs it.
pub(super) struct Gentle {
    file: Box<dyn OpenFile>,
    written: u64,
    handed_over: u64,
    began: Instant,
}

impl Gentle {
    /// Writes to `file`, which is empty.
    pub fn new(file: Box<dyn OpenFile>) -> Self {
        Self {
            file,
            written: 0,
            handed_over: 0,
            began: Instant::now(),
        }
    }

    /// The file.
    pub fn file(&self) -> &dyn OpenFile {
        &*self.file
    }

    fn rest(&mut self) {
        let worked = self.began.elapsed();
        let pause = (worked * CHECKPOINT_RESTS_PER_WORK).min(Duration::from_secs(1));
        self.file.rest(self.handed_over..self.written, pause);
        self.handed_over = self.written;
        self.began = Instant::now();
    }
}

impl Write for Gentle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        if self.written - self.handed_over >= CHECKPOINT_PIECE_BYTES {
            self.rest();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
