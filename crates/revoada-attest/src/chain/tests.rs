use super::*;
use crate::testing::{cluster, extend, five_nodes, key, next_body, transition};
use crate::{BlockBody, Signature};

/// What is said to the next block of a sound chain, by node 1 in term 4, after `change`.
fn refused(change: impl FnOnce(&mut BlockBody)) -> BlockRefused {
    let mut chain = five_nodes();
    let mut body = next_body(&chain, 1, 4, transition(4, TransitionKind::Promote));
    change(&mut body);
    let before = chain.clone();
    let refused = chain.append(Block::seal(body, &key(1)), 4).unwrap_err();
    assert_eq!(chain, before, "a refused block changes nothing");
    refused
}

#[test]
fn a_chain_starts_from_its_cluster_and_grows_by_its_head() {
    let mut chain = Chain::new(cluster());
    assert_eq!((chain.head(), chain.len(), chain.is_empty()), (cluster(), 0, true));
    let block = Block::seal(next_body(&chain, 1, 1, transition(1, TransitionKind::Admit)), &key(1));
    let head = chain.append(block.clone(), 1).unwrap();
    assert_eq!((chain.head(), chain.len(), head), (block.digest(), 1, block.digest()));
    assert_eq!(chain.get(0).unwrap().block, block);
    assert_eq!(chain.get(1), None);
    assert_eq!(chain.get(u64::MAX), None);
}

#[test]
fn each_reason_to_refuse_a_block_is_named() {
    let head = five_nodes().head();
    let elsewhere = Digest::from_bytes([7; 32]);
    assert_eq!(
        refused(|body| body.cluster = elsewhere),
        BlockRefused::OtherCluster {
            expected: cluster(),
            found: elsewhere
        }
    );
    assert_eq!(
        refused(|body| body.parent = elsewhere),
        BlockRefused::StaleParent {
            expected: head,
            found: elsewhere
        }
    );
    assert_eq!(
        refused(|body| body.index = 9),
        BlockRefused::WrongIndex { expected: 8, found: 9 }
    );
    assert_eq!(
        refused(|body| body.term = 5),
        BlockRefused::OtherTerm { expected: 4, found: 5 }
    );
    assert_eq!(
        refused(|body| body.proposer = key(2).id()),
        BlockRefused::BadSignature { proposer: key(2).id() },
        "sealed with another key"
    );
    assert!(matches!(
        refused(|body| body.transition.reason = "x".repeat(BLOCK_BYTES_MAX)),
        BlockRefused::TooLarge {
            max: BLOCK_BYTES_MAX,
            ..
        }
    ));
}

#[test]
fn of_two_blocks_on_one_parent_the_second_is_stale() {
    let mut chain = five_nodes();
    let parent = chain.head();
    let block = |number| {
        Block::seal(
            next_body(&chain, 1, 1, transition(number, TransitionKind::Promote)),
            &key(1),
        )
    };
    let (first, second) = (block(4), block(5));
    let head = chain.append(first, 1).unwrap();
    assert_eq!(
        chain.append(second, 1),
        Err(BlockRefused::StaleParent {
            expected: head,
            found: parent
        })
    );
}

#[test]
fn a_term_never_goes_back() {
    let mut chain = five_nodes();
    extend(&mut chain, 2, 7, transition(4, TransitionKind::Promote), &[]);
    let block = Block::seal(next_body(&chain, 1, 6, transition(5, TransitionKind::Promote)), &key(1));
    assert_eq!(
        chain.check(&block, 6),
        Err(BlockRefused::TermWentBack { last: 7, found: 6 })
    );
}

#[test]
fn a_changed_block_is_not_signed() {
    let chain = five_nodes();
    let mut block = Block::seal(next_body(&chain, 1, 1, transition(4, TransitionKind::Promote)), &key(1));
    assert!(block.is_signed());
    block.body.transition.to = None;
    assert!(!block.is_signed());
    assert_eq!(
        chain.check(&block, 1),
        Err(BlockRefused::BadSignature { proposer: key(1).id() })
    );
}

#[test]
fn witnesses_are_kept_once_and_in_order() {
    let mut chain = five_nodes();
    extend(&mut chain, 1, 1, transition(4, TransitionKind::Promote), &[]);
    let digest = chain.head();
    assert_eq!(chain.unwitnessed().collect::<Vec<_>>(), [(8, digest)]);
    let add = |chain: &mut Chain, number| chain.add_witness(8, &digest, Witness::sign(&digest, &key(number)));
    for number in [5, 2, 4, 3] {
        assert_eq!(add(&mut chain, number), Ok(true));
    }
    assert_eq!(add(&mut chain, 2), Ok(false));
    let witnesses = &chain.get(8).unwrap().witnesses;
    assert_eq!(witnesses.len(), 4);
    assert!(witnesses.is_sorted_by_key(|witness| witness.node));
    assert_eq!(chain.head(), digest, "witnesses stand outside the digest");
    assert_eq!(chain.unwitnessed().count(), 0);
}

