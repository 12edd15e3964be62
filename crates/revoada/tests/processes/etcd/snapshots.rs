//! Snapshots that etcd's clients take: what our own tools find in them, and put back from them.

use std::path::Path;

use serde_json::Value;
use tokio::process::Command;

use super::ctl::Etcdctl;
use crate::support::{TestCluster, not_run, peer, program};

async fn revoada(words: &[&str]) -> (bool, String) {
    let output = Command::new(program()).args(words).output().await.unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Asserts that a file is a whole snapshot, and gives what is said of it.
pub async fn assert_whole(file: &Path) -> Value {
    let (succeeded, said) = revoada(&["snapshot", "inspect", file.to_str().unwrap(), "-o", "json"]).await;
    assert!(succeeded, "{said}");
    serde_json::from_str(&said).unwrap()
}

#[tokio::test]
async fn what_etcdctl_saved_is_whole_and_is_restored_into_another_cluster() {
    let source = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let target = TestCluster::start_with_etcd("solo", 1).await;
    let (mut from, to, etcdutl) = match (Etcdctl::of(&source), Etcdctl::of(&target), peer("etcdutl", "etcd")) {
        (Ok(from), Ok(to), Ok(etcdutl)) => (from, to, etcdutl),
        (Err(missing), ..) | (_, Err(missing), _) | (.., Err(missing)) => {
            return not_run("etcdctl snapshot save", &missing);
        }
    };
    for key in 0..50 {
        from.run(&["put", &format!("saved/{key:02}"), "first"]).await;
    }
    from.run(&["put", "saved/00", "second"]).await;
    from.run(&["del", "saved/01"]).await;
    let newest = from.json(&["get", "saved/00"]).await["header"]["revision"]
        .as_u64()
        .unwrap();
    from.endpoints = from.endpoints.split(',').next().unwrap().to_owned();
    let file = source.path().join("etcdctl.snap");
    let name = file.to_str().unwrap();
    let saved = from.run(&["snapshot", "save", name]).await;
    assert!(saved.contains("Snapshot saved at"), "{saved}");

    let shown = assert_whole(&file).await;
    assert_eq!(shown["revision"], newest, "{shown}");
    // It is ours, which etcd's own tool says no to, and does not take for an empty one of its own.
    let status = Command::new(&etcdutl)
        .args(["snapshot", "status", name])
        .output()
        .await
        .unwrap();
    assert!(!status.status.success(), "{status:?}");

    to.run(&["put", "saved/99", "not in it"]).await;
    let before = to.json(&["get", "saved/99"]).await["header"]["revision"]
        .as_u64()
        .unwrap();
    let socket = target.sockets()[0].display().to_string();
    let (restored, said) = revoada(&["--endpoint", &socket, "snapshot", "restore", name, "--yes"]).await;
    assert!(restored, "{said}");
    let all = ["get", "--prefix", "saved/"];
    assert_eq!(to.run(&all).await, from.run(&all).await);
    let after = to.json(&["get", "saved/00"]).await["header"]["revision"]
        .as_u64()
        .unwrap();
    assert!(
        after > before && after > newest,
        "{after} is behind {before} or {newest}"
    );
}
