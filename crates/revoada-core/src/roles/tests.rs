use revoada_attest::{NodeId, Role, Transition, TransitionKind};

use super::{Location, NodeState, QuarantinedBy, RoleNote, Roles, TransitionRefused};
use crate::error::ErrorKind;

fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn transition(kind: TransitionKind, node: u8, from: Option<Role>, to: Option<Role>) -> Transition {
    Transition {
        node: id(node),
        name: format!("n{node}"),
        kind,
        from,
        to,
        reason: "a test".to_owned(),
    }
}

fn admit(node: u8, role: Role) -> Transition {
    transition(TransitionKind::Admit, node, None, Some(role))
}

/// n1 votes, n2 works.
fn two() -> Roles {
    let mut roles = Roles::default();
    roles.apply(&admit(1, Role::ControlPlane), 1_000).expect("n1 is new");
    roles.apply(&admit(2, Role::Worker), 1_000).expect("n2 is new");
    roles
}

fn lose_and_return(roles: &mut Roles, at_ms: u64, excused: bool) {
    roles
        .apply_note(&RoleNote::Lost { node: id(2), at_ms })
        .expect("n2 is known");
    roles
        .apply_note(&RoleNote::Returned {
            node: id(2),
            at_ms: at_ms + 10,
            excused,
        })
        .expect("n2 is known");
}

const VOTER: Option<Role> = Some(Role::ControlPlane);
const WORKER: Option<Role> = Some(Role::Worker);

#[test]
fn a_promotion_and_a_demotion_pass_through_their_states() {
    let mut roles = two();
    roles
        .apply(&transition(TransitionKind::Promote, 2, WORKER, VOTER), 2_000)
        .expect("n2 may vote");
    assert_eq!(roles.nodes[&id(2)].state(), NodeState::Promoting);
    roles
        .apply_note(&RoleNote::Confirm { node: id(2) })
        .expect("n2 is known");
    assert_eq!(roles.nodes[&id(2)].state(), NodeState::Active);
    roles
        .apply(&transition(TransitionKind::Demote, 2, VOTER, WORKER), 3_000)
        .expect("n2 votes");
    assert_eq!(roles.nodes[&id(2)].state(), NodeState::Demoting);
    assert_eq!(roles.nodes[&id(2)].changed_at_ms, Some(3_000));
}

