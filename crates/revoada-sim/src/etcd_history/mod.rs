//! What clients of the etcd face of real processes were told, and the same judgement of it as of a simulated cluster.
//!
//! Every answer of etcd names the revision that it is of, so what clients wrote and read is the evidence that the oracles
//! of the simulation ask for as it stands: no order has to be searched for. What the cluster has committed is read from
//! it at the end, by one watch from the first revision on each node; two nodes that tell it differently contradict each
//! other. On top of the oracles stands what only an answer of etcd has ([`answers`]): events of one revision in one
//! answer, the value before, the version, a bookmark. Rejected: to take the acknowledged writes for the truth. A watch
//! that is told of a write that nobody was answered for would then pass for a wrong one.

pub mod answers;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use revoada_core::keyspace::{Event, Revision};

use crate::history::{Records, Watched};
use crate::ledger::{Changes, Truth};
use crate::oracles::{Violation, durable, exactly_once, linearizable, monotonic, watches};
use crate::wire::Place;
use answers::{Wants, replay};

/// The oracle that what the nodes tell of the whole history is reported under.
const WHOLE: &str = "state-machine-safety";

/// One watch through the etcd face, from its creation to its end.
#[derive(Debug, Clone)]
pub struct EtcdWatch {
    /// Who watched.
    pub watcher: usize,
    /// On which node.
    pub place: Place,
    /// Behind which revision it began.
    pub after: Revision,
    /// The prefix of the keys that it watched.
    pub prefix: Bytes,
    /// What it asked for.
    pub wants: Wants,
    /// What came, in order.
    pub answers: Vec<Answer>,
}

/// One answer to a watch.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Events; with `goes_on`, the rest of them is in the next answer.
    Events {
        /// Whether it is a fragment that is not the last one.
        goes_on: bool,
        /// What happened; a deletion's version is that of nothing, and only its revision is told.
        events: Vec<Event>,
    },
    /// A bookmark: everything up to this revision has been told.
    Progress(Revision),
}

/// A write whose outcome nobody was told: it was done as a whole, at most once, or it was not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attempt {
    /// What it puts; each value is written by nobody else.
    pub puts: BTreeMap<Bytes, Bytes>,
    /// What it deletes, if it is there.
    pub deletes: BTreeSet<Bytes>,
}

/// Everything that clients were told.
#[derive(Debug, Default)]
pub struct EtcdHistory {
    /// Writes, reads, conditions that did not hold, revisions seen. The revisions are those of the answers' headers.
    pub records: Records,
    /// Writes of unknown outcome.
    pub attempts: Vec<Attempt>,
    /// What was watched meanwhile.
    pub watches: Vec<EtcdWatch>,
    /// For each node one watch of everything from the first revision on, read at the end, with a bookmark behind it.
    pub wholes: Vec<EtcdWatch>,
}

impl EtcdHistory {
    /// Whether it fits what etcd guarantees (etcd, *API guarantees*); the first thing that does not.
    pub fn check(mut self) -> Result<(), Violation> {
        let (truth, newest) = self.truth()?;
        let states = replay(&truth);
        for watch in self.wholes.iter().chain(&self.watches) {
            answers::check(watch, &states).map_err(|what| violation_of(watch, &what))?;
        }
        for (wants, group) in by_filter(&self.watches) {
            self.records.watches = group;
            watches::check(&self.records, &shown(&truth, wants))?;
        }
        self.nobody_elses(&truth)?;
        durable::check(&self.records, &truth, newest)?;
        exactly_once::check(&truth)?;
        monotonic::glances(&self.records)?;
        linearizable::check(&self.records, &truth)
    }

