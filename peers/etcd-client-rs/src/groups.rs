//! Locks, elections, users, members, maintenance.

use std::time::Duration;

use etcd_client::{
    AlarmAction, AlarmType, Client, ConnectOptions, Error, LockOptions, Permission, PermissionType, ProclaimOptions,
    ResignOptions,
};
use serde_json::json;

use crate::{refusal, say};

/// How long a node may take to hear of what another one committed.
const HEARD_AFTER: Duration = Duration::from_secs(20);

/// Two who want a mutex, and a seat that is won, proclaimed, watched and given up.
pub async fn locks(mut client: Client) -> Result<(), Error> {
    let mut leases = Vec::new();
    for _ in 0..2 {
        leases.push(client.lease_grant(30, None).await?.id());
    }
    let with = |lease| Some(LockOptions::new().with_lease(lease));
    let first = client.lock("mutex", with(leases[0])).await?;
    let mut other = client.clone();
    let lease = leases[1];
    let waiting = tokio::spawn(async move { other.lock("mutex", with(lease)).await });
    // It has its place in the queue, and waits.
    while client
        .get("mutex/", Some(etcd_client::GetOptions::new().with_prefix()))
        .await?
        .count()
        < 2
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let waited = !waiting.is_finished();
    client.unlock(first.key()).await?;
    let second = waiting.await.expect("nothing ends it")?;
    say(&json!({"what": "locked", "waited": waited, "differ": first.key() != second.key()}));
    client.unlock(second.key()).await?;

    let elected = client.campaign("seat", "first", leases[0]).await?;
    let leader = elected.leader().expect("whoever wins has a key").clone();
    let mut observed = client.observe("seat").await?;
    let mut values = Vec::new();
    let mut next = async || -> Result<String, Error> {
        let told = observed.message().await?;
        Ok(told
            .and_then(|told| Some(told.kv()?.value_str().ok()?.to_owned()))
            .unwrap_or_default())
    };
    values.push(next().await?);
    client
        .proclaim("second", Some(ProclaimOptions::new().with_leader(leader.clone())))
        .await?;
    values.push(next().await?);
    let asked = client.leader("seat").await?;
    let leads = asked.kv().and_then(|kv| kv.value_str().ok()).map(str::to_owned);
    client.resign(Some(ResignOptions::new().with_leader(leader))).await?;
    let nobody = refusal(client.leader("seat").await);
    say(&json!({"what": "elected", "observed": values, "leads": leads, "nobody": nobody}));
    Ok(())
}

/// Users with and without a right, and whoever shows no name.
pub async fn auth(mut client: Client, endpoints: &[&str]) -> Result<(), Error> {
    client.put("a/mine", "1", None).await?;
    client.user_add("root", "secret", None).await?;
    client.role_add("root").await?;
    client.user_grant_role("root", "root").await?;
    client.user_add("guest", "guest", None).await?;
    client.role_add("reader").await?;
    let permission = Permission::new(PermissionType::Read, "a/").with_prefix();
    client.role_grant_permission("reader", permission).await?;
    client.user_grant_role("guest", "reader").await?;
    client.auth_enable().await?;
    let deadline = tokio::time::Instant::now() + HEARD_AFTER;
    let mut nameless = refusal(client.get("a/mine", None).await);
    while nameless.is_null() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
        nameless = refusal(client.get("a/mine", None).await);
    }
    let as_user = |name: &str, password: &str| Some(ConnectOptions::new().with_user(name, password));
    let mut guest = Client::connect(endpoints, as_user("guest", "guest")).await?;
    let read = guest.get("a/mine", None).await?.count();
    let write = refusal(guest.put("a/mine", "2", None).await);
    let wrong = refusal(Client::connect(endpoints, as_user("guest", "wrong")).await);
    let mut root = Client::connect(endpoints, as_user("root", "secret")).await?;
    let roles = root.user_get("guest").await?.roles().to_vec();
    root.auth_disable().await?;
    say(&json!({
        "what": "users", "nameless": nameless, "read": read, "write": write, "wrong": wrong, "roles": roles,
    }));
    Ok(())
}

/// The members, and that nobody is added who may not be.
pub async fn cluster(mut client: Client) -> Result<(), Error> {
    let listed = client.member_list().await?;
    let urls: Vec<String> = listed
        .members()
        .iter()
        .flat_map(|member| member.client_urls().to_vec())
        .collect();
    let added = refusal(client.member_add(["http://127.0.0.1:1"], None).await);
    say(&json!({"what": "members", "urls": urls, "added": added}));
    Ok(())
}

/// What each endpoint says of itself, a snapshot, and leadership that moves.
pub async fn maintenance(endpoints: &[&str]) -> Result<(), Error> {
    let mut leader = None;
    let mut others = Vec::new();
    for endpoint in endpoints {
        let mut client = Client::connect([*endpoint], None).await?;
        let status = client.status().await?;
        let own = status.header().map_or(0, |header| header.member_id());
        say(&json!({
            "what": "status", "version": status.version(), "member": own, "leader": status.leader(),
            "hash": client.hash_kv(0).await?.hash(), "hashed": client.hash().await?.hash() != 0,
        }));
        client.defragment().await?;
        if status.leader() == own {
            leader = Some(client);
        } else {
            others.push(own);
        }
    }
    let (Some(mut leader), Some(other)) = (leader, others.first()) else {
        say(&json!({"what": "leaderless"}));
        return Ok(());
    };
    let alarms = leader.alarm(AlarmAction::Get, AlarmType::None, None).await?;
    let mut snapshot = leader.snapshot().await?;
    let (mut bytes, mut begins) = (0, None);
    while let Some(piece) = snapshot.message().await? {
        begins =
            begins.or_else(|| Some(String::from_utf8_lossy(piece.blob().get(..8).unwrap_or_default()).into_owned()));
        bytes += piece.blob().len();
    }
    say(&json!({"what": "snapshot", "bytes": bytes, "begins": begins, "alarms": alarms.alarms().len()}));
    leader.move_leader(*other).await?;
    say(&json!({"what": "moved", "to": other}));
    Ok(())
}
