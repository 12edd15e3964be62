use tokio::sync::watch;

use super::link::{CallError, Link, Message};
use super::*;

/// A link from node 2 to node 1, which does `serve` with the connection.
async fn linked<F>(serve: impl Fn(Connection) -> F + Send + Sync + 'static) -> (Listening, Link)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listening = listen(transport(1, 9), Arc::new(move |connection| Box::pin(serve(connection)))).await;
    let connection = transport(2, 9)
        .connect(listening.address, None, Protocol::Raft, SOON)
        .await
        .unwrap();
    (listening, Link::start(connection))
}

async fn next(connection: &mut Connection) -> Option<Message> {
    Some(Message::decode(connection.frames.next().await?.ok()?).unwrap())
}

async fn answer(connection: &mut Connection, to: &Message, body: &'static [u8]) {
    let answer = Message {
        verb: to.verb,
        call: to.call,
        body: Bytes::from_static(body),
    };
    connection.frames.send(answer.encode()).await.unwrap();
}

async fn answer_in_kind(connection: &mut Connection, to: Message) {
    connection.frames.send(to.encode()).await.unwrap();
}

async fn closes(link: &Link) {
    let closed = async {
        while link.is_open() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, closed)
        .await
        .expect("the link notices that the other side has closed");
}

#[tokio::test]
async fn calls_may_be_answered_in_any_order() {
    let (_listening, link) = linked(|mut connection| async move {
        let (first, second) = (
            next(&mut connection).await.unwrap(),
            next(&mut connection).await.unwrap(),
        );
        answer_in_kind(&mut connection, second).await;
        answer_in_kind(&mut connection, first).await;
        next(&mut connection).await;
    })
    .await;
    let call = |body: &'static [u8]| link.call(1, Bytes::from_static(body), SOON);
    let (one, two) = tokio::join!(call(b"one"), call(b"two"));
    assert_eq!((&one.unwrap()[..], &two.unwrap()[..]), (&b"one"[..], &b"two"[..]));
}

#[tokio::test]
async fn a_call_on_a_link_that_has_closed_is_not_sent() {
    let (_listening, link) = linked(|_| async {}).await;
    closes(&link).await;
    assert_eq!(link.call(1, Bytes::new(), SOON).await, Err(CallError::NotSent));
    assert!(matches!(link.stream(4), Err(CallError::NotSent)));
}

#[tokio::test]
async fn a_call_whose_link_breaks_before_the_answer_has_an_unknown_outcome() {
    let (_listening, link) = linked(|mut connection| async move {
        next(&mut connection).await;
    })
    .await;
    assert_eq!(link.call(1, Bytes::new(), SOON).await, Err(CallError::Broken));
}

#[tokio::test]
async fn a_late_answer_is_thrown_away_and_the_link_goes_on() {
    let (_listening, link) = linked(|mut connection| async move {
        let late = next(&mut connection).await.unwrap();
        let timely = next(&mut connection).await.unwrap();
        answer(&mut connection, &late, b"late").await;
        answer(&mut connection, &timely, b"timely").await;
        next(&mut connection).await;
    })
    .await;
    let limit = Duration::from_millis(20);
    assert_eq!(link.call(1, Bytes::new(), limit).await, Err(CallError::Late));
    assert_eq!(&link.call(1, Bytes::new(), SOON).await.unwrap()[..], b"timely");
}

#[tokio::test]
async fn calls_that_wait_are_bounded() {
    let (seen, mut count) = watch::channel(0);
    let (_listening, link) = linked(move |mut connection| {
        let seen = seen.clone();
        async move {
            while next(&mut connection).await.is_some() {
                seen.send_modify(|count| *count += 1);
            }
        }
    })
    .await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..limits::LINK_CALLS_MAX {
        let link = link.clone();
        calls.spawn(async move { link.call(1, Bytes::new(), SOON).await });
    }
    timeout(SOON, count.wait_for(|count| *count == limits::LINK_CALLS_MAX))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(link.call(1, Bytes::new(), SOON).await, Err(CallError::Full));
    // Whoever gives up makes room.
    calls.abort_all();
    while calls.join_next().await.is_some() {}
    let limit = Duration::from_millis(20);
    assert_eq!(link.call(1, Bytes::new(), limit).await, Err(CallError::Late));
}

#[tokio::test]
async fn a_stream_is_answered_in_order_beside_other_calls() {
    let (_listening, link) = linked(|mut connection| async move {
        while let Some(message) = next(&mut connection).await {
            answer_in_kind(&mut connection, message).await;
        }
    })
    .await;
    let mut stream = link.stream(8).unwrap();
    for n in 0..8u8 {
        stream.send(1, Bytes::copy_from_slice(&[n])).await.unwrap();
        link.call(2, Bytes::new(), SOON).await.unwrap();
    }
    for n in 0..8u8 {
        assert_eq!(&timeout(SOON, stream.receive()).await.unwrap().unwrap()[..], &[n]);
    }
    // What comes for a stream that was given up does not reach the next one.
    stream.send(1, Bytes::from_static(b"old")).await.unwrap();
    drop(stream);
    let mut stream = link.stream(8).unwrap();
    stream.send(1, Bytes::from_static(b"new")).await.unwrap();
    assert_eq!(&timeout(SOON, stream.receive()).await.unwrap().unwrap()[..], b"new");
}

#[tokio::test]
async fn a_stream_ends_with_its_link() {
    let (_listening, link) = linked(|mut connection| async move {
        next(&mut connection).await;
    })
    .await;
    let mut stream = link.stream(8).unwrap();
    stream.send(1, Bytes::new()).await.unwrap();
    assert_eq!(timeout(SOON, stream.receive()).await.unwrap(), None);
    assert_eq!(stream.send(1, Bytes::new()).await, Err(CallError::NotSent));
}

#[test]
fn a_frame_that_is_too_short_is_no_message() {
    assert!(Message::decode(BytesMut::from(&[1, 2, 3, 4, 5, 6, 7, 8][..])).is_none());
    let empty = Message::decode(BytesMut::from(&[1, 2, 0, 0, 0, 0, 0, 0, 0][..])).unwrap();
    assert_eq!((empty.verb, empty.call, empty.body.len()), (1, 2, 0));
}
