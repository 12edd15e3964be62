//! Leases. The protocol counts in seconds, the keyspace in milliseconds.
//!
//! A keep-alive is an operation like every other: it is committed, so a lease that was kept alive is alive on whoever
//! leads next. (etcd answers it from the leader's memory, and a new leader gives every lease its whole time again.)

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use revoada_core::keyspace::{Answer, Keyspace as View, LeaseId, Operation, Revision};
use revoada_core::limits::{ETCD_KEEP_ALIVES_IN_FLIGHT_MAX, ETCD_LEASE_TTL_S_MIN, LEASE_TTL_MS_MAX};
use revoada_etcd_api::etcdserverpb::lease_server::Lease;
use revoada_etcd_api::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseLeasesRequest,
    LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse,
};
use revoada_store::{Consistency, KeyspaceError};
use tonic::{Code, Request, Response, Status, Streaming};

use super::auth::Need;
use super::{EtcdFace, alarm, keys, mismatched, refusal, refused};

/// What is said of a lease that is not there, in place of its time.
const NOT_THERE: i64 = -1;

impl EtcdFace {
    /// Grants a lease of so many seconds; `id` 0 leaves its name to us. The revision, its name and its seconds.
    pub(super) async fn grant(&self, id: i64, ttl_s: i64) -> Result<(Revision, LeaseId, i64), Status> {
        let ttl_s = ttl_s.max(ETCD_LEASE_TTL_S_MIN);
        let ttl_ms = (ttl_s as u64).saturating_mul(1_000);
        if ttl_ms > LEASE_TTL_MS_MAX {
            return Err(refusal::LEASE_TOO_LONG.into());
        }
        loop {
            let drawn = match id {
                // The protocol's numbers are signed, and its clients print them so.
                0 => (self.draw()? & (i64::MAX as u64)).max(1),
                id => id as u64,
            };
            let operation = Operation::LeaseGrant {
                id: drawn,
                ttl_ms,
                now_ms: 0,
            };
            match self.keyspace.execute(operation).await {
                Ok(outcome) => return Ok((outcome.revision, drawn, ttl_s)),
                Err(KeyspaceError::Refused(taken))
                    if id == 0 && taken.kind() == revoada_core::error::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// What has to be allowed to whoever does something with the keys of a lease, as far as this node knows them.
    pub(super) fn lease_needs(&self, id: LeaseId, writes: bool) -> Vec<Need> {
        self.at_hand(|view| lease_needs(view, id, writes))
    }

    async fn keep_alive(&self, id: i64) -> Result<LeaseKeepAliveResponse, Status> {
        let operation = Operation::LeaseKeepAlive {
            id: id as u64,
            now_ms: 0,
        };
        match self.execute(operation).await {
            Ok((revision, Answer::Lease { ttl_ms, .. })) => Ok(LeaseKeepAliveResponse {
                header: self.header(revision),
                id,
                ttl: (ttl_ms / 1_000) as i64,
            }),
            Ok((_, other)) => Err(mismatched(&other)),
            // A lease that is over is told by its time, and the stream goes on.
            Err(status) if status.code() == Code::NotFound => Ok(LeaseKeepAliveResponse {
                header: self.header_now(),
                id,
                ttl: 0,
            }),
            Err(status) => Err(status),
        }
    }
}

/// What has to be allowed to whoever does something with the keys of a lease, as a view knows them.
fn lease_needs(view: &View, id: LeaseId, writes: bool) -> Vec<Need> {
    let keys = view.lease_keys(id).into_iter().flatten();
    keys.filter(|key| key.first() == Some(&keys::SPACE))
        .map(|key| Need {
            writes,
            key: keys::shown(key),
            end: Bytes::new(),
        })
        .collect()
}

#[tonic::async_trait]
impl Lease for EtcdFace {
    async fn lease_grant(&self, request: Request<LeaseGrantRequest>) -> Result<Response<LeaseGrantResponse>, Status> {
        let caller = self.caller(&request)?;
        caller.is_somebody()?;
        self.room_for(&caller, alarm::LEASE_BYTES).await?;
        let request = request.into_inner();
        let (revision, id, ttl) = self.grant(request.id, request.ttl).await?;
        Ok(Response::new(LeaseGrantResponse {
            header: self.header(revision),
            id: id as i64,
            ttl,
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let id = request.get_ref().id as u64;
        let caller = self.caller(&request)?;
        caller.may_change()?;
        caller.may(&self.lease_needs(id, true))?;
        let (revision, _) = self.execute(Operation::LeaseRevoke { id }).await?;
        Ok(Response::new(LeaseRevokeResponse {
            header: self.header(revision),
        }))
    }

    type LeaseKeepAliveStream = Pin<Box<dyn Stream<Item = Result<LeaseKeepAliveResponse, Status>> + Send>>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.needs_leader(&request)?;
        let face = self.clone();
        let stopping = face.stopping();
        // One stream keeps all leases of a client alive, so that they share syncs; answers stay in order.
        let answers = request
            .into_inner()
            .map(move |asked| {
                let face = face.clone();
                async move { face.keep_alive(asked?.id).await }
            })
            .buffered(ETCD_KEEP_ALIVES_IN_FLIGHT_MAX)
            .take_until(stopping);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let caller = self.caller(&request)?;
        caller.is_somebody()?;
        let request = request.into_inner();
        let view = self.view(Consistency::Linearizable).await?;
        let id = request.id as u64;
        if request.keys {
            caller.may(&self.lease_needs(id, false))?;
        }
        let header = self.header(view.revision());
        let Some(lease) = view.lease(id) else {
            return Ok(Response::new(LeaseTimeToLiveResponse {
                header,
                id: request.id,
                ttl: NOT_THERE,
                ..LeaseTimeToLiveResponse::default()
            }));
        };
        let left_ms = lease.expires_at_ms.saturating_sub((self.clock_ms)());
        let keys = match view.lease_keys(id) {
            Some(attached) if request.keys => attached
                .filter(|key| key.first() == Some(&keys::SPACE))
                .map(keys::shown)
                .collect(),
            _ => Vec::new(),
        };
        Ok(Response::new(LeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl: (left_ms / 1_000) as i64,
            granted_ttl: (lease.ttl_ms / 1_000) as i64,
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        request: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let caller = self.caller(&request)?;
        caller.is_somebody()?;
        let view = self.view(Consistency::Linearizable).await?;
        // Whoever may not read a key may not know of its lease either (etcd: `checkLeaseLeases`).
        if caller.is_judged() && caller.may_administer().is_err() {
            for lease in view.leases() {
                caller.may(&lease_needs(&view, lease.id, false))?;
            }
        }
        let leases = view.leases().map(|lease| LeaseStatus { id: lease.id as i64 });
        Ok(Response::new(LeaseLeasesResponse {
            header: self.header(view.revision()),
            leases: leases.collect(),
        }))
    }
}
