//! The recorded way back after a majority is lost for good: what an operator forced is a block of the chain.

use std::time::Duration;

use revoada_attest::{Role, Transition, TransitionKind};
use revoada_core::limits;
use revoada_mesh::runtime::Runtime;

use crate::driver::Driver;

/// Waits until this node leads alone, and demotes every control-plane node that was lost, with the operator's reason.
pub(crate) async fn record<R: Runtime>(driver: Driver<R>, reason: String) {
    loop {
        R::sleep(Duration::from_millis(limits::FORMATION_PAUSE_MS)).await;
        if !driver.consensus.view().leads {
            continue;
        }
        let (lost, recorded) = driver.consensus.read(|state| {
            let roles = state.roles();
            let lost: Vec<_> = roles
                .members()
                .filter(|record| record.role == Role::ControlPlane && record.id != driver.me)
                .cloned()
                .collect();
            (lost, roles.get(&driver.me).is_some())
        });
        if !recorded {
            continue;
        }
        let me = driver.consensus.read(|state| {
            state
                .roles()
                .get(&driver.me)
                .map_or_else(|| driver.me.short(), |record| record.name.clone())
        });
        let mut done = true;
        for record in lost {
            let transition = Transition {
                node: record.id,
                name: record.name.clone(),
                kind: TransitionKind::Demote,
                from: Some(record.role),
                to: Some(Role::Worker),
                reason: format!("recovered without a quorum, {me} was made the only voter: {reason}"),
            };
            done &= driver.commit_alone(transition).await.is_ok();
        }
        if done {
            return;
        }
    }
}
