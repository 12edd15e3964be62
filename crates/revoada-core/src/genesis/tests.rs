use std::error::Error;

use ed25519_dalek::SigningKey;
use proptest::prelude::*;

use super::*;
use crate::declaration::{DraftDeclaration, Placement, prescribed_for};
use crate::topology::Pair;

fn key(seed: u8) -> NodeId {
    NodeId::from_bytes(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}

fn founders(count: u8) -> Vec<(NodeId, Founder)> {
    (1..=count)
        .map(|nth| (key(nth), Founder::named(format!("node-{nth}"))))
        .collect()
}

fn draft(topology: &str) -> DraftDeclaration {
    prescribed_for(topology, 9).expect("nine are enough for all")
}

fn declaration(topology: &str) -> ClusterDeclaration {
    ClusterDeclaration::prove(draft(topology)).expect("coherent")
}

fn genesis(topology: &str, count: u8) -> Genesis {
    Genesis::prove(declaration(topology), founders(count), None).expect("a genesis")
}

/// The names of the first voters.
fn voters(genesis: &Genesis) -> String {
    let mut names: Vec<&str> = genesis
        .first_voters()
        .iter()
        .map(|id| genesis.founders()[id].name.as_str())
        .collect();
    names.sort_unstable();
    names.join(" ")
}

#[test]
fn the_first_voters_are_the_first_by_name() {
    assert_eq!(voters(&genesis("cluster-3m-nw", 12)), "node-1 node-2 node-3");
    assert_eq!(voters(&genesis("solo", 2)), "node-1");
    assert_eq!(voters(&genesis("pair", 2)), "node-1");
    assert_eq!(
        voters(&genesis("mesh-all-peers", 6)),
        "node-1 node-2 node-3 node-4 node-5"
    );
    assert_eq!(voters(&genesis("phalanx", 10)), "node-1 node-2 node-3 node-4 node-5");
}

#[test]
fn the_first_voters_are_spread_as_the_strategy_places_them() {
    let places = [("a", "1"), ("a", "2"), ("a", "3"), ("b", "1"), ("b", "1"), ("c", "1")];
    let standing: Vec<(NodeId, Founder)> = founders(6)
        .into_iter()
        .zip(places)
        .map(|((id, founder), (zone, rack))| (id, founder.in_zone(zone).in_rack(rack)))
        .collect();
    let cases = [
        (Placement::ZoneAware, "node-1 node-4 node-6"),
        (Placement::RackAware, "node-1 node-2 node-3"),
        (Placement::Spread, "node-1 node-4 node-6"),
        (Placement::LatencyAware, "node-1 node-2 node-3"),
        (Placement::None, "node-1 node-2 node-3"),
    ];
    for (placement, expected) in cases {
        let mut draft = draft("quorum-3m");
        draft.strategy.placement = placement;
        let declaration = ClusterDeclaration::prove(draft).expect("coherent");
        let genesis = Genesis::prove(declaration, standing.clone(), None).expect("a genesis");
        assert_eq!(voters(&genesis), expected, "{placement:?}");
    }
}

#[test]
fn a_declared_witness_votes_first_and_has_to_be_there() {
    let mut draft = draft("pair");
    draft.topology = Arc::new(Pair::with_witness("node-4"));
    draft.strategy.consensus.size = 3;
    let declaration = ClusterDeclaration::prove(draft).expect("coherent");
    let genesis = Genesis::prove(declaration.clone(), founders(4), None).expect("a genesis");
    assert_eq!(voters(&genesis), "node-1 node-2 node-4");
    let error = Genesis::prove(declaration, founders(3), None).expect_err("no witness");
    assert_eq!(error.to_string(), "the witness node-4 is not among the founders");
}

#[test]
fn what_is_no_genesis_is_refused_by_name() {
    let refused = |founders: Vec<(NodeId, Founder)>| {
        let error = Genesis::prove(declaration("cluster-3m-nw"), founders, None).expect_err("refused");
        assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
        error.to_string()
    };
    assert_eq!(
        refused(founders(3)),
        "cluster-3m-nw starts from at least 4 founders, and there are 3"
    );
    let mut twice = founders(4);
    twice[3].1.name = "node-1".to_owned();
    assert_eq!(refused(twice), "two founders are named node-1");
    let mut twice = founders(4);
    twice[3].0 = twice[0].0;
    assert!(refused(twice).starts_with("the founder node-4 has the key of another: "));
    let mut bad = founders(4);
    bad[1].1.name = "../node".to_owned();
    assert!(refused(bad).starts_with("\"../node\" is not the name of a founder"));
    let mut bad = founders(4);
    bad[1].1.zone = Some("a b".to_owned());
    assert!(refused(bad).starts_with("\"a b\" is not the zone of a founder"));
    // No point of the curve, and two of small order.
    let no_point = (2..=255)
        .map(|byte| [byte; 32])
        .find(|key| ed25519_dalek::VerifyingKey::from_bytes(key).is_err());
    let mut one = [0; 32];
    one[0] = 1;
    for key in [no_point.expect("half of all texts are no point"), [0; 32], one] {
        let mut bad = founders(4);
        bad[2].0 = NodeId::from_bytes(key);
        assert!(refused(bad).starts_with("the key of the founder node-3 is not an ed25519 public key"));
    }
}

#[test]
fn the_digest_is_the_identity() {
    let five = genesis("cluster-3m-nw", 5);
    let reversed =
        Genesis::prove(declaration("cluster-3m-nw"), founders(5).into_iter().rev(), None).expect("a genesis");
    assert_eq!(five, reversed, "the order of the founders does not matter");
    let mut moved = founders(5);
    moved[4].1.zone = Some("b".to_owned());
    let others = [
        genesis("cluster-3m-nw", 4),
        genesis("quorum-3m", 5),
        Genesis::prove(declaration("cluster-3m-nw"), founders(5), Some(Digest::default())).expect("a genesis"),
        Genesis::prove(declaration("cluster-3m-nw"), moved, None).expect("a genesis"),
    ];
    for other in others {
        assert_ne!(five.digest(), other.digest());
    }
    assert_ne!(five.digest(), five.declaration().digest());
}

/// The digest names a cluster for good: a change here orphans every cluster that exists.
#[test]
fn the_digest_of_a_known_genesis_stays() {
    insta::assert_snapshot!(genesis("quorum-3m", 3).render());
    insta::assert_snapshot!(genesis("quorum-3m", 3).digest());
}

/// The error with its causes, as the edge prints it.
fn refused(text: &str) -> String {
    let error = Genesis::parse(text.as_bytes()).expect_err("no genesis");
    assert_eq!(error.kind(), crate::error::ErrorKind::Invalid);
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said = format!("{said}: {error}");
        cause = error.source();
    }
    said
}

