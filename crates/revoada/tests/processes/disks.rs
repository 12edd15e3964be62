//! Disks that fail, hang, or are full: what was not synced by a majority is not acknowledged.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use revoada::client::{Client, ClientOptions};
use revoada::core::error::ErrorKind;
use revoada::store::admin::ClusterState;

use crate::support::{
    Load, OwnDisk, PATIENCE, SLOW_WRITES_PER_SECOND, TestCluster, config_map, missing, not_run, until,
};

/// Writes that are not waited for long: they are not expected to be acknowledged.
const SHORT: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(1),
    answer_timeout: Duration::from_secs(4),
    long_answer_timeout: Duration::from_secs(4),
};

/// Restarts two of the three voters with a fault, and returns them and the one that stays sound.
async fn with_faults(cluster: &mut TestCluster, fault: &str) -> ([usize; 2], usize) {
    let faulty = [0, 1];
    for node in faulty {
        cluster.nodes[node].kill();
        cluster.nodes[node].environment = vec![("REVOADA_LOG_FAULTS".to_owned(), fault.to_owned())];
        cluster.nodes[node].start();
    }
    (faulty, 2)
}

async fn without_faults(cluster: &mut TestCluster, faulty: &[usize]) {
    for &node in faulty {
        cluster.nodes[node].kill();
        cluster.nodes[node].environment.clear();
        cluster.nodes[node].start();
    }
    cluster.settled().await;
}

/// Sends writes to every node at once, and returns which were acknowledged and as what the others ended.
async fn attempts(cluster: &TestCluster, nodes: &[usize], prefix: &str) -> (Vec<String>, Vec<ErrorKind>) {
    let attempts = nodes.iter().enumerate().map(|(number, node)| {
        let client = Client::new(cluster.nodes[*node].endpoint(), SHORT).unwrap();
        let name = format!("{prefix}-{number}");
        async move {
            client
                .apply(&config_map(&name, "x"))
                .await
                .map(|_| name)
                .map_err(|error| error.kind())
        }
    });
    let (mut acknowledged, mut kinds) = (Vec::new(), Vec::new());
    for outcome in futures::future::join_all(attempts).await {
        match outcome {
            Ok(name) => acknowledged.push(name),
            Err(kind) => kinds.push(kind),
        }
    }
    (acknowledged, kinds)
}

fn assert_honest(kinds: &[ErrorKind]) {
    let honest = |kind: &ErrorKind| matches!(kind, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown);
    assert!(kinds.iter().all(honest), "{kinds:?}");
}

#[tokio::test]
async fn with_failing_syncs_on_a_majority_nothing_is_acknowledged_and_the_nodes_say_why() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let (faulty, sound) = with_faults(&mut cluster, "fail-sync=30").await;
    let load = Load::start(&cluster.sockets(), 2, "before");
    for node in faulty {
        let said = cluster.nodes[node].excuse("the log has stopped").await;
        assert!(said.contains("this node has failed"), "{said}");
    }
    let written = load.stop().await;
    let (acknowledged, kinds) = attempts(&cluster, &[sound, sound, faulty[0], faulty[1]], "during").await;
    assert_eq!(acknowledged, Vec::<String>::new());
    assert_honest(&kinds);
    without_faults(&mut cluster, &faulty).await;
    assert!(!written.0.is_empty(), "the faults came before the first write");
    written.assert_kept(&cluster, sound).await;
}

