//! A node changes its role at most once a minute; the replacement of a lost voter, the admission, and an operator's word
//! are exempt (`revoada_core::limits::ROLE_CHANGE_INTERVAL_MS`).

use std::collections::{BTreeMap, BTreeSet};

use revoada_attest::{NodeId, TransitionKind};
use revoada_core::limits;
use revoada_core::machine::ClusterState;

use super::Violation;

/// How much later than it was planned a change may be committed, in milliseconds.
const SLACK_MS: u64 = 5_000;

/// The whole chain, at the end.
pub fn check(state: &ClusterState) -> Result<(), Violation> {
    let blocks: Vec<_> = state.chain().iter().map(|sealed| &sealed.block.body).collect();
    let losses: Vec<u64> = blocks
        .iter()
        .filter(|body| body.transition.kind == TransitionKind::Demote && body.transition.reason.contains("lost"))
        .map(|body| body.time_ms)
        .collect();
    let mut changed: BTreeMap<NodeId, u64> = BTreeMap::new();
    // Who was promoted, and is not demoted again, because somebody was lost.
    let mut replacements: BTreeSet<&str> = BTreeSet::new();
    for body in &blocks {
        let transition = &body.transition;
        if !matches!(transition.kind, TransitionKind::Promote | TransitionKind::Demote) {
            continue;
        }
        let before = changed.insert(transition.node, body.time_ms);
        let reason = &transition.reason;
        let asked = reason.contains("operator") || reason.contains("asked");
        // Both halves of a replacement are committed together, unless the leader is lost in between. The next one ends what
        // was begun, also where the lost one is back by then and another has to go.
        let ends = reason.strip_suffix(" was promoted in its place");
        let replaces = reason.contains("lost")
            || losses.iter().any(|loss| loss.abs_diff(body.time_ms) < SLACK_MS)
            || ends.is_some_and(|promoted| replacements.contains(promoted));
        match transition.kind {
            TransitionKind::Promote if reason.contains("lost") => replacements.insert(&transition.name),
            _ => replacements.remove(transition.name.as_str()),
        };
        let since = before.map(|before| before.abs_diff(body.time_ms));
        if let Some(since) = since
            && !asked
            && !replaces
            && since + SLACK_MS < limits::ROLE_CHANGE_INTERVAL_MS
        {
            let what = format!(
                "{} had another role {since} ms after its last change, to {:?}: {reason}",
                transition.name, transition.to
            );
            return Err(Violation::of("damping", what));
        }
    }
    Ok(())
}
