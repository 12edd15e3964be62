//! What clients of real processes were told, and the same judgement of it as of a simulated cluster.
//!
//! A history is a file of one operation a line, which another program can judge as well (`peers/checker`). Here it is
//! turned into the evidence that the oracle of the simulation asks for: each key by itself, its revisions counted from
//! one, and what each of them did as far as anybody was told. Rejected: a second checker for it. Two programs that are
//! both ours would agree about nothing but our mistakes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::history::{Mismatch, Read, Records, Span, Write};
use crate::ledger::Truth;
use crate::oracles::{Violation, linearizable};

const ORACLE: &str = "linearizable";

/// What was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Writes the argument.
    Put,
    /// Reads, linearizably.
    Get,
    /// Writes the argument if the key still is as it was at the expected revision.
    Cas,
}

/// What it came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Done,
    /// The key was not as expected, and nothing was done.
    Mismatch,
    /// Nobody knows: it was done at any time since it was asked, or it never will be.
    Unknown,
    /// It was not done, and never will be.
    Failed,
}

/// One operation. Every put and compare-and-set of a history writes another value, so that a value says who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Who asked; one thing after the other.
    pub client: usize,
    /// What.
    pub operation: Kind,
    /// Of which key.
    pub key: String,
    /// What is written; empty for a get.
    #[serde(default)]
    pub argument: String,
    /// What a compare-and-set expects; none: that there is no such key.
    #[serde(default)]
    pub expected: Option<String>,
    /// The same by revision; 0: that there is no such key.
    #[serde(default)]
    pub expected_revision: u64,
    /// When it was asked, in nanoseconds since the history's beginning.
    pub start_ns: u64,
    /// When it was answered.
    pub end_ns: u64,
    /// What it came to.
    pub outcome: Outcome,
    /// What a get saw; none: there was no such key.
    #[serde(default)]
    pub value: Option<String>,
    /// The revision that last changed the key, as a get saw it or as a write did it; 0: there was no such key.
    #[serde(default)]
    pub revision: u64,
}

impl Operation {
    fn span(&self) -> Span {
        Span {
            called: Duration::from_nanos(self.start_ns),
            returned: match self.outcome {
                Outcome::Unknown => Duration::MAX,
                Outcome::Done | Outcome::Mismatch | Outcome::Failed => Duration::from_nanos(self.end_ns),
            },
        }
    }

    fn writes(&self) -> bool {
        self.operation != Kind::Get
    }
}

/// Reads a history, one operation a line.
pub fn parse(text: &str) -> Result<Vec<Operation>, serde_json::Error> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(serde_json::from_str).collect()
}

/// Writes a history, one operation a line.
pub fn render(operations: &[Operation]) -> Result<String, serde_json::Error> {
    let lines: Result<Vec<_>, _> = operations.iter().map(serde_json::to_string).collect();
    Ok(lines?.into_iter().map(|line| line + "\n").collect())
}

/// Whether everything that was told fits one order that time allows; the first key that does not.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        keys.entry(&operation.key).or_default().push(operation);
    }
    for (key, operations) in keys {
        Told::of(&operations)
            .and_then(|told| told.judge(key, &operations))
            .map_err(|violation| Violation::of(violation.oracle, format!("of {key}: {}", violation.what)))?;
    }
    Ok(())
}

/// What is known of one key: which revisions it had, and the value that each of them wrote. Revision 0 wrote none.
struct Told<'a> {
    values: BTreeMap<u64, Option<&'a str>>,
    /// Writes by what they write, but for those that did not happen.
    writers: BTreeMap<&'a str, &'a Operation>,
}

