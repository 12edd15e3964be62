//! An etcd as a client sees it: what a copy of its keys needs, and nothing else.

use bytes::Bytes;
use futures::stream;
use revoada_core::error::ErrorKind;
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::auth_client::AuthClient;
use revoada_etcd_api::etcdserverpb::kv_client::KvClient;
use revoada_etcd_api::etcdserverpb::lease_client::LeaseClient;
use revoada_etcd_api::mvccpb::KeyValue;
use tonic::{Code, Status};

use super::connect::Channel;

/// From a key on, to the last there is.
const NO_END: &[u8] = b"\0";

/// What etcd answered instead of a result, or why it did not.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.message())]
pub struct CallError(#[from] Status);

impl CallError {
    /// What kind of condition it is.
    pub fn kind(&self) -> ErrorKind {
        match self.0.code() {
            Code::OutOfRange => ErrorKind::Compacted,
            Code::Unimplemented => ErrorKind::Unsupported,
            Code::ResourceExhausted => ErrorKind::Exhausted,
            Code::PermissionDenied | Code::Unauthenticated => ErrorKind::Denied,
            Code::InvalidArgument | Code::FailedPrecondition if self.0.message().contains("auth") => ErrorKind::Denied,
            Code::InvalidArgument => ErrorKind::Invalid,
            Code::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Unavailable,
        }
    }
}

/// What has to hold for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The key was last written at this revision; 0 where there is none.
    WrittenAt(Bytes, i64),
    /// The key has this value.
    Has(Bytes, Bytes),
}

/// A change of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Its value and its lease.
    Put {
        /// The key.
        key: Bytes,
        /// Its value.
        value: Bytes,
        /// Its lease, 0 for none.
        lease: i64,
    },
    /// It is deleted.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// One etcd.
#[derive(Clone)]
pub struct EtcdClient {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    auth: AuthClient<Channel>,
    channel: Channel,
}

/// A part of what a range has.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Keys in their order.
    pub kvs: Vec<KeyValue>,
    /// Whether there are more behind them.
    pub more: bool,
    /// How many there are from the first on.
    pub count: u64,
    /// The newest revision.
    pub revision: i64,
    /// Whose they are.
    pub cluster_id: u64,
}

/// A lease, and how long it lives, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTime {
    /// Its id.
    pub id: i64,
    /// Its whole time.
    pub granted_s: i64,
    /// What is left of it.
    pub left_s: i64,
}

impl EtcdClient {
    /// A client over a connection.
    pub fn new(channel: Channel) -> Self {
        let origin = channel.origin();
        let kv = KvClient::with_origin(channel.clone(), origin.clone());
        Self {
            kv: kv
                .max_decoding_message_size(usize::MAX)
                .max_encoding_message_size(usize::MAX),
            lease: LeaseClient::with_origin(channel.clone(), origin.clone()),
            auth: AuthClient::with_origin(channel.clone(), origin),
            channel,
        }
    }

    /// The same client, logged in.
    ///
    /// # Errors
    /// The name or the password is not right, or etcd does not answer.
    pub async fn logged_in(&mut self, name: &str, password: &str) -> Result<Self, CallError> {
        let request = pb::AuthenticateRequest {
            name: name.to_owned(),
            password: password.to_owned(),
        };
        let token = self.auth.authenticate(request).await?.into_inner().token;
        let mut channel = self.channel.clone();
        let token = token.parse().map_err(|_| Status::internal("the token is no header"))?;
        channel.token = Some(token);
        Ok(Self::new(channel))
    }

    /// Keys from `from` on, before `end` (to the last where it is empty), at most `limit` (0 for all), at `revision` (0 for
    /// the newest).
    ///
    /// # Errors
    /// As etcd has them; `OutOfRange` where the revision was compacted.
    pub async fn page(&mut self, from: &[u8], end: &[u8], limit: i64, revision: i64) -> Result<Page, CallError> {
        let from = if from.is_empty() { NO_END } else { from };
        let end = if end.is_empty() { NO_END } else { end };
        self.range(pb::RangeRequest {
            key: Bytes::copy_from_slice(from),
            range_end: Bytes::copy_from_slice(end),
            limit,
            revision,
            ..pb::RangeRequest::default()
        })
        .await
    }

