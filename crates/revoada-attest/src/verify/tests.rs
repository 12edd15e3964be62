//! Damages, each told apart by the exact list of what is reported.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::export::forge;
use crate::testing::{cluster, extend, five_nodes, key, next_body, transition, trust};
use crate::{Block, BlockRefused, Chain, NodeKey, Role, SealedBlock, Signature, Witness};

/// `INDEX KIND`, one line per problem.
fn found(report: &Report) -> String {
    let lines: Vec<_> = report
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.index, problem.kind))
        .collect();
    assert_eq!(report.valid, lines.is_empty());
    lines.join(", ")
}

fn blocks(chain: &Chain) -> Vec<SealedBlock> {
    chain.iter().cloned().collect()
}

/// An attacker's file: these blocks, with count, head and every plain digest as they should be.
fn fitted(blocks: &[SealedBlock]) -> Vec<u8> {
    let head = blocks.last().map_or(cluster(), |sealed| sealed.block.digest());
    forge::file(cluster(), blocks.len() as u64, blocks, head)
}

/// The export of [`five_nodes`], signed once for all the cases of a property.
fn sound() -> Vec<u8> {
    static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| five_nodes().export());
    SOUND.clone()
}

/// What is found when `change` is done to the blocks of a sound chain and everything else is made to fit.
fn after(change: impl FnOnce(&mut Vec<SealedBlock>)) -> String {
    let mut blocks = blocks(&five_nodes());
    change(&mut blocks);
    found(&verify(&fitted(&blocks), &trust(5), &[]))
}

/// What is found when blocks were taken out or moved and the rest of the file was left as it was.
fn rearranged(change: impl FnOnce(&mut Vec<SealedBlock>)) -> String {
    let chain = five_nodes();
    let mut blocks = blocks(&chain);
    change(&mut blocks);
    let file = forge::file(cluster(), chain.len(), &blocks, chain.head());
    found(&verify(&file, &trust(5), &[chain.head()]))
}

fn reseal(sealed: &mut SealedBlock, key: &NodeKey) {
    sealed.block = Block::seal(sealed.block.body.clone(), key);
}

/// A chain of `quiet` blocks without witnesses behind three founders' admissions.
fn unwitnessed(quiet: u8) -> Chain {
    let mut chain = Chain::new(cluster());
    (1..=3).for_each(|number| extend(&mut chain, 1, 1, transition(number, TransitionKind::Admit), &[2]));
    (0..quiet).for_each(|_| extend(&mut chain, 1, 1, transition(2, TransitionKind::Reassign), &[]));
    chain
}

#[test]
fn a_sound_chain_verifies() {
    let chain = five_nodes();
    let heads: Vec<_> = chain
        .iter()
        .map(|sealed| sealed.block.digest())
        .chain([cluster()])
        .collect();
    let report = verify(&chain.export(), &trust(5), &heads);
    assert_eq!(found(&report), "");
    assert_eq!(
        (report.blocks, report.head, report.awaiting_witness),
        (8, Some(chain.head()), 0)
    );
    assert_eq!(
        fitted(&blocks(&chain)),
        chain.export(),
        "the forger writes what the exporter writes"
    );
}

#[test]
fn an_empty_chain_verifies() {
    let report = verify(&Chain::new(cluster()).export(), &trust(1), &[cluster()]);
    assert_eq!((found(&report).as_str(), report.blocks, report.head), ("", 0, None));
}

#[test]
fn the_report_is_the_json_of_the_command_line() {
    let mut file = five_nodes().export();
    file.truncate(file.len() - 1);
    let report = serde_json::to_value(verify(&file, &trust(5), &[])).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["blocks"], 8);
    assert_eq!(report["head"], five_nodes().head().to_string());
    assert_eq!(report["problems"][0]["index"], 8);
    assert_eq!(report["problems"][0]["kind"], "truncated");
    assert!(report["problems"][0]["detail"].is_string());
    let kinds = [
        ProblemKind::UntrustedKey,
        ProblemKind::Gap,
        ProblemKind::Format,
        ProblemKind::Witness,
    ];
    for kind in kinds {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}

