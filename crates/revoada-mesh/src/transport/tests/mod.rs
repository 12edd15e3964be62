mod handshake;
mod links;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use revoada_attest::{Digest, NodeId, NodeKey};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::disk_id::Shown;

const SOON: Duration = Duration::from_secs(2);

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed([n; 32])
}

/// Admits the nodes it knows, of its own cluster.
struct TestGate {
    hello: Hello,
    known: Mutex<Vec<NodeId>>,
}

impl Gate for TestGate {
    fn hello(&self, _: &NodeId) -> Hello {
        self.hello.clone()
    }

    fn admit(&self, peer: &NodeId, hello: &Hello) -> Result<(), Refusal> {
        let (me, them) = (&self.hello.name, &hello.name);
        if hello.cluster != self.hello.cluster {
            let reason = format!("{them} and {me} are of two clusters");
            return Err(Refusal {
                kind: RefusalKind::OtherCluster,
                reason,
            });
        }
        if !self.known.lock().contains(peer) {
            return Err(Refusal {
                kind: RefusalKind::UnknownKey,
                reason: format!("{me} does not know {them}"),
            });
        }
        Ok(())
    }

    fn keeps(&self, peer: &NodeId) -> Result<(), Refusal> {
        self.admit(peer, &self.hello)
    }
}

/// A transport of node `n` in `cluster` that knows the nodes 1 to 3.
fn transport(n: u8, cluster: u8) -> Arc<Transport> {
    gated(n, cluster).1
}

/// The same, with the gate that it asks.
fn gated(n: u8, cluster: u8) -> (Arc<TestGate>, Arc<Transport>) {
    let hello = Hello {
        cluster: Digest::from_bytes([cluster; 32]),
        name: format!("node-{n}"),
        version: "0".to_owned(),
        address: SocketAddr::from(([127, 0, 0, 1], u16::from(n))),
        formed: true,
        term: 5,
        last_index: 7,
        shown: Shown::default(),
        your_first_disk: None,
    };
    let known = Mutex::new((1..=3).map(|n| key(n).id()).collect());
    let gate = Arc::new(TestGate { hello, known });
    let transport = Transport::new(&key(n), gate.clone()).unwrap();
    (gate, Arc::new(transport))
}

/// A listener whose end is the end of the test.
struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(transport: Arc<Transport>, handler: Handler) -> Listening {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let handlers = BTreeMap::from([(Protocol::Raft, handler)]);
    Listening {
        address,
        task: tokio::spawn(transport.serve(listener, handlers)),
    }
}

/// Answers each frame with itself.
fn echo() -> Handler {
    Arc::new(|mut connection| {
        Box::pin(async move {
            while let Some(Ok(frame)) = connection.frames.next().await {
                if connection.frames.send(frame.freeze()).await.is_err() {
                    return;
                }
            }
        })
    })
}

async fn echoes(connection: &mut Connection) {
    connection.frames.send(Bytes::from_static(b"hello")).await.unwrap();
    let answer = timeout(SOON, connection.frames.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(&answer[..], b"hello");
}
