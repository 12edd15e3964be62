use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

async fn call(from: &Transport, to: &Listening) -> Result<Connection, ConnectError> {
    from.connect(to.address, None, Protocol::Raft, SOON).await
}

fn refused_by_peer(result: Result<Connection, ConnectError>) -> (String, Refusal) {
    match result.unwrap_err() {
        ConnectError::RefusedByPeer { by, source, .. } => (by, source),
        other => panic!("{other:?}"),
    }
}

fn refused_here(result: Result<Connection, ConnectError>) -> Refusal {
    match result.unwrap_err() {
        ConnectError::RefusedHere { source, .. } => source,
        other => panic!("{other:?}"),
    }
}

/// Until the other side has closed, or reset.
async fn ends(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut byte = [0; 1];
    while let Ok(Ok(1..)) = timeout(SOON, stream.read(&mut byte)).await {}
    let end = timeout(SOON, stream.read(&mut byte))
        .await
        .expect("the listener closes the connection");
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
}

#[tokio::test]
async fn two_nodes_learn_who_the_other_is_and_what_it_says_of_itself() {
    let (seen, mut accepted) = mpsc::channel(1);
    let handler: Handler = Arc::new(move |connection| {
        let seen = seen.clone();
        Box::pin(async move { seen.send((connection.peer, connection.hello)).await.unwrap() })
    });
    let listening = listen(transport(1, 9), handler).await;
    let connection = transport(2, 9)
        .connect(listening.address, Some(key(1).id()), Protocol::Raft, SOON)
        .await
        .unwrap();
    assert_eq!(
        (connection.peer, connection.hello.name.as_str()),
        (key(1).id(), "node-1")
    );
    assert_eq!((connection.hello.term, connection.hello.last_index), (5, 7));
    let (peer, hello) = timeout(SOON, accepted.recv()).await.unwrap().unwrap();
    assert_eq!((peer, hello.name.as_str()), (key(2).id(), "node-2"));
}

#[tokio::test]
async fn a_node_of_another_cluster_is_refused_with_both_names() {
    let listening = listen(transport(1, 9), echo()).await;
    let (by, refusal) = refused_by_peer(call(&transport(2, 8), &listening).await);
    assert_eq!((by.as_str(), refusal.kind), ("node-1", RefusalKind::OtherCluster));
    assert_eq!(refusal.reason, "node-2 and node-1 are of two clusters");
}

#[tokio::test]
async fn a_caller_refuses_a_node_of_another_cluster_that_would_take_it() {
    struct Anybody(TestGate);
    impl Gate for Anybody {
        fn hello(&self, to: &NodeId) -> Hello {
            self.0.hello(to)
        }
        fn admit(&self, _: &NodeId, _: &Hello) -> Result<(), Refusal> {
            Ok(())
        }

        fn keeps(&self, _: &NodeId) -> Result<(), Refusal> {
            Ok(())
        }
    }
    let hello = transport(1, 8).gate.hello(&key(1).id());
    let gate = Arc::new(Anybody(TestGate {
        hello,
        known: Mutex::default(),
    }));
    let listening = listen(Arc::new(Transport::new(&key(1), gate).unwrap()), echo()).await;
    let refusal = refused_here(call(&transport(2, 9), &listening).await);
    assert_eq!(refusal.kind, RefusalKind::OtherCluster);
    assert_eq!(refusal.reason, "node-1 and node-2 are of two clusters");
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_refused_in_both_directions() {
    let listening = listen(transport(1, 9), echo()).await;
    let (by, refusal) = refused_by_peer(call(&transport(7, 9), &listening).await);
    assert_eq!((by.as_str(), refusal.kind), ("node-1", RefusalKind::UnknownKey));
    let stranger = listen(transport(7, 9), echo()).await;
    // The stranger knows node 2; node 2 does not know the stranger.
    let refusal = refused_here(call(&transport(2, 9), &stranger).await);
    assert_eq!(refusal.kind, RefusalKind::UnknownKey);
}

#[tokio::test]
async fn a_node_that_is_reached_by_its_own_key_refuses_itself() {
    let listening = listen(transport(1, 9), echo()).await;
    let refusal = refused_here(call(&transport(1, 9), &listening).await);
    assert_eq!(refusal.kind, RefusalKind::SameKey);
}

#[tokio::test]
async fn a_second_node_with_a_copied_key_is_refused_for_as_long_as_the_first_is_here() {
    let listening = listen(transport(1, 9), echo()).await;
    let first = call(&transport(2, 9), &listening).await.unwrap();
    let mut hello = gated(2, 9).0.hello(&key(1).id());
    hello.address.set_port(hello.address.port() + 1_000);
    let known = Mutex::new(vec![key(1).id()]);
    let copy = Transport::new(&key(2), Arc::new(TestGate { hello, known })).unwrap();
    let (_, refusal) = refused_by_peer(call(&copy, &listening).await);
    assert_eq!(refusal.kind, RefusalKind::SameKey);
    assert!(
        refusal.reason.contains("127.0.0.1:1002 has a copy of its key"),
        "{refusal}"
    );
    drop(first);
    let deadline = tokio::time::Instant::now() + SOON;
    while call(&copy, &listening).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "it is refused for ever");
    }
}