#[test]
fn any_changed_byte_of_a_record_is_a_digest_problem_at_its_block() {
    let sound = five_nodes().export();
    let spans = forge::record_spans(&sound);
    for index in [0, 4, 7] {
        let span = &spans[index];
        // Behind tag and length: these frame the record, and are looked at below.
        for at in span.start + 8..span.end {
            let mut file = sound.clone();
            file[at] ^= 0x20;
            assert_eq!(
                found(&verify(&file, &trust(5), &[])),
                format!("{index} digest"),
                "byte {at}"
            );
        }
    }
}

#[test]
fn changed_framing_is_a_digest_problem_and_ends_the_reading() {
    let sound = five_nodes().export();
    let span = forge::record_spans(&sound)[4].clone();
    for at in [span.start, span.start + 4, span.start + 5] {
        let mut file = sound.clone();
        file[at] ^= 0x20;
        let report = verify(&file, &trust(5), &[five_nodes().head()]);
        assert_eq!((found(&report).as_str(), report.blocks), ("4 digest", 4), "byte {at}");
    }
}

#[test]
fn changed_header_and_trailer_are_digest_problems() {
    let sound = five_nodes().export();
    for (at, expected) in [
        (20, "0 digest"),
        (50, "0 digest"),
        (70, "0 digest"),
        (sound.len() - 1, "8 digest"),
    ] {
        let mut file = sound.clone();
        file[at] ^= 1;
        assert_eq!(found(&verify(&file, &trust(5), &[])), expected, "byte {at}");
    }
    let mut file = sound.clone();
    let head = file.len() - 64;
    file[head] ^= 1;
    assert_eq!(found(&verify(&file, &trust(5), &[])), "8 digest");
}

#[test]
fn a_change_that_is_made_to_fit_is_a_signature_problem() {
    assert_eq!(
        after(|blocks| blocks[4].block.body.transition.reason.push('!')),
        "4 signature"
    );
    assert_eq!(after(|blocks| blocks[4].block.body.time_ms += 1), "4 signature");
    assert_eq!(
        after(|blocks| blocks[4].block.body.transition.to = Some(Role::Observer)),
        "4 signature"
    );
    assert_eq!(
        after(|blocks| blocks[7].block.body.transition.name = "node-4".to_owned()),
        "7 signature"
    );
    assert_eq!(
        after(|blocks| blocks[4].block.signature = Signature::default()),
        "4 signature"
    );
    assert_eq!(
        after(|blocks| blocks[4].block.signature = blocks[3].block.signature),
        "4 signature"
    );
    // Of a cluster as a whole: every later parent made to fit as well.
    let rewritten = after(|blocks| {
        blocks[5].block.body.transition.node = key(4).id();
        for index in 6..8 {
            blocks[index].block.body.parent = blocks[index - 1].block.digest();
        }
    });
    assert_eq!(rewritten, "5 signature, 6 signature, 7 signature");
}

#[test]
fn a_forged_key_is_a_signature_problem() {
    assert_eq!(after(|blocks| reseal(&mut blocks[4], &key(66))), "4 signature");
    assert_eq!(after(|blocks| reseal(&mut blocks[4], &key(2))), "4 signature");
}

#[test]
fn a_witness_signature_under_a_block_is_a_signature_problem() {
    let as_witness = |blocks: &mut Vec<SealedBlock>| {
        blocks[4].block.signature = Witness::sign(&blocks[4].block.digest(), &key(1)).signature;
    };
    assert_eq!(after(as_witness), "4 signature");
}

#[test]
fn a_strangers_block_is_an_untrusted_key() {
    let by_stranger = |blocks: &mut Vec<SealedBlock>| {
        blocks[4].block.body.proposer = key(66).id();
        reseal(&mut blocks[4], &key(66));
    };
    assert_eq!(after(by_stranger), "4 untrusted-key");
}