    /// How many keys there are, and at which revision.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn count(&mut self) -> Result<Page, CallError> {
        self.range(pb::RangeRequest {
            key: Bytes::from_static(NO_END),
            range_end: Bytes::from_static(NO_END),
            count_only: true,
            ..pb::RangeRequest::default()
        })
        .await
    }

    /// One key at a revision, 0 for the newest.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn get(&mut self, key: &[u8], revision: i64) -> Result<Option<KeyValue>, CallError> {
        let page = self.range(pb::RangeRequest {
            key: Bytes::copy_from_slice(key),
            revision,
            ..pb::RangeRequest::default()
        });
        Ok(page.await?.kvs.pop())
    }

    async fn range(&mut self, request: pb::RangeRequest) -> Result<Page, CallError> {
        let answer = self.kv.range(request).await?.into_inner();
        let header = answer.header.unwrap_or_default();
        Ok(Page {
            kvs: answer.kvs,
            more: answer.more,
            count: u64::try_from(answer.count).unwrap_or_default(),
            revision: header.revision,
            cluster_id: header.cluster_id,
        })
    }

    /// Makes all changes where all conditions hold, or none: whether they held.
    ///
    /// # Errors
    /// As etcd has them.
    pub async fn change(&mut self, conditions: &[Condition], changes: &[Change]) -> Result<bool, CallError> {
        let txn = pb::TxnRequest {
            compare: conditions.iter().map(compare).collect(),
            success: changes.iter().map(request).collect(),
            failure: Vec::new(),
        };
        Ok(self.kv.txn(txn).await?.into_inner().succeeded)
    }

    /// The leases, with their times; those that ended meanwhile are not among them.
    ///
    /// # Errors
    /// As etcd has them.
    pub async fn leases(&mut self) -> Result<Vec<LeaseTime>, CallError> {
        let listed = self.lease.lease_leases(pb::LeaseLeasesRequest::default()).await?;
        let mut leases = Vec::new();
        for listed in listed.into_inner().leases {
            let request = pb::LeaseTimeToLiveRequest {
                id: listed.id,
                keys: false,
            };
            let answer = match self.lease.lease_time_to_live(request).await {
                Ok(answer) => answer.into_inner(),
                Err(status) if status.code() == Code::NotFound => continue,
                Err(status) => return Err(status.into()),
            };
            if answer.ttl > 0 {
                leases.push(LeaseTime {
                    id: answer.id,
                    granted_s: answer.granted_ttl,
                    left_s: answer.ttl,
                });
            }
        }
        Ok(leases)
    }

    /// Grants a lease, or gives one that is there its whole time again.
    ///
    /// # Errors
    /// As etcd has them.
    pub async fn hold_lease(&mut self, id: i64, granted_s: i64) -> Result<(), CallError> {
        let renewals = stream::once(std::future::ready(pb::LeaseKeepAliveRequest { id }));
        let mut renewed = self.lease.lease_keep_alive(renewals).await?.into_inner();
        if renewed.message().await?.is_some_and(|renewed| renewed.ttl > 0) {
            return Ok(());
        }
        let request = pb::LeaseGrantRequest { ttl: granted_s, id };
        match self.lease.lease_grant(request).await {
            // Somebody else has just granted it.
            Err(status) if status.message().contains("lease already exists") => Ok(()),
            granted => Ok(granted.map(drop)?),
        }
    }

    /// The names of users and of roles, and whether who calls has to be one of them.
    ///
    /// # Errors
    /// As etcd has them.
    pub async fn users(&mut self) -> Result<(Vec<String>, Vec<String>, bool), CallError> {
        let status = self.auth.auth_status(pb::AuthStatusRequest::default()).await?;
        let users = self.auth.user_list(pb::AuthUserListRequest::default()).await?;
        let roles = self.auth.role_list(pb::AuthRoleListRequest::default()).await?;
        Ok((
            users.into_inner().users,
            roles.into_inner().roles,
            status.into_inner().enabled,
        ))
    }
}

fn compare(condition: &Condition) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (key, target, union) = match condition {
        Condition::WrittenAt(key, revision) => (key, CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Condition::Has(key, value) => (key, CompareTarget::Value, TargetUnion::Value(value.clone())),
    };
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: key.clone(),
        target_union: Some(union),
        ..pb::Compare::default()
    }
}

fn request(change: &Change) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match change.clone() {
        Change::Put { key, value, lease } => Request::RequestPut(pb::PutRequest {
            key,
            value,
            lease,
            ..pb::PutRequest::default()
        }),
        Change::Delete { key } => Request::RequestDeleteRange(pb::DeleteRangeRequest {
            key,
            ..pb::DeleteRangeRequest::default()
        }),
    };
    pb::RequestOp { request: Some(request) }
}
