//! The chain is one, the same on every node, and verifies without any of them (ARCHITECTURE.md, invariant 4).

use std::collections::BTreeSet;

use revoada_attest::{Digest, TrustedKeys};
use revoada_core::genesis::Genesis;
use revoada_core::machine::ClusterState;

use super::Violation;
use crate::ledger::Truth;
use crate::wire::Place;

/// A node has this block at this number.
pub fn block(truth: &mut Truth, place: Place, number: u64, digest: Digest) -> Result<(), Violation> {
    let known = *truth.blocks.entry(number).or_insert(digest);
    if known == digest {
        return Ok(());
    }
    let what = format!("node-{place} has another block {number} than somebody else");
    Err(Violation::of("one-chain", what))
}

/// What a node exports at the end verifies, against the keys of the genesis and the head that all know.
pub fn verifies(genesis: &Genesis, place: Place, state: &ClusterState) -> Result<(), Violation> {
    let mut trust = TrustedKeys::of_cluster(genesis.digest());
    for (id, founder) in genesis.founders() {
        trust.insert(*id, &founder.name);
    }
    let report = revoada_attest::verify(&state.chain().export(), &trust, &[state.chain().head()]);
    let problems: BTreeSet<String> = report.problems.iter().map(ToString::to_string).collect();
    if problems.is_empty() {
        return Ok(());
    }
    let what = format!("the chain of node-{place} does not verify: {problems:?}");
    Err(Violation::of("one-chain", what))
}
