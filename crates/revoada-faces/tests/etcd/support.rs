//! A face on a keyspace in memory, and what every test asks of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use futures::StreamExt;
use revoada_etcd_api::etcdserverpb::watch_client::WatchClient;
use revoada_etcd_api::etcdserverpb::watch_request::RequestUnion;
use revoada_etcd_api::etcdserverpb::{
    self as pb, PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use revoada_faces::etcd::{Clock, EtcdFace, EtcdOptions};
use revoada_store::{
    GroupChange, GroupChangeError, GroupChanged, GroupMember, Keyspace, MemoryKeyspace, MoveLeaderError, RaftGroup,
    Standing,
};
use tonic::{Code, Status};

/// A group of one member, which leads unless it does not.
#[derive(Default)]
pub struct Alone {
    pub leaderless: AtomicBool,
}

#[async_trait]
impl RaftGroup for Alone {
    fn term(&self) -> u64 {
        3
    }

    fn standing(&self) -> Standing {
        Standing {
            cluster: 7,
            member: 9,
            term: 3,
            leader: (!self.leaderless.load(Ordering::Relaxed)).then_some(9),
            last_index: 1,
            applied_index: 1,
            learner: false,
        }
    }

    fn members(&self) -> Vec<GroupMember> {
        Vec::new()
    }

    async fn move_leader(&self, _: u64) -> Result<(), MoveLeaderError> {
        Ok(())
    }

    async fn change(&self, _: GroupChange) -> Result<GroupChanged, GroupChangeError> {
        Err(GroupChangeError::NotByClients)
    }
}

pub fn face() -> Router {
    face_with(EtcdOptions::default()).router()
}

/// A face of a group of one that leads.
pub fn face_with(options: EtcdOptions) -> EtcdFace {
    face_of(Arc::default(), options)
}

/// A face of this group.
pub fn face_of(group: Arc<Alone>, options: EtcdOptions) -> EtcdFace {
    let keyspace: Arc<dyn Keyspace> = Arc::new(MemoryKeyspace::with_clock(clock()));
    built(keyspace, group, options)
}

/// A face of this keyspace.
pub fn face_over(keyspace: Arc<MemoryKeyspace>, options: EtcdOptions) -> EtcdFace {
    built(keyspace, Arc::default(), options)
}

fn clock() -> Clock {
    Arc::new(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| since.as_millis() as u64)
    })
}

fn built(keyspace: Arc<dyn Keyspace>, group: Arc<Alone>, options: EtcdOptions) -> EtcdFace {
    let drawn = AtomicU64::new(100);
    let entropy = Arc::new(move |bytes: &mut [u8]| {
        let drawn = drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        for (byte, drawn) in bytes.iter_mut().zip(drawn.iter().cycle()) {
            *byte = *drawn;
        }
        Ok(())
    });
    EtcdFace::new(keyspace, group, clock(), entropy).with_options(options)
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..PutRequest::default()
    }
}

pub fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..RangeRequest::default()
    }
}

pub fn keys(response: &pb::RangeResponse) -> Vec<&str> {
    response
        .kvs
        .iter()
        .map(|kv| std::str::from_utf8(&kv.key).unwrap())
        .collect()
}

pub fn says(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

pub async fn watching(
    router: Router,
    requests: Vec<RequestUnion>,
) -> (
    futures::channel::mpsc::UnboundedSender<WatchRequest>,
    tonic::Streaming<WatchResponse>,
) {
    let (asks, asked) = futures::channel::mpsc::unbounded();
    for request in requests {
        asks.unbounded_send(WatchRequest {
            request_union: Some(request),
        })
        .unwrap();
    }
    let answers = WatchClient::new(router).watch(asked).await.unwrap().into_inner();
    (asks, answers)
}

pub fn create(key: &str, end: &str) -> WatchCreateRequest {
    WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(end.as_bytes()),
        ..WatchCreateRequest::default()
    }
}

pub async fn next(answers: &mut tonic::Streaming<WatchResponse>) -> WatchResponse {
    answers.next().await.expect("the stream goes on").unwrap()
}
