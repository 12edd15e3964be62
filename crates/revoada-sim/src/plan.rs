//! What goes wrong in a simulation, and when: a schedule that the seed decides about, and that can be shrunk.
//!
//! Every fault has an end of its own, and the schedule has one for all: behind it nothing is wrong any more, and the
//! cluster has to come back to its shape. Rejected: to draw each fault when the one before is over. A schedule that is
//! known beforehand can be cut down to the faults that matter.

use std::fmt;

use crate::entropy::Chance;
use crate::wire::Place;

/// How long after a node was last heard everybody has written down how far its log had come, in milliseconds: the pause
/// between two times that it is written, and some rounds of gossip.
const REMEMBERED_MS: u64 = 1_300;

/// How long a machine is off while it is given its old disk, in milliseconds: longer than the others need to write down how
/// far it had come.
pub const OLD_DISK_OFF_MS: u64 = 1_500;

/// Which machine a fault is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// This one.
    At(Place),
    /// Whoever leads then.
    Leader,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed, and started again at the end.
    Kill(Whom),
    /// The machine loses its power, and what was not synced.
    PowerLoss(Whom),
    /// All machines do, at once.
    PowerLossOfAll,
    /// The process stands still.
    Pause(Whom),
    /// Nobody reaches it and it reaches nobody.
    Isolate(Whom),
    /// It reaches nobody, and all reach it.
    Mute(Whom),
    /// All reach nobody through it, and it reaches all.
    Deaf(Whom),
    /// Two machines do not reach each other; all others reach both.
    CutPair(Place, Place),
    /// These on one side, all others on the other.
    Split(Vec<Place>),
    /// Messages take long, all over.
    Slow {
        /// At most how long more, in microseconds.
        jitter_us: u64,
    },
    /// Messages are lost, all over.
    Lossy {
        /// How many of a thousand.
        permille: u64,
    },
    /// Connections between two machines break again and again.
    Resets(Place, Place),
    /// They break for the first of the two alone, again and again: what was on its way is heard so many milliseconds late,
    /// behind what is sent again.
    HalfResets(Place, Place, u64),
    /// Durable writes take long.
    SlowDisk(Whom, u64),
    /// They do on all machines.
    SlowDisks(u64),
    /// Syncs fail.
    FailingSync(Whom),
    /// No space is left.
    FullDisk(Whom),
    /// The clock jumps, by so many milliseconds.
    ClockJump(Whom, i64),
    /// The clock runs at another rate, in parts of a million.
    ClockRate(Whom, u64),
    /// The process dies again and again.
    Flap(Whom, u64),
    /// A bit of the log or of a checkpoint flips while the machine is off.
    Rot(Whom),
    /// The machine comes back with an empty disk.
    EmptyDisk(Whom),
    /// The machine comes back with the disk that it had a while ago.
    OldDisk(Whom),
    /// A second machine runs with a copy of its key, and a disk of its own; then its node is started again.
    CopiedKey(Whom),
    /// The same while its node is away, which comes back beside it half-way.
    LoneCopy(Whom),
    /// Whoever leads reaches no standby, and all others do; half-way a voter dies.
    Starve,
    /// Operators who do not know of each other want one role after the other.
    Churn,
    /// The node is started with another declaration than the others have, of so many standbys; then with theirs again.
    OtherDeclaration(Whom, u32),
}

impl Fault {
    /// Its kind, for figures.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Kill(_) => "kill",
            Self::PowerLoss(_) => "power-loss",
            Self::PowerLossOfAll => "power-loss-of-all",
            Self::Pause(_) => "pause",
            Self::Isolate(_) => "isolate",
            Self::Mute(_) => "one-way-out",
            Self::Deaf(_) => "one-way-in",
            Self::CutPair(..) => "partial-partition",
            Self::Split(_) => "split",
            Self::Slow { .. } => "delay",
            Self::Lossy { .. } => "loss",
            Self::Resets(..) => "reset",
            Self::HalfResets(..) => "half-reset",
            Self::SlowDisk(..) => "slow-disk",
            Self::SlowDisks(_) => "slow-disks",
            Self::FailingSync(_) => "failing-sync",
            Self::FullDisk(_) => "full-disk",
            Self::ClockJump(..) => "clock-jump",
            Self::ClockRate(..) => "clock-rate",
            Self::Flap(..) => "flap",
            Self::Rot(_) => "bit-rot",
            Self::EmptyDisk(_) => "empty-disk",
            Self::OldDisk(_) => "old-disk",
            Self::CopiedKey(_) => "copied-key",
            Self::LoneCopy(_) => "lone-copy",
            Self::Starve => "starve",
            Self::Churn => "churn",
            Self::OtherDeclaration(..) => "other-declaration",
        }
    }
}

