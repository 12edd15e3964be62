//! One line of an audit log, and how a line hangs on the one before it.

use std::io::{self, BufRead, Read};

use revoada_core::Digest;
use serde::{Deserialize, Serialize};

use crate::limits::AUDIT_LINE_BYTES_MAX;

/// What the first line names as its predecessor.
pub const NOTHING_BEFORE: Digest = Digest::from_bytes([0; Digest::BYTES]);

/// One line: who did what to which resource, and what came of it; never the body.
///
/// In the file it is one JSON object with exactly these fields in this order, ended by a line feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditLine {
    /// The number of the line in the log, from 1, without gaps.
    pub sequence: u64,
    /// When the verb was done, in milliseconds since the Unix epoch, by the clock that the log was given.
    pub time_ms: u64,
    /// Who asked for it.
    pub who: String,
    /// The verb; `open` is the log's own, for when a process begins to write to it.
    pub verb: String,
    /// The resource, or for a verb on many the kind, as in every other output; none for a verb on everything.
    pub reference: Option<String>,
    /// `created`, `updated`, `unchanged`, `ok`, or the kind of the error.
    pub outcome: String,
    /// The revision that was answered.
    pub revision: Option<u64>,
    /// BLAKE3 of the line before, without its line feed.
    pub previous: Digest,
}

impl AuditLine {
    /// The line without its line feed.
    pub(super) fn render(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and numbers always have a JSON form")
    }
}

/// The digest by which the next line names this one; `line` has no line feed.
pub(super) fn digest(line: &[u8]) -> Digest {
    Digest::from_bytes(*blake3::hash(line).as_bytes())
}

/// What is wrong with an audit log, at which line (from 1).
#[derive(Debug, thiserror::Error)]
pub enum AuditProblem {
    /// It is no line of an audit log.
    #[error("line {line} is not a line of an audit log")]
    Format {
        /// Where.
        line: u64,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// It is longer than a line can be.
    #[error("line {line} is longer than {AUDIT_LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Where.
        line: u64,
    },
    /// Its number does not follow.
    #[error("line {line} has the number {found}: lines are missing, swapped or added")]
    Sequence {
        /// Where.
        line: u64,
        /// The number that stands there.
        found: u64,
    },
    /// It names another predecessor than the line that stands before it.
    #[error("line {line} does not follow the line before it: one of them was changed")]
    Chain {
        /// Where.
        line: u64,
    },
    /// It could not be read.
    #[error("line {line} could not be read")]
    Read {
        /// Where.
        line: u64,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a whole audit log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AuditVerified {
    /// The number of whole lines.
    pub lines: u64,
    /// The digest of the last one, or [`NOTHING_BEFORE`]. Whoever noted an earlier one can tell a cut tail.
    pub head: Digest,
    /// The bytes of a last line that was not finished: a process died while it wrote them, and nothing that they
    /// would have said was acknowledged.
    pub torn_bytes: u64,
}

/// Checks every line of an audit log: that it is one, that its number follows, and that it names the one before.
///
/// # Errors
/// The first problem. A cut tail is not one: it can only be told by comparing `head` with one that was noted before.
pub fn verify(log: impl Read) -> Result<AuditVerified, AuditProblem> {
    let mut log = io::BufReader::new(log);
    let mut verified = AuditVerified {
        lines: 0,
        head: NOTHING_BEFORE,
        torn_bytes: 0,
    };
    let mut line = Vec::new();
    loop {
        let at = verified.lines + 1;
        line.clear();
        let longest = AUDIT_LINE_BYTES_MAX as u64 + 1;
        (&mut log)
            .take(longest)
            .read_until(b'\n', &mut line)
            .map_err(|source| AuditProblem::Read { line: at, source })?;
        if line.pop_if(|last| *last == b'\n').is_none() {
            if line.len() as u64 == longest {
                return Err(AuditProblem::TooLong { line: at });
            }
            verified.torn_bytes = line.len() as u64;
            return Ok(verified);
        }
        let read: AuditLine =
            serde_json::from_slice(&line).map_err(|source| AuditProblem::Format { line: at, source })?;
        if read.sequence != at {
            return Err(AuditProblem::Sequence {
                line: at,
                found: read.sequence,
            });
        }
        if read.previous != verified.head {
            return Err(AuditProblem::Chain { line: at });
        }
        verified = AuditVerified {
            lines: at,
            head: digest(&line),
            torn_bytes: 0,
        };
    }
}
