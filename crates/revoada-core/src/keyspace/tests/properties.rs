//! Random operations, applied to the keyspace and to the model: same answers, same states, same events.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::model::{self, Model};
use crate::keyspace::{
    Compacted, Compare, CompareTarget, Event, KeyRange, Keyspace, Op, Operation, OperationRefused, RangeQuery,
    ReadError, Relation, Restore, Txn,
};

pub(super) fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "r/", "r/a", "r/ab", "r/b", "r/c", "\u{7f}", ""])
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "x", "xy", "xz", "y"]).prop_map(|value| Bytes::from_static(value.as_bytes()))
}

fn range() -> impl Strategy<Value = KeyRange> {
    prop_oneof![
        4 => key().prop_map(KeyRange::One),
        1 => key().prop_map(KeyRange::Prefix),
        1 => (key(), key()).prop_map(|(start, end)| KeyRange::Span { start, end }),
        1 => key().prop_map(KeyRange::From),
        1 => Just(KeyRange::All),
    ]
}

fn revision() -> impl Strategy<Value = u64> {
    0..40_u64
}

fn query() -> impl Strategy<Value = RangeQuery> {
    let filters = prop_oneof![3 => Just((0, 0, 0, 0)), 1 => (0..9_u64, 0..30_u64, 0..9_u64, 0..30_u64)];
    (
        range(),
        option::weighted(0.5, revision()),
        0..4_u64,
        option::of(key()),
        any::<(bool, bool)>(),
        filters,
    )
        .prop_map(
            |(range, revision, limit, after, (keys_only, count_only), (mod0, mod1, create0, create1))| RangeQuery {
                range,
                revision,
                limit,
                after,
                keys_only,
                count_only,
                min_mod_revision: mod0,
                max_mod_revision: mod1,
                min_create_revision: create0,
                max_create_revision: create1,
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    let target = prop_oneof![
        revision().prop_map(CompareTarget::Create),
        revision().prop_map(CompareTarget::Mod),
        (0..4_u64).prop_map(CompareTarget::VersionNumber),
        (0..4_u64).prop_map(CompareTarget::Lease),
        value().prop_map(CompareTarget::Value),
        any::<bool>().prop_map(CompareTarget::Exists),
    ];
    let relation = prop::sample::select(vec![
        Relation::Equal,
        Relation::NotEqual,
        Relation::Greater,
        Relation::Less,
    ]);
    (range(), target, relation).prop_map(|(range, target, relation)| Compare {
        range,
        target,
        relation,
    })
}

fn put() -> impl Strategy<Value = Op> {
    let lease = prop_oneof![3 => Just(0), 1 => 1..4_u64];
    let same = prop::sample::select(vec![0, 0, 0, 1, 2, u32::MAX]);
    let keep = prop_oneof![4 => Just((false, false)), 1 => any::<(bool, bool)>()];
    (key(), value(), lease, keep, same, any::<bool>()).prop_map(
        |(key, value, lease, (keep_value, keep_lease), same_prefix_bytes, previous)| Op::Put {
            key,
            value: if keep_value { Bytes::new() } else { value },
            lease: if keep_lease { 0 } else { lease },
            keep_value,
            keep_lease,
            same_prefix_bytes,
            previous,
        },
    )
}

fn txn() -> impl Strategy<Value = Txn> {
    let op = prop_oneof![
        4 => put(),
        2 => (range(), any::<bool>()).prop_map(|(range, previous)| Op::Delete { range, previous }),
        1 => query().prop_map(Op::Range),
    ];
    let leaf =
        (vec(compare(), 0..2), vec(op.clone(), 0..3), vec(op.clone(), 0..2)).prop_map(|(compares, then, otherwise)| {
            Txn {
                compares,
                then,
                otherwise,
            }
        });
    leaf.prop_recursive(2, 6, 2, move |inner| {
        let op = prop_oneof![1 => op.clone(), 2 => inner.prop_map(|txn| Op::Txn(Box::new(txn)))];
        (vec(compare(), 0..2), vec(op.clone(), 0..3), vec(op, 0..2)).prop_map(|(compares, then, otherwise)| Txn {
            compares,
            then,
            otherwise,
        })
    })
}

pub(super) fn operation() -> impl Strategy<Value = Operation> {
    let lease = 0..4_u64;
    let restored = vec((prop::sample::select(vec!["r/a", "r/b", "r/d", "a"]), value()), 0..3);
    prop_oneof![
        10 => put().prop_map(|op| Operation::Txn(Txn::always(vec![op]))),
        8 => txn().prop_map(Operation::Txn),
        2 => revision().prop_map(|revision| Operation::Compact { revision }),
        2 => (lease.clone(), 0..50_u64, 0..100_u64)
            .prop_map(|(id, ttl_ms, now_ms)| Operation::LeaseGrant { id, ttl_ms, now_ms }),
        1 => lease.clone().prop_map(|id| Operation::LeaseRevoke { id }),
        1 => (lease.clone(), 0..100_u64).prop_map(|(id, now_ms)| Operation::LeaseKeepAlive { id, now_ms }),
        1 => (vec(lease, 0..3), 0..150_u64).prop_map(|(ids, now_ms)| Operation::LeaseExpire { ids, now_ms }),
        1 => (revision(), restored).prop_map(|(revision, entries)| Operation::Restore(Restore {
            prefix: Bytes::from_static(b"r/"),
            revision: revision / 4,
            entries: entries.into_iter().map(|(key, value)| (Bytes::from_static(key.as_bytes()), value)).collect(),
            ..Restore::default()
        })),
    ]
}

/// Compares everything that can be read.
fn agree(keyspace: &Keyspace, model: &Model) {
    assert_eq!(keyspace.revision(), model.revision);
    assert_eq!(keyspace.compacted_revision(), model.compacted);
    assert_eq!(keyspace.oldest_readable(), model.compacted.max(1));
    assert_eq!(keyspace.len(), model.now().len());
    let data: usize = model
        .now()
        .iter()
        .map(|(key, version)| key.len() + version.value.len())
        .sum();
    assert_eq!(keyspace.data_bytes(), data as u64);
    assert_eq!(keyspace.history_events(), model.events.len());
    let from = model.compacted.saturating_sub(2);
    for revision in from..=model.revision + 1 {
        for range in model::ranges() {
            let query = RangeQuery {
                revision: Some(revision),
                limit: 2,
                ..RangeQuery::of(range)
            };
            match (keyspace.range(&query), model.state_at(revision)) {
                (Ok(answer), Some(state)) => assert_eq!(answer, model::read(state, &query, model.revision)),
                (Err(ReadError::Compacted { .. }), None) => assert!(revision < model.compacted.max(1)),
                (Err(ReadError::Future { .. }), None) => assert!(revision > model.revision),
                (answer, state) => panic!("at {revision}: {answer:?}, not {state:?}"),
            }
        }
        if let Some(state) = model.state_at(revision) {
            for key in ["a", "r/a", "r/ab", "none"] {
                assert_eq!(
                    keyspace.get_at(key.as_bytes(), revision).unwrap(),
                    state.get(key.as_bytes())
                );
            }
        }
        events_agree(keyspace, model, revision);
    }
    let leases: Vec<_> = keyspace
        .leases()
        .map(|lease| (lease.id, (lease.ttl_ms, lease.expires_at_ms)))
        .collect();
    assert_eq!(leases, model.leases.clone().into_iter().collect::<Vec<_>>());
    for id in model.leases.keys() {
        let keys: Vec<_> = keyspace.lease_keys(*id).unwrap().collect();
        let attached: Vec<_> = model
            .now()
            .iter()
            .filter(|(_, version)| version.lease == *id)
            .map(|(key, _)| key)
            .collect();
        assert_eq!(keys, attached);
    }
}

fn events_agree(keyspace: &Keyspace, model: &Model, after: u64) {
    if after + 1 < model.complete_from {
        assert_eq!(
            keyspace.events_after(after, 100),
            Err(Compacted {
                oldest: model.complete_from
            })
        );
        return;
    }
    let expected: Vec<Event> = model
        .events
        .iter()
        .filter(|event| event.revision > after)
        .cloned()
        .collect();
    assert_eq!(keyspace.events_after(after, 1000).unwrap(), expected);
    for range in model::ranges() {
        let wanted: Vec<Event> = expected
            .iter()
            .filter(|event| range.contains(&event.key))
            .cloned()
            .collect();
        // A watcher that is given two events at a time sees the same, each revision whole.
        let (mut seen, mut position) = (Vec::new(), after);
        loop {
            let next = keyspace.events_in(&range, position, 2).unwrap();
            assert!(
                next.events.len() <= 2
                    || next
                        .events
                        .iter()
                        .all(|event| event.revision == next.events[0].revision)
            );
            assert!(
                next.events
                    .iter()
                    .all(|event| event.revision > position && event.revision <= next.position)
            );
            let stands = next.position == position;
            position = next.position;
            seen.extend(next.events);
            if position >= model.revision {
                break;
            }
            assert!(!stands, "a watcher makes progress");
        }
        assert_eq!(seen, wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_the_model_does(operations in vec(operation(), 0..40)) {
        let (mut keyspace, mut model) = (Keyspace::new(), Model::new());
        for operation in operations {
            let before = keyspace.clone();
            let was = model.clone();
            match keyspace.apply(operation.clone()) {
                Ok(outcome) => match model.apply(&operation) {
                    Ok(expected) => prop_assert_eq!(outcome, expected),
                    Err(refused) => panic!("{operation:?} is to be {refused:?}, and gave {outcome:?}"),
                },
                // The form of a transaction, also of its branches that are not done, is not the model's matter.
                Err(OperationRefused::DuplicateKey { .. } | OperationRefused::EmptyKey) => {
                    prop_assert_eq!(&keyspace, &before)
                }
                Err(refused) => {
                    prop_assert_eq!(&keyspace, &before, "a refusal changes nothing");
                    prop_assert!(model.apply(&operation).is_err(), "{:?} is refused: {}", operation, refused);
                }
            }
            agree(&before, &was);
        }
        agree(&keyspace, &model);
    }

    #[test]
    fn any_operation_survives_its_encoding(operation in operation()) {
        let bytes = cbor4ii::serde::to_vec(Vec::new(), &operation).unwrap();
        prop_assert_eq!(cbor4ii::serde::from_slice::<Operation>(&bytes).unwrap(), operation);
    }

    #[test]
    fn any_outcome_survives_its_encoding(operations in vec(operation(), 0..12)) {
        let mut keyspace = Keyspace::new();
        for operation in operations {
            if let Ok(outcome) = keyspace.apply(operation) {
                let bytes = cbor4ii::serde::to_vec(Vec::new(), &outcome).unwrap();
                prop_assert_eq!(cbor4ii::serde::from_slice::<super::super::Outcome>(&bytes).unwrap(), outcome);
            }
        }
    }
}
