//! The client against the real face, over Unix sockets in a temporary folder.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::{StreamExt as _, TryStreamExt as _};
use revoada_core::error::ErrorKind;
use revoada_core::resource::ResourceFormat;
use revoada_faces::native::frames::{FRAME_HEADER_BYTES, serve};
use revoada_store::admin::Wish;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::message::{
    ApplyDocuments, DeleteResource, Document, GetResource, LineType, ListResources, Target, WatchResources,
};
use super::{Client, ClientError, ClientOptions, Endpoint, FramedClient};

#[path = "../../../revoada-faces/tests/support/mod.rs"]
mod support;

const QUICK: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(5),
    answer_timeout: Duration::from_secs(10),
    long_answer_timeout: Duration::from_secs(10),
};

struct Node {
    folder: TempDir,
    listening: JoinHandle<()>,
    _stop: watch::Sender<bool>,
}

impl Node {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (stop, stopping) = watch::channel(false);
        let (face, _) = support::face(folder.path());
        let router: Router = support::for_operator(face.with_stopping(stopping));
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let listening = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            folder,
            listening,
            _stop: stop,
        }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::socket(self.folder.path().join("socket"))
    }

    fn client(&self) -> Client {
        Client::new(self.endpoint(), QUICK).unwrap()
    }
}

/// A node that does with each connection what it is told, and then closes it.
fn rude_node<F, Fut>(behave: F) -> (TempDir, Endpoint)
where
    F: Fn(UnixStream) -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    let endpoint = Endpoint::socket(folder.path().join("socket"));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            behave(stream).await;
        }
    });
    (folder, endpoint)
}

fn config_map(name: &str) -> ApplyDocuments {
    let document = format!("kind: ConfigMap\nmetadata: {{name: {name}, labels: {{app: x}}}}\n");
    let document = Document {
        format: Some(ResourceFormat::Yaml),
        document: document.into(),
        default_namespace: None,
    };
    ApplyDocuments {
        documents: vec![document],
        ..ApplyDocuments::default()
    }
}

fn target(name: &str) -> Target {
    Target {
        kind: "ConfigMap".to_owned(),
        name: name.to_owned(),
        ..Target::default()
    }
}

fn get(name: &str) -> GetResource {
    GetResource {
        target: target(name),
        ..GetResource::default()
    }
}

fn delete(name: &str) -> DeleteResource {
    DeleteResource {
        target: target(name),
        if_revision: None,
    }
}

fn list() -> ListResources {
    ListResources {
        kind: "ConfigMap".to_owned(),
        ..ListResources::default()
    }
}

#[tokio::test]
async fn every_call_is_answered_over_http() {
    let node = Node::start();
    let client = node.client();
    assert_eq!(client.status().await.unwrap().nodes[0].name, "node-1");
    assert!(client.health().await.unwrap().healthy);
    assert_eq!(client.history().await.unwrap().items, []);
    assert_eq!(client.members().await.unwrap().nodes.len(), 1);
    assert_eq!(client.declaration().await.unwrap()["name"], "homelab");
    assert_eq!(client.chain_export().await.unwrap().as_ref(), [0, 1, 255]);
    assert_eq!(client.chain_heads().await.unwrap().items.len(), 1);
    assert_eq!(client.chain_trust().await.unwrap(), "a key\n");
    assert_eq!(client.metrics().await.unwrap(), "revoada_raft_term 2\n");

    for name in ["a", "b", "c"] {
        client.apply(&config_map(name)).await.unwrap();
    }
    let got = client
        .get(&GetResource {
            format: Some(ResourceFormat::Yaml),
            ..get("a")
        })
        .await
        .unwrap();
    assert_eq!(got.document, config_map("a").documents[0].document);
    assert_eq!((got.version, got.create_revision), (1, got.revision));
    let all = client
        .list_all(&ListResources {
            limit: Some(2),
            ..list()
        })
        .await
        .unwrap();
    assert_eq!((all.items.len(), all.continue_token), (3, None));
    let selected = ListResources {
        selector: Some("app!=x".to_owned()),
        ..list()
    };
    assert_eq!(client.list(&selected).await.unwrap().items.len(), 0);
    assert!(client.delete(&delete("a")).await.unwrap().revision > got.revision);
    let missing = client.get(&get("a")).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);

    let granted = client.role_wish("node-1", Wish::Drain, true).await.unwrap();
    assert!(granted.done);
    client.excuse("node-1").await.unwrap();
    client.shutdown().await.unwrap();
    let refused = client.recover("fire").await.unwrap_err();
    assert_eq!(
        (refused.kind(), refused.causes()),
        (ErrorKind::Unavailable, vec!["two of three".to_owned()])
    );
}

