//! What is compared: etcd's load generator with these words, and what its numbers have to be.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Goal::{None as NoGoal, Ratio};
use super::load::{Load, benchmark};
use super::sides::Side;
use super::{Case, Figure, Measure, Sample, Size, growth, kill};
use crate::bench::page::Promise::{AtLeast, AtMost};
use crate::cli::number;

/// Keys that puts and transactions go round.
const KEYS: &str = "--key-space-size=10000";

macro_rules! figures {
    ($($name:literal $goal:expr),* $(,)?) => { &[$(Figure { name: $name, goal: $goal }),*] };
}

/// What a load gives: [`sample`].
const PLAIN: &[Figure] = figures!["per second" NoGoal, "p50 ms" NoGoal, "p99 ms" NoGoal, "leader's µs each" NoGoal];

macro_rules! put {
    ($name:literal, $what:literal, $clients:literal, $size:literal, $total:literal, $figures:expr) => {
        Case {
            name: $name,
            what: $what,
            figures: $figures,
            measure: Measure::Rounds(|side, size| put(side, size, $clients, $size, $total)),
        }
    };
}

pub const CASES: &[Case] = &[
    put!(
        "put-1-client-256",
        "put, 1 client, 256 B",
        1,
        256,
        3_000,
        figures!["per second" Ratio(AtLeast(1.3)), "p50 ms" NoGoal, "p99 ms" NoGoal, "leader's µs each" NoGoal]
    ),
    put!("put-1-client-1024", "put, 1 client, 1 KiB", 1, 1024, 3_000, PLAIN),
    put!("put-64-clients-256", "put, 64 clients, 256 B", 64, 256, 20_000, PLAIN),
    put!("put-64-clients-1024", "put, 64 clients, 1 KiB", 64, 1024, 20_000, PLAIN),
    put!(
        "put-256-clients-256",
        "put, 256 clients, 256 B",
        256,
        256,
        40_000,
        figures!["per second" Ratio(AtLeast(2.0)), "p50 ms" NoGoal, "p99 ms" Ratio(AtMost(0.5)), "leader's µs each" NoGoal]
    ),
    put!(
        "put-256-clients-1024",
        "put, 256 clients, 1 KiB",
        256,
        1024,
        40_000,
        figures!["per second" Ratio(AtLeast(2.0)), "p50 ms" NoGoal, "p99 ms" Ratio(AtMost(0.5)), "leader's µs each" NoGoal]
    ),
    put!(
        "put-1000-clients-256",
        "put, 1,000 clients, 256 B",
        1000,
        256,
        40_000,
        PLAIN
    ),
    put!(
        "put-1000-clients-1024",
        "put, 1,000 clients, 1 KiB",
        1000,
        1024,
        40_000,
        PLAIN
    ),
    Case {
        name: "range-linearizable",
        what: "range of one key, linearizable, 256 clients",
        figures: figures!["per second" Ratio(AtLeast(1.4)), "p50 ms" NoGoal, "p99 ms" NoGoal, "leader's µs each" NoGoal],
        measure: Measure::Rounds(|side, size| load(side, size, 256, 60_000, "range key --consistency=l")),
    },
    Case {
        name: "range-serializable",
        what: "range of one key, serializable, 256 clients",
        figures: figures!["per second" Ratio(AtLeast(1.2)), "p50 ms" NoGoal, "p99 ms" NoGoal, "leader's µs each" NoGoal],
        measure: Measure::Rounds(|side, size| load(side, size, 256, 60_000, "range key --consistency=s")),
    },
    Case {
        name: "range-1000-keys",
        what: "range over 1,000 keys of 256 B, 64 clients",
        figures: PLAIN,
        measure: Measure::Rounds(|side, size| {
            fill(side, "range/", 1_000)?;
            load(side, size, 64, 3_000, "range range/ range0 --consistency=l")
        }),
    },
    Case {
        name: "mixed",
        what: "mixed: 4 reads of 10 keys for each put, 256 clients, 256 B",
        figures: PLAIN,
        measure: Measure::Rounds(|side, size| {
            let words = format!("txn-mixed --rw-ratio=4 --limit=10 --key-size=16 --val-size=256 {KEYS}");
            load(side, size, 256, 10_000, &words)
        }),
    },
    Case {
        name: "txn",
        what: "transactions of 8 puts, 64 clients, 256 B",
        figures: PLAIN,
        measure: Measure::Rounds(|side, size| {
            let words = format!("txn-put --txn-ops=8 --key-size=16 --val-size=256 {KEYS}");
            load(side, size, 64, 8_000, &words)
        }),
    },
    Case {
        name: "lease-keepalive",
        what: "lease keep-alives, 256 clients",
        figures: PLAIN,
        measure: Measure::Rounds(|side, size| load(side, size, 256, 40_000, "lease-keepalive")),
    },
    Case {
        name: "watch-one-key",
        what: "1,000 watches of one key: events",
        figures: figures!["per second" Ratio(AtLeast(1.5))],
        measure: Measure::Rounds(|side, size| {
            watched(side, size, 1, 1_000, "--watched-key-total=1 --key-space-size=1")
        }),
    },
    Case {
        name: "watch-1000-keys",
        what: "1,000 watches of 1,000 keys: events",
        figures: figures!["per second" Ratio(AtLeast(1.5))],
        measure: Measure::Rounds(|side, size| {
            watched(
                side,
                size,
                1_000,
                30_000,
                "--watched-key-total=1000 --key-space-size=1000",
            )
        }),
    },
    Case {
        name: "lag-one-key",
        what: "1,000 watches of one key, 100 puts a second: lag",
        figures: figures!["p50 ms" NoGoal, "p99 ms" NoGoal],
        measure: Measure::Rounds(|side, size| lag(side, size, "1")),
    },
    Case {
        name: "lag-1000-keys",
        what: "1,000 watches of 1,000 keys, 100 puts a second: lag",
        figures: figures!["p50 ms" NoGoal, "p99 ms" NoGoal],
        measure: Measure::Rounds(|side, size| lag(side, size, "1000")),
    },
    Case {
        name: "disk",
        what: "put, 64 clients, 256 B: written to disk by all members",
        figures: figures!["bytes each" NoGoal],
        measure: Measure::Rounds(growth::disk),
    },
    Case {
        name: "kill-leader",
        what: "the leader killed: no write for",
        figures: figures!["ms" Ratio(AtMost(0.4))],
        measure: Measure::Rounds(kill::measure),
    },
    Case {
        name: "growth",
        what: "from 1,000 keys to 1,000,000 of 256 B",
        figures: growth::FIGURES,
        measure: Measure::Whole(growth::measure),
    },
];

