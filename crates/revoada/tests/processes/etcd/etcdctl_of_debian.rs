//! etcdctl 3.4, which Debian has and scripts on it call: it asks and prints otherwise than 3.6 in places.

use super::ctl::{Etcdctl, PATIENCE};
use crate::support::{TestCluster, not_run, until};

#[tokio::test]
async fn etcdctl_of_debian_reads_writes_watches_and_locks() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Etcdctl::of_debian(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("the keys of Debian's etcdctl", &missing),
    };
    assert!(ctl.run(&["version"]).await.starts_with("etcdctl version: 3.4."));
    assert_eq!(ctl.run(&["put", "a", "1"]).await, "OK\n");
    assert_eq!(ctl.run(&["put", "--prev-kv", "a", "2"]).await, "OK\na\n1\n");
    let mut watch = ctl.start(&["watch", "--prev-kv", "--rev=1", "--prefix", ""]);
    ctl.run(&["put", "b", "3"]).await;
    let all = ctl.run(&["get", "--prefix", "", "--order=DESCEND"]).await;
    assert_eq!(all, "b\n3\na\n2\n");
    let txn = "value(\"a\") = \"2\"\n\nput c 4\nget a\n\nput c 5\n\n";
    assert_eq!(ctl.with(&["txn"], txn).await.trim(), "SUCCESS\n\nOK\n\na\n2");
    assert_eq!(ctl.run(&["del", "b"]).await, "1\n");
    let mut seen = Vec::new();
    // What was there before the deletion, and what the deletion shows: a key without a value.
    while !seen.ends_with(&["DELETE", "b", "3", "b", ""].map(str::to_owned)) {
        seen.push(watch.line().await);
    }
    watch.interrupt().await;
    let events: Vec<_> = seen.iter().filter(|line| *line == "PUT" || *line == "DELETE").collect();
    assert_eq!(events, ["PUT", "PUT", "PUT", "PUT", "DELETE"], "{seen:?}");

    let granted = ctl.run(&["lease", "grant", "600"]).await;
    let lease = granted.split(' ').nth(1).unwrap();
    ctl.run(&["put", "leased", "x", "--lease", lease]).await;
    assert!(ctl.run(&["lease", "list"]).await.contains(lease));
    let left = ctl.run(&["lease", "timetolive", lease, "--keys"]).await;
    assert!(
        left.contains("granted with TTL(600s)") && left.contains("[leased]"),
        "{left}"
    );
    let kept = ctl.run(&["lease", "keep-alive", "--once", lease]).await;
    assert!(kept.contains("TTL(600)"), "{kept}");
    ctl.run(&["lease", "revoke", lease]).await;
    assert_eq!(ctl.run(&["get", "leased"]).await, "");

    let mut first = ctl.start(&["lock", "mutex"]);
    let held = first.line().await;
    let mut second = ctl.start(&["lock", "mutex"]);
    until("two queue for the mutex", PATIENCE, async || {
        let queue = ctl.run(&["get", "--prefix", "mutex/", "--keys-only"]).await;
        let waiting = queue.lines().filter(|line| !line.is_empty()).count();
        (waiting == 2).then_some(()).ok_or(queue)
    })
    .await;
    first.interrupt().await;
    assert_ne!(second.line().await, held);
    second.interrupt().await;
    let mut elected = ctl.start(&["elect", "seat", "one"]);
    assert!(elected.line().await.starts_with("seat/"));
    assert_eq!(elected.line().await, "one");
    elected.interrupt().await;
}

#[tokio::test]
async fn etcdctl_of_debian_asks_members_their_state_snapshots_and_passwords() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let mut ctl = match Etcdctl::of_debian(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("the members of Debian's etcdctl", &missing),
    };
    ctl.run(&["put", "a", "1"]).await;
    let members = ctl.json(&["member", "list"]).await;
    assert_eq!(members["members"].as_array().unwrap().len(), 3, "{members}");
    // Whom it asks one after the other it names in a way that HTTP/2 forbids.
    let status = ctl.json(&["endpoint", "status"]).await;
    let statuses = status.as_array().unwrap();
    let leader = &statuses[0]["Status"]["leader"];
    assert!(
        statuses.len() == 3 && statuses.iter().all(|one| one["Status"]["leader"] == *leader),
        "{status}"
    );
    let health = ctl.json(&["endpoint", "health"]).await;
    assert!(
        health.as_array().unwrap().iter().all(|one| one["health"] == true),
        "{health}"
    );
    until("all members are at one revision", PATIENCE, async || {
        let told = ctl.json(&["endpoint", "hashkv"]).await;
        let hashes: Vec<_> = told
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["HashKV"]["hash"])
            .collect();
        let same = hashes.len() == 3 && hashes[0].is_u64() && hashes.iter().all(|hash| *hash == hashes[0]);
        if same { Ok(()) } else { Err(told.to_string()) }
    })
    .await;

    // It asks one endpoint alone for a snapshot.
    let all = std::mem::take(&mut ctl.endpoints);
    ctl.endpoints = all.split(',').next().unwrap().to_owned();
    let file = cluster.path().join("old.snap");
    let saved = ctl.run(&["snapshot", "save", file.to_str().unwrap()]).await;
    assert!(saved.contains("Snapshot saved at"), "{saved}");
    super::snapshots::assert_whole(&file).await;
    ctl.endpoints = all;

    for words in [
        &["user", "add", "root:secret"][..],
        &["user", "grant-role", "root", "root"],
        &["role", "add", "reader"],
        &["role", "grant-permission", "reader", "read", "a"],
        &["user", "add", "guest:guest"],
        &["user", "grant-role", "guest", "reader"],
        &["auth", "enable"],
    ] {
        ctl.run(words).await;
    }
    until("every node has heard of it", PATIENCE, async || {
        match ctl.try_with(&["get", "a"], "").await {
            (true, said) => Err(said),
            (false, _) => Ok(()),
        }
    })
    .await;
    ctl.user = Some("guest:guest".to_owned());
    assert_eq!(ctl.run(&["get", "a"]).await, "a\n1\n");
    ctl.refused(&["put", "a", "2"], "permission denied").await;
    ctl.user = Some("root:secret".to_owned());
    assert_eq!(ctl.run(&["auth", "disable"]).await, "Authentication Disabled\n");
}