#[test]
fn a_proposer_that_the_verifier_does_not_know_is_an_untrusted_key() {
    let mut chain = five_nodes();
    extend(&mut chain, 2, 2, transition(4, TransitionKind::Promote), &[3]);
    let mut keys = TrustedKeys::of_cluster(cluster());
    [1, 3].iter().for_each(|number| keys.insert(key(*number).id(), "known"));
    let file = forge::file(cluster(), 9, &blocks(&chain), chain.head());
    let report = verify(&file, &keys, &[]);
    let (of_witness, of_block): (Vec<_>, Vec<_>) = report.problems.iter().partition(|problem| problem.index < 8);
    assert!(
        of_witness
            .iter()
            .chain(&of_block)
            .all(|problem| problem.kind == ProblemKind::UntrustedKey)
    );
    assert_eq!((of_witness.len(), of_block.len()), (8, 1));
}

#[test]
fn a_proposer_that_was_evicted_is_an_untrusted_key() {
    let mut chain = five_nodes();
    extend(&mut chain, 1, 1, transition(5, TransitionKind::Evict), &[2]);
    let body = next_body(&chain, 5, 2, transition(4, TransitionKind::Evict));
    let block = Block::seal(body, &key(5));
    assert_eq!(
        chain.check(&block, 2),
        Err(BlockRefused::ProposerEvicted { proposer: key(5).id() })
    );
    let mut stolen = blocks(&chain);
    stolen.push(SealedBlock {
        block,
        witnesses: Vec::new(),
    });
    assert_eq!(found(&verify(&fitted(&stolen), &trust(5), &[])), "9 untrusted-key");

    extend(&mut chain, 1, 1, transition(5, TransitionKind::Admit), &[2]);
    extend(&mut chain, 5, 2, transition(4, TransitionKind::Promote), &[2]);
    assert_eq!(
        found(&verify(&chain.export(), &trust(5), &[])),
        "",
        "and is one again when it was admitted again"
    );
}

#[test]
fn a_missing_block_is_a_gap() {
    assert_eq!(rearranged(|blocks| drop(blocks.remove(4))), "4 gap");
    assert_eq!(rearranged(|blocks| drop(blocks.remove(0))), "0 gap");
    assert_eq!(rearranged(|blocks| drop(blocks.drain(2..5))), "2 gap");
    assert_eq!(
        rearranged(|blocks| {
            blocks.remove(5);
            blocks.remove(2);
        }),
        "2 gap, 5 gap"
    );
    // Nor does a count that fits help, nor numbers that do.
    assert!(after(|blocks| drop(blocks.remove(4))).starts_with("4 gap"));
    let renumbered = after(|blocks| {
        blocks.remove(6);
        blocks[6].block.body.index = 6;
    });
    assert_eq!(renumbered, "6 signature");
}

#[test]
fn swapped_blocks_are_a_parent_problem() {
    for first in 0..7 {
        let swapped = rearranged(|blocks| blocks.swap(first, first + 1));
        assert_eq!(swapped, format!("{first} parent"));
    }
}

#[test]
fn a_repeated_block_is_a_parent_problem() {
    assert_eq!(rearranged(|blocks| blocks.insert(4, blocks[4].clone())), "4 parent");
}

#[test]
fn a_fork_is_a_parent_problem() {
    let forked = |blocks: &mut Vec<SealedBlock>| {
        let mut other = blocks[7].clone();
        other.block.body.transition = transition(4, TransitionKind::Promote);
        reseal(&mut other, &key(1));
        blocks.push(other);
    };
    assert_eq!(rearranged(forked), "7 parent");
}

#[test]
fn a_history_that_one_trusted_node_rewrote_is_a_witness_and_a_parent_problem() {
    let rewritten = after(|blocks| {
        blocks[5].block.body.transition.reason = "another story".to_owned();
        reseal(&mut blocks[5], &key(1));
        blocks[5].witnesses.clear();
    });
    assert_eq!(rewritten, "5 witness, 6 parent");
}

