//! Figures by etcd's own names, so that its dashboards and alerts go on where revoada has taken its place.
//!
//! The names, their types and their buckets are those of etcd 3.6 (`server/etcdserver/metrics.go`,
//! `server/storage/mvcc/metrics.go`, `server/storage/wal/metrics.go`) and of its gRPC interceptor
//! (go-grpc-prometheus). Only what has a meaning here is told. Rejected: zeros for the rest. An alert on a figure that never
//! moves is worse than one that says that there is none.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use revoada_store::{GroupFigures, SyncTimes};

use super::http::{API_VERSION, SERVED_AS};
use super::{EtcdFace, learner};

/// How a method is called, by the names of the interceptor.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// One answer.
    Unary,
    /// A unary call that goes through the log.
    Proposal,
    /// Many answers.
    Server,
    /// Many questions and answers.
    Both,
}

/// The methods that are counted, in order.
const METHODS: [(&str, Kind); 48] = [
    ("/etcdserverpb.Auth/AuthDisable", Kind::Proposal),
    ("/etcdserverpb.Auth/AuthEnable", Kind::Proposal),
    ("/etcdserverpb.Auth/AuthStatus", Kind::Unary),
    ("/etcdserverpb.Auth/Authenticate", Kind::Unary),
    ("/etcdserverpb.Auth/RoleAdd", Kind::Proposal),
    ("/etcdserverpb.Auth/RoleDelete", Kind::Proposal),
    ("/etcdserverpb.Auth/RoleGet", Kind::Unary),
    ("/etcdserverpb.Auth/RoleGrantPermission", Kind::Proposal),
    ("/etcdserverpb.Auth/RoleList", Kind::Unary),
    ("/etcdserverpb.Auth/RoleRevokePermission", Kind::Proposal),
    ("/etcdserverpb.Auth/UserAdd", Kind::Proposal),
    ("/etcdserverpb.Auth/UserChangePassword", Kind::Proposal),
    ("/etcdserverpb.Auth/UserDelete", Kind::Proposal),
    ("/etcdserverpb.Auth/UserGet", Kind::Unary),
    ("/etcdserverpb.Auth/UserGrantRole", Kind::Proposal),
    ("/etcdserverpb.Auth/UserList", Kind::Unary),
    ("/etcdserverpb.Auth/UserRevokeRole", Kind::Proposal),
    ("/etcdserverpb.Cluster/MemberAdd", Kind::Proposal),
    ("/etcdserverpb.Cluster/MemberList", Kind::Unary),
    ("/etcdserverpb.Cluster/MemberPromote", Kind::Proposal),
    ("/etcdserverpb.Cluster/MemberRemove", Kind::Proposal),
    ("/etcdserverpb.Cluster/MemberUpdate", Kind::Proposal),
    ("/etcdserverpb.KV/Compact", Kind::Proposal),
    ("/etcdserverpb.KV/DeleteRange", Kind::Proposal),
    ("/etcdserverpb.KV/Put", Kind::Proposal),
    ("/etcdserverpb.KV/Range", Kind::Unary),
    ("/etcdserverpb.KV/Txn", Kind::Proposal),
    ("/etcdserverpb.Lease/LeaseGrant", Kind::Proposal),
    ("/etcdserverpb.Lease/LeaseKeepAlive", Kind::Both),
    ("/etcdserverpb.Lease/LeaseLeases", Kind::Unary),
    ("/etcdserverpb.Lease/LeaseRevoke", Kind::Proposal),
    ("/etcdserverpb.Lease/LeaseTimeToLive", Kind::Unary),
    ("/etcdserverpb.Maintenance/Alarm", Kind::Unary),
    ("/etcdserverpb.Maintenance/Defragment", Kind::Unary),
    ("/etcdserverpb.Maintenance/Downgrade", Kind::Unary),
    ("/etcdserverpb.Maintenance/Hash", Kind::Unary),
    ("/etcdserverpb.Maintenance/HashKV", Kind::Unary),
    ("/etcdserverpb.Maintenance/MoveLeader", Kind::Unary),
    ("/etcdserverpb.Maintenance/Snapshot", Kind::Server),
    ("/etcdserverpb.Maintenance/Status", Kind::Unary),
    ("/etcdserverpb.Watch/Watch", Kind::Both),
    ("/v3electionpb.Election/Campaign", Kind::Unary),
    ("/v3electionpb.Election/Leader", Kind::Unary),
    ("/v3electionpb.Election/Observe", Kind::Server),
    ("/v3electionpb.Election/Proclaim", Kind::Unary),
    ("/v3electionpb.Election/Resign", Kind::Unary),
    ("/v3lockpb.Lock/Lock", Kind::Unary),
    ("/v3lockpb.Lock/Unlock", Kind::Unary),
];

