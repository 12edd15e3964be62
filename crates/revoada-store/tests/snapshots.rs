//! Snapshots of keys beside resources: what holds them, and what a verification finds.

use bytes::Bytes;
use revoada_core::keyspace::{Entry, Keyspace as View, Op, Operation, Txn, Version, space};
use revoada_store::{
    Keyspace as _, MemoryKeyspace, SnapshotExtras, StoreError, read_snapshot, verify_snapshot, write_first_snapshot,
    write_snapshot,
};

const LEASE: u64 = 7;

fn leased() -> View {
    let mut view = View::new();
    let grant = Operation::LeaseGrant {
        id: LEASE,
        ttl_ms: 60_000,
        now_ms: 0,
    };
    view.apply(grant).unwrap();
    let put = Op::Put {
        key: Bytes::from_static(b"ekey"),
        value: Bytes::from_static(b"value"),
        lease: LEASE,
        keep_value: false,
        keep_lease: false,
        same_prefix_bytes: 0,
        previous: false,
    };
    view.apply(Operation::Txn(Txn::always(vec![put]))).unwrap();
    view
}

async fn written(view: &View, extras: SnapshotExtras) -> Vec<u8> {
    let mut file = Vec::new();
    write_snapshot(view, "a test", extras, None, &mut file).await.unwrap();
    file
}

#[tokio::test]
async fn a_lease_that_ends_while_a_snapshot_is_made_still_holds_its_keys_in_it() {
    let view = leased();
    let mut later = view.clone();
    later.apply(Operation::LeaseRevoke { id: LEASE }).unwrap();
    let file = written(&view, SnapshotExtras::of(&later)).await;
    verify_snapshot(&mut file.as_slice()).unwrap();
    let whole = read_snapshot(&mut file.as_slice()).await.unwrap();
    let leases: Vec<_> = whole
        .restore
        .leases
        .iter()
        .map(|lease| (lease.id, lease.keys.clone()))
        .collect();
    assert_eq!(leases, [(LEASE, vec![Bytes::from_static(b"ekey")])]);
}

#[tokio::test]
async fn a_snapshot_with_any_bit_flipped_or_cut_is_not_verified() {
    let view = leased();
    let file = written(&view, SnapshotExtras::of(&view)).await;
    assert_eq!(verify_snapshot(&mut file.as_slice()).unwrap().revision, view.revision());
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 4;
        assert!(verify_snapshot(&mut changed.as_slice()).is_err(), "byte {at}");
        assert!(verify_snapshot(&mut &file[..at]).is_err(), "cut at {at}");
    }
}

fn entry(key: &'static str, lease: u64) -> Result<Entry, StoreError> {
    Ok(Entry {
        key: Bytes::from_static(key.as_bytes()),
        version: Version {
            create_revision: 4,
            mod_revision: 9,
            version: 3,
            lease,
            value: Bytes::from_static(b"value"),
        },
    })
}

#[tokio::test]
async fn a_first_snapshot_keeps_numbers_and_what_a_restore_would_refuse_is_not_verified() {
    let etcd = Bytes::from_static(space::ETCD);
    let first = |entries: Vec<Result<Entry, StoreError>>| {
        let mut file = Vec::new();
        let named = (90, "a test".to_owned());
        write_first_snapshot(&mut file, named, &etcd, &[(LEASE, 1_000)], entries).unwrap();
        file
    };
    let file = first(vec![entry("ea", 0), entry("eb", LEASE)]);
    verify_snapshot(&mut file.as_slice()).unwrap();
    let restore = read_snapshot(&mut file.as_slice()).await.unwrap().restore;
    let keyspace = MemoryKeyspace::new();
    keyspace.execute(Operation::Restore(restore.clone())).await.unwrap();
    let view = keyspace.view_at_hand();
    assert_eq!(view.revision(), 90);
    assert_eq!(view.get(b"eb").map(|version| version.mod_revision), Some(9));
    assert!(
        keyspace.execute(Operation::Restore(restore)).await.is_err(),
        "only once"
    );

    for wrong in [
        vec![entry("eb", 0), entry("ea", 0)],
        vec![entry("ea", 0), entry("ea", 0)],
        vec![entry("fa", 0)],
        vec![entry("ea", LEASE + 1)],
        vec![entry("", 0)],
    ] {
        let file = first(wrong);
        assert!(verify_snapshot(&mut file.as_slice()).is_err());
    }
}