#[tokio::test]
async fn another_node_than_the_expected_one_is_refused() {
    let listening = listen(transport(1, 9), echo()).await;
    let result = transport(2, 9)
        .connect(listening.address, Some(key(3).id()), Protocol::Raft, SOON)
        .await;
    let refusal = refused_here(result);
    assert_eq!(refusal.kind, RefusalKind::OtherNode);
    assert!(refusal.reason.contains(&key(1).id().short()) && refusal.reason.contains(&key(3).id().short()));
}

#[tokio::test]
async fn a_listener_under_garbage_keeps_serving_the_others() {
    let listening = listen(transport(1, 9), echo()).await;
    let mut good = call(&transport(2, 9), &listening).await.unwrap();

    let mut garbage = TcpStream::connect(listening.address).await.unwrap();
    garbage.write_all(&[0xff; 4096]).await.unwrap();
    ends(&mut garbage).await;
    let _slow = TcpStream::connect(listening.address).await.unwrap();
    // A node with a key, and a hello that announces a gigabyte, or is no hello.
    for bytes in [&[0, 0, 0, 0x40, 1, 2, 3][..], &[3, 0, 0, 0, 0xff, 0xff, 0xff]] {
        let mut tls = shake_hands(&listening, Protocol::Raft.name()).await.unwrap();
        tls.write_all(bytes).await.unwrap();
        ends(&mut tls).await;
    }
    echoes(&mut good).await;
    echoes(&mut call(&transport(3, 9), &listening).await.unwrap()).await;
}

#[tokio::test]
async fn a_frame_that_is_too_long_ends_its_own_connection_only() {
    let listening = listen(transport(1, 9), echo()).await;
    let node = transport(2, 9);
    let mut good = call(&node, &listening).await.unwrap();
    let bad = call(&node, &listening).await.unwrap();
    let mut raw = bad.frames.into_inner();
    raw.write_all(&u32::MAX.to_le_bytes()).await.unwrap();
    ends(&mut raw).await;
    echoes(&mut good).await;
}

async fn shake_hands(to: &Listening, protocol: &[u8]) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let config = tls::client(&key(2), protocol).unwrap();
    let tcp = TcpStream::connect(to.address).await?;
    TlsConnector::from(config)
        .connect(ServerName::try_from("node").unwrap(), tcp)
        .await
}

