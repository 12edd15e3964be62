//! Maintenance: quota and alarms, digests, snapshots, downgrades, compaction without being asked.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use futures::StreamExt;
use revoada_etcd_api::etcdserverpb::alarm_request::AlarmAction;
use revoada_etcd_api::etcdserverpb::downgrade_request::DowngradeAction;
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::lease_client::LeaseClient;
use revoada_etcd_api::etcdserverpb::maintenance_client::MaintenanceClient;
use revoada_etcd_api::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, DowngradeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseTimeToLiveRequest, PutRequest, SnapshotRequest, StatusRequest, StatusResponse,
};
use revoada_faces::etcd::{AutoCompaction, EtcdOptions};
use revoada_store::{MemoryBackend, MemoryKeyspace, StoreBackend};
use sha2::{Digest, Sha256};
use tonic::Code;

use crate::support::{face, face_over, face_with, put, range, says};

fn maintenance(face: &Router) -> MaintenanceClient<Router> {
    MaintenanceClient::new(face.clone())
}

async fn status(face: &Router) -> StatusResponse {
    maintenance(face).status(StatusRequest {}).await.unwrap().into_inner()
}

fn alarm(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
    AlarmRequest {
        action: action as i32,
        member_id,
        alarm: alarm as i32,
    }
}

#[tokio::test]
async fn a_full_keyspace_raises_an_alarm_that_refuses_puts_until_it_is_ended() {
    let options = EtcdOptions {
        quota_bytes: Some(40_000),
        ..EtcdOptions::default()
    };
    let face = face_with(options).router();
    let mut kv = KvClient::new(face.clone());
    let large = put("large", &"b".repeat(4_096));
    let mut puts = 0;
    let status_of_full = loop {
        match kv.put(large.clone()).await {
            Ok(_) => puts += 1,
            Err(status) => break status,
        }
    };
    assert!((5..10).contains(&puts), "{puts} puts of 4 KiB");
    let full = "etcdserver: mvcc: database space exceeded";
    says(&status_of_full, Code::ResourceExhausted, full);
    let raised = maintenance(&face)
        .alarm(alarm(AlarmAction::Get, 0, AlarmType::None))
        .await
        .unwrap()
        .into_inner()
        .alarms;
    assert_eq!(raised.len(), 1);
    assert_eq!((raised[0].member_id, raised[0].alarm), (9, AlarmType::Nospace as i32));
    let told = status(&face).await;
    assert_eq!(told.errors, ["memberID:9 alarm:NOSPACE "]);
    assert!(told.db_size > told.db_size_in_use && told.db_size_quota == 40_000);
    // Also what there would be room for.
    says(
        &kv.put(put("small", "a")).await.unwrap_err(),
        Code::ResourceExhausted,
        full,
    );
    let granted = LeaseClient::new(face.clone())
        .lease_grant(LeaseGrantRequest { id: 0, ttl: 60 })
        .await;
    says(&granted.unwrap_err(), Code::ResourceExhausted, full);
    // What makes room is done.
    let delete = DeleteRangeRequest {
        key: Bytes::from_static(b"large"),
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete).await.unwrap();
    let revision = status(&face).await.header.unwrap().revision;
    let compact = CompactionRequest {
        revision,
        physical: true,
    };
    kv.compact(compact).await.unwrap();
    let end = alarm(AlarmAction::Deactivate, 9, AlarmType::Nospace);
    let ended = maintenance(&face).alarm(end).await.unwrap().into_inner().alarms;
    assert_eq!(ended, raised);
    kv.put(put("small", "a")).await.unwrap();
    let again = maintenance(&face).alarm(end).await.unwrap().into_inner().alarms;
    assert!(again.is_empty(), "it was ended already");
}

