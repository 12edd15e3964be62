//! The program called by the name `etcd`, started as scripts start etcd: founders over http and over TLS, members that
//! come and go, restarts, and how it ends.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{PATIENCE, not_run, peer, program, until};

const READY: &str = "ready to serve client requests";

/// A group of members, each a process.
struct Members {
    dir: tempfile::TempDir,
    ctl: PathBuf,
    /// Client port and peer port.
    ports: Vec<(u16, u16)>,
    processes: Vec<Option<Child>>,
    /// What every member is given besides.
    flags: Vec<String>,
    peer_scheme: &'static str,
}

impl Members {
    fn new(count: usize, flags: &[&str], peer_scheme: &'static str) -> Result<Self, String> {
        let ctl = peer("etcdctl", "etcd")?;
        // All are held until all are known, so that none is given twice.
        let held: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let ports: Vec<u16> = held.iter().map(|held| held.local_addr().unwrap().port()).collect();
        Ok(Self {
            dir: tempfile::Builder::new().prefix("rv").tempdir().unwrap(),
            ctl,
            ports: ports.chunks(2).map(|pair| (pair[0], pair[1])).collect(),
            processes: (0..count).map(|_| None).collect(),
            flags: flags.iter().map(ToString::to_string).collect(),
            peer_scheme,
        })
    }

