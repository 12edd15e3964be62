//! Each call, by the face's own client, without a socket.

use bytes::Bytes;
use futures::StreamExt;
use revoada_etcd_api::etcdserverpb::auth_client::AuthClient;
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::lease_client::LeaseClient;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::etcdserverpb::{
    self as pb, CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, PutRequest, RangeRequest, TxnRequest, WatchCreateRequest, WatchProgressRequest,
    WatchRequest,
};
use revoada_etcd_api::v3electionpb::election_client::ElectionClient;
use revoada_etcd_api::v3electionpb::{CampaignRequest, LeaderRequest, ProclaimRequest, ResignRequest};
use revoada_etcd_api::v3lockpb::lock_client::LockClient;
use revoada_etcd_api::v3lockpb::{LockRequest, UnlockRequest};
use tonic::{Code, Status};

use crate::support::{create, face, keys, next, put, range, says, watching};

#[tokio::test]
async fn a_put_is_read_with_its_numbers_and_every_answer_has_a_header() {
    let mut kv = KvClient::new(face());
    let first = kv.put(put("a", "1")).await.unwrap().into_inner();
    let header = first.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (7, 9, 3));
    assert_eq!(header.revision, 2, "an empty keyspace is at 1, as in etcd");
    let again = kv
        .put(PutRequest {
            prev_kv: true,
            ..put("a", "2")
        })
        .await
        .unwrap()
        .into_inner();
    let before = again.prev_kv.unwrap();
    assert_eq!(
        (&before.key[..], &before.value[..], before.version),
        (&b"a"[..], &b"1"[..], 1)
    );
    let read = kv.range(range("a", "")).await.unwrap().into_inner();
    assert_eq!((read.count, read.more, read.header.unwrap().revision), (1, false, 3));
    let entry = &read.kvs[0];
    assert_eq!((entry.create_revision, entry.mod_revision, entry.version), (2, 3, 2));
    assert_eq!(&entry.value[..], b"2");
    let old = RangeRequest {
        revision: 2,
        ..range("a", "")
    };
    let old = kv.range(old).await.unwrap().into_inner();
    assert_eq!((&old.kvs[0].value[..], old.header.unwrap().revision), (&b"1"[..], 3));
}

#[tokio::test]
async fn ranges_are_ordered_cut_filtered_and_counted_as_asked() {
    let mut kv = KvClient::new(face());
    for (key, value) in [("b", "1"), ("a", "3"), ("c", "2"), ("a", "0")] {
        kv.put(put(key, value)).await.unwrap();
    }
    let all = |change: &dyn Fn(&mut RangeRequest)| {
        let mut request = range("\0", "\0");
        change(&mut request);
        request
    };
    let ask = |request: RangeRequest| {
        let mut kv = kv.clone();
        async move { kv.range(request).await.unwrap().into_inner() }
    };
    assert_eq!(keys(&ask(all(&|_| {})).await), ["a", "b", "c"]);
    let cut = ask(all(&|r| r.limit = 2)).await;
    assert_eq!((keys(&cut), cut.more, cut.count), (vec!["a", "b"], true, 3));
    let newest = ask(all(&|r| (r.sort_target, r.sort_order, r.limit) = (3, 2, 2))).await;
    assert_eq!((keys(&newest), newest.more), (vec!["a", "c"], true));
    let by_value = ask(all(&|r| (r.sort_target, r.keys_only) = (4, true))).await;
    assert_eq!(keys(&by_value), ["a", "b", "c"], "0, 1, 2, though values are not shown");
    assert!(by_value.kvs.iter().all(|kv| kv.value.is_empty()));
    let backwards = ask(all(&|r| r.sort_order = 2)).await;
    assert_eq!(keys(&backwards), ["c", "b", "a"]);
    let later = ask(all(&|r| r.min_mod_revision = 4)).await;
    assert_eq!((keys(&later), later.count), (vec!["a", "c"], 3));
    let early = ask(all(&|r| r.max_create_revision = 2)).await;
    assert_eq!(keys(&early), ["b"]);
    let counted = ask(all(&|r| r.count_only = true)).await;
    assert_eq!((counted.count, counted.kvs.len()), (3, 0));
    assert_eq!(keys(&ask(range("a", "c")).await), ["a", "b"]);
    assert_eq!(keys(&ask(range("b", "\0")).await), ["b", "c"]);
    assert_eq!(ask(range("c", "a")).await.count, 0);
}

