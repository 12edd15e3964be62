//! How long what production does takes: from its own code where that says it, else measured on real processes.
//!
//! What was measured is in docs/benchmarks.md, of five nodes on one machine. Rejected: to draw these times. They are
//! parts of a second, and what is drawn beside them are hours.

use std::time::{Duration, Instant};

use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_core::roles::Membership;
use revoada_mesh::consensus::election_ms_max;
use revoada_mesh::membership::{Detector, Judgement};
use revoada_node::member::judgement;

/// From the votes of an election to the first write that is acknowledged. Measured: the write gap of
/// `revoada drill kill-leader` is 340 ms at the median, of which the lease and the longest drawn timeout are 332.
const ELECTED_MS: u64 = 8;
/// From the judgement that a voter is dead until its successor counts. Measured: `revoada drill kill-control-plane` is
/// whole again after 749 ms at the median, of which the detector takes 500.
const CHANGE_MS: u64 = 249;
/// How long a node takes from its start until it serves. Measured: 0.66 s with 100,000 resources of 1 KiB.
const STARTS_MS: u64 = 660;
/// How long an empty learner takes to catch up. Assumed to be what a node needs to read as much from its disk: a
/// network of 1 Gbit/s carries 100 MB in 0.8 s.
const CATCHES_UP_MS: u64 = 1_500;
/// How long a person takes to notice that a majority is gone for good, and to recover. Assumed.
const OPERATOR_MS: u64 = 4 * 3_600_000;
/// How often the view of the members is brought up to date, in a gossip cadence: what membership does.
const LOOKS_PER_CADENCE: u32 = 2;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    /// From the last sign of a node until it is judged dead.
    pub(super) dead_ms: u64,
    /// From the first sign of a node until it is judged alive.
    pub(super) alive_ms: u64,
    /// From the loss of a leader until another one's first write.
    pub(super) election_ms: u64,
    pub(super) change_ms: u64,
    pub(super) starts_ms: u64,
    pub(super) catches_up_ms: u64,
    pub(super) operator_ms: u64,
    /// The cadence of the driver.
    pub(super) tick_ms: u64,
}

impl Timing {
    pub(super) fn of(genesis: &Genesis) -> Self {
        let strategy = genesis.declaration().strategy();
        // The lease of the lost leader has to end, and then a timeout is drawn.
        let longest_ms = election_ms_max(strategy.consensus.election_timeout.as_millis() as u64);
        let (dead, alive) = detection(judgement(genesis));
        Self {
            dead_ms: dead.as_millis() as u64,
            alive_ms: alive.as_millis() as u64,
            election_ms: 2 * longest_ms + ELECTED_MS,
            change_ms: CHANGE_MS,
            starts_ms: STARTS_MS,
            catches_up_ms: CATCHES_UP_MS,
            operator_ms: OPERATOR_MS,
            tick_ms: (strategy.reconciliation.as_millis() as u64).max(1),
        }
    }
}

/// How long production's detector takes to call a node dead that was heard of at each look, and alive again.
fn detection(judgement: Judgement) -> (Duration, Duration) {
    let look = (judgement.interval / LOOKS_PER_CADENCE).max(Duration::from_millis(1));
    let node = NodeId::from_bytes([1; 32]);
    let mut detector = Detector::new(judgement);
    // Only differences of it are looked at.
    let mut now = Instant::now();
    for heartbeat in 0..1_000 {
        now += look;
        detector.saw(node, 1, heartbeat, now);
    }
    let heard = now;
    while detector.judge(&node, now) != Membership::Dead {
        now += look;
    }
    let dead = now - heard;
    now += 2 * judgement.interval_max;
    let back = now;
    for heartbeat in 1_000.. {
        detector.saw(node, 1, heartbeat, now);
        if detector.judge(&node, now) == Membership::Alive {
            break;
        }
        now += look;
    }
    (dead, now - back)
}

#[cfg(test)]
mod tests {
    use revoada_core::declaration::{ClusterDeclaration, prescribed_for};

    use super::*;

    #[test]
    fn the_prescribed_cluster_takes_as_long_as_was_measured() {
        let draft = prescribed_for("cluster-3m-nw", 5).expect("it is prescribed");
        let declaration = ClusterDeclaration::prove(draft).expect("it is coherent");
        let genesis = super::super::born(&declaration, 5, 0).expect("five nodes are enough");
        let timing = Timing::of(&genesis);
        // docs/benchmarks.md: kill-leader, write gap p50; kill-control-plane, p50.
        assert_eq!(timing.election_ms, 340);
        assert_eq!(timing.dead_ms + timing.change_ms, 749);
        assert!(timing.alive_ms <= 200, "{}", timing.alive_ms);
    }
}
