//! What a simulation found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::{Slice, Spans, Tally};

/// What a cluster lived through. All times are in milliseconds of virtual time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The declaration's id.
    pub id: String,
    /// How many nodes it had.
    pub nodes: usize,
    /// How many of them were to vote.
    pub voters_declared: usize,
    /// How many losses of voters that survives.
    pub survives_declared: usize,
    /// Whether the policy replaced what was lost; else the first voters stayed the voters.
    pub replacement: bool,
    /// How long it ran.
    pub simulated_ms: u64,
    /// The share of the time in which a quorum could write, from 0 to 1.
    pub availability: f64,
    /// The same as nines: 3 is 99.9 %. None where no write ever waited.
    pub nines: Option<f64>,
    /// How often and how long no write was possible, for whatever reason.
    pub downtime: Downtime,
    /// Of that: a quorum was there, and a leader was being elected.
    pub elections: Span,
    /// Of that: no quorum was there.
    pub quorum_losses: Losses,
    /// How often and how long fewer voters were there and caught up than declared.
    pub reduced_redundancy: Span,
    /// How often and how long writes went on, and one more loss would have ended that, unlike in the declared shape.
    pub no_loss_survived: Span,
    /// The blocks of the chain, by kind.
    pub transitions: BTreeMap<&'static str, u64>,
    /// What failed, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// How often an operator had to recover, because a majority of the voters could not come back.
    pub recoveries: u64,
    /// How often no disk with the cluster's state was left.
    pub everything_lost: u64,
    /// How often a node was promoted that was lost at that moment: 0, or there is a bug.
    pub promoted_while_lost: u64,
    /// How many plans were made.
    pub plans: u64,
    /// How many events happened.
    pub events: u64,
    /// The picture over time, in slices of `slice_ms`.
    #[serde(skip)]
    pub slices: Vec<Slice>,
    /// How long a slice is.
    #[serde(skip)]
    pub slice_ms: u64,
}

/// How often, how long in all, and how long at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Span {
    /// How often.
    pub count: u64,
    /// How long in all.
    pub total_ms: u64,
    /// How long at most.
    pub longest_ms: u64,
}

/// [`Span`], and what it comes to in a year.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Downtime {
    /// How often, how long in all, and how long at most.
    #[serde(flatten)]
    pub span: Span,
    /// How long in a year of 365.25 days.
    pub per_year_ms: f64,
}

/// The losses of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// How often, how long in all, and how long at most.
    #[serde(flatten)]
    pub span: Span,
    /// The first 20 of them.
    pub first: Vec<Loss>,
}

/// One loss of the quorum.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// When it began.
    pub at_ms: u64,
    /// How long it took.
    pub duration_ms: u64,
    /// The voters that were not there as it began.
    pub down: Vec<String>,
}

impl From<Spans> for Span {
    fn from(spans: Spans) -> Self {
        Self {
            count: spans.count,
            total_ms: spans.total_ms,
            longest_ms: spans.longest_ms,
        }
    }
}

/// What the run was of.
pub(super) struct Subject {
    pub(super) id: String,
    pub(super) nodes: usize,
    pub(super) voters_declared: usize,
    pub(super) survives_declared: usize,
    pub(super) replacement: bool,
    pub(super) simulated_ms: u64,
}

impl Report {
    pub(super) fn of(subject: Subject, tally: Tally) -> Self {
        let (all_ms, down_ms) = (subject.simulated_ms as f64, tally.down.total_ms as f64);
        let slice_ms = tally.slice_ms();
        let year_ms = super::faults::YEAR.as_millis() as f64;
        Self {
            id: subject.id,
            nodes: subject.nodes,
            voters_declared: subject.voters_declared,
            survives_declared: subject.survives_declared,
            replacement: subject.replacement,
            simulated_ms: subject.simulated_ms,
            availability: 1.0 - down_ms / all_ms,
            nines: (tally.down.total_ms > 0).then(|| -(down_ms / all_ms).log10()),
            downtime: Downtime {
                span: tally.down.into(),
                per_year_ms: down_ms * year_ms / all_ms,
            },
            elections: tally.leaderless.into(),
            quorum_losses: Losses {
                span: tally.lost.into(),
                first: tally.losses,
            },
            reduced_redundancy: tally.reduced.into(),
            no_loss_survived: tally.exposed.into(),
            transitions: tally.transitions,
            failures: tally.failures,
            recoveries: tally.recoveries,
            everything_lost: tally.everything_lost,
            promoted_while_lost: tally.promoted_while_lost,
            plans: tally.plans,
            events: tally.events,
            slices: tally.slices,
            slice_ms,
        }
    }
}
