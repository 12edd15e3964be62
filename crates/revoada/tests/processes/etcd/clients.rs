//! etcd's own client packages (`clientv3`, `concurrency`, `namespace`, `ordering`, `mirror`) in a program of `peers/`, which
//! prints what it saw; what that has to be is said here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{TestCluster, not_run, peer};

/// How long one scenario may take, and how long it may be silent.
const PATIENCE: Duration = Duration::from_secs(90);

/// A scenario that runs.
struct Scenario {
    name: String,
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    told: Vec<Value>,
}

impl Scenario {
    fn start(cluster: &TestCluster, program: &std::path::Path, words: &[&str]) -> Self {
        let mut process = Command::new(program)
            .args(["--endpoints", &cluster.etcd_endpoints()])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self {
            name: words.join(" "),
            process,
            lines,
            told: Vec::new(),
        }
    }

    /// The next line; none when the program has ended.
    async fn next(&mut self) -> Option<&Value> {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("{} is silent; last: {:?}", self.name, self.told.last()));
        self.told.push(serde_json::from_str(&line.unwrap()?).unwrap());
        self.told.last()
    }

    /// Waits for so many more lines of a kind.
    async fn more(&mut self, what: &str, count: usize) {
        let mut seen = 0;
        while seen < count {
            let name = self.name.clone();
            let line = self.next().await.unwrap_or_else(|| panic!("{name} ended"));
            seen += usize::from(line["what"] == what);
        }
    }

    /// Tells it to stop, waits until it has, and gives everything that it told.
    async fn end(mut self) -> Vec<Value> {
        drop(self.process.stdin.take());
        while self.next().await.is_some() {}
        let status = self.process.wait().await.unwrap();
        assert!(status.success(), "{} ended with {status}", self.name);
        self.told
    }
}

/// Runs a scenario that ends by itself, and gives what it told.
async fn run(cluster: &TestCluster, program: &std::path::Path, words: &[&str]) -> Vec<Value> {
    let mut scenario = Scenario::start(cluster, program, words);
    while scenario.next().await.is_some() {}
    scenario.end().await
}

fn of<'a>(told: &'a [Value], what: &str) -> Vec<&'a Value> {
    told.iter().filter(|line| line["what"] == what).collect()
}

fn numbers(lines: &[&Value], field: &str) -> Vec<u64> {
    lines.iter().map(|line| line[field].as_u64().unwrap()).collect()
}

fn ascends(numbers: &[u64]) -> bool {
    numbers.is_sorted_by(|a, b| a < b)
}

#[tokio::test]
async fn recipes_of_etcds_own_packages_work() {
    let program = match peer("etcd-clients", "etcd-clients") {
        Ok(program) => program,
        Err(missing) => return not_run("recipes of etcd's own client packages", &missing),
    };
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;

    let told = run(&cluster, &program, &["mutex", "--sessions", "5", "--turns", "6"]).await;
    let turns: Vec<_> = told.iter().filter(|line| line["what"] != "counted").collect();
    for turn in turns.chunks(2) {
        assert_eq!(
            (&turn[0]["what"], &turn[1]["what"]),
            (&"locked".into(), &"unlocks".into())
        );
        assert_eq!(turn[0]["session"], turn[1]["session"], "two had the mutex: {turn:?}");
        assert_eq!(turn[1]["owns"], true);
    }
    assert!(ascends(&numbers(&of(&told, "locked"), "revision")), "{told:?}");
    assert_eq!(of(&told, "counted")[0]["count"], 30, "a step was lost");

    let told = run(&cluster, &program, &["election", "--candidates", "4"]).await;
    let leads = of(&told, "leads");
    let candidates: BTreeSet<u64> = numbers(&leads, "candidate").into_iter().collect();
    assert_eq!(candidates.len(), 4, "{told:?}");
    for resigned in of(&told, "resigns") {
        assert_eq!(resigned["leader"], format!("{}-proclaims", resigned["candidate"]));
    }
    let observed: Vec<_> = of(&told, "observed").iter().map(|line| line["value"].clone()).collect();
    let expected: Vec<Value> = leads
        .iter()
        .flat_map(|line| ["elected", "proclaims"].map(|what| format!("{}-{what}", line["candidate"]).into()))
        .collect();
    assert_eq!(observed, expected);

    let told = run(&cluster, &program, &["stm", "--accounts", "5", "--transfers", "20"]).await;
    assert_eq!(told.len(), 4 * 20 + 1);
    assert!(
        told.iter().all(|audit| audit["sum"] == 500),
        "an amount was lost: {told:?}"
    );
}

