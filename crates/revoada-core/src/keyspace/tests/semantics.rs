//! What etcd documents, case by case, and each refusal.

use bytes::Bytes;

use crate::keyspace::{
    Answer, Compacted, Compare, CompareTarget, EntryNumbers, KeyRange, Keyspace, Op, OpResult, Operation,
    OperationRefused, RangeQuery, Relation, Restore, RestoredLease, Txn, TxnAnswer,
};
use crate::limits::{KEY_BYTES_MAX, TXN_DEPTH_MAX, TXN_OPS_MAX};

fn always(ops: Vec<Op>) -> Operation {
    Operation::Txn(Txn::always(ops))
}

fn one(key: &'static str) -> KeyRange {
    KeyRange::One(Bytes::from_static(key.as_bytes()))
}

fn nested(then: Vec<Op>, otherwise: Vec<Op>) -> Op {
    Op::Txn(Box::new(Txn {
        compares: Vec::new(),
        then,
        otherwise,
    }))
}

fn with(puts: &[(&'static str, &'static str)]) -> Keyspace {
    let mut keyspace = Keyspace::new();
    for (key, value) in puts {
        keyspace.apply(always(vec![Op::put(*key, *value)])).unwrap();
    }
    keyspace
}

#[test]
fn a_transaction_adds_one_revision_however_many_keys_it_changes() {
    let mut keyspace = Keyspace::new();
    assert_eq!(keyspace.revision(), 1);
    let outcome = keyspace
        .apply(always(vec![Op::put("a", "1"), Op::put("b", "2")]))
        .unwrap();
    assert_eq!((outcome.revision, outcome.changed), (2, true));
    let subs: Vec<_> = keyspace
        .events_after(1, 10)
        .unwrap()
        .iter()
        .map(|event| (event.revision, event.sub))
        .collect();
    assert_eq!(subs, [(2, 0), (2, 1)]);
}

#[test]
fn deleting_nothing_takes_no_revision() {
    let mut keyspace = with(&[("a", "1")]);
    let outcome = keyspace.apply(always(vec![Op::delete(one("b"))])).unwrap();
    assert_eq!((outcome.revision, outcome.changed), (2, false));
}

#[test]
fn the_version_starts_again_after_a_delete() {
    let mut keyspace = with(&[("a", "1"), ("a", "2")]);
    assert_eq!(
        keyspace
            .get(b"a")
            .map(|version| (version.create_revision, version.version)),
        Some((2, 2))
    );
    keyspace.apply(always(vec![Op::delete(one("a"))])).unwrap();
    keyspace.apply(always(vec![Op::put("a", "3")])).unwrap();
    assert_eq!(
        keyspace
            .get(b"a")
            .map(|version| (version.create_revision, version.version)),
        Some((5, 1))
    );
}

#[test]
fn a_clone_is_not_changed_by_later_writes() {
    let mut keyspace = with(&[("a", "1")]);
    let clone = keyspace.clone();
    keyspace
        .apply(always(vec![Op::put("a", "2"), Op::put("b", "1")]))
        .unwrap();
    keyspace.apply(Operation::Compact { revision: 3 }).unwrap();
    assert_eq!(clone, with(&[("a", "1")]));
    assert_eq!(
        clone.get(b"a").map(|version| version.value.clone()),
        Some(Bytes::from_static(b"1"))
    );
}

#[test]
fn compares_of_a_nested_transaction_see_the_state_before_the_outer_one() {
    let mut keyspace = Keyspace::new();
    let missing = Compare {
        range: one("a"),
        target: CompareTarget::Exists(false),
        relation: Relation::Equal,
    };
    let inner = Txn {
        compares: vec![missing],
        then: vec![Op::put("b", "1")],
        otherwise: vec![],
    };
    let outcome = keyspace
        .apply(always(vec![Op::put("a", "1"), Op::Txn(Box::new(inner))]))
        .unwrap();
    let Answer::Txn(TxnAnswer { results, .. }) = outcome.answer else {
        panic!("another answer")
    };
    assert!(matches!(&results[1], OpResult::Txn(TxnAnswer { succeeded: true, .. })));
}

