//! Small clusters for tests: keys by number, and chains as a leader and its voters would make them.

use crate::{Block, BlockBody, Chain, Digest, NodeKey, Role, Transition, TransitionKind, TrustedKeys, Witness};

/// The key of node `number`.
pub fn key(number: u8) -> NodeKey {
    NodeKey::from_seed([number; 32])
}

/// The identity of the cluster that the tests are about.
pub fn cluster() -> Digest {
    Digest::from_bytes([0xc1; 32])
}

/// Trusts nodes 1 to `count`, pinned to the cluster.
pub fn trust(count: u8) -> TrustedKeys {
    let mut keys = TrustedKeys::of_cluster(cluster());
    (1..=count).for_each(|number| keys.insert(key(number).id(), &format!("node-{number}")));
    keys
}

/// A change of node `number`.
pub fn transition(number: u8, kind: TransitionKind) -> Transition {
    let (from, to) = match kind {
        TransitionKind::Admit => (None, Some(Role::Worker)),
        TransitionKind::Promote => (Some(Role::Worker), Some(Role::ControlPlane)),
        TransitionKind::Demote => (Some(Role::ControlPlane), Some(Role::Worker)),
        TransitionKind::Evict => (Some(Role::Worker), None),
        TransitionKind::Reassign | TransitionKind::Quarantine | TransitionKind::Restore => {
            (Some(Role::Worker), Some(Role::Observer))
        }
    };
    let reason = "asked for by the test".to_owned();
    Transition {
        node: key(number).id(),
        name: format!("node-{number}"),
        kind,
        from,
        to,
        reason,
    }
}

/// The block that comes next in `chain`, by node `proposer` in `term`.
pub fn next_body(chain: &Chain, proposer: u8, term: u64, transition: Transition) -> BlockBody {
    BlockBody {
        cluster: chain.cluster(),
        index: chain.len(),
        parent: chain.head(),
        term,
        time_ms: 1_764_000_000_000 + chain.len(),
        proposer: key(proposer).id(),
        transition,
    }
}

/// Appends what node `proposer` says, co-signed by `witnesses`.
pub fn extend(chain: &mut Chain, proposer: u8, term: u64, transition: Transition, witnesses: &[u8]) {
    let index = chain.len();
    let block = Block::seal(next_body(chain, proposer, term, transition), &key(proposer));
    let digest = chain.append(block, term).unwrap();
    for number in witnesses {
        assert!(
            chain
                .add_witness(index, &digest, Witness::sign(&digest, &key(*number)))
                .unwrap()
        );
    }
}

/// Five nodes admitted by node 1, and three of them promoted: eight blocks, each with two witnesses.
pub fn five_nodes() -> Chain {
    let mut chain = Chain::new(cluster());
    (1..=5).for_each(|number| extend(&mut chain, 1, 1, transition(number, TransitionKind::Admit), &[2, 3]));
    (1..=3).for_each(|number| extend(&mut chain, 1, 1, transition(number, TransitionKind::Promote), &[2, 3]));
    chain
}
