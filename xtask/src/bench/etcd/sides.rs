//! The two that are compared: three members each, new, on this machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Setting;
use crate::cli::Cluster;

const MEMBERS: u16 = 3;
/// How long a member, or a leader, may take to be there.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// What etcd keeps at most: more than any case writes (its default is 2 GiB).
const QUOTA_BYTES: &str = "8589934592";
/// The first port of etcd's members.
const PORT: u16 = 23_790;

/// Both of them, side by side.
pub struct Pair {
    pub ours: Side,
    pub etcd: Side,
}

impl Pair {
    /// Starts both in folders of their own.
    pub fn start(setting: &Setting, name: &str) -> Result<Self> {
        Ok(Self {
            ours: Side::revoada(setting, name)?,
            etcd: Side::etcd(setting, name)?,
        })
    }
}

/// One of them.
pub struct Side {
    pub name: &'static str,
    /// Where clients reach its members.
    pub endpoints: Vec<String>,
    members: Members,
    tools: PathBuf,
}

enum Members {
    Revoada(Cluster),
    Etcd(EtcdMembers),
}

impl Side {
    /// Three nodes of revoada that vote, as `up` starts them.
    pub fn revoada(setting: &Setting, name: &str) -> Result<Self> {
        let folder = setting.base.join(format!("{name}-revoada"));
        let shape = ["--topology", "quorum-3m", "--nodes", "3", "--face", "etcd"];
        let cluster = Cluster::up_in(setting.binary, folder, &shape)?.0;
        let record = cluster.record()?;
        let nodes = record["nodes"].as_array().map_or(&[][..], Vec::as_slice);
        let endpoints = nodes.iter().filter_map(|node| node["etcd"].as_str());
        let side = Self {
            name: "revoada",
            endpoints: endpoints.map(|address| format!("http://{address}")).collect(),
            members: Members::Revoada(cluster),
            tools: setting.tools.to_owned(),
        };
        side.wait()?;
        Ok(side)
    }

    /// Three etcd as their documentation starts them.
    pub fn etcd(setting: &Setting, name: &str) -> Result<Self> {
        let folder = setting.base.join(format!("{name}-etcd"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut members = EtcdMembers {
            program: setting.tools.join("etcd"),
            folder,
            processes: Vec::new(),
        };
        for n in 0..MEMBERS {
            let process = members.spawn(n)?;
            members.processes.push(Some(process));
        }
        let side = Self {
            name: "etcd",
            endpoints: (0..MEMBERS).map(|n| url(client_port(n))).collect(),
            members: Members::Etcd(members),
            tools: setting.tools.to_owned(),
        };
        side.wait()?;
        Ok(side)
    }

    /// A program of the peers.
    pub fn tool(&self, name: &str) -> Command {
        Command::new(self.tools.join(name))
    }

    /// All endpoints, as clients are given them.
    pub fn all(&self) -> String {
        self.endpoints.join(",")
    }

    /// Which member leads; all three are there.
    pub fn leader(&self) -> Result<usize> {
        let began = Instant::now();
        let mut seen = Value::Null;
        while began.elapsed() < READY_WITHIN {
            seen = self.status()?;
            if let Some(leader) = leader_in(&seen, &self.endpoints) {
                return Ok(leader);
            }
        }
        bail!("{}: not all members agree on a leader: {seen}", self.name)
    }

    /// The process of a member.
    pub fn pid(&self, member: usize) -> Result<u32> {
        match &self.members {
            Members::Etcd(members) => {
                let process = members.processes[member].as_ref();
                Ok(process.context("that etcd does not run")?.id())
            }
            Members::Revoada(cluster) => {
                let name = cluster.record()?["nodes"][member]["name"].clone();
                let status = cluster.json(&["status"])?;
                let nodes = status["nodes"].as_array().map_or(&[][..], Vec::as_slice);
                let pid = nodes.iter().find(|node| node["name"] == name);
                let pid = pid.and_then(|node| node["pid"].as_u64()?.try_into().ok());
                pid.context("that node does not run")
            }
        }
    }

    /// SIGKILL to a member.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        match &mut self.members {
            Members::Etcd(members) => {
                let mut process = members.processes[member].take().context("that etcd does not run")?;
                process.kill().context("cannot kill etcd")?;
                process.wait().context("etcd was not waited for")?;
                Ok(())
            }
            Members::Revoada(cluster) => {
                let record = cluster.record()?;
                let name = record["nodes"][member]["name"].as_str().context("a node has no name")?;
                cluster.run(&["kill", name])
            }
        }
    }