#[tokio::test]
async fn a_cluster_that_is_called_corrupt_changes_nothing() {
    let face = face();
    let mut kv = KvClient::new(face.clone());
    kv.put(put("a", "1")).await.unwrap();
    let raise = alarm(AlarmAction::Activate, 4, AlarmType::Corrupt);
    assert_eq!(
        maintenance(&face).alarm(raise).await.unwrap().into_inner().alarms.len(),
        1
    );
    let corrupt = "etcdserver: corrupt cluster";
    says(&kv.put(put("a", "2")).await.unwrap_err(), Code::DataLoss, corrupt);
    let delete = DeleteRangeRequest {
        key: Bytes::from_static(b"a"),
        ..DeleteRangeRequest::default()
    };
    says(&kv.delete_range(delete).await.unwrap_err(), Code::DataLoss, corrupt);
    assert_eq!(kv.range(range("a", "")).await.unwrap().into_inner().count, 1);
    let nospace = alarm(AlarmAction::Get, 0, AlarmType::Nospace);
    assert!(
        maintenance(&face)
            .alarm(nospace)
            .await
            .unwrap()
            .into_inner()
            .alarms
            .is_empty()
    );
}

#[tokio::test]
async fn digests_are_of_a_revision_that_can_be_read() {
    let (one, other) = (face(), face());
    for face in [&one, &other] {
        let mut kv = KvClient::new(face.clone());
        for value in ["1", "2", "3"] {
            kv.put(put("a", value)).await.unwrap();
        }
    }
    KvClient::new(other.clone()).put(put("b", "1")).await.unwrap();
    let hash = |face: &Router, revision: i64| {
        let mut maintenance = maintenance(face);
        async move { maintenance.hash_kv(HashKvRequest { revision }).await }
    };
    let newest = hash(&one, 0).await.unwrap().into_inner();
    assert_eq!((newest.hash_revision, newest.compact_revision), (4, 0));
    assert_eq!(newest.hash, hash(&other, 4).await.unwrap().into_inner().hash);
    assert_ne!(newest.hash, hash(&other, 0).await.unwrap().into_inner().hash);
    assert_ne!(newest.hash, hash(&one, 3).await.unwrap().into_inner().hash);
    let future = "etcdserver: mvcc: required revision is a future revision";
    says(&hash(&one, 5).await.unwrap_err(), Code::OutOfRange, future);
    let compact = CompactionRequest {
        revision: 3,
        physical: true,
    };
    KvClient::new(one.clone()).compact(compact).await.unwrap();
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    says(&hash(&one, 2).await.unwrap_err(), Code::OutOfRange, compacted);
    assert_eq!(hash(&one, 4).await.unwrap().into_inner().compact_revision, 3);
}

#[tokio::test]
async fn a_snapshot_is_what_etcdctl_takes_for_whole_and_what_we_restore() {
    let face = face();
    let mut kv = KvClient::new(face.clone());
    for n in 0..2_000 {
        kv.put(put(&format!("key/{n:04}"), &"v".repeat(40))).await.unwrap();
    }
    let lease = LeaseGrantRequest { id: 77, ttl: 600 };
    LeaseClient::new(face.clone()).lease_grant(lease).await.unwrap();
    let leased = PutRequest {
        lease: 77,
        ..put("leased", "1")
    };
    let taken_at = kv.put(leased).await.unwrap().into_inner().header.unwrap().revision;
    let mut pieces = maintenance(&face)
        .snapshot(SnapshotRequest {})
        .await
        .unwrap()
        .into_inner();
    let mut blobs = Vec::new();
    let mut remaining = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.unwrap();
        assert_eq!(piece.version, "3.6.0");
        remaining.push(piece.remaining_bytes);
        blobs.push(piece.blob);
    }
    assert_eq!(remaining.pop(), Some(0));
    assert!(remaining.iter().all(|left| *left > 0));
    // As `etcdctl snapshot save` and `etcdutl` look at it: sectors, and the digest of them.
    let saved = blobs.concat();
    assert_eq!(saved.len() % 512, 32);
    let (content, digest) = saved.split_at(saved.len() - 32);
    assert_eq!(Sha256::digest(content)[..], *digest);

    for snapshot in [content, &saved] {
        let keyspace = Arc::new(MemoryKeyspace::new());
        let other = face_over(keyspace.clone(), EtcdOptions::default()).router();
        let mut kv = KvClient::new(other.clone());
        kv.put(put("key/that-goes", "1")).await.unwrap();
        let backend = MemoryBackend::over(keyspace);
        let restored = backend.restore(&mut &snapshot[..]).await.unwrap();
        assert!(restored.revision > taken_at as u64, "no revision goes back");
        let all = kv.range(range("key/", "key0")).await.unwrap().into_inner();
        assert_eq!(all.count, 2_000);
        assert!(
            all.kvs
                .iter()
                .all(|kv| kv.value.len() == 40 && kv.mod_revision > taken_at)
        );
        let told = LeaseTimeToLiveRequest { id: 77, keys: true };
        let told = LeaseClient::new(other)
            .lease_time_to_live(told)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (told.granted_ttl, told.keys),
            (600, vec![Bytes::from_static(b"leased")])
        );
    }
    let mut damaged = content.to_vec();
    damaged[content.len() / 2] ^= 1;
    let nobody = MemoryBackend::new().restore(&mut &damaged[..]).await;
    assert!(nobody.is_err(), "a snapshot that was changed is not restored");
}

