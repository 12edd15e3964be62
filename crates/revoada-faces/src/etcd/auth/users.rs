//! Users and roles: what may be changed in them, and who may do what (etcd: `server/auth/store.go`).
//!
//! Pure: it is read from one key of the keyspace, changed, and written back if nobody else wrote meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::etcd::refusal::{self, Refusal};

/// The user, and the role, that may do everything.
pub const ROOT: &str = "root";

/// Whether a permission lets its holder read, write, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Read,
    Write,
    ReadWrite,
}

/// A range of keys, as the protocol spells it, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permission {
    pub kind: Kind,
    pub key: Bytes,
    pub end: Bytes,
}

/// What is to be done with a range of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    pub writes: bool,
    pub key: Bytes,
    pub end: Bytes,
}

/// One user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The hash of the password by bcrypt; none where there is none to log in with.
    pub hash: Option<String>,
    pub roles: BTreeSet<String>,
    /// The revision of these records at which the password was set: tokens of an older one are worth nothing.
    pub since: u64,
}

/// Everything that is known of users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Users {
    pub enabled: bool,
    /// Grows with every change of these records.
    pub revision: u64,
    pub users: BTreeMap<String, User>,
    pub roles: BTreeMap<String, Vec<Permission>>,
    /// What tokens are signed with.
    pub secret: [u8; 32],
}

impl Permission {
    /// From `key` to what the range ends with; none where it has no end.
    fn end(&self) -> Option<Bytes> {
        end_of(&self.key, &self.end)
    }
}

/// The first key behind a range as the protocol spells it; none where it has no end.
fn end_of(key: &[u8], end: &[u8]) -> Option<Bytes> {
    match end {
        [] => {
            let mut next = key.to_vec();
            next.push(0);
            Some(next.into())
        }
        [0] => None,
        end => Some(Bytes::copy_from_slice(end)),
    }
}

impl Users {
    /// Nobody, and authentication is off.
    pub fn nobody(secret: [u8; 32]) -> Self {
        Self {
            enabled: false,
            revision: 1,
            users: BTreeMap::new(),
            roles: BTreeMap::new(),
            secret,
        }
    }

    fn user(&mut self, name: &str) -> Result<&mut User, Refusal> {
        self.users.get_mut(name).ok_or(refusal::USER_NOT_FOUND)
    }

    fn role(&mut self, name: &str) -> Result<&mut Vec<Permission>, Refusal> {
        self.roles.get_mut(name).ok_or(refusal::ROLE_NOT_FOUND)
    }

    /// Turns it on, where there is somebody who could turn it off again.
    pub fn enable(&mut self) -> Result<(), Refusal> {
        let root = self.users.get(ROOT).ok_or(refusal::ROOT_USER_MISSING)?;
        if !root.roles.contains(ROOT) {
            return Err(refusal::ROOT_ROLE_MISSING);
        }
        self.enabled = true;
        Ok(())
    }

    /// Turns it off.
    pub fn disable(&mut self) -> Result<(), Refusal> {
        self.enabled = false;
        Ok(())
    }