fn sample(load: &Load) -> Sample {
    vec![load.per_second, load.p50_ms, load.p99_ms, load.leader_us]
}

/// Puts by so many clients on at most 16 connections.
pub fn put(side: &mut Side, size: &Size, clients: usize, bytes: usize, total: usize) -> Result<(Sample, String)> {
    load(
        side,
        size,
        clients,
        total,
        &format!("put --key-size=16 --sequential-keys --val-size={bytes} {KEYS}"),
    )
}

/// A load of so many requests.
pub fn load(side: &mut Side, size: &Size, clients: usize, total: usize, words: &str) -> Result<(Sample, String)> {
    let total = (total / size.part).max(clients);
    let words = format!(
        "--conns={} --clients={clients} {words} --total={total}",
        clients.min(16)
    );
    let load = benchmark(side, &split(&words), total)?;
    Ok((sample(&load), load.command))
}

/// Puts of which so many watches hear, as fast as they go.
fn watched(side: &mut Side, size: &Size, keys: usize, puts: usize, words: &str) -> Result<(Sample, String)> {
    let puts = puts / size.part;
    let words = format!(
        "--conns=16 --clients=64 watch --streams=10 --watch-per-stream=100 --sequential-keys {words} --put-total={puts}"
    );
    let load = benchmark(side, &split(&words), puts * 1_000 / keys)?;
    Ok((vec![load.per_second], load.command))
}

/// What passes between the acknowledgement of a put and its event.
fn lag(side: &mut Side, size: &Size, keys: &str) -> Result<(Sample, String)> {
    let puts = (300 / size.part).to_string();
    let words = [
        "lag",
        "--keys",
        keys,
        "--watchers",
        "1000",
        "--rate",
        "100",
        "--puts",
        &puts,
    ];
    let told = client(side, &words)?;
    let sample = vec![number(&told, &["p50_ms"])?, number(&told, &["p99_ms"])?];
    Ok((sample, format!("etcd-clients --endpoints LEADER {}", words.join(" "))))
}

/// Puts so many keys of 256 B under a prefix.
fn fill(side: &Side, prefix: &str, keys: usize) -> Result<()> {
    let words = ["fill", "--prefix", prefix, "--keys", &keys.to_string(), "--size", "256"];
    client(side, &words).map(drop)
}

/// Runs our own client at the leader, and gives its last line.
fn client(side: &Side, words: &[&str]) -> Result<Value> {
    let leader = side.leader()?;
    let output = side
        .tool("etcd-clients")
        .args(["--endpoints", &side.endpoints[leader]])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("etcd-clients does not start")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} on {}: {}", words.join(" "), side.name, said.trim());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let last = said.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("etcd-clients said {last:?}"))
}

fn split(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}