#[test]
fn a_file_that_is_no_genesis_says_where() {
    let good = genesis("quorum-3m", 3).render();
    Genesis::parse(good.as_bytes()).expect("a genesis");
    let first = key(1).to_string();
    let cases = [
        (
            "\"kind\": \"Genesis\"",
            "\"kind\": \"Cluster\"",
            "`kind` of the whole of the genesis: it is \"Cluster\"",
        ),
        (
            "\"kind\": \"Genesis\",",
            "",
            "`kind` of the whole of the genesis: it is not there",
        ),
        (
            "\"founders\"",
            "\"extra\": 1, \"founders\"",
            "`extra` of the whole of the genesis: there is no such field",
        ),
        (
            "\"founders\"",
            "\"founders\": 1, \"f\"",
            "`founders` of the whole of the genesis: it is the number 1, not a list",
        ),
        ("\"name\": \"node-2\"", "\"nam\": \"node-2\"", "`name` of founders["),
        ("\"name\": \"node-2\"", "\"name\": 2", "`name` of founders["),
        (
            "\"name\": \"node-2\"",
            "\"name\": \"node-1\"",
            "the founders of the genesis cannot be used: two founders are named",
        ),
        (&first, "zz", "`id` of founders["),
        (
            "\"size\": 3",
            "\"size\": 4",
            "the declaration of the genesis cannot be used: the declaration is not coherent: ",
        ),
        (
            "\"size\": 3",
            "\"size\": 3, \"size\": 3",
            "the genesis cannot be read: it is not valid JSON: the key \"size\"",
        ),
    ];
    for (from, to, expected) in cases {
        let said = refused(&good.replacen(from, to, 1));
        assert!(said.starts_with(expected), "{said}");
    }
    assert!(refused("{").starts_with("the genesis cannot be read: it is not valid JSON: EOF"));
    assert!(refused("[]").starts_with("the whole of the genesis: it is a list of 0, not an object"));
    assert!(refused(&good[..good.len() / 2]).starts_with("the genesis cannot be read"));
}

proptest! {
    #[test]
    fn a_rendered_genesis_reads_back(
        count in 5..12_u8, topology in proptest::sample::select(&crate::topology::NAMES[..]),
        zones in proptest::collection::vec(proptest::option::of("[a-c]"), 12), token in proptest::option::of(any::<[u8; 32]>()),
    ) {
        let placed = founders(count).into_iter().zip(zones).map(|((id, founder), zone)| (id, Founder { zone, ..founder }));
        let genesis = Genesis::prove(declaration(topology), placed, token.map(Digest::from_bytes)).expect("a genesis");
        let again = Genesis::parse(genesis.render().as_bytes()).expect("it was rendered");
        prop_assert_eq!(again.digest(), genesis.digest());
        prop_assert_eq!(again.founders(), genesis.founders());
        prop_assert_eq!(again.token_digest(), genesis.token_digest());
        prop_assert_eq!(again.first_voters(), genesis.first_voters());
        let wanted = genesis.declaration().topology().voters(usize::from(count));
        prop_assert_eq!(genesis.first_voters().len(), wanted);
    }

    /// As many zones have a voter as can have one.
    #[test]
    fn zones_are_used_before_one_is_used_twice(zones in proptest::collection::vec("[a-e]", 4..12)) {
        let placed = founders(zones.len() as u8).into_iter().zip(&zones);
        let placed = placed.map(|((id, founder), zone)| (id, founder.in_zone(zone)));
        let genesis = Genesis::prove(declaration("cluster-3m-nw"), placed, None).expect("a genesis");
        let all: BTreeSet<&String> = zones.iter().collect();
        let first = genesis.first_voters();
        let used: BTreeSet<_> = first.iter().map(|id| genesis.founders()[id].zone.clone()).collect();
        prop_assert_eq!(used.len(), all.len().min(3));
    }

    #[test]
    fn one_changed_byte_is_another_genesis_or_none(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let genesis = genesis("quorum-3m", 3);
        let mut bytes = genesis.render().into_bytes();
        let at = at.index(bytes.len());
        let before = std::mem::replace(&mut bytes[at], byte);
        if let Ok(changed) = Genesis::parse(&bytes) {
            // Space between tokens, and the case of hexadecimal digits, mean nothing.
            let meaningless = before.eq_ignore_ascii_case(&byte) || before.is_ascii_whitespace();
            prop_assert!(meaningless || changed.digest() != genesis.digest());
        }
    }
}
