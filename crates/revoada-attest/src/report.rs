//! What a verification found, in the shape that `chain verify -o json` prints.

use std::fmt;

use serde::Serialize;

use crate::Digest;

/// How many problems a report lists; a file that is damaged all over is not worth more.
pub const PROBLEMS_MAX: usize = 256;

/// The outcome of [`crate::verify()`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether there is no problem at all.
    pub valid: bool,
    /// How many blocks the file holds, as far as it could be read.
    pub blocks: u64,
    /// The digest of the newest block; none without a block, or where that block is damaged.
    pub head: Option<Digest>,
    /// How many of the newest blocks have no witness yet and are excused from one
    /// ([`crate::UNWITNESSED_TAIL_MAX`]).
    pub awaiting_witness: u64,
    /// What is wrong, by block number.
    pub problems: Vec<Problem>,
    /// How many problems more there are than [`PROBLEMS_MAX`].
    pub problems_omitted: u64,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The block's number; for a damaged block the one that belongs in its place, for a problem of the file as a whole
    /// the number of the first block that is not in it.
    pub index: u64,
    /// What it is.
    pub kind: ProblemKind,
    /// A sentence for people.
    pub detail: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {}: {}: {}", self.index, self.kind, self.detail)
    }
}

/// The kinds of problems. What makes each is listed at [`crate::verify()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Bytes were changed, and not by somebody who knew how.
    Digest,
    /// The proposer did not sign this.
    Signature,
    /// A block does not follow the one before it.
    Parent,
    /// Blocks are missing before others.
    Gap,
    /// No other node vouches for a block, or a co-signature is wrong.
    Witness,
    /// The end is missing.
    Truncated,
    /// A key that is not trusted, or not any more, signed this.
    UntrustedKey,
    /// Not an export, or not one that is known here.
    Format,
}

impl ProblemKind {
    /// The name used in every output: `digest`, `signature`, …
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Parent => "parent",
            Self::Gap => "gap",
            Self::Witness => "witness",
            Self::Truncated => "truncated",
            Self::UntrustedKey => "untrusted-key",
            Self::Format => "format",
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Problems as they are found, up to the limit.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: Vec<Problem>,
    omitted: u64,
}

impl Problems {
    pub fn add(&mut self, index: u64, kind: ProblemKind, detail: impl Into<String>) {
        if self.found.len() < PROBLEMS_MAX {
            self.found.push(Problem {
                index,
                kind,
                detail: detail.into(),
            });
        } else {
            self.omitted = self.omitted.saturating_add(1);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub fn into_report(mut self, blocks: u64, head: Option<Digest>, awaiting_witness: u64) -> Report {
        self.found.sort_by_key(|problem| problem.index);
        Report {
            valid: self.found.is_empty(),
            blocks,
            head,
            awaiting_witness,
            problems: self.found,
            problems_omitted: self.omitted,
        }
    }
}
