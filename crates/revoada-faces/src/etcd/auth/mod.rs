//! Auth: users, roles, permissions, and the tokens of who has logged in.

mod guard;
mod token;
mod users;

use base64::Engine;
use revoada_etcd_api::authpb;
use revoada_etcd_api::etcdserverpb as pb;
use revoada_etcd_api::etcdserverpb::auth_server::Auth;
use tonic::{Request, Response, Status};

use super::{EtcdFace, refusal};
use revoada_store::Consistency;
use users::{Kind, Permission};

pub use guard::{Caller, Credentials, Operator, read, record, write};
pub use users::{Need, Users};

/// What a user without a password is told (etcd has no code for it).
const NO_PASSWORD: &str = "auth: authentication failed, password was given for no password user";

/// The hash that a client made itself, as the protocol has it: bcrypt's text in base64.
fn given_hash(encoded: &str) -> Result<String, Status> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok();
    let hash = decoded.and_then(|decoded| String::from_utf8(decoded).ok());
    hash.ok_or_else(|| Status::unknown(NO_PASSWORD))
}

/// Hashes off the runtime: it is slow on purpose.
async fn hash(password: String, cost: u32) -> Result<String, Status> {
    let hashed = tokio::task::spawn_blocking(move || bcrypt::hash(password, cost)).await;
    match hashed {
        Ok(Ok(hash)) => Ok(hash),
        Ok(Err(error)) => Err(Status::invalid_argument(format!(
            "the password cannot be hashed: {error}"
        ))),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

async fn matches(password: String, hash: String) -> bool {
    let compared = tokio::task::spawn_blocking(move || bcrypt::verify(password, &hash)).await;
    matches!(compared, Ok(Ok(true)))
}

fn permission(permission: authpb::Permission) -> Permission {
    let kind = match permission.perm_type() {
        authpb::permission::Type::Read => Kind::Read,
        authpb::permission::Type::Write => Kind::Write,
        authpb::permission::Type::Readwrite => Kind::ReadWrite,
    };
    Permission {
        kind,
        key: permission.key,
        end: permission.range_end,
    }
}

fn shown(permission: Permission) -> authpb::Permission {
    let kind = match permission.kind {
        Kind::Read => authpb::permission::Type::Read,
        Kind::Write => authpb::permission::Type::Write,
        Kind::ReadWrite => authpb::permission::Type::Readwrite,
    };
    authpb::Permission {
        perm_type: kind as i32,
        key: permission.key,
        range_end: permission.end,
    }
}

impl EtcdFace {
    /// The users as they are; nobody where there never were any.
    async fn users(&self) -> Result<std::sync::Arc<Users>, Status> {
        let view = self.view(Consistency::Linearizable).await?;
        let users = self.users_in(&view)?.map(|(_, users)| users);
        Ok(users.unwrap_or_else(|| std::sync::Arc::new(Users::nobody([0; 32]))))
    }

    /// What root alone may do, where anybody has to log in.
    async fn administer<T, A>(
        &self,
        request: &Request<T>,
        change: impl Fn(&mut Users) -> Result<(), refusal::Refusal>,
        answer: impl FnOnce(Option<pb::ResponseHeader>) -> A,
    ) -> Result<Response<A>, Status> {
        self.caller(request)?.may_administer()?;
        self.change_users(change).await?;
        Ok(Response::new(answer(self.header_now())))
    }
}

#[tonic::async_trait]
impl Auth for EtcdFace {
    async fn auth_enable(
        &self,
        request: Request<pb::AuthEnableRequest>,
    ) -> Result<Response<pb::AuthEnableResponse>, Status> {
        let answer = |header| pb::AuthEnableResponse { header };
        self.administer(&request, Users::enable, answer).await
    }

    async fn auth_disable(
        &self,
        request: Request<pb::AuthDisableRequest>,
    ) -> Result<Response<pb::AuthDisableResponse>, Status> {
        let answer = |header| pb::AuthDisableResponse { header };
        self.administer(&request, Users::disable, answer).await
    }

    async fn auth_status(
        &self,
        request: Request<pb::AuthStatusRequest>,
    ) -> Result<Response<pb::AuthStatusResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let users = self.users().await?;
        Ok(Response::new(pb::AuthStatusResponse {
            header: self.header_now(),
            enabled: users.enabled,
            auth_revision: users.revision,
        }))
    }

    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Result<Response<pb::AuthenticateResponse>, Status> {
        let pb::AuthenticateRequest { name, password } = request.into_inner();
        let users = self.users().await?;
        if !users.enabled {
            return Err(refusal::AUTH_NOT_ENABLED.into());
        }
        let Some(user) = users.users.get(&name) else {
            return Err(refusal::AUTH_FAILED.into());
        };
        let Some(hash) = user.hash.clone() else {
            return Err(Status::unknown(NO_PASSWORD));
        };
        if !matches(password, hash).await {
            return Err(refusal::AUTH_FAILED.into());
        }
        let token =
            token::issue(&users, &name, (self.clock_ms)(), self.options.token_ttl).ok_or(refusal::AUTH_FAILED)?;
        Ok(Response::new(pb::AuthenticateResponse {
            header: self.header_now(),
            token,
        }))
    }

    async fn user_add(
        &self,
        request: Request<pb::AuthUserAddRequest>,
    ) -> Result<Response<pb::AuthUserAddResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let asked = request.get_ref();
        let without = asked.options.as_ref().is_some_and(|options| options.no_password);
        let hash = match (without, asked.hashed_password.is_empty()) {
            (true, _) => None,
            (false, false) => Some(given_hash(&asked.hashed_password)?),
            (false, true) => Some(hash(asked.password.clone(), self.options.bcrypt_cost).await?),
        };
        let change = |users: &mut Users| users.add_user(&asked.name, hash.clone());
        let answer = |header| pb::AuthUserAddResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn user_get(
        &self,
        request: Request<pb::AuthUserGetRequest>,
    ) -> Result<Response<pb::AuthUserGetResponse>, Status> {
        let name = &request.get_ref().name;
        self.caller(&request)?.is_or_administers(name)?;
        let users = self.users().await?;
        let user = users.users.get(name).ok_or(refusal::USER_NOT_FOUND)?;
        Ok(Response::new(pb::AuthUserGetResponse {
            header: self.header_now(),
            roles: user.roles.iter().cloned().collect(),
        }))
    }

    async fn user_list(
        &self,
        request: Request<pb::AuthUserListRequest>,
    ) -> Result<Response<pb::AuthUserListResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let users = self.users().await?;
        Ok(Response::new(pb::AuthUserListResponse {
            header: self.header_now(),
            users: users.users.keys().cloned().collect(),
        }))
    }

    async fn user_delete(
        &self,
        request: Request<pb::AuthUserDeleteRequest>,
    ) -> Result<Response<pb::AuthUserDeleteResponse>, Status> {
        let change = |users: &mut Users| users.delete_user(&request.get_ref().name);
        let answer = |header| pb::AuthUserDeleteResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn user_change_password(
        &self,
        request: Request<pb::AuthUserChangePasswordRequest>,
    ) -> Result<Response<pb::AuthUserChangePasswordResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let asked = request.get_ref();
        let hash = match asked.hashed_password.is_empty() {
            false => given_hash(&asked.hashed_password)?,
            true => hash(asked.password.clone(), self.options.bcrypt_cost).await?,
        };
        let change = |users: &mut Users| users.change_password(&asked.name, Some(hash.clone()));
        let answer = |header| pb::AuthUserChangePasswordResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn user_grant_role(
        &self,
        request: Request<pb::AuthUserGrantRoleRequest>,
    ) -> Result<Response<pb::AuthUserGrantRoleResponse>, Status> {
        let asked = request.get_ref();
        let change = |users: &mut Users| users.grant_role(&asked.user, &asked.role);
        let answer = |header| pb::AuthUserGrantRoleResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn user_revoke_role(
        &self,
        request: Request<pb::AuthUserRevokeRoleRequest>,
    ) -> Result<Response<pb::AuthUserRevokeRoleResponse>, Status> {
        let asked = request.get_ref();
        let change = |users: &mut Users| users.revoke_role(&asked.name, &asked.role);
        let answer = |header| pb::AuthUserRevokeRoleResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn role_add(
        &self,
        request: Request<pb::AuthRoleAddRequest>,
    ) -> Result<Response<pb::AuthRoleAddResponse>, Status> {
        let change = |users: &mut Users| users.add_role(&request.get_ref().name);
        let answer = |header| pb::AuthRoleAddResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn role_get(
        &self,
        request: Request<pb::AuthRoleGetRequest>,
    ) -> Result<Response<pb::AuthRoleGetResponse>, Status> {
        let role = &request.get_ref().role;
        self.caller(&request)?.has_or_administers(role)?;
        let permissions = self.users().await?.permissions(role)?;
        Ok(Response::new(pb::AuthRoleGetResponse {
            header: self.header_now(),
            perm: permissions.into_iter().map(shown).collect(),
        }))
    }

    async fn role_list(
        &self,
        request: Request<pb::AuthRoleListRequest>,
    ) -> Result<Response<pb::AuthRoleListResponse>, Status> {
        self.caller(&request)?.may_administer()?;
        let users = self.users().await?;
        Ok(Response::new(pb::AuthRoleListResponse {
            header: self.header_now(),
            roles: users.roles.keys().cloned().collect(),
        }))
    }

    async fn role_delete(
        &self,
        request: Request<pb::AuthRoleDeleteRequest>,
    ) -> Result<Response<pb::AuthRoleDeleteResponse>, Status> {
        let change = |users: &mut Users| users.delete_role(&request.get_ref().role);
        let answer = |header| pb::AuthRoleDeleteResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn role_grant_permission(
        &self,
        request: Request<pb::AuthRoleGrantPermissionRequest>,
    ) -> Result<Response<pb::AuthRoleGrantPermissionResponse>, Status> {
        let asked = request.get_ref();
        let given = asked.perm.clone().ok_or(refusal::PERMISSION_NOT_GIVEN)?;
        let change = |users: &mut Users| users.grant_permission(&asked.name, permission(given.clone()));
        let answer = |header| pb::AuthRoleGrantPermissionResponse { header };
        self.administer(&request, change, answer).await
    }

    async fn role_revoke_permission(
        &self,
        request: Request<pb::AuthRoleRevokePermissionRequest>,
    ) -> Result<Response<pb::AuthRoleRevokePermissionResponse>, Status> {
        let asked = request.get_ref();
        let change = |users: &mut Users| users.revoke_permission(&asked.role, &asked.key, &asked.range_end);
        let answer = |header| pb::AuthRoleRevokePermissionResponse { header };
        self.administer(&request, change, answer).await
    }
}
