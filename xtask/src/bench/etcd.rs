//! Three real etcd under their own load generator, with the same sizes and numbers of clients.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::page::{Promise, Row};
use crate::peers;

const READY_WITHIN: Duration = Duration::from_secs(20);

/// Measures for about `seconds` per load.
pub fn measure(base: &Path, seconds: u64) -> Result<Vec<Row>> {
    let bin = peers::build(&["etcd"])?;
    let cluster = Cluster::start(&bin, &base.join(format!("etcd-{}", std::process::id())))?;
    let (one_total, many_total) = (1_000 * seconds, 10_000 * seconds);
    let one = cluster.load("1", "1", &["put", "--val-size=1024", &total(one_total)])?;
    let many = cluster.load("16", "256", &["put", "--val-size=1024", &total(many_total)])?;
    let reads = cluster.load(
        "16",
        "256",
        &["range", "key", "--consistency=l", &total(2 * many_total)],
    )?;
    let row = |name: &str, measured: f64, load: &Load| Row::new(name, Promise::None, measured, &load.command);
    Ok(vec![
        row("three etcd: 1 client, put of 1 KiB, p50 ms", one.p50_ms, &one),
        row("three etcd: 256 clients, puts of 1 KiB/s", many.per_second, &many),
        row("three etcd: 256 clients, put of 1 KiB, p99 ms", many.p99_ms, &many),
        row("three etcd: linearizable gets/s", reads.per_second, &reads),
    ])
}

fn total(number: u64) -> String {
    format!("--total={number}")
}

struct Cluster {
    bin: std::path::PathBuf,
    folder: std::path::PathBuf,
    members: Vec<Child>,
}

struct Load {
    command: String,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl Cluster {
    fn start(bin: &Path, folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut cluster = Self {
            bin: bin.to_owned(),
            folder: folder.to_owned(),
            members: Vec::new(),
        };
        let peers: Vec<String> = (0..3).map(|n| format!("e{n}={}", url(peer_port(n)))).collect();
        for n in 0..3 {
            let (client, peer) = (url(client_port(n)), url(peer_port(n)));
            let log = fs::File::create(folder.join(format!("e{n}.log"))).context("cannot make a log file")?;
            let member = Command::new(bin.join("etcd"))
                .args(["--name", &format!("e{n}"), "--data-dir"])
                .arg(folder.join(format!("e{n}")))
                .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"])
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .context("etcd does not start")?;
            cluster.members.push(member);
        }
        cluster.wait()?;
        Ok(cluster)
    }

    /// Waits until a write is committed. etcdctl waits by itself; the loop is for a port that is not open yet.
    fn wait(&self) -> Result<()> {
        let began = Instant::now();
        while began.elapsed() < READY_WITHIN {
            let put = self
                .command("etcdctl", &["--command-timeout=5s", "put", "key", "value"])
                .output();
            if put.context("etcdctl does not start")?.status.success() {
                return Ok(());
            }
        }
        bail!("three etcd took no write within {} s", READY_WITHIN.as_secs())
    }

    fn load(&self, connections: &str, clients: &str, what: &[&str]) -> Result<Load> {
        let mut arguments = vec![format!("--conns={connections}"), format!("--clients={clients}")];
        arguments.extend(what.iter().map(|word| (*word).to_owned()));
        if what[0] == "put" {
            arguments.extend(["--key-size=16".to_owned(), "--sequential-keys".to_owned()]);
        }
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self
            .command("benchmark", &words)
            .output()
            .context("benchmark does not start")?;
        if !output.status.success() {
            bail!(
                "benchmark ended with {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        read(
            &String::from_utf8_lossy(&output.stdout),
            format!("benchmark --endpoints=LEADER {}", words.join(" ")),
        )
    }

    /// A command against the leader, or against all where none is known yet.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .arg(format!("--endpoints={}", self.leader()))
            .args(arguments)
            .stdin(Stdio::null());
        command
    }

    fn leader(&self) -> String {
        let all: Vec<String> = (0..3).map(|n| url(client_port(n))).collect();
        let asked = Command::new(self.bin.join("etcdctl"))
            .args(["--endpoints", &all.join(","), "endpoint", "status", "--write-out=json"])
            .output();
        let status: serde_json::Value = match asked {
            Ok(output) => serde_json::from_slice(&output.stdout).unwrap_or_default(),
            Err(_) => serde_json::Value::Null,
        };
        let members = status.as_array().map_or(&[][..], Vec::as_slice);
        let leads = |member: &&serde_json::Value| {
            let status = &member["Status"];
            status["leader"].is_number() && status["leader"] == status["header"]["member_id"]
        };
        let leader = members
            .iter()
            .find(leads)
            .and_then(|member| member["Endpoint"].as_str());
        leader.map_or_else(|| all.join(","), str::to_owned)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            let ended = member.kill().and_then(|()| member.wait());
            if let Err(error) = ended {
                eprintln!("warning: an etcd is left running: {error}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: {} is left behind: {error}", self.folder.display());
        }
    }
}

fn client_port(n: u16) -> u16 {
    23_790 + 10 * n
}

fn peer_port(n: u16) -> u16 {
    client_port(n) + 1
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// Reads the summary that `benchmark` prints.
fn read(said: &str, command: String) -> Result<Load> {
    let after = |mark: &str| -> Result<f64> {
        let rest = said
            .split_once(mark)
            .with_context(|| format!("benchmark did not say {mark}"))?
            .1;
        let number = rest.split_whitespace().next().unwrap_or_default();
        number
            .parse()
            .with_context(|| format!("benchmark said {mark} {number}"))
    };
    Ok(Load {
        per_second: after("Requests/sec:")?,
        p50_ms: after("50% in")? * 1e3,
        p99_ms: after("99% in")? * 1e3,
        command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_of_etcds_load_generator_is_read() {
        let said = "\nSummary:\n  Total:\t0.5 secs.\n  Requests/sec:\t9700.1234\n\nLatency distribution:\n  \
                    10% in 0.0010 secs.\n  50% in 0.0011 secs.\n  99% in 0.0500 secs.\n  99.9% in 0.0600 secs.\n";
        let load = read(said, String::new()).unwrap();
        assert_eq!((load.per_second, load.p50_ms, load.p99_ms), (9700.1234, 1.1, 50.0));
        assert!(read("", String::new()).is_err());
    }
}
