//! How the fabric converges: consensus, membership, content, attestation, placement, cadence.
//!
//! These are drafts with public fields, so that a prescribed strategy can be adapted in place; only the proof turns
//! them into something that a cluster runs. Rejected: a validating builder per field. Half of the rules relate two
//! fields, so a builder would either refuse too early or check nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::duration::{self, DurationText};

/// How a cluster converges. The default is `homelab-3node`.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct FabricStrategy {
    /// Its name, the second part of the cluster's id.
    pub name: String,
    /// How the voters agree.
    pub consensus: ConsensusStrategy,
    /// How the nodes notice each other.
    pub membership: MembershipStrategy,
    /// How content spreads.
    pub content: ContentStrategy,
    /// What is signed, and how often.
    pub attestation: AttestationStrategy,
    /// Over what the voters are spread.
    pub placement: Placement,
    /// How often the leader compares what is with what was declared.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub reconciliation: Duration,
    /// How many workers replicate as learners, so that a promotion needs no catch-up.
    pub standbys: u32,
}

/// How the voters agree.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct ConsensusStrategy {
    /// The number of voters that the cluster must be able to start from.
    #[schemars(range(min = 1))]
    pub size: u32,
    /// How long a follower waits for its leader before it stands for election.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub election_timeout: Duration,
    /// How often the leader lets its followers hear of it; at most half of the election timeout.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub heartbeat: Duration,
    /// After how many log entries a snapshot is taken.
    pub snapshot_interval: u64,
}

/// How the nodes notice each other.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct MembershipStrategy {
    /// How often a node gossips.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub gossip_cadence: Duration,
    /// The suspicion level of the phi-accrual detector from which a node counts as dead; 1 to 16.
    #[schemars(range(min = 1.0, max = 16.0))]
    pub phi_threshold: f64,
    /// After how long without any sign a node counts as dead, whatever phi says; below the reconciliation cadence.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub failsafe_timeout: Duration,
}

/// How content (large manifests, images) spreads.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct ContentStrategy {
    /// How often peers compare what they hold.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub sync_cadence: Duration,
    /// How long content that nothing refers to is kept; zero collects it at once.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub retention: Duration,
}

/// What is signed, and how often.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(deny_unknown_fields)]
pub struct AttestationStrategy {
    /// How often the head of the chain is sealed by its witnesses.
    #[serde(serialize_with = "duration::serialize")]
    #[schemars(with = "DurationText")]
    pub seal_interval: Duration,
    /// Whether every attested change carries an operator's signature.
    pub operator_signature: bool,
}

/// Over what the voters are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Over zones.
    ZoneAware,
    /// Over racks.
    RackAware,
    /// Near each other by measured latency.
    LatencyAware,
    /// Over zones, and within a zone over racks.
    Spread,
    /// Anywhere.
    None,
}

impl Placement {
    /// Every placement with the name that a declaration uses for it.
    pub const NAMES: [(&str, Self); 5] = [
        ("zone-aware", Self::ZoneAware),
        ("rack-aware", Self::RackAware),
        ("latency-aware", Self::LatencyAware),
        ("spread", Self::Spread),
        ("none", Self::None),
    ];
}

/// How often the leader compares what is with what was declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReconciliationCadence(Duration);

impl ReconciliationCadence {
    /// The cadence of `homelab-3node`: 500 ms.
    pub const PRESCRIBED: Self = Self(Duration::from_millis(500));

    /// One comparison per `period`; the proof refuses a zero one.
    pub const fn every(period: Duration) -> Self {
        Self(period)
    }

    /// The time between two comparisons.
    pub const fn period(self) -> Duration {
        self.0
    }
}

impl From<Duration> for ReconciliationCadence {
    fn from(period: Duration) -> Self {
        Self(period)
    }
}

impl FabricStrategy {
    /// The names that a declaration can give instead of a whole strategy.
    pub const NAMES: [&str; 1] = ["homelab-3node"];

    /// `homelab-3node`: three voters, a detector at 300 ms, decisions every 500 ms.
    pub fn prescribed_homelab() -> Self {
        Self {
            name: "homelab-3node".to_owned(),
            consensus: ConsensusStrategy::default(),
            membership: MembershipStrategy::default(),
            content: ContentStrategy::default(),
            attestation: AttestationStrategy::default(),
            placement: Placement::ZoneAware,
            reconciliation: ReconciliationCadence::PRESCRIBED.period(),
            standbys: 2,
        }
    }

    /// The prescribed strategy of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        (name == "homelab-3node").then(Self::prescribed_homelab)
    }

    /// The same strategy with another number of voters to start from.
    pub fn with_size(mut self, size: u32) -> Self {
        self.consensus.size = size;
        self
    }

    /// The same strategy with another cadence of decisions.
    pub fn with_reconciliation(mut self, cadence: impl Into<ReconciliationCadence>) -> Self {
        self.reconciliation = cadence.into().period();
        self
    }
}

impl Default for FabricStrategy {
    fn default() -> Self {
        Self::prescribed_homelab()
    }
}

impl Default for ConsensusStrategy {
    fn default() -> Self {
        Self {
            size: 3,
            election_timeout: Duration::from_millis(150),
            heartbeat: Duration::from_millis(50),
            snapshot_interval: 10_000,
        }
    }
}

impl Default for MembershipStrategy {
    fn default() -> Self {
        Self {
            gossip_cadence: Duration::from_millis(100),
            phi_threshold: 8.0,
            failsafe_timeout: Duration::from_millis(300),
        }
    }
}

impl Default for ContentStrategy {
    fn default() -> Self {
        Self {
            sync_cadence: Duration::from_secs(1),
            retention: Duration::from_secs(7 * 86_400),
        }
    }
}

impl Default for AttestationStrategy {
    fn default() -> Self {
        Self {
            seal_interval: Duration::from_secs(1),
            operator_signature: false,
        }
    }
}