#[tokio::test]
async fn a_protocol_that_this_node_does_not_speak_ends_in_the_handshake() {
    let listening = listen(transport(1, 9), echo()).await;
    let error = shake_hands(&listening, b"revoada-raft/3").await.unwrap_err();
    assert!(error.to_string().to_lowercase().contains("application"), "{error}");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let newer = TlsAcceptor::from(tls::server(&key(1), &[b"revoada-raft/3"]).unwrap());
    let accepting = tokio::spawn(async move { newer.accept(listener.accept().await.unwrap().0).await.is_err() });
    let error = transport(2, 9)
        .connect(address, None, Protocol::Raft, SOON)
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
    assert!(accepting.await.unwrap());
}

#[tokio::test]
async fn one_peer_holds_a_bounded_number_of_connections() {
    let listening = listen(transport(1, 9), echo()).await;
    let greedy = transport(2, 9);
    let mut held = Vec::new();
    for _ in 0..limits::CONNECTIONS_PER_PEER_MAX {
        held.push(call(&greedy, &listening).await.unwrap());
    }
    let (_, refusal) = refused_by_peer(call(&greedy, &listening).await);
    assert_eq!(refusal.kind, RefusalKind::TooMany);
    echoes(&mut call(&transport(3, 9), &listening).await.unwrap()).await;
    // A place is free again once the listener has seen the end of a connection.
    held.pop();
    let again = async {
        loop {
            if let Ok(connection) = call(&greedy, &listening).await {
                return connection;
            }
        }
    };
    echoes(&mut timeout(SOON, again).await.unwrap()).await;
}

#[tokio::test]
async fn a_process_that_is_stopped_is_given_up_soon() {
    // Its kernel completes the connection, and nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limit = Duration::from_millis(10);
    let node = transport(2, 9);
    let called = timeout(SOON, node.connect(address, None, Protocol::Raft, limit))
        .await
        .unwrap();
    assert!(matches!(called.unwrap_err(), ConnectError::Handshake { .. }));
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let called = transport(2, 9).connect(address, None, Protocol::Raft, SOON).await;
    assert!(matches!(called.unwrap_err(), ConnectError::Unreachable { .. }));
}

#[tokio::test]
async fn a_node_that_may_be_here_no_longer_loses_the_connections_that_it_has() {
    let (gate, one) = gated(1, 9);
    let two = transport(2, 9);
    let (listening, other) = (listen(one.clone(), echo()).await, listen(two.clone(), echo()).await);
    // Of each direction one, and of a third node.
    let mut accepted = call(&two, &listening).await.unwrap();
    let mut made = call(&one, &other).await.unwrap();
    let mut third = call(&transport(3, 9), &listening).await.unwrap();
    one.review();
    echoes(&mut accepted).await;
    echoes(&mut made).await;

    let link = link::Link::start(made);
    gate.known.lock().retain(|known| *known != key(2).id());
    one.review();
    let end = timeout(SOON, accepted.frames.next()).await.expect("it is cut off");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    let closed = async {
        while link.is_open() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed)
        .await
        .expect("the link that was made to it is closed");
    echoes(&mut third).await;
    let (_, refusal) = refused_by_peer(call(&two, &listening).await);
    assert_eq!(refusal.kind, RefusalKind::UnknownKey);
}

#[tokio::test]
async fn callers_who_say_nothing_keep_no_node_out() {
    let listening = listen(transport(1, 9), echo()).await;
    let mut silent = Vec::new();
    for _ in 0..limits::HANDSHAKES_MAX + 4 {
        silent.push(TcpStream::connect(listening.address).await.unwrap());
    }
    // Its turn comes behind those, and before they run out of time by themselves.
    echoes(&mut call(&transport(2, 9), &listening).await.unwrap()).await;
    // Only as many made room as were waited for.
    let mut byte = [0; 1];
    let last = silent.last_mut().unwrap();
    let quiet = timeout(Duration::from_millis(20), last.read(&mut byte)).await;
    assert!(quiet.is_err(), "it was hung up on: {quiet:?}");
    ends(&mut silent[0]).await;
}
