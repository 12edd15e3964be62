//! What whoever starts a node may set of the etcd face. Each default is etcd's.

use std::time::Duration;

use revoada_core::limits::{DOCUMENT_BYTES_MAX, ETCD_TXN_OPS_MAX, ETCD_WATCH_PROGRESS_MS};

/// etcd's default quota, in bytes.
pub const QUOTA_BYTES: u64 = 2 << 30;

/// How an etcd face behaves where its protocol leaves that to whoever runs it.
#[derive(Debug, Clone)]
pub struct EtcdOptions {
    /// How many bytes the keyspace may take before puts are refused and the alarm NOSPACE is raised; none for no
    /// limit (`--quota-backend-bytes`, where 0 stands for the default and a negative number for none).
    pub quota_bytes: Option<u64>,
    /// What is compacted by itself, by whoever leads (`--auto-compaction-mode`, `--auto-compaction-retention`).
    pub auto_compaction: Option<AutoCompaction>,
    /// How long a token of a login is worth something (`--auth-token-ttl`).
    pub token_ttl: Duration,
    /// How much work the hash of a password is (`--bcrypt-cost`), 4 to 31.
    pub bcrypt_cost: u32,
    /// Whether the name in a client's certificate logs it in (`--client-cert-auth`).
    pub certificate_names: bool,
    /// How many compares, and operations of each branch, a transaction has at most (`--max-txn-ops`).
    pub txn_ops_max: usize,
    /// The largest request, in bytes (`--max-request-bytes`).
    pub request_bytes_max: usize,
    /// After how long of silence a watch that wants it is told of progress (`--watch-progress-notify-interval`).
    pub progress_interval: Duration,
}

/// Which of the past is forgotten without anybody asking for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// What is older than this.
    Periodic(Duration),
    /// All but the newest so many revisions.
    Revisions(u64),
}

impl Default for EtcdOptions {
    fn default() -> Self {
        Self {
            quota_bytes: Some(QUOTA_BYTES),
            auto_compaction: None,
            token_ttl: Duration::from_secs(300),
            bcrypt_cost: 10,
            certificate_names: false,
            txn_ops_max: ETCD_TXN_OPS_MAX,
            request_bytes_max: DOCUMENT_BYTES_MAX,
            progress_interval: Duration::from_millis(ETCD_WATCH_PROGRESS_MS),
        }
    }
}
