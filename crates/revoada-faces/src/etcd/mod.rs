//! The etcd face: etcd v3 over gRPC, so that whatever speaks to etcd speaks to a cluster of revoada.
//!
//! The keyspace has etcd's semantics already, so this face translates and decides nothing. One property of etcd is kept
//! here and not below: what clients match on, which is the code and the text of each error ([`refusal`]).
//!
//! Keys of etcd's clients lie under a prefix of their own ([`keys`]), beside resources and in one order of revisions
//! with them: a client sees the revisions that others took as gaps, as it sees those of keys that it does not watch.
//!
//! | service | of it |
//! |---|---|
//! | KV, Watch, Lease | all |
//! | Lock, Election | all, made of the other three |
//! | Auth | all |
//! | Cluster | all, where members come and go by name; where a topology decides who votes, they are listed |
//! | Maintenance | all; there is nothing to defragment |

mod alarm;
mod auth;
mod certificate;
mod cluster;
mod compaction;
mod election;
mod http;
mod keys;
mod kv;
mod learner;
mod lease;
mod lock;
mod maintenance;
mod metrics;
mod options;
mod queue;
mod record;
mod refusal;
mod snapshot;
mod txn;
mod watch;

use std::sync::Arc;

use axum::{Router, middleware};
use bytes::Bytes;
use revoada_core::keyspace::{Answer, Entry, Keyspace as View, Operation, Revision, Version};
use revoada_core::limits::{ETCD_ANSWER_BYTES_MAX, ETCD_REQUEST_ROOM_BYTES};
use revoada_etcd_api::etcdserverpb::ResponseHeader;
use revoada_etcd_api::etcdserverpb::auth_server::AuthServer;
use revoada_etcd_api::etcdserverpb::cluster_server::ClusterServer;
use revoada_etcd_api::etcdserverpb::kv_server::KvServer;
use revoada_etcd_api::etcdserverpb::lease_server::LeaseServer;
use revoada_etcd_api::etcdserverpb::maintenance_server::MaintenanceServer;
use revoada_etcd_api::mvccpb;
use revoada_etcd_api::v3electionpb::election_server::ElectionServer;
use revoada_etcd_api::v3lockpb::lock_server::LockServer;
use revoada_store::{Consistency, Keyspace, RaftGroup};
use tokio::sync::{Semaphore, watch as channel};
use tonic::{Request, Status};

pub use auth::Operator;
pub use certificate::CertificateName;
pub use http::{API_VERSION, SERVED_AS};
pub use options::{AutoCompaction, EtcdOptions};
use record::Record;
use refusal::refused;
use watch::{Hub, WatchService};

/// Fills a buffer with random bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> std::io::Result<()> + Send + Sync>;

/// A clock: milliseconds since 1970, the one that leases are granted by.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What the etcd face is built from. Cloning it is cheap.
#[derive(Clone)]
pub struct EtcdFace {
    keyspace: Arc<dyn Keyspace>,
    group: Arc<dyn RaftGroup>,
    clock_ms: Clock,
    entropy: Entropy,
    metrics: Arc<dyn Fn() -> String + Send + Sync>,
    stopping: Option<channel::Receiver<bool>>,
    options: Arc<EtcdOptions>,
    user_record: Arc<Record<auth::Users>>,
    alarm_record: Arc<Record<alarm::Alarms>>,
    downgrade_record: Arc<Record<maintenance::Downgrade>>,
    snapshots: Arc<Semaphore>,
    calls: Arc<metrics::Calls>,
    hub: Arc<Hub>,
    cluster_id: u64,
    member_id: u64,
}

impl EtcdFace {
    /// A face of `keyspace`, whose members are `group`'s. `entropy` names the leases that clients leave
    /// to us, and makes the secret that tokens are signed with.
    pub fn new(keyspace: Arc<dyn Keyspace>, group: Arc<dyn RaftGroup>, clock_ms: Clock, entropy: Entropy) -> Self {
        let standing = group.standing();
        Self {
            hub: Hub::new(keyspace.clone(), None),
            keyspace,
            clock_ms,
            entropy,
            metrics: Arc::new(String::new),
            stopping: None,
            options: Arc::default(),
            user_record: Arc::new(auth::record()),
            alarm_record: Arc::new(alarm::record()),
            downgrade_record: Arc::new(maintenance::downgrade_record()),
            snapshots: Arc::new(snapshot::places()),
            calls: Arc::default(),
            cluster_id: standing.cluster,
            member_id: standing.member,
            group,
        }
    }

    /// The same face, whose `/metrics` answers also what `text` gives, in Prometheus' text format.
    #[must_use]
    pub fn with_metrics(mut self, text: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.metrics = Arc::new(text);
        self
    }

