//! The face as one service: KV, which is nearly all that is asked, goes to its handler by the beginning of its path, and the
//! rest through a router.
//!
//! Rejected: a router for all of it. Matching, cloning and boxing on the way to a put took a tenth of the leader's processor
//! time under 256 clients (perf, `bench etcd --only put-256`).

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::Request;
use axum::routing::future::RouteFuture;
use futures::FutureExt as _;
use futures::future::{Either, Map};
use revoada_etcd_api::etcdserverpb::kv_server::KvServer;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};

use super::{EtcdFace, learner};

/// What the paths of its methods begin with.
const KV: &str = "/etcdserverpb.KV/";

type Answer = http::Response<Body>;
type Mapped = fn(Result<axum::response::Response, Infallible>) -> Result<Answer, Infallible>;
type Answering = Either<BoxFuture<Answer, Infallible>, Map<RouteFuture<Infallible>, Mapped>>;

/// See the module. Cloning it is cheap.
#[derive(Clone)]
pub(super) struct Served {
    pub face: Arc<EtcdFace>,
    pub kv: KvServer<EtcdFace>,
    pub rest: Router,
}

impl Service<Request> for Served {
    type Response = Answer;
    type Error = Infallible;
    type Future = Either<Ready<Result<Answer, Infallible>>, Answering>;

    /// Always ready: what is too much waits further down.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if learner::refuses(&self.face, &request) {
            return Either::Left(ready(Ok(learner::refusal().into_http())));
        }
        Either::Right(if request.uri().path().starts_with(KV) {
            Either::Left(self.kv.call(request))
        } else {
            Either::Right(self.rest.call(request).map(tonics as Mapped))
        })
    }
}

fn tonics(answer: Result<axum::response::Response, Infallible>) -> Result<Answer, Infallible> {
    answer.map(|answer| answer.map(Body::new))
}
