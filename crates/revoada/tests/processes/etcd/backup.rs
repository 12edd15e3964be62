//! Backups and the way back, and what an etcd holds brought here, with real clients and a real etcd.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use revoada::node::config::BackupConfig;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{PATIENCE, TestCluster, missing, not_run, peer, program, until};

/// etcdctl against some endpoints.
#[derive(Clone)]
struct Ctl {
    program: PathBuf,
    endpoints: String,
}

impl Ctl {
    fn of(endpoints: String) -> Result<Self, String> {
        let program = peer("etcdctl", "etcd")?;
        Ok(Self { program, endpoints })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["--endpoints", &self.endpoints, "--command-timeout=30s"]);
        command.args(words).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCDCTL_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        assert!(output.status.success(), "etcdctl {words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command with this on its standard input.
    fn with(&self, words: &[&str], input: &str) {
        let mut command = self.command(words);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(process.wait().unwrap().success(), "etcdctl {words:?}");
    }

    fn json(&self, words: &[&str]) -> Value {
        let said = self.run(&[words, &["--write-out=json"]].concat());
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("etcdctl {words:?}: {error}: {said}"))
    }

    fn revision(&self) -> u64 {
        self.json(&["get", "no such key"])["header"]["revision"]
            .as_u64()
            .unwrap()
    }

    /// All keys as they are answered: with revisions, versions and leases.
    fn keys(&self) -> Vec<Value> {
        let answer = self.json(&["get", "", "--prefix"]);
        answer["kvs"].as_array().cloned().unwrap_or_default()
    }

    /// Keys with their values and leases.
    fn contents(&self) -> BTreeMap<String, (Value, Value)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let keys = self.keys();
        let content = |kv: &Value| (text(&kv["key"]), (kv["value"].clone(), kv["lease"].clone()));
        keys.iter().map(content).collect()
    }
}

/// An etcd of its own.
struct RealEtcd {
    process: Option<Child>,
    program: PathBuf,
    folder: tempfile::TempDir,
    ports: [u16; 2],
}

