//! Tokens: who has logged in, signed, so that every node knows them without being told.
//!
//! Rejected: random tokens that a node remembers, as in etcd's `simple` provider, which a client loses with its node.

use std::time::Duration;

use super::users::Users;

fn signature(secret: &[u8; 32], signed: &str) -> blake3::Hash {
    blake3::keyed_hash(secret, signed.as_bytes())
}

/// A token of a user, if there is one of that name, worth something for so long.
pub fn issue(users: &Users, name: &str, now_ms: u64, ttl: Duration) -> Option<String> {
    let since = users.users.get(name)?.since;
    let until = now_ms.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    let signed = format!("{until}.{since}.{name}");
    Some(format!("{}.{signed}", signature(&users.secret, &signed)))
}

/// Whose token it is; none where it was not issued here, is over, or the user is another by now.
pub fn owner<'a>(users: &Users, token: &'a str, now_ms: u64) -> Option<&'a str> {
    let (given, signed) = token.split_once('.')?;
    // blake3's comparison takes the same time whatever differs.
    if blake3::Hash::from_hex(given).ok()? != signature(&users.secret, signed) {
        return None;
    }
    let (until, rest) = signed.split_once('.')?;
    let (since, name) = rest.split_once('.')?;
    let user = users.users.get(name)?;
    (until.parse::<u64>().ok()? > now_ms && since.parse::<u64>().ok()? == user.since).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_owners_until_it_is_over_or_the_password_changes() {
        let mut users = Users::nobody([7; 32]);
        users.add_user("a.b", None).unwrap();
        let ttl = Duration::from_secs(300);
        let token = issue(&users, "a.b", 1_000, ttl).unwrap();
        assert_eq!(owner(&users, &token, 1_000), Some("a.b"));
        assert_eq!(owner(&users, &token, 301_000), None);
        assert_eq!(owner(&users, &token.replace("a.b", "a.c"), 1_000), None);
        assert_eq!(owner(&users, "nonsense", 1_000), None);
        let others = Users {
            secret: [8; 32],
            ..users.clone()
        };
        assert_eq!(owner(&others, &token, 1_000), None);
        users.revision += 1;
        users.change_password("a.b", None).unwrap();
        assert_eq!(owner(&users, &token, 1_000), None);
        assert_eq!(issue(&users, "nobody", 1_000, ttl), None);
    }
}
