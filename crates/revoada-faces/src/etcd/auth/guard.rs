//! Who asks, and whether they may.
//!
//! Users and roles are under one key beside those of etcd's clients, where no client reaches it. A read is judged by the
//! records that this node has; a change is judged by them too, and carries a condition that they are still the same
//! when it is applied, so that who lost a permission cannot use it on a node that has not heard of that (etcd: the
//! revision of the auth store in each request).

use std::sync::Arc;

use bytes::Bytes;
use revoada_core::keyspace::{
    Compare, CompareTarget, KeyRange, Keyspace as View, Op, OpResult, Relation, Revision, Txn, TxnAnswer,
};
use revoada_store::Consistency;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status};

use super::users::{Need, Users};
use super::{token, users};
use crate::etcd::{EtcdFace, refusal, refused};

/// Where users and roles are.
const KEY: &[u8] = b"\0etcd-auth";

/// How often a change is tried anew because users or roles changed meanwhile.
const TRIES: usize = 16;

/// The records of users as they were read last, and the revision that wrote them.
pub type Known = parking_lot::Mutex<Option<(Revision, Arc<Users>)>>;

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The users that it was found among; none where nobody has to log in.
    users: Option<Arc<Users>>,
    name: String,
}

impl Caller {
    /// Whether it may do all of this.
    pub fn may(&self, needs: &[Need]) -> Result<(), Status> {
        match &self.users {
            Some(users) => Ok(users.allows(&self.name, needs)?),
            None => Ok(()),
        }
    }

    /// Whether it may do what only root may.
    pub fn may_administer(&self) -> Result<(), Status> {
        match &self.users {
            Some(_) if self.name.is_empty() => Err(refusal::USER_EMPTY.into()),
            Some(users) if !users.is_root(&self.name) => Err(refusal::PERMISSION_DENIED.into()),
            _ => Ok(()),
        }
    }

    /// Whether it may look at what is this user's own.
    pub fn is_or_administers(&self, user: &str) -> Result<(), Status> {
        if self.name == user {
            Ok(())
        } else {
            self.may_administer()
        }
    }

    /// Whether it may look at a role: one of its own.
    pub fn has_or_administers(&self, role: &str) -> Result<(), Status> {
        let has = |users: &Arc<Users>| {
            users
                .users
                .get(&self.name)
                .is_some_and(|user| user.roles.contains(role))
        };
        if self.users.as_ref().is_some_and(has) {
            Ok(())
        } else {
            self.may_administer()
        }
    }
}

impl EtcdFace {
    /// The users as a view has them, and the revision that wrote them; none where there never were any.
    pub(super) fn users_in(&self, view: &View) -> Result<Option<(Revision, Arc<Users>)>, Status> {
        let Some(version) = view.get(KEY) else { return Ok(None) };
        let mut known = self.known_users.lock();
        if let Some((revision, users)) = &*known
            && *revision == version.mod_revision
        {
            return Ok(Some((*revision, users.clone())));
        }
        let users: Users = cbor4ii::serde::from_slice(&version.value)
            .map_err(|error| Status::data_loss(format!("users and roles cannot be read: {error}")))?;
        let users = Arc::new(users);
        *known = Some((version.mod_revision, users.clone()));
        Ok(Some((version.mod_revision, users)))
    }

    /// Who asks, by the token that came with the request.
    pub(in crate::etcd) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.caller_in(&self.keyspace.view_at_hand(), request.metadata())
    }

    fn caller_in(&self, view: &View, metadata: &MetadataMap) -> Result<Caller, Status> {
        let nobody = Caller {
            users: None,
            name: String::new(),
        };
        let Some((_, users)) = self.users_in(view)? else {
            return Ok(nobody);
        };
        if !users.enabled {
            return Ok(nobody);
        }
        // The protocol's clients send one, and some of them the other.
        let given = metadata.get("token").or_else(|| metadata.get("authorization"));
        let name = match given {
            None => String::new(),
            Some(given) => given
                .to_str()
                .ok()
                .and_then(|given| token::owner(&users, given, (self.clock_ms)()))
                .ok_or(refusal::INVALID_AUTH_TOKEN)?
                .to_owned(),
        };
        Ok(Caller {
            users: Some(users),
            name,
        })
    }

    /// Does a transaction for who asks, if they may do all of `needs` when it is applied.
    pub(in crate::etcd) async fn txn_as<T>(
        &self,
        request: &Request<T>,
        needs: &[Need],
        txn: Txn,
    ) -> Result<(Revision, TxnAnswer), Status> {
        let mut view = self.keyspace.view_at_hand();
        for _ in 0..TRIES {
            let Some((written, users)) = self.users_in(&view)?.filter(|(_, users)| users.enabled) else {
                return self.keyspace.txn(txn).await.map_err(refused);
            };
            self.caller_in(&view, request.metadata())?.may(needs)?;
            drop(users);
            let guarded = Txn {
                compares: vec![unchanged_since(written)],
                then: vec![Op::Txn(Box::new(txn.clone()))],
                otherwise: Vec::new(),
            };
            let (revision, mut answer) = self.keyspace.txn(guarded).await.map_err(refused)?;
            if answer.succeeded {
                return match answer.results.pop() {
                    Some(OpResult::Txn(answer)) => Ok((revision, answer)),
                    other => Err(Status::internal(format!("a transaction was answered by {other:?}"))),
                };
            }
            view = self.view(Consistency::Linearizable).await?;
        }
        Err(refusal::AUTH_OLD_REVISION.into())
    }

    /// Changes users and roles, again if somebody else did meanwhile. The revision of the records after it.
    pub(super) async fn change_users(
        &self,
        change: impl Fn(&mut Users) -> Result<(), refusal::Refusal>,
    ) -> Result<(), Status> {
        for _ in 0..TRIES {
            let view = self.view(Consistency::Linearizable).await?;
            let (written, before) = match self.users_in(&view)? {
                Some((written, users)) => (written, Users::clone(&users)),
                None => (0, Users::nobody(self.secret()?)),
            };
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(());
            }
            after.revision += 1;
            let value = cbor4ii::serde::to_vec(Vec::new(), &after)
                .map_err(|error| Status::internal(format!("users and roles cannot be written: {error}")))?;
            let txn = Txn {
                compares: vec![unchanged_since(written)],
                then: vec![Op::put(Bytes::from_static(KEY), value)],
                otherwise: Vec::new(),
            };
            if self.keyspace.txn(txn).await.map_err(refused)?.1.succeeded {
                return Ok(());
            }
        }
        Err(refusal::TOO_MANY_REQUESTS.into())
    }

    fn secret(&self) -> Result<[u8; 32], Status> {
        let mut secret = [0; 32];
        match (self.entropy)(&mut secret) {
            Ok(()) => Ok(secret),
            Err(error) => Err(Status::internal(format!("the system gives no random bytes: {error}"))),
        }
    }
}

/// The records are those that were read.
fn unchanged_since(written: Revision) -> Compare {
    Compare {
        range: KeyRange::One(Bytes::from_static(KEY)),
        target: CompareTarget::Mod(written),
        relation: Relation::Equal,
    }
}

/// To read a range.
pub fn read(key: &Bytes, end: &Bytes) -> Need {
    need(false, key, end)
}

/// To write a range.
pub fn write(key: &Bytes, end: &Bytes) -> Need {
    need(true, key, end)
}

fn need(writes: bool, key: &Bytes, end: &Bytes) -> users::Need {
    Need {
        writes,
        key: key.clone(),
        end: end.clone(),
    }
}