impl RealEtcd {
    fn start() -> Result<Self, String> {
        let held = [0, 1].map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap());
        let mut etcd = Self {
            process: None,
            program: peer("etcd", "etcd")?,
            folder: tempfile::Builder::new().prefix("rve").tempdir().unwrap(),
            ports: [0, 1].map(|port: usize| held[port].local_addr().unwrap().port()),
        };
        drop(held);
        etcd.run();
        Ok(etcd)
    }

    fn run(&mut self) {
        let [client, peer] = self.ports.map(|port| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(self.folder.path().join("data"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}"), "--log-level=error"]);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(process.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    async fn ctl(&self) -> Result<Ctl, String> {
        let ctl = Ctl::of(format!("http://{}", self.address()))?;
        until("etcd answers", PATIENCE, async || {
            let output = ctl.command(&["endpoint", "health"]).output().unwrap();
            output.status.success().then_some(()).ok_or(format!("{output:?}"))
        })
        .await;
        Ok(ctl)
    }
}

impl Drop for RealEtcd {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program, speaking with the first node.
fn revoada(cluster: &TestCluster, words: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .arg("--endpoint")
        .arg(cluster.nodes[0].config.control_socket())
        .args(words)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    command
}

async fn ran(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap()
}

/// What it prints as JSON; it has to succeed.
async fn told(cluster: &TestCluster, words: &[&str]) -> Value {
    let output = ran(revoada(cluster, &[words, &["-o", "json"]].concat())).await;
    assert!(output.status.success(), "revoada {words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn interrupt(process: &Child) {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn no_client_of_etcd_sees_a_revision_go_back_when_a_backup_is_restored() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Ctl::of(cluster.etcd_endpoints()) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("a backup restored under etcd's clients", &missing),
    };
    let backups = tempfile::tempdir().unwrap();
    let to = backups.path().to_str().unwrap();
    let granted = ctl.run(&["lease", "grant", "3600"]);
    let lease = granted.split(' ').nth(1).unwrap().to_owned();
    ctl.run(&["put", "kept", "as it was"]);
    ctl.run(&["put", "leased", "x", "--lease", &lease]);
    let backup = told(&cluster, &["backup", "--to", to, "--writer", "drill"]).await;
    let file = backup["file"].as_str().unwrap().to_owned();
    assert_eq!(files(backups.path()).len(), 1, "{backup}");
    assert!(
        file.contains(".drill.") && file.contains(&format!(".r{}.snap", backup["revision"])),
        "{file}"
    );

    ctl.run(&["put", "kept", "changed since"]);
    ctl.run(&["del", "leased"]);
    for number in 0..20 {
        ctl.run(&["put", &format!("later/{number}"), "x"]);
    }
    let before = ctl.revision();
    let watching = ctl.command(&["watch", "--prefix", "", &format!("--rev={before}")]);
    let mut watching = { watching }
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    // Everybody reads all the time, from each node as it is, and compares with what they saw last.
    let stop = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = ctl
        .endpoints
        .split(',')
        .map(|endpoint| {
            let ctl = Ctl {
                endpoints: endpoint.to_owned(),
                ..ctl.clone()
            };
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut last, mut reads) = (0, 0);
                while !stop.load(Ordering::Relaxed) {
                    let answer = ctl.json(&["get", "kept", "--consistency=s"]);
                    let revision = answer["header"]["revision"].as_u64().unwrap();
                    let written = answer["kvs"][0]["mod_revision"].as_u64().unwrap();
                    assert!(revision >= last, "{} went from {last} to {revision}", ctl.endpoints);
                    assert!(written <= revision);
                    last = revision;
                    reads += 1;
                }
                (reads, last)
            })
        })
        .collect();
    let restored = told(&cluster, &["snapshot", "restore", &file, "--yes"]).await;
    let after = restored["revision"].as_u64().unwrap();
    assert!(after > before, "{after} is not above {before}");
    let kept = until("every node has it", PATIENCE, async || {
        let answer = ctl.json(&["get", "kept"]);
        let value = answer["kvs"][0]["value"].as_str().unwrap_or_default().to_owned();
        (value == "YXMgaXQgd2Fz").then_some(answer.clone()).ok_or(value)
    })
    .await;
    assert_eq!(kept["kvs"][0]["mod_revision"], after);
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        let (reads, last) = reader.join().unwrap();
        assert!(reads > 0 && last >= before, "{reads} reads, the last at {last}");
    }
    let keys: Vec<_> = ctl.contents().into_keys().collect();
    assert_eq!(
        keys,
        ["a2VwdA==", "bGVhc2Vk"],
        "kept and leased, and nothing that came later"
    );
    let left = ctl.run(&["lease", "timetolive", &lease, "--keys"]);
    assert!(left.contains("attached keys([leased])"), "{left}");

    // The watcher is told that it cannot go on from where it was, and then goes on from what is now.
    let ended = tokio::task::spawn_blocking(move || {
        let ended = watching.wait().unwrap();
        let mut said = String::new();
        drop(watching.stderr.take().unwrap().read_to_string(&mut said));
        (ended, said)
    });
    let (_, said) = tokio::time::timeout(PATIENCE, ended).await.unwrap().unwrap();
    assert!(said.contains("compacted"), "{said}");
    ctl.run(&["put", "next", "x"]);
    assert_eq!(ctl.revision(), after + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_etcd_made_begins_a_new_cluster_with_the_same_revisions() {
    let etcd = match RealEtcd::start() {
        Ok(etcd) => etcd,
        Err(missing) => return not_run("a snapshot of etcd's brought here", &missing),
    };
    let source = etcd.ctl().await.unwrap();
    for round in 0..3 {
        for key in 0..50 {
            source.run(&[
                "put",
                &format!("key/{key:03}"),
                &format!("{round} {}", "v".repeat(key * 40)),
            ]);
        }
    }
    source.run(&["del", "key/010"]);
    source.run(&["del", "key/020"]);
    let granted = source.run(&["lease", "grant", "3600"]);
    let lease = granted.split(' ').nth(1).unwrap().to_owned();
    source.run(&["put", "leased", "x", "--lease", &lease]);
    let middle = source.revision() - 20;
    source.run(&["compaction", &middle.to_string()]);
    source.run(&["put", "key/011", "after the compaction"]);
    source.run(&["del", "key/012"]);
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("etcd.db");
    let saved = saved.to_str().unwrap();
    source.run(&["snapshot", "save", saved]);

    let mut cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let plan = told(&cluster, &["migrate", "--from", saved, "--plan"]).await;
    assert_eq!((&plan["keys"], &plan["leases"]), (&48.into(), &1.into()), "{plan}");
    let migrated = told(&cluster, &["migrate", "--from", saved, "--yes"]).await;
    assert_eq!(migrated["revision"], source.revision(), "{migrated}");
    let here = Ctl::of(cluster.etcd_endpoints()).unwrap();
    assert_eq!(here.keys(), source.keys(), "keys, values, leases and every number");
    assert_eq!(here.revision(), source.revision());
    assert!(
        here.run(&["lease", "timetolive", &lease, "--keys"])
            .contains("granted with TTL(3600s)")
    );
    // Both go on alike.
    for ctl in [&source, &here] {
        ctl.run(&["put", "key/001", "next"]);
        ctl.run(&["del", "--prefix", "key/00"]);
    }
    assert_eq!((here.keys(), here.revision()), (source.keys(), source.revision()));

    let again = ran(revoada(&cluster, &["migrate", "--from", saved, "--yes"])).await;
    assert_eq!(again.status.code(), Some(6), "{again:?}");
    // A file that is not whole changes nothing.
    let bytes = std::fs::read(saved).unwrap();
    let cut = folder.path().join("cut.db");
    std::fs::write(&cut, &bytes[..bytes.len() - 600]).unwrap();
    let refused = ran(revoada(
        &cluster,
        &["migrate", "--from", cut.to_str().unwrap(), "--yes"],
    ))
    .await;
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");

    let before = (here.keys(), here.revision());
    cluster.kill_all();
    cluster.start_all();
    cluster.settled().await;
    assert_eq!(
        (here.keys(), here.revision()),
        before,
        "it is as durable as everything else"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_whose_etcd_is_killed_in_the_middle_goes_on_where_it_was() {
    const KEYS: usize = 6_400;
    let mut etcd = match RealEtcd::start() {
        Ok(etcd) => etcd,
        Err(missing) => return not_run("a migration that is interrupted", &missing),
    };
    let source = etcd.ctl().await.unwrap();
    for first in (0..KEYS).step_by(128) {
        let puts = (first..first + 128).map(|key| format!("put key/{key:05} {}\n", "v".repeat(2_000)));
        source.with(&["txn"], &format!("\n{}\n\n", puts.collect::<String>()));
    }
    let granted = source.run(&["lease", "grant", "3600"]);
    let lease = granted.split(' ').nth(1).unwrap().to_owned();
    source.run(&["put", "leased", "x", "--lease", &lease]);
    source.run(&["put", "shared", "the same"]);

    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let here = Ctl::of(cluster.etcd_endpoints()).unwrap();
    here.run(&["put", "others", "stays"]);
    here.run(&["put", "shared", "the same"]);
    let from = format!("etcd://{}", etcd.address());
    // What is here with another value is told before anything is done.
    here.run(&["put", "leased", "of others"]);
    let refused = ran(revoada(&cluster, &["migrate", "--from", &from, "--yes"])).await;
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    here.run(&["del", "leased"]);
    assert_eq!(here.keys().len(), 2, "nothing was changed");

    let mut migrating = revoada(&cluster, &["migrate", "--from", &from, "--yes"]);
    let mut migrating = migrating.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let count = |ctl: &Ctl| -> usize {
        let said = ctl.run(&["get", "", "--prefix", "--count-only", "--write-out=fields"]);
        let count = said.lines().find_map(|line| line.strip_prefix("\"Count\" : "));
        count.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
    };
    until("it is in the middle", PATIENCE, async || {
        let copied = count(&here);
        (copied > 200).then_some(()).ok_or(format!("{copied} keys"))
    })
    .await;
    etcd.kill();
    interrupt(&migrating);
    let ended = tokio::task::spawn_blocking(move || migrating.wait().unwrap())
        .await
        .unwrap();
    assert_eq!(ended.code(), Some(3));
    let copied = count(&here);
    assert!(
        copied < KEYS,
        "{copied} of {KEYS} were copied: it was not in the middle"
    );

    // Etcd goes on: what was copied already is changed and deleted there.
    etcd.run();
    let source = etcd.ctl().await.unwrap();
    source.run(&["put", "new", "since"]);
    source.run(&["put", "leased", "y", "--lease", &lease]);
    source.run(&["put", "key/00120", "changed since"]);
    assert_eq!(source.run(&["del", "key/00000", "key/00100"]), "100\n");
    let went_on = told(&cluster, &["migrate", "--from", &from, "--plan"]).await;
    assert_eq!(went_on["resumes"], true, "{went_on}");
    told(&cluster, &["migrate", "--from", &from, "--yes"]).await;

    let (mut here_now, there) = (here.contents(), source.contents());
    assert!(here_now.remove("b3RoZXJz").is_some(), "what others have here stays");
    assert_eq!(here_now.len(), there.len());
    assert!(here_now == there, "every key, value and lease is as in etcd");
    assert!(here.run(&["lease", "timetolive", &lease, "--keys"]).contains("leased"));
    let records = here.run(&["get", "--prefix", "revoada.migrate/", "--keys-only"]);
    assert_eq!(records.trim(), "", "the record of how far it was is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_makes_backups_and_its_health_tells_of_one_that_fails() {
    let mut cluster = TestCluster::prepare("quorum-3m", 3);
    let backups = tempfile::tempdir().unwrap();
    let to = backups.path().join("backups");
    std::fs::create_dir(&to).unwrap();
    for node in &mut cluster.nodes {
        node.config.backup = Some(BackupConfig {
            every: Duration::from_secs(1),
            keep: 2,
            to: to.clone(),
        });
    }
    cluster.start_all();
    cluster.settled().await;
    until("every node has two, and no more", PATIENCE, async || {
        let names = files(&to);
        let of = |node: &str| {
            let mark = format!(".{node}.");
            let own = |name: &&String| name.contains(&mark) && name.ends_with(".snap");
            names.iter().filter(own).count()
        };
        let counts = ["node-1", "node-2", "node-3"].map(of);
        (counts.iter().all(|count| (2..=3).contains(count)))
            .then_some(())
            .ok_or(format!("{names:?}"))
    })
    .await;
    let health = async |ok: bool| {
        until("health tells of the backups", PATIENCE, async || {
            let report = cluster.nodes[0]
                .client()
                .health()
                .await
                .map_err(|error| error.to_string())?;
            let check = report.checks.iter().find(|check| check.name == "backup").cloned();
            let check = check.ok_or("there is no such check")?;
            (check.ok == ok)
                .then_some(check.detail.clone())
                .ok_or(format!("{check:?}"))
        })
        .await
    };
    assert!(health(true).await.contains("old"));
    let away = backups.path().join("away");
    std::fs::rename(&to, &away).unwrap();
    let failure = health(false).await;
    assert!(
        failure.contains("backups") && failure.contains("No such file"),
        "{failure}"
    );
    assert!(
        !to.exists(),
        "a folder that is away is not made: it may be a disk that is not mounted"
    );
    std::fs::rename(&away, &to).unwrap();
    health(true).await;
    for name in files(&to).iter().filter(|name| name.ends_with(".snap")) {
        let file = to.join(name);
        let inspected = ran(revoada(&cluster, &["snapshot", "inspect", file.to_str().unwrap()])).await;
        // One that was deleted meanwhile is none that is not whole.
        assert!(inspected.status.success() || !file.exists(), "{inspected:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_a_quorum_or_a_folder_says_so_and_loses_nothing() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let backups = tempfile::tempdir().unwrap();
    let to = backups.path().to_str().unwrap();
    for _ in 0..3 {
        told(&cluster, &["backup", "--to", to, "--keep", "1"]).await;
    }
    let kept = files(backups.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    let nowhere = backups.path().join("nowhere");
    let refused = ran(revoada(&cluster, &["backup", "--to", nowhere.to_str().unwrap()])).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("nowhere") && said.contains("hint:"), "{said}");
    for node in &mut cluster.nodes[1..] {
        node.kill();
    }
    until("it has no quorum", PATIENCE, async || {
        let refused = ran(revoada(&cluster, &["backup", "--to", to, "--keep", "1"])).await;
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        (refused.status.code() == Some(3)).then_some(()).ok_or(said)
    })
    .await;
    let left = files(backups.path());
    assert_eq!(
        left.len(),
        1,
        "nothing half is left, and the last good one stays: {left:?}"
    );

    // Again and again it waits for the quorum, and ends when it is told to.
    let mut going = revoada(
        &cluster,
        &["backup", "--to", to, "--every", "1s", "--keep", "2", "-o", "json"],
    );
    let going = going.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    for node in &mut cluster.nodes[1..] {
        node.start();
    }
    until("there is another", PATIENCE, async || {
        let names = files(backups.path());
        let whole = names.iter().filter(|name| name.ends_with(".snap")).count();
        (whole >= 2).then_some(()).ok_or(format!("{names:?}"))
    })
    .await;
    interrupt(&going);
    let ended = tokio::task::spawn_blocking(move || going.wait_with_output().unwrap())
        .await
        .unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let line = String::from_utf8(ended.stdout).unwrap();
    let first: Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
    assert!(
        first["revision"].as_u64().is_some() && first["taken_ms"].as_u64().is_some(),
        "{first}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_on_a_full_disk_says_so_and_leaves_what_is_there() {
    let probe = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/tmp"];
    if let Some(missing) = missing(&["unshare", "mount", "head"], &probe) {
        return not_run("a backup on a full disk", &missing);
    }
    let cluster = TestCluster::start("solo", 1).await;
    let backups = tempfile::tempdir().unwrap();
    // One while there is room; then the disk is full; then what is there is listed.
    let script = r#"mount -t tmpfs -o size=1m tmpfs "$TO" || exit 9
"$@" >/dev/null || exit 8
head -c 2M /dev/zero >"$TO/filled" 2>/dev/null
"$@" >/dev/null; code=$?
rm "$TO/filled"; ls -A "$TO"; exit $code"#;
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script, "sh"])
        .arg(program())
        .arg("--endpoint")
        .arg(cluster.nodes[0].config.control_socket())
        .args(["backup", "--keep", "1", "--to"])
        .arg(backups.path())
        .env("TO", backups.path())
        .stdin(Stdio::null());
    let output = ran(command).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("No space left") && said.contains("hint:"), "{said}");
    let left = String::from_utf8(output.stdout).unwrap();
    let left: Vec<_> = left.lines().collect();
    assert!(left.len() == 1 && left[0].ends_with(".snap"), "{left:?}");
}
