//! All flags of etcd 3.6, in order, each with its default and what becomes of it.

/// What becomes of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It does what it does in etcd.
    Honoured,
    /// It says nothing here, and no harm comes of that: why.
    Ignored(&'static str),
    /// It cannot mean anything here, and whoever sets it relies on it: why.
    Refused(&'static str),
}

/// A flag.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name.
    pub name: &'static str,
    /// Whether it is a boolean, whose value stands behind `=` or is left out.
    pub is_switch: bool,
    /// Its value where it is not set.
    pub default: &'static str,
    /// What becomes of it.
    pub fate: Fate,
}

use Fate::{Honoured, Ignored, Refused};

const fn text(name: &'static str, default: &'static str, fate: Fate) -> Flag {
    let is_switch = false;
    Flag {
        name,
        is_switch,
        default,
        fate,
    }
}

const fn switch(name: &'static str, default: &'static str, fate: Fate) -> Flag {
    let is_switch = true;
    Flag {
        name,
        is_switch,
        default,
        fate,
    }
}

const NO_BBOLT: Fate = Ignored("it tunes a storage engine that is not used here");
const NO_FILES: Fate = Ignored("logs and checkpoints are cut by themselves");
const NO_DISCOVERY: Fate = Refused("members are found by --initial-cluster alone");
const NO_TRACING: Fate = Ignored("nothing is traced to a collector");
const NO_CHECK: Fate = Ignored("what is on disk and in the log has checksums, which are always looked at");
const NO_WARNING: Fate = Ignored("slow requests are not logged one by one");
const OWN_TIMES: Fate = Ignored("connections between members have limits of their own");

