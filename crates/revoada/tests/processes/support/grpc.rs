//! gRPC to one node's etcd face, over a connection that is opened where the node is: on this host, or in its namespace.
//!
//! Rejected: tonic's own transport. It connects anew behind the caller's back, and who asked which process would not be
//! known.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::watch_client::WatchClient;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::TcpStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response, Uri};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The largest answer that is taken: one of large transactions with what was there before.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Where a node's etcd face is.
#[derive(Debug, Clone)]
pub struct Door {
    pub address: SocketAddr,
    /// The network namespace in which that address is.
    pub namespace: Option<String>,
}

/// One connection.
#[derive(Clone)]
pub struct Channel {
    sender: SendRequest<Body>,
    origin: Uri,
}

impl Door {
    pub async fn connect(&self) -> io::Result<Channel> {
        let stream = match &self.namespace {
            None => tokio::time::timeout(CONNECT, TcpStream::connect(self.address)).await??,
            Some(name) => TcpStream::from_std(connect_in(name, self.address).await?)?,
        };
        stream.set_nodelay(true)?;
        let shaken = handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = tokio::time::timeout(CONNECT, shaken).await?.map_err(io::Error::other)?;
        // How it ends is seen by whoever has a request on it.
        tokio::spawn(async move { drop(connection.await) });
        let origin = format!("http://{}", self.address).parse().unwrap();
        Ok(Channel { sender, origin })
    }
}

/// A socket belongs to the namespace that its thread was in, wherever it is used then; so a thread enters it for this
/// alone, and ends.
async fn connect_in(namespace: &str, address: SocketAddr) -> io::Result<StdStream> {
    let file = File::open(format!("/run/netns/{namespace}"))?;
    let (done, opened) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let connect = || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?;
            let stream = StdStream::connect_timeout(&address, CONNECT)?;
            stream.set_nonblocking(true)?;
            Ok(stream)
        };
        // Nobody waits any longer where this fails.
        drop(done.send(connect()));
    });
    opened.await.map_err(io::Error::other)?
}

impl Channel {
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub fn kv(&self) -> KvClient<Self> {
        KvClient::with_origin(self.clone(), self.origin.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub fn watch(&self) -> WatchClient<Self> {
        WatchClient::with_origin(self.clone(), self.origin.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