    /// The same face, whose streams end when `stopping` becomes true, or its sender is gone.
    #[must_use]
    pub fn with_stopping(mut self, stopping: channel::Receiver<bool>) -> Self {
        self.hub = Hub::new(self.keyspace.clone(), Some(stopping.clone()));
        self.stopping = Some(stopping);
        self
    }

    /// The same face with other options than etcd's defaults.
    #[must_use]
    pub fn with_options(mut self, options: EtcdOptions) -> Self {
        self.options = Arc::new(options);
        self
    }

    /// The service, for connections that speak HTTP/2 (gRPC) or HTTP/1.1 (`/version`, `/health`, `/metrics`).
    pub fn router(self) -> Router {
        let face = Arc::new(self);
        let request_bytes_max = face.options.request_bytes_max.saturating_add(ETCD_REQUEST_ROOM_BYTES);
        let routes = tonic::service::Routes::new(
            KvServer::from_arc(face.clone())
                .max_decoding_message_size(request_bytes_max)
                .max_encoding_message_size(ETCD_ANSWER_BYTES_MAX),
        )
        .add_service(WatchService(face.clone()))
        .add_service(LeaseServer::from_arc(face.clone()))
        .add_service(ClusterServer::from_arc(face.clone()))
        .add_service(MaintenanceServer::from_arc(face.clone()))
        .add_service(AuthServer::from_arc(face.clone()))
        .add_service(LockServer::from_arc(face.clone()))
        .add_service(ElectionServer::from_arc(face.clone()));
        let counted = middleware::from_fn_with_state(face.clone(), metrics::count);
        routes.into_axum_router().layer(counted).merge(http::router(face))
    }

    /// A random number.
    fn draw(&self) -> Result<u64, Status> {
        let mut bytes = [0; 8];
        match (self.entropy)(&mut bytes) {
            Ok(()) => Ok(u64::from_le_bytes(bytes)),
            Err(error) => Err(Status::internal(format!("the system gives no random bytes: {error}"))),
        }
    }

    /// What stands in front of every answer.
    fn header(&self, revision: Revision) -> Option<ResponseHeader> {
        Some(ResponseHeader {
            cluster_id: self.cluster_id,
            member_id: self.member_id,
            revision: revision as i64,
            raft_term: self.group.term(),
        })
    }

    /// The header of an answer that tells nothing of keys.
    fn header_now(&self) -> Option<ResponseHeader> {
        self.header(self.revision())
    }

    /// Looks at the state at hand.
    fn at_hand<T>(&self, look: impl FnOnce(&View) -> T) -> T {
        let mut look = Some(look);
        let mut seen = None;
        self.keyspace.look(&mut |view| {
            if let Some(look) = look.take() {
                seen = Some(look(view));
            }
        });
        seen.unwrap_or_else(|| unreachable!("a keyspace shows its state to whoever looks"))
    }

    /// The revision of the state at hand.
    fn revision(&self) -> Revision {
        self.at_hand(View::revision)
    }

    /// Whether a request asks for somebody who leads, which is refused where nobody does.
    fn needs_leader<T>(&self, request: &Request<T>) -> Result<bool, Status> {
        let needs = request.metadata().get("hasleader").is_some_and(|asked| asked == "true");
        if needs && self.group.standing().leader.is_none() {
            return Err(refusal::NO_LEADER.into());
        }
        Ok(needs)
    }

    async fn view(&self, consistency: Consistency) -> Result<View, Status> {
        self.keyspace.view(consistency).await.map_err(refused)
    }

    /// Does an operation; its answer and the revision after it.
    async fn execute(&self, operation: Operation) -> Result<(Revision, Answer), Status> {
        let outcome = self.keyspace.execute(operation).await.map_err(refused)?;
        Ok((outcome.revision, outcome.answer))
    }

    /// Completes when this side stops.
    fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let stopping = self.stopping.clone();
        async move {
            match stopping {
                // A sender that is gone belonged to a node that is gone.
                Some(mut stopping) => drop(stopping.wait_for(|stopping| *stopping).await),
                None => std::future::pending().await,
            }
        }
    }
}

/// An entry as it is shown.
fn key_value(entry: Entry) -> mvccpb::KeyValue {
    version_of(keys::shown(&entry.key), entry.version)
}

/// A version of a key that is shown already.
fn version_of(key: Bytes, version: Version) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key,
        create_revision: version.create_revision as i64,
        mod_revision: version.mod_revision as i64,
        version: version.version as i64,
        value: version.value,
        lease: version.lease as i64,
    }
}

/// An answer of another kind than its operation's, which no keyspace gives.
fn mismatched(answer: &Answer) -> Status {
    tracing::error!(?answer, "an operation was answered by something else");
    Status::internal("an operation was answered by something else")
}
