use std::sync::Arc;

use proptest::prelude::*;
use revoada_attest::Role;

use super::*;

fn every() -> Vec<Arc<dyn TopologyStrategy>> {
    let mut all: Vec<_> = NAMES.iter().map(|name| by_name(name).expect("a listed name")).collect();
    all.push(Arc::new(Pair::with_witness("w")));
    all
}

/// One line per topology: its least nodes, and the voters of 0 to 16 nodes.
#[test]
fn the_table_of_voters_is_the_documented_one() {
    let table: Vec<String> = every()
        .iter()
        .map(|t| {
            let voters: Vec<String> = (0..=16).map(|n| t.voters(n).to_string()).collect();
            format!(
                "{} from {}, others {}: {}",
                t.name(),
                t.nodes_min(),
                t.others(9),
                voters.join(" ")
            )
        })
        .collect();
    let expected = "\
solo from 1, others worker: 0 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
pair from 2, others worker: 0 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
quorum-3m from 3, others worker: 0 1 1 3 3 3 3 3 3 3 3 3 3 3 3 3 3
cluster-3m-nw from 4, others worker: 0 1 1 3 3 3 3 3 3 3 3 3 3 3 3 3 3
mesh-all-peers from 3, others observer: 0 1 1 3 3 5 5 7 7 7 7 7 7 7 7 7 7
phalanx from 5, others worker: 0 1 1 3 3 3 3 3 5 5 5 5 5 7 7 7 7
pair from 3, others worker: 0 1 1 3 3 3 3 3 3 3 3 3 3 3 3 3 3";
    assert_eq!(table.join("\n"), expected);
}

#[test]
fn a_name_that_is_not_a_topology_has_none() {
    assert!(by_name("phalanxx").is_none());
    for name in NAMES {
        assert_eq!(by_name(name).expect("a listed name").name(), name);
    }
}

#[test]
fn a_shape_says_what_is_wrong_with_it() {
    let quorum = Quorum3M;
    assert_eq!(quorum.validate(Shape { nodes: 5, voters: 3 }), Ok(()));
    assert_eq!(
        quorum
            .validate(Shape { nodes: 2, voters: 1 })
            .expect_err("too few")
            .to_string(),
        "quorum-3m takes at least 3 nodes, and there are 2"
    );
    let wrong = quorum.validate(Shape { nodes: 5, voters: 2 }).expect_err("two voters");
    assert_eq!(wrong.to_string(), "quorum-3m of 5 nodes has 3 voters, and there are 2");
    assert_eq!(wrong.kind(), crate::error::ErrorKind::Invalid);
}

#[test]
fn the_even_last_peer_of_a_mesh_observes() {
    assert_eq!(MeshAllPeers.voters(6), 5);
    assert_eq!(MeshAllPeers.others(6), Role::Observer);
}

#[test]
fn losses_survived_are_a_minority() {
    assert_eq!(
        (0..=7).map(losses_survived).collect::<Vec<_>>(),
        [0, 0, 0, 1, 1, 2, 2, 3]
    );
}

proptest! {
    #[test]
    fn voters_are_odd_and_never_more_than_the_nodes(nodes in prop_oneof![0..64_usize, any::<usize>()]) {
        for topology in every() {
            let voters = topology.voters(nodes);
            prop_assert!(voters <= nodes);
            prop_assert!(nodes == 0 || voters % 2 == 1, "{} of {nodes} has {voters}", topology.name());
            if nodes >= topology.nodes_min() {
                prop_assert_eq!(topology.validate(Shape { nodes, voters }), Ok(()));
            }
        }
    }

    #[test]
    fn a_node_more_never_takes_a_voter_away(nodes in 0..10_000_usize) {
        for topology in every() {
            prop_assert!(topology.voters(nodes) <= topology.voters(nodes + 1));
        }
    }

    #[test]
    fn a_phalanx_has_at_least_two_in_five(nodes in 0..1_000_000_usize) {
        let voters = Phalanx.voters(nodes);
        let wanted = (2 * nodes).div_ceil(5);
        prop_assert!(voters >= wanted.min(super::odd_at_most(nodes)));
        prop_assert!(voters <= wanted + 1);
    }
}
