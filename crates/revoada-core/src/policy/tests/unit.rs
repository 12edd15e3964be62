//! Edges that neither a story nor a random history would hit by name.

use std::collections::BTreeSet;

use super::cluster::{TestCluster, TestShape, id};
use crate::policy::{Step, WishKind, survives, voters_declared};
use crate::roles::RoleNote;

fn settled(count: u8, shape: TestShape) -> TestCluster {
    let mut cluster = TestCluster::born(count, shape, 2, &[]);
    settle(&mut cluster);
    cluster
}

fn settle(cluster: &mut TestCluster) {
    while let Some(step) = cluster.plan().steps.first() {
        cluster.execute(step);
    }
    cluster.now_ms += 1_000;
}

#[test]
fn declared_voters_are_odd_and_never_more_than_the_nodes() {
    for (shape, declared) in [
        (TestShape::Fixed(3), [1, 1, 1, 3, 3, 3, 3, 3, 3]),
        (TestShape::AllOdd, [1, 1, 1, 3, 3, 5, 5, 7, 7]),
        (TestShape::Ratio, [1, 1, 1, 3, 3, 3, 3, 3, 5]),
        (TestShape::Even, [1, 1, 1, 3, 3, 3, 3, 3, 3]),
    ] {
        let got: Vec<usize> = (0..9).map(|nodes| voters_declared(&shape, nodes)).collect();
        assert_eq!(got, declared, "{shape:?}");
    }
}

#[test]
fn survives_counts_the_losses_that_leave_a_quorum() {
    let voters = |count: u8| -> BTreeSet<_> { (1..=count).map(id).collect() };
    let with_lost = |count: u8, lost: u8| survives(&voters(count), |node| *node <= id(lost));
    assert_eq!(with_lost(1, 0), Some(0));
    assert_eq!(with_lost(3, 0), Some(1));
    assert_eq!(with_lost(4, 0), Some(1));
    assert_eq!(with_lost(5, 1), Some(1));
    assert_eq!(with_lost(3, 2), None);
    assert_eq!(survives(&BTreeSet::new(), |_| false), None);
}

#[test]
fn a_plan_names_the_head_that_it_was_made_from() {
    let mut cluster = settled(5, TestShape::Fixed(3));
    cluster.lose(id(3));
    assert_eq!(cluster.plan().parent, cluster.head());
}

#[test]
fn a_clock_that_goes_back_delays_a_change_by_a_minute_at_most() {
    let mut cluster = settled(5, TestShape::Fixed(3));
    for step in cluster.ask(WishKind::Promote, id(5)).expect("n5 may vote") {
        cluster.execute(&step);
    }
    settle(&mut cluster);
    let commits = |cluster: &TestCluster| {
        let granted = cluster.ask(WishKind::Promote, id(3)).expect("n3 may vote again");
        granted.iter().filter(|step| matches!(step, Step::Commit(_))).count()
    };
    assert_eq!(commits(&cluster), 0, "both changed just now");
    cluster.now_ms -= 30_000;
    assert_eq!(commits(&cluster), 0, "both changed half a minute from now");
    cluster.now_ms += 3_600_000;
    assert_eq!(commits(&cluster), 2);
    cluster
        .roles
        .nodes
        .values_mut()
        .for_each(|record| record.changed_at_ms = Some(u64::MAX));
    assert_eq!(
        commits(&cluster),
        2,
        "a leader whose clock was far ahead holds nobody for ever"
    );
}

#[test]
fn a_granted_wish_comes_with_the_transitions_that_can_be_committed_at_once() {
    let cluster = settled(5, TestShape::Fixed(3));
    let granted = cluster.ask(WishKind::Drain, id(3)).expect("n4 can take its place");
    assert_eq!(granted.len(), 3, "{granted:?}");
    assert!(matches!(granted[0], Step::Note(RoleNote::Drain { on: true, .. })));
    assert!(granted[1..].iter().all(|step| matches!(step, Step::Commit(_))));
}

#[test]
fn a_wish_before_the_formation_is_refused() {
    let cluster = TestCluster::born(3, TestShape::Fixed(3), 2, &[]);
    let refused = cluster.ask(WishKind::Drain, id(3)).expect_err("nobody is admitted");
    assert_eq!(
        refused.to_string(),
        "the cluster is forming: its founders are not all admitted yet"
    );
}

#[test]
fn a_new_voter_that_gossip_suspects_still_enters() {
    let mut cluster = settled(4, TestShape::Fixed(3));
    cluster.lose(id(3));
    while !matches!(cluster.plan().steps.first(), Some(Step::SetMembership { .. })) {
        let step = cluster.plan().steps.remove(0);
        cluster.execute(&step);
    }
    let seen = cluster.nodes.get_mut(&id(4)).expect("n4 is there");
    seen.membership = crate::roles::Membership::Suspect;
    settle(&mut cluster);
    assert!(cluster.voters.contains(&id(4)));
}

#[test]
fn a_leader_that_is_to_go_is_not_held_by_voters_that_gossip_suspects() {
    let mut cluster = settled(5, TestShape::Fixed(3));
    assert_eq!(cluster.leader, id(1));
    for suspect in [id(2), id(3)] {
        let seen = cluster.nodes.get_mut(&suspect).expect("it is there");
        seen.membership = crate::roles::Membership::Suspect;
    }
    for step in cluster.ask(WishKind::Drain, id(1)).expect("n4 can take its place") {
        cluster.execute(&step);
    }
    settle(&mut cluster);
    assert!(!cluster.voters.contains(&id(1)));
    assert_eq!(cluster.voters.len(), 3);
}

#[test]
fn an_exchange_that_an_operator_asks_for_keeps_the_voters_spread() {
    let mut cluster = TestCluster::born(4, TestShape::Fixed(3), 2, &["a", "b", "c", "b"]);
    settle(&mut cluster);
    for step in cluster.ask(WishKind::Promote, id(4)).expect("n4 may vote") {
        cluster.execute(&step);
    }
    settle(&mut cluster);
    assert_eq!(
        cluster.voters,
        BTreeSet::from([id(1), id(3), id(4)]),
        "n2 is in the zone of n4"
    );
}