#[tokio::test]
async fn a_watch_is_read_line_by_line() {
    let node = Node::start();
    let client = node.client();
    client.apply(&config_map("a")).await.unwrap();
    let request = WatchResources {
        kind: "ConfigMap".to_owned(),
        ..WatchResources::default()
    };
    let mut watch = client.watch(&request).await.unwrap();
    let mut next = async || watch.try_next().await.unwrap().unwrap();
    assert_eq!(next().await.line_type, LineType::Added);
    assert_eq!(next().await.line_type, LineType::Bookmark);
    client.delete(&delete("a")).await.unwrap();
    let line = next().await;
    assert_eq!(line.line_type, LineType::Deleted);
    assert_eq!(line.object.unwrap()["metadata"]["name"], "a");
    // A restore moves every revision, so it ends every watch.
    let snapshot = download(&client).await;
    let bytes = snapshot.len() as u64;
    client
        .restore(futures::stream::iter([Ok(snapshot.into())]), bytes)
        .await
        .unwrap();
    let rest: Vec<_> = watch.map(|line| line.unwrap().line_type).collect().await;
    assert_eq!(rest.last(), Some(&LineType::Reset));
}

async fn download(client: &Client) -> Vec<u8> {
    let mut download = client.snapshot().await.unwrap();
    let mut snapshot = Vec::new();
    while let Some(chunk) = download.chunk().await.unwrap() {
        snapshot.extend_from_slice(&chunk);
    }
    assert_eq!(download.bytes, snapshot.len() as u64);
    snapshot
}

