//! What is counted while virtual time passes.
//!
//! Times are whole milliseconds, so a sum does not depend on the order in which it was made. The picture over time is
//! gathered in a fixed number of slices, whatever the length of the run.

use std::collections::BTreeMap;

use super::report::Loss;

/// How many slices the picture over time has.
pub(super) const SLICES: usize = 480;
/// How many losses of the quorum are told one by one.
const LOSSES_TOLD: usize = 20;

/// What is so until something changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Now {
    /// A quorum is there, and nobody leads it yet.
    pub(super) leaderless: bool,
    /// No quorum is there.
    pub(super) lost: bool,
    /// Fewer voters are there and caught up than were declared.
    pub(super) reduced: bool,
    /// Writes go on, one more loss would end that, and the declared shape would survive it.
    pub(super) exposed: bool,
}

impl Now {
    fn stops_writes(self) -> bool {
        self.leaderless || self.lost
    }
}

/// How long something was so.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spans {
    pub(super) count: u64,
    pub(super) total_ms: u64,
    pub(super) longest_ms: u64,
    since_ms: Option<u64>,
}

impl Spans {
    fn turn(&mut self, on: bool, now_ms: u64) {
        match (on, self.since_ms) {
            (true, None) => {
                self.count += 1;
                self.since_ms = Some(now_ms);
            }
            (false, Some(since_ms)) => {
                self.since_ms = None;
                self.total_ms += now_ms - since_ms;
                self.longest_ms = self.longest_ms.max(now_ms - since_ms);
            }
            _ => {}
        }
    }
}

/// One slice of the picture over time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slice {
    /// How long no write was possible, in milliseconds.
    pub down_ms: u64,
    /// How long fewer voters were there than declared, in milliseconds.
    pub reduced_ms: u64,
    /// How many nodes were promoted.
    pub promotions: u64,
}

#[derive(Debug)]
pub(super) struct Tally {
    now_ms: u64,
    slice_ms: u64,
    now: Now,
    pub(super) slices: Vec<Slice>,
    pub(super) down: Spans,
    pub(super) leaderless: Spans,
    pub(super) lost: Spans,
    pub(super) reduced: Spans,
    pub(super) exposed: Spans,
    pub(super) losses: Vec<Loss>,
    pub(super) transitions: BTreeMap<&'static str, u64>,
    pub(super) failures: BTreeMap<&'static str, u64>,
    pub(super) recoveries: u64,
    pub(super) everything_lost: u64,
    pub(super) promoted_while_lost: u64,
    pub(super) plans: u64,
    pub(super) events: u64,
}

impl Tally {
    pub(super) fn new(end_ms: u64) -> Self {
        let slice_ms = end_ms.div_ceil(SLICES as u64).max(1);
        Self {
            now_ms: 0,
            slice_ms,
            now: Now::default(),
            slices: vec![Slice::default(); end_ms.div_ceil(slice_ms).max(1) as usize],
            down: Spans::default(),
            leaderless: Spans::default(),
            lost: Spans::default(),
            reduced: Spans::default(),
            exposed: Spans::default(),
            losses: Vec::new(),
            transitions: BTreeMap::new(),
            failures: BTreeMap::new(),
            recoveries: 0,
            everything_lost: 0,
            promoted_while_lost: 0,
            plans: 0,
            events: 0,
        }
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, to_ms: u64) {
        let (stops, reduced) = (self.now.stops_writes(), self.now.reduced);
        if stops || reduced {
            let mut from_ms = self.now_ms;
            while from_ms < to_ms {
                let index = self.slice_at(from_ms);
                let until_ms = ((index as u64 + 1) * self.slice_ms).min(to_ms);
                let slice = &mut self.slices[index];
                slice.down_ms += if stops { until_ms - from_ms } else { 0 };
                slice.reduced_ms += if reduced { until_ms - from_ms } else { 0 };
                // The last slice also has what is behind it: nothing, as the run ends there.
                from_ms = if until_ms == from_ms { to_ms } else { until_ms };
            }
        }
        self.now_ms = to_ms;
    }

    fn slice_at(&self, at_ms: u64) -> usize {
        ((at_ms / self.slice_ms) as usize).min(self.slices.len() - 1)
    }

    pub(super) fn promoted(&mut self) {
        let index = self.slice_at(self.now_ms);
        self.slices[index].promotions += 1;
    }

    /// From now on it is so. `down` names the voters that are not there, where a loss begins.
    pub(super) fn turn(&mut self, now: Now, down: impl FnOnce() -> Vec<String>) {
        if now == self.now {
            return;
        }
        if now.lost && !self.now.lost && self.losses.len() < LOSSES_TOLD {
            self.losses.push(Loss {
                at_ms: self.now_ms,
                duration_ms: 0,
                down: down(),
            });
        }
        self.switch(now);
    }

    fn switch(&mut self, now: Now) {
        if self.now.lost && !now.lost && self.lost.count as usize == self.losses.len() {
            let since_ms = self.lost.since_ms.unwrap_or(self.now_ms);
            if let Some(last) = self.losses.last_mut() {
                last.duration_ms = self.now_ms - since_ms;
            }
        }
        let now_ms = self.now_ms;
        self.down.turn(now.stops_writes(), now_ms);
        self.leaderless.turn(now.leaderless, now_ms);
        self.lost.turn(now.lost, now_ms);
        self.reduced.turn(now.reduced, now_ms);
        self.exposed.turn(now.exposed, now_ms);
        self.now = now;
    }

    /// The run is over: what is still so ends here.
    pub(super) fn end(&mut self, at_ms: u64) {
        self.advance(at_ms);
        self.switch(Now::default());
    }

    pub(super) fn slice_ms(&self) -> u64 {
        self.slice_ms
    }
}
