//! What a learner answers: its state, and reads that need not be the newest. etcd's learner refuses the rest, since it may
//! lack most of what was written, and clients go on to another endpoint (server/etcdserver/api/v3rpc/interceptor.go).

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use super::EtcdFace;

/// What a learner serves; of ranges those that say themselves that they may be stale, which is seen where they are read.
const SERVED: [&str; 3] = [
    "/etcdserverpb.Maintenance/Status",
    "/etcdserverpb.Maintenance/Snapshot",
    "/etcdserverpb.KV/Range",
];

/// The refusal, with etcd's code and text.
pub fn refusal() -> Status {
    Status::failed_precondition("etcdserver: rpc not supported for learner")
}

/// Refuses what a learner does not serve.
pub async fn refuse(face: &EtcdFace, request: Request, next: Next) -> Response {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if grpc && face.group.is_asked_learner() && !SERVED.contains(&request.uri().path()) {
        return refusal().into_http();
    }
    next.run(request).await
}
