//! Watches at scale: who watches is told everything once, in order, however many watch and however slowly they read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use futures::StreamExt;
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::watch_client::WatchClient;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::etcdserverpb::{
    CompactionRequest, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use revoada_faces::etcd::EtcdOptions;
use tonic::{Code, Request, Streaming};

use crate::support::{Alone, create, face, face_of, face_with, next, put, says, watching};

type Asks = futures::channel::mpsc::UnboundedSender<WatchRequest>;

fn ask(asks: &Asks, request: RequestUnion) {
    let request_union = Some(request);
    asks.unbounded_send(WatchRequest { request_union }).unwrap();
}

/// A stream with a watch of each of these, all created.
async fn stream(face: &Router, creates: Vec<WatchCreateRequest>) -> (Asks, Streaming<WatchResponse>) {
    let count = creates.len();
    let requests = creates.into_iter().map(RequestUnion::CreateRequest).collect();
    let (asks, mut answers) = watching(face.clone(), requests).await;
    for _ in 0..count {
        let created = next(&mut answers).await;
        assert!(created.created && !created.canceled, "{created:?}");
    }
    (asks, answers)
}

/// Lets every watch that was created catch up: what it asked before is answered.
async fn settle(asks: &Asks, answers: &mut Streaming<WatchResponse>) {
    ask(asks, RequestUnion::ProgressRequest(WatchProgressRequest {}));
    let settled = next(answers).await;
    assert_eq!((settled.watch_id, settled.events.len()), (-1, 0));
}

async fn puts(face: &Router, key: &str, count: usize) {
    let mut kv = KvClient::new(face.clone());
    for n in 0..count {
        kv.put(put(key, &n.to_string())).await.unwrap();
    }
}

/// Reads until each of so many watches has so many events; what each was told, by revision.
async fn told(answers: &mut Streaming<WatchResponse>, watches: usize, events: usize) -> BTreeMap<i64, Vec<i64>> {
    let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    while told.len() < watches || told.values().any(|revisions| revisions.len() < events) {
        let answer = next(answers).await;
        let revisions = answer
            .events
            .iter()
            .map(|event| event.kv.as_ref().unwrap().mod_revision);
        told.entry(answer.watch_id).or_default().extend(revisions);
    }
    told
}

#[tokio::test]
async fn a_thousand_watchers_of_one_key_and_of_a_thousand_are_each_told_all_of_it_once() {
    let face = face();
    let mut of_one = Vec::new();
    let mut of_many = Vec::new();
    for stream_number in 0..10 {
        of_one.push(stream(&face, vec![create("one", ""); 100]).await);
        let keys = (0..100).map(|n| create(&format!("many/{}", stream_number * 100 + n), ""));
        of_many.push(stream(&face, keys.collect()).await);
    }
    puts(&face, "one", 20).await;
    for n in 0..1_000 {
        puts(&face, &format!("many/{n}"), 2).await;
    }
    let expected: Vec<i64> = (2..22).collect();
    for (_, answers) in &mut of_one {
        for revisions in told(answers, 100, 20).await.into_values() {
            assert_eq!(revisions, expected);
        }
    }
    for (stream_number, (_, answers)) in of_many.iter_mut().enumerate() {
        for (id, revisions) in told(answers, 100, 2).await {
            let first = 22 + 2 * (stream_number as i64 * 100 + id);
            assert_eq!(revisions, [first, first + 1], "stream {stream_number}, watch {id}");
        }
    }
}

#[tokio::test]
async fn a_stream_that_does_not_read_falls_behind_and_misses_nothing() {
    let face = face();
    // More bytes than a queue holds, however few batches they come in: 20 watches are told of 400 times 16 KiB each.
    let (asks, mut answers) = stream(&face, vec![create("a", "b"); 20]).await;
    settle(&asks, &mut answers).await;
    let mut kv = KvClient::new(face.clone());
    let large = "x".repeat(16 << 10);
    for _ in 0..400 {
        kv.put(put("a", &large)).await.unwrap();
    }
    let expected: Vec<i64> = (2..402).collect();
    for (id, revisions) in told(&mut answers, 20, 400).await {
        assert_eq!(revisions, expected, "watch {id}");
    }
    // It is told of what happens from now on, as before.
    puts(&face, "a", 1).await;
    assert_eq!(
        told(&mut answers, 20, 1)
            .await
            .into_values()
            .flatten()
            .collect::<Vec<_>>(),
        [402; 20]
    );
}

#[tokio::test]
async fn progress_never_overtakes_what_was_not_told() {
    let face = face();
    let (asks, mut answers) = stream(&face, vec![create("a", ""); 20]).await;
    settle(&asks, &mut answers).await;
    for round in 0..5 {
        puts(&face, "a", 300).await;
        ask(&asks, RequestUnion::ProgressRequest(WatchProgressRequest {}));
        puts(&face, "a", 10).await;
        let mut reached: BTreeMap<i64, i64> = BTreeMap::new();
        loop {
            let answer = next(&mut answers).await;
            let revision = answer.header.unwrap().revision;
            if answer.watch_id == -1 {
                assert!(revision > 300 + round * 310, "round {round}: {revision}");
                assert_eq!(reached.len(), 20);
                assert!(
                    reached.values().all(|told| *told == revision),
                    "{revision}: {reached:?}"
                );
                break;
            }
            reached.insert(answer.watch_id, revision);
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_behind_what_was_compacted_is_told_so() {
    let face = face();
    let (asks, mut answers) = stream(&face, vec![create("a", ""); 20]).await;
    settle(&asks, &mut answers).await;
    puts(&face, "a", 400).await;
    let compact = CompactionRequest {
        revision: 400,
        physical: true,
    };
    KvClient::new(face.clone()).compact(compact).await.unwrap();
    let mut ended = 0;
    while ended < 20 {
        let answer = next(&mut answers).await;
        if answer.canceled {
            assert_eq!(answer.compact_revision, 400);
            ended += 1;
        } else {
            let kv = answer.events[0].kv.as_ref().unwrap();
            assert!(kv.mod_revision < 400, "a watch has a gap: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_watch_that_was_cancelled_leaves_nothing_to_the_next_of_its_number() {
    let face = face();
    let numbered = WatchCreateRequest {
        watch_id: 5,
        ..create("a", "")
    };
    let (asks, mut answers) = stream(&face, vec![numbered.clone()]).await;
    settle(&asks, &mut answers).await;
    puts(&face, "a", 100).await;
    ask(&asks, RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 5 }));
    let other = WatchCreateRequest {
        key: "b".into(),
        ..numbered
    };
    ask(&asks, RequestUnion::CreateRequest(other));
    while !next(&mut answers).await.created {}
    settle(&asks, &mut answers).await;
    puts(&face, "b", 1).await;
    let answer = next(&mut answers).await;
    assert_eq!(&answer.events[0].kv.as_ref().unwrap().key[..], b"b");
}

#[tokio::test]
async fn a_watch_from_a_revision_to_come_is_told_from_there() {
    let face = face();
    let later = WatchCreateRequest {
        start_revision: 5,
        ..create("a", "")
    };
    let (_asks, mut answers) = stream(&face, vec![later, create("a", "")]).await;
    puts(&face, "a", 5).await;
    let mut told: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    while told.values().map(Vec::len).sum::<usize>() < 7 {
        let answer = next(&mut answers).await;
        let revisions = answer
            .events
            .iter()
            .map(|event| event.kv.as_ref().unwrap().mod_revision);
        told.entry(answer.watch_id).or_default().extend(revisions);
    }
    assert_eq!(told, BTreeMap::from([(0, vec![5, 6]), (1, vec![2, 3, 4, 5, 6])]));
}

#[tokio::test(start_paused = true)]
async fn a_silent_watch_that_wants_it_hears_of_progress() {
    let options = EtcdOptions {
        progress_interval: Duration::from_secs(5),
        ..EtcdOptions::default()
    };
    let face = face_with(options).router();
    let wants = WatchCreateRequest {
        progress_notify: true,
        ..create("a", "")
    };
    let (_asks, mut answers) = stream(&face, vec![wants, create("a", "")]).await;
    puts(&face, "b", 3).await;
    for _ in 0..2 {
        let before = tokio::time::Instant::now();
        let progress = next(&mut answers).await;
        assert_eq!((progress.watch_id, progress.header.unwrap().revision), (0, 4));
        assert!(progress.events.is_empty());
        assert!(before.elapsed() >= Duration::from_secs(4));
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_needs_a_leader_ends_without_one() {
    let group = Arc::new(Alone::default());
    let face = face_of(group.clone(), EtcdOptions::default()).router();
    let open = || async {
        let asked = futures::stream::iter([WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create("a", ""))),
        }]);
        let mut request = Request::new(asked.chain(futures::stream::pending()));
        request.metadata_mut().insert("hasleader", "true".parse().unwrap());
        WatchClient::new(face.clone()).watch(request).await
    };
    let mut answers = open().await.unwrap().into_inner();
    assert!(next(&mut answers).await.created);
    group.leaderless.store(true, Ordering::Relaxed);
    let status = answers.next().await.unwrap().unwrap_err();
    says(&status, Code::Unavailable, "etcdserver: no leader");
    let status = open().await.unwrap_err();
    says(&status, Code::Unavailable, "etcdserver: no leader");
}

#[tokio::test]
async fn a_range_that_is_none_and_a_number_that_is_taken_are_refused() {
    let face = face();
    let (asks, mut answers) = stream(&face, vec![create("a", "")]).await;
    ask(&asks, RequestUnion::CreateRequest(create("b", "a")));
    let refused = next(&mut answers).await;
    assert!(refused.created && refused.canceled && refused.watch_id == -1);
    assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty");
}
