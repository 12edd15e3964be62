//! Maintenance: how a member is, whether all of them hold the same, alarms, snapshots.

use std::pin::Pin;

use futures::{Stream, StreamExt, stream};
use revoada_core::keyspace::{Keyspace as View, RangeQuery, Revision};
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::alarm_request::AlarmAction;
use revoada_etcd_api::etcdserverpb::downgrade_request::DowngradeAction;
use revoada_etcd_api::etcdserverpb::maintenance_server::Maintenance;
use revoada_etcd_api::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentRequest, DefragmentResponse, HashKvRequest, HashKvResponse, HashRequest,
    HashResponse, MoveLeaderRequest, MoveLeaderResponse, SnapshotResponse, StatusRequest, StatusResponse,
};
use revoada_store::{Consistency, MoveLeaderError};
use serde::{Deserialize, Serialize};
use tonic::{Request, Response, Status};

use super::alarm::{self, Alarms};
use super::record::Record;
use super::{API_VERSION, EtcdFace, SERVED_AS, keys, refusal};

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

/// [`digest`] where it keeps nobody waiting who shares the thread.
async fn digest_beside(view: View, revision: Revision) -> Result<u32, Status> {
    tokio::task::spawn_blocking(move || digest(&view, revision))
        .await
        .map_err(|error| Status::internal(error.to_string()))?
}

/// A downgrade that is under way, if one is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Downgrade {
    /// The version that the cluster is to go back to.
    target: Option<String>,
}

/// The record of a downgrade.
pub const fn downgrade_record() -> Record<Downgrade> {
    Record::new(b"\0etcd-downgrade", "the record of a downgrade")
}

/// The version that may be gone back to, if that is what is asked for.
fn downgrade_target(asked: &str) -> Result<String, Status> {
    let target = version(asked).ok_or(refusal::WRONG_DOWNGRADE_VERSION_FORMAT)?;
    let below = version(API_VERSION).and_then(|(major, minor)| Some((major, minor.checked_sub(1)?)));
    if below != Some(target) {
        return Err(refusal::INVALID_DOWNGRADE_TARGET_VERSION.into());
    }
    Ok(format!("{}.{}.0", target.0, target.1))
}

/// A version as the protocol's clients write it, `3.5` or `3.5.1`: its major and minor number.
fn version(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split('.').map(str::parse);
    let (major, minor) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    let _patch: u64 = numbers.next().unwrap_or(Ok(0)).ok()?;
    numbers.next().is_none().then_some((major, minor))
}

/// How many bytes a keyspace takes, and how many of them its newest revision.
pub fn sizes(view: &View) -> (u64, u64) {
    (alarm::taken(view), alarm::in_use(view))
}

#[tonic::async_trait]
impl Maintenance for EtcdFace {
    async fn alarm(&self, request: Request<AlarmRequest>) -> Result<Response<AlarmResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let kind = alarm::kind(request.alarm());
        let member = request.member_id;
        let first = || Ok(Alarms::default());
        let alarms = match request.action() {
            AlarmAction::Get => {
                caller.is_somebody()?;
                self.view(Consistency::Linearizable).await?;
                self.alarms()?.shown(kind)
            }
            AlarmAction::Activate => {
                caller.may_administer()?;
                let Some(kind) = kind else { return Ok(self.no_alarm()) };
                let raise = |alarms: &mut Alarms| {
                    alarms.raise(member, kind);
                    Ok(())
                };
                self.change_record(&self.alarm_record, first, raise).await?;
                vec![alarm::member((member, kind))]
            }
            AlarmAction::Deactivate => {
                caller.may_administer()?;
                let Some(kind) = kind else { return Ok(self.no_alarm()) };
                let before = self.alarms()?;
                let after = self
                    .change_record(&self.alarm_record, first, |alarms: &mut Alarms| {
                        alarms.end(member, kind);
                        Ok(())
                    })
                    .await?;
                let ended = before.shown(None).len() > after.shown(None).len();
                ended.then(|| alarm::member((member, kind))).into_iter().collect()
            }
        };
        Ok(Response::new(AlarmResponse {
            header: self.header_now(),
            alarms,
        }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.caller(&request)?.is_somebody()?;
        let standing = self.group.standing();
        let (revision, (taken, in_use)) = self.at_hand(|view| (view.revision(), sizes(view)));
        let downgrade = self.at_hand(|view| self.downgrade_record.of(view))?;
        let downgrade = downgrade.map(|(_, downgrade)| downgrade).unwrap_or_default();
        let mut errors = match standing.leader {
            Some(_) => Vec::new(),
            None => vec![refusal::NO_LEADER.text().to_owned()],
        };
        errors.extend(self.alarms()?.texts());
        Ok(Response::new(StatusResponse {
            header: self.header(revision),
            version: SERVED_AS.to_owned(),
            db_size: taken as i64,
            db_size_in_use: in_use as i64,
            leader: standing.leader.unwrap_or(0),
            raft_index: standing.last_index,
            raft_term: standing.term,
            raft_applied_index: standing.applied_index,
            errors,
            is_learner: standing.learner,
            storage_version: API_VERSION.to_owned(),
            db_size_quota: self.options.quota_bytes.map_or(-1, |quota| quota as i64),
            downgrade_info: Some(pb::DowngradeInfo {
                enabled: downgrade.target.is_some(),
                target_version: downgrade.target.clone().unwrap_or_default(),
            }),
        }))
    }

    /// Nothing is ever fragmented: what is compacted is freed, and the log is cut behind checkpoints.
    async fn defragment(&self, request: Request<DefragmentRequest>) -> Result<Response<DefragmentResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        tracing::info!("nothing to defragment: what is compacted is free at once");
        Ok(Response::new(DefragmentResponse {
            header: self.header_now(),
        }))
    }

