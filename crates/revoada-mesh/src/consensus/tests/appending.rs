use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt as _;
use openraft::errors::RPCError;
use openraft::network::RPCOption;
use openraft::{EntryPayload, RaftNetworkFactory as _, RaftNetworkV2 as _};

use super::super::network::{Client, Network, OnTheirWay};
use super::super::types::{AppendEntriesRequest, Batch, Entry, StreamAppendResult};
use super::*;
use crate::transport::Connection;
use crate::transport::link::Message;

/// What a follower of these tests does with a connection; it is node 2.
struct Follower {
    peers: Peers,
    serving: JoinHandle<()>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Follower {
    async fn serve<F>(does: impl Fn(Connection) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = || Arc::new(OpenGate(Mutex::default(), genesis().digest(), address));
        let follower = Arc::new(Transport::new(&key(2), gate()).unwrap());
        let leader = Arc::new(Transport::new(&key(1), gate()).unwrap());
        let peers = Peers::new(leader, Arc::default());
        peers.book().learn(id(2), address);
        let handler: Handler = Arc::new(move |connection| Box::pin(does(connection)));
        let handlers = BTreeMap::from([(Protocol::Raft, handler)]);
        let serving = tokio::spawn(follower.serve(listener, handlers));
        Self { peers, serving }
    }

    async fn client(&self) -> Client<Tokio> {
        self.counting_client(OnTheirWay::default()).await
    }

    async fn counting_client(&self, on_their_way: OnTheirWay) -> Client<Tokio> {
        let mut network = Network::new(id(1), self.peers.clone(), on_their_way, nobodys_seats());
        network.new_client(id(2), &Member::default()).await
    }
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(50))
}

fn request(index: u64, bytes: usize) -> AppendEntriesRequest<Tokio> {
    AppendEntriesRequest {
        vote: Vote::new_committed(1, id(1)),
        prev_log_id: None,
        entries: vec![Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Batch(vec![7; bytes].into())),
        }],
        leader_commit: None,
    }
}

const PIECE: usize = limits::APPEND_BYTES_MAX as usize;

#[tokio::test]
async fn a_follower_that_takes_long_for_much_is_waited_for() {
    // Longer than it may be silent about next to nothing.
    let takes = Duration::from_millis(limits::APPEND_SILENCE_MS_MAX * 3 / 2);
    let follower = Follower::serve(move |mut connection| async move {
        while let Some(Ok(frame)) = connection.frames.next().await {
            let asked = Message::decode(frame).unwrap();
            tokio::time::sleep(takes).await;
            let answer: StreamAppendResult<Tokio> = Ok(Some(log_id(1, 1)));
            let body = cbor4ii::serde::to_vec(Vec::new(), &answer).unwrap().into();
            let answer = Message { body, ..asked };
            futures::SinkExt::send(&mut connection.frames, answer.encode())
                .await
                .unwrap();
        }
    })
    .await;
    let mut client = follower.client().await;
    let input = futures::stream::iter([request(1, PIECE)]);
    let mut answers = client.stream_append(input, option()).await.unwrap();
    let answer = timeout(SOON, answers.next()).await.unwrap().unwrap();
    assert!(matches!(answer, Ok(Ok(Some(_)))), "{answer:?}");
}

#[tokio::test]
async fn what_is_on_its_way_to_a_follower_that_takes_nothing_is_bounded() {
    let follower = Follower::serve(|connection| async move {
        let _held = connection;
        std::future::pending::<()>().await;
    })
    .await;
    let on_their_way = OnTheirWay::default();
    let mut client = follower.counting_client(on_their_way.clone()).await;
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let input = futures::stream::iter(1..).map(move |index| {
        counted.fetch_add(1, Ordering::SeqCst);
        request(index, PIECE)
    });
    let mut answers = client.stream_append(input, option()).await.unwrap();
    let limit = Duration::from_millis(500);
    assert!(timeout(limit, answers.next()).await.is_err(), "nobody has answered");
    let bytes = taken.load(Ordering::SeqCst) * PIECE;
    assert!(
        (PIECE..=limits::APPENDS_IN_FLIGHT_BYTES_MAX + PIECE).contains(&bytes),
        "{bytes}"
    );
    let counted = on_their_way.bytes()[&id(2)];
    assert!((bytes..bytes + PIECE).contains(&counted), "{counted} of {bytes}");
    drop(answers);
    assert_eq!(on_their_way.bytes(), BTreeMap::new(), "nothing waits for it any more");
}

#[tokio::test]
async fn a_link_that_is_silent_for_too_long_is_closed_with_what_waits_in_it() {
    let follower =
        Follower::serve(|mut connection| async move { while connection.frames.next().await.is_some() {} }).await;
    let link = follower.peers.link(id(2), Lane::Replication, SOON).await.unwrap();
    let mut client = follower.client().await;
    let input = futures::stream::iter([request(1, 10)]).chain(futures::stream::pending());
    let mut answers = client.stream_append(input, option()).await.unwrap();
    let answer = timeout(SOON, answers.next()).await.unwrap().unwrap();
    assert!(matches!(answer, Err(RPCError::Timeout(_))), "{answer:?}");
    let closed = async {
        while link.is_open() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed).await.expect("it is closed");
    follower.peers.link(id(2), Lane::Replication, SOON).await.unwrap();
}
