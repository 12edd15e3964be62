//! Lock: a name that one client has at a time, for as long as its lease lives.

use bytes::Bytes;
use revoada_core::keyspace::{Op, Txn};
use revoada_etcd_api::v3lockpb::lock_server::Lock;
use revoada_etcd_api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use tonic::{Request, Response, Status};

use super::auth::Credentials;
use super::queue::queue_needs;
use super::txn::one;
use super::{EtcdFace, auth};

#[tonic::async_trait]
impl Lock for EtcdFace {
    async fn lock(&self, request: Request<LockRequest>) -> Result<Response<LockResponse>, Status> {
        self.caller(&request)?.may(&queue_needs(&request.get_ref().name))?;
        let request = request.into_inner();
        let lease = self.lease_or_own(request.lease).await?;
        let (revision, place) = self.queue_up(&request.name, lease, Bytes::new()).await?;
        Ok(Response::new(LockResponse {
            header: self.header(revision),
            key: place.key,
        }))
    }

    async fn unlock(&self, request: Request<UnlockRequest>) -> Result<Response<UnlockResponse>, Status> {
        let credentials = Credentials::of(&request);
        let caller = self.caller_with(&credentials)?;
        let key = &request.get_ref().key;
        let needs = [auth::write(key, &Bytes::new())];
        let txn = Txn::always(vec![Op::delete(one(key))]);
        let (revision, _) = self.txn_as(&credentials, caller, &needs, txn).await?;
        Ok(Response::new(UnlockResponse {
            header: self.header(revision),
        }))
    }
}