    async fn hash(&self, request: Request<HashRequest>) -> Result<Response<HashResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let view = self.keyspace.view_at_hand();
        let revision = view.revision();
        Ok(Response::new(HashResponse {
            header: self.header(revision),
            hash: digest_beside(view, revision).await?,
        }))
    }

    async fn hash_kv(&self, request: Request<HashKvRequest>) -> Result<Response<HashKvResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let asked = u64::try_from(request.into_inner().revision).unwrap_or(0);
        let view = self.view(Consistency::Stale).await?;
        let newest = view.revision();
        let revision = if asked == 0 { newest } else { asked };
        let compacted = view.compacted_revision();
        Ok(Response::new(HashKvResponse {
            header: self.header(newest),
            hash: digest_beside(view, revision).await?,
            compact_revision: compacted as i64,
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

    async fn snapshot(&self, request: Request<pb::SnapshotRequest>) -> Result<Response<Self::SnapshotStream>, Status> {
        self.caller(&request)?.may_administer()?;
        let pieces = self.snapshot_pieces().await?;
        let pieces = stream::unfold(pieces, |mut pieces| async move {
            pieces.recv().await.map(|piece| (piece, pieces))
        });
        Ok(Response::new(Box::pin(pieces.take_until(self.stopping()))))
    }

    /// A cluster may go back by one minor number (etcd: `allowedDowngradeVersion`). That it is to is noted and told by each
    /// member's status; what a member stores does not change, since no older program reads it anyway.
    async fn downgrade(
        &self,
        request: Request<pb::DowngradeRequest>,
    ) -> Result<Response<pb::DowngradeResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let request = request.into_inner();
        let action = request.action();
        let target = match action {
            DowngradeAction::Cancel => None,
            DowngradeAction::Validate | DowngradeAction::Enable => Some(downgrade_target(&request.version)?),
        };
        match action {
            DowngradeAction::Validate => {
                let view = self.view(Consistency::Linearizable).await?;
                let known = self.downgrade_record.of(&view)?;
                if known.is_some_and(|(_, downgrade)| downgrade.target.is_some()) {
                    return Err(refusal::DOWNGRADE_IN_PROCESS.into());
                }
            }
            DowngradeAction::Enable | DowngradeAction::Cancel => {
                let change = |downgrade: &mut Downgrade| {
                    if target.is_some() && downgrade.target.is_some() {
                        return Err(refusal::DOWNGRADE_IN_PROCESS);
                    }
                    downgrade.target.clone_from(&target);
                    Ok(())
                };
                self.change_record(&self.downgrade_record, || Ok(Downgrade::default()), change)
                    .await?;
            }
        }
        Ok(Response::new(pb::DowngradeResponse {
            header: self.header_now(),
            version: API_VERSION.to_owned(),
        }))
    }
}

impl EtcdFace {
    fn no_alarm(&self) -> Response<AlarmResponse> {
        Response::new(AlarmResponse {
            header: self.header_now(),
            alarms: Vec::new(),
        })
    }
}