#[tokio::test]
async fn with_hanging_syncs_on_a_majority_nothing_is_acknowledged() {
    let mut cluster = TestCluster::start("quorum-3m", 3).await;
    let (faulty, sound) = with_faults(&mut cluster, "hang-sync=30").await;
    let load = Load::start(&cluster.sockets(), 2, "before");
    let mut round = 0;
    let kinds = until("both disks hang", PATIENCE * 2, async || {
        round += 1;
        match attempts(
            &cluster,
            &[sound, sound, sound, faulty[0], faulty[1]],
            &format!("round-{round}"),
        )
        .await
        {
            (acknowledged, kinds) if acknowledged.is_empty() => Ok(kinds),
            (acknowledged, _) => Err(format!("{acknowledged:?} were acknowledged")),
        }
    })
    .await;
    assert_honest(&kinds);
    // It stays so: a hang is not given up on.
    let (acknowledged, kinds) = attempts(&cluster, &[sound, sound, faulty[0], faulty[1]], "still").await;
    assert_eq!(acknowledged, Vec::<String>::new());
    assert_honest(&kinds);
    assert_ne!(
        cluster.status(sound).await.unwrap().cluster.state,
        ClusterState::Forming
    );
    let written = load.stop().await;
    without_faults(&mut cluster, &faulty).await;
    assert!(!written.0.is_empty(), "the faults came before the first write");
    written.assert_kept(&cluster, sound).await;
}

#[tokio::test]
async fn a_node_whose_disk_is_full_stops_serving_and_comes_back_with_everything_when_there_is_room() {
    if let Some(reason) = OwnDisk::missing() {
        return not_run("a node whose disk is full", &reason);
    }
    let mut cluster = TestCluster::prepare("quorum-3m", 3);
    // Its certificate would be one more thing to write, at the moment when there is no room for anything.
    cluster.nodes[2].config.http = None;
    // Room for the segment in use, and not for the next.
    let disk = OwnDisk::of_memory(&mut cluster, 2, 40 << 20);
    cluster.start_all();
    cluster.settled().await;
    let client = cluster.nodes[0].client();
    let large = "x".repeat(500_000);
    let mut sent = 0;
    let said = until("the disk is full", PATIENCE * 2, async || {
        let name = format!("large-{}", sent % 4);
        sent += 1;
        // Whether it is acknowledged does not matter here: it fills the disk.
        drop(client.apply(&config_map(&name, &large)).await);
        match cluster.nodes[2].client().status().await {
            Err(error) => Ok([vec![error.to_string()], error.causes()].concat().join(": ")),
            Ok(_) => Err(format!("{sent} writes were sent")),
        }
    })
    .await;
    assert!(said.contains("the log has stopped"), "{said}");
    let load = Load::start(
        &[
            cluster.nodes[0].config.control_socket(),
            cluster.nodes[1].config.control_socket(),
        ],
        2,
        "after",
    );
    load.more(50).await;
    let written = load.stop().await;
    cluster.nodes[2].kill();
    disk.remount("size=400m");
    cluster.nodes[2].start();
    cluster.settled().await;
    written.assert_kept(&cluster, 2).await;
}

#[tokio::test]
async fn a_node_on_a_read_only_folder_ends_with_an_error_that_names_it() {
    if let Some(reason) = OwnDisk::missing() {
        return not_run("a node on a read-only folder", &reason);
    }
    let mut cluster = TestCluster::prepare("solo", 1);
    let disk = OwnDisk::of_memory(&mut cluster, 0, 100 << 20);
    cluster.start_all();
    cluster.apply_patiently(0, "kept", "as it was").await;
    cluster.nodes[0].kill();
    disk.remount("ro");
    let (ended, said) = cluster.nodes[0].start_again();
    assert!(!ended.success());
    let folder = cluster.nodes[0].config.folder.display().to_string();
    assert!(
        said.contains(&folder) && said.to_lowercase().contains("read-only"),
        "{said}"
    );
    disk.remount("rw");
    cluster.nodes[0].start();
    cluster.settled().await;
    assert_eq!(cluster.content(0, "kept", false).await.unwrap(), "as it was");
}

