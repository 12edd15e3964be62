//! A client of the Kubernetes API, of what the tests need of it: JSON over HTTP/1.1 and TLS.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use crate::support::LOOK_AGAIN;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(60);

/// A client with a connection of its own, which it makes anew where that broke.
pub struct Api {
    port: u16,
    token: String,
    tls: TlsConnector,
    connection: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
}

/// What a watch was told so far, and why it ended.
pub struct Watched {
    told: Arc<Mutex<(Vec<Value>, Option<String>)>>,
    task: tokio::task::JoinHandle<()>,
}

impl Api {
    pub fn new(port: u16, token: &str, certificate: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificate).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            port,
            token: token.to_owned(),
            tls: TlsConnector::from(Arc::new(config)),
            connection: tokio::sync::Mutex::default(),
        }
    }

    pub async fn get(&self, path: &str) -> Result<Value, String> {
        let text = self.get_text(path).await?;
        serde_json::from_str(&text).map_err(|error| format!("{path}: {error}: {text}"))
    }

    pub async fn get_text(&self, path: &str) -> Result<String, String> {
        match self.call("GET", path, None).await? {
            (StatusCode::OK, text) => Ok(text),
            (status, text) => Err(format!("{path}: {status}: {text}")),
        }
    }

    /// Creates an object, and tries again while it is not known to be there.
    pub async fn create(&self, path: &str, object: &Value) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = match self.call("POST", path, Some(object)).await {
                // An attempt whose outcome was unknown may have been it.
                Ok((StatusCode::CREATED | StatusCode::CONFLICT, _)) => return,
                Ok((status, text)) => format!("{status}: {text}"),
                Err(error) => error,
            };
            assert!(Instant::now() < deadline, "{path} takes no {object}: {said}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Watches a list from now on, by one request that is never made again.
    pub async fn watch(&self, path: &str) -> Watched {
        let list = self.get(&format!("{path}?limit=1")).await.unwrap();
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap();
        let path = format!("{path}?watch=1&resourceVersion={revision}&timeoutSeconds=3600");
        let mut connection = self.connect().await.unwrap();
        let answer = connection.send_request(self.request("GET", &path, None)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let told = Arc::new(Mutex::default());
        let task = tokio::spawn(follow(connection, answer, told.clone()));
        Watched { told, task }
    }

    async fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(StatusCode, String), String> {
        let mut kept = self.connection.lock().await;
        let mut connection = match kept.take() {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        let asked = async {
            let answer = connection.send_request(self.request(method, path, body)).await?;
            let status = answer.status();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>((status, String::from_utf8_lossy(&body).into_owned()))
        };
        let answered = tokio::time::timeout(REQUEST, asked).await;
        let answered = answered.map_err(|_| format!("{method} {path}: no answer"))?;
        let answered = answered.map_err(|error| format!("{method} {path}: {error}"))?;
        *kept = Some(connection);
        Ok(answered)
    }

    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Request<Full<Bytes>> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1")
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .header("accept", "application/json")
            .body(Full::from(body))
            .unwrap()
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = self
            .tls
            .connect(name, stream)
            .await
            .map_err(|error| error.to_string())?;
        let (sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        // It ends when the sender is dropped.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// Takes what a watch is told, a line for each event, until it ends.
async fn follow(
    connection: SendRequest<Full<Bytes>>,
    answer: Response<Incoming>,
    told: Arc<Mutex<(Vec<Value>, Option<String>)>>,
) {
    let mut body = answer.into_body();
    let mut rest = Vec::new();
    let end = loop {
        match body.frame().await {
            Some(Ok(frame)) => rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..])),
            Some(Err(error)) => break error.to_string(),
            None => break "the answer ended".to_owned(),
        }
        while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=at).collect();
            let event: Value = serde_json::from_slice(&line).unwrap();
            told.lock().0.push(event);
        }
    };
    told.lock().1 = Some(end);
    drop(connection);
}

impl Watched {
    pub fn events(&self) -> Vec<Value> {
        self.told.lock().0.clone()
    }

    /// How many events it was told.
    pub fn count(&self) -> usize {
        self.told.lock().0.len()
    }

    /// Why it ended, if it did.
    pub fn end(&self) -> Option<String> {
        self.told.lock().1.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}
