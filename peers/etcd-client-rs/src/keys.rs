//! Keys, watches, leases.

use etcd_client::{
    Client, Compare, CompareOp, DeleteOptions, Error, EventType, GetOptions, KeyValue, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, WatchOptions,
};
use serde_json::{Value, json};

use crate::{refusal, say};

fn shown(kv: &KeyValue) -> Value {
    json!([
        kv.key_str().unwrap_or_default(),
        kv.value_str().unwrap_or_default(),
        kv.version()
    ])
}

/// Puts, ranges, deletions, transactions, compaction.
pub async fn kv(mut client: Client) -> Result<(), Error> {
    for number in 0..5 {
        client.put(format!("k/{number}"), format!("{number}"), None).await?;
    }
    let put = client
        .put("k/0", "again", Some(PutOptions::new().with_prev_key()))
        .await?;
    let written = put.header().map_or(0, |header| header.revision());
    say(&json!({"what": "put", "previous": put.prev_key().map(shown)}));

    let page = GetOptions::new()
        .with_prefix()
        .with_sort(SortTarget::Key, SortOrder::Descend)
        .with_limit(2);
    let got = client.get("k/", Some(page)).await?;
    let kvs: Vec<Value> = got.kvs().iter().map(shown).collect();
    say(&json!({"what": "page", "kvs": kvs, "count": got.count(), "more": got.more()}));
    let old = client
        .get("k/0", Some(GetOptions::new().with_revision(written - 1)))
        .await?;
    let stale = client.get("k/0", Some(GetOptions::new().with_serializable())).await?;
    say(&json!({"what": "old", "kv": old.kvs().first().map(shown), "stale": stale.kvs().len()}));

    let txn = |expected: &str| {
        Txn::new()
            .when([
                Compare::value("k/0", CompareOp::Equal, expected),
                Compare::version("k/9", CompareOp::Equal, 0),
            ])
            .and_then([TxnOp::put("k/9", "new", None), TxnOp::get("k/1", None)])
            .or_else([TxnOp::get("k/0", None)])
    };
    for expected in ["again", "other"] {
        let done = client.txn(txn(expected)).await?;
        say(&json!({"what": "txn", "succeeded": done.succeeded(), "answers": done.op_responses().len()}));
    }
    let deleted = client
        .delete("k/", Some(DeleteOptions::new().with_prefix().with_prev_key()))
        .await?;
    say(&json!({"what": "deleted", "count": deleted.deleted(), "previous": deleted.prev_kvs().len()}));
    client.compact(written, None).await?;
    let gone = client
        .get("k/0", Some(GetOptions::new().with_revision(written - 1)))
        .await;
    say(&json!({"what": "compacted", "refusal": refusal(gone)}));
    say(&json!({"what": "empty", "refusal": refusal(client.put("", "x", None).await)}));
    Ok(())
}

/// Two watches on one stream: one from an old revision with what was before, one of another key; progress; an end.
pub async fn watch(mut client: Client) -> Result<(), Error> {
    let first = client.put("w/a", "1", None).await?;
    let begin = first.header().map_or(0, |header| header.revision());
    client.put("w/a", "2", None).await?;
    let options = WatchOptions::new()
        .with_prefix()
        .with_prev_key()
        .with_start_revision(begin)
        .with_watch_id(7);
    let mut stream = client.watch("w/", Some(options)).await?;
    stream
        .watch("other", Some(WatchOptions::new().with_watch_id(8)))
        .await?;
    let (mut created, mut canceled, mut last) = (0, 0, 0);
    while canceled < 2 {
        let Some(told) = stream.message().await? else { break };
        if told.created() {
            created += 1;
            if created == 2 {
                client.put("other", "x", None).await?;
                client.delete("w/a", None).await?;
            }
            continue;
        }
        if told.canceled() {
            canceled += 1;
            say(&json!({"what": "canceled", "watch": told.watch_id()}));
            continue;
        }
        if told.events().is_empty() {
            let at = told.header().map_or(0, |header| header.revision());
            say(&json!({"what": "progress", "reached": at >= last}));
            stream.cancel(7).await?;
            stream.cancel(8).await?;
        }
        for event in told.events() {
            let kv = event.kv().expect("every event has a key");
            last = last.max(kv.mod_revision());
            let deletes = event.event_type() == EventType::Delete;
            say(&json!({
                "what": "event", "watch": told.watch_id(), "deletes": deletes,
                "key": kv.key_str()?, "value": kv.value_str()?, "previous": event.prev_kv().map(shown),
            }));
            if deletes {
                stream.request_progress().await?;
            }
        }
    }
    Ok(())
}

/// A lease that is kept, has a key, is listed, and is revoked.
pub async fn lease(mut client: Client) -> Result<(), Error> {
    let lease = client.lease_grant(30, None).await?.id();
    client
        .put("l/a", "x", Some(PutOptions::new().with_lease(lease)))
        .await?;
    let (mut keeper, mut kept) = client.lease_keep_alive(lease).await?;
    for _ in 0..2 {
        keeper.keep_alive().await?;
        let told = kept.message().await?;
        say(&json!({"what": "kept", "ttl": told.map(|told| told.ttl())}));
    }
    let options = etcd_client::LeaseTimeToLiveOptions::new().with_keys();
    let left = client.lease_time_to_live(lease, Some(options)).await?;
    let listed = client.leases().await?.leases().iter().any(|one| one.id() == lease);
    say(&json!({"what": "left", "granted": left.granted_ttl(), "keys": left.keys().len(), "listed": listed}));
    client.lease_revoke(lease).await?;
    let got = client.get("l/a", None).await?;
    say(&json!({"what": "revoked", "keys": got.count(), "again": refusal(client.lease_revoke(lease).await)}));
    Ok(())
}