#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let mut kv = KvClient::new(face());
    let status = kv.range(range("", "")).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: key is not provided");
    let ignoring = PutRequest {
        ignore_value: true,
        ..put("a", "x")
    };
    let status = kv.put(ignoring).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: value is provided");
    let ignoring = PutRequest {
        ignore_value: true,
        ..put("a", "")
    };
    let status = kv.put(ignoring).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: key not found");
    let leased = PutRequest {
        lease: 5,
        ..put("a", "")
    };
    let of_no_kind = TxnRequest {
        success: vec![pb::RequestOp { request: None }],
        ..TxnRequest::default()
    };
    let status = kv.txn(of_no_kind).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: key not found");
    let status = kv.put(leased).await.unwrap_err();
    says(&status, Code::NotFound, "etcdserver: requested lease not found");
    let future = RangeRequest {
        revision: 9,
        ..range("a", "")
    };
    let status = kv.range(future).await.unwrap_err();
    says(
        &status,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
    for value in ["1", "2", "3"] {
        kv.put(put("a", value)).await.unwrap();
    }
    let compact = CompactionRequest {
        revision: 3,
        physical: true,
    };
    kv.compact(compact).await.unwrap();
    let status = kv.compact(compact).await.unwrap_err();
    says(
        &status,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    let gone = RangeRequest {
        revision: 2,
        ..range("a", "")
    };
    let status = kv.range(gone).await.unwrap_err();
    says(
        &status,
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    let unordered = RangeRequest {
        sort_order: 9,
        ..range("a", "")
    };
    let status = kv.range(unordered).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: invalid sort option");
    let twice = TxnRequest {
        success: vec![op(put("k", "1")), op(put("k", "2"))],
        ..TxnRequest::default()
    };
    let status = kv.txn(twice).await.unwrap_err();
    says(
        &status,
        Code::InvalidArgument,
        "etcdserver: duplicate key given in txn request",
    );
    let long = TxnRequest {
        success: (0..129).map(|n| op(put(&n.to_string(), ""))).collect(),
        ..TxnRequest::default()
    };
    let status = kv.txn(long).await.unwrap_err();
    says(
        &status,
        Code::InvalidArgument,
        "etcdserver: too many operations in txn request",
    );
}

fn op(put: PutRequest) -> pb::RequestOp {
    pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put)),
    }
}

#[tokio::test]
async fn a_transaction_compares_and_does_one_branch_nested_ones_too() {
    let mut kv = KvClient::new(face());
    kv.put(put("a", "1")).await.unwrap();
    let compare = |value: &'static str| pb::Compare {
        result: 0,
        target: 3,
        key: Bytes::from_static(b"a"),
        target_union: Some(pb::compare::TargetUnion::Value(Bytes::from_static(value.as_bytes()))),
        ..pb::Compare::default()
    };
    let nested = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestTxn(TxnRequest {
            compare: vec![compare("1")],
            success: vec![op(PutRequest {
                prev_kv: true,
                ..put("a", "2")
            })],
            failure: Vec::new(),
        })),
    };
    let read = pb::RequestOp {
        request: Some(pb::request_op::Request::RequestRange(range("a", ""))),
    };
    let txn = TxnRequest {
        compare: vec![compare("1")],
        success: vec![nested, read.clone()],
        failure: vec![read.clone()],
    };
    let done = kv.txn(txn.clone()).await.unwrap().into_inner();
    assert!(done.succeeded);
    let [first, second] = &done.responses[..] else {
        panic!("{done:?}")
    };
    let Some(pb::response_op::Response::ResponseTxn(inner)) = &first.response else {
        panic!("{first:?}")
    };
    let Some(pb::response_op::Response::ResponsePut(written)) = &inner.responses[0].response else {
        panic!()
    };
    assert_eq!(&written.prev_kv.as_ref().unwrap().value[..], b"1");
    let Some(pb::response_op::Response::ResponseRange(seen)) = &second.response else {
        panic!()
    };
    assert_eq!(&seen.kvs[0].value[..], b"2");
    let other = kv.txn(txn).await.unwrap().into_inner();
    assert!(!other.succeeded);
    // One that only reads takes no revision.
    let reads = TxnRequest {
        success: vec![read],
        ..TxnRequest::default()
    };
    let before = kv
        .txn(reads.clone())
        .await
        .unwrap()
        .into_inner()
        .header
        .unwrap()
        .revision;
    let after = kv.txn(reads).await.unwrap().into_inner().header.unwrap().revision;
    assert_eq!((before, after), (3, 3));
}

