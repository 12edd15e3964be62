use revoada_attest::NodeKey;

use super::*;

fn url(n: u64) -> Vec<String> {
    vec![format!("http://10.0.0.{n}:2380")]
}

fn node(n: u8) -> NodeId {
    NodeKey::from_seed([n; 32]).id()
}

fn founder(n: u8) -> RosterMember {
    RosterMember {
        id: u64::from(n),
        name: String::new(),
        peer_urls: url(u64::from(n)),
        client_urls: Vec::new(),
        learner: false,
        node: Some(node(n)),
    }
}

fn founded(count: u8) -> Roster {
    let mut roster = Roster::default();
    let members = (1..=count).map(founder).collect();
    roster.apply(&RosterChange::Found { members }).unwrap();
    roster
}

fn add(id: u64, learner: bool) -> RosterChange {
    RosterChange::Add {
        id,
        peer_urls: url(id),
        learner,
        learners_max: 1,
    }
}

#[test]
fn the_first_founding_counts() {
    let mut roster = founded(3);
    let before = roster.clone();
    let members = vec![founder(7)];
    roster.apply(&RosterChange::Found { members }).unwrap();
    assert_eq!(roster, before);
    // Not even when all that it founded are gone but one.
    for id in [2, 3] {
        roster.apply(&RosterChange::Remove { id }).unwrap();
    }
    assert_eq!(roster.members().map(|member| member.id).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_member_comes_introduces_itself_and_goes_for_good() {
    let mut roster = founded(1);
    roster.apply(&add(4, false)).unwrap();
    assert_eq!(
        roster.of_urls(&url(4)).map(|member| (member.id, member.node)),
        Some((4, None))
    );
    let introduce = |id, n| RosterChange::Introduce { id, node: node(n) };
    roster.apply(&introduce(4, 4)).unwrap();
    roster.apply(&introduce(4, 4)).unwrap();
    let refused = |id, n| RosterRefused::OtherNode { id, node: node(n) };
    assert_eq!(roster.apply(&introduce(4, 5)), Err(refused(4, 5)));
    assert_eq!(roster.apply(&introduce(4, 1)), Err(refused(4, 1)));
    assert!(!roster.get(4).unwrap().is_started());
    let publish = RosterChange::Publish {
        id: 4,
        name: "d".to_owned(),
        client_urls: vec!["http://10.0.0.4:2379".to_owned()],
    };
    roster.apply(&publish).unwrap();
    assert!(roster.of_node(&node(4)).unwrap().is_started());
    roster.apply(&RosterChange::Remove { id: 4 }).unwrap();
    assert!(roster.was_removed(4));
    assert_eq!(roster.apply(&publish), Err(RosterRefused::Removed { id: 4 }));
    assert_eq!(roster.apply(&add(4, false)), Err(RosterRefused::IdTaken { id: 4 }));
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let mut roster = founded(2);
    roster.apply(&add(3, true)).unwrap();
    let before = roster.clone();
    let taken = RosterRefused::UrlTaken { url: url(1).remove(0) };
    let update = |id, to| RosterChange::Update { id, peer_urls: url(to) };
    let cases = [
        (add(5, true), RosterRefused::TooManyLearners { learners_max: 1 }),
        (add(0, false), RosterRefused::IdTaken { id: 0 }),
        (add(2, false), RosterRefused::IdTaken { id: 2 }),
        (update(2, 1), taken),
        (update(9, 9), RosterRefused::NotFound { id: 9 }),
        (RosterChange::Promote { id: 1 }, RosterRefused::NoLearner { id: 1 }),
        (RosterChange::Remove { id: 9 }, RosterRefused::NotFound { id: 9 }),
    ];
    for (change, refused) in cases {
        assert_eq!(roster.apply(&change), Err(refused), "{change:?}");
        assert_eq!(roster, before, "{change:?}");
    }
    let long = RosterChange::Publish {
        id: 1,
        name: "x".repeat(ROSTER_TEXT_BYTES_MAX + 1),
        client_urls: Vec::new(),
    };
    assert!(matches!(roster.apply(&long), Err(RosterRefused::TooMuch { .. })));
    // Its own URLs are nobody else's.
    roster.apply(&update(2, 2)).unwrap();
    roster.apply(&RosterChange::Remove { id: 1 }).unwrap();
    let last = RosterChange::Remove { id: 2 };
    assert_eq!(roster.apply(&last), Err(RosterRefused::LastVoter { id: 2 }));
    roster.apply(&RosterChange::Promote { id: 3 }).unwrap();
    roster.apply(&last).unwrap();
}