#[test]
fn a_key_is_changed_once_in_a_transaction() {
    let put = |key: &'static str| Op::put(key, "1");
    let all = || Op::delete(KeyRange::All);
    let refused: Vec<Vec<Op>> = vec![
        vec![put("a"), put("a")],
        vec![put("a"), all()],
        vec![all(), put("a")],
        vec![nested(vec![put("a")], vec![]), put("a")],
        vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])],
        vec![nested(vec![all()], vec![]), put("a")],
        vec![nested(vec![all()], vec![]), nested(vec![put("a")], vec![])],
        vec![all(), nested(vec![], vec![put("a")])],
        vec![nested(vec![put("a"), nested(vec![put("a")], vec![])], vec![])],
    ];
    for ops in refused {
        let mut keyspace = Keyspace::new();
        let key = Bytes::from_static(b"a");
        assert_eq!(
            keyspace.apply(always(ops.clone())),
            Err(OperationRefused::DuplicateKey { key }),
            "{ops:?}"
        );
        assert_eq!(keyspace, Keyspace::new());
    }
    let done: Vec<Vec<Op>> = vec![
        vec![all(), all()],
        vec![nested(vec![put("a")], vec![put("a")])],
        vec![nested(vec![put("a")], vec![]), nested(vec![all()], vec![])],
        vec![put("a"), Op::delete(one("b"))],
    ];
    for ops in done {
        Keyspace::new().apply(always(ops)).unwrap();
    }
}

#[test]
fn compaction_follows_etcds_rules() {
    let mut keyspace = with(&[("a", "1"), ("a", "2"), ("a", "3")]);
    assert_eq!(
        keyspace.apply(Operation::Compact { revision: 5 }),
        Err(OperationRefused::Future { asked: 5, current: 4 })
    );
    keyspace.apply(Operation::Compact { revision: 3 }).unwrap();
    assert_eq!(
        keyspace.apply(Operation::Compact { revision: 3 }),
        Err(OperationRefused::Compacted { asked: 3, oldest: 3 })
    );
    // A watch from the compacted revision itself is still whole: etcd refuses only what starts below it.
    assert_eq!(keyspace.events_after(2, 10).map(|events| events.len()), Ok(2));
    assert_eq!(keyspace.events_after(1, 10), Err(Compacted { oldest: 3 }));
    assert!(
        keyspace
            .get_at(b"a", 3)
            .is_ok_and(|version| version.is_some_and(|version| version.value == "2"))
    );
    assert!(keyspace.get_at(b"a", 2).is_err());
}

#[test]
fn issue_etcd_16028_a_restore_resets_every_watch_and_no_revision_goes_back() {
    let mut keyspace = with(&[("r/a", "1"), ("other", "1")]);
    let position = keyspace.revision();
    let entries = vec![(Bytes::from_static(b"r/b"), Bytes::from_static(b"2"))];
    let restore = |revision, entries| {
        Operation::Restore(Restore {
            prefix: Bytes::from_static(b"r/"),
            revision,
            entries,
            ..Restore::default()
        })
    };
    let outcome = keyspace.apply(restore(1, entries.clone())).unwrap();
    assert_eq!(outcome.answer, Answer::Restored { deleted: 1, entries: 1 });
    assert_eq!(outcome.revision, position + 1);
    assert_eq!(
        keyspace.events_after(position, 10),
        Err(Compacted { oldest: position + 2 })
    );
    assert_eq!(keyspace.events_after(position + 1, 10), Ok(vec![]));
    assert!(keyspace.get(b"r/a").is_none() && keyspace.get(b"r/b").is_some() && keyspace.get(b"other").is_some());
    assert_eq!(
        keyspace.apply(restore(100, entries)).map(|outcome| outcome.revision),
        Ok(101)
    );
    let outside = vec![(Bytes::from_static(b"x"), Bytes::new())];
    assert!(matches!(
        keyspace.apply(restore(1, outside)),
        Err(OperationRefused::OutsidePrefix { .. })
    ));
    assert!(matches!(
        keyspace.apply(restore(u64::MAX, vec![])),
        Err(OperationRefused::NoRevisionLeft { .. })
    ));
}

#[test]
fn a_lease_that_was_kept_alive_is_not_expired() {
    let mut keyspace = Keyspace::new();
    keyspace
        .apply(Operation::LeaseGrant {
            id: 7,
            ttl_ms: 10,
            now_ms: 100,
        })
        .unwrap();
    assert_eq!(keyspace.leases_over(110, 5), [7]);
    keyspace
        .apply(Operation::LeaseKeepAlive { id: 7, now_ms: 109 })
        .unwrap();
    let outcome = keyspace
        .apply(Operation::LeaseExpire {
            ids: vec![7],
            now_ms: 110,
        })
        .unwrap();
    assert_eq!(
        outcome.answer,
        Answer::LeasesEnded {
            ids: vec![],
            deleted: 0
        }
    );
    assert_eq!(keyspace.leases_over(119, 5), [7]);
}

