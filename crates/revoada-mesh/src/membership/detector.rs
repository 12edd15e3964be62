//! Whether a node lives, from the heartbeats that were seen of it: the phi-accrual detector (Hayashibara et al. 2004) in
//! the form that chitchat gives it, and a least silence beside it.
//!
//! Phi is the time since the last heartbeat in units of the mean interval between heartbeats. Pure: `now` is passed in,
//! so production and simulation are judged by the same lines. Rejected: to ask chitchat for its own verdict, which reads
//! a clock of its own and is out of reach for anything but real gossip.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use revoada_attest::NodeId;
use revoada_core::roles::Membership;

use crate::runtime::Instant;

/// How many intervals are remembered of each node.
const SAMPLES: usize = 200;
/// As how many intervals the expected one counts, so that the first few do not decide alone.
const PRIOR_WEIGHT: f64 = 5.0;

/// What is dead to a detector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judgement {
    /// How often a heartbeat is expected at most.
    pub interval: Duration,
    /// Longer intervals are no samples: the node was away.
    pub interval_max: Duration,
    /// Above which suspicion (phi) a node does not count as alive.
    pub phi_threshold: f64,
    /// The least silence before a node may be called dead.
    pub silence_min: Duration,
}

/// See the module.
#[derive(Debug)]
pub struct Detector<I> {
    judgement: Judgement,
    heard: BTreeMap<NodeId, Heard<I>>,
}

#[derive(Debug)]
struct Heard<I> {
    generation: u64,
    heartbeat: u64,
    at: I,
    intervals: VecDeque<f64>,
    sum: f64,
}

impl<I: Instant> Detector<I> {
    /// A detector that has heard of nobody.
    pub fn new(judgement: Judgement) -> Self {
        Self {
            judgement,
            heard: BTreeMap::new(),
        }
    }

    /// Takes note of the newest heartbeat that is known of `node`, perhaps the same as before.
    ///
    /// Another generation is another process: nothing that was heard of the one before counts.
    pub fn saw(&mut self, node: NodeId, generation: u64, heartbeat: u64, now: I) {
        let fresh = || Heard {
            generation,
            heartbeat,
            at: now,
            intervals: VecDeque::new(),
            sum: 0.0,
        };
        let heard = self.heard.entry(node).or_insert_with(fresh);
        if heard.generation != generation {
            *heard = fresh();
        }
        if heard.heartbeat == heartbeat {
            return;
        }
        let interval = now.saturating_duration_since(heard.at);
        if interval <= self.judgement.interval_max {
            if heard.intervals.len() == SAMPLES {
                heard.sum -= heard.intervals.pop_front().unwrap_or_default();
            }
            heard.intervals.push_back(interval.as_secs_f64());
            heard.sum += interval.as_secs_f64();
        }
        heard.heartbeat = heartbeat;
        heard.at = now;
    }

    /// What `node` is now. It is dead when both phi and its silence say so; one alone makes it suspect.
    pub fn judge(&mut self, node: &NodeId, now: I) -> Membership {
        let Some(heard) = self.heard.get_mut(node) else {
            return Membership::Dead;
        };
        let silence = now.saturating_duration_since(heard.at);
        let expected = PRIOR_WEIGHT * self.judgement.interval.as_secs_f64();
        let mean = (heard.sum + expected) / (heard.intervals.len() as f64 + PRIOR_WEIGHT);
        // One heartbeat alone may be an old one that somebody else passed on.
        let alive = !heard.intervals.is_empty() && silence.as_secs_f64() / mean <= self.judgement.phi_threshold;
        if !alive {
            // Whoever comes back is not measured by how it was before.
            heard.intervals.clear();
            heard.sum = 0.0;
        }
        match (alive, silence >= self.judgement.silence_min) {
            (true, false) => Membership::Alive,
            (true, true) | (false, false) => Membership::Suspect,
            (false, true) => Membership::Dead,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant as Clock;

    use super::*;

    const TICK: Duration = Duration::from_millis(50);

    fn judgement() -> Judgement {
        Judgement {
            interval: Duration::from_millis(100),
            interval_max: Duration::from_secs(5),
            phi_threshold: 8.0,
            silence_min: Duration::from_millis(500),
        }
    }

    fn node() -> NodeId {
        NodeId::from_bytes([1; 32])
    }

    /// A detector that has heard a heartbeat each tick, and the time of the last.
    fn steady(ticks: u64) -> (Detector<Clock>, Clock) {
        let mut detector = Detector::new(judgement());
        let mut now = Clock::now();
        for heartbeat in 1..=ticks {
            now += TICK;
            detector.saw(node(), 1, heartbeat, now);
        }
        (detector, now)
    }

    #[test]
    fn a_silent_node_is_suspect_first_and_dead_when_phi_and_silence_agree() {
        let (mut detector, last) = steady(100);
        let judged: Vec<_> = [0, 300, 450, 499, 500, 2_000]
            .into_iter()
            .map(|ms| detector.judge(&node(), last + Duration::from_millis(ms)))
            .collect();
        use Membership::{Alive, Dead, Suspect};
        assert_eq!(judged, [Alive, Alive, Suspect, Suspect, Dead, Dead]);
    }

    #[test]
    fn slow_heartbeats_are_not_death_and_their_silence_is_suspect() {
        let mut detector = Detector::new(judgement());
        let mut now = Clock::now();
        for heartbeat in 0..50 {
            now += Duration::from_millis(400);
            detector.saw(node(), 1, heartbeat, now);
        }
        let judged = detector.judge(&node(), now + Duration::from_millis(1_000));
        assert_eq!(judged, Membership::Suspect);
    }

    #[test]
    fn one_heartbeat_alone_is_no_life_and_another_process_begins_anew() {
        let (mut detector, last) = steady(1);
        assert_eq!(detector.judge(&node(), last), Membership::Suspect);
        detector.saw(node(), 1, 2, last + TICK);
        assert_eq!(detector.judge(&node(), last + TICK), Membership::Alive);
        detector.saw(node(), 2, 1, last + 2 * TICK);
        assert_eq!(detector.judge(&node(), last + 2 * TICK), Membership::Suspect);
    }

    #[test]
    fn a_node_that_was_away_is_alive_with_its_first_heartbeats() {
        let (mut detector, last) = steady(100);
        let back = last + Duration::from_secs(60);
        assert_eq!(detector.judge(&node(), back), Membership::Dead);
        detector.saw(node(), 1, 101, back);
        detector.saw(node(), 1, 102, back + TICK);
        assert_eq!(detector.judge(&node(), back + TICK), Membership::Alive);
    }
}
