//! The commands that talk to a cluster, driven as a script would drive them, against one that `up` made.
//!
//! The program under test is the one that cargo built with the tests, or the one that `REVOADA_BIN` names.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long a cluster of debug builds on a busy machine may take for anything.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A cluster that `up --detach` made in a folder of its own; dropping it takes everything away.
struct Cluster(tempfile::TempDir);

impl Cluster {
    fn up(arguments: &[&str]) -> Self {
        let cluster = Self(tempfile::Builder::new().prefix("rvc").tempdir().unwrap());
        let ran = cluster.run(&[&["up", "--detach"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        cluster
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var("REVOADA_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_revoada").to_owned());
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("REVOADA_DIR", self.path("cluster"))
            .env_remove("RUST_LOG")
            .current_dir(self.0.path());
        command
    }

    /// Starts a command that goes on, and what it prints goes to a file.
    fn spawn(&self, arguments: &[&str], file: &str) -> Going {
        let out = std::fs::File::create(self.path(file)).unwrap();
        let child = self.command(arguments).stdin(Stdio::null()).stdout(out).spawn();
        Going(child.unwrap())
    }

    /// Waits until a file contains a text.
    fn until_told(&self, file: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = std::fs::read_to_string(self.path(file)).unwrap();
            if told.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "waited for {text:?}: {told}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its stdin may have ended before it is written.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        Ran::of(&child.wait_with_output().unwrap())
    }

    /// Runs a command that has to succeed, and reads the JSON that it prints.
    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
        ran.json()
    }

    fn apply(&self, document: &Value) -> Ran {
        self.run_with(&["apply", "-f", "-", "-o", "json"], &document.to_string())
    }

    /// Waits until the status is `so`, and returns it.
    fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ran = self.run(&["status", "-o", "json"]);
            if ran.code == 0 && so(&ran.json()) {
                return ran.json();
            }
            let seen = [ran.stdout, ran.stderr].concat();
            assert!(Instant::now() < deadline, "waited for {what}: {seen}");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until all declared voters are alive and caught up, and every node is alive.
    fn whole(&self) -> Value {
        self.until("the declared shape", |status| {
            let redundancy = &status["cluster"]["redundancy"];
            redundancy["voters_caught_up"] == redundancy["voters_declared"]
                && nodes(status).iter().all(|node| node["membership"] == "alive")
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let ran = self.run(&["down", "--purge"]);
        assert!(ran.code == 0 || std::thread::panicking(), "{}", ran.stderr);
    }
}

/// A command that goes on until it is dropped.
struct Going(std::process::Child);

impl Drop for Going {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout.clone()).unwrap(),
            stderr: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {} {}", self.stdout, self.stderr))
    }

    fn error(&self) -> Value {
        let value: Value =
            serde_json::from_str(&self.stderr).unwrap_or_else(|error| panic!("{error}: {}", self.stderr));
        value["error"].clone()
    }
}

fn nodes(status: &Value) -> &Vec<Value> {
    status["nodes"].as_array().unwrap()
}

fn node<'a>(status: &'a Value, name: &str) -> &'a Value {
    nodes(status).iter().find(|node| node["name"] == name).unwrap()
}

fn config_map(name: &str) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