#[test]
fn a_term_that_goes_back_is_a_parent_problem() {
    let mut chain = five_nodes();
    extend(&mut chain, 2, 7, transition(4, TransitionKind::Promote), &[3]);
    let block = Block::seal(next_body(&chain, 1, 6, transition(4, TransitionKind::Demote)), &key(1));
    let witnesses = vec![Witness::sign(&block.digest(), &key(2))];
    let mut all = blocks(&chain);
    all.push(SealedBlock { block, witnesses });
    assert_eq!(found(&verify(&fitted(&all), &trust(5), &[])), "9 parent");
}

#[test]
fn another_clusters_chain_is_a_parent_problem() {
    let other = Digest::from_bytes([9; 32]);
    let mut chain = Chain::new(other);
    extend(&mut chain, 1, 1, transition(1, TransitionKind::Admit), &[]);
    assert_eq!(found(&verify(&chain.export(), &trust(5), &[])), "0 parent");
    // Under a header of this cluster its blocks are still another's.
    assert_eq!(found(&verify(&fitted(&blocks(&chain)), &trust(5), &[])), "0 parent");
    let mut unpinned = TrustedKeys::default();
    unpinned.insert(key(1).id(), "node-1");
    assert_eq!(
        found(&verify(&chain.export(), &unpinned, &[])),
        "",
        "without a pin any cluster of the keys will do"
    );
}

#[test]
fn a_block_without_a_witness_in_a_cluster_of_three_is_a_witness_problem() {
    assert_eq!(after(|blocks| blocks[5].witnesses.clear()), "5 witness");
    // Up to block 2 there were fewer than three members before the block.
    assert_eq!(
        after(|blocks| blocks.iter_mut().take(3).for_each(|sealed| sealed.witnesses.clear())),
        ""
    );
    assert_eq!(after(|blocks| blocks[3].witnesses.clear()), "3 witness");
}

#[test]
fn a_wrong_co_signature_is_a_witness_problem() {
    let with = |index: usize, witnesses: &[Witness]| {
        after(|blocks| {
            blocks[index].witnesses = witnesses.to_vec();
        })
    };
    let digest = |index| five_nodes().get(index).unwrap().block.digest();
    let sign = |index, number| Witness::sign(&digest(index), &key(number));
    assert_eq!(with(4, &[sign(4, 2)]), "", "the test itself signs as it should");
    assert_eq!(with(4, &[sign(5, 2)]), "4 witness", "of another block");
    assert_eq!(with(4, &[sign(4, 1)]), "4 witness", "by the proposer");
    assert_eq!(with(4, &[sign(4, 2), sign(4, 2)]), "4 witness", "twice");
    assert_eq!(with(4, &[sign(4, 66)]), "4 untrusted-key", "by a stranger");
    let block_signature = five_nodes().get(4).unwrap().block.signature;
    assert_eq!(
        with(
            4,
            &[Witness {
                node: key(2).id(),
                signature: block_signature
            }]
        ),
        "4 witness",
        "by the proposer under another's name"
    );
    let as_block = Block::seal(five_nodes().get(4).unwrap().block.body.clone(), &key(2)).signature;
    assert_eq!(
        with(
            4,
            &[Witness {
                node: key(2).id(),
                signature: as_block
            }]
        ),
        "4 witness",
        "in the domain of blocks"
    );
    // One that is wrong is reported beside one that is right.
    let mut both = [
        sign(4, 2),
        Witness {
            node: key(3).id(),
            signature: Signature::default(),
        },
    ];
    both.sort_by_key(|witness| witness.node);
    assert_eq!(with(4, &both), "4 witness");
}

