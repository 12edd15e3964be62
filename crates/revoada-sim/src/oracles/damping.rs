//! A node changes its role at most once a minute; a replacement, an operator's wish, and what follows from a loss or a
//! quarantine are exempt (the design, §5).

use std::collections::BTreeMap;

use revoada_attest::{NodeId, Role, TransitionKind};
use revoada_core::limits;
use revoada_core::machine::ClusterState;

use super::Violation;

/// The whole chain, at the end; `wished` says whether operators had their hand in.
pub fn check(state: &ClusterState, wished: bool) -> Result<(), Violation> {
    if wished {
        return Ok(());
    }
    let mut changed: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut demoted_last = None;
    for sealed in state.chain().iter() {
        let body = &sealed.block.body;
        let transition = &body.transition;
        let changes = matches!(transition.kind, TransitionKind::Promote | TransitionKind::Demote)
            && transition.from.is_some()
            && transition.from != Some(Role::Bootstrap);
        if !changes {
            continue;
        }
        let before = changed.insert(transition.node, body.time_ms);
        // Only a promotion that replaces nobody is held: a demotion may follow a loss, and a replacement is exempt.
        let replaces =
            demoted_last.is_some() || transition.reason.contains("replace") || transition.reason.contains("lost");
        if transition.kind == TransitionKind::Demote {
            demoted_last = Some(transition.node);
        }
        if let Some(before) = before
            && transition.kind == TransitionKind::Promote
            && !replaces
            && body.time_ms.abs_diff(before) < limits::ROLE_CHANGE_INTERVAL_MS
        {
            let what = format!(
                "{} was promoted {} ms after its last change: {}",
                transition.name,
                body.time_ms.abs_diff(before),
                transition.reason
            );
            return Err(Violation::of("damping", what));
        }
    }
    Ok(())
}
