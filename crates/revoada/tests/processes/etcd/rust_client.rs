//! The Rust crate `etcd-client`, in a program of `peers/`, which prints what it saw; what that has to be is said here.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{TestCluster, not_run, peer};

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a scenario to its end, and gives what it told.
async fn run(cluster: &TestCluster, program: &Path, scenario: &str) -> Vec<Value> {
    let mut command = Command::new(program);
    command.args([&cluster.etcd_endpoints(), scenario]).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("{scenario} does not end")).unwrap();
    let (told, said) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{scenario}: {said}; before that: {told}");
    told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn everything_that_the_rust_crate_etcd_client_asks_is_answered() {
    let program = match peer("etcd-client-rs", "etcd-client-rs") {
        Ok(program) => program,
        Err(missing) => return not_run("the Rust crate etcd-client", &missing),
    };
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;

    let compacted = "etcdserver: mvcc: required revision has been compacted";
    assert_eq!(
        run(&cluster, &program, "kv").await,
        [
            json!({"what": "put", "previous": ["k/0", "0", 1]}),
            json!({"what": "page", "kvs": [["k/4", "4", 1], ["k/3", "3", 1]], "count": 5, "more": true}),
            json!({"what": "old", "kv": ["k/0", "0", 1], "stale": 1}),
            json!({"what": "txn", "succeeded": true, "answers": 2}),
            json!({"what": "txn", "succeeded": false, "answers": 1}),
            json!({"what": "deleted", "count": 6, "previous": 6}),
            json!({"what": "compacted", "refusal": compacted}),
            json!({"what": "empty", "refusal": "etcdserver: key is not provided"}),
        ]
    );

    // The two watches of one stream are not ordered among each other.
    let told = run(&cluster, &program, "watch").await;
    let of = |watch: u64| {
        told.iter()
            .filter(|line| line["watch"] == watch)
            .cloned()
            .collect::<Vec<_>>()
    };
    let event = |watch: u64, key: &str, value: &str, previous: Value| {
        json!({
            "what": "event", "watch": watch, "deletes": value.is_empty(), "key": key, "value": value,
            "previous": previous,
        })
    };
    let canceled = |watch: u64| json!({"what": "canceled", "watch": watch});
    assert_eq!(
        of(7),
        [
            event(7, "w/a", "1", Value::Null),
            event(7, "w/a", "2", json!(["w/a", "1", 1])),
            event(7, "w/a", "", json!(["w/a", "2", 2])),
            canceled(7),
        ]
    );
    assert_eq!(of(8), [event(8, "other", "x", Value::Null), canceled(8)]);
    assert!(told.contains(&json!({"what": "progress", "reached": true})), "{told:?}");

    assert_eq!(
        run(&cluster, &program, "lease").await,
        [
            json!({"what": "kept", "ttl": 30}),
            json!({"what": "kept", "ttl": 30}),
            json!({"what": "left", "granted": 30, "keys": 1, "listed": true}),
            json!({"what": "revoked", "keys": 0, "again": "etcdserver: requested lease not found"}),
        ]
    );
    assert_eq!(
        run(&cluster, &program, "locks").await,
        [
            json!({"what": "locked", "waited": true, "differ": true}),
            json!({
                "what": "elected", "observed": ["first", "second"], "leads": "second",
                "nobody": "election: no leader",
            }),
        ]
    );

    let told = run(&cluster, &program, "cluster").await;
    let urls: BTreeSet<&str> = told[0]["urls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|url| url.as_str().unwrap())
        .collect();
    let endpoints = cluster.etcd_endpoints();
    assert_eq!(urls, endpoints.split(',').collect());
    assert!(told[0]["added"].is_string(), "a topology decides who votes: {told:?}");

    let told = run(&cluster, &program, "maintenance").await;
    let statuses: Vec<&Value> = told.iter().filter(|line| line["what"] == "status").collect();
    assert_eq!(statuses.len(), 3, "{told:?}");
    for status in &statuses {
        assert_eq!(
            (&status["version"], &status["hashed"]),
            (&"3.6.16".into(), &true.into())
        );
        assert_eq!(status["leader"], statuses[0]["leader"]);
    }
    let snapshot = told.iter().find(|line| line["what"] == "snapshot").unwrap();
    let (bytes, alarms) = (snapshot["bytes"].as_u64().unwrap(), &snapshot["alarms"]);
    // What is hashed stands behind it.
    assert!(bytes % 512 == 32 && bytes > 512 && *alarms == 0, "{snapshot}");
    assert!(told.iter().any(|line| line["what"] == "moved"), "{told:?}");

    assert_eq!(
        run(&cluster, &program, "auth").await,
        [json!({
            "what": "users", "nameless": "etcdserver: user name is empty", "read": 1,
            "write": "etcdserver: permission denied",
            "wrong": "etcdserver: authentication failed, invalid user ID or password", "roles": ["reader"],
        })]
    );
}
