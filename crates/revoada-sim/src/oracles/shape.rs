//! The cluster has its declared shape again within a bound once faults have stopped: as many voters as its
//! topology declares, who have caught up, and no role change under way (`revoada_core::policy`).

use std::collections::BTreeSet;

use revoada_attest::NodeId;
use revoada_core::policy::voters_declared;

use super::Violation;
use crate::cluster::Cluster;

/// What is not as it should be, if anything; `lost` are machines that cannot come back.
pub fn lacks(cluster: &Cluster, lost: &BTreeSet<NodeId>) -> Option<String> {
    let Some(leader) = cluster.leader() else {
        return Some("nobody leads".to_owned());
    };
    let running = cluster.running(leader)?;
    let view = running.consensus().view();
    let members = running.consensus().read(|state| state.roles().members().count());
    let topology = cluster.genesis.declaration().topology();
    let declared = voters_declared(&*topology, members.max(1));
    // Machines that are gone for good leave fewer that can vote.
    let possible = cluster.size() - lost.len();
    let wanted = if possible >= declared {
        declared
    } else {
        declared.saturating_sub(2).max(1)
    };
    let too_many = possible >= declared && view.voters.len() > wanted;
    if view.voters.len() < wanted || too_many || view.changing {
        return Some(format!(
            "{} vote, {wanted} should; changing: {}",
            view.voters.len(),
            view.changing
        ));
    }
    // One that nobody can stand in for goes on being counted, or the next loss would weigh more.
    if let Some(dead) = view.voters.iter().find(|voter| lost.contains(voter))
        && possible >= declared
    {
        return Some(format!("{} votes, and is gone for good", dead.short()));
    }
    for voter in &view.voters {
        let matched = view.matched.get(voter).copied().unwrap_or_default();
        if *voter != cluster.key_at(leader) && matched + 5 < view.last_index {
            return Some(format!("{} lacks {} entries", voter.short(), view.last_index - matched));
        }
    }
    let waiting = running
        .consensus()
        .read(|state| state.roles().members().filter(|record| record.moving.is_some()).count());
    (waiting > 0).then(|| format!("{waiting} role changes are under way"))
}

/// At the end of the time that it may take.
pub fn check(cluster: &Cluster, lost: &BTreeSet<NodeId>) -> Result<(), Violation> {
    match lacks(cluster, lost) {
        None => Ok(()),
        Some(what) => Err(Violation::of("shape", what)),
    }
}