#[test]
fn each_reason_to_refuse_a_witness_is_named() {
    let mut chain = five_nodes();
    let digest = chain.get(4).unwrap().block.digest();
    let head = chain.head();
    let before = chain.clone();
    let good = Witness::sign(&digest, &key(4));
    assert_eq!(
        chain.add_witness(8, &digest, good),
        Err(WitnessRefused::NoSuchBlock { index: 8, len: 8 })
    );
    assert_eq!(
        chain.add_witness(4, &head, good),
        Err(WitnessRefused::OtherBlock {
            index: 4,
            expected: digest,
            found: head
        })
    );
    let node = key(1).id();
    let own = Witness::sign(&digest, &key(1));
    assert_eq!(
        chain.add_witness(4, &digest, own),
        Err(WitnessRefused::Proposer { index: 4, node })
    );
    let node = key(4).id();
    let forged = [
        Witness {
            node,
            signature: Signature::default(),
        },
        Witness {
            node,
            signature: Witness::sign(&digest, &key(5)).signature,
        },
        Witness {
            node,
            signature: Witness::sign(&head, &key(4)).signature,
        },
    ];
    for witness in forged {
        assert_eq!(
            chain.add_witness(4, &digest, witness),
            Err(WitnessRefused::BadSignature { index: 4, node })
        );
    }
    assert_eq!(chain, before, "a refused witness changes nothing");
}

#[test]
fn a_signature_of_one_domain_is_none_of_the_other() {
    let mut chain = five_nodes();
    let body = next_body(&chain, 2, 1, transition(4, TransitionKind::Promote));
    let block = Block::seal(body.clone(), &key(2));
    let digest = block.digest();

    // What a proposer signed is no witness, even for a block that the same node did not propose.
    let by_seal = Witness {
        node: key(2).id(),
        signature: block.signature,
    };
    assert!(!by_seal.is_signed(&digest));
    // What a witness signed is no block.
    let by_witness = Block {
        body,
        signature: Witness::sign(&digest, &key(2)).signature,
    };
    assert_eq!(
        chain.append(by_witness, 1),
        Err(BlockRefused::BadSignature { proposer: key(2).id() })
    );
    // Nor is a bare signature of the digest either of them.
    let bare = key(2).sign(digest.as_bytes());
    assert!(
        !Witness {
            node: key(2).id(),
            signature: bare
        }
        .is_signed(&digest)
    );
    assert!(
        !Block {
            body: block.body.clone(),
            signature: bare
        }
        .is_signed()
    );
}

#[test]
fn a_clone_does_not_see_what_the_original_appends() {
    let mut chain = five_nodes();
    let before = chain.clone();
    extend(&mut chain, 1, 1, transition(4, TransitionKind::Promote), &[2]);
    let digest = before.get(4).unwrap().block.digest();
    chain.add_witness(4, &digest, Witness::sign(&digest, &key(5))).unwrap();
    assert_eq!(before, five_nodes());
    assert_eq!(chain.len(), 9);
}

#[test]
fn a_stored_chain_is_the_same_chain() {
    let chain = five_nodes();
    let stored = cbor4ii::serde::to_vec(Vec::new(), &chain).unwrap();
    let read: Chain = cbor4ii::serde::from_slice(&stored).unwrap();
    assert_eq!(read, chain);
    assert_eq!(read.export(), chain.export());
    let json = serde_json::to_string(&chain).unwrap();
    assert_eq!(serde_json::from_str::<Chain>(&json).unwrap(), chain);
    let block = chain.get(3).unwrap().block.clone();
    let stored = cbor4ii::serde::to_vec(Vec::new(), &block).unwrap();
    assert_eq!(cbor4ii::serde::from_slice::<Block>(&stored).unwrap(), block);
}

#[test]
fn a_stored_chain_whose_blocks_do_not_follow_each_other_is_refused() {
    let damage = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut stored = serde_json::to_value(five_nodes()).unwrap();
        change(stored["blocks"].as_array_mut().unwrap());
        serde_json::from_value::<Chain>(stored).unwrap_err().to_string()
    };
    let at = |index: u64| ChainDamaged { index }.to_string();
    assert_eq!(damage(&|blocks| drop(blocks.remove(2))), at(2));
    assert_eq!(damage(&|blocks| blocks.swap(4, 5)), at(4));
    assert_eq!(
        damage(&|blocks| blocks[3]["block"]["body"]["term"] = 9.into()),
        at(4),
        "its child does not follow it"
    );
    assert_eq!(
        damage(&|blocks| blocks[3]["witnesses"].as_array_mut().unwrap().reverse()),
        at(3)
    );
}
