//! Listeners under garbage: one caller's nonsense costs that caller, and nobody else.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use revoada::attest::NodeKey;
use revoada::client::{Client, ClientOptions, Endpoint};
use revoada::core::error::ErrorKind;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::support::wire::mesh_tls;
use crate::support::{Load, PATIENCE, TestCluster};

/// How many connections are held open at once that send next to nothing: more than handshakes may run at once.
const SLOW_CALLERS: usize = 100;
/// More than any limit on a frame.
const FRAME_TOO_LONG: [u8; 4] = u32::MAX.to_le_bytes();

fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    revoada::system::entropy(&mut bytes).unwrap();
    bytes
}

/// Sends bytes and waits for the node to end the connection, whatever it says before.
async fn send_and_be_hung_up(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Vec<u8> {
    // The node may hang up before it has read everything.
    drop(stream.write_all(bytes).await);
    let mut said = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    assert!(
        ended.is_ok(),
        "the node keeps a connection of garbage open; it said {:?}",
        String::from_utf8_lossy(&said)
    );
    said
}

async fn garbage_for_nodes(address: SocketAddr) {
    let stranger = NodeKey::from_seed([9; 32]);
    for round in 0..5 {
        send_and_be_hung_up(TcpStream::connect(address).await.unwrap(), &noise(1 << (round * 4))).await;
        send_and_be_hung_up(
            TcpStream::connect(address).await.unwrap(),
            b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        )
        .await;
        // The handshake succeeds for any key; what is said after it does not.
        for protocol in [&b"revoada-raft/2"[..], b"revoada-forward/2", b"revoada-gossip/2"] {
            let too_long = [&FRAME_TOO_LONG[..], &noise(100)].concat();
            send_and_be_hung_up(mesh_tls(address, &stranger, protocol).await, &too_long).await;
            let no_hello = [&100_u32.to_le_bytes()[..], &noise(100)].concat();
            send_and_be_hung_up(mesh_tls(address, &stranger, protocol).await, &no_hello).await;
        }
    }
}

async fn garbage_for_the_control_socket(socket: &Path) {
    for round in 0..5 {
        send_and_be_hung_up(UnixStream::connect(socket).await.unwrap(), &noise(1 << (round * 4))).await;
        let refused = send_and_be_hung_up(
            UnixStream::connect(socket).await.unwrap(),
            b"GET /v1/nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        );
        assert!(String::from_utf8_lossy(&refused.await).contains(" 404 "));
        let refused = send_and_be_hung_up(
            UnixStream::connect(socket).await.unwrap(),
            b"POST /v1/resources HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\n{\"a\":",
        );
        assert!(String::from_utf8_lossy(&refused.await).contains(" 400 "));
        // The framed protocol, and then a frame that is longer than any may be.
        let upgrade = b"GET /v1/frames HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: revoada-frames/1\r\n\r\n";
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(upgrade).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        send_and_be_hung_up(stream, &[&FRAME_TOO_LONG[..], &noise(100)].concat()).await;
    }
}

async fn garbage_for_programs(address: SocketAddr) {
    for round in 0..5 {
        send_and_be_hung_up(TcpStream::connect(address).await.unwrap(), &noise(1 << (round * 4))).await;
        let said = send_and_be_hung_up(
            TcpStream::connect(address).await.unwrap(),
            b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n",
        );
        let said = String::from_utf8_lossy(&said.await).into_owned();
        assert!(!said.contains("HTTP/1.1 200"), "plain HTTP was answered: {said}");
    }
}

#[tokio::test]
async fn listeners_under_garbage_go_on_serving_the_others() {
    let cluster = TestCluster::start("quorum-3m", 3).await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[leader];
    let (mesh, socket, https) = (
        node.config.listen,
        node.config.control_socket(),
        node.config.http.as_ref().unwrap().listen,
    );
    let load = Load::start(std::slice::from_ref(&socket), 4, "meanwhile");
    load.more(20).await;

    let mut slow_tcp = Vec::new();
    let mut slow_unix = Vec::new();
    for _ in 0..SLOW_CALLERS {
        for listener in [mesh, https] {
            let mut tcp = TcpStream::connect(listener).await.unwrap();
            // The beginning of a TLS handshake that never goes on.
            tcp.write_all(&[0x16, 0x03, 0x01, 0x02]).await.unwrap();
            slow_tcp.push(tcp);
        }
        let mut unix = UnixStream::connect(&socket).await.unwrap();
        unix.write_all(b"GET /v1/sta").await.unwrap();
        slow_unix.push(unix);
    }
    let garbage = async {
        tokio::join!(
            garbage_for_nodes(mesh),
            garbage_for_the_control_socket(&socket),
            garbage_for_programs(https)
        );
    };
    let writes = load.more(200);
    tokio::join!(garbage, writes);

    // A new node of the cluster gets in as before.
    let follower = (leader + 1) % 3;
    let mut cluster = cluster;
    cluster.nodes[follower].kill();
    cluster.nodes[follower].start();
    let (leader, _) = cluster.settled().await;
    load.more(20).await;
    load.stop().await.assert_kept(&cluster, leader).await;
    drop((slow_tcp, slow_unix));
}

#[tokio::test]
async fn the_https_port_lets_in_the_clusters_token_and_nobody_else() {
    let cluster = TestCluster::start("solo", 1).await;
    let node = &cluster.nodes[0];
    let url = format!("https://{}", node.config.http.as_ref().unwrap().listen);
    let certificate = node.config.folder.join("http.crt");
    let client = |token: &str| {
        let options = ClientOptions {
            answer_timeout: Duration::from_secs(10),
            ..ClientOptions::default()
        };
        Client::new(Endpoint::https(&url, token, &certificate).unwrap(), options).unwrap()
    };
    client(&cluster.token).status().await.unwrap();
    for wrong in ["", "wrong", &cluster.token[1..], &format!("{}x", cluster.token)] {
        let refused = client(wrong).status().await.unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::Unauthenticated,
            "with the token {wrong:?}: {refused}"
        );
        let refused = client(wrong).shutdown().await.unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::Unauthenticated,
            "with the token {wrong:?}: {refused}"
        );
    }
    // Who is not vouched for by the certificate is not even asked.
    let stranger = cluster.path().join("stranger.crt");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(&stranger, made.cert.pem()).unwrap();
    let other = Client::new(
        Endpoint::https(&url, &cluster.token, &stranger).unwrap(),
        ClientOptions::default(),
    )
    .unwrap();
    assert_eq!(other.status().await.unwrap_err().kind(), ErrorKind::Unavailable);
}