/// All flags of etcd 3.6.
pub const FLAGS: &[Flag] = &[
    text("advertise-client-urls", "http://localhost:2379", Honoured),
    text("auth-token", "simple", Honoured),
    text("auth-token-ttl", "300", Honoured),
    text("auto-compaction-mode", "periodic", Honoured),
    text("auto-compaction-retention", "0", Honoured),
    switch("auto-tls", "false", Honoured),
    text("backend-batch-interval", "0s", NO_BBOLT),
    text("backend-batch-limit", "0", NO_BBOLT),
    text("backend-bbolt-freelist-type", "", NO_BBOLT),
    text("bcrypt-cost", "10", Honoured),
    text("bootstrap-defrag-threshold-megabytes", "0", NO_BBOLT),
    text("cert-file", "", Honoured),
    text("cipher-suites", "", Honoured),
    text(
        "client-cert-allowed-hostname",
        "",
        Refused("the names in clients' certificates are not compared with a list"),
    ),
    switch("client-cert-auth", "false", Honoured),
    text("client-cert-file", "", Ignored("this member is no client of itself")),
    text("client-crl-file", "", Honoured),
    text("client-key-file", "", Ignored("this member is no client of itself")),
    text("compact-hash-check-time", "1m0s", NO_CHECK),
    text("compaction-batch-limit", "0", NO_BBOLT),
    text("compaction-sleep-interval", "0s", NO_BBOLT),
    text("config-file", "", Honoured),
    text("corrupt-check-time", "0s", NO_CHECK),
    text("cors", "*", Ignored("no page of another origin is let in")),
    text("data-dir", "", Honoured),
    text("discovery", "", NO_DISCOVERY),
    text("discovery-cacert", "", NO_DISCOVERY),
    text("discovery-cert", "", NO_DISCOVERY),
    text("discovery-dial-timeout", "2s", Ignored("there is no discovery")),
    text("discovery-endpoints", "", NO_DISCOVERY),
    text("discovery-fallback", "exit", Ignored("there is no discovery")),
    switch(
        "discovery-insecure-skip-tls-verify",
        "false",
        Ignored("there is no discovery"),
    ),
    switch("discovery-insecure-transport", "true", Ignored("there is no discovery")),
    text("discovery-keepalive-time", "2s", Ignored("there is no discovery")),
    text("discovery-keepalive-timeout", "6s", Ignored("there is no discovery")),
    text("discovery-key", "", NO_DISCOVERY),
    text("discovery-password", "", NO_DISCOVERY),
    text("discovery-proxy", "", NO_DISCOVERY),
    text("discovery-request-timeout", "5s", Ignored("there is no discovery")),
    text("discovery-srv", "", NO_DISCOVERY),
    text("discovery-srv-name", "", NO_DISCOVERY),
    text("discovery-token", "", NO_DISCOVERY),
    text("discovery-user", "", NO_DISCOVERY),
    text("distributed-tracing-address", "localhost:4317", NO_TRACING),
    text("distributed-tracing-instance-id", "", NO_TRACING),
    text("distributed-tracing-sampling-rate", "0", NO_TRACING),
    text("distributed-tracing-service-name", "etcd", NO_TRACING),
    text(
        "downgrade-check-time",
        "5s",
        Ignored("a downgrade ends when it is cancelled"),
    ),
    text("election-timeout", "1000", Honoured),
    switch("enable-distributed-tracing", "false", NO_TRACING),
    switch(
        "enable-grpc-gateway",
        "true",
        Ignored("gRPC alone is served, no JSON in its place"),
    ),
    switch(
        "enable-log-rotation",
        "false",
        Ignored("the log's file is rotated by whoever keeps it"),
    ),
    switch("enable-pprof", "false", Ignored("there is no profiler of Go")),
    text("experimental-bootstrap-defrag-threshold-megabytes", "0", NO_BBOLT),
    switch("experimental-compact-hash-check-enabled", "false", NO_CHECK),
    text("experimental-compact-hash-check-time", "1m0s", NO_CHECK),
    text("experimental-compaction-batch-limit", "0", NO_BBOLT),
    text("experimental-compaction-sleep-interval", "0s", NO_BBOLT),
    text("experimental-corrupt-check-time", "0s", NO_CHECK),
    text("experimental-distributed-tracing-address", "localhost:4317", NO_TRACING),
    text("experimental-distributed-tracing-instance-id", "", NO_TRACING),
    text("experimental-distributed-tracing-sampling-rate", "0", NO_TRACING),
    text("experimental-distributed-tracing-service-name", "etcd", NO_TRACING),
    text(
        "experimental-downgrade-check-time",
        "5s",
        Ignored("a downgrade ends when it is cancelled"),
    ),
    switch("experimental-enable-distributed-tracing", "false", NO_TRACING),
    switch(
        "experimental-enable-lease-checkpoint",
        "false",
        Ignored("every keep-alive of a lease is committed"),
    ),
    switch(
        "experimental-enable-lease-checkpoint-persist",
        "false",
        Ignored("every keep-alive of a lease is committed"),
    ),
    switch("experimental-initial-corrupt-check", "false", NO_CHECK),
    switch("experimental-memory-mlock", "false", Ignored("memory is not locked")),
    switch(
        "experimental-peer-skip-client-san-verification",
        "false",
        Ignored("names in the certificates of callers are not looked at"),
    ),
    text("experimental-snapshot-catchup-entries", "5000", NO_FILES),
    switch(
        "experimental-stop-grpc-service-on-defrag",
        "false",
        Ignored("there is nothing to defragment"),
    ),
    switch("experimental-txn-mode-write-with-shared-buffer", "true", NO_BBOLT),
    text("experimental-warning-apply-duration", "100ms", NO_WARNING),
    text("experimental-warning-unary-request-duration", "0s", NO_WARNING),
    text("experimental-watch-progress-notify-interval", "10m0s", Honoured),
    text("feature-gates", "", Ignored("no feature here has a gate")),
    switch("force-new-cluster", "false", Honoured),
    text("grpc-keepalive-interval", "2h0m0s", OWN_TIMES),
    text("grpc-keepalive-min-time", "5s", OWN_TIMES),
    text("grpc-keepalive-timeout", "20s", OWN_TIMES),
    text("heartbeat-interval", "100", Honoured),
    text(
        "host-whitelist",
        "*",
        Refused("names that clients ask for are not compared with a list"),
    ),
    text("initial-advertise-peer-urls", "http://localhost:2380", Honoured),
    text("initial-cluster", "", Honoured),
    text("initial-cluster-state", "new", Honoured),
    text("initial-cluster-token", "etcd-cluster", Honoured),
    switch(
        "initial-election-tick-advance",
        "true",
        Ignored("the first election needs no hurry"),
    ),
    text("key-file", "", Honoured),
    text("listen-client-http-urls", "", Honoured),
    text("listen-client-urls", "http://localhost:2379", Honoured),
    text("listen-metrics-urls", "", Honoured),
    text("listen-peer-urls", "http://localhost:2380", Honoured),
    text("log-format", "json", Honoured),
    text("log-level", "info", Honoured),
    text("log-outputs", "default", Honoured),
    text(
        "log-rotation-config-json",
        "",
        Ignored("the log's file is rotated by whoever keeps it"),
    ),
    text("logger", "zap", Honoured),
    text(
        "max-concurrent-streams",
        "4294967295",
        Ignored("a connection has a limit of its own"),
    ),
    text("max-learners", "1", Honoured),
    text("max-request-bytes", "1572864", Honoured),
    text("max-snapshots", "5", NO_FILES),
    text("max-txn-ops", "128", Honoured),
    text("max-wals", "5", NO_FILES),
    switch("memory-mlock", "false", Ignored("memory is not locked")),
    text("metrics", "basic", Ignored("metrics have one level of detail")),
    text("name", "default", Honoured),
    switch("peer-auto-tls", "false", Honoured),
    text(
        "peer-cert-allowed-cn",
        "",
        Refused("the names in peers' certificates are not compared with a list"),
    ),
    text(
        "peer-cert-allowed-hostname",
        "",
        Refused("the names in peers' certificates are not compared with a list"),
    ),
    text("peer-cert-file", "", Honoured),
    switch("peer-client-cert-auth", "false", Honoured),
    text("peer-client-cert-file", "", Honoured),
    text("peer-client-key-file", "", Honoured),
    text("peer-crl-file", "", Honoured),
    text("peer-key-file", "", Honoured),
    switch(
        "peer-skip-client-san-verification",
        "false",
        Ignored("names in the certificates of callers are not looked at"),
    ),
    text("peer-trusted-ca-file", "", Honoured),
    switch(
        "pre-vote",
        "true",
        Ignored("a member always asks before it stands for election"),
    ),
    text("quota-backend-bytes", "0", Honoured),
    text("raft-read-timeout", "5s", OWN_TIMES),
    text("raft-write-timeout", "5s", OWN_TIMES),
    text("self-signed-cert-validity", "1", Honoured),
    text("snapshot-catchup-entries", "5000", NO_FILES),
    text("snapshot-count", "10000", Honoured),
    switch(
        "socket-reuse-address",
        "false",
        Ignored("a port that was just freed is always taken"),
    ),
    switch("socket-reuse-port", "false", Refused("a port belongs to one process")),
    switch("strict-reconfig-check", "true", Honoured),
    text("tls-max-version", "", Honoured),
    text("tls-min-version", "TLS1.2", Honoured),
    text("trusted-ca-file", "", Honoured),
    switch(
        "unsafe-no-fsync",
        "false",
        Ignored("what is acknowledged is on disk, always"),
    ),
    text("v2-deprecation", "", Ignored("there is no v2 store")),
    switch("version", "false", Honoured),
    text(
        "wal-dir",
        "",
        Refused("the log lies in the data-dir: put that on the fast disk"),
    ),
    text("warning-apply-duration", "100ms", NO_WARNING),
    text("warning-unary-request-duration", "0s", NO_WARNING),
    text("watch-progress-notify-interval", "10m0s", Honoured),
];

#[cfg(test)]
mod tests {
    use super::super::truth;
    use super::*;

    #[test]
    fn flags_stand_in_order_and_switches_have_booleans() {
        assert!(FLAGS.is_sorted_by_key(|flag| flag.name));
        for flag in FLAGS {
            assert_eq!(
                flag.is_switch,
                truth(flag.default).is_some() && !flag.default.chars().all(|c| c.is_ascii_digit()),
                "{}",
                flag.name
            );
        }
    }
}
