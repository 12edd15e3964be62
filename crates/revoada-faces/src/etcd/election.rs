//! Election: a name that one client has at a time, with a value that the others can see.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use revoada_core::keyspace::{Entry, Op, Txn};
use revoada_etcd_api::v3electionpb::election_server::Election;
use revoada_etcd_api::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};
use revoada_store::watch_keys;
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status};

use super::auth;
use super::queue::{created_at, prefix, queue_needs};
use super::txn::one;
use super::{EtcdFace, key_value, keys, refused};

/// etcd's texts; its server gives them no code of their own.
fn refusal(text: &'static str) -> Status {
    Status::new(Code::Unknown, text)
}

const NOT_LEADER: &str = "election: not leader";
const NO_LEADER: &str = "election: no leader";
const NO_KEY: &str = "\"leader\" field must be provided";

impl EtcdFace {
    /// Puts a value where `leader` leads, if it does.
    async fn proclaim_as(&self, leader: &LeaderKey, value: bytes::Bytes) -> Result<u64, Status> {
        let txn = Txn {
            compares: vec![created_at(&leader.key, leader.rev as u64)],
            then: vec![Op::Put {
                key: keys::stored(&leader.key),
                value,
                lease: leader.lease as u64,
                keep_value: false,
                keep_lease: false,
                same_prefix_bytes: 0,
                previous: false,
            }],
            otherwise: Vec::new(),
        };
        let (revision, answer) = self.keyspace.txn(txn).await.map_err(refused)?;
        if answer.succeeded {
            Ok(revision)
        } else {
            Err(refusal(NOT_LEADER))
        }
    }

    /// Tells `leads` of who leads, each time that this or its value changes.
    async fn observe(self, name: bytes::Bytes, leads: mpsc::Sender<Result<LeaderResponse, Status>>) {
        let mut told: Option<Entry> = None;
        loop {
            let (revision, first) = match self.first_of(&name).await {
                Ok(found) => found,
                Err(status) => {
                    drop(leads.send(Err(status)).await);
                    return;
                }
            };
            if first.is_some() && first != told {
                let answer = LeaderResponse {
                    header: self.header(revision),
                    kv: first.clone().map(key_value),
                };
                if leads.send(Ok(answer)).await.is_err() {
                    return;
                }
                told = first;
            }
            let mut events = watch_keys(self.keyspace.clone(), keys::prefix(&prefix(&name)), revision);
            tokio::select! {
                event = events.next() => if event.is_none() { return },
                () = leads.closed() => return,
                () = self.stopping() => return,
            }
        }
    }
}

#[tonic::async_trait]
impl Election for EtcdFace {
    async fn campaign(&self, request: Request<CampaignRequest>) -> Result<Response<CampaignResponse>, Status> {
        self.caller(&request)?.may(&queue_needs(&request.get_ref().name))?;
        let CampaignRequest { name, lease, value } = request.into_inner();
        let lease = self.lease_or_own(lease).await?;
        let (revision, place) = self.queue_up(&name, lease, value.clone()).await?;
        let leader = LeaderKey {
            name,
            key: place.key,
            rev: place.created as i64,
            lease: lease as i64,
        };
        let revision = if place.was_there {
            self.proclaim_as(&leader, value).await?
        } else {
            revision
        };
        Ok(Response::new(CampaignResponse {
            header: self.header(revision),
            leader: Some(leader),
        }))
    }

    async fn proclaim(&self, request: Request<ProclaimRequest>) -> Result<Response<ProclaimResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        let leader = request.leader.ok_or_else(|| refusal(NO_KEY))?;
        caller.may(&[auth::write(&leader.key, &bytes::Bytes::new())])?;
        let revision = self.proclaim_as(&leader, request.value).await?;
        Ok(Response::new(ProclaimResponse {
            header: self.header(revision),
        }))
    }

    async fn leader(&self, request: Request<LeaderRequest>) -> Result<Response<LeaderResponse>, Status> {
        self.caller(&request)?.may(&queue_needs(&request.get_ref().name)[1..])?;
        let (revision, first) = self.first_of(&request.into_inner().name).await?;
        let first = first.ok_or_else(|| refusal(NO_LEADER))?;
        Ok(Response::new(LeaderResponse {
            header: self.header(revision),
            kv: Some(key_value(first)),
        }))
    }

    type ObserveStream = Pin<Box<dyn Stream<Item = Result<LeaderResponse, Status>> + Send>>;

    async fn observe(&self, request: Request<LeaderRequest>) -> Result<Response<Self::ObserveStream>, Status> {
        self.caller(&request)?.may(&queue_needs(&request.get_ref().name)[1..])?;
        let (leads, seen) = mpsc::channel(1);
        tokio::spawn(Self::observe(self.clone(), request.into_inner().name, leads));
        let answers = futures::stream::unfold(
            seen,
            |mut seen| async move { seen.recv().await.map(|next| (next, seen)) },
        );
        Ok(Response::new(Box::pin(answers)))
    }

    async fn resign(&self, request: Request<ResignRequest>) -> Result<Response<ResignResponse>, Status> {
        let caller = self.caller(&request)?;
        let leader = request.into_inner().leader.ok_or_else(|| refusal(NO_KEY))?;
        caller.may(&[auth::write(&leader.key, &bytes::Bytes::new())])?;
        let txn = Txn {
            compares: vec![created_at(&leader.key, leader.rev as u64)],
            then: vec![Op::delete(one(&leader.key))],
            otherwise: Vec::new(),
        };
        let (revision, _) = self.keyspace.txn(txn).await.map_err(refused)?;
        Ok(Response::new(ResignResponse {
            header: self.header(revision),
        }))
    }
}
