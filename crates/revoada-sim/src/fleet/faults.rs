//! How often things fail, and how long they stay away: rates by kind, by a name or from a file.
//!
//! Every failure is one of a few kinds, each a pair of numbers that somebody can know of their machines. Times between
//! failures and times to repair are drawn from exponential distributions, which Ford et al. (OSDI 2010) found good
//! enough for a population of machines of different ages. Rejected: a distribution for each kind. Nobody who runs five
//! machines could say which one, and the mean decides.

use std::time::Duration;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

/// A year, in days.
pub const YEAR: Duration = Duration::from_secs(31_557_600);
/// The longest duration that a rate may state.
const DURATION_MAX: Duration = Duration::from_secs(100 * 31_557_600);
/// The shortest mean time between two failures of one machine: more would be no cluster.
const BETWEEN_MIN: Duration = Duration::from_secs(60);
/// The most failures of one kind in a year, of one machine.
const PER_YEAR_MAX: f64 = 100_000.0;

/// Rates of failures. What is none does not happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Faults {
    /// A profile's name, or where the rates were read.
    pub name: String,
    /// A machine crashes or hangs, is started again, and has its disk.
    pub crashes: Option<Failing>,
    /// A machine breaks, is repaired, and has its disk.
    pub machines: Option<Failing>,
    /// A disk breaks; the machine comes back with an empty one.
    pub disks: Option<Wearing>,
    /// All machines are rebooted in turn, one after the other, by an operator.
    pub reboots: Option<Rolling>,
    /// One machine is cut off from all others.
    pub isolations: Option<Happening>,
    /// The network falls into two parts.
    pub splits: Option<Happening>,
    /// A zone is gone: the power or the switch that its machines share. Only where machines share zones.
    pub zones: Option<Happening>,
}

/// What breaks and is mended, of each machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failing {
    /// The mean time between two failures.
    #[serde(
        rename(serialize = "mtbf_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub mtbf: Duration,
    /// The mean time to repair.
    #[serde(
        rename(serialize = "mttr_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub mttr: Duration,
}

/// What wears out, of each machine.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wearing {
    /// The annual failure rate: 0.0157 is 1.57 % a year.
    pub afr: f64,
    /// The mean time until another is in its place.
    #[serde(
        rename(serialize = "mttr_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub mttr: Duration,
}

/// What is done to each machine in turn.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rolling {
    /// The time between the beginnings of two rounds.
    #[serde(
        rename(serialize = "every_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub every: Duration,
    /// How long each machine is away.
    #[serde(
        rename(serialize = "downtime_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub downtime: Duration,
}

/// What happens now and then and passes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Happening {
    /// How often in a year.
    #[serde(rename(serialize = "per_year", deserialize = "perYear"))]
    pub per_year: f64,
    /// The mean time until it has passed.
    #[serde(
        rename(serialize = "duration_ms"),
        serialize_with = "to_ms",
        deserialize_with = "from_text"
    )]
    pub duration: Duration,
}

/// Why rates are no rates.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{kind}.{field} is {given}: {wanted}")]
pub struct FaultsError {
    /// The kind of failure.
    pub kind: &'static str,
    /// The field of it.
    pub field: &'static str,
    /// What it is.
    pub given: String,
    /// What it may be.
    pub wanted: String,
}

/// The file that rates are written in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultsFile {
    /// A profile that the file starts from; without one nothing happens that it does not say.
    #[serde(rename = "extends")]
    pub base: Option<String>,
    crashes: Option<Failing>,
    machines: Option<Failing>,
    disks: Option<Wearing>,
    reboots: Option<Rolling>,
    isolations: Option<Happening>,
    splits: Option<Happening>,
    zones: Option<Happening>,
}