#[test]
fn an_evicted_witness_does_not_count() {
    let mut chain = five_nodes();
    extend(&mut chain, 1, 1, transition(5, TransitionKind::Evict), &[5]);
    assert_eq!(
        found(&verify(&chain.export(), &trust(5), &[])),
        "",
        "its own eviction it may witness"
    );
    extend(&mut chain, 1, 1, transition(4, TransitionKind::Promote), &[5]);
    extend(&mut chain, 1, 1, transition(4, TransitionKind::Demote), &[2]);
    assert_eq!(found(&verify(&chain.export(), &trust(5), &[])), "9 witness");
}

#[test]
fn the_newest_blocks_may_await_their_witness_and_no_more_than_the_limit() {
    let verified = |quiet| {
        let report = verify(&unwitnessed(quiet).export(), &trust(3), &[]);
        (found(&report), report.awaiting_witness)
    };
    assert_eq!(verified(0), (String::new(), 0));
    assert_eq!(verified(1), (String::new(), 1));
    assert_eq!(verified(8), (String::new(), 8));
    assert_eq!(verified(10), ("3 witness, 4 witness".to_owned(), 8));
}

#[test]
fn a_pair_needs_no_witness() {
    let mut chain = Chain::new(cluster());
    (1..=2).for_each(|number| extend(&mut chain, 1, 1, transition(number, TransitionKind::Admit), &[]));
    (0..20).for_each(|_| extend(&mut chain, 1, 1, transition(2, TransitionKind::Reassign), &[]));
    let report = verify(&chain.export(), &trust(2), &[]);
    assert_eq!((found(&report).as_str(), report.awaiting_witness), ("", 0));
}

#[test]
fn a_cut_tail_is_truncated() {
    let chain = five_nodes();
    let file = chain.export();
    let spans = forge::record_spans(&file);
    // Between two blocks, within one, without the trailer, within the trailer.
    for (length, expected) in [
        (spans[5].end, "6 truncated"),
        (spans[5].end + 3, "6 truncated"),
        (spans[5].end + 6, "6 truncated"),
        (spans[6].end - 1, "6 truncated"),
        (spans[7].end, "8 truncated"),
        (file.len() - 1, "8 truncated"),
        (40, "0 truncated"),
        (10, "0 truncated"),
        (3, "0 truncated"),
    ] {
        assert_eq!(
            found(&verify(&file[..length], &trust(5), &[chain.head()])),
            expected,
            "cut to {length}"
        );
    }
    // Blocks taken out and the trailer put back, then the count made to fit, then the head.
    assert_eq!(
        found(&verify(
            &forge::end(file[..spans[5].end].to_vec(), chain.head()),
            &trust(5),
            &[]
        )),
        "6 truncated"
    );
    let six = &blocks(&chain)[..6];
    assert_eq!(
        found(&verify(&forge::file(cluster(), 6, six, chain.head()), &trust(5), &[])),
        "6 truncated"
    );
    assert_eq!(found(&verify(&fitted(six), &trust(5), &[chain.head()])), "6 truncated");
    assert_eq!(found(&verify(&fitted(&[]), &trust(5), &[chain.head()])), "0 truncated");
    // Made to fit in all of it, it is a shorter chain, and a head of its own is no objection.
    assert_eq!(found(&verify(&fitted(six), &trust(5), &[six[3].block.digest()])), "");
}

#[test]
fn what_is_no_export_is_a_format_problem() {
    let sound = five_nodes().export();
    let mut newer = sound.clone();
    newer[8..12].copy_from_slice(&2_u32.to_be_bytes());
    let report = verify(&newer, &trust(5), &[]);
    assert_eq!(found(&report), "0 format");
    assert!(report.problems[0].detail.contains("format 2"), "{report:?}");
    assert_eq!(found(&verify(b"", &trust(5), &[])), "0 format");
    assert_eq!(found(&verify(b"{\"items\":[]}", &trust(5), &[])), "0 format");
    let longer = [sound.as_slice(), b"\n"].concat();
    assert_eq!(found(&verify(&longer, &trust(5), &[])), "8 format");
    let chain = five_nodes();
    assert_eq!(
        found(&verify(
            &forge::file(cluster(), 5, &blocks(&chain), chain.head()),
            &trust(5),
            &[]
        )),
        "8 format"
    );
    for payload in [b"".as_slice(), &[0; 65], &[0xff; 300], &[0; 66], &[0; 200]] {
        assert_eq!(
            found(&verify(&forge::raw_record(cluster(), payload), &trust(5), &[])),
            "0 format",
            "{payload:?}"
        );
    }
}

