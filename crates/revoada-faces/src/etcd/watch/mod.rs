//! Watch: many watches on one stream.
//!
//! What happens is read once for all watches of a node ([`hub`]), matched against those that there are ([`index`]), and
//! encoded once for all that want the same of it ([`encode`]). A stream takes what waits for it whenever its client
//! takes an answer, so a client that does not read costs a bounded queue and then nothing but its position. A revision
//! is one answer, whole, unless the client asked for fragments (etcd: "atomic").
//!
//! The service is written out here, not generated: the generated one encodes each answer whole.

mod encode;
mod hub;
mod index;
mod stream;

use std::convert::Infallible;
use std::future::Ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use revoada_core::limits::{ETCD_ANSWER_BYTES_MAX, ETCD_REQUEST_ROOM_BYTES};
use revoada_etcd_api::etcdserverpb::WatchRequest;
use tonic::body::Body;
use tonic::codegen::{Body as HttpBody, Service, StdError, http};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming};

use super::EtcdFace;
use encode::{Answer, WatchCodec};

pub(super) use hub::Hub;

/// What a stream of answers is.
type Answers = Pin<Box<dyn futures::Stream<Item = Result<Answer, Status>> + Send>>;

/// The service `Watch` of a face.
#[derive(Clone)]
pub(super) struct WatchService(pub Arc<EtcdFace>);

impl NamedService for WatchService {
    const NAME: &'static str = "etcdserverpb.Watch";
}

/// Its only method.
struct Watch(Arc<EtcdFace>);

impl StreamingService<WatchRequest> for Watch {
    type Response = Answer;
    type ResponseStream = Answers;
    type Future = Ready<Result<Response<Answers>, Status>>;

    fn call(&mut self, request: Request<Streaming<WatchRequest>>) -> Self::Future {
        std::future::ready(stream::answers(&self.0, request).map(Response::new))
    }
}

impl<B> Service<http::Request<B>> for WatchService
where
    B: HttpBody + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let face = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != "/etcdserverpb.Watch/Watch" {
                return Ok(Status::unimplemented("").into_http());
            }
            let request_bytes_max = face.options.request_bytes_max.saturating_add(ETCD_REQUEST_ROOM_BYTES);
            let mut grpc = Grpc::new(WatchCodec)
                .max_decoding_message_size(request_bytes_max)
                .max_encoding_message_size(ETCD_ANSWER_BYTES_MAX);
            Ok(grpc.streaming(Watch(face), request).await)
        })
    }
}
