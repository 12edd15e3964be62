//! What the cluster reaches, measured through the release binary and kept in docs/benchmarks.md.
//!
//! Each part starts a cluster of its own below the target folder, on the disk that is built on: a temporary folder may be
//! memory, where a sync costs nothing. The page keeps the rows of parts that were not measured this time.

mod costs;
pub mod etcd;
mod page;

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cli::{Cluster, number};
use crate::{cargo, long};
pub use page::machine;
use page::{Promise, Row};

/// Which parts are measured, and for how long.
pub struct Plan {
    parts: Vec<&'static str>,
    quick: bool,
}

/// How much a part measures.
struct Size {
    seconds: &'static str,
    rounds: &'static str,
    resources: &'static str,
    steady_seconds: &'static str,
}

const FULL: Size = Size {
    seconds: "20",
    rounds: "20",
    resources: "100000",
    steady_seconds: "600",
};
const QUICK: Size = Size {
    seconds: "3",
    rounds: "2",
    resources: "5000",
    steady_seconds: "10",
};

type Part = fn(&Bench) -> Result<Vec<Row>>;

const PARTS: &[(&str, Part)] = &[
    ("writes", writes),
    ("five", five),
    ("drills", drills),
    ("resources", resources),
    ("costs", costs::measure),
    ("steady", steady),
    ("build", clean_build),
];

/// The write and read loads, the same for revoada and for etcd.
const LOAD: [&str; 4] = ["--clients", "256", "--connections", "16"];

struct Bench {
    binary: PathBuf,
    base: PathBuf,
    size: &'static Size,
}

impl Plan {
    /// Reads `[--quick] [PART]…`; none where a word is neither.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let mut plan = Self {
            parts: Vec::new(),
            quick: false,
        };
        for word in words {
            match PARTS.iter().find(|(name, _)| name == word) {
                Some((name, _)) => plan.parts.push(name),
                None if *word == "--quick" => plan.quick = true,
                None => return None,
            }
        }
        Some(plan)
    }
}

/// Measures the binary that `REVOADA_BIN` names, or the one it builds; prints, and unless it is quick keeps. Says whether
/// every promise was kept.
pub fn run(plan: &Plan) -> Result<bool> {
    let target = cargo::target()?;
    let binary = cargo::measured_binary(&target)?;
    let size = if plan.quick { &QUICK } else { &FULL };
    let bench = Bench {
        binary,
        base: target.join("xtask"),
        size,
    };
    let mut rows = Vec::new();
    let mut broken = Vec::new();
    for (name, part) in PARTS
        .iter()
        .filter(|(name, _)| plan.parts.is_empty() || plan.parts.contains(name))
    {
        println!("==> {name}");
        match part(&bench) {
            Ok(measured) => {
                measured.iter().for_each(|row| println!("{row}"));
                rows.extend(measured);
            }
            Err(error) => {
                println!("{name} could not be measured: {error:#}");
                broken.push(*name);
            }
        }
    }
    let mut beside = Vec::new();
    if plan.parts.is_empty() {
        println!("==> etcd");
        let (compared, failed) = etcd::compare(&etcd::Plan::whole(plan.quick), &bench.binary, &bench.base)?;
        beside.extend(compared.iter().flat_map(etcd::Compared::lines));
        broken.extend(failed);
    }
    let kept = rows.iter().all(Row::is_kept) && beside.iter().all(etcd::Line::is_reached);
    if !plan.quick {
        println!("kept in {}", page::keep(rows, &beside)?.display());
    }
    if !broken.is_empty() {
        println!("not measured: {}", broken.join(", "));
    }
    Ok(kept && broken.is_empty())
}

fn writes(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, first_write) = bench.up("quorum-3m", 3)?;
    thread::sleep(Duration::from_secs(10));
    let idle = cluster.rss_bytes_max()?;
    let one = bench.load(&cluster, "put", &["--clients", "1"])?;
    let many = bench.load(&cluster, "put", &LOAD)?;
    let reads = bench.load(&cluster, "get", &LOAD)?;
    let up = "revoada up --detach --topology quorum-3m --nodes 3";
    let ops = |told: &Value| number(told, &["ops_per_second"]);
    let latency = |told: &Value, which: &str| number(told, &["latency_ms", which]);
    Ok(vec![
        Row::new(
            "quorum-3m: from `up` to the first committed write, s",
            Promise::AtMost(2.0),
            first_write.as_secs_f64(),
            up,
        ),
        Row::new(
            "quorum-3m: memory of an idle node, MB",
            Promise::AtMost(40.0),
            megabytes(idle),
            "revoada status -o json",
        ),
        bench.row(
            "quorum-3m: 1 client, put of 1 KiB, p50 ms",
            Promise::AtMost(0.6),
            latency(&one, "p50")?,
            "put",
            &["--clients", "1"],
        ),
        bench.row(
            "quorum-3m: 256 clients, puts of 1 KiB/s",
            Promise::AtLeast(25_000.0),
            ops(&many)?,
            "put",
            &LOAD,
        ),
        bench.row(
            "quorum-3m: 256 clients, put of 1 KiB, p99 ms",
            Promise::AtMost(20.0),
            latency(&many, "p99")?,
            "put",
            &LOAD,
        ),
        bench.row(
            "quorum-3m: linearizable gets/s",
            Promise::AtLeast(60_000.0),
            ops(&reads)?,
            "get",
            &LOAD,
        ),
    ])
}