#[tokio::test]
async fn wrappers_of_etcds_own_packages_work() {
    let program = match peer("etcd-clients", "etcd-clients") {
        Ok(program) => program,
        Err(missing) => return not_run("wrappers of etcd's own client packages", &missing),
    };
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;

    let told = run(&cluster, &program, &["namespace"]).await;
    let inside = of(&told, "inside")[0];
    assert_eq!(
        (&inside["succeeded"], &inside["keys"]),
        (&true.into(), &serde_json::json!(["a", "b"]))
    );
    let events: Vec<_> = of(&told, "event").iter().map(|line| line["key"].clone()).collect();
    assert_eq!(events, ["a", "b"]);
    let above = of(&told, "above")[0];
    assert_eq!(above["keys"], serde_json::json!(["tenant/a", "tenant/b"]));
    assert_eq!(above["attached"], serde_json::json!(["a"]));

    let told = run(&cluster, &program, &["ordering", "--reads", "150"]).await;
    let revisions = numbers(&told.iter().collect::<Vec<_>>(), "revision");
    assert!(revisions.is_sorted(), "a read went back: {revisions:?}");
    let members: BTreeSet<_> = told.iter().map(|line| line["member"].as_str().unwrap()).collect();
    assert!(members.len() > 1, "only {members:?} was read from");

    let told = run(&cluster, &program, &["mirror", "--keys", "1200"]).await;
    assert_eq!(of(&told, "base")[0]["keys"], 1200);
    let mirrored = of(&told, "mirrored")[0];
    assert_eq!(
        (&mirrored["keys"], &mirrored["differs"]),
        (&1200.into(), &serde_json::json!([]))
    );
}

#[tokio::test]
async fn watches_and_leases_of_etcds_own_client_live_through_the_death_of_leaders() {
    let program = match peer("etcd-clients", "etcd-clients") {
        Ok(program) => program,
        Err(missing) => return not_run("watches of etcd's own client", &missing),
    };
    let mut cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let mut watch = Scenario::start(&cluster, &program, &["watch", "--writers", "3"]);
    let mut lease = Scenario::start(&cluster, &program, &["lease", "--ttl", "10"]);
    watch.more("begins", 1).await;
    lease.more("granted", 1).await;
    for _ in 0..2 {
        watch.more("acked", 100).await;
        let leader = cluster.leader().await;
        cluster.nodes[leader].kill();
        watch.more("acked", 100).await;
        cluster.nodes[leader].start();
        cluster.settled().await;
    }
    // Twice more: the leaders since have heard of it.
    lease.more("kept", 2).await;

    let told = lease.end().await;
    assert!(of(&told, "lost").is_empty(), "the lease was lost: {told:?}");
    let left = of(&told, "left")[0];
    assert_eq!((&left["granted"], &left["keys"]), (&10.into(), &1.into()));
    assert_eq!(of(&told, "ran-out").len(), 1, "a lease that nobody keeps alive ends");

    let told = watch.end().await;
    assert_eq!(judge_watches(&told), Ok(()));
    let acked = of(&told, "acked").len();
    assert!(acked >= 400, "only {acked} writes were acknowledged");
}

/// What etcd promises of a watch: ordered, unique, reliable, resumable; and with the value before.
fn judge_watches(told: &[Value]) -> Result<(), String> {
    let revision = |line: &Value| line["revision"].as_u64().unwrap();
    let acked = of(told, "acked");
    for watch in ["kept", "renewed"] {
        let events: Vec<&Value> = told.iter().filter(|line| line["watch"] == watch).collect();
        if !ascends(&numbers(&events, "revision")) {
            return Err(format!("{watch}: an event came twice, or late"));
        }
        let seen: BTreeMap<u64, &Value> = events.iter().map(|event| (revision(event), *event)).collect();
        for put in &acked {
            let event = seen.get(&revision(put)).ok_or(format!("{watch} missed {put}"))?;
            if (&event["key"], &event["value"]) != (&put["key"], &put["value"]) {
                return Err(format!("{watch} was told {event} of {put}"));
            }
        }
        let mut before: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &events {
            let previous = before
                .insert(event["key"].as_str().unwrap(), revision(event))
                .unwrap_or(0);
            if event["previous"] != previous {
                return Err(format!("{watch}: {event} comes behind {previous}"));
            }
            if event["header"].as_u64().unwrap() < revision(event) {
                return Err(format!("{watch}: {event} is from the future"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_watch_that_loses_repeats_or_reorders_is_found() {
    use serde_json::json;
    let put = |revision: u64| json!({"what": "acked", "key": "k", "value": revision.to_string(), "revision": revision});
    let event = |watch: &str, revision: u64, previous: u64| {
        json!({
            "what": "event", "watch": watch, "key": "k", "value": revision.to_string(),
            "revision": revision, "previous": previous, "header": revision,
        })
    };
    let puts = [put(2), put(3), put(4)];
    let whole = |watch: &str| vec![event(watch, 2, 0), event(watch, 3, 2), event(watch, 4, 3)];
    let judged = |renewed: Vec<Value>| judge_watches(&[&puts[..], &whole("kept"), &renewed].concat());
    assert_eq!(judged(whole("renewed")), Ok(()));
    let mut lost = whole("renewed");
    lost.remove(1);
    let mut twice = whole("renewed");
    twice.insert(1, twice[0].clone());
    let mut reordered = whole("renewed");
    reordered.swap(0, 1);
    let mut other = whole("renewed");
    other[2]["value"] = "5".into();
    let mut previous = whole("renewed");
    previous[2]["previous"] = 2.into();
    for wrong in [lost, twice, reordered, other, previous] {
        assert!(judged(wrong.clone()).is_err(), "{wrong:?}");
    }
}
