//! Co-signing: a node vouches for the blocks that it has applied and did not propose.
//!
//! Voters do, and where there are fewer than two of them every member does, so that a chain with a single voter can be
//! verified by somebody else's word as well. Oldest first, because a block that is passed over stays without a witness.

use std::time::Duration;

use revoada_attest::planted::{Bug, is_planted};
use revoada_attest::{Digest, NodeKey, Witness};
use revoada_core::limits;
use revoada_core::machine::Command;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::runtime::{Runtime, newest, wait_until};

/// Runs until consensus stops.
pub(crate) async fn run<R: Runtime>(consensus: Consensus<R>, key: NodeKey) {
    let me = key.id();
    let mut applied = consensus.applied();
    loop {
        let blocks = newest::<R, _>(&mut applied).blocks;
        let owed = owed(&consensus, me);
        let mut failed = false;
        for (index, digest) in owed {
            let signed = if is_planted(Bug::WitnessesAnotherBlock) {
                Digest::default()
            } else {
                digest
            };
            let witness = Witness::sign(&signed, &key);
            let proposed = consensus.propose(Command::Witness { index, digest, witness }).await;
            // Refused: the chain has it from somebody else, or the block is another. Either way it is looked at again.
            failed |= proposed.is_err();
        }
        let retry = async {
            if failed {
                R::sleep(Duration::from_millis(limits::WITNESS_RETRY_MS)).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            changed = wait_until::<R, _>(&mut applied, |applied| applied.blocks != blocks) => {
                if changed.is_none() {
                    return;
                }
            }
            () = retry => {}
        }
    }
}

fn owed<R: Runtime>(consensus: &Consensus<R>, me: revoada_attest::NodeId) -> Vec<(u64, Digest)> {
    let voters = consensus.view().voters;
    if voters.len() > 1 && !voters.contains(&me) {
        return Vec::new();
    }
    consensus.read(|state| {
        let chain = state.chain();
        let newest = chain.len().saturating_sub(limits::WITNESSED_BLOCKS_MAX);
        (newest..chain.len())
            .filter_map(|index| chain.get(index).map(|sealed| (index, sealed)))
            .filter(|(_, sealed)| {
                sealed.block.body.proposer != me && sealed.witnesses.iter().all(|witness| witness.node != me)
            })
            .map(|(index, sealed)| (index, sealed.block.digest()))
            .collect()
    })
}
