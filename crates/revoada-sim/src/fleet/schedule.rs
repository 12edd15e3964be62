//! What fails, and when: drawn from the seed alone.
//!
//! Each machine has a stream of numbers of its own for each kind of failure, so what happens to a machine does not
//! depend on how many others there are, or on what the cluster makes of it. Two declarations under one seed therefore
//! suffer the same. Rejected: one stream for everything, which the first difference between two clusters would shift.

use std::time::Duration;

use super::faults::{Faults, YEAR};
use crate::entropy::Chance;

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Crash,
    Machine,
    Disk,
    Reboot,
    Isolation,
    Split,
    Zone,
}

impl Kind {
    /// The name used in every output.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crashes",
            Self::Machine => "machines",
            Self::Disk => "disks",
            Self::Reboot => "reboots",
            Self::Isolation => "isolations",
            Self::Split => "splits",
            Self::Zone => "zones",
        }
    }
}

/// A failure of one subject: a machine, a zone, or the whole network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    /// The number of the machine or the zone, from 0; 0 for the network.
    pub(super) subject: usize,
    /// The how-manieth of its subject, from 0.
    pub(super) round: u64,
    pub(super) at_ms: u64,
    pub(super) until_ms: u64,
}

/// One kind of failure of one subject.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    kind: Kind,
    subject: usize,
    round: u64,
    chance: Chance,
    rate: Rate,
}

#[derive(Debug, Clone, Copy)]
enum Rate {
    Drawn {
        between_ms: f64,
        away_ms: f64,
    },
    Turns {
        every_ms: u64,
        offset_ms: u64,
        away_ms: u64,
    },
}

impl Stream {
    fn of(seed: u64, kind: Kind, subject: usize, rate: Rate) -> Self {
        Self {
            kind,
            subject,
            round: 0,
            chance: Chance::of(seed, &format!("{}/{subject}", kind.name())),
            rate,
        }
    }

    /// The next failure that begins after `after_ms`, when the last one ended. Times are since the beginning.
    pub(super) fn next(&mut self, after_ms: u64) -> Failure {
        let (at_ms, until_ms) = match self.rate {
            Rate::Drawn { between_ms, away_ms } => {
                let at_ms = after_ms + exponential(&mut self.chance, between_ms);
                (at_ms, at_ms + exponential(&mut self.chance, away_ms))
            }
            Rate::Turns {
                every_ms,
                offset_ms,
                away_ms,
            } => {
                let at_ms = (self.round + 1) * every_ms + offset_ms;
                (at_ms, at_ms + away_ms)
            }
        };
        let failure = Failure {
            kind: self.kind,
            subject: self.subject,
            round: self.round,
            at_ms,
            until_ms,
        };
        self.round += 1;
        failure
    }
}

/// All streams of a cluster of so many machines in so many zones; no zones are shared where there are none.
pub(super) fn streams(faults: &Faults, seed: u64, nodes: usize, zones: usize) -> Vec<Stream> {
    let ms = |duration: Duration| duration.as_millis() as u64;
    let drawn = |between: Duration, away: Duration| Rate::Drawn {
        between_ms: ms(between) as f64,
        away_ms: ms(away) as f64,
    };
    let yearly = |per_year: f64, away: Duration| Rate::Drawn {
        between_ms: ms(YEAR) as f64 / per_year,
        away_ms: ms(away) as f64,
    };
    let mut streams = Vec::new();
    let mut each = |kind, count: usize, rate: &dyn Fn(usize) -> Rate| {
        streams.extend((0..count).map(|subject| Stream::of(seed, kind, subject, rate(subject))));
    };
    if let Some(crashes) = faults.crashes {
        each(Kind::Crash, nodes, &|_| drawn(crashes.mtbf, crashes.mttr));
    }
    if let Some(machines) = faults.machines {
        each(Kind::Machine, nodes, &|_| drawn(machines.mtbf, machines.mttr));
    }
    if let Some(disks) = faults.disks {
        each(Kind::Disk, nodes, &|_| yearly(disks.afr, disks.mttr));
    }
    if let Some(reboots) = faults.reboots {
        // As long as each is away the next one waits; where there are many, not as long. That all have room in one round,
        // one after the other, was looked at before (`Faults::check_for`).
        let (every_ms, away_ms) = (ms(reboots.every), ms(reboots.downtime));
        let step_ms = (2 * away_ms).min(every_ms / nodes.max(1) as u64);
        each(Kind::Reboot, nodes, &|subject| Rate::Turns {
            every_ms,
            offset_ms: subject as u64 * step_ms,
            away_ms,
        });
    }
    if let Some(isolations) = faults.isolations {
        each(Kind::Isolation, nodes, &|_| {
            yearly(isolations.per_year, isolations.duration)
        });
    }
    if let Some(splits) = faults.splits {
        each(Kind::Split, 1, &|_| yearly(splits.per_year, splits.duration));
    }
    if let Some(shared) = faults.zones {
        each(Kind::Zone, zones, &|_| yearly(shared.per_year, shared.duration));
    }
    streams
}