#[test]
fn a_drained_node_that_replicates_nothing_is_not_the_one_that_is_asked() {
    let cluster = Cluster::up(&["--nodes", "5"]);
    cluster.whole();
    let _watch = cluster.spawn(&["watch", "ConfigMap", "-o", "json"], "watched");
    cluster.until_told("watched", "bookmark");
    // The first of the folder, whom commands would ask first.
    let drained = cluster.run(&["drain", "node-1", "--wait"]);
    assert_eq!(drained.code, 0, "{}", drained.stderr);
    assert!(drained.stdout.starts_with("node-1 is drained"), "{}", drained.stdout);
    assert!(!drained.stdout.contains("already"), "{}", drained.stdout);
    cluster.until("node-1 to be left out", |status| {
        let node = node(status, "node-1");
        node["voter"] == false && node["learner"] == false
    });
    let applied = cluster.apply(&config_map("after"));
    assert_eq!(applied.code, 0, "{}", applied.stderr);
    assert_eq!(
        cluster.json(&["get", "ConfigMap", "after"])["metadata"]["name"],
        "after"
    );
    assert_eq!(
        cluster.json(&["list", "ConfigMap"])["items"].as_array().unwrap().len(),
        1
    );
    cluster.until_told("watched", "\"after\"");
    for (name, revision, code, kind) in [
        ("after", "0", 6, "conflict"),
        ("after", "1", 6, "conflict"),
        ("nothing", "0", 1, "not-found"),
    ] {
        let refused = cluster.run(&["delete", "ConfigMap", name, "--if-revision", revision, "-o", "json"]);
        assert_eq!(
            (refused.code, &refused.error()["kind"]),
            (code, &json!(kind)),
            "{name} at {revision}: {}",
            refused.stderr
        );
    }
    let socket = cluster.path("cluster/nodes/node-1/control.sock").display().to_string();
    let asked = cluster.run(&["--endpoint", &socket, "get", "ConfigMap", "after"]);
    assert_eq!(asked.code, 3, "{}", asked.stdout);
    assert!(
        asked.stderr.contains("neither a voter nor a standby"),
        "{}",
        asked.stderr
    );
    cluster.whole();
    let health = cluster.run(&["health", "-o", "json"]);
    assert_eq!(health.code, 0, "{}", health.stdout);
    // It changed its role a moment ago: this is noted, and takes its time.
    let wished = cluster.run(&["restore", "node-1"]);
    assert_eq!(wished.code, 0, "{}", wished.stderr);
    let wished = cluster.run(&["promote", "node-1"]);
    assert_eq!(wished.code, 0, "{}", wished.stderr);
    assert!(
        wished.stdout.starts_with("node-1 will be promoted"),
        "{}",
        wished.stdout
    );
}