    /// Starts whoever was killed, and waits until all three are there.
    pub fn resume(&mut self) -> Result<()> {
        match &mut self.members {
            Members::Etcd(members) => {
                for n in 0..MEMBERS {
                    if members.processes[usize::from(n)].is_none() {
                        members.processes[usize::from(n)] = Some(members.spawn(n)?);
                    }
                }
            }
            Members::Revoada(cluster) => drop(cluster.resume(&[])?),
        }
        self.leader().map(drop)
    }

    /// Compacts everything that was until now, and waits until it is gone.
    pub fn compact(&self) -> Result<()> {
        let leader = self.leader()?;
        let status = self.status()?;
        let revision = &status[0]["Status"]["header"]["revision"];
        let revision = revision.as_u64().context("etcdctl tells no revision")?;
        let output = self
            .tool("etcdctl")
            .args(["--endpoints", &self.endpoints[leader], "--command-timeout=120s"])
            .args(["compaction", "--physical", &revision.to_string()])
            .output()
            .context("etcdctl does not start")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // Nothing was written since the last time.
        if !output.status.success() && !said.contains("has been compacted") {
            bail!(
                "{}: compaction ended with {}: {}",
                self.name,
                output.status,
                said.trim()
            );
        }
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        let output = self
            .tool("etcdctl")
            .args(["--endpoints", &self.all(), "endpoint", "status", "--write-out=json"])
            .stdin(Stdio::null())
            .output()
            .context("etcdctl does not start")?;
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Waits until a write is committed, and all know who leads. etcdctl waits by itself; the loop is for a port that is
    /// not open yet.
    fn wait(&self) -> Result<()> {
        let began = Instant::now();
        let mut said = String::new();
        while began.elapsed() < READY_WITHIN {
            let put = self
                .tool("etcdctl")
                .args([
                    "--endpoints",
                    &self.all(),
                    "--command-timeout=5s",
                    "put",
                    "key",
                    "value",
                ])
                .output()
                .context("etcdctl does not start")?;
            if put.status.success() {
                return self.leader().map(drop);
            }
            said = String::from_utf8_lossy(&put.stderr).into_owned();
        }
        bail!(
            "{} took no write within {} s: {}",
            self.name,
            READY_WITHIN.as_secs(),
            said.trim()
        )
    }
}

/// The member that leads, where all of them say the same.
fn leader_in(status: &Value, endpoints: &[String]) -> Option<usize> {
    let members = status.as_array()?;
    let leader = &members.first()?["Status"]["leader"];
    let agree = members.len() == endpoints.len() && members.iter().all(|member| member["Status"]["leader"] == *leader);
    let leads = |member: &&Value| member["Status"]["header"]["member_id"] == *leader;
    let endpoint = members.iter().filter(|_| agree).find(leads)?["Endpoint"].as_str()?;
    endpoints.iter().position(|known| known == endpoint)
}

struct EtcdMembers {
    program: PathBuf,
    folder: PathBuf,
    processes: Vec<Option<Child>>,
}

impl EtcdMembers {
    fn spawn(&self, n: u16) -> Result<Child> {
        let (client, peer) = (url(client_port(n)), url(peer_port(n)));
        let cluster: Vec<String> = (0..MEMBERS).map(|n| format!("e{n}={}", url(peer_port(n)))).collect();
        let folder: &Path = &self.folder;
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("e{n}.log")))
            .context("cannot make a log file")?;
        Command::new(&self.program)
            .args(["--name", &format!("e{n}"), "--data-dir"])
            .arg(folder.join(format!("e{n}")))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args([
                "--initial-cluster",
                &cluster.join(","),
                "--initial-cluster-state",
                "new",
            ])
            .args(["--quota-backend-bytes", QUOTA_BYTES])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("etcd does not start")
    }
}

impl Drop for EtcdMembers {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            if let Err(error) = process.kill().and_then(|()| process.wait()) {
                eprintln!("warning: an etcd is left running: {error}");
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("warning: {} is left behind: {error}", self.folder.display());
        }
    }
}

fn client_port(n: u16) -> u16 {
    PORT + 10 * n
}

fn peer_port(n: u16) -> u16 {
    client_port(n) + 1
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_leader_is_whom_all_members_name() {
        let endpoints = ["a".to_owned(), "b".to_owned()];
        let member = |at: &str, id: u64, leader: u64| json!({"Endpoint": at, "Status": {"header": {"member_id": id}, "leader": leader}});
        let agreed = json!([member("a", 1, 2), member("b", 2, 2)]);
        assert_eq!(leader_in(&agreed, &endpoints), Some(1));
        for unclear in [
            json!([member("a", 1, 1), member("b", 2, 2)]),
            json!([member("b", 2, 2)]),
            json!([member("a", 1, 0), member("b", 2, 0)]),
            Value::Null,
        ] {
            assert_eq!(leader_in(&unclear, &endpoints), None, "{unclear}");
        }
    }
}
