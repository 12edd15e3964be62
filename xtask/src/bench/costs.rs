//! Where the leader's processor time goes under full write load, by sampling its stacks.
//!
//! A sample counts for the innermost function of a crate that a part is known by, so that memory which is copied for the
//! log counts for the log. A system call counts for who made it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::page::{Promise, Row};
use super::{Bench, LOAD};
use crate::cli::{Cluster, number};

/// What a part is called, and the beginnings of the paths that are its. The first that fits counts.
const PARTS: &[(&str, &[&str])] = &[
    ("chain (blocks, signatures)", &["revoada_attest"]),
    (
        "resources (parse, check, encode)",
        &["revoada_core::resource", "revoada_core::error"],
    ),
    (
        "keyspace (versions, transactions, watches)",
        &["revoada_core", "revoada_store", "revoada_mesh::keyspace"],
    ),
    (
        "persistence (log, checkpoints)",
        &["revoada_mesh::log", "revoada_mesh::files"],
    ),
    ("Raft", &["openraft", "revoada_mesh::consensus"]),
    (
        "links between nodes, with TLS",
        &["revoada_mesh", "tokio_rustls", "rustls", "ring", "chitchat"],
    ),
    ("the face (frames, HTTP)", &["revoada_faces", "hyper", "revoada"]),
    // Hand-written assembly has no stack to tell who called it.
    ("BLAKE3, for whomever", &["_blake3", "blake3"]),
];
const REST: &str = "the rest (runtime, allocator)";
/// Before this the load is not steady.
const SETTLES: Duration = Duration::from_secs(3);

/// Samples the leader of a fresh cluster, in the middle of the load.
pub fn measure(bench: &Bench) -> Result<Vec<Row>> {
    let (cluster, _) = bench.up("quorum-3m", 3)?;
    let leader = leader(&cluster)?;
    let seconds: u64 = bench.size.seconds.parse().context("seconds are a number")?;
    let sampled = bench.base.join("perf.data");
    let command = format!("perf record -e cpu-clock -F 499 --call-graph dwarf,16384 -p LEADER -- sleep {seconds}");
    let load_seconds = (seconds + 2 * SETTLES.as_secs()).to_string();
    let load = [
        &["bench", "put", "--size", "1024", "--seconds", &load_seconds],
        &LOAD[..],
    ]
    .concat();
    let (told, recorded) = thread::scope(|scope| {
        let told = scope.spawn(|| cluster.json(&load));
        thread::sleep(SETTLES);
        let recorded = perf(&command.replace("LEADER", &leader), &["-q", "-o"], &sampled);
        (told.join().expect("the load does not panic"), recorded)
    });
    let told = told?;
    recorded?;
    let stacks = perf("perf script --no-inline -F comm,ip,sym", &["-i"], &sampled)?;
    std::fs::remove_file(&sampled).with_context(|| format!("cannot remove {}", sampled.display()))?;
    let shares = shares(&stacks);
    let samples: usize = shares.iter().map(|(_, count)| count).sum();
    if samples == 0 {
        bail!("perf has no samples of the leader");
    }
    let command = format!("revoada {} & {command}", load.join(" "));
    let per_write = samples as f64 / 499.0 / seconds as f64 / number(&told, &["ops_per_second"])? * 1e6;
    let whole = Row::new(
        "quorum-3m: processor time of the leader per put of 1 KiB, µs",
        Promise::None,
        per_write,
        &command,
    );
    let parts = shares.iter().map(|(part, count)| {
        let share = 100.0 * *count as f64 / samples as f64;
        Row::new(format!("of it {part}, %"), Promise::None, share, &command)
    });
    Ok([whole].into_iter().chain(parts).collect())
}

fn leader(cluster: &Cluster) -> Result<String> {
    let status = cluster.json(&["status"])?;
    let nodes = status["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    let leader = nodes.iter().find(|node| node["leader"] == Value::Bool(true));
    let pid = leader.and_then(|node| node["pid"].as_u64());
    Ok(pid.context("nobody leads")?.to_string())
}

/// Runs a command line of perf with its file, and gives what it printed.
fn perf(line: &str, file_option: &[&str], file: &Path) -> Result<String> {
    let mut words = line.split(' ');
    let (program, verb) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let output = Command::new(program)
        .arg(verb)
        .args(file_option)
        .arg(file)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("perf does not start: Debian's package linux-perf has it")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{line} ended with {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// How many samples each part has. A sample begins with a line that is not indented; its frames follow, innermost first.
fn shares(stacks: &str) -> Vec<(&'static str, usize)> {
    let mut counts = vec![0; PARTS.len() + 1];
    let mut frames: Vec<&str> = Vec::new();
    let mut lines = stacks.lines().chain(["end"]).filter(|line| !line.is_empty());
    lines.next();
    for line in lines {
        if line.starts_with(char::is_whitespace) {
            frames.extend(line.trim_start().split_once(' ').map(|(_, symbol)| symbol));
        } else {
            counts[part_of(&frames)] += 1;
            frames.clear();
        }
    }
    let names = PARTS.iter().map(|(name, _)| *name).chain([REST]);
    names.zip(counts).collect()
}

fn part_of(frames: &[&str]) -> usize {
    let fits = |frame: &str| {
        let paths = frame.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let begins = |path: &str, mark: &str| {
            path.strip_prefix(mark)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['_', ':']))
        };
        let mut paths = paths.filter(|path| !path.is_empty());
        paths.find_map(|path| {
            PARTS
                .iter()
                .position(|(_, marks)| marks.iter().any(|mark| begins(path, mark)))
        })
    };
    frames.iter().find_map(|frame| fits(frame)).unwrap_or(PARTS.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_counts_for_the_innermost_part() {
        let stacks = "revoada 12 \n\
            \t  1 __memmove_avx512\n\
            \t  2 <revoada_mesh::files::SystemFile as revoada_mesh::files::OpenFile>::write\n\
            \t  3 revoada_mesh::consensus::network::encode\n\
            \n\
            revoada 12 \n\
            \t  1 <alloc::vec::Vec<T> as revoada_core::resource::Encode>::encode\n\
            \n\
            revoada 12 \n\
            \t  1 _blake3_compress_in_place_avx512\n\
            \n\
            revoada 12 \n\
            \t  1 tokio::runtime::park\n\
            \t  2 [unknown]\n";
        let counted: Vec<_> = shares(stacks).into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [
                ("resources (parse, check, encode)", 1),
                ("persistence (log, checkpoints)", 1),
                ("BLAKE3, for whomever", 1),
                (REST, 1),
            ]
        );
    }
}