    /// A new user.
    pub fn add_user(&mut self, name: &str, hash: Option<String>) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(refusal::USER_EMPTY);
        }
        if self.users.contains_key(name) {
            return Err(refusal::USER_EXISTS);
        }
        let user = User {
            hash,
            roles: BTreeSet::new(),
            since: self.revision + 1,
        };
        self.users.insert(name.to_owned(), user);
        Ok(())
    }

    /// Takes a user away.
    pub fn delete_user(&mut self, name: &str) -> Result<(), Refusal> {
        if self.enabled && name == ROOT {
            return Err(refusal::INVALID_AUTH_MANAGEMENT);
        }
        self.user(name)?;
        self.users.remove(name);
        Ok(())
    }

    /// Another password.
    pub fn change_password(&mut self, name: &str, hash: Option<String>) -> Result<(), Refusal> {
        let since = self.revision + 1;
        let user = self.user(name)?;
        user.hash = hash;
        user.since = since;
        Ok(())
    }

    /// Gives a role to a user.
    pub fn grant_role(&mut self, name: &str, role: &str) -> Result<(), Refusal> {
        self.user(name)?;
        if role != ROOT {
            self.role(role)?;
        }
        self.user(name)?.roles.insert(role.to_owned());
        Ok(())
    }

    /// Takes a role from a user.
    pub fn revoke_role(&mut self, name: &str, role: &str) -> Result<(), Refusal> {
        if self.enabled && name == ROOT && role == ROOT {
            return Err(refusal::INVALID_AUTH_MANAGEMENT);
        }
        if self.user(name)?.roles.remove(role) {
            Ok(())
        } else {
            Err(refusal::ROLE_NOT_GRANTED)
        }
    }

    /// A new role, which may do nothing.
    pub fn add_role(&mut self, name: &str) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(refusal::ROLE_EMPTY);
        }
        if self.roles.contains_key(name) {
            return Err(refusal::ROLE_EXISTS);
        }
        self.roles.insert(name.to_owned(), Vec::new());
        Ok(())
    }

    /// Takes a role away, from everybody who has it too.
    pub fn delete_role(&mut self, name: &str) -> Result<(), Refusal> {
        if self.enabled && name == ROOT {
            return Err(refusal::INVALID_AUTH_MANAGEMENT);
        }
        self.role(name)?;
        self.roles.remove(name);
        for user in self.users.values_mut() {
            user.roles.remove(name);
        }
        Ok(())
    }

    /// Lets a role do something; it replaces what the role may do with the same range.
    pub fn grant_permission(&mut self, role: &str, permission: Permission) -> Result<(), Refusal> {
        let is_range = !permission.key.is_empty() || permission.end[..] == [0];
        let is_empty = permission.end().is_some_and(|end| end <= permission.key);
        if !is_range || is_empty {
            return Err(refusal::INVALID_AUTH_MANAGEMENT);
        }
        let permissions = self.role(role)?;
        permissions.retain(|there| (&there.key, &there.end) != (&permission.key, &permission.end));
        permissions.push(permission);
        permissions.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(())
    }

    /// Takes from a role what it may do with exactly this range.
    pub fn revoke_permission(&mut self, role: &str, key: &[u8], end: &[u8]) -> Result<(), Refusal> {
        let permissions = self.role(role)?;
        let before = permissions.len();
        permissions.retain(|there| !(there.key == key && there.end == end));
        if permissions.len() == before {
            return Err(refusal::PERMISSION_NOT_GRANTED);
        }
        Ok(())
    }

    /// What a role may do.
    pub fn permissions(&self, role: &str) -> Result<Vec<Permission>, Refusal> {
        let permissions = self.roles.get(role).ok_or(refusal::ROLE_NOT_FOUND)?;
        if role == ROOT {
            return Ok(vec![Permission {
                kind: Kind::ReadWrite,
                key: Bytes::new(),
                end: Bytes::from_static(&[0]),
            }]);
        }
        Ok(permissions.clone())
    }

    /// Whether a user may do everything.
    pub fn is_root(&self, name: &str) -> bool {
        self.users.get(name).is_some_and(|user| user.roles.contains(ROOT))
    }

    /// Whether a user may do all of this: each range has to be covered by what the user's roles may do, together.
    pub fn allows(&self, name: &str, needs: &[Need]) -> Result<(), Refusal> {
        if name.is_empty() {
            return Err(refusal::USER_EMPTY);
        }
        let user = self.users.get(name).ok_or(refusal::PERMISSION_DENIED)?;
        if user.roles.contains(ROOT) {
            return Ok(());
        }
        for need in needs {
            let mut granted: Vec<_> = user
                .roles
                .iter()
                .filter_map(|role| self.roles.get(role))
                .flatten()
                .filter(|permission| match permission.kind {
                    Kind::ReadWrite => true,
                    Kind::Read => !need.writes,
                    Kind::Write => need.writes,
                })
                .collect();
            granted.sort_by(|a, b| a.key.cmp(&b.key));
            if !covers(&granted, &need.key, end_of(&need.key, &need.end)) {
                return Err(refusal::PERMISSION_DENIED);
            }
        }
        Ok(())
    }
}