/// The code of a call that found nobody who could do it.
const UNAVAILABLE: usize = 14;

/// gRPC's codes by their numbers, as the interceptor names them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// What was called so far, and what is being done.
pub(super) struct Calls {
    methods: [Method; METHODS.len()],
    /// Changes that are not answered yet.
    pending: AtomicU64,
    /// Changes that nobody could do, or whose outcome is unknown.
    failed: AtomicU64,
}

#[derive(Default)]
struct Method {
    started: AtomicU64,
    /// By code; of streams those that did not begin.
    handled: [AtomicU64; CODES.len()],
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            methods: std::array::from_fn(|_| Method::default()),
            pending: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }
}

/// A change that is being done: none any more when this is dropped, also where its caller went away.
struct Pending<'a>(&'a Calls);

impl<'a> Pending<'a> {
    fn of(calls: &'a Calls) -> Self {
        calls.pending.fetch_add(1, Ordering::Relaxed);
        Self(calls)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counts a call, and refuses it where a learner does not serve it.
pub(super) async fn count(State(face): State<Arc<EtcdFace>>, request: Request, next: Next) -> Response {
    let Ok(place) = METHODS.binary_search_by_key(&request.uri().path(), |(path, _)| path) else {
        return learner::refuse(&face, request, next).await;
    };
    let calls = &face.calls;
    let (method, kind) = (&calls.methods[place], METHODS[place].1);
    method.started.fetch_add(1, Ordering::Relaxed);
    let pending = (kind == Kind::Proposal).then(|| Pending::of(calls));
    let response = learner::refuse(&face, request, next).await;
    drop(pending);
    // Where all went well the code is in the trailers, and is not there yet.
    let code = response.headers().get("grpc-status");
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    let code: usize = code.filter(|code| *code < CODES.len()).unwrap_or(0);
    if code != 0 || matches!(kind, Kind::Unary | Kind::Proposal) {
        method.handled[code].fetch_add(1, Ordering::Relaxed);
    }
    if code == UNAVAILABLE && kind == Kind::Proposal {
        calls.failed.fetch_add(1, Ordering::Relaxed);
    }
    response
}

/// Prometheus' text format, family by family.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        writeln!(self.0, "{line}").unwrap_or_default();
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.line(format_args!("{name} {value}"));
    }

    /// A gauge that is always 1, and says something by its label.
    fn says(&mut self, name: &str, help: &str, label: &str, value: &str) {
        self.family(name, "gauge", help);
        self.line(format_args!("{name}{{{label}=\"{value}\"}} 1"));
    }
}

