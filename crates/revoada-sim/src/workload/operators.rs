//! Operators: what they wish for, at leisure or in haste, and that they take it back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::executor::{SimInstant, SimRuntime};
use openraft_rt::{AsyncRuntime, Instant as _};
use revoada_core::roles::NodeState;
use revoada_mesh::runtime::Runtime;
use revoada_store::admin::Wish;

use super::{Clients, PATIENCE};
use crate::cluster::name_of;
use crate::entropy::Chance;
use crate::runtime::Sim;
use crate::wire::Place;

/// What operators wish for; what they take back is wished for twice as often, or nobody would be left to be chosen.
const WISHES: [Wish; 6] = [
    Wish::Promote,
    Wish::Demote,
    Wish::Drain,
    Wish::Quarantine,
    Wish::Restore,
    Wish::Restore,
];

impl Clients {
    /// Wishes for roles now and then.
    pub(super) async fn operate(self, mut chance: Chance) {
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(1_000, 8_000)).await;
            if self.hands_off.load(Ordering::Relaxed) {
                return;
            }
            self.wish(&mut chance).await;
        }
    }

    /// Wishes for one role after the other, of several operators who do not know of each other, for so long.
    pub async fn churn(&self, mut chance: Chance, lasts: Duration) {
        let until = SimInstant::now() + lasts;
        while SimInstant::now() < until {
            let (clients, mut theirs) = (self.clone(), chance.fork());
            Sim::detach(async move { clients.wish(&mut theirs).await });
            SimRuntime::sleep(chance.ms(20, 700)).await;
        }
    }

    /// Asks any node for any role of any node.
    async fn wish(&self, chance: &mut Chance) {
        let Some((_, running)) = self.somebody(chance) else {
            return;
        };
        let node = name_of(chance.below(self.cluster.size() as u64) as Place);
        let wish = *chance.pick(&WISHES);
        self.cluster
            .trace
            .say(format_args!("an operator wants {} of {node}", wish.name()));
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = SimRuntime::timeout(PATIENCE, running.admin.role_wish(&node, wish, false)).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let refused = if matches!(answer, Ok(Ok(_))) { "" } else { "-refused" };
        self.history.count(&format!("{}{refused}", wish.name()));
    }

    /// Takes back what operators and flapping have done, so that every node may be chosen again.
    pub async fn restore_all(&self) {
        let Some(running) = self.cluster.leader().and_then(|leader| self.cluster.running(leader)) else {
            return;
        };
        let held: Vec<String> = running.consensus().read(|state| {
            let held = state.roles().members().filter(|record| {
                matches!(record.state(), NodeState::Quarantined | NodeState::Draining)
                    || record.drained
                    || record.quarantined.is_some()
            });
            held.map(|record| record.name.clone()).collect()
        });
        for node in held {
            drop(SimRuntime::timeout(PATIENCE, running.admin.role_wish(&node, Wish::Restore, false)).await);
        }
    }
}