impl<'a> Told<'a> {
    fn of(operations: &[&'a Operation]) -> Result<Self, Violation> {
        let mut told = Self {
            values: BTreeMap::from([(0, None)]),
            writers: BTreeMap::new(),
        };
        for write in operations.iter().filter(|operation| operation.writes()) {
            match write.outcome {
                Outcome::Done => told.note(write.revision, Some(&write.argument))?,
                Outcome::Unknown => {}
                Outcome::Mismatch | Outcome::Failed => continue,
            }
            told.writers.insert(&write.argument, write);
        }
        for read in operations.iter().filter(|operation| !operation.writes()) {
            if read.outcome == Outcome::Done {
                told.note(read.revision, read.value.as_deref())?;
            }
        }
        Ok(told)
    }

    fn note(&mut self, revision: u64, value: Option<&'a str>) -> Result<(), Violation> {
        let known = *self.values.entry(revision).or_insert(value);
        if known == value {
            return Ok(());
        }
        let what = format!("revision {revision} was told to have written {known:?} and {value:?}");
        Err(Violation::of(ORACLE, what))
    }

    /// As which revision, counted from one, the oracle knows a revision of the key.
    fn rank(&self, revision: u64) -> u64 {
        self.values.range(..=revision).count() as u64
    }

    fn judge(&self, key: &str, operations: &[&Operation]) -> Result<(), Violation> {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let (mut records, mut truth) = (Records::default(), Truth::default());
        let mut written = BTreeSet::new();
        for (revision, value) in &self.values {
            let Some(value) = value else { continue };
            let Some(write) = self.writers.get(value) else {
                let what = format!("revision {revision} holds {value:?}, which nobody wrote");
                return Err(Violation::of(ORACLE, what));
            };
            if !written.insert(value) {
                let what = format!("{value:?} was written once, and revision {revision} holds it again");
                return Err(Violation::of(ORACLE, what));
            }
            self.condition_held(write, *revision)?;
            let changes = BTreeMap::from([(key.clone(), Some(bytes(value)))]);
            truth.changes.insert(self.rank(*revision), changes.clone());
            records.writes.push(Write {
                span: write.span(),
                revision: self.rank(*revision),
                changes,
            });
        }
        // When which revision was told of: by whoever was done, and by conditions that did not hold, which are gone through
        // in the order in which they were asked.
        let done = operations.iter().filter(|operation| operation.outcome == Outcome::Done);
        let mut told: Vec<(u64, u64)> = done.map(|operation| (operation.end_ns, operation.revision)).collect();
        let mut in_order = operations.to_vec();
        in_order.sort_by_key(|operation| operation.start_ns);
        for operation in in_order {
            match (operation.operation, operation.outcome) {
                (Kind::Get, Outcome::Done) => records.reads.push(Read {
                    span: operation.span(),
                    revision: self.rank(operation.revision),
                    linearizable: true,
                    seen: BTreeMap::from([(key.clone(), operation.value.as_deref().map(bytes))]),
                }),
                (Kind::Cas, Outcome::Mismatch) => records.mismatches.extend(self.mismatch(&key, operation, &mut told)?),
                _ => {}
            }
        }
        linearizable::check(&records, &truth)
    }

    /// A compare-and-set that was done came right behind the revision that it expected.
    fn condition_held(&self, write: &Operation, revision: u64) -> Result<(), Violation> {
        if write.operation != Kind::Cas {
            return Ok(());
        }
        let expected = write.expected_revision;
        let before = self.values.range(..revision).next_back();
        if before.is_none_or(|(before, _)| *before <= expected) && expected < revision {
            return Ok(());
        }
        let what = format!("revision {revision} expected {expected}, and behind that there was {before:?} already");
        Err(Violation::of(ORACLE, what))
    }

    /// What was there in the place of what was expected: the first later revision that can have been written by then,
    /// and is not behind what others had been told before. None where it can have been a write that nobody ever saw.
    fn mismatch(
        &self,
        key: &Bytes,
        operation: &Operation,
        told: &mut Vec<(u64, u64)>,
    ) -> Result<Option<Mismatch>, Violation> {
        let before = told.iter().filter(|(at, _)| *at < operation.start_ns);
        let oldest = before
            .map(|(_, revision)| *revision)
            .max()
            .unwrap_or(0)
            .max(operation.expected_revision.saturating_add(1));
        let in_time = |write: &Operation| write.start_ns < operation.end_ns;
        let seen: BTreeSet<_> = self.values.values().flatten().copied().collect();
        let mut unseen = self.writers.iter().filter(|(value, _)| !seen.contains(*value));
        if unseen.any(|(_, write)| in_time(write)) {
            return Ok(None);
        }
        let by_then = |(_, value): &(&u64, &Option<&str>)| {
            value.is_some_and(|value| self.writers.get(value).is_some_and(|write| in_time(write)))
        };
        let mut later = self.values.range(oldest..);
        let Some((revision, _)) = later.find(by_then) else {
            let what = format!(
                "revision {} was said not to be the newest at {} ns, and nothing newer was written by then",
                operation.expected_revision, operation.end_ns
            );
            return Err(Violation::of(ORACLE, what));
        };
        told.push((operation.end_ns, *revision));
        Ok(Some(Mismatch {
            span: operation.span(),
            revision: self.rank(*revision),
            key: key.clone(),
            expected: operation.expected.as_deref().map(bytes).unwrap_or_default(),
        }))
    }
}

fn bytes(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}