    fn client(&self, member: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[member].0)
    }

    fn peer(&self, member: usize) -> String {
        format!("{}://127.0.0.1:{}", self.peer_scheme, self.ports[member].1)
    }

    fn log(&self, member: usize) -> PathBuf {
        self.dir.path().join(format!("log{member}"))
    }

    fn folder(&self, member: usize) -> PathBuf {
        self.dir.path().join(format!("m{member}"))
    }

    fn start(&mut self, member: usize, among: &[usize], state: &str) {
        let cluster: Vec<String> = among.iter().map(|one| format!("m{one}={}", self.peer(*one))).collect();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.log(member))
            .unwrap();
        let mut command = as_etcd();
        command
            .args(["--name", &format!("m{member}")])
            .arg("--data-dir")
            .arg(self.folder(member))
            .args(["--listen-client-urls", &self.client(member)])
            .args(["--advertise-client-urls", &self.client(member)])
            .args(["--listen-peer-urls", &self.peer(member)])
            .args(["--initial-advertise-peer-urls", &self.peer(member)])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", state])
            .args(&self.flags)
            .stdout(Stdio::null())
            .stderr(log);
        self.processes[member] = Some(command.spawn().unwrap());
    }

    fn start_all(&mut self, members: &[usize]) {
        for member in members {
            self.start(*member, members, "new");
        }
    }

    /// How often a member has said that it is ready.
    fn said_ready(&self, member: usize) -> usize {
        let log = std::fs::read_to_string(self.log(member)).unwrap_or_default();
        log.lines().filter(|line| line.contains(READY)).count()
    }

    async fn ready(&self, member: usize, times: usize) {
        until(&format!("member {member} is ready"), PATIENCE, async || {
            match self.said_ready(member) {
                said if said >= times => Ok(()),
                _ => Err(std::fs::read_to_string(self.log(member)).unwrap_or_default()),
            }
        })
        .await;
    }

    /// Runs etcdctl against one member: whether it succeeded, and what it printed.
    fn try_ctl(&self, member: usize, words: &[&str]) -> (bool, String) {
        let output = Command::new(&self.ctl)
            .env_clear()
            .args(["--endpoints", &self.client(member), "--command-timeout=10s"])
            .args(words)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn ctl(&self, member: usize, words: &[&str]) -> String {
        let (succeeded, said) = self.try_ctl(member, words);
        assert!(succeeded, "etcdctl {words:?}: {said}");
        said
    }

    fn json(&self, member: usize, words: &[&str]) -> Value {
        let said = self.ctl(member, &[words, &["--write-out=json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("etcdctl {words:?}: {error}: {said}"))
    }

    /// The status that a member answers, if it answers.
    fn status(&self, member: usize) -> Result<Value, String> {
        let (succeeded, said) = self.try_ctl(member, &["endpoint", "status", "--write-out=json"]);
        let all: Value = serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))?;
        succeeded.then(|| all[0]["Status"].clone()).ok_or(said)
    }

    async fn leader(&self, among: &[usize]) -> usize {
        until("a member leads", PATIENCE, async || {
            for member in among {
                if let Ok(status) = self.status(*member)
                    && status["leader"] == status["header"]["member_id"]
                {
                    return Ok(*member);
                }
            }
            Err("nobody".to_owned())
        })
        .await
    }

    /// Adds a member, once the group is healthy enough for that.
    async fn add(&self, by: usize, member: usize, learner: &[&str]) {
        let (name, url) = (format!("m{member}"), format!("--peer-urls={}", self.peer(member)));
        let words = [&["member", "add", &name, &url], learner].concat();
        until("a member is added", PATIENCE, async || match self.try_ctl(by, &words) {
            (true, _) => Ok(()),
            (false, said) if said.contains("unhealthy cluster") => Err(said),
            (false, said) => panic!("etcdctl {words:?}: {said}"),
        })
        .await;
    }

    /// The number of the member with this name, as etcdctl takes it.
    fn number(&self, by: usize, name: &str) -> String {
        let list = self.ctl(by, &["member", "list"]);
        let line = list.lines().find(|line| line.split(", ").nth(2) == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is no member: {list}"));
        line.split(", ").next().unwrap().to_owned()
    }

    fn kill(&mut self, member: usize) {
        let mut process = self.processes[member].take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Waits until a member has ended by itself.
    async fn ended(&mut self, member: usize) -> std::process::ExitStatus {
        let mut process = self.processes[member].take().unwrap();
        until("a member ends", PATIENCE, async || {
            process.try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // One that has ended is not there to be killed.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// The program under the name `etcd`, without what the tests' own environment says.
fn as_etcd() -> Command {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(program());
    command.arg0("etcd").env_clear();
    command
}

fn put_and_get(members: &Members, by: usize, key: &str, from: usize) {
    members.ctl(by, &["put", key, "v"]);
    assert_eq!(members.ctl(from, &["get", key, "--print-value-only"]).trim(), "v");
}

#[tokio::test]
async fn a_script_that_starts_three_etcd_gets_a_group_that_survives_its_leader() {
    let mut members = match Members::new(3, &[], "http") {
        Ok(members) => members,
        Err(missing) => return not_run("members by etcd's flags", &missing),
    };
    members.start_all(&[0, 1, 2]);
    for member in 0..3 {
        members.ready(member, 1).await;
    }
    put_and_get(&members, 0, "a", 1);
    let list = members.json(2, &["member", "list"]);
    let mut listed: Vec<(&str, &str)> = list["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| {
            (
                member["name"].as_str().unwrap(),
                member["clientURLs"][0].as_str().unwrap(),
            )
        })
        .collect();
    listed.sort_unstable();
    let urls: Vec<String> = (0..3).map(|member| members.client(member)).collect();
    assert_eq!(listed, [("m0", urls[0].as_str()), ("m1", &urls[1]), ("m2", &urls[2])]);
    let leader = members.leader(&[0, 1, 2]).await;
    members.kill(leader);
    let others: Vec<usize> = (0..3).filter(|member| *member != leader).collect();
    members.leader(&others).await;
    put_and_get(&members, others[0], "b", others[1]);
    // It comes back as the member that it was, whatever it is started with.
    members.start(leader, &[0, 1, 2], "existing");
    members.ready(leader, 2).await;
    assert_eq!(members.ctl(leader, &["get", "b", "--print-value-only"]).trim(), "v");
    assert_eq!(
        members.json(0, &["member", "list"])["members"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_member_is_added_votes_and_is_removed_for_good() {
    let mut members = match Members::new(3, &[], "http") {
        Ok(members) => members,
        Err(missing) => return not_run("members that come and go", &missing),
    };
    members.start_all(&[0]);
    members.ready(0, 1).await;
    put_and_get(&members, 0, "a", 0);
    members.add(0, 1, &[]).await;
    // It is recorded, and the group goes on without it.
    assert!(members.ctl(0, &["member", "list"]).contains("unstarted"));
    put_and_get(&members, 0, "b", 0);
    members.start(1, &[0, 1], "existing");
    members.ready(1, 1).await;
    put_and_get(&members, 1, "c", 0);
    members.add(0, 2, &["--learner"]).await;
    members.start(2, &[0, 1, 2], "existing");
    members.ready(2, 1).await;
    let learner = members.number(0, "m2");
    assert_eq!(members.status(2).unwrap()["isLearner"], Value::Bool(true));
    until("the learner is promoted", PATIENCE, async || {
        match members.try_ctl(0, &["member", "promote", &learner]) {
            (true, _) => Ok(()),
            (false, said) if said.contains("in sync with leader") => Err(said),
            (false, said) => panic!("{said}"),
        }
    })
    .await;
    let (again, said) = members.try_ctl(0, &["member", "promote", &learner]);
    assert!(!again && said.contains("can only promote a learner member"), "{said}");
    // All three vote: the group goes on without the first one.
    until("three vote", PATIENCE, async || {
        let statuses: Vec<Value> = (0..3).filter_map(|member| members.status(member).ok()).collect();
        let learners = statuses
            .iter()
            .filter(|status| status["isLearner"] == Value::Bool(true))
            .count();
        (statuses.len() == 3 && learners == 0)
            .then_some(())
            .ok_or_else(|| format!("{statuses:?}"))
    })
    .await;
    let removed = members.number(0, "m1");
    until("the member is removed", PATIENCE, async || {
        match members.try_ctl(0, &["member", "remove", &removed]) {
            (true, _) => Ok(()),
            (false, said) if said.contains("unhealthy cluster") => Err(said),
            (false, said) => panic!("{said}"),
        }
    })
    .await;
    let status = members.ended(1).await;
    assert!(status.success(), "{status}");
    let log = std::fs::read_to_string(members.log(1)).unwrap();
    assert!(
        log.contains("the member has been permanently removed from the cluster"),
        "{log}"
    );
    // Nor does it come back.
    members.start(1, &[0, 1], "existing");
    assert!(members.ended(1).await.success());
    put_and_get(&members, 0, "d", 2);
    let (found, said) = members.try_ctl(0, &["member", "remove", &removed]);
    assert!(!found && said.contains("member not found"), "{said}");
}

#[tokio::test]
async fn certificates_that_are_made_serve_peers_and_clients() {
    let mut members = match Members::new(3, &["--peer-auto-tls"], "https") {
        Ok(members) => members,
        Err(missing) => return not_run("members by auto TLS", &missing),
    };
    members.start_all(&[0, 1, 2]);
    for member in 0..3 {
        members.ready(member, 1).await;
    }
    put_and_get(&members, 0, "a", 2);
}

#[tokio::test]
async fn a_member_ends_by_the_signal_that_it_was_sent() {
    let mut members = match Members::new(1, &["--log-format=console"], "http") {
        Ok(members) => members,
        Err(missing) => return not_run("how a member ends", &missing),
    };
    members.start_all(&[0]);
    members.ready(0, 1).await;
    let pid = members.processes[0].as_ref().unwrap().id();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(members.ended(0).await.signal(), Some(15));
    let log = std::fs::read_to_string(members.log(0)).unwrap();
    assert!(log.contains("received signal; shutting down"), "{log}");
}

#[test]
fn the_program_answers_as_etcd_does_before_it_starts() {
    let run = |arguments: &[&str]| {
        let output = as_etcd().args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let (code, said) = run(&["--version"]);
    assert!(code == Some(0) && said.starts_with("etcd Version: 3.6."), "{said}");
    for (arguments, code, says) in [
        (&["--nonsense"][..], 2, "flag provided but not defined: -nonsense"),
        (&["serve"], 1, "is not a valid flag"),
        (&["--discovery-srv=example.org"], 1, "--discovery-srv is not served"),
        (
            &["--listen-client-urls=http://127.0.0.1:1"],
            1,
            "--advertise-client-urls is required",
        ),
        (&["--help"], 0, "--initial-cluster-token"),
    ] {
        let (found, said) = run(arguments);
        assert!(
            found == Some(code) && said.contains(says),
            "{arguments:?}: {found:?} {said}"
        );
    }
    // A folder of etcd's own is left alone.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("member")).unwrap();
    let (code, said) = run(&["--data-dir", &Path::new(dir.path()).to_string_lossy()]);
    assert!(code == Some(1) && said.contains("one of etcd itself"), "{said}");
    assert!(!dir.path().join("node.key").exists(), "something was written into it");
}
