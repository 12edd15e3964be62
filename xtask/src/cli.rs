//! A cluster of the release binary, driven through its command line alone.
//!
//! Measurements go the way that a user goes. Rejected: the library, or the control sockets; what only works from within
//! would then be measured, and the commands in docs/benchmarks.md would be others than those that were run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A cluster in a folder of its own, stopped and removed when it is dropped.
pub struct Cluster {
    binary: PathBuf,
    folder: PathBuf,
}

impl Cluster {
    /// Starts a new cluster below `base` with `up --detach`, and says how long that took.
    pub fn up(binary: &Path, base: &Path, topology: &str, nodes: u32) -> Result<(Self, Duration)> {
        let folder = base.join(format!("{topology}-{}", std::process::id()));
        fs::create_dir_all(base).with_context(|| format!("cannot make {}", base.display()))?;
        Self::up_in(binary, folder, &["--topology", topology, "--nodes", &nodes.to_string()])
    }

    /// Starts a new cluster in `folder`, which is not there yet, with these words to `up --detach`.
    pub fn up_in(binary: &Path, folder: PathBuf, arguments: &[&str]) -> Result<(Self, Duration)> {
        if folder.exists() {
            bail!("{} is there already", folder.display());
        }
        let cluster = Self {
            binary: binary.to_owned(),
            folder,
        };
        let took = cluster.resume(arguments)?;
        Ok((cluster, took))
    }

    /// What `up` decided when it made the cluster: names and addresses of the nodes.
    pub fn record(&self) -> Result<Value> {
        let file = self.folder.join("cluster.json");
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", file.display()))
    }

    /// `up --detach` again, with more `arguments`; how long it took until a write could be committed.
    pub fn resume(&self, arguments: &[&str]) -> Result<Duration> {
        let began = Instant::now();
        self.run(&[&["up", "--detach"], arguments].concat())?;
        Ok(began.elapsed())
    }

    /// Runs a command and fails unless it exits with 0.
    pub fn run(&self, arguments: &[&str]) -> Result<()> {
        let status = self
            .command(arguments)
            .stdout(Stdio::null())
            .status()
            .context("the release binary does not start")?;
        if !status.success() {
            bail!("revoada {} ended with {status}", arguments.join(" "));
        }
        Ok(())
    }

    /// Runs a command with `-o json` and returns what it prints. Exit 1 is an answer too: it missed what it promised.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self
            .command(arguments)
            .args(["-o", "json"])
            .stderr(Stdio::inherit())
            .output()
            .context("the release binary does not start")?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            bail!("revoada {} ended with {}", arguments.join(" "), output.status);
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("revoada {} printed no JSON ({})", arguments.join(" "), output.status))
    }

    /// SIGKILL to every node that lives.
    pub fn kill_all(&self) -> Result<()> {
        for name in self.names()? {
            self.run(&["kill", &name])?;
        }
        Ok(())
    }

    /// The most memory that a node takes.
    pub fn rss_bytes_max(&self) -> Result<u64> {
        let status = self.json(&["status"])?;
        let nodes = nodes(&status);
        nodes
            .iter()
            .filter_map(|node| node["rss_bytes"].as_u64())
            .max()
            .context("status tells no rss_bytes")
    }

    /// The term, and how many promotions the history tells of.
    pub fn elections_and_promotions(&self) -> Result<(u64, usize)> {
        let status = self.json(&["status"])?;
        let term = status["cluster"]["term"].as_u64().context("status tells no term")?;
        let history = self.json(&["history"])?;
        let items = history["items"].as_array().context("history tells no items")?;
        Ok((
            term,
            items.iter().filter(|item| item["transition"] == "promote").count(),
        ))
    }

    fn names(&self) -> Result<Vec<String>> {
        let status = self.json(&["status"])?;
        let living = nodes(&status).iter().filter(|node| !node["pid"].is_null());
        Ok(living
            .filter_map(|node| node["name"].as_str())
            .map(str::to_owned)
            .collect())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .args(arguments)
            .env("REVOADA_DIR", &self.folder)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.run(&["down", "--purge"]) {
            eprintln!("warning: {} is left behind: {error:#}", self.folder.display());
        }
    }
}

fn nodes(status: &Value) -> &[Value] {
    status["nodes"].as_array().map_or(&[], Vec::as_slice)
}

/// The number at `path` of `value`.
pub fn number(value: &Value, path: &[&str]) -> Result<f64> {
    let found = path.iter().fold(value, |value, step| &value[*step]);
    found
        .as_f64()
        .with_context(|| format!("no number at {}", path.join(".")))
}
