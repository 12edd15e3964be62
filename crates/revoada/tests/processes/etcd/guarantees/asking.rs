//! Requests of etcd's KV service, and what their answers say.

use std::time::Duration;

use bytes::Bytes;
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::request_op::Request as Ask;
use revoada_etcd_api::mvccpb::KeyValue;
use revoada_sim::client_history::Outcome;
use tonic::{Code, Status};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// The revision in an answer's header.
pub fn revision(header: Option<&pb::ResponseHeader>) -> u64 {
    header.expect("every answer has a header").revision as u64
}

/// The value of a key, and the revision that wrote it.
pub fn shown(kv: &KeyValue) -> (Option<String>, u64) {
    let value = String::from_utf8(kv.value.to_vec()).unwrap();
    (Some(value), kv.mod_revision as u64)
}

/// A put of one key.
pub fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..pb::PutRequest::default()
    }
}

/// A read of one key.
pub fn range(key: &str, serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        serializable,
        ..pb::RangeRequest::default()
    }
}

/// An operation of a transaction.
pub fn op(request: Ask) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

/// An answer in time; one that does not come in time is one that nobody knows of.
pub async fn limited<T>(answer: impl Future<Output = Result<tonic::Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(PATIENCE, answer).await {
        Ok(answered) => answered.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the client gave up")),
    }
}

/// What an error says of a write (etcd, `api/v3rpc/rpctypes/error.go`): only where nobody leads is it certain that nothing
/// was done. What the connection says, and not etcd, may have happened at any time.
pub fn outcome_of(status: &Status) -> Outcome {
    match (status.code(), status.message()) {
        (Code::Unavailable, "etcdserver: no leader") => Outcome::Failed,
        (Code::Unavailable, "etcdserver: request timed out" | "etcdserver: server stopped") => Outcome::Unknown,
        (_, said) if said.starts_with("etcdserver: ") => panic!("a request was refused: {status}"),
        _ => Outcome::Unknown,
    }
}
