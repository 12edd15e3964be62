use std::sync::atomic::{AtomicU64, Ordering};

use revoada_core::keyspace::NO_LEASE;
use revoada_store::{Keyspace as _, StoreBackend as _};

use super::single::alone;
use super::*;
use crate::keyspace::{RaftKeyspace, raft_backend};

/// What etcd's clients put lies behind this byte.
const KEY: &str = "e/key";
const LEASED: usize = 40;

fn clock() -> crate::keyspace::Clock {
    Arc::new(|| 1_000_000)
}

fn drawn() -> Arc<dyn Fn() -> u64 + Send + Sync> {
    let next = AtomicU64::new(1);
    Arc::new(move || next.fetch_add(1, Ordering::Relaxed))
}

/// A put of a key that is tied to a lease.
fn leased(key: String, lease: u64) -> Operation {
    Operation::Txn(Txn::always(vec![Op::Put {
        key: key.into(),
        value: Bytes::from(vec![7; 60_000]),
        lease,
        keep_value: false,
        keep_lease: false,
        same_prefix_bytes: 0,
        previous: false,
    }]))
}

#[tokio::test]
async fn a_snapshot_brings_the_keys_of_etcds_clients_and_their_leases_back_in_several_entries() {
    let nodes = Nodes::new(3);
    let node = alone(&nodes).await;
    let keyspace = RaftKeyspace::new(node.consensus.clone(), clock(), drawn());
    let backend = raft_backend(node.consensus.clone(), clock(), drawn());
    let grant = Operation::LeaseGrant {
        id: 5,
        ttl_ms: 30_000,
        now_ms: 0,
    };
    keyspace.execute(grant).await.unwrap();
    // Together more than one entry holds.
    for n in 0..LEASED {
        keyspace.execute(leased(format!("{KEY}/{n:02}"), 5)).await.unwrap();
    }
    let mut snapshot = Vec::new();
    let taken = backend.snapshot(&mut snapshot).await.unwrap();

    keyspace.execute(Operation::LeaseRevoke { id: 5 }).await.unwrap();
    keyspace.execute(leased("e/later".into(), NO_LEASE)).await.unwrap();
    keyspace.execute(leased("other".into(), NO_LEASE)).await.unwrap();
    let before = node.read(|state| state.keyspace().revision());
    let restored = backend.restore(&mut &snapshot[..]).await.unwrap();
    assert!(restored.revision > before && before > taken.revision);
    node.read(|state| {
        let view = state.keyspace();
        assert_eq!(
            view.len(),
            LEASED + 1,
            "what is nobody's space stays, what came later in one goes"
        );
        assert!(view.get(b"other").is_some() && view.get(b"e/later").is_none());
        let lease = view.lease(5).unwrap();
        assert_eq!(
            (lease.ttl_ms, lease.expires_at_ms, lease.keys),
            (30_000, 1_030_000, LEASED)
        );
        assert!(view.get(format!("{KEY}/39").as_bytes()).unwrap().create_revision > before);
    });
    node.stop().await;
}
