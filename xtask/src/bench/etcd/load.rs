//! etcd's load generator against one side, and what it printed.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::process;
use super::sides::Side;

/// What a load gave.
pub struct Load {
    /// Requests, or events, a second.
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// The leader's processor time for each, in microseconds.
    pub leader_us: f64,
    /// The command, without what differs between the sides.
    pub command: String,
}

/// Runs `benchmark` with these words against the leader of a side. `total` is how many requests or events it is about.
pub fn benchmark(side: &Side, words: &[String], total: usize) -> Result<Load> {
    let leader = side.leader()?;
    let pid = side.pid(leader)?;
    let before = process::cpu_us(pid)?;
    let output = side
        .tool("benchmark")
        .arg(format!("--endpoints={}", side.endpoints[leader]))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("benchmark does not start")?;
    let took_us = process::cpu_us(pid)? - before;
    let (said, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let command = format!("benchmark --endpoints=LEADER {}", words.join(" "));
    if !output.status.success() {
        bail!(
            "{command} ended with {} on {}: {}",
            output.status,
            side.name,
            stderr.trim()
        );
    }
    if let Some((_, errors)) = said.split_once("Error distribution:") {
        bail!("{command} had errors on {}: {}", side.name, errors.trim());
    }
    if side.leader()? != leader {
        bail!("{command}: {} changed its leader meanwhile", side.name);
    }
    let (per_second, p50_ms, p99_ms) = read(&said).with_context(|| format!("of {command}"))?;
    Ok(Load {
        per_second,
        p50_ms,
        p99_ms,
        leader_us: took_us / total as f64,
        command,
    })
}

/// Reads the summaries that `benchmark` prints. Where it prints two (reads and writes), rates add up, and the later one's
/// latency counts; the summary of how watches were created is not one of them.
fn read(said: &str) -> Result<(f64, f64, f64)> {
    let told = said
        .split_once("Watch events received summary:")
        .map_or(said, |(_, rest)| rest);
    let all = |mark: &str| -> Result<Vec<f64>> {
        let found = told.split(mark).skip(1).map(|rest| {
            let number = rest.split_whitespace().next().unwrap_or_default();
            number
                .trim_end_matches('.')
                .parse()
                .with_context(|| format!("benchmark said {mark} {number}"))
        });
        found.collect()
    };
    let last = |mark: &str| {
        let numbers = all(mark)?;
        let last = numbers.last().copied();
        last.with_context(|| format!("benchmark did not say {mark}"))
    };
    last("Requests/sec:")?;
    let per_second = all("Requests/sec:")?.iter().sum();
    // "99% in" is in "99.9% in" as well, but for what stands before it.
    Ok((per_second, last(" 50% in")? * 1e3, last(" 99% in")? * 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &str = "\nSummary:\n  Total:\t0.5 secs.\n  Requests/sec:\t9700.1234\n\nLatency distribution:\n  \
        10% in 0.0010 secs.\n  50% in 0.0011 secs.\n  99% in 0.0500 secs.\n  99.9% in 0.0600 secs.\n";

    #[test]
    fn the_summary_of_etcds_load_generator_is_read() {
        assert_eq!(read(SUMMARY).unwrap(), (9700.1234, 1.1, 50.0));
        let mixed = format!(
            "Total Read Ops: 4\n{SUMMARY}Total Write Ops: 1\n{}",
            SUMMARY.replace("9700.1234", "0.8766")
        );
        assert_eq!(read(&mixed).unwrap(), (9701.0, 1.1, 50.0));
        let watch = format!("Watch creation summary:\n{SUMMARY}Watch events received summary:\n{SUMMARY}");
        assert_eq!(read(&watch).unwrap().0, 9700.1234);
        assert!(read("").is_err());
    }
}
