//! etcd's own command line, as scripts call it.

use super::ctl::{Etcdctl, PATIENCE};
use crate::support::{TestCluster, not_run, until};

#[tokio::test]
async fn etcdctl_reads_writes_and_watches() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Etcdctl::of(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("etcdctl's keys", &missing),
    };
    assert_eq!(ctl.run(&["put", "a", "1"]).await, "OK\n");
    assert_eq!(ctl.run(&["put", "--prev-kv", "a", "2"]).await, "OK\na\n1\n");
    let mut watch = ctl.start(&["watch", "--prev-kv", "--rev=1", "--prefix", ""]);
    ctl.run(&["put", "b", "3"]).await;
    assert_eq!(
        ctl.run(&["get", "--prefix", "", "--order=DESCEND"]).await,
        "b\n3\na\n2\n"
    );
    // A member that is asked alone may be behind.
    until("whoever is asked alone has the newest value", PATIENCE, async || {
        let value = ctl.run(&["get", "a", "--consistency=s", "--print-value-only"]).await;
        (value == "2\n").then_some(()).ok_or(value)
    })
    .await;
    let txn = ctl
        .with(&["txn"], "value(\"a\") = \"2\"\n\nput c 4\nget a\n\nput c 5\n\n")
        .await;
    assert_eq!(txn.trim(), "SUCCESS\n\nOK\n\na\n2");
    assert_eq!(ctl.run(&["del", "b"]).await, "1\n");
    let mut seen = Vec::new();
    while !seen.ends_with(&[
        "DELETE".to_owned(),
        "b".to_owned(),
        "3".to_owned(),
        "b".to_owned(),
        String::new(),
    ]) {
        seen.push(watch.line().await);
    }
    watch.interrupt().await;
    let events = seen.iter().filter(|line| *line == "PUT" || *line == "DELETE");
    assert_eq!(
        events.collect::<Vec<_>>(),
        ["PUT", "PUT", "PUT", "PUT", "DELETE"],
        "{seen:?}"
    );

    let revision = ctl.json(&["get", "a"]).await["header"]["revision"].as_u64().unwrap();
    assert_eq!(
        ctl.run(&["compaction", &revision.to_string()]).await,
        format!("compacted revision {revision}\n")
    );
    ctl.refused(&["get", "a", "--rev=2"], "required revision has been compacted")
        .await;
    ctl.refused(&["put", "", "x"], "key is not provided").await;
}

#[tokio::test]
async fn etcdctl_holds_leases_locks_and_elections() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Etcdctl::of(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("etcdctl's leases", &missing),
    };
    let granted = ctl.run(&["lease", "grant", "600"]).await;
    let lease = granted.split(' ').nth(1).unwrap();
    ctl.run(&["put", "leased", "x", "--lease", lease]).await;
    assert!(ctl.run(&["lease", "list"]).await.contains(lease));
    let left = ctl.run(&["lease", "timetolive", lease, "--keys"]).await;
    assert!(
        left.contains("granted with TTL(600s)") && left.contains("attached keys([leased])"),
        "{left}"
    );
    assert!(
        ctl.run(&["lease", "keep-alive", "--once", lease])
            .await
            .contains("TTL(600)")
    );
    ctl.run(&["lease", "revoke", lease]).await;
    assert_eq!(ctl.run(&["get", "leased"]).await, "");
    ctl.refused(&["lease", "revoke", lease], "requested lease not found")
        .await;

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
    assert!(ctl.run(&["lock", "mutex", "echo", "had it"]).await.contains("had it"));

    let mut elected = ctl.start(&["elect", "seat", "one"]);
    assert!(elected.line().await.starts_with("seat/"));
    assert_eq!(elected.line().await, "one");
    let mut listener = ctl.start(&["elect", "--listen", "seat"]);
    assert!(listener.line().await.starts_with("seat/"));
    assert_eq!(listener.line().await, "one");
    elected.interrupt().await;
    listener.interrupt().await;
}

