//! Cluster: who is there.
//!
//! Who votes is decided by the topology, by itself, so a client cannot add, remove or promote a member here: it is told
//! that, and which command does what it means.

use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::cluster_server::Cluster;
use revoada_etcd_api::etcdserverpb::{Member, MemberListRequest, MemberListResponse};
use revoada_store::GroupMember;
use tonic::{Request, Response, Status};

use super::kv::consistency;
use super::{EtcdFace, unserved};

const WHAT: &str = "who votes is decided by the topology: see `revoada promote`, `demote`, `drain`";

#[tonic::async_trait]
impl Cluster for EtcdFace {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        let view = self.view(consistency(!request.into_inner().linearizable)).await?;
        Ok(Response::new(MemberListResponse {
            header: self.header(view.revision()),
            members: self.group.members().into_iter().map(member).collect(),
        }))
    }

    async fn member_add(&self, _: Request<pb::MemberAddRequest>) -> Result<Response<pb::MemberAddResponse>, Status> {
        unserved(WHAT)
    }

    async fn member_remove(
        &self,
        _: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        unserved(WHAT)
    }

    async fn member_update(
        &self,
        _: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        unserved(WHAT)
    }

    async fn member_promote(
        &self,
        _: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        unserved(WHAT)
    }
}

fn member(member: GroupMember) -> Member {
    Member {
        id: member.id,
        name: member.name,
        peer_ur_ls: member.peer_urls,
        client_ur_ls: member.client_urls,
        is_learner: member.learner,
    }
}