#[test]
fn a_file_that_is_wrong_all_over_gives_a_bounded_report() {
    let mut all = Vec::new();
    for index in 0..1000 {
        let mut sealed = five_nodes().get(4).unwrap().clone();
        sealed.block.body.index = u64::MAX - index;
        all.push(sealed);
    }
    let report = verify(&fitted(&all), &trust(5), &[]);
    assert_eq!(report.problems.len(), crate::PROBLEMS_MAX);
    assert!(report.problems_omitted > 1000 && !report.valid);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_flipped_bit_of_an_export_is_noticed(at: prop::sample::Index, bit in 0_u8..8) {
        let mut file = sound();
        let at = at.index(file.len());
        file[at] ^= 1 << bit;
        prop_assert!(!verify(&file, &trust(5), &[]).valid);
    }

    #[test]
    fn any_truncation_of_an_export_is_noticed_as_such(at: prop::sample::Index) {
        let file = sound();
        let length = 1 + at.index(file.len() - 1);
        let report = verify(&file[..length], &trust(5), &[]);
        prop_assert_eq!(report.problems.len(), 1);
        prop_assert_eq!(report.problems[0].kind, ProblemKind::Truncated);
    }

    #[test]
    fn bytes_that_are_moved_within_an_export_are_noticed(
        from: prop::sample::Index, to: prop::sample::Index, length in 1_usize..900,
    ) {
        let mut file = sound();
        let (from, to) = (from.index(file.len()), to.index(file.len()));
        let piece = file[from..(from + length).min(file.len())].to_vec();
        let until = (to + piece.len()).min(file.len());
        file.splice(to..until, piece);
        prop_assert_eq!(verify(&file, &trust(5), &[]).valid, file == sound());
    }

    #[test]
    fn arbitrary_bytes_are_answered(bytes: Vec<u8>, behind_header: bool) {
        let empty = Chain::new(cluster()).export();
        let start = if behind_header { &empty[..84] } else { &[] };
        prop_assert!(!verify(&[start, &bytes].concat(), &trust(5), &[]).valid);
    }

    #[test]
    fn arbitrary_payloads_in_a_sound_frame_are_answered(payload: Vec<u8>) {
        prop_assert!(!verify(&forge::raw_record(cluster(), &payload), &trust(5), &[]).valid);
    }

    /// Whatever the chain lets in, the verifier accepts.
    #[test]
    fn a_chain_that_was_appended_to_and_witnessed_verifies(
        steps in prop::collection::vec((1_u8..=5, 1_u8..=5, 0_u64..3, 0_usize..7), 0..40),
    ) {
        const KINDS: [TransitionKind; 7] = [
            TransitionKind::Admit, TransitionKind::Promote, TransitionKind::Demote, TransitionKind::Reassign,
            TransitionKind::Quarantine, TransitionKind::Restore, TransitionKind::Evict,
        ];
        let mut chain = Chain::new(cluster());
        let mut term = 1;
        for (proposer, node, later, kind) in steps {
            term += later;
            let body = next_body(&chain, proposer, term, transition(node, KINDS[kind]));
            let index = chain.len();
            // A proposer that was evicted is refused; everything else fits.
            let Ok(digest) = chain.append(Block::seal(body, &key(proposer)), term) else { continue };
            // Node 6 never changes, so it is a witness at all times.
            chain.add_witness(index, &digest, Witness::sign(&digest, &key(6))).unwrap();
        }
        prop_assert_eq!(found(&verify(&chain.export(), &trust(6), &[chain.head()])), "");
    }
}