#[tokio::test]
async fn a_snapshot_goes_down_and_up() {
    let node = Node::start();
    let client = node.client();
    client.apply(&config_map("a")).await.unwrap();
    let snapshot = download(&client).await;
    client.delete(&delete("a")).await.unwrap();
    let path = node.folder.path().join("snapshot");
    std::fs::write(&path, &snapshot).unwrap();
    let restored = client.restore_file(std::fs::File::open(&path).unwrap()).await.unwrap();
    assert_eq!(restored.entries, 1);
    client.get(&get("a")).await.unwrap();
    let short = client
        .restore(futures::stream::iter([Ok(snapshot.into())]), 1 << 20)
        .await
        .unwrap_err();
    assert_eq!(short.kind(), ErrorKind::Unavailable, "nothing was changed: {short}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::socket(folder.path().join("none"));
    let client = Client::new(endpoint.clone(), QUICK).unwrap();
    assert!(matches!(
        client.apply(&config_map("a")).await.unwrap_err(),
        ClientError::Connect { .. }
    ));
    assert_eq!(client.status().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(
        FramedClient::connect(endpoint, QUICK).await.err().unwrap().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_node_that_dies_with_the_request_leaves_a_mutations_outcome_unknown_and_a_reads_not() {
    let (_folder, endpoint) = rude_node(|mut stream| async move {
        stream.read_exact(&mut [0; 16]).await.unwrap();
    });
    let client = Client::new(endpoint, QUICK).unwrap();
    let lost = client.apply(&config_map("a")).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::OutcomeUnknown, "{lost}");
    assert_eq!(
        client.delete(&delete("a")).await.unwrap_err().kind(),
        ErrorKind::OutcomeUnknown
    );
    assert_eq!(client.get(&get("a")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    let dry = ApplyDocuments {
        dry_run: true,
        ..config_map("a")
    };
    assert_eq!(client.apply(&dry).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_leaves_the_outcome_unknown() {
    let (_folder, endpoint) = rude_node(|mut stream| async move {
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    });
    let options = ClientOptions {
        answer_timeout: Duration::from_millis(50),
        ..QUICK
    };
    let client = Client::new(endpoint, options).unwrap();
    let late = client.apply(&config_map("a")).await.unwrap_err();
    assert!(
        matches!(late, ClientError::NoAnswerInTime { mutation: true, .. }),
        "{late}"
    );
    assert_eq!(late.kind(), ErrorKind::OutcomeUnknown);
}

#[tokio::test]
async fn something_that_is_not_the_native_api_is_told_apart() {
    let (_folder, endpoint) = rude_node(|mut stream| async move {
        stream.read_exact(&mut [0; 16]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello")
            .await
            .unwrap();
    });
    let client = Client::new(endpoint, QUICK).unwrap();
    assert!(matches!(
        client.status().await.unwrap_err(),
        ClientError::BadAnswer { .. }
    ));
    assert_eq!(
        client.apply(&config_map("a")).await.unwrap_err().kind(),
        ErrorKind::OutcomeUnknown
    );
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_unnoticed() {
    let (_folder, endpoint) = rude_node(|mut stream| async move {
        stream.read_exact(&mut [0; 16]).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"items\":[]}")
            .await
            .unwrap();
    });
    let client = Client::new(endpoint, QUICK).unwrap();
    for _ in 0..3 {
        client.history().await.unwrap();
    }
}

#[tokio::test]
async fn many_callers_share_one_framed_connection() {
    let node = Node::start();
    let client = FramedClient::connect(node.endpoint(), QUICK).await.unwrap();
    let callers = (0..200).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let name = format!("caller-{number}");
            let applied = client.apply(config_map(&name)).await.unwrap();
            let got = client.get(get(&name)).await.unwrap();
            assert_eq!(got.revision, applied.results[0].revision);
            assert_eq!(got.format, ResourceFormat::Yaml, "as it is stored");
            client.ping().await.unwrap();
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(client.list(list()).await.unwrap().items.len(), 200);
    client.delete(delete("caller-0")).await.unwrap();
    assert_eq!(
        client.delete(delete("caller-0")).await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    drop(client);
    node.listening.abort();
}

#[tokio::test]
async fn a_reader_is_refused_in_frames_too() {
    let folder = tempfile::tempdir().unwrap();
    let (face, _) = support::face(folder.path());
    let router = face
        .router()
        .layer(axum::Extension(revoada_faces::native::Caller::reader("a reader")));
    let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let client = FramedClient::connect(Endpoint::socket(folder.path().join("socket")), QUICK)
        .await
        .unwrap();
    client.ping().await.unwrap();
    assert_eq!(
        client.apply(config_map("a")).await.unwrap_err().kind(),
        ErrorKind::Denied
    );
    assert_eq!(client.delete(delete("a")).await.unwrap_err().kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_framed_connection_that_breaks_tells_what_may_have_happened() {
    let (ours, mut theirs) = duplex(256);
    let client = FramedClient::over(ours, "a pipe".to_owned(), QUICK.answer_timeout);
    // The pipe takes the first call whole; of the second it holds only a part.
    let sent = tokio::spawn({
        let client = client.clone();
        async move { client.delete(delete("a")).await }
    });
    let mut header = [0; FRAME_HEADER_BYTES];
    theirs.read_exact(&mut header).await.unwrap();
    let unsent = tokio::spawn({
        let client = client.clone();
        async move { client.apply(config_map(&"b".repeat(200))).await }
    });
    let read = tokio::spawn({
        let client = client.clone();
        async move { client.get(get("a")).await }
    });
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    drop(theirs);
    assert_eq!(sent.await.unwrap().unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    assert_eq!(unsent.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(read.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(client.is_closed());
    assert!(matches!(client.ping().await.unwrap_err(), ClientError::NotSent { .. }));
}

#[tokio::test]
async fn after_a_farewell_nothing_unanswered_has_happened() {
    let (ours, theirs) = duplex(64 * 1024);
    let client = FramedClient::over(ours, "a pipe".to_owned(), QUICK.answer_timeout);
    let (stop, stopping) = tokio::sync::oneshot::channel::<()>();
    let calls = |_| -> futures::future::BoxFuture<'static, _> { unreachable!("nothing is begun") };
    stop.send(()).unwrap();
    let stopping = async move { stopping.await.unwrap() };
    let called = tokio::spawn({
        let client = client.clone();
        async move { client.apply(config_map("a")).await }
    });
    tokio::task::yield_now().await;
    serve(theirs, calls, stopping).await;
    let refused = called.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert_eq!(refused.causes(), ["this node stops"]);
}

/// A TLS listener that lets in whoever shows the token.
struct TlsListener {
    listener: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

async fn admit_by_token(mut request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    if request
        .headers()
        .get("authorization")
        .is_some_and(|value| value == "Bearer secret")
    {
        request
            .extensions_mut()
            .insert(revoada_faces::native::Caller::operator("the token"));
    }
    next.run(request).await
}

#[tokio::test]
async fn over_tls_the_node_shows_a_certificate_and_the_caller_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let authority = |name: &str| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, made.cert.pem()).unwrap();
        (made, file)
    };
    let (certificate, ca_file) = authority("ca.pem");
    let (_, strange_ca_file) = authority("strange.pem");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key.into())
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let (face, _) = support::face(folder.path());
    let router = face.router().layer(axum::middleware::from_fn(admit_by_token));
    let listener = TlsListener {
        listener,
        acceptor: tokio_rustls::TlsAcceptor::from(Arc::new(config)),
    };
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });

    let endpoint = Endpoint::https(&url, "secret", &ca_file).unwrap();
    let client = Client::new(endpoint.clone(), QUICK).unwrap();
    client.apply(&config_map("a")).await.unwrap();
    client.get(&get("a")).await.unwrap();
    let framed = FramedClient::connect(endpoint, QUICK).await.unwrap();
    framed.get(get("a")).await.unwrap();

    let stranger = Endpoint::https(&url, "guess", &ca_file).unwrap();
    let client = Client::new(stranger.clone(), QUICK).unwrap();
    assert_eq!(client.status().await.unwrap_err().kind(), ErrorKind::Unauthenticated);
    let refused = FramedClient::connect(stranger, QUICK).await.err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Unauthenticated);

    let misled = Endpoint::https(&url, "secret", strange_ca_file).unwrap();
    let refused = Client::new(misled, QUICK).unwrap().status().await.unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let nobody = Endpoint::https(&url, "secret", empty).unwrap();
    assert_eq!(Client::new(nobody, QUICK).err().unwrap().kind(), ErrorKind::Invalid);
}

#[tokio::test]
#[ignore = "measures: cargo test --release -p revoada pings -- --ignored --nocapture"]
async fn one_core_carries_a_hundred_thousand_pings_a_second() {
    let node = Node::start();
    let client = FramedClient::connect(node.endpoint(), QUICK).await.unwrap();
    let (callers, pings) = (256, 2_000_u32);
    let started = std::time::Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                for _ in 0..pings {
                    client.ping().await.unwrap();
                }
            })
        })
        .collect();
    let all = f64::from(pings) * callers.len() as f64;
    for caller in callers {
        caller.await.unwrap();
    }
    let per_second = all / started.elapsed().as_secs_f64();
    println!("{per_second:.0} pings/s, both sides on one thread");
    assert!(per_second >= 100_000.0, "{per_second:.0} pings/s");
}

#[test]
fn shared_state_is_sent_between_threads() {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Arc<Client>>();
    is_send_and_sync::<FramedClient>();
    is_send_and_sync::<ClientError>();
}
