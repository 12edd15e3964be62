//! Who asks, and whether they may.
//!
//! Users and roles are under one key beside those of etcd's clients, where no client reaches it. A read is judged by the
//! records that this node has; a change is judged by them too, and carries a condition that they are still the same
//! when it is applied, so that who lost a permission cannot use it on a node that has not heard of that (etcd: the
//! revision of the auth store in each request).

use std::sync::Arc;

use bytes::Bytes;
use revoada_core::keyspace::{Keyspace as View, Op, OpResult, Revision, Txn, TxnAnswer};
use revoada_store::Consistency;
use tonic::{Request, Status};

use super::users::{Need, Users};
use super::{token, users};
use crate::etcd::alarm::{self, Alarms};
use crate::etcd::record::{Record, TRIES};
use crate::etcd::{CertificateName, EtcdFace, refusal, refused};

/// The record of users and roles.
pub const fn record() -> Record<Users> {
    Record::new(b"\0etcd-auth", "the record of users and roles")
}

/// What came with a request of who asks.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The token that a login gave; what is no text is nobody's token.
    token: Option<String>,
    /// The name in the certificate that the connection was made with.
    certificate: Option<Arc<str>>,
    /// Whether an operator of the node calls.
    operator: bool,
}

/// In the extensions of a request of whom the listener knows as an operator of the node: on the control socket. They may
/// do everything, whoever the users are, as with the keys' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator;

impl Credentials {
    /// Those of a request.
    pub fn of<T>(request: &Request<T>) -> Self {
        let metadata = request.metadata();
        // The protocol's clients send one, and some of them the other.
        let given = metadata.get("token").or_else(|| metadata.get("authorization"));
        Self {
            token: given.map(|given| given.to_str().unwrap_or_default().to_owned()),
            certificate: request.extensions().get::<CertificateName>().map(|name| name.0.clone()),
            operator: request.extensions().get::<Operator>().is_some(),
        }
    }
}

/// Who asks, and what state of the keyspace was found beside them.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The users that it was found among, and the revision that wrote them; none where nobody has to log in.
    users: Option<(Revision, Arc<Users>)>,
    name: String,
    alarms: Option<Arc<Alarms>>,
    taken: u64,
}

impl Caller {
    /// Whether anybody has to be allowed anything.
    pub fn is_judged(&self) -> bool {
        self.users.is_some()
    }

    /// Whether it may do all of this; with nothing, whether it is somebody.
    pub fn may(&self, needs: &[Need]) -> Result<(), Status> {
        match &self.users {
            Some((_, users)) => Ok(users.allows(&self.name, needs)?),
            None => Ok(()),
        }
    }

    /// Whether it is somebody, where that matters.
    pub fn is_somebody(&self) -> Result<(), Status> {
        if self.users.is_some() && self.name.is_empty() {
            return Err(refusal::USER_EMPTY.into());
        }
        Ok(())
    }

    /// Whether it may do what only root may.
    pub fn may_administer(&self) -> Result<(), Status> {
        self.is_somebody()?;
        match &self.users {
            Some((_, users)) if !users.is_root(&self.name) => Err(refusal::PERMISSION_DENIED.into()),
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
        let has = |(_, users): &(Revision, Arc<Users>)| {
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

    /// Whether anything may be changed at all.
    pub fn may_change(&self) -> Result<(), Status> {
        let corrupt = |alarms: &Arc<Alarms>| alarms.any(alarm::Kind::Corrupt);
        if self.alarms.as_ref().is_some_and(corrupt) {
            return Err(refusal::CORRUPT.into());
        }
        Ok(())
    }

    /// Whether a member has raised the alarm that there is no room.
    pub fn is_capped(&self) -> bool {
        let full = |alarms: &Arc<Alarms>| alarms.any(alarm::Kind::NoSpace);
        self.alarms.as_ref().is_some_and(full)
    }

    /// How many bytes the keyspace took.
    pub fn taken(&self) -> u64 {
        self.taken
    }
}

impl EtcdFace {
    /// The users as a view has them, and the revision that wrote them; none where there never were any.
    pub(super) fn users_in(&self, view: &View) -> Result<Option<(Revision, Arc<Users>)>, Status> {
        self.user_record.of(view)
    }

    /// Who asks, by what came with the request.
    pub(in crate::etcd) fn caller<T>(&self, request: &Request<T>) -> Result<Caller, Status> {
        self.caller_with(&Credentials::of(request))
    }

    /// Who asks.
    pub(in crate::etcd) fn caller_with(&self, credentials: &Credentials) -> Result<Caller, Status> {
        self.at_hand(|view| self.caller_in(view, credentials))
    }

    fn caller_in(&self, view: &View, credentials: &Credentials) -> Result<Caller, Status> {
        let alarms = self.alarm_record.of(view)?.map(|(_, alarms)| alarms);
        let mut caller = Caller {
            users: None,
            name: String::new(),
            alarms,
            taken: alarm::taken(view),
        };
        if credentials.operator {
            return Ok(caller);
        }
        let Some((written, users)) = self.users_in(view)?.filter(|(_, users)| users.enabled) else {
            return Ok(caller);
        };
        caller.name = match (&credentials.token, &credentials.certificate) {
            (Some(token), _) => token::owner(&users, token, (self.clock_ms)())
                .ok_or(refusal::INVALID_AUTH_TOKEN)?
                .to_owned(),
            (None, Some(name)) if self.options.certificate_names => name.as_ref().to_owned(),
            _ => String::new(),
        };
        caller.users = Some((written, users));
        Ok(caller)
    }

    /// Does a transaction for who asks, if they may do all of `needs` when it is applied.
    pub(in crate::etcd) async fn txn_as(
        &self,
        credentials: &Credentials,
        mut caller: Caller,
        needs: &[Need],
        txn: Txn,
    ) -> Result<(Revision, TxnAnswer), Status> {
        for _ in 0..TRIES {
            let Some((written, _)) = caller.users else {
                return self.keyspace.txn(txn).await.map_err(refused);
            };
            caller.may(needs)?;
            let guarded = Txn {
                compares: vec![self.user_record.unchanged_since(written)],
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
            let view = self.view(Consistency::Linearizable).await?;
            caller = self.caller_in(&view, credentials)?;
        }
        Err(refusal::AUTH_OLD_REVISION.into())
    }

    /// Changes users and roles, again if somebody else did meanwhile.
    pub(super) async fn change_users(
        &self,
        change: impl Fn(&mut Users) -> Result<(), refusal::Refusal>,
    ) -> Result<(), Status> {
        let counted = |users: &mut Users| {
            let before = users.clone();
            change(users)?;
            if *users != before {
                users.revision += 1;
            }
            Ok(())
        };
        let first = || Ok(Users::nobody(self.secret()?));
        self.change_record(&self.user_record, first, counted).await.map(drop)
    }

    fn secret(&self) -> Result<[u8; 32], Status> {
        let mut secret = [0; 32];
        match (self.entropy)(&mut secret) {
            Ok(()) => Ok(secret),
            Err(error) => Err(Status::internal(format!("the system gives no random bytes: {error}"))),
        }
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