#[tokio::test]
async fn a_watch_tells_the_past_from_its_revision_and_then_what_happens_whole_revisions_at_once() {
    let face = face();
    let mut kv = KvClient::new(face.clone());
    for value in ["1", "2"] {
        kv.put(put("a", value)).await.unwrap();
    }
    let from = WatchCreateRequest {
        start_revision: 3,
        prev_kv: true,
        ..create("a", "c")
    };
    let (_asks, mut answers) = watching(face.clone(), vec![RequestUnion::CreateRequest(from)]).await;
    let created = next(&mut answers).await;
    assert!(created.created && !created.canceled && created.watch_id == 0);
    let past = next(&mut answers).await;
    assert_eq!((past.events.len(), past.header.unwrap().revision), (1, 3));
    let event = &past.events[0];
    assert_eq!(&event.prev_kv.as_ref().unwrap().value[..], b"1");
    let txn = TxnRequest {
        success: vec![op(put("a", "3")), op(put("b", "1")), op(put("z", "1"))],
        ..TxnRequest::default()
    };
    kv.txn(txn).await.unwrap();
    let now = next(&mut answers).await;
    assert_eq!((now.events.len(), now.header.unwrap().revision), (2, 4));
    let delete = DeleteRangeRequest {
        key: Bytes::from_static(b"b"),
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete).await.unwrap();
    let deleted = next(&mut answers).await;
    let event = &deleted.events[0];
    assert_eq!((event.r#type, event.kv.as_ref().unwrap().mod_revision), (1, 5));
    assert!(event.kv.as_ref().unwrap().value.is_empty());
}

#[tokio::test]
async fn watches_of_one_stream_are_filtered_cancelled_asked_and_told_of_compaction() {
    let face = face();
    let mut kv = KvClient::new(face.clone());
    for value in ["1", "2", "3"] {
        kv.put(put("a", value)).await.unwrap();
    }
    let compact = CompactionRequest {
        revision: 4,
        physical: false,
    };
    kv.compact(compact).await.unwrap();
    let no_puts = WatchCreateRequest {
        filters: vec![0],
        ..create("a", "")
    };
    let old = WatchCreateRequest {
        start_revision: 2,
        watch_id: 8,
        ..create("a", "")
    };
    let (asks, mut answers) = watching(
        face.clone(),
        vec![RequestUnion::CreateRequest(no_puts), RequestUnion::CreateRequest(old)],
    )
    .await;
    assert_eq!(next(&mut answers).await.watch_id, 0);
    let created = next(&mut answers).await;
    assert!(created.created && created.watch_id == 8);
    let gone = next(&mut answers).await;
    assert!(
        gone.canceled && gone.compact_revision >= 4 && gone.watch_id == 8,
        "{gone:?}"
    );
    kv.put(put("a", "4")).await.unwrap();
    let ask = |request| {
        asks.unbounded_send(WatchRequest {
            request_union: Some(request),
        })
        .unwrap();
    };
    ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    let progress = next(&mut answers).await;
    assert_eq!(
        (progress.watch_id, progress.events.len()),
        (-1, 0),
        "the put was filtered: {progress:?}"
    );
    assert_eq!(progress.header.unwrap().revision, 5);
    ask(RequestUnion::CreateRequest(WatchCreateRequest {
        watch_id: 77,
        ..create("b", "")
    }));
    assert_eq!(next(&mut answers).await.watch_id, 77);
    ask(RequestUnion::CreateRequest(WatchCreateRequest {
        watch_id: 77,
        ..create("b", "")
    }));
    let twice = next(&mut answers).await;
    assert!(twice.created && twice.canceled && twice.watch_id == -1, "{twice:?}");
    ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 0 }));
    let cancelled = next(&mut answers).await;
    assert!(cancelled.canceled && cancelled.watch_id == 0);
}

