//! Figures by etcd's names, as Prometheus reads them: what alerts and dashboards of etcd look at says what is so.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::guarantees::put;
use crate::support::{PATIENCE, TestCluster, until};

/// Samples by name and labels.
type Samples = BTreeMap<String, f64>;

async fn scraped(address: SocketAddr) -> Result<Samples, String> {
    let mut stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(|error| error.to_string())?;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?} is no sample"));
        let value = value.parse().unwrap_or_else(|_| panic!("{line:?} has no number"));
        let before = samples.insert(name.to_owned(), value);
        assert_eq!(before, None, "{name} is told twice");
    }
    Ok(samples)
}

#[tokio::test]
async fn alerts_and_dashboards_of_etcd_find_their_figures() {
    const PUTS: u32 = 20;
    let mut cluster = TestCluster::start_with_etcd("quorum-3m", 3).await;
    let doors = cluster.etcd_doors();
    let leader = cluster.leader().await;
    let node = doors[leader].connect().await.unwrap();
    for number in 0..PUTS {
        node.kv().put(put(&format!("counted-{number}"), "x")).await.unwrap();
    }
    // A key that is none: refused.
    node.kv().put(put("", "x")).await.unwrap_err();

    let told = scraped(doors[leader].address).await.unwrap();
    let of = |name: &str| {
        *told
            .get(name)
            .unwrap_or_else(|| panic!("{name} is not told: {told:#?}"))
    };
    assert_eq!([of("etcd_server_has_leader"), of("etcd_server_is_leader")], [1.0, 1.0]);
    assert_eq!(of("etcd_server_version{server_version=\"3.6.16\"}"), 1.0);
    assert!(of("etcd_server_leader_changes_seen_total") >= 1.0);
    let (committed, applied) = (
        of("etcd_server_proposals_committed_total"),
        of("etcd_server_proposals_applied_total"),
    );
    assert!(
        committed >= applied && applied >= f64::from(PUTS),
        "{committed} and {applied}"
    );
    assert_eq!(
        [
            of("etcd_server_proposals_pending"),
            of("etcd_server_proposals_failed_total")
        ],
        [0.0, 0.0]
    );
    assert!(of("etcd_debugging_mvcc_current_revision") > f64::from(PUTS));
    assert!(of("etcd_debugging_mvcc_keys_total") >= f64::from(PUTS));
    let (taken, in_use) = (
        of("etcd_mvcc_db_total_size_in_bytes"),
        of("etcd_mvcc_db_total_size_in_use_in_bytes"),
    );
    assert!(taken >= in_use && in_use > 0.0 && taken < of("etcd_server_quota_backend_bytes"));
    let calls = |code: &str| {
        let labels = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"";
        of(&format!("grpc_server_handled_total{{grpc_code=\"{code}\",{labels}}}"))
    };
    assert_eq!([calls("OK"), calls("InvalidArgument")], [f64::from(PUTS), 1.0]);
    // Each put was synced here as well, for itself or with others; the classes add up.
    let syncs = |what: &str| of(&format!("etcd_disk_wal_fsync_duration_seconds_{what}"));
    assert!(syncs("count") > 0.0 && syncs("sum") > 0.0);
    assert_eq!(syncs("bucket{le=\"+Inf\"}"), syncs("count"));
    assert!(syncs("bucket{le=\"0.001\"}") <= syncs("bucket{le=\"8.192\"}"));
    // What is revoada's own is told as well.
    assert!(of("revoada_log_syncs") >= syncs("count"));

    let other = (leader + 1) % 3;
    let before = scraped(doors[other].address).await.unwrap();
    assert_eq!(before["etcd_server_is_leader"], 0.0);
    cluster.nodes[leader].kill();
    until("the others count another leader", PATIENCE, async || {
        let now = scraped(doors[other].address).await?;
        let name = "etcd_server_leader_changes_seen_total";
        match (now[name] > before[name], now["etcd_server_has_leader"]) {
            (true, 1.0) => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    })
    .await;
}
