//! Cluster: who is there, and who comes and goes.
//!
//! Whether clients say that is the group's matter: where a topology decides who votes, they are told so, and which
//! command does what it means.

use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::cluster_server::Cluster;
use revoada_etcd_api::etcdserverpb::{Member, MemberListRequest, MemberListResponse};
use revoada_store::{GroupChange, GroupChangeError, GroupChanged, GroupMember};
use tonic::{Request, Response, Status};

use super::EtcdFace;
use super::kv::consistency;

#[tonic::async_trait]
impl Cluster for EtcdFace {
    async fn member_list(&self, request: Request<MemberListRequest>) -> Result<Response<MemberListResponse>, Status> {
        self.caller(&request)?.is_somebody()?;
        self.view(consistency(!request.into_inner().linearizable)).await?;
        Ok(Response::new(MemberListResponse {
            header: self.header(0),
            members: self.group.members().into_iter().map(member).collect(),
        }))
    }

    async fn member_add(
        &self,
        request: Request<pb::MemberAddRequest>,
    ) -> Result<Response<pb::MemberAddResponse>, Status> {
        let pb::MemberAddRequest { peer_ur_ls, is_learner } = self.by_root(request)?;
        let changed = self.change(GroupChange::Add {
            peer_urls: urls(peer_ur_ls)?,
            learner: is_learner,
        });
        let GroupChanged { id, members } = changed.await?;
        let added = members.iter().find(|member| member.id == id).cloned();
        Ok(Response::new(pb::MemberAddResponse {
            header: self.header(0),
            member: added.map(member),
            members: members.into_iter().map(member).collect(),
        }))
    }

    async fn member_remove(
        &self,
        request: Request<pb::MemberRemoveRequest>,
    ) -> Result<Response<pb::MemberRemoveResponse>, Status> {
        let id = self.by_root(request)?.id;
        let changed = self.change(GroupChange::Remove { id }).await?;
        Ok(Response::new(pb::MemberRemoveResponse {
            header: self.header(0),
            members: changed.members.into_iter().map(member).collect(),
        }))
    }

    async fn member_update(
        &self,
        request: Request<pb::MemberUpdateRequest>,
    ) -> Result<Response<pb::MemberUpdateResponse>, Status> {
        let pb::MemberUpdateRequest { id, peer_ur_ls } = self.by_root(request)?;
        let peer_urls = urls(peer_ur_ls)?;
        let changed = self.change(GroupChange::Update { id, peer_urls }).await?;
        Ok(Response::new(pb::MemberUpdateResponse {
            header: self.header(0),
            members: changed.members.into_iter().map(member).collect(),
        }))
    }

    async fn member_promote(
        &self,
        request: Request<pb::MemberPromoteRequest>,
    ) -> Result<Response<pb::MemberPromoteResponse>, Status> {
        let id = self.by_root(request)?.id;
        let changed = self.change(GroupChange::Promote { id }).await?;
        Ok(Response::new(pb::MemberPromoteResponse {
            header: self.header(0),
            members: changed.members.into_iter().map(member).collect(),
        }))
    }
}

impl EtcdFace {
    /// The request, if who calls may say who is a member.
    fn by_root<T>(&self, request: Request<T>) -> Result<T, Status> {
        self.caller(&request)?.may_administer()?;
        Ok(request.into_inner())
    }

    async fn change(&self, change: GroupChange) -> Result<GroupChanged, Status> {
        self.group.change(change).await.map_err(refused)
    }
}

/// Codes and texts are etcd's (api/v3rpc/rpctypes/error.go).
fn refused(error: GroupChangeError) -> Status {
    match error {
        GroupChangeError::NotByClients => Status::unimplemented(error.to_string()),
        GroupChangeError::NotFound | GroupChangeError::Removed => Status::not_found("etcdserver: member not found"),
        GroupChangeError::UrlTaken => Status::failed_precondition("etcdserver: Peer URLs already exists"),
        GroupChangeError::TooManyLearners => {
            Status::failed_precondition("etcdserver: too many learner members in cluster")
        }
        GroupChangeError::NoLearner => Status::failed_precondition("etcdserver: can only promote a learner member"),
        GroupChangeError::LearnerLags => {
            Status::failed_precondition("etcdserver: can only promote a learner member which is in sync with leader")
        }
        GroupChangeError::NotEnoughStarted => {
            Status::failed_precondition("etcdserver: re-configuration failed due to not enough started members")
        }
        GroupChangeError::Unhealthy => Status::unavailable("etcdserver: unhealthy cluster"),
        GroupChangeError::Unavailable(why) => {
            tracing::debug!(why, "a change of members was not asked for");
            Status::unavailable("etcdserver: no leader")
        }
        GroupChangeError::OutcomeUnknown(why) => {
            tracing::debug!(why, "nothing is known of a change of members");
            Status::unavailable("etcdserver: request timed out")
        }
        GroupChangeError::Invalid(why) => Status::invalid_argument(why),
    }
}

/// URLs of a scheme, a host and a port, sorted; as etcd's `types.NewURLs` takes them.
fn urls(mut given: Vec<String>) -> Result<Vec<String>, Status> {
    let is_url = |url: &String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let authority = rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        authority
            .and_then(|authority| authority.rsplit_once(':'))
            .is_some_and(|(host, port)| {
                !host.is_empty() && !host.contains(['/', '?', '#', '@']) && port.parse::<u16>().is_ok()
            })
    };
    if given.is_empty() || !given.iter().all(is_url) {
        return Err(Status::invalid_argument("etcdserver: given member URLs are invalid"));
    }
    for url in &mut given {
        url.truncate(url.trim_end_matches('/').len());
    }
    given.sort();
    given.dedup();
    Ok(given)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_a_scheme_a_host_and_a_port() {
        let given = |texts: &[&str]| urls(texts.iter().map(ToString::to_string).collect());
        assert_eq!(
            given(&["http://b:1/", "https://a:2"]).unwrap(),
            ["http://b:1", "https://a:2"]
        );
        for wrong in [
            &[][..],
            &["a:1"],
            &["http://a"],
            &["http://a:b"],
            &["http://a:1", "http://a:1/x"],
            &["http://:1"],
        ] {
            let status = given(wrong).unwrap_err();
            assert_eq!(
                status.message(),
                "etcdserver: given member URLs are invalid",
                "{wrong:?}"
            );
        }
    }
}
