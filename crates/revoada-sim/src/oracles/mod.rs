//! What must hold, one property a file. Those of Raft are asked while the cluster runs, those of clients at the end.

pub mod caught_up;
pub mod damping;
pub mod durable;
pub mod election_safety;
pub mod exactly_once;
pub mod exclusive;
pub mod leader_completeness;
pub mod linearizable;
pub mod log_matching;
pub mod monotonic;
pub mod one_chain;
pub mod panics;
pub mod queues;
pub mod refused;
pub mod restored;
pub mod roles;
pub mod shape;
pub mod watches;

/// All oracles, by the names that they are reported under. `state-machine-safety` is where the truth is gathered
/// (`crate::ledger`).
pub const NAMES: [&str; 19] = [
    "caught-up",
    "damping",
    "durable",
    "election-safety",
    "exactly-once",
    "exclusive",
    "leader-completeness",
    "linearizable",
    "log-matching",
    "one-chain",
    "panics",
    "queues",
    "refused",
    "restored",
    "revision-never-goes-back",
    "roles",
    "shape",
    "state-machine-safety",
    "watches",
];

/// A property that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub oracle: &'static str,
    /// How it is broken.
    pub what: String,
}

impl Violation {
    /// Of this oracle.
    pub fn of(oracle: &'static str, what: String) -> Self {
        Self { oracle, what }
    }
}