#[test]
fn the_keys_of_all_leases_that_end_go_in_one_revision() {
    let mut keyspace = Keyspace::new();
    for id in [1, 2] {
        keyspace
            .apply(Operation::LeaseGrant {
                id,
                ttl_ms: 10,
                now_ms: 0,
            })
            .unwrap();
        let key = Bytes::from(format!("k{id}"));
        let put = Op::Put {
            key,
            value: Bytes::new(),
            lease: id,
            keep_value: false,
            keep_lease: false,
            same_prefix_bytes: 0,
            previous: false,
        };
        keyspace.apply(always(vec![put])).unwrap();
    }
    let outcome = keyspace
        .apply(Operation::LeaseExpire {
            ids: vec![2, 1, 2, 9],
            now_ms: 10,
        })
        .unwrap();
    assert_eq!(
        outcome.answer,
        Answer::LeasesEnded {
            ids: vec![1, 2],
            deleted: 2
        }
    );
    assert_eq!((outcome.revision, keyspace.len()), (4, 0));
}

#[test]
fn what_is_too_large_is_refused() {
    let mut keyspace = Keyspace::new();
    let long = vec![b'k'; KEY_BYTES_MAX + 1];
    assert!(matches!(
        keyspace.apply(always(vec![Op::put(long, "")])),
        Err(OperationRefused::KeyTooLong { .. })
    ));
    assert_eq!(
        keyspace.apply(always(vec![Op::put("", "")])),
        Err(OperationRefused::EmptyKey)
    );
    let many = (0..=TXN_OPS_MAX).map(|index| Op::put(index.to_string(), "")).collect();
    assert_eq!(
        keyspace.apply(always(many)),
        Err(OperationRefused::TooManyOps { max: TXN_OPS_MAX })
    );
    let deep = |depth| (1..depth).fold(Txn::default(), |txn, _| Txn::always(vec![Op::Txn(Box::new(txn))]));
    assert!(keyspace.apply(Operation::Txn(deep(TXN_DEPTH_MAX))).is_ok());
    assert_eq!(
        keyspace.apply(Operation::Txn(deep(TXN_DEPTH_MAX + 1))),
        Err(OperationRefused::TooDeep { max: TXN_DEPTH_MAX })
    );
    assert_eq!(keyspace, Keyspace::new());
}

#[test]
fn a_put_costs_about_what_it_carries_in_the_log() {
    let operation = always(vec![Op::put(vec![b'k'; 40], vec![b'v'; 1024])]);
    let bytes = cbor4ii::serde::to_vec(Vec::new(), &operation).unwrap();
    assert!(bytes.len() < 40 + 1024 + 24, "{} bytes", bytes.len());
}

