//! What keys cost: memory, disk, and puts among few keys and among many.
//!
//! A put's cost is told twice: by its rate, and by the leader's processor time, which other work on the machine moves less.

use anyhow::Result;

use super::cases::{load, put};
use super::sides::{Pair, Side};
use super::{Both, Figure, Goal, Sample, Setting, Size, process};
use crate::bench::page::Promise::AtMost;

const FEW: usize = 1_000;
/// Clients of the puts that are compared, and how many those are.
const CLIENTS: usize = 64;
const PUTS: usize = 20_000;

pub const FIGURES: &[Figure] = &[
    Figure {
        name: "memory of the largest member, MB",
        goal: Goal::Ratio(AtMost(1.0)),
    },
    Figure {
        name: "of it not shared with files, MB",
        goal: Goal::None,
    },
    Figure {
        name: "puts per second among the many",
        goal: Goal::None,
    },
    Figure {
        name: "time of a put, in times of one among the few",
        goal: Goal::Ours(AtMost(1.3)),
    },
    Figure {
        name: "leader's µs of a put, in times of one among the few",
        goal: Goal::Ours(AtMost(1.3)),
    },
];

/// Both grow on a pair of their own. Memory is looked at once, when all keys are there.
pub fn measure(setting: &Setting, size: &Size) -> Result<Both> {
    let mut pair = Pair::start(setting, "growth")?;
    let (few, _, _) = compared(&mut pair, size, FEW)?;
    let (many, memory, command) = compared(&mut pair, size, size.keys)?;
    let of_side = |which: usize| -> Vec<Sample> {
        let (whole, own) = memory[which];
        let rounds = few[which].iter().zip(&many[which]);
        rounds
            .map(|(few, many)| {
                let [few_rate, few_us, many_rate, many_us] = [few[0], few[3], many[0], many[3]];
                vec![
                    whole / 1e6,
                    own / 1e6,
                    many_rate,
                    few_rate / many_rate,
                    many_us / few_us,
                ]
            })
            .collect()
    };
    Ok((of_side(0), of_side(1), command))
}

/// Puts among so many keys: each of the sides has them, the memory of either's largest member (all of it, and what is its
/// own), then a sample for each round, and the commands.
type Grown = ([Vec<Sample>; 2], [(f64, f64); 2], String);

fn compared(pair: &mut Pair, size: &Size, keys: usize) -> Result<Grown> {
    let mut samples = [Vec::new(), Vec::new()];
    let mut memory = [(0.0, 0.0); 2];
    let mut command = String::new();
    let space = format!("--key-size=16 --val-size=256 --key-space-size={keys}");
    let every = Size { part: 1, ..*size };
    for (which, side) in [&mut pair.ours, &mut pair.etcd].into_iter().enumerate() {
        command = load(side, &every, 256, keys, &format!("put --sequential-keys {space}"))?.1;
        memory[which] = (largest(side, "VmRSS")?, largest(side, "RssAnon")?);
    }
    for _ in 0..size.rounds {
        for (which, side) in [&mut pair.ours, &mut pair.etcd].into_iter().enumerate() {
            let (sample, line) = load(side, size, CLIENTS, PUTS, &format!("put {space}"))?;
            samples[which].push(sample);
            if !command.ends_with(&line) {
                command = format!("{command}; {line}");
            }
        }
    }
    Ok((samples, memory, command))
}

fn largest(side: &Side, field: &str) -> Result<f64> {
    let mut largest: f64 = 0.0;
    for member in 0..side.endpoints.len() {
        largest = largest.max(process::memory_bytes(side.pid(member)?, field)?);
    }
    Ok(largest)
}

/// What all members had the disk write, for each put.
pub fn disk(side: &mut Side, size: &Size) -> Result<(Sample, String)> {
    let written = |side: &Side| -> Result<f64> {
        let members = 0..side.endpoints.len();
        members.map(|member| process::written_bytes(side.pid(member)?)).sum()
    };
    let before = written(side)?;
    let (_, command) = put(side, size, CLIENTS, 256, PUTS)?;
    let bytes = written(side)? - before;
    let total = (PUTS / size.part).max(CLIENTS);
    Ok((vec![bytes / total as f64], command))
}
