//! The framed protocol over streams in memory: many calls at once, and everything that a peer may do wrong.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use proptest::prelude::*;
use revoada_core::error::ErrorKind;
use revoada_core::limits::{FRAME_ANSWERS_BYTES_MAX, FRAME_BYTES_MAX, FRAME_REQUESTS_IN_FLIGHT_MAX};
use revoada_core::resource::ResourceFormat;
use revoada_faces::native::frames::{
    Answer, CONNECTION_ID, Call, Calls, Closed, FrameError, FrameReader, Request, Response, append, decode, serve,
};
use revoada_faces::native::message::{DeletedResource, GetResource, GotResource, Target};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The other side of a connection.
struct Peer {
    stream: DuplexStream,
    reader: FrameReader,
    served: JoinHandle<Closed>,
}

impl Peer {
    fn of(calls: impl Calls + 'static, stopping: impl Future<Output = ()> + Send + 'static) -> Self {
        let (stream, served) = duplex(64 * 1024);
        let served = tokio::spawn(serve(served, calls, stopping));
        Self {
            stream,
            reader: FrameReader::default(),
            served,
        }
    }

    async fn send(&mut self, requests: impl IntoIterator<Item = (u64, Call)>) {
        let mut bytes = Vec::new();
        for (id, call) in requests {
            append(&mut bytes, &Request { id, call }).unwrap();
        }
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The next answer; none at the end.
    async fn receive(&mut self) -> Option<Response> {
        loop {
            if let Some(frame) = self.reader.next_frame().unwrap() {
                return Some(decode(frame).unwrap());
            }
            let stream = &mut self.stream;
            let reader = &mut self.reader;
            let count = std::future::poll_fn(|cx| reader.poll_fill(cx, std::pin::Pin::new(&mut *stream)))
                .await
                .unwrap();
            if count == 0 {
                return None;
            }
        }
    }

    async fn farewell(&mut self) -> ErrorKind {
        let response = self.receive().await.expect("a farewell");
        let Response {
            id: CONNECTION_ID,
            answer: Answer::Failed(failure),
        } = response
        else {
            panic!("{response:?} is no farewell");
        };
        assert!(self.receive().await.is_none());
        failure.kind
    }
}

fn get(name: &str) -> Call {
    Call::Get(GetResource {
        target: Target {
            name: name.to_owned(),
            ..Target::default()
        },
        ..GetResource::default()
    })
}

/// Answers a get by its name's length as a deletion at that revision, which is easily told apart.
fn by_length(call: Call) -> BoxFuture<'static, Answer> {
    let Call::Get(GetResource { target, .. }) = call else {
        panic!("{call:?}")
    };
    async move {
        Answer::Deleted(DeletedResource {
            revision: target.name.len() as u64,
        })
    }
    .boxed()
}

fn never(_: Call) -> BoxFuture<'static, Answer> {
    pending().boxed()
}

#[tokio::test]
async fn answers_come_when_they_are_ready_and_carry_their_requests_number() {
    let (first_may_end, first) = oneshot::channel::<()>();
    let first = std::sync::Mutex::new(Some(first));
    let calls = move |call: Call| match call {
        Call::Delete(_) => {
            let first = first.lock().unwrap().take().unwrap();
            async move {
                first.await.unwrap();
                Answer::Deleted(DeletedResource { revision: 77 })
            }
            .boxed()
        }
        call => by_length(call),
    };
    let mut peer = Peer::of(calls, pending());
    peer.send([
        (1, Call::Delete(Default::default())),
        (2, get("ab")),
        (3, Call::Ping),
        (4, get("abcd")),
    ])
    .await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        answers.push(peer.receive().await.unwrap());
    }
    answers.sort_by_key(|answer| answer.id);
    assert_eq!(
        answers,
        [
            Response {
                id: 2,
                answer: Answer::Deleted(DeletedResource { revision: 2 })
            },
            Response {
                id: 3,
                answer: Answer::Pong
            },
            Response {
                id: 4,
                answer: Answer::Deleted(DeletedResource { revision: 4 })
            },
        ]
    );
    first_may_end.send(()).unwrap();
    assert_eq!(peer.receive().await.unwrap().id, 1);
    peer.stream.shutdown().await.unwrap();
    assert!(peer.receive().await.is_none());
    assert!(matches!(peer.served.await.unwrap(), Closed::Done));
}