#[test]
fn a_restore_of_several_prefixes_brings_leases_back_with_their_keys() {
    let mut keyspace = Keyspace::new();
    let now_ms = 1_000;
    let grant = |id, ttl_ms| Operation::LeaseGrant { id, ttl_ms, now_ms };
    keyspace.apply(grant(7, 60_000)).unwrap();
    for key in ["e/old", "r/old", "x/stays"] {
        let put = Op::put(key, "before");
        keyspace.apply(Operation::Txn(Txn::always(vec![put]))).unwrap();
    }
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let restore = Restore {
        prefix: bytes("r/"),
        also: vec![bytes("e/")],
        revision: 50,
        entries: vec![
            (bytes("e/a"), bytes("1")),
            (bytes("e/b"), bytes("2")),
            (bytes("r/c"), bytes("3")),
        ],
        numbers: Vec::new(),
        leases: vec![
            RestoredLease {
                id: 7,
                ttl_ms: 5_000,
                keys: vec![bytes("e/a")],
            },
            RestoredLease {
                id: 9,
                ttl_ms: 5_000,
                keys: vec![bytes("e/b")],
            },
            RestoredLease {
                id: 9,
                ttl_ms: 5_000,
                keys: vec![bytes("r/c")],
            },
        ],
        now_ms: 2_000,
    };
    let outside = Restore {
        also: Vec::new(),
        ..restore.clone()
    };
    let refused = keyspace.clone().apply(Operation::Restore(outside)).unwrap_err();
    assert!(matches!(refused, OperationRefused::OutsidePrefix { .. }), "{refused:?}");
    let nameless = Restore {
        leases: vec![RestoredLease {
            id: 0,
            ttl_ms: 5_000,
            keys: Vec::new(),
        }],
        ..restore.clone()
    };
    let refused = keyspace.clone().apply(Operation::Restore(nameless)).unwrap_err();
    assert!(matches!(refused, OperationRefused::LeaseIdZero), "{refused:?}");

    let outcome = keyspace.apply(Operation::Restore(restore)).unwrap();
    assert_eq!(
        (outcome.revision, outcome.answer),
        (51, Answer::Restored { deleted: 2, entries: 3 })
    );
    let all = keyspace.range(&RangeQuery::of(KeyRange::All)).unwrap();
    let keys: Vec<_> = all
        .entries
        .iter()
        .map(|entry| (&entry.key[..], entry.version.lease))
        .collect();
    assert_eq!(keys, [(&b"e/a"[..], 7), (b"e/b", 9), (b"r/c", 9), (b"x/stays", 0)]);
    assert_eq!(
        keyspace.lease(7).unwrap().ttl_ms,
        60_000,
        "one that is there goes on as it is"
    );
    assert_eq!(keyspace.lease(9).unwrap().expires_at_ms, 7_000);
    let expire = Operation::LeaseExpire {
        ids: vec![9],
        now_ms: 7_000,
    };
    keyspace.apply(expire).unwrap();
    assert_eq!(keyspace.len(), 2);
}

#[test]
fn a_new_keyspace_begins_with_entries_that_keep_their_numbers_and_no_other_does() {
    let numbers = |create_revision, mod_revision, version| EntryNumbers {
        create_revision,
        mod_revision,
        version,
    };
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    let first = Restore {
        prefix: bytes("r/"),
        also: vec![bytes("e")],
        revision: 90,
        entries: vec![(bytes("eb"), bytes("2")), (bytes("ea"), bytes("1"))],
        numbers: vec![numbers(7, 80, 3), numbers(2, 2, 1)],
        leases: vec![RestoredLease {
            id: 5,
            ttl_ms: 4_000,
            keys: vec![bytes("eb")],
        }],
        now_ms: 100,
    };
    let mut keyspace = Keyspace::new();
    let outcome = keyspace.apply(Operation::Restore(first.clone())).unwrap();
    assert_eq!(outcome.answer, Answer::Restored { deleted: 0, entries: 2 });
    assert_eq!((outcome.revision, keyspace.revision()), (90, 90));
    let version = keyspace.get(b"eb").unwrap();
    assert_eq!((version.create_revision, version.mod_revision), (7, 80));
    assert_eq!((version.version, version.lease), (3, 5));
    assert_eq!(keyspace.compacted_revision(), 90, "what was before is gone");
    let mut ended = keyspace.clone();
    ended.apply(Operation::LeaseRevoke { id: 5 }).unwrap();
    assert!(ended.get(b"eb").is_none() && ended.get(b"ea").is_some());
    keyspace.apply(always(vec![Op::put("ea", "3")])).unwrap();
    let version = keyspace.get(b"ea").unwrap();
    assert_eq!((version.create_revision, version.mod_revision), (2, 91));
    assert_eq!(version.version, 2);
    let again = keyspace.apply(Operation::Restore(first.clone())).unwrap_err();
    assert!(matches!(again, OperationRefused::NotNew { revision: 91 }), "{again:?}");

    for unfit in [numbers(1, 2, 1), numbers(3, 2, 1), numbers(2, 91, 1), numbers(2, 2, 0)] {
        let first = Restore {
            numbers: vec![numbers(7, 80, 3), unfit],
            ..first.clone()
        };
        let refused = Keyspace::new().apply(Operation::Restore(first)).unwrap_err();
        assert!(matches!(refused, OperationRefused::EntryNumbers { .. }), "{refused:?}");
    }
    let few = Restore {
        numbers: vec![numbers(7, 80, 3)],
        ..first
    };
    assert!(Keyspace::new().apply(Operation::Restore(few)).is_err());
}