#[tokio::test]
async fn etcdctl_asks_members_and_their_state() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Etcdctl::of(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("etcdctl's members", &missing),
    };
    ctl.run(&["put", "a", "1"]).await;
    let members = ctl.json(&["member", "list"]).await;
    let urls: Vec<_> = members["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| &member["clientURLs"][0])
        .collect();
    let mut endpoints: Vec<_> = ctl.endpoints.split(',').collect();
    endpoints.sort_unstable();
    let mut urls: Vec<_> = urls.iter().map(|url| url.as_str().unwrap()).collect();
    urls.sort_unstable();
    assert_eq!(urls, endpoints);

    until("all members are at one revision", PATIENCE, async || {
        let hashes = ctl.json(&["endpoint", "hashkv"]).await;
        let hashes: Vec<_> = hashes
            .as_array()
            .unwrap()
            .iter()
            .map(|told| told["HashKV"]["hash"].clone())
            .collect();
        (hashes.len() == 3 && hashes.windows(2).all(|pair| pair[0] == pair[1]))
            .then_some(())
            .ok_or(format!("{hashes:?}"))
    })
    .await;
    let status = ctl.json(&["endpoint", "status"]).await;
    let leaders: Vec<_> = status
        .as_array()
        .unwrap()
        .iter()
        .map(|told| &told["Status"]["leader"])
        .collect();
    assert!(
        leaders.len() == 3 && leaders.windows(2).all(|pair| pair[0] == pair[1]),
        "{status}"
    );
    let health = ctl.json(&["endpoint", "health"]).await;
    assert!(
        health.as_array().unwrap().iter().all(|told| told["health"] == true),
        "{health}"
    );
}

#[tokio::test]
async fn etcdctl_checks_the_performance_of_a_cluster() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let ctl = match Etcdctl::of(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("etcdctl check perf", &missing),
    };
    // Whether it passes depends on the machine; that it was not given errors does not.
    let (_, said) = ctl.try_with(&["check", "perf", "--load=s"], "").await;
    assert!(said.contains("Throughput") && !said.contains("error"), "{said}");
}

#[tokio::test]
async fn etcdctl_asks_for_passwords_where_they_are_wanted() {
    let cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let mut ctl = match Etcdctl::of(&cluster) {
        Ok(ctl) => ctl,
        Err(missing) => return not_run("etcdctl's users", &missing),
    };
    ctl.run(&["put", "a", "1"]).await;
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
    let status = until("every node has heard of it", PATIENCE, async || {
        let (succeeded, said) = ctl.try_with(&["get", "a"], "").await;
        if succeeded { Err(said) } else { Ok(said) }
    })
    .await;
    assert!(status.contains("user name is empty"), "{status}");
    ctl.user = Some("guest:guest".to_owned());
    assert_eq!(ctl.run(&["get", "a"]).await, "a\n1\n");
    ctl.refused(&["put", "a", "2"], "permission denied").await;
    ctl.refused(&["get", "b"], "permission denied").await;
    ctl.user = Some("guest:wrong".to_owned());
    ctl.refused(&["get", "a"], "authentication failed, invalid user ID or password")
        .await;
    ctl.user = Some("root:secret".to_owned());
    assert!(
        ctl.run(&["auth", "status"])
            .await
            .contains("Authentication Status: true")
    );
    ctl.run(&["auth", "disable"]).await;
}

#[tokio::test]
async fn etcdctl_mirrors_one_cluster_into_another() {
    let source = TestCluster::start_with_etcd("solo", 1).await;
    let target = TestCluster::start_with_etcd("solo", 1).await;
    let (from, to) = match (Etcdctl::of(&source), Etcdctl::of(&target)) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(missing), _) | (_, Err(missing)) => return not_run("etcdctl make-mirror", &missing),
    };
    for key in 0..20 {
        from.run(&["put", &format!("m/{key:02}"), "first"]).await;
    }
    let destination = to.endpoints.trim_start_matches("http://");
    let _mirror = from.start(&[
        "make-mirror",
        "--prefix",
        "m/",
        "--dest-insecure-transport",
        destination,
    ]);
    let same = async || {
        let [here, there] = [&from, &to].map(|ctl| async { ctl.run(&["get", "--prefix", "m/"]).await });
        let (here, there) = (here.await, there.await);
        if here == there { Ok(()) } else { Err(there) }
    };
    until("what was there is copied", PATIENCE, same).await;
    from.run(&["put", "m/00", "second"]).await;
    from.run(&["del", "m/01"]).await;
    until("what changes is copied", PATIENCE, same).await;
}
