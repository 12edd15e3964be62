//! What happened in a simulation, in order, with its virtual times.
//!
//! The last events are kept for people, and a digest of all of them for the comparison of two runs.

use std::collections::VecDeque;
use std::fmt;

use crate::executor::SimInstant;
use parking_lot::Mutex;

/// How many events are kept.
const KEPT: usize = 400;

#[derive(Default)]
struct Told {
    last: VecDeque<String>,
    digest: blake3::Hasher,
    count: u64,
}

/// See the module.
#[derive(Default)]
pub struct Trace(Mutex<Told>);

impl Trace {
    /// Adds an event.
    pub fn say(&self, what: fmt::Arguments<'_>) {
        let now = SimInstant::try_now().map_or(0, |now| now.elapsed_since_start().as_micros());
        let line = format!("{:>4}.{:06} {what}", now / 1_000_000, now % 1_000_000);
        let mut told = self.0.lock();
        told.digest.update(line.as_bytes()).update(b"\n");
        told.count += 1;
        if told.last.len() == KEPT {
            told.last.pop_front();
        }
        told.last.push_back(line);
    }

    /// The last events, oldest first.
    pub fn last(&self, count: usize) -> Vec<String> {
        let told = self.0.lock();
        let skip = told.last.len().saturating_sub(count);
        told.last.iter().skip(skip).cloned().collect()
    }

    /// A digest of all events, and how many they are.
    pub fn digest(&self) -> (String, u64) {
        let told = self.0.lock();
        (told.digest.finalize().to_hex()[..16].to_owned(), told.count)
    }
}