fn five(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, first_write) = bench.up("cluster-3m-nw", 5)?;
    let many = bench.load(&cluster, "put", &LOAD)?;
    let up = "revoada up --detach --topology cluster-3m-nw --nodes 5";
    let ops = number(&many, &["ops_per_second"])?;
    Ok(vec![
        Row::new(
            "cluster-3m-nw: from `up` to the first committed write, s",
            Promise::AtMost(2.0),
            first_write.as_secs_f64(),
            up,
        ),
        bench.row(
            "cluster-3m-nw: 256 clients, puts of 1 KiB/s",
            Promise::AtLeast(12_000.0),
            ops,
            "put",
            &LOAD,
        ),
    ])
}

fn drills(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, _) = bench.up("cluster-3m-nw", 5)?;
    let drill = |name: &'static str| -> Result<(Value, String)> {
        let arguments = ["drill", name, "--times", bench.size.rounds, "--writers", "8"];
        Ok((cluster.json(&arguments)?, format!("revoada {}", arguments.join(" "))))
    };
    let mut rows = Vec::new();
    let (told, command) = drill("kill-leader")?;
    for (which, at_most) in [("p50", 400.0), ("p99", 700.0)] {
        let gap = number(&told, &["write_gap_ms", which])?;
        rows.push(Row::new(
            format!("kill-leader: write gap {which}, ms"),
            Promise::AtMost(at_most),
            gap,
            &command,
        ));
    }
    rows.push(Row::new(
        "kill-leader: writes lost",
        Promise::AtMost(0.0),
        number(&told, &["writes_lost"])?,
        &command,
    ));
    let (told, command) = drill("kill-control-plane")?;
    for (which, at_most) in [("p50", 1_500.0), ("p99", 3_000.0)] {
        let whole = number(&told, &["redundancy_ms", which])?;
        let name = format!("kill-control-plane: until all voters are caught up again, {which}, ms");
        rows.push(Row::new(name, Promise::AtMost(at_most), whole, &command));
    }
    rows.push(Row::new(
        "kill-control-plane: writes lost",
        Promise::AtMost(0.0),
        number(&told, &["writes_lost"])?,
        &command,
    ));
    let (told, command) = drill("kill-all")?;
    rows.push(Row::new(
        "kill-all: writes lost",
        Promise::AtMost(0.0),
        number(&told, &["writes_lost"])?,
        &command,
    ));
    Ok(rows)
}

fn resources(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, _) = bench.up("quorum-3m", 3)?;
    let total = bench.size.resources;
    let fill = [&["bench", "put", "--total", total, "--size", "1024"][..], &LOAD].concat();
    cluster.json(&fill)?;
    let filled = cluster.rss_bytes_max()?;
    let count = number(&cluster.json(&["health"])?, &["resource_count"])?;
    cluster.kill_all()?;
    let again = cluster.resume(&[])?;
    let fill = format!("revoada {}", fill.join(" "));
    let killed = format!("{fill}; revoada kill NODE, of every node; revoada up --detach");
    Ok(vec![
        Row::new(
            format!("{total} puts of 1 KiB: resources kept"),
            Promise::None,
            count,
            &fill,
        ),
        Row::new(
            format!("{total} puts of 1 KiB: memory of a node, MB"),
            Promise::AtMost(400.0),
            megabytes(filled),
            &fill,
        ),
        Row::new(
            format!("{total} puts of 1 KiB: serves again after a restart, s"),
            Promise::AtMost(3.0),
            again.as_secs_f64(),
            killed,
        ),
    ])
}

fn steady(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, _) = bench.up("cluster-3m-nw", 5)?;
    let seconds = bench.size.steady_seconds;
    let before = cluster.elections_and_promotions()?;
    long::steady(&cluster, seconds)?;
    let after = cluster.elections_and_promotions()?;
    let changes = after.0.saturating_sub(before.0) as f64 + (after.1.saturating_sub(before.1)) as f64;
    let name = format!("cluster-3m-nw: elections and promotions in {seconds} s of full load");
    Ok(vec![bench.row(
        name,
        Promise::AtMost(0.0),
        changes,
        "put",
        &["--clients", "256"],
    )])
}

fn clean_build(bench: &Bench) -> Result<Vec<Row>> {
    let target = bench.base.join("clean-build");
    if target.exists() {
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    let began = Instant::now();
    let built = cargo::release_binary(&target)?;
    let took = began.elapsed();
    fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    if built.is_none() {
        bail!("the clean build failed");
    }
    let command = "CARGO_TARGET_DIR=EMPTY cargo build --release -p revoada";
    Ok(vec![Row::new(
        "a clean release build, min",
        Promise::AtMost(8.0),
        took.as_secs_f64() / 60.0,
        command,
    )])
}

impl Bench {
    fn up(&self, topology: &str, nodes: u32) -> Result<(Cluster, Duration)> {
        Cluster::up(&self.binary, &self.base, topology, nodes)
    }

    fn load(&self, cluster: &Cluster, op: &str, clients: &[&str]) -> Result<Value> {
        let told = cluster.json(&self.arguments(op, clients))?;
        let errors = number(&told, &["errors"])?;
        if errors > 0.0 {
            println!("bench {op}: {errors} errors");
        }
        Ok(told)
    }

    fn row(&self, name: impl Into<String>, promise: Promise, measured: f64, op: &str, clients: &[&str]) -> Row {
        Row::new(
            name,
            promise,
            measured,
            format!("revoada {}", self.arguments(op, clients).join(" ")),
        )
    }

    fn arguments<'a>(&self, op: &'a str, clients: &[&'a str]) -> Vec<&'a str> {
        [
            &["bench", op, "--size", "1024", "--seconds", self.size.seconds],
            clients,
        ]
        .concat()
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