#[tokio::test]
async fn a_connection_that_sends_no_more_still_gets_every_answer() {
    let mut peer = Peer::of(by_length, pending());
    peer.send((1..=500).map(|id| (id, get("a")))).await;
    peer.stream.shutdown().await.unwrap();
    let mut ids = Vec::new();
    while let Some(response) = peer.receive().await {
        ids.push(response.id);
    }
    ids.sort_unstable();
    assert_eq!(ids, (1..=500).collect::<Vec<_>>());
}

#[tokio::test]
async fn garbage_ends_its_own_connection_with_a_reason_and_no_other() {
    let mut neighbour = Peer::of(by_length, pending());
    let trailing = {
        let mut bytes = Vec::new();
        append(
            &mut bytes,
            &Request {
                id: 1,
                call: Call::Ping,
            },
        )
        .unwrap();
        bytes.push(0xf6);
        bytes[0] += 1;
        bytes
    };
    let reserved = {
        let mut bytes = Vec::new();
        append(
            &mut bytes,
            &Request {
                id: CONNECTION_ID,
                call: Call::Ping,
            },
        )
        .unwrap();
        bytes
    };
    let not_cbor = [4_u32.to_le_bytes().as_slice(), &[0xff; 4]].concat();
    let empty = 0_u32.to_le_bytes().to_vec();
    let too_long = [u32::MAX.to_le_bytes().as_slice(), b"GET / HTTP/1.1\r\n\r\n"].concat();
    for bytes in [trailing, reserved, not_cbor, empty, too_long] {
        let mut peer = Peer::of(by_length, pending());
        peer.send([(1, get("begun"))]).await;
        peer.stream.write_all(&bytes).await.unwrap();
        assert_eq!(peer.receive().await.unwrap().id, 1, "what was begun is answered");
        assert_eq!(peer.farewell().await, ErrorKind::Invalid);
        assert!(matches!(peer.served.await.unwrap(), Closed::Broken(_)));
    }
    neighbour.send([(1, Call::Ping)]).await;
    assert_eq!(neighbour.receive().await.unwrap().answer, Answer::Pong);
}