    /// What was committed, as all nodes tell it, and the newest revision.
    fn truth(&self) -> Result<(Truth, Revision), Violation> {
        let mut truth = Truth::default();
        let mut newest = 0;
        for whole in &self.wholes {
            let told = changes(&answers::assembled(&whole.answers).concat());
            let bookmark = whole.answers.iter().rev().find_map(|answer| match answer {
                Answer::Progress(revision) => Some(*revision),
                Answer::Events { .. } => None,
            });
            let until = bookmark.ok_or_else(|| violation_of(whole, "it was never told how far it is"))?;
            for revision in 2..=until {
                // Revisions of others than clients of etcd change nothing here.
                let did = told.get(&revision).cloned().unwrap_or_default();
                let known = truth.changes.entry(revision).or_insert_with(|| did.clone());
                if *known != did {
                    let what = format!(
                        "of revision {revision} node-{} tells {did:?}, and another node {known:?}",
                        whole.place
                    );
                    return Err(Violation::of(WHOLE, what));
                }
            }
            newest = newest.max(until);
        }
        if newest == 0 {
            return Err(Violation::of(WHOLE, "nobody told the whole history".to_owned()));
        }
        Ok((truth, newest))
    }

    /// Every change is of a write that a client was answered for, or was not told the outcome of.
    fn nobody_elses(&self, truth: &Truth) -> Result<(), Violation> {
        let acknowledged: BTreeMap<Revision, &Changes> = self
            .records
            .writes
            .iter()
            .map(|write| (write.revision, &write.changes))
            .collect();
        for (revision, changes) in truth.changes.iter().filter(|(_, changes)| !changes.is_empty()) {
            let explained = acknowledged.get(revision).is_some_and(|write| *write == changes)
                || self.attempts.iter().any(|attempt| attempt.explains(changes));
            if !explained {
                let what = format!("revision {revision} did {changes:?}, which no client asked for as a whole");
                return Err(Violation::of("exactly-once", what));
            }
        }
        Ok(())
    }
}

impl Attempt {
    fn explains(&self, changes: &Changes) -> bool {
        let puts = changes.iter().filter_map(|(key, value)| Some((key, value.as_ref()?)));
        let deleted = changes.iter().filter(|(_, value)| value.is_none());
        puts.eq(&self.puts) && deleted.into_iter().all(|(key, _)| self.deletes.contains(key))
    }
}

fn violation_of(watch: &EtcdWatch, what: &str) -> Violation {
    let what = format!(
        "watcher {} on node-{} behind revision {}: {what}",
        watch.watcher, watch.place, watch.after
    );
    Violation::of("watches", what)
}

/// What these events did, by revision.
fn changes(events: &[Event]) -> BTreeMap<Revision, Changes> {
    let mut all: BTreeMap<Revision, Changes> = BTreeMap::new();
    for event in events {
        let value = answers::value(event).cloned();
        all.entry(event.revision).or_default().insert(event.key.clone(), value);
    }
    all
}

/// The watches as the oracle knows them, by what they leave out: puts, deletions.
fn by_filter(all: &[EtcdWatch]) -> BTreeMap<(bool, bool), Vec<Watched>> {
    let mut groups: BTreeMap<_, Vec<Watched>> = BTreeMap::new();
    for watch in all {
        let bookmarks = watch.answers.iter().filter_map(|answer| match answer {
            Answer::Progress(revision) => Some(*revision),
            Answer::Events { .. } => None,
        });
        let group = groups.entry((watch.wants.puts, watch.wants.deletions)).or_default();
        group.push(Watched {
            watcher: watch.watcher,
            place: watch.place,
            after: watch.after,
            prefix: watch.prefix.clone(),
            position: bookmarks.max().unwrap_or(0),
            batches: answers::assembled(&watch.answers),
            // Judged with the answers, fragments among them.
            bookmarks: Vec::new(),
        });
    }
    groups
}

/// What is left of the truth for who leaves out puts, or deletions.
fn shown(truth: &Truth, (puts, deletions): (bool, bool)) -> Truth {
    let wanted = |(_, value): &(&Bytes, &Option<Bytes>)| if value.is_some() { puts } else { deletions };
    let of = |(revision, changes): (&Revision, &Changes)| {
        let left = changes.iter().filter(wanted);
        (
            *revision,
            left.map(|(key, value)| (key.clone(), value.clone())).collect(),
        )
    };
    let mut left = Truth::default();
    left.changes.extend(truth.changes.iter().map(of));
    left
}
