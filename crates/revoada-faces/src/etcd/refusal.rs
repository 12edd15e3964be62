//! What etcd answers instead of a result. Clients match on code and text, so both are the protocol's own
//! (etcd 3.6, `api/v3rpc/rpctypes/error.go`).

use revoada_core::keyspace::{OperationRefused, ReadError};
use revoada_store::KeyspaceError;
use tonic::{Code, Status};

/// One of the protocol's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    code: Code,
    text: &'static str,
}

impl Refusal {
    const fn new(code: Code, text: &'static str) -> Self {
        Self { code, text }
    }

    /// The text that clients match on.
    pub const fn text(self) -> &'static str {
        self.text
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.text)
    }
}

/// A key without bytes.
pub const EMPTY_KEY: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: key is not provided");
/// A put that keeps what is not there.
pub const KEY_NOT_FOUND: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: key not found");
/// A put that keeps the value and gives one.
pub const VALUE_PROVIDED: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: value is provided");
/// A put that keeps the lease and gives one.
pub const LEASE_PROVIDED: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: lease is provided");
/// A transaction that is too long.
pub const TOO_MANY_OPS: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: too many operations in txn request");
/// A transaction that changes a key twice.
pub const DUPLICATE_KEY: Refusal =
    Refusal::new(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
/// An order that does not exist.
pub const INVALID_SORT: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: invalid sort option");
/// A request that is too large.
pub const TOO_LARGE: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: request is too large");
/// A revision that is gone.
pub const COMPACTED: Refusal = Refusal::new(
    Code::OutOfRange,
    "etcdserver: mvcc: required revision has been compacted",
);
/// A revision that has not happened.
pub const FUTURE: Refusal = Refusal::new(
    Code::OutOfRange,
    "etcdserver: mvcc: required revision is a future revision",
);
/// What there is no room for.
pub const NO_SPACE: Refusal = Refusal::new(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
/// Members hold different data, so nothing is changed.
pub const CORRUPT: Refusal = Refusal::new(Code::DataLoss, "etcdserver: corrupt cluster");
/// A version to go back to that is none.
pub const WRONG_DOWNGRADE_VERSION_FORMAT: Refusal = Refusal::new(
    Code::InvalidArgument,
    "etcdserver: wrong downgrade target version format",
);
/// A version that cannot be gone back to.
pub const INVALID_DOWNGRADE_TARGET_VERSION: Refusal =
    Refusal::new(Code::InvalidArgument, "etcdserver: invalid downgrade target version");
/// A downgrade is under way.
pub const DOWNGRADE_IN_PROCESS: Refusal = Refusal::new(
    Code::FailedPrecondition,
    "etcdserver: cluster has a downgrade job in progress",
);
/// A lease that is not there.
pub const LEASE_NOT_FOUND: Refusal = Refusal::new(Code::NotFound, "etcdserver: requested lease not found");
/// A lease that is there already.
pub const LEASE_EXISTS: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: lease already exists");
/// A lease that would live too long.
pub const LEASE_TOO_LONG: Refusal = Refusal::new(Code::OutOfRange, "etcdserver: too large lease TTL");
/// More than this node takes on at once.
pub const TOO_MANY_REQUESTS: Refusal = Refusal::new(Code::ResourceExhausted, "etcdserver: too many requests");
/// It cannot be done now, and nothing was changed.
pub const NO_LEADER: Refusal = Refusal::new(Code::Unavailable, "etcdserver: no leader");
/// It was sent, and nobody knows what became of it.
pub const TIMEOUT: Refusal = Refusal::new(Code::Unavailable, "etcdserver: request timed out");
/// This node stops.
pub const STOPPED: Refusal = Refusal::new(Code::Unavailable, "etcdserver: server stopped");
/// Leadership cannot go where it should.
pub const BAD_TRANSFEREE: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: bad leader transferee");
/// Only who leads can do it.
pub const NOT_LEADER: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: not leader");

/// Authentication cannot begin without somebody called root.
pub const ROOT_USER_MISSING: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: root user does not exist");
/// Authentication cannot begin while root may not do everything.
pub const ROOT_ROLE_MISSING: Refusal = Refusal::new(
    Code::FailedPrecondition,
    "etcdserver: root user does not have root role",
);
/// A user who is there already.
pub const USER_EXISTS: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: user name already exists");
/// A user without a name.
pub const USER_EMPTY: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: user name is empty");
/// A user who is not there.
pub const USER_NOT_FOUND: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: user name not found");
/// A role that is there already.
pub const ROLE_EXISTS: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: role name already exists");
/// A role that is not there.
pub const ROLE_NOT_FOUND: Refusal = Refusal::new(Code::FailedPrecondition, "etcdserver: role name not found");
/// A role without a name.
pub const ROLE_EMPTY: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: role name is empty");
/// A name or a password that is wrong.
pub const AUTH_FAILED: Refusal = Refusal::new(
    Code::InvalidArgument,
    "etcdserver: authentication failed, invalid user ID or password",
);
/// A permission that was not given.
pub const PERMISSION_NOT_GIVEN: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: permission not given");
/// What the caller may not do.
pub const PERMISSION_DENIED: Refusal = Refusal::new(Code::PermissionDenied, "etcdserver: permission denied");
/// A role that the user does not have.
pub const ROLE_NOT_GRANTED: Refusal =
    Refusal::new(Code::FailedPrecondition, "etcdserver: role is not granted to the user");
/// A permission that the role does not have.
pub const PERMISSION_NOT_GRANTED: Refusal = Refusal::new(
    Code::FailedPrecondition,
    "etcdserver: permission is not granted to the role",
);
/// Nobody can log in.
pub const AUTH_NOT_ENABLED: Refusal =
    Refusal::new(Code::FailedPrecondition, "etcdserver: authentication is not enabled");
/// A token that is nobody's, or no longer.
pub const INVALID_AUTH_TOKEN: Refusal = Refusal::new(Code::Unauthenticated, "etcdserver: invalid auth token");
/// What would leave nobody in charge.
pub const INVALID_AUTH_MANAGEMENT: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: invalid auth management");
/// Users or roles changed again and again.
pub const AUTH_OLD_REVISION: Refusal = Refusal::new(Code::InvalidArgument, "etcdserver: revision of auth store is old");

/// What a client is told of an error of the keyspace. What the protocol has no words for goes to the log.
pub fn refused(error: KeyspaceError) -> Status {
    let refusal = match &error {
        KeyspaceError::Refused(operation) => match operation {
            OperationRefused::LeaseNotFound { .. } | OperationRefused::LeaseIdZero => LEASE_NOT_FOUND,
            OperationRefused::LeaseExists { .. } => LEASE_EXISTS,
            OperationRefused::LeaseTime { .. } => LEASE_TOO_LONG,
            OperationRefused::TooManyLeases { .. } => TOO_MANY_REQUESTS,
            OperationRefused::Compacted { .. } => COMPACTED,
            OperationRefused::Future { .. } => FUTURE,
            OperationRefused::DuplicateKey { .. } => DUPLICATE_KEY,
            OperationRefused::KeyNotFound { .. } => KEY_NOT_FOUND,
            OperationRefused::EmptyKey => EMPTY_KEY,
            OperationRefused::KeyTooLong { .. } | OperationRefused::ValueTooLong { .. } => TOO_LARGE,
            OperationRefused::ValueGiven => VALUE_PROVIDED,
            OperationRefused::LeaseGiven => LEASE_PROVIDED,
            OperationRefused::TooManyOps { .. } | OperationRefused::TooDeep { .. } => TOO_MANY_OPS,
            OperationRefused::NoRevisionLeft { .. }
            | OperationRefused::NotNew { .. }
            | OperationRefused::EntryNumbers { .. }
            | OperationRefused::OutsidePrefix { .. } => {
                return Status::internal(operation.to_string());
            }
        },
        KeyspaceError::Unsupported { .. } => return Status::unimplemented(error.to_string()),
        KeyspaceError::Unavailable { .. } => NO_LEADER,
        KeyspaceError::Exhausted { .. } => TOO_MANY_REQUESTS,
        KeyspaceError::OutcomeUnknown { .. } => TIMEOUT,
        other => return Status::unknown(other.to_string()),
    };
    tracing::debug!(
        error = &error as &dyn std::error::Error,
        answer = refusal.text,
        "an operation has no result"
    );
    refusal.into()
}

/// What a client is told of a revision that cannot be read.
pub fn unreadable(error: ReadError) -> Status {
    match error {
        ReadError::Compacted { .. } => COMPACTED.into(),
        ReadError::Future { .. } => FUTURE.into(),
    }
}