#[tokio::test]
async fn a_downgrade_is_judged_as_etcd_judges_it_and_told_by_the_status() {
    let face = face();
    let ask = |action: DowngradeAction, version: &str| {
        let mut maintenance = maintenance(&face);
        let request = DowngradeRequest {
            action: action as i32,
            version: version.to_owned(),
        };
        async move { maintenance.downgrade(request).await }
    };
    let wrong = "etcdserver: wrong downgrade target version format";
    says(
        &ask(DowngradeAction::Validate, "3").await.unwrap_err(),
        Code::InvalidArgument,
        wrong,
    );
    let invalid = "etcdserver: invalid downgrade target version";
    says(
        &ask(DowngradeAction::Enable, "3.4.0").await.unwrap_err(),
        Code::InvalidArgument,
        invalid,
    );
    let valid = ask(DowngradeAction::Validate, "3.5").await.unwrap().into_inner();
    assert_eq!(valid.version, "3.6.0");
    assert!(!status(&face).await.downgrade_info.unwrap().enabled);
    ask(DowngradeAction::Enable, "3.5.0").await.unwrap();
    let told = status(&face).await.downgrade_info.unwrap();
    assert_eq!((told.enabled, &told.target_version[..]), (true, "3.5.0"));
    let under_way = "etcdserver: cluster has a downgrade job in progress";
    says(
        &ask(DowngradeAction::Validate, "3.5").await.unwrap_err(),
        Code::FailedPrecondition,
        under_way,
    );
    ask(DowngradeAction::Cancel, "").await.unwrap();
    assert!(!status(&face).await.downgrade_info.unwrap().enabled);
}

#[tokio::test(start_paused = true)]
async fn who_leads_compacts_what_is_too_old() {
    let options = EtcdOptions {
        auto_compaction: Some(AutoCompaction::Periodic(Duration::from_secs(10))),
        ..EtcdOptions::default()
    };
    let served = face_with(options);
    let face = served.clone().router();
    let house = tokio::spawn(served.keep_house());
    let mut kv = KvClient::new(face.clone());
    let first = kv
        .put(put("a", "0"))
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .revision;
    let old = revoada_etcd_api::etcdserverpb::RangeRequest {
        revision: first,
        ..range("a", "")
    };
    kv.range(old.clone()).await.unwrap();
    let begun = tokio::time::Instant::now();
    let status = loop {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing was compacted");
        kv.put(put("a", "1")).await.unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        match kv.range(old.clone()).await {
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    let compacted = "etcdserver: mvcc: required revision has been compacted";
    says(&status, Code::OutOfRange, compacted);
    assert!(begun.elapsed() >= Duration::from_secs(10));
    house.abort();
}