#[test]
fn a_refused_transition_says_why_and_changes_nothing() {
    use TransitionKind::{Admit, Demote, Evict, Promote, Quarantine, Reassign, Restore};
    let mut roles = two();
    roles.apply(&admit(3, Role::Worker), 1_000).expect("n3 is new");
    roles
        .apply(&transition(Evict, 3, WORKER, None), 1_000)
        .expect("n3 may go");
    roles.apply(&admit(4, Role::Worker), 1_000).expect("n4 is new");
    roles
        .apply(&transition(Quarantine, 4, WORKER, WORKER), 1_000)
        .expect("n4 may be held");
    roles.apply(&admit(5, Role::Worker), 1_000).expect("n5 is new");
    roles
        .apply_note(&RoleNote::Drain { node: id(5), on: true })
        .expect("n5 is known");
    roles.apply(&admit(6, Role::Worker), 1_000).expect("n6 is new");
    roles
        .apply_note(&RoleNote::Lost {
            node: id(6),
            at_ms: 1_500,
        })
        .expect("n6 is known");
    let mut impostor = admit(9, Role::Worker);
    impostor.name = "n1".to_owned();
    let mut misnamed = transition(Promote, 2, WORKER, VOTER);
    misnamed.name = "n1".to_owned();
    let mut nameless = admit(9, Role::Worker);
    nameless.name.clear();
    let before = roles.clone();
    for (refused, kind, says) in [
        (
            admit(1, Role::Worker),
            ErrorKind::AlreadyExists,
            "n1 is admitted already",
        ),
        (impostor, ErrorKind::AlreadyExists, "the name n1 belongs to the key"),
        (nameless, ErrorKind::Invalid, "a node's name has 1 to 253 bytes, not 0"),
        (admit(3, Role::Worker), ErrorKind::Denied, "n3 was evicted"),
        (
            transition(Admit, 9, WORKER, WORKER),
            ErrorKind::Invalid,
            "n9: admit does not lead from worker to worker",
        ),
        (
            transition(Promote, 3, WORKER, VOTER),
            ErrorKind::Denied,
            "n3 was evicted",
        ),
        (
            transition(Promote, 9, WORKER, VOTER),
            ErrorKind::NotFound,
            "no node has the key 0909",
        ),
        (misnamed, ErrorKind::Conflict, "belongs to n2, not to n1"),
        (
            transition(Promote, 2, VOTER, VOTER),
            ErrorKind::Conflict,
            "n2 is worker, not control-plane",
        ),
        (
            transition(Promote, 2, WORKER, WORKER),
            ErrorKind::Invalid,
            "n2: promote does not lead",
        ),
        (
            transition(Promote, 4, WORKER, VOTER),
            ErrorKind::Conflict,
            "n4 is quarantined",
        ),
        (
            transition(Promote, 5, WORKER, VOTER),
            ErrorKind::Conflict,
            "n5 is draining",
        ),
        (transition(Promote, 6, WORKER, VOTER), ErrorKind::Conflict, "n6 is lost"),
        (
            transition(Demote, 2, WORKER, Some(Role::Observer)),
            ErrorKind::Invalid,
            "n2: demote does not lead",
        ),
        (
            transition(Reassign, 1, VOTER, WORKER),
            ErrorKind::Invalid,
            "n1: reassign does not lead",
        ),
        (
            transition(Reassign, 2, WORKER, WORKER),
            ErrorKind::Invalid,
            "n2: reassign does not lead",
        ),
        (
            transition(Quarantine, 4, WORKER, WORKER),
            ErrorKind::Conflict,
            "n4 is quarantined",
        ),
        (
            transition(Restore, 2, WORKER, WORKER),
            ErrorKind::Conflict,
            "n2 is neither quarantined nor drained",
        ),
        (
            transition(Evict, 1, VOTER, None),
            ErrorKind::Invalid,
            "n1: evict does not lead from control-plane to nothing",
        ),
    ] {
        let error = roles.apply(&refused, 2_000).expect_err(says);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error} does not say {says:?}");
        assert_eq!(roles, before, "{says}");
    }
}

#[test]
fn the_name_of_an_evicted_node_is_free_again() {
    let mut roles = two();
    roles
        .apply(&transition(TransitionKind::Evict, 2, WORKER, None), 2_000)
        .expect("n2 may go");
    let mut heir = admit(3, Role::Worker);
    heir.name = "n2".to_owned();
    roles.apply(&heir, 2_000).expect("the name is free");
    assert_eq!(roles.by_name("n2").map(|record| record.id), Some(id(3)));
    let noted = roles.apply_note(&RoleNote::Excuse { node: id(2) });
    assert_eq!(noted, Err(TransitionRefused::Evicted { name: "n2".to_owned() }));
}

#[test]
fn four_losses_within_ten_minutes_are_flapping_and_older_ones_are_forgotten() {
    let mut roles = two();
    for at_ms in [0, 200_000, 400_000, 600_001] {
        lose_and_return(&mut roles, at_ms, false);
    }
    assert!(
        !roles.nodes[&id(2)].is_flapping(),
        "the first is more than ten minutes old"
    );
    lose_and_return(&mut roles, 700_000, false);
    assert!(roles.nodes[&id(2)].is_flapping());
}