/// Whether a machine is on the smaller side of the `round`-th split. How small that is, the split says.
pub(super) fn is_split_off(seed: u64, round: u64, node: usize) -> bool {
    let share = unit(&mut Chance::of(seed, &format!("split/{round}"))) / 2.0;
    unit(&mut Chance::of(seed, &format!("split/{round}/{node}"))) < share
}

/// A number from 0 to below 1.
fn unit(chance: &mut Chance) -> f64 {
    (chance.draw() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A time with this mean, at least a millisecond and at most a thousand years.
fn exponential(chance: &mut Chance, mean_ms: f64) -> u64 {
    let drawn = -mean_ms * (1.0 - unit(chance)).ln();
    drawn.clamp(1.0, 3.2e13) as u64
}

#[cfg(test)]
mod tests {
    use super::super::faults::Rolling;
    use super::*;

    #[test]
    fn what_happens_to_a_machine_does_not_depend_on_the_others() {
        let first = |nodes| {
            let mut streams = streams(&Faults::homelab(), 7, nodes, 0);
            let mut of_two = streams.iter_mut().filter(|stream| stream.subject == 1);
            let mut failures = Vec::new();
            for stream in of_two.by_ref().filter(|stream| stream.kind != Kind::Reboot) {
                let one = stream.next(0);
                failures.extend([one, stream.next(one.until_ms)]);
            }
            failures
        };
        assert_eq!(first(3), first(700));
        assert_eq!(first(3).len(), 8);
    }

    #[test]
    fn failures_come_at_the_rate_that_was_stated() {
        let mut faults = Faults::none();
        faults.crashes = Faults::homelab().crashes;
        let between_ms = 60.0 * 86_400_000.0;
        let mut last_ms = 0;
        let mut count = 0;
        for mut stream in streams(&faults, 3, 200, 0) {
            let mut at_ms = 0;
            for _ in 0..50 {
                let failure = stream.next(at_ms);
                last_ms += failure.at_ms - at_ms;
                at_ms = failure.until_ms;
                count += 1;
            }
        }
        let mean_ms = last_ms as f64 / f64::from(count);
        assert!((mean_ms / between_ms - 1.0).abs() < 0.03, "{mean_ms}");
    }

    #[test]
    fn machines_are_rebooted_one_at_a_time() {
        let mut faults = Faults::none();
        faults.reboots = Faults::homelab().reboots;
        let mut spans: Vec<(u64, u64)> = streams(&faults, 1, 5, 0)
            .iter_mut()
            .map(|stream| stream.next(0))
            .map(|reboot| (reboot.at_ms, reboot.until_ms))
            .collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0), "{spans:?}");
    }

    #[test]
    fn as_many_machines_as_are_let_through_are_rebooted_one_at_a_time() {
        let mut faults = Faults::none();
        faults.reboots = Some(Rolling {
            every: Duration::from_secs(60),
            downtime: Duration::from_secs(9),
        });
        let most = (1..100).take_while(|nodes| faults.check_for(*nodes).is_ok()).count();
        assert_eq!(most, 6);
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for stream in &mut streams(&faults, 1, most, 0) {
            for _ in 0..3 {
                let reboot = stream.next(0);
                spans.push((reboot.at_ms, reboot.until_ms));
            }
        }
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 < pair[1].0), "{spans:?}");
    }

    #[test]
    fn every_profile_has_room_for_as_many_machines_as_can_be_simulated() {
        for (name, _) in Faults::PROFILES {
            let faults = Faults::by_name(name).unwrap();
            assert_eq!(faults.check_for(super::super::NODES_MAX), Ok(()), "{name}");
        }
    }
}