#[test]
fn a_change_that_is_waited_for_leaves_the_declared_shape_and_one_that_is_so_already_is_no_error() {
    let cluster = Cluster::up(&["--nodes", "5"]);
    let status = cluster.whole();
    let voter = |status: &Value| {
        let found = nodes(status)
            .iter()
            .find(|node| node["voter"] == true && node["leader"] == false)
            .unwrap();
        found["name"].as_str().unwrap().to_owned()
    };
    let quarantined = voter(&status);
    let ran = cluster.run(&["quarantine", &quarantined, "--wait"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    // Not a moment later: this is what was waited for.
    let status = cluster.json(&["status"]);
    let redundancy = &status["cluster"]["redundancy"];
    assert_eq!(
        redundancy["voters_caught_up"], redundancy["voters_declared"],
        "{status}"
    );
    assert_eq!(redundancy["voters"], redundancy["voters_declared"], "{status}");
    assert!(
        nodes(&status)
            .iter()
            .all(|node| node["state"] != "promoting" && node["state"] != "demoting"),
        "{status}"
    );
    assert_eq!(node(&status, &quarantined)["voter"], false, "{status}");

    let voter = voter(&status);
    for (wish, name, said) in [
        ("quarantine", &quarantined, "is quarantined already"),
        ("promote", &voter, "is a control plane already"),
        ("restore", &voter, "is neither quarantined nor drained"),
    ] {
        let again = cluster.run(&[wish, name]);
        assert_eq!(
            (again.code, again.stdout),
            (0, format!("{name} {said}\n")),
            "{}",
            again.stderr
        );
        let again = cluster.json(&[wish, name, "--wait"]);
        assert_eq!(again["done"], true, "{again}");
        assert_eq!(again["index"], Value::Null, "{again}");
    }
    let refused = cluster.run(&["promote", &quarantined, "-o", "json"]);
    assert_eq!((refused.code, &refused.error()["kind"]), (6, &json!("conflict")));
}

#[test]
fn a_recovered_node_serves_when_the_command_returns_and_takes_the_others_in_as_they_come() {
    let cluster = Cluster::up(&["--topology", "quorum-3m", "--nodes", "3"]);
    cluster.whole();
    assert_eq!(cluster.apply(&config_map("before")).code, 0);
    let again = cluster.run(&["up", "--detach", "--node-arg", "zone=b"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(again.stderr.contains("at their next start"), "{}", again.stderr);
    for lost in ["node-1", "node-3"] {
        assert_eq!(cluster.run(&["kill", lost]).code, 0);
    }
    cluster.until("no quorum", |status| status["cluster"]["state"] == "no-quorum");
    let refused = cluster.run(&["get", "ConfigMap", "before", "-o", "json"]);
    assert_eq!((refused.code, &refused.error()["kind"]), (3, &json!("unavailable")));
    assert!(
        refused.error()["hint"].as_str().unwrap().contains("--stale"),
        "{}",
        refused.stderr
    );
    assert_eq!(cluster.run(&["get", "ConfigMap", "before", "--stale"]).code, 0);
    let health = cluster.run(&["health", "-o", "json"]);
    assert_eq!(health.code, 1, "{}", health.stderr);
    let checks = health.json()["checks"].clone();
    let quorum = checks
        .as_array()
        .unwrap()
        .iter()
        .find(|check| check["name"] == "quorum");
    assert_eq!(quorum.unwrap()["ok"], false, "the last leader is dead: {checks}");

    let asked = cluster.run(&["recover", "--quorum-lost", "--from", "node-2"]);
    assert_eq!(asked.code, 2, "nobody was there to confirm it");
    let recovered = cluster.run(&["recover", "--quorum-lost", "--from", "node-2", "--yes"]);
    assert_eq!(recovered.code, 0, "{}", recovered.stderr);
    let status = cluster.json(&["status"]);
    assert_eq!(status["cluster"]["state"], "formed");
    assert_eq!(status["cluster"]["leader"], "node-2");
    assert_eq!(cluster.apply(&config_map("after")).code, 0);
    assert_eq!(
        cluster
            .run(&["recover", "--quorum-lost", "--from", "node-2", "--yes"])
            .code,
        6
    );

    for lost in ["node-1", "node-3"] {
        let started = cluster.run(&["start", lost]);
        assert_eq!(started.code, 0, "{}", started.stderr);
    }
    cluster.until("the others are back and replicate", |status| {
        nodes(status)
            .iter()
            .all(|node| node["membership"] == "alive" && node["lag"] == 0 && node["voter"] != node["learner"])
    });
    assert_eq!(
        cluster.json(&["list", "ConfigMap"])["items"].as_array().unwrap().len(),
        2
    );
    let trust = cluster.run(&["chain", "trust"]);
    std::fs::write(cluster.path("keys"), trust.stdout).unwrap();
    assert_eq!(cluster.run(&["chain", "export", "chain.bin"]).code, 0);
    let verdict = cluster.json(&["chain", "verify", "chain.bin", "--trust", "keys"]);
    assert_eq!(verdict["valid"], true);
    let history = cluster.json(&["history"]);
    let told = history["items"].as_array().unwrap().iter();
    assert_eq!(
        told.filter(|item| item["reason"].as_str().unwrap().contains("recovered"))
            .count(),
        2
    );
}

#[test]
fn a_cluster_with_the_face_etcd_says_where_its_clients_find_it_and_answers_there() {
    let cluster = Cluster::up(&["--face", "etcd", "--topology", "solo", "--nodes", "1"]);
    let record: Value = serde_json::from_slice(&std::fs::read(cluster.path("cluster/cluster.json")).unwrap()).unwrap();
    let address = record["nodes"][0]["etcd"].as_str().unwrap();
    let again = cluster.run(&["up", "--detach", "--face", "etcd"]);
    assert!(
        again.stderr.contains(&format!("ETCDCTL_ENDPOINTS=http://{address}")),
        "{}",
        again.stderr
    );
    let asked = |path: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(
        asked("/version").contains(r#""etcdserver":"3.6"#),
        "{}",
        asked("/version")
    );
    assert!(asked("/health").contains(r#""health":"true""#), "{}", asked("/health"));

    let other = cluster.run(&["up", "--detach", "--face", "pure-raft"]);
    assert_eq!(other.code, 6, "{}", other.stderr);
    let unknown = cluster.run(&["up", "--detach", "--face", "etc"]);
    assert_eq!(unknown.code, 2, "{}", unknown.stderr);
}