#[tokio::test]
async fn a_lease_is_granted_kept_alive_told_and_takes_its_keys_with_it() {
    let face = face();
    let (mut kv, mut lease) = (KvClient::new(face.clone()), LeaseClient::new(face));
    let granted = lease
        .lease_grant(LeaseGrantRequest { id: 0, ttl: 60 })
        .await
        .unwrap()
        .into_inner();
    assert!(granted.id > 0 && granted.ttl == 60);
    let again = LeaseGrantRequest {
        id: granted.id,
        ttl: 60,
    };
    let status = lease.lease_grant(again).await.unwrap_err();
    says(&status, Code::FailedPrecondition, "etcdserver: lease already exists");
    let leased = PutRequest {
        lease: granted.id,
        ..put("a", "1")
    };
    kv.put(leased).await.unwrap();
    let ask = LeaseTimeToLiveRequest {
        id: granted.id,
        keys: true,
    };
    let told = lease.lease_time_to_live(ask).await.unwrap().into_inner();
    assert!(told.granted_ttl == 60 && (1..=60).contains(&told.ttl), "{told:?}");
    assert_eq!(told.keys, [Bytes::from_static(b"a")]);
    let asks = [granted.id, 4].map(|id| LeaseKeepAliveRequest { id });
    let answers = lease
        .lease_keep_alive(futures::stream::iter(asks))
        .await
        .unwrap()
        .into_inner();
    let answers: Vec<_> = answers.map(|answer| answer.unwrap().ttl).collect().await;
    assert_eq!(
        answers,
        [60, 0],
        "one that is not there has no time left, and the stream goes on"
    );
    lease.lease_revoke(LeaseRevokeRequest { id: granted.id }).await.unwrap();
    assert_eq!(kv.range(range("a", "")).await.unwrap().into_inner().count, 0);
    let status = lease
        .lease_revoke(LeaseRevokeRequest { id: granted.id })
        .await
        .unwrap_err();
    says(&status, Code::NotFound, "etcdserver: requested lease not found");
    let ask = LeaseTimeToLiveRequest {
        id: granted.id,
        keys: false,
    };
    assert_eq!(lease.lease_time_to_live(ask).await.unwrap().into_inner().ttl, -1);
}

#[tokio::test]
async fn a_lock_has_one_owner_and_the_next_one_waits_for_it() {
    let face = face();
    let mut lease = LeaseClient::new(face.clone());
    let mut leases = Vec::new();
    for _ in 0..2 {
        let granted = lease.lease_grant(LeaseGrantRequest { id: 0, ttl: 60 }).await.unwrap();
        leases.push(granted.into_inner().id);
    }
    let lock = |lease: i64| {
        let mut lock = LockClient::new(face.clone());
        async move {
            let request = LockRequest {
                name: Bytes::from_static(b"door"),
                lease,
            };
            lock.lock(request).await.unwrap().into_inner().key
        }
    };
    let first = lock(leases[0]).await;
    assert_eq!(first, format!("door/{:x}", leases[0]).as_bytes());
    let second = tokio::spawn(lock(leases[1]));
    let mut kv = KvClient::new(face.clone());
    // The second one has taken its place, and waits.
    while kv.range(range("door/", "door0")).await.unwrap().into_inner().count < 2 {
        tokio::task::yield_now().await;
    }
    assert!(!second.is_finished());
    let unlock = UnlockRequest { key: first };
    LockClient::new(face.clone()).unlock(unlock).await.unwrap();
    assert_eq!(second.await.unwrap(), format!("door/{:x}", leases[1]).as_bytes());
}

#[tokio::test]
async fn an_election_has_one_leader_whose_value_others_see() {
    let mut election = ElectionClient::new(face());
    let name = Bytes::from_static(b"chair");
    let campaign = CampaignRequest {
        name: name.clone(),
        lease: 0,
        value: Bytes::from_static(b"one"),
    };
    let ask = LeaderRequest { name: name.clone() };
    let status = election.leader(ask.clone()).await.unwrap_err();
    assert_eq!(status.message(), "election: no leader");
    let won = election.campaign(campaign).await.unwrap().into_inner().leader.unwrap();
    let mut seen = election.observe(ask.clone()).await.unwrap().into_inner();
    assert_eq!(&seen.next().await.unwrap().unwrap().kv.unwrap().value[..], b"one");
    let proclaim = ProclaimRequest {
        leader: Some(won.clone()),
        value: Bytes::from_static(b"two"),
    };
    election.proclaim(proclaim.clone()).await.unwrap();
    assert_eq!(&seen.next().await.unwrap().unwrap().kv.unwrap().value[..], b"two");
    let resign = ResignRequest { leader: Some(won) };
    election.resign(resign).await.unwrap();
    let status = election.proclaim(proclaim).await.unwrap_err();
    assert_eq!(status.message(), "election: not leader");
}