impl FaultsFile {
    /// The rates of the file, under this name; none where it extends a profile that does not exist.
    pub fn into_faults(self, name: impl Into<String>) -> Option<Faults> {
        let base = match &self.base {
            Some(base) => Faults::by_name(base)?,
            None => Faults::none(),
        };
        Some(Faults {
            name: name.into(),
            crashes: self.crashes.or(base.crashes),
            machines: self.machines.or(base.machines),
            disks: self.disks.or(base.disks),
            reboots: self.reboots.or(base.reboots),
            isolations: self.isolations.or(base.isolations),
            splits: self.splits.or(base.splits),
            zones: self.zones.or(base.zones),
        })
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

impl Faults {
    /// The names of the profiles, and what each is.
    pub const PROFILES: [(&str, &str); 4] = [
        ("homelab", "a few machines at home, without a spare part in the house"),
        ("datacenter", "servers in racks, with somebody on call"),
        ("harsh", "far too much of everything, to see what happens"),
        ("none", "nothing fails"),
    ];

    /// The profile of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name {
            "homelab" => Self::homelab(),
            "datacenter" => Self::datacenter(),
            "harsh" => Self::harsh(),
            "none" => Self::none(),
            _ => return None,
        })
    }

    /// Nothing fails.
    pub fn none() -> Self {
        Self {
            name: "none".to_owned(),
            crashes: None,
            machines: None,
            disks: None,
            reboots: None,
            isolations: None,
            splits: None,
            zones: None,
        }
    }

    /// A few machines at home.
    ///
    /// Published: disks, Backblaze, Drive Stats for 2024 (1.57 % a year). Zones, U.S. Energy Information
    /// Administration, 2018-11-30: one interruption of power a year and customer, about two hours, without major events.
    /// Not published by anybody for machines at home, and so assumed: a crash or a hang every two months and ten
    /// minutes until it is started again; a broken machine every five years and three days until the part has come;
    /// updates each month, three minutes a machine; two pulled or broken links a year and machine, and one switch that
    /// restarts, five minutes each.
    pub fn homelab() -> Self {
        Self {
            name: "homelab".to_owned(),
            crashes: Some(failing(60 * DAY, 10 * MINUTE)),
            machines: Some(failing(5 * YEAR, 3 * DAY)),
            disks: Some(Wearing {
                afr: 0.0157,
                mttr: 3 * DAY,
            }),
            reboots: Some(Rolling {
                every: 30 * DAY,
                downtime: 3 * MINUTE,
            }),
            isolations: Some(happening(2.0, 5 * MINUTE)),
            splits: Some(happening(1.0, 5 * MINUTE)),
            zones: Some(happening(1.0, 2 * HOUR)),
        }
    }

    /// Servers in racks.
    ///
    /// Published: J. Dean's typical first year of a cluster of 1,800 servers (Google I/O and Data-Intensive Computing
    /// Symposium, 2008): 1,000 failures of single machines, that is one in 1.8 years; 20 failures of racks of 40 to 80
    /// machines, 1 to 6 hours each, that is at most 0.44 a year and rack; 4 maintenances of the network that cost
    /// connections for half an hour. Disks: Backblaze, Drive Stats for 2024 (1.57 % a year). Gill et al. (SIGCOMM
    /// 2011): 5 % of top-of-rack switches fail in a year. Ford et al. (OSDI 2010): most of the time that machines
    /// are away is planned reboots, and most failures are short. Assumed, for want of a published number: what is away
    /// for short is away for five minutes, three times a year and machine; reboots are monthly; a machine or a disk is
    /// replaced within half a day.
    pub fn datacenter() -> Self {
        Self {
            name: "datacenter".to_owned(),
            crashes: Some(failing(YEAR / 3, 5 * MINUTE)),
            machines: Some(failing(YEAR * 18 / 10, 12 * HOUR)),
            disks: Some(Wearing {
                afr: 0.0157,
                mttr: 12 * HOUR,
            }),
            reboots: Some(Rolling {
                every: 30 * DAY,
                downtime: 5 * MINUTE,
            }),
            isolations: Some(happening(0.05, HOUR)),
            splits: Some(happening(4.0, 30 * MINUTE)),
            zones: Some(happening(0.44, 3 * HOUR)),
        }
    }

    /// Far too much of everything. No source: it is made to show what a shape does when much is broken at once.
    pub fn harsh() -> Self {
        Self {
            name: "harsh".to_owned(),
            crashes: Some(failing(5 * DAY, 15 * MINUTE)),
            machines: Some(failing(60 * DAY, 2 * DAY)),
            disks: Some(Wearing {
                afr: 0.2,
                mttr: 2 * DAY,
            }),
            reboots: Some(Rolling {
                every: 7 * DAY,
                downtime: 5 * MINUTE,
            }),
            isolations: Some(happening(26.0, 10 * MINUTE)),
            splits: Some(happening(12.0, 30 * MINUTE)),
            zones: Some(happening(6.0, 4 * HOUR)),
        }
    }

    /// Looks whether so many machines can be rebooted one after the other within a round.
    ///
    /// # Errors
    /// [`FaultsError`] says how long each may be away.
    pub fn check_for(&self, nodes: usize) -> Result<(), FaultsError> {
        let Some(Rolling { every, downtime }) = self.reboots else {
            return Ok(());
        };
        let share_ms = every.as_millis() / nodes.max(1) as u128;
        if downtime.as_millis() < share_ms {
            return Ok(());
        }
        let share = share_ms as f64 / 1e3;
        Err(FaultsError {
            kind: "reboots",
            field: "downtime",
            given: format!("{} s", downtime.as_secs_f64()),
            wanted: format!(
                "it has to be less than {share} s, since {nodes} nodes are rebooted one after the other in `every`"
            ),
        })
    }

    /// Looks whether the rates can be drawn from, with whatever number of nodes; [`Faults::check_for`] knows that number.
    ///
    /// # Errors
    /// [`FaultsError`] names the first number that cannot be.
    pub fn check(&self) -> Result<(), FaultsError> {
        let is = |kind, field, fine: bool, given: String, wanted: &str| match fine {
            true => Ok(()),
            false => Err(FaultsError {
                kind,
                field,
                given,
                wanted: wanted.to_owned(),
            }),
        };
        let long = |duration: Duration| format!("{} s", duration.as_secs_f64());
        let between = |kind, field, given: Duration| {
            let fine = (BETWEEN_MIN..=DURATION_MAX).contains(&given);
            is(kind, field, fine, long(given), "it has to be from 1m to 100y")
        };
        let away = |kind, field, given: Duration| {
            let fine = (Duration::from_millis(1)..=DURATION_MAX).contains(&given);
            is(kind, field, fine, long(given), "it has to be from 1ms to 100y")
        };
        let rate = |kind, field, given: f64| {
            let fine = given > 0.0 && given <= PER_YEAR_MAX;
            is(
                kind,
                field,
                fine,
                given.to_string(),
                "it has to be above 0, and at most 100000",
            )
        };
        for (kind, failing) in [("crashes", self.crashes), ("machines", self.machines)] {
            if let Some(Failing { mtbf, mttr }) = failing {
                between(kind, "mtbf", mtbf)?;
                away(kind, "mttr", mttr)?;
            }
        }
        if let Some(Wearing { afr, mttr }) = self.disks {
            rate("disks", "afr", afr)?;
            away("disks", "mttr", mttr)?;
        }
        if let Some(Rolling { every, downtime }) = self.reboots {
            between("reboots", "every", every)?;
            away("reboots", "downtime", downtime)?;
            let wanted = "it has to be at most half of `every`";
            is("reboots", "downtime", downtime * 2 <= every, long(downtime), wanted)?;
        }
        let passing = [
            ("isolations", self.isolations),
            ("splits", self.splits),
            ("zones", self.zones),
        ];
        for (kind, happening) in passing {
            if let Some(Happening { per_year, duration }) = happening {
                rate(kind, "perYear", per_year)?;
                away(kind, "duration", duration)?;
            }
        }
        Ok(())
    }
}

const fn failing(mtbf: Duration, mttr: Duration) -> Failing {
    Failing { mtbf, mttr }
}

const fn happening(per_year: f64, duration: Duration) -> Happening {
    Happening { per_year, duration }
}

fn to_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_millis() as u64)
}

/// A duration as declarations write it: `150ms`, `2h`, `7d`, `3y`.
fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| {
        de::Error::custom(format!(
            "`{text}` is no duration: write a number and a unit, e.g. 10m, 3d, 2y"
        ))
    })
}