#[tokio::test]
async fn a_connection_that_ends_inside_a_frame_is_told_so() {
    let mut peer = Peer::of(by_length, pending());
    peer.stream.write_all(&[9, 0, 0, 0, 1, 2]).await.unwrap();
    peer.stream.shutdown().await.unwrap();
    assert_eq!(peer.farewell().await, ErrorKind::Invalid);
    let closed = peer.served.await.unwrap();
    assert!(
        matches!(closed, Closed::Broken(FrameError::CutShort { bytes: 6 })),
        "{closed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_frame_is_given_up_after_a_while_and_an_idle_connection_is_not() {
    let mut idle = Peer::of(by_length, pending());
    let mut slow = Peer::of(by_length, pending());
    slow.stream.write_all(&[9, 0, 0, 0, 1]).await.unwrap();
    assert_eq!(slow.farewell().await, ErrorKind::Unavailable);
    assert!(matches!(
        slow.served.await.unwrap(),
        Closed::Broken(FrameError::TooSlow)
    ));
    tokio::time::advance(Duration::from_secs(3600)).await;
    idle.send([(1, Call::Ping)]).await;
    assert_eq!(idle.receive().await.unwrap().id, 1);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_answers_is_given_up() {
    let big = |_: Call| -> BoxFuture<'static, Answer> {
        async {
            let document = vec![0; 200 * 1024].into();
            let format = ResourceFormat::Native;
            Answer::Got(GotResource {
                format,
                document,
                create_revision: 1,
                revision: 1,
                version: 1,
            })
        }
        .boxed()
    };
    let mut peer = Peer::of(big, pending());
    peer.send([(1, get("a"))]).await;
    assert!(matches!(
        peer.served.await.unwrap(),
        Closed::Broken(FrameError::NotTaken)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_connection_begins_only_so_many_calls_at_once() {
    let begun = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&begun);
    let calls = move |_: Call| -> BoxFuture<'static, Answer> {
        count.fetch_add(1, Ordering::Relaxed);
        pending().boxed()
    };
    let mut peer = Peer::of(calls, pending());
    // The sender is held up by the socket, because nobody reads it any more.
    let sending = peer.send((1..=100_000).map(|id| (id, get("a"))));
    assert!(tokio::time::timeout(Duration::from_millis(200), sending).await.is_err());
    assert_eq!(begun.load(Ordering::Relaxed), FRAME_REQUESTS_IN_FLIGHT_MAX);
}

#[tokio::test]
async fn an_answer_that_fits_into_no_frame_is_an_error_of_its_request_alone() {
    let calls = |call: Call| -> BoxFuture<'static, Answer> {
        if call == Call::List(Default::default()) {
            return async { Answer::Listed(vec![b' '; FRAME_BYTES_MAX].into()) }.boxed();
        }
        by_length(call)
    };
    let mut peer = Peer::of(calls, pending());
    peer.send([(1, Call::List(Default::default()))]).await;
    let Some(Response {
        id: 1,
        answer: Answer::Failed(failure),
    }) = peer.receive().await
    else {
        panic!()
    };
    assert_eq!(failure.kind, ErrorKind::Exhausted);
    peer.send([(2, get("ab"))]).await;
    assert_eq!(peer.receive().await.unwrap().id, 2);
    const { assert!(FRAME_ANSWERS_BYTES_MAX < FRAME_BYTES_MAX) };
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_began_and_says_farewell() {
    let (stop, stopping) = oneshot::channel::<()>();
    let (finish, finished) = oneshot::channel::<()>();
    let finished = std::sync::Mutex::new(Some(finished));
    let calls = move |_: Call| -> BoxFuture<'static, Answer> {
        let finished = finished.lock().unwrap().take().unwrap();
        async move {
            finished.await.unwrap();
            Answer::Deleted(DeletedResource { revision: 5 })
        }
        .boxed()
    };
    let mut peer = Peer::of(calls, async move { stopping.await.unwrap() });
    peer.send([(1, get("a")), (2, Call::Ping)]).await;
    assert_eq!(peer.receive().await.unwrap().id, 2);
    stop.send(()).unwrap();
    peer.send([(3, Call::Ping)]).await;
    finish.send(()).unwrap();
    assert_eq!(peer.receive().await.unwrap().id, 1);
    assert_eq!(peer.farewell().await, ErrorKind::Unavailable);
    assert!(matches!(peer.served.await.unwrap(), Closed::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stops_does_not_wait_for_ever() {
    let mut peer = Peer::of(never, async { tokio::time::sleep(Duration::from_secs(1)).await });
    peer.send([(1, get("a"))]).await;
    let mut rest = Vec::new();
    peer.stream.read_to_end(&mut rest).await.unwrap();
    assert!(
        rest.is_empty(),
        "no farewell, because something that was begun is not answered"
    );
    assert!(matches!(
        peer.served.await.unwrap(),
        Closed::Broken(FrameError::Unanswered)
    ));
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
        names in proptest::collection::vec("[a-z]{0,300}", 0..40),
        cuts in proptest::collection::vec(1_usize..5000, 1..60),
    ) {
        let requests: Vec<_> = names.iter().zip(1..).map(|(name, id)| Request { id, call: get(name) }).collect();
        let mut bytes = Vec::new();
        for request in &requests {
            append(&mut bytes, request).unwrap();
        }
        let mut rest = bytes.as_slice();
        let mut reader = FrameReader::default();
        let mut read = Vec::new();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let (mut part, after) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
            rest = after;
            while !part.is_empty() {
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                let filled = reader.poll_fill(&mut cx, std::pin::Pin::new(&mut part));
                prop_assert!(matches!(filled, std::task::Poll::Ready(Ok(1..))));
                while let Some(frame) = reader.next_frame().unwrap() {
                    read.push(decode::<Request>(frame).unwrap());
                }
            }
        }
        prop_assert_eq!(read, requests);
        prop_assert_eq!(reader.pending_bytes(), 0);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // Whether it is refused does not matter here: a decoder that panics fails the test.
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Response>(&bytes);
    }
}