fn with_token<T>(message: T, token: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}

#[tokio::test]
async fn once_it_is_enabled_each_user_may_do_what_its_roles_may_and_nobody_else_anything() {
    let face = face();
    let (mut auth, mut kv) = (AuthClient::new(face.clone()), KvClient::new(face.clone()));
    let status = auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap_err();
    says(
        &status,
        Code::FailedPrecondition,
        "etcdserver: root user does not exist",
    );
    for user in ["root", "eve"] {
        let add = pb::AuthUserAddRequest {
            name: user.to_owned(),
            password: format!("{user}'s"),
            ..pb::AuthUserAddRequest::default()
        };
        auth.user_add(add).await.unwrap();
    }
    auth.role_add(pb::AuthRoleAddRequest {
        name: "door".to_owned(),
    })
    .await
    .unwrap();
    let perm = revoada_etcd_api::authpb::Permission {
        perm_type: 2,
        key: Bytes::from_static(b"door"),
        range_end: Bytes::new(),
    };
    let grant = pb::AuthRoleGrantPermissionRequest {
        name: "door".to_owned(),
        perm: Some(perm),
    };
    auth.role_grant_permission(grant).await.unwrap();
    for (user, role) in [("root", "root"), ("eve", "door")] {
        let grant = pb::AuthUserGrantRoleRequest {
            user: user.to_owned(),
            role: role.to_owned(),
        };
        auth.user_grant_role(grant).await.unwrap();
    }
    auth.auth_enable(pb::AuthEnableRequest {}).await.unwrap();

    let status = kv.put(put("door", "1")).await.unwrap_err();
    says(&status, Code::InvalidArgument, "etcdserver: user name is empty");
    let status = kv.put(with_token(put("door", "1"), "forged")).await.unwrap_err();
    says(&status, Code::Unauthenticated, "etcdserver: invalid auth token");
    let login = |name: &str, password: &str| pb::AuthenticateRequest {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    let status = auth.authenticate(login("eve", "root's")).await.unwrap_err();
    says(
        &status,
        Code::InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password",
    );
    let eve = auth
        .authenticate(login("eve", "eve's"))
        .await
        .unwrap()
        .into_inner()
        .token;
    let root = auth
        .authenticate(login("root", "root's"))
        .await
        .unwrap()
        .into_inner()
        .token;

    kv.put(with_token(put("door", "1"), &eve)).await.unwrap();
    let denied = |status: &Status| says(status, Code::PermissionDenied, "etcdserver: permission denied");
    denied(&kv.put(with_token(put("window", "1"), &eve)).await.unwrap_err());
    denied(&kv.range(with_token(range("door", "doors"), &eve)).await.unwrap_err());
    let both = TxnRequest {
        success: vec![op(put("door", "2"))],
        failure: vec![op(put("window", "2"))],
        ..TxnRequest::default()
    };
    denied(&kv.txn(with_token(both, &eve)).await.unwrap_err());
    kv.put(with_token(put("window", "1"), &root)).await.unwrap();
    let read = kv
        .range(with_token(range("\0", "\0"), &root))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(keys(&read), ["door", "window"], "users are nobody's keys");

    let (_asks, mut answers) = watching(face.clone(), vec![RequestUnion::CreateRequest(create("door", ""))]).await;
    let refused = next(&mut answers).await;
    assert!(
        refused.canceled && refused.cancel_reason.contains("user name is empty"),
        "{refused:?}"
    );

    let revoke = pb::AuthUserRevokeRoleRequest {
        name: "eve".to_owned(),
        role: "door".to_owned(),
    };
    let status = auth
        .user_revoke_role(with_token(revoke.clone(), &eve))
        .await
        .unwrap_err();
    denied(&status);
    auth.user_revoke_role(with_token(revoke, &root)).await.unwrap();
    denied(&kv.put(with_token(put("door", "3"), &eve)).await.unwrap_err());
    auth.auth_disable(with_token(pb::AuthDisableRequest {}, &root))
        .await
        .unwrap();
    kv.put(put("window", "2")).await.unwrap();
}
