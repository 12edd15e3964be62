//! Compaction without anybody asking: by age, or by how many revisions are kept (etcd: `v3compactor`).
//!
//! Every node keeps count, so that a new leader knows what the old one did, and only who leads compacts.

use std::collections::VecDeque;
use std::time::Duration;

use revoada_core::keyspace::{Operation, OperationRefused, Revision};
use revoada_store::KeyspaceError;
use tokio::time::{Instant, MissedTickBehavior};

use super::EtcdFace;
use super::options::AutoCompaction;

/// The longest time between two compactions by age.
const PERIOD_MAX: Duration = Duration::from_secs(3_600);
/// Into how many parts the time between two compactions is cut by looking at the revision.
const LOOKS_PER_PERIOD: u32 = 10;
/// How often revisions are counted.
const COUNTED_EVERY: Duration = Duration::from_secs(300);

/// When to compact, and to which revision.
#[derive(Debug)]
struct Schedule {
    rule: AutoCompaction,
    /// The revisions at the last looks; the first is as old as what is to be forgotten.
    seen: VecDeque<Revision>,
    compacted: Revision,
    compacted_at: Duration,
    /// Before the first compaction all of the age has to pass, then at most [`PERIOD_MAX`].
    has_begun: bool,
}

impl Schedule {
    fn new(rule: AutoCompaction) -> Self {
        Self {
            rule,
            seen: VecDeque::new(),
            compacted: 0,
            compacted_at: Duration::ZERO,
            has_begun: false,
        }
    }

    /// How often to look.
    fn interval(&self) -> Duration {
        match self.rule {
            AutoCompaction::Periodic(age) => (age.min(PERIOD_MAX) / LOOKS_PER_PERIOD).max(Duration::from_millis(1)),
            AutoCompaction::Revisions(_) => COUNTED_EVERY,
        }
    }

    /// A look: the time since the first one, and the revision now. The revision to compact to.
    fn look(&mut self, now: Duration, revision: Revision) -> Option<Revision> {
        let due = match self.rule {
            AutoCompaction::Periodic(age) => {
                let wait = if self.has_begun { age.min(PERIOD_MAX) } else { age };
                let waited = now.saturating_sub(self.compacted_at) >= wait;
                let looks = age.div_duration_f64(self.interval()) as usize + 1;
                let oldest = self.seen.front().copied().filter(|_| waited);
                self.has_begun |= oldest.is_some();
                self.seen.push_back(revision);
                while self.seen.len() > looks {
                    self.seen.pop_front();
                }
                oldest
            }
            AutoCompaction::Revisions(kept) => revision.checked_sub(kept).filter(|revision| *revision > 0),
        };
        due.filter(|due| *due != self.compacted)
    }

    fn done(&mut self, now: Duration, revision: Revision) {
        self.compacted = revision;
        self.compacted_at = now;
    }
}

impl EtcdFace {
    /// What the face does by itself, beside answering: ends with the face's `stopping`. To be run once, beside
    /// [`Self::router`].
    pub async fn keep_house(self) {
        let Some(rule) = self.options.auto_compaction else {
            return;
        };
        let mut schedule = Schedule::new(rule);
        let mut looks = tokio::time::interval(schedule.interval());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let mut stopping = std::pin::pin!(self.stopping());
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = &mut stopping => return,
            }
            let now = start.elapsed();
            let due = schedule.look(now, self.revision());
            let leads = self.group.standing().leader == Some(self.member_id);
            let Some(revision) = due.filter(|_| leads) else {
                continue;
            };
            match self.keyspace.execute(Operation::Compact { revision }).await {
                Ok(_) | Err(KeyspaceError::Refused(OperationRefused::Compacted { .. })) => {
                    schedule.done(now, revision);
                    tracing::info!(revision, "compacted by itself");
                }
                Err(error) => tracing::warn!(
                    revision,
                    error = &error as &dyn std::error::Error,
                    "not compacted: it is tried again"
                ),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// What is compacted, minute by minute, while each has ten revisions.
    fn minutes(rule: AutoCompaction, count: u32) -> Vec<(u32, Revision)> {
        let mut schedule = Schedule::new(rule);
        let every = schedule.interval();
        let mut done = Vec::new();
        let mut now = Duration::ZERO;
        while now < MINUTE * count {
            let revision = 1 + now.as_secs() / 6;
            if let Some(due) = schedule.look(now, revision) {
                schedule.done(now, due);
                done.push(((now.as_secs() / 60) as u32, due));
            }
            now += every;
        }
        done
    }

    #[test]
    fn what_is_older_than_the_age_is_forgotten_once_an_age() {
        let done = minutes(AutoCompaction::Periodic(MINUTE * 10), 45);
        assert_eq!(done, [(10, 1), (20, 91), (30, 191), (40, 291)]);
    }

    #[test]
    fn a_long_age_passes_once_and_then_every_hour_forgets() {
        let done = minutes(AutoCompaction::Periodic(MINUTE * 180), 320);
        assert_eq!(done, [(180, 1), (240, 541), (300, 1_141)]);
    }

    #[test]
    fn so_many_revisions_are_kept() {
        let done = minutes(AutoCompaction::Revisions(120), 21);
        assert_eq!(done, [(15, 31), (20, 81)]);
    }
}