#[test]
fn an_excused_loss_does_not_count_however_often_it_is_said() {
    let mut roles = two();
    for at_ms in [0, 1_000, 2_000] {
        lose_and_return(&mut roles, at_ms, false);
    }
    lose_and_return(&mut roles, 3_000, true);
    roles
        .apply_note(&RoleNote::Excuse { node: id(2) })
        .expect("n2 is known");
    roles
        .apply_note(&RoleNote::Excuse { node: id(2) })
        .expect("n2 is known");
    assert_eq!(roles.nodes[&id(2)].losses_ms, [0, 1_000, 2_000]);
}

#[test]
fn notes_that_are_committed_twice_change_nothing_more() {
    let mut roles = two();
    let notes = [
        RoleNote::Lost {
            node: id(2),
            at_ms: 5_000,
        },
        RoleNote::Returned {
            node: id(2),
            at_ms: 6_000,
            excused: false,
        },
        RoleNote::Confirm { node: id(2) },
        RoleNote::Excuse { node: id(2) },
        RoleNote::Located {
            node: id(2),
            location: Location {
                address: "127.0.0.1:1".to_owned(),
                ..Location::default()
            },
        },
        RoleNote::Wish {
            node: id(2),
            role: VOTER,
        },
        RoleNote::Drain { node: id(2), on: true },
    ];
    for note in &notes {
        roles.apply_note(note).expect("n2 is known");
        let once = roles.clone();
        roles.apply_note(note).expect("n2 is known");
        assert_eq!(roles, once, "{note:?}");
    }
}

#[test]
fn a_quarantine_knows_who_asked_and_a_release_leaves_the_drain() {
    let mut roles = two();
    roles
        .apply_note(&RoleNote::Drain { node: id(2), on: true })
        .expect("n2 is known");
    for at_ms in [0, 1_000, 2_000, 3_000] {
        lose_and_return(&mut roles, at_ms, false);
    }
    roles
        .apply(&transition(TransitionKind::Quarantine, 2, WORKER, WORKER), 4_000)
        .expect("n2 may be held");
    let quarantine = roles.nodes[&id(2)].quarantined.clone().expect("it is held");
    assert_eq!(
        (quarantine.by, quarantine.loss_ms),
        (QuarantinedBy::Flapping, Some(3_000))
    );
    roles
        .apply(&transition(TransitionKind::Restore, 2, WORKER, WORKER), 5_000)
        .expect("n2 is held");
    assert_eq!(roles.nodes[&id(2)].state(), NodeState::Draining);
    assert!(!roles.nodes[&id(2)].is_flapping(), "its losses are forgotten");
    roles
        .apply(&transition(TransitionKind::Restore, 2, WORKER, WORKER), 6_000)
        .expect("n2 is drained");
    assert_eq!(roles.nodes[&id(2)].state(), NodeState::Active);
    roles
        .apply(&transition(TransitionKind::Quarantine, 1, VOTER, VOTER), 7_000)
        .expect("n1 may be held");
    let quarantine = roles.nodes[&id(1)].quarantined.as_ref().expect("it is held");
    assert_eq!(quarantine.by, QuarantinedBy::Operator);
}

#[test]
fn roles_survive_both_encodings() {
    let mut roles = two();
    lose_and_return(&mut roles, 1_000, false);
    roles
        .apply(&transition(TransitionKind::Quarantine, 1, VOTER, VOTER), 7_000)
        .expect("n1 may be held");
    let binary = cbor4ii::serde::to_vec(Vec::new(), &roles).expect("roles are CBOR");
    assert_eq!(
        cbor4ii::serde::from_slice::<Roles>(&binary).expect("it reads back"),
        roles
    );
    let text = serde_json::to_string(&roles).expect("roles are JSON");
    assert_eq!(serde_json::from_str::<Roles>(&text).expect("it reads back"), roles);
    let note = RoleNote::Returned {
        node: id(2),
        at_ms: 6_000,
        excused: true,
    };
    let binary = cbor4ii::serde::to_vec(Vec::new(), &note).expect("notes are CBOR");
    assert_eq!(
        cbor4ii::serde::from_slice::<RoleNote>(&binary).expect("it reads back"),
        note
    );
}
