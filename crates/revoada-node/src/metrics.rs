//! Figures for Prometheus, gathered when they are asked for.

use std::fmt::Write as _;
use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use revoada_core::roles::Membership;
use revoada_mesh::runtime::Runtime;

use crate::admin::Admin;
use crate::driver::Driver;

/// The text of `/metrics`.
pub(crate) fn text<R: Runtime>(driver: &Driver<R>, admin: &Arc<Admin<R>>) -> String {
    let mut registry = Registry::default();
    let mut gauge = |name: &str, help: &str, value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    };
    let raft = driver.consensus.view();
    let log = driver.consensus.log_stats();
    gauge("revoada_raft_term", "The Raft term", raft.term);
    gauge("revoada_raft_leads", "1 on the node that leads", u64::from(raft.leads));
    gauge(
        "revoada_raft_last_index",
        "The index of the newest log entry",
        raft.last_index,
    );
    gauge(
        "revoada_raft_applied_index",
        "The index of the newest applied entry",
        raft.applied,
    );
    gauge("revoada_raft_voters", "The number of voters", raft.voters.len() as u64);
    gauge(
        "revoada_raft_learners",
        "The number of learners",
        raft.learners.len() as u64,
    );
    gauge(
        "revoada_log_syncs",
        "Durable writes of the log since the start",
        log.syncs,
    );
    gauge("revoada_log_written_bytes", "Bytes in them", log.bytes_written);
    gauge("revoada_log_entries", "Entries in them", log.entries);
    gauge(
        "revoada_log_size_bytes",
        "What the log takes of the disk",
        driver.consensus.log_bytes().unwrap_or(0),
    );
    driver.consensus.read(|state| {
        let keyspace = state.keyspace();
        gauge(
            "revoada_keyspace_revision",
            "The keyspace's revision",
            keyspace.revision(),
        );
        gauge(
            "revoada_keyspace_compacted_revision",
            "Reads below it are refused",
            keyspace.compacted_revision(),
        );
        gauge("revoada_keyspace_keys", "The number of keys", keyspace.len() as u64);
        gauge(
            "revoada_keyspace_data_bytes",
            "Bytes of keys and newest values",
            keyspace.data_bytes(),
        );
        gauge(
            "revoada_keyspace_history_bytes",
            "Bytes of older versions",
            keyspace.history_bytes(),
        );
        gauge(
            "revoada_chain_blocks",
            "The number of blocks in the chain",
            state.chain().len(),
        );
    });
    let (nodes, cluster) = admin.figures();
    let redundancy = cluster.redundancy;
    gauge(
        "revoada_redundancy_voters_declared",
        "Voters that the topology wants",
        redundancy.voters_declared,
    );
    gauge(
        "revoada_redundancy_voters_caught_up",
        "Voters that live and are caught up",
        redundancy.voters_caught_up,
    );
    gauge(
        "revoada_redundancy_survives",
        "Losses of control-plane nodes that leave a quorum",
        redundancy.survives,
    );
    if let Some(backups) = &admin.backups {
        let (age_s, failures) = backups.figures((driver.clock_ms)());
        if let Some(age_s) = age_s {
            gauge("revoada_backup_age_seconds", "The age of the newest good backup", age_s);
        }
        gauge(
            "revoada_backup_failures",
            "Backups that failed since the start",
            failures,
        );
    }
    let figures = admin.facts.borrow().clone();
    gauge(
        "revoada_process_resident_memory_bytes",
        "Resident memory of the node",
        figures.rss_bytes,
    );
    let alive = Family::<Vec<(String, String)>, Gauge>::default();
    let lag = Family::<Vec<(String, String)>, Gauge>::default();
    let unanswered = Family::<Vec<(String, String)>, Gauge>::default();
    let on_their_way = driver.consensus.on_their_way();
    for node in nodes {
        let labels = vec![
            ("node".to_owned(), node.name.clone()),
            ("role".to_owned(), node.role.name().to_owned()),
        ];
        alive
            .get_or_create(&labels)
            .set(i64::from(node.membership == Membership::Alive));
        lag.get_or_create(&labels)
            .set(i64::try_from(node.lag).unwrap_or(i64::MAX));
        let bytes = on_their_way.get(&node.id).copied().unwrap_or_default();
        unanswered
            .get_or_create(&labels)
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
    registry.register(
        "revoada_node_alive",
        "1 for each node that membership says is alive",
        alive,
    );
    registry.register("revoada_node_lag_entries", "Entries that each node lacks", lag);
    registry.register(
        "revoada_raft_unanswered_bytes",
        "Bytes of log entries that this node holds in memory because they were sent to each node and not answered yet",
        unanswered,
    );
    let mut out = String::new();
    if encode(&mut out, &registry).is_err() {
        // Writing to a string fails only if a value's formatter does.
        out.clear();
        writeln!(out, "# the figures could not be written").unwrap_or_default();
    }
    out
}
