//! Maintenance: how a member is, and whether all of them hold the same.

use std::pin::Pin;

use futures::Stream;
use revoada_core::keyspace::{Keyspace as View, RangeQuery, Revision};
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::alarm_request::AlarmAction;
use revoada_etcd_api::etcdserverpb::maintenance_server::Maintenance;
use revoada_etcd_api::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotResponse, StatusRequest, StatusResponse,
};
use revoada_store::{Consistency, MoveLeaderError};
use tonic::{Request, Response, Status};

use super::{EtcdFace, SERVED_AS, keys, refusal, unserved};

/// A digest of every key of etcd's clients at a revision, with its numbers, value and lease: the same on every member.
/// 32 bits of BLAKE3; etcd's own sum is over its file format and comparable with nobody else's.
fn digest(view: &View, revision: Revision) -> Result<u32, Status> {
    let query = RangeQuery {
        revision: Some(revision),
        ..RangeQuery::of(keys::every())
    };
    let answer = view.range(&query).map_err(refusal::unreadable)?;
    let mut hasher = blake3::Hasher::new();
    for entry in answer.entries {
        let version = entry.version;
        let numbers = [
            entry.key.len() as u64,
            version.create_revision,
            version.mod_revision,
            version.version,
            version.lease,
            version.value.len() as u64,
        ];
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&entry.key).update(&version.value);
    }
    let mut first = [0; 4];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..4]);
    Ok(u32::from_le_bytes(first))
}

#[tonic::async_trait]
impl Maintenance for EtcdFace {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        match request.into_inner().action() {
            // Nothing raises one, so there is none to end.
            AlarmAction::Get | AlarmAction::Deactivate => Ok(Response::new(AlarmResponse {
                header: self.header_now(),
                alarms: Vec::new(),
            })),
            AlarmAction::Activate => Err(Status::unimplemented("alarms cannot be raised from outside")),
        }
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let standing = self.group.standing();
        let view = self.keyspace.view_at_hand();
        let errors = match standing.leader {
            Some(_) => Vec::new(),
            None => vec![refusal::NO_LEADER.text().to_owned()],
        };
        Ok(Response::new(StatusResponse {
            header: self.header(view.revision()),
            version: SERVED_AS.to_owned(),
            db_size: (view.data_bytes() + view.history_bytes()) as i64,
            db_size_in_use: view.data_bytes() as i64,
            leader: standing.leader.unwrap_or(0),
            raft_index: standing.last_index,
            raft_term: standing.term,
            raft_applied_index: standing.applied_index,
            errors,
            is_learner: standing.learner,
            storage_version: super::API_VERSION.to_owned(),
            db_size_quota: 0,
            downgrade_info: None,
        }))
    }

    /// Nothing is ever fragmented: what is compacted is freed, and the log is cut behind checkpoints.
    async fn defragment(&self, request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        Ok(Response::new(DefragmentResponse {
            header: self.header_now(),
        }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let view = self.keyspace.view_at_hand();
        Ok(Response::new(HashResponse {
            header: self.header(view.revision()),
            hash: digest(&view, view.revision())?,
        }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let asked = u64::try_from(request.into_inner().revision).unwrap_or(0);
        let view = self.view(Consistency::Stale).await?;
        let revision = if asked == 0 { view.revision() } else { asked };
        Ok(Response::new(HashKvResponse {
            header: self.header(view.revision()),
            hash: digest(&view, revision)?,
            compact_revision: view.compacted_revision() as i64,
            hash_revision: revision as i64,
        }))
    }

    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<SnapshotResponse, Status>> + Send>>;

    async fn move_leader(&self, request: Request<MoveLeaderRequest>) -> Result<Response<MoveLeaderResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let target = request.into_inner().target_id;
        match self.group.move_leader(target).await {
            Ok(()) => Ok(Response::new(MoveLeaderResponse {
                header: self.header_now(),
            })),
            Err(MoveLeaderError::NotLeader) => Err(refusal::NOT_LEADER.into()),
            Err(MoveLeaderError::NoVoter) => Err(refusal::BAD_TRANSFEREE.into()),
            Err(MoveLeaderError::Failed(what)) => Err(Status::unavailable(what)),
        }
    }

    async fn snapshot(&self, _: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        unserved("a snapshot is taken by `revoada snapshot save`")
    }

    async fn downgrade(&self, _: Request<pb::DowngradeRequest>) -> Result<Response<pb::DowngradeResponse>, Status> {
        unserved("there is no older version to go back to")
    }
}