/// Whether ranges, by their first keys, leave no gap between `from` and `to`; none: to the last key there can be.
fn covers(granted: &[&Permission], from: &Bytes, to: Option<Bytes>) -> bool {
    let mut reached = from.clone();
    for permission in granted {
        if to.as_ref().is_some_and(|to| reached >= *to) {
            return true;
        }
        if permission.key > reached {
            return false;
        }
        match permission.end() {
            None => return true,
            Some(end) if end > reached => reached = end,
            Some(_) => {}
        }
    }
    to.is_some_and(|to| reached >= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permission(kind: Kind, key: &'static str, end: &'static str) -> Permission {
        Permission {
            kind,
            key: Bytes::from_static(key.as_bytes()),
            end: Bytes::from_static(end.as_bytes()),
        }
    }

    fn need(writes: bool, key: &'static str, end: &'static str) -> [Need; 1] {
        [Need {
            writes,
            key: Bytes::from_static(key.as_bytes()),
            end: Bytes::from_static(end.as_bytes()),
        }]
    }

    fn users() -> Users {
        let mut users = Users::nobody([0; 32]);
        for (user, role) in [(ROOT, ROOT), ("eve", "reader")] {
            users.add_user(user, None).unwrap();
            users.add_role(role).unwrap();
            users.grant_role(user, role).unwrap();
        }
        users
    }

    #[test]
    fn it_can_be_turned_on_only_where_somebody_could_turn_it_off() {
        let mut users = Users::nobody([0; 32]);
        assert_eq!(users.enable(), Err(refusal::ROOT_USER_MISSING));
        users.add_user(ROOT, None).unwrap();
        assert_eq!(users.enable(), Err(refusal::ROOT_ROLE_MISSING));
        users.grant_role(ROOT, ROOT).unwrap();
        users.enable().unwrap();
        assert_eq!(users.delete_user(ROOT), Err(refusal::INVALID_AUTH_MANAGEMENT));
        assert_eq!(users.revoke_role(ROOT, ROOT), Err(refusal::INVALID_AUTH_MANAGEMENT));
    }

    #[test]
    fn a_range_is_allowed_where_permissions_cover_it_together() {
        let mut users = users();
        for (kind, key, end) in [
            (Kind::Read, "a", "c"),
            (Kind::ReadWrite, "c", "e"),
            (Kind::Write, "x", ""),
            (Kind::Read, "y", "\0"),
        ] {
            users.grant_permission("reader", permission(kind, key, end)).unwrap();
        }
        for (writes, key, end) in [
            (false, "a", "e"),
            (false, "b", "d"),
            (true, "c", "d"),
            (true, "x", ""),
            (false, "z", "\0"),
        ] {
            assert_eq!(
                users.allows("eve", &need(writes, key, end)),
                Ok(()),
                "{writes} {key} {end:?}"
            );
        }
        for (writes, key, end) in [
            (true, "a", "e"),
            (false, "a", "f"),
            (false, "x", ""),
            (true, "x", "y"),
            (false, "a", "\0"),
        ] {
            let refused = users.allows("eve", &need(writes, key, end));
            assert_eq!(refused, Err(refusal::PERMISSION_DENIED), "{writes} {key} {end:?}");
        }
        assert_eq!(users.allows(ROOT, &need(true, "\0", "\0")), Ok(()));
        assert_eq!(users.allows("", &[]), Err(refusal::USER_EMPTY));
        assert_eq!(users.allows("mallory", &[]), Err(refusal::PERMISSION_DENIED));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let mut users = users();
        assert_eq!(users.add_user("eve", None), Err(refusal::USER_EXISTS));
        assert_eq!(users.add_user("", None), Err(refusal::USER_EMPTY));
        assert_eq!(users.grant_role("eve", "none"), Err(refusal::ROLE_NOT_FOUND));
        assert_eq!(users.revoke_role("eve", "none"), Err(refusal::ROLE_NOT_GRANTED));
        assert_eq!(users.add_role("reader"), Err(refusal::ROLE_EXISTS));
        assert_eq!(
            users.revoke_permission("reader", b"a", b""),
            Err(refusal::PERMISSION_NOT_GRANTED)
        );
        let nothing = permission(Kind::Read, "b", "a");
        assert_eq!(
            users.grant_permission("reader", nothing),
            Err(refusal::INVALID_AUTH_MANAGEMENT)
        );
        users.delete_role("reader").unwrap();
        assert!(users.users["eve"].roles.is_empty());
    }
}
