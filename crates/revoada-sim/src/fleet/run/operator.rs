//! What a person has to do where a majority cannot come back: `revoada recover`.

use std::collections::BTreeSet;

use revoada_attest::{Role, Transition, TransitionKind};

use super::{Event, Fleet};

impl Fleet<'_> {
    /// Whether so many voters have lost their disks that no majority can come back by itself.
    fn is_beyond_repair(&self) -> bool {
        let voters = &self.observed.voters;
        let whole = self.numbers_of(voters).filter(|number| !self.machines[*number].emptied);
        whole.count() <= voters.len() / 2
    }

    pub(super) fn call_operator(&mut self) {
        if !self.operator_called && self.is_beyond_repair() {
            self.operator_called = true;
            self.after(self.timing.operator_ms, Event::Operator);
        }
    }

    /// `revoada recover`: makes one node the only voter that has its disk, a voter if there is any. Where nobody has,
    /// a new cluster begins with nothing.
    pub(super) fn recover(&mut self) {
        self.operator_called = false;
        if self.quorum().0.is_some() || !self.is_beyond_repair() {
            return;
        }
        let keeps = |number: &usize| !self.machines[*number].emptied;
        let voters = self.numbers_of(&self.observed.voters).filter(keeps);
        let learners = self.numbers_of(&self.observed.learners);
        let learners = learners.filter(|number| keeps(number) && self.machines[*number].has_data);
        let heirs: Vec<usize> = voters.chain(learners).collect();
        if heirs.is_empty() {
            self.tally.everything_lost += 1;
            self.begin();
            return;
        }
        let Some(heir) = heirs.into_iter().find(|number| self.machines[*number].runs) else {
            // Who has the state is away: nothing can be done before it is back.
            self.call_operator();
            return;
        };
        self.tally.recoveries += 1;
        if !self.options.replacement {
            for machine in &mut self.machines {
                machine.emptied = false;
            }
            return;
        }
        self.flight = None;
        self.observed.membership_change_in_flight = false;
        // As production's recovery does: a block for each voter that is given up.
        let heir_id = self.machines[heir].id;
        let given_up: Vec<Transition> = self
            .observed
            .roles
            .members()
            .filter(|record| record.role == Role::ControlPlane && record.id != heir_id)
            .map(|record| Transition {
                node: record.id,
                name: record.name.clone(),
                kind: TransitionKind::Demote,
                from: Some(record.role),
                to: Some(Role::Worker),
                reason: "recovered without a quorum".to_owned(),
            })
            .collect();
        if !given_up.iter().all(|transition| self.commit(transition)) {
            return;
        }
        self.observed.voters = BTreeSet::from([heir_id]);
        self.enrol(BTreeSet::new());
    }
}