/// A fault, when it begins, and how long it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// Its number in the whole schedule.
    pub number: usize,
    /// When it begins, in milliseconds from the start.
    pub at_ms: u64,
    /// How long it lasts, in milliseconds.
    pub lasts_ms: u64,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "#{} at {} ms for {} ms: {:?}",
            self.number, self.at_ms, self.lasts_ms, self.fault
        )
    }
}

/// Which faults a simulation draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// All of them, in turn by the seed.
    Everything,
    /// None.
    Calm,
    /// Of processes: kills, pauses, flapping.
    Processes,
    /// Of the network.
    Network,
    /// Of disks that lose nothing which they have promised.
    Disks,
    /// Of clocks, and of the network.
    Clocks,
    /// Of one disk that breaks its promise, and of processes and the network.
    Amnesia,
    /// Of members: operators in haste, copied keys, other declarations; and of processes and the network.
    Members,
}

impl Scenario {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 8] = [
        ("everything", Self::Everything),
        ("calm", Self::Calm),
        ("processes", Self::Processes),
        ("network", Self::Network),
        ("disks", Self::Disks),
        ("clocks", Self::Clocks),
        ("amnesia", Self::Amnesia),
        ("members", Self::Members),
    ];

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, scenario)| *scenario)
    }

    /// The schedule of a seed: faults between `from_ms` and `to_ms`, for so many machines.
    pub fn plan(self, seed: u64, places: usize, from_ms: u64, to_ms: u64) -> Vec<Planned> {
        let mut chance = Chance::of(seed, "plan");
        let scenario = match self {
            Self::Everything => *chance.pick(&[
                Self::Processes,
                Self::Network,
                Self::Disks,
                Self::Clocks,
                Self::Amnesia,
                Self::Members,
                Self::Everything,
            ]),
            other => other,
        };
        let mut plan = Vec::new();
        if scenario == Self::Calm {
            return plan;
        }
        // One disk at most breaks its promise: a majority has to be left that remembers, which one or two are not.
        let mut forgetful = scenario == Self::Amnesia && places > 2;
        let mut copies = 0;
        let gap = chance.between(400, 2_500);
        let mut at_ms = from_ms + chance.below(gap);
        if forgetful && chance.permille(150) {
            // While the cluster is born, when nobody remembers much.
            forgetful = false;
            plan.push(Planned {
                number: 0,
                at_ms: chance.below(from_ms),
                lasts_ms: chance.between(20, 3_000),
                fault: Fault::EmptyDisk(Whom::At(chance.below(places as u64) as Place)),
            });
        }
        while at_ms < to_ms {
            let fault = if forgetful {
                forgetful = false;
                let whom = Whom::At(chance.below(places as u64) as Place);
                match chance.below(3) {
                    0 => Fault::Rot(whom),
                    1 => Fault::EmptyDisk(whom),
                    _ => Fault::OldDisk(whom),
                }
            } else {
                scenario.draw(&mut chance, places)
            };
            // A copy may have come to vote when it goes, and what is gone for good must stay a minority. Of a node that is
            // alone nobody could know that it is there twice.
            let copied = matches!(fault, Fault::CopiedKey(_) | Fault::LoneCopy(_));
            copies += u32::from(copied);
            let fault = if copied && (copies > 1 || places == 1) {
                Fault::Churn
            } else {
                fault
            };
            let most = (to_ms - at_ms).clamp(50, 6_000);
            let lasts_ms = chance.between(20, most);
            let gone_ms = match fault {
                Fault::Rot(_) => at_ms,
                Fault::OldDisk(_) => at_ms + lasts_ms,
                _ => 0,
            };
            let old_disk = match fault {
                Fault::OldDisk(Whom::At(place)) => Some(place),
                _ => None,
            };
            let copy = match fault {
                Fault::LoneCopy(Whom::At(place)) => Some(place),
                _ => None,
            };
            let mut push = |at_ms, lasts_ms, fault| {
                plan.push(Planned {
                    number: plan.len(),
                    at_ms,
                    lasts_ms,
                    fault,
                });
            };
            push(at_ms, lasts_ms, fault);
            if let Some(place) = old_disk.filter(|_| chance.permille(500)) {
                // One that lacks much and remembers well, and the leader dies when the old disk is back: if it votes for
                // that one, what was committed is gone.
                let other = (place + 1 + chance.below(places as u64 - 1) as Place) % places;
                let back_ms = gone_ms + OLD_DISK_OFF_MS + chance.between(20, 400);
                push(
                    at_ms,
                    back_ms + 1_000 - at_ms,
                    Fault::SlowDisk(Whom::At(other), 400_000),
                );
                push(back_ms, chance.between(1_000, 4_000), Fault::Kill(Whom::Leader));
            }
            if let Some(place) = copy.filter(|_| chance.permille(700)) {
                // A copy that has promised nothing, and the leader dies as soon as it is there: if its vote counts, one that
                // lacks what its original had acknowledged leads.
                let other = (place + 1 + chance.below(places as u64 - 1) as Place) % places;
                let dies_ms = at_ms + chance.between(5, 500);
                let slow_ms = at_ms.saturating_sub(1_000);
                push(
                    slow_ms,
                    dies_ms + 1_000 - slow_ms,
                    Fault::SlowDisk(Whom::At(other), 400_000),
                );
                push(dies_ms, chance.between(1_000, 4_000), Fault::Kill(Whom::Leader));
            }
            // Of a disk that is older than it was, the others remember how far it had come only if they were there until it was gone, and had it written down.
            at_ms = (at_ms + chance.between(50, 2 * gap)).max(gone_ms + REMEMBERED_MS);
        }
        // Nothing begins when faults are to be over, and no old disk is put in sooner than the others may need to remember.
        plan.retain(|planned| {
            let until_ms = match planned.fault {
                Fault::OldDisk(_) => planned.at_ms + planned.lasts_ms + OLD_DISK_OFF_MS,
                _ => planned.at_ms + 1,
            };
            until_ms <= to_ms
        });
        plan
    }

    fn draw(self, chance: &mut Chance, places: usize) -> Fault {
        let group = match self {
            Self::Processes => 0,
            Self::Network => 1,
            Self::Disks => *chance.pick(&[0, 2, 2]),
            Self::Clocks => *chance.pick(&[1, 3, 3]),
            Self::Amnesia => *chance.pick(&[0, 1]),
            Self::Members => *chance.pick(&[0, 1, 4, 4]),
            Self::Everything | Self::Calm => chance.below(5),
        };
        let whom = if chance.permille(400) {
            Whom::Leader
        } else {
            Whom::At(chance.below(places as u64) as Place)
        };
        let a = chance.below(places as u64) as Place;
        let b = (a + 1 + chance.below((places as u64 - 1).max(1)) as Place) % places;
        match (group, chance.below(6)) {
            (0, 0..=2) => Fault::Kill(whom),
            (0, 3 | 4) => Fault::Pause(whom),
            (0, _) => Fault::Flap(whom, chance.between(2, 5)),
            (1, 0) => match chance.below(3) {
                0 => Fault::Isolate(whom),
                1 => Fault::Mute(whom),
                _ => Fault::Deaf(whom),
            },
            (1, 1) => {
                let size = chance.between(1, (places as u64 / 2).max(1));
                let mut side: Vec<Place> = Vec::new();
                for _ in 0..size {
                    side.push(chance.below(places as u64) as Place);
                }
                side.sort_unstable();
                side.dedup();
                Fault::Split(side)
            }
            (1, 2) if chance.permille(300) => Fault::Starve,
            (1, 2) => Fault::CutPair(a, b),
            (1, 3) => Fault::Slow {
                jitter_us: chance.between(2_000, 120_000),
            },
            (1, 4) => Fault::Lossy {
                permille: chance.between(5, 200),
            },
            (1, _) if a < b => Fault::Resets(a, b),
            (1, _) => Fault::HalfResets(a, b, 100 * (a + b) as u64 % 900),
            (2, 0 | 1) => Fault::PowerLoss(whom),
            (2, 2) if chance.permille(500) => Fault::SlowDisks(chance.between(5_000, 150_000)),
            (2, 2) => Fault::SlowDisk(whom, chance.between(1_000, 300_000)),
            (2, 3) => Fault::FailingSync(whom),
            (2, 4) => Fault::FullDisk(whom),
            (2, _) => Fault::PowerLossOfAll,
            (4, 0) => Fault::CopiedKey(whom),
            (4, 1) => Fault::LoneCopy(whom),
            (4, 2 | 3) => Fault::Churn,
            (4, _) => Fault::OtherDeclaration(whom, chance.between(0, 5) as u32),
            (_, 0..=2) => {
                let by = chance.between(10, 600_000) as i64;
                Fault::ClockJump(whom, if chance.permille(500) { by } else { -by })
            }
            _ => Fault::ClockRate(whom, chance.between(700_000, 1_400_000)),
        }
    }
}
