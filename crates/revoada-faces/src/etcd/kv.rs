//! KV: ranges, puts, deletions, transactions, compaction.

use prost::Message;
use revoada_core::keyspace::{Answer, Op, OpResult, Operation, Revision, Txn};
use revoada_etcd_api::etcdserverpb::kv_server::Kv;
use revoada_etcd_api::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse,
    RangeRequest, RangeResponse, TxnRequest, TxnResponse,
};
use revoada_store::{Consistency, KeyspaceError};
use tonic::{Request, Response, Status};

use super::auth::{Caller, Credentials, Need};
use super::txn::Shape;
use super::{EtcdFace, learner, mismatched, refusal, refused, txn, version_of};

impl EtcdFace {
    /// Does one operation as a transaction of its own; the revision after it.
    async fn one(
        &self,
        credentials: &Credentials,
        caller: Caller,
        needs: &[Need],
        op: Op,
    ) -> Result<(Revision, OpResult), Status> {
        let (revision, mut answer) = self.txn_as(credentials, caller, needs, Txn::always(vec![op])).await?;
        match answer.results.pop() {
            Some(result) => Ok((revision, result)),
            None => Err(mismatched(&Answer::Txn(answer))),
        }
    }

    /// Who asks for a change, once it is not too large.
    fn caller_of_change<T: Message>(&self, request: &Request<T>) -> Result<(Credentials, Caller), Status> {
        if request.get_ref().encoded_len() > self.options.request_bytes_max {
            return Err(refusal::TOO_LARGE.into());
        }
        let credentials = Credentials::of(request);
        let caller = self.caller_with(&credentials)?;
        Ok((credentials, caller))
    }
}

/// How new what is read has to be.
pub(super) const fn consistency(serializable: bool) -> Consistency {
    if serializable {
        Consistency::Stale
    } else {
        Consistency::Linearizable
    }
}

#[tonic::async_trait]
impl Kv for EtcdFace {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let caller = self.caller(&request)?;
        let request = request.into_inner();
        if !request.serializable && self.group.is_asked_learner() {
            return Err(learner::refusal());
        }
        let (query, shape) = txn::range(&request)?;
        if caller.is_judged() {
            caller.may(&[txn::range_needs(&request)])?;
        }
        let view = self.view(consistency(request.serializable)).await?;
        let answer = view.range(&query).map_err(super::refusal::unreadable)?;
        Ok(Response::new(txn::range_answered(
            self.header(answer.revision),
            answer,
            &shape,
        )))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let (credentials, caller) = self.caller_of_change(&request)?;
        let request = request.into_inner();
        let mut needs = Vec::new();
        if caller.is_judged() {
            needs = txn::put_needs(&request);
            // Whoever ties a key to a lease decides with it about the other keys of that lease.
            needs.extend(self.lease_needs(request.lease as u64, true));
        }
        let bytes = txn::put_bytes(&request);
        let (op, shape) = txn::put(request)?;
        self.room_for(&caller, bytes).await?;
        let (revision, result) = self.one(&credentials, caller, &needs, op).await?;
        match (result, shape) {
            (OpResult::Put { previous, .. }, Shape::Put { key }) => Ok(Response::new(PutResponse {
                header: self.header(revision),
                prev_kv: previous.map(|previous| version_of(key, previous)),
            })),
            (result, _) => Err(Status::internal(format!("a put was answered by {result:?}"))),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        let (credentials, caller) = self.caller_of_change(&request)?;
        caller.may_change()?;
        let op = txn::delete(request.get_ref())?;
        let needs = txn::delete_needs(request.get_ref());
        let (revision, result) = self.one(&credentials, caller, &needs, op).await?;
        match result {
            OpResult::Deleted { count, previous } => {
                Ok(Response::new(txn::deleted(self.header(revision), count, previous)))
            }
            result => Err(Status::internal(format!("a deletion was answered by {result:?}"))),
        }
    }

    async fn txn(&self, request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        let (credentials, caller) = self.caller_of_change(&request)?;
        let request = request.into_inner();
        let stale = txn::may_be_stale(&request);
        let mut needs = Vec::new();
        if caller.is_judged() {
            needs = txn::txn_needs(&request);
            for lease in txn::leases(&request) {
                needs.extend(self.lease_needs(lease, true));
            }
        }
        let bytes = txn::txn_bytes(&request);
        let (txn, shape) = txn::txn(request, self.options.txn_ops_max)?;
        let (revision, answer) = if txn::only_reads(&txn) {
            caller.may(&needs)?;
            // It changes nothing, so it is done on a copy, which costs nothing, and no log has to hear of it.
            let mut view = self.view(consistency(stale)).await?;
            let refusal = |error| refused(KeyspaceError::Refused(error));
            let outcome = view.apply(Operation::Txn(txn)).map_err(refusal)?;
            match outcome.answer {
                Answer::Txn(answer) => (outcome.revision, answer),
                other => return Err(mismatched(&other)),
            }
        } else {
            self.room_for(&caller, bytes).await?;
            self.txn_as(&credentials, caller, &needs, txn).await?
        };
        Ok(Response::new(txn::answered(
            self.header(revision),
            revision,
            answer,
            &shape,
        )))
    }

    /// `physical` is always so: what is compacted is gone when the answer comes.
    async fn compact(&self, request: Request<CompactionRequest>) -> Result<Response<CompactionResponse>, Status> {
        let caller = self.caller(&request)?;
        caller.may_administer()?;
        caller.may_change()?;
        let revision = u64::try_from(request.into_inner().revision).unwrap_or(0);
        let (revision, _) = self.execute(Operation::Compact { revision }).await?;
        Ok(Response::new(CompactionResponse {
            header: self.header(revision),
        }))
    }
}
