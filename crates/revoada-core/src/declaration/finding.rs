//! What a proof has to say: one finding per thing, each with what to do about it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorKind;

/// How much a finding weighs. Only an error keeps a declaration from being proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Coherent, and probably not what is wanted.
    Warning,
    /// No cluster can be started from it.
    Error,
}

impl Severity {
    /// `note`, `warning` or `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One thing that the proof of a declaration has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Which rule.
    pub code: FindingCode,
    /// How much it weighs; the same for all findings of one code.
    pub severity: Severity,
    /// Where: `strategy.consensus.size`, `backend.endpoints[0]`; `.` is the whole document.
    pub path: String,
    /// What is so, in a sentence.
    pub message: String,
    /// What to do about it, in a sentence.
    pub remedy: String,
}

impl Finding {
    pub(super) fn new(
        code: FindingCode,
        path: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let path = Some(path.into())
            .filter(|path| !path.is_empty())
            .unwrap_or_else(|| ".".to_owned());
        Self {
            code,
            severity: code.severity(),
            path,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Whether it keeps the declaration from being proved.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] {}: {}", self.severity, self.code, self.path, self.message)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $severity:ident, $explain:literal;)*) => {
        /// Which rule a finding comes from. The names are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum FindingCode {
            $(#[doc = $explain] #[serde(rename = $name)] $variant,)*
        }

        impl FindingCode {
            /// Every code, errors first, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in every output, e.g. `consensus-size-even`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// How much a finding of this code weighs.
            pub const fn severity(self) -> Severity {
                match self { $(Self::$variant => Severity::$severity,)* }
            }

            /// What it means, and why it is so.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => $explain,)* }
            }
        }
    };
}

codes! {
    CadenceZero = "cadence-zero", Error,
        "A cadence, interval or timeout is zero. Something that is to happen every zero seconds would either run \
         without a pause or never, and a timeout of zero has always passed already.";
    DetectorOutpacesReconciliation = "detector-outpaces-reconciliation", Error,
        "The failsafe timeout is not below the reconciliation cadence. A dead node would be noticed only after the \
         next decision, so a replacement would always come one round late, and two rounds could see it differently.";
    ConsensusSizeEven = "consensus-size-even", Error,
        "The consensus size is even. A majority of 4 is 3, as is one of 5: an even number has one voter more that \
         every write may wait for, and survives no more losses than the odd number below it.";
    ConsensusSizeTooSmall = "consensus-size-too-small", Error,
        "The consensus size is below 3 where the topology needs a quorum, or is 0. Fewer than three voters cannot \
         lose one and still have a majority, which is what a topology with several voters is chosen for.";
    TopologyTooSmallForQuorum = "topology-too-small-for-quorum", Error,
        "The least number of nodes of the topology is below the consensus size. A cluster of that topology may be \
         whole and still have fewer nodes than the voters it must start from: no quorum could form.";
    HeartbeatTooSlow = "heartbeat-too-slow", Error,
        "Twice the heartbeat is more than the election timeout. One heartbeat that comes late or gets lost would \
         then already cause an election, with nobody dead.";
    PhiOutOfRange = "phi-out-of-range", Error,
        "The phi threshold is not a finite number from 1 to 16. Phi is the negative decimal logarithm of the \
         probability that a silent node is alive: at 1 one suspicion in ten is wrong; above 16 the detector takes so \
         long that only the failsafe timeout would ever find a death.";
    NumberOutOfRange = "number-out-of-range", Error,
        "A number is not a number, infinite, negative, or larger than its field can hold. Durations are at most a \
         hundred years, so that a point in time plus a duration is always a point in time.";
    SignaturePromiseUnmet = "signature-promise-unmet", Error,
        "The face promises its users that an operator signed every attested change, and the strategy does not ask \
         for such signatures. The promise would be broken by the first change that the cluster makes on its own.";
    FaceBackendMismatch = "face-backend-mismatch", Error,
        "The face cannot be served from that backend, because it needs a capability that the backend does not have. \
         The message names it. Emulating it would show clients a consistency that is not there.";
    UnknownField = "unknown-field", Error,
        "There is no such field here. It is not ignored: a misspelt field would silently leave its default in force. \
         A field of another kind of face, topology or backend is unknown as well.";
    UnknownName = "unknown-name", Error,
        "There is no strategy, face, topology, backend or other choice of that name. None is taken in its place: a \
         cluster that starts in another shape than was meant is found out by the first loss that it does not survive.";
    MissingField = "missing-field", Error,
        "A field that has no default is not there. The parts of the triple (strategy, face, topology) are always \
         stated, so that a file says what cluster it is.";
    WrongType = "wrong-type", Error,
        "The value is of another type than the field: a text where a number belongs, a number without a unit where a \
         duration belongs. Nothing is converted by guess.";
    InvalidValue = "invalid-value", Error,
        "The value has the right type and cannot be used: a name with a character that names do not have, an empty \
         path, a version that is none.";
    TopologyUnsound = "topology-unsound", Error,
        "A topology of the user's own breaks what every topology must keep: at least one voter, never more voters \
         than nodes, and a name of its own. The policy relies on it.";
    PairWithoutWitness = "pair-without-witness", Warning,
        "A pair without a witness has one voter, because two could not lose one of them either. It survives no loss \
         of that voter; a witness, a small third node that votes, makes it survive one.";
    SurvivesNone = "survives-none", Warning,
        "The voters that the topology declares survive no loss: when the one that is needed is lost, nothing can be \
         decided until it is back.";
    ElectionTimeoutBelowFsync = "election-timeout-below-fsync", Note,
        "The election timeout is below 100 ms. A slow disk can take that long to sync one write, and a leader whose \
         disk is slow would then lose its office to a follower with nobody dead.";
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The parts of a declaration do not fit each other: at least one finding is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ClusterCoherenceError {
    /// All findings, errors and others, in the order of the declaration.
    pub findings: Vec<Finding>,
}

impl ClusterCoherenceError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    /// Those findings that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.is_error())
    }
}

impl fmt::Display for ClusterCoherenceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the declaration is not coherent")?;
        for (nth, finding) in self.errors().enumerate() {
            let separator = if nth == 0 { ": " } else { "; " };
            write!(f, "{separator}{}: {} ({})", finding.path, finding.message, finding.code)?;
        }
        Ok(())
    }
}