#[tokio::test]
async fn a_disk_that_stands_still_or_is_slow_is_waited_for_and_a_full_one_is_named_at_the_start() {
    const WRITES: u32 = 10;
    if let Some(reason) = OwnDisk::missing_slowness() {
        return not_run("a slow and a frozen disk", &reason);
    }
    let mut cluster = TestCluster::prepare("solo", 1);
    let mut disk = OwnDisk::of_file(&mut cluster, 0, 200 << 20);
    cluster.start_all();
    cluster.settled().await;

    disk.freeze();
    let (acknowledged, kinds) = attempts(&cluster, &[0], "frozen").await;
    assert_eq!((acknowledged, kinds), (vec![], vec![ErrorKind::OutcomeUnknown]));
    disk.thaw();
    cluster.apply_patiently(0, "thawed", "yes").await;

    disk.slow(&cluster.nodes[0]);
    let began = Instant::now();
    for number in 0..WRITES {
        cluster.apply_patiently(0, &format!("slow-{number}"), "yes").await;
    }
    let least = Duration::from_secs(1) * (WRITES - 1) / SLOW_WRITES_PER_SECOND;
    assert!(began.elapsed() >= least, "{:?} is not slow", began.elapsed());
    disk.hasten();

    cluster.nodes[0].kill();
    disk.fill();
    cluster.nodes[0].start();
    let said = cluster.nodes[0].excuse("No space left").await;
    let folder = cluster.nodes[0].config.folder.display().to_string();
    assert!(said.contains(&folder), "{said}");
    cluster.nodes[0].kill();
    disk.free();
    cluster.nodes[0].start();
    cluster.settled().await;
    for name in ["frozen-0", "thawed", "slow-0"] {
        cluster.content(0, name, false).await.unwrap();
    }
}

/// strace(1) on one node from outside, writing every sync that the node asks for into a file.
struct Strace {
    tracer: Child,
    /// It says so of each thread that is new, and would end at once if nobody could hear it.
    _says: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Strace {
    fn attach(pid: u32, file: &Path) -> Self {
        let mut tracer = Command::new("strace")
            .args([
                "-f",
                "-e",
                "trace=pwritev2,fdatasync,fsync,sync_file_range",
                "-p",
                &pid.to_string(),
                "-o",
            ])
            .arg(file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut says = BufReader::new(tracer.stderr.take().unwrap());
        let mut said = String::new();
        says.read_line(&mut said).unwrap();
        assert!(said.contains("attached"), "{said}");
        Self {
            tracer,
            _says: says,
            file: file.to_owned(),
        }
    }

    /// How many syncs it saw complete without an error.
    fn syncs(&self) -> usize {
        let text = fs::read_to_string(&self.file).unwrap_or_default();
        // A call that was interrupted in the trace ends on a line of its own, which does not repeat the flags: it counts
        // where it began.
        let asked = |line: &&str| {
            (line.contains("pwritev2(") && line.contains("DSYNC"))
                || line.contains("fdatasync(")
                || line.contains("fsync(")
        };
        text.lines().filter(asked).filter(|line| !line.contains("= -1")).count()
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        drop(self.tracer.kill());
        drop(self.tracer.wait());
    }
}

#[tokio::test]
async fn each_acknowledged_write_is_synced_by_a_majority_as_seen_from_outside() {
    const WRITES: usize = 60;
    if let Some(reason) = missing(&["strace"], &["strace", "-o", "/dev/null", "true"]) {
        return not_run("the count of syncs", &reason);
    }
    let cluster = TestCluster::start("quorum-3m", 3).await;
    let leader = cluster.leader().await;
    let traced: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| Strace::attach(node.pid(), &cluster.path().join(format!("{}.strace", node.name()))))
        .collect();
    let client = cluster.nodes[leader].client();
    let counts = || traced.iter().map(Strace::syncs).collect::<Vec<_>>();
    let before = counts();
    for number in 0..WRITES {
        // One after the other: those that a majority syncs before it is acknowledged are syncs of this write alone, whichever
        // two nodes they are of. The third one may be late, and sync several at once.
        client
            .apply(&config_map(&format!("write-{number}"), "x"))
            .await
            .unwrap();
    }
    until("a majority has synced each write", PATIENCE, async || {
        let after = counts();
        let syncs: Vec<_> = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after - before)
            .collect();
        // strace may write its file a little later than the system calls happen, and never writes too much.
        if syncs.iter().sum::<usize>() >= 2 * WRITES {
            Ok(())
        } else {
            Err(format!("{WRITES} writes, syncs by node: {syncs:?}"))
        }
    })
    .await;
}