impl EtcdFace {
    /// All of it.
    pub(super) fn figures(&self) -> String {
        let mut text = Text::default();
        let standing = self.group.standing();
        let figures = self.group.figures();
        let flag = u64::from;
        text.gauge(
            "etcd_server_has_leader",
            "Whether a leader exists: 1, or 0",
            flag(standing.leader.is_some()),
        );
        let leads = standing.leader == Some(standing.member);
        text.gauge(
            "etcd_server_is_leader",
            "Whether this member leads: 1, or 0",
            flag(leads),
        );
        text.gauge(
            "etcd_server_is_learner",
            "Whether this member is a learner: 1, or 0",
            flag(standing.learner),
        );
        let id = format!("{:x}", standing.member);
        text.says(
            "etcd_server_id",
            "The member's number, in hexadecimal",
            "server_id",
            &id,
        );
        let version = "The version of etcd that is served";
        text.says("etcd_server_version", version, "server_version", SERVED_AS);
        let cluster = API_VERSION.rsplit_once('.').map_or(API_VERSION, |(minor, _)| minor);
        text.says(
            "etcd_cluster_version",
            "The same of the whole cluster",
            "cluster_version",
            cluster,
        );
        text.counter(
            "etcd_server_leader_changes_seen_total",
            "How often somebody else came to lead",
            figures.leader_changes,
        );
        text.gauge(
            "etcd_server_proposals_committed_total",
            "The index of the last committed entry",
            figures.committed_index,
        );
        text.gauge(
            "etcd_server_proposals_applied_total",
            "The index of the last applied entry",
            standing.applied_index,
        );
        let pending = self.calls.pending.load(Ordering::Relaxed);
        text.gauge(
            "etcd_server_proposals_pending",
            "Changes that are not answered yet",
            pending,
        );
        let failed = self.calls.failed.load(Ordering::Relaxed);
        let help = "Changes that nobody could do, or whose outcome is unknown";
        text.counter("etcd_server_proposals_failed_total", help, failed);
        let quota = self.options.quota_bytes.unwrap_or(0);
        text.gauge(
            "etcd_server_quota_backend_bytes",
            "The quota, in bytes; 0 for none",
            quota,
        );
        self.keyspace_figures(&mut text);
        disk_figures(&mut text, &figures);
        self.calls.figures(&mut text);
        text.0
    }

    fn keyspace_figures(&self, text: &mut Text) {
        let (taken, in_use) = self.at_hand(super::maintenance::sizes);
        let name = "etcd_mvcc_db_total_size_in_bytes";
        text.gauge(name, "Bytes that keys, values and history take", taken);
        let name = "etcd_mvcc_db_total_size_in_use_in_bytes";
        text.gauge(name, "Bytes that keys and values take", in_use);
        let (keys, revision, compacted) =
            self.at_hand(|view| (view.len() as u64, view.revision(), view.compacted_revision()));
        text.gauge("etcd_debugging_mvcc_keys_total", "The number of keys", keys);
        text.gauge("etcd_debugging_mvcc_current_revision", "The revision", revision);
        let help = "The revision that was compacted last";
        text.gauge("etcd_debugging_mvcc_compact_revision", help, compacted);
    }
}

/// How long the log's disk takes.
fn disk_figures(text: &mut Text, figures: &GroupFigures) {
    const NAME: &str = "etcd_disk_wal_fsync_duration_seconds";
    text.family(
        NAME,
        "histogram",
        "How long a write of the log takes until it is durable",
    );
    let syncs = &figures.syncs;
    let mut below = 0;
    for (limit, count) in SyncTimes::limits().zip(syncs.counts) {
        below += count;
        text.line(format_args!("{NAME}_bucket{{le=\"{}\"}} {below}", limit.as_secs_f64()));
    }
    let all: u64 = syncs.counts.iter().sum();
    text.line(format_args!("{NAME}_bucket{{le=\"+Inf\"}} {all}"));
    text.line(format_args!("{NAME}_sum {}", syncs.total.as_secs_f64()));
    text.line(format_args!("{NAME}_count {all}"));
}

impl Calls {
    fn figures(&self, text: &mut Text) {
        let labels = |(path, kind): (&'static str, Kind)| {
            let (service, method) = path.trim_start_matches('/').split_once('/').unwrap_or((path, ""));
            let kind = match kind {
                Kind::Unary | Kind::Proposal => "unary",
                Kind::Server => "server_stream",
                Kind::Both => "bidi_stream",
            };
            format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
        };
        let started = "grpc_server_started_total";
        text.family(started, "counter", "Calls that were begun");
        for (named, method) in METHODS.iter().zip(&self.methods) {
            let count = method.started.load(Ordering::Relaxed);
            if count > 0 {
                text.line(format_args!("{started}{{{}}} {count}", labels(*named)));
            }
        }
        let handled = "grpc_server_handled_total";
        text.family(
            handled,
            "counter",
            "Calls that were answered; of streams those that were refused",
        );
        for (named, method) in METHODS.iter().zip(&self.methods) {
            for (code, count) in CODES.iter().zip(&method.handled) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    text.line(format_args!(
                        "{handled}{{grpc_code=\"{code}\",{}}} {count}",
                        labels(*named)
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_paths() {
        assert!(METHODS.is_sorted_by_key(|(path, _)| path));
    }
}
