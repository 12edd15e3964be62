//! A plan in the making: facts first, then standing, then shape.
//!
//! Every transition and note is rehearsed on a copy of the roles as it is planned, so what follows it is planned from
//! the state it leads to, and no plan holds a transition that the role machine would refuse.

use std::collections::BTreeSet;

use revoada_attest::{NodeId, Role, Transition, TransitionKind};

use super::shape::{Shape, others};
use super::{Intent, Observed, Plan, Step, survives};
use crate::limits::QUARANTINE_ALIVE_MS;
use crate::roles::{Membership, Moving, NodeRecord, QuarantinedBy, RoleNote, Roles};

pub(super) struct Draft<'a> {
    pub(super) observed: &'a Observed,
    pub(super) intent: &'a Intent<'a>,
    pub(super) now_ms: u64,
    /// The roles as they will be once the steps so far are committed.
    pub(super) roles: Roles,
    steps: Vec<Step>,
    why: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(observed: &'a Observed, intent: &'a Intent<'a>, now_ms: u64) -> Self {
        Self {
            observed,
            intent,
            now_ms,
            roles: observed.roles.clone(),
            steps: Vec::new(),
            why: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Plan {
        if survives(&self.observed.voters, |voter| self.is_lost(voter)).is_none() {
            self.why.push("there is no quorum: nothing can be decided".to_owned());
            return self.into_plan();
        }
        self.admit_founders();
        if !self.steps.is_empty() {
            // Until all founders are admitted, the number of nodes that the topology is asked about would be wrong.
            return self.into_plan();
        }
        self.note_facts();
        self.judge_standing();
        self.confirm_moves();
        if self.observed.membership_change_in_flight {
            self.why.push("a change of the Raft membership is under way".to_owned());
            return self.into_plan();
        }
        if self.roles.members().next().is_some() {
            self.take_shape();
        }
        self.into_plan()
    }

    fn into_plan(self) -> Plan {
        Plan {
            parent: self.observed.chain_head,
            steps: self.steps,
            why: self.why,
        }
    }

    /// Gone by both detectors.
    pub(super) fn is_lost(&self, node: &NodeId) -> bool {
        let dead = self
            .observed
            .membership
            .get(node)
            .is_some_and(|seen| seen.membership == Membership::Dead);
        let reachable = self
            .observed
            .replication
            .get(node)
            .is_some_and(|replication| replication.reachable);
        *node != self.observed.leader && dead && !reachable
    }

    /// Lost for good as the voter that it is: its peers refuse it until it has voted no longer.
    pub(super) fn went_back(&self, node: &NodeId) -> bool {
        let refused = self
            .observed
            .membership
            .get(node)
            .is_some_and(|seen| seen.log_went_back);
        refused && self.is_lost(node) && self.observed.voters.contains(node)
    }

    /// Heard of, and its return, if it was lost, is at least planned to be committed.
    pub(super) fn is_alive(&self, node: &NodeId) -> bool {
        let committed = self
            .roles
            .get(node)
            .is_some_and(|record| record.lost_since_ms.is_none());
        committed && self.is_heard_of(node)
    }

    /// Neither alive nor dead: it has just started, or is late.
    pub(super) fn is_unheard(&self, node: &NodeId) -> bool {
        let seen = self.observed.membership.get(node);
        !self.is_alive(node) && seen.is_none_or(|seen| seen.membership != Membership::Dead)
    }

    fn is_heard_of(&self, node: &NodeId) -> bool {
        let seen = self.observed.membership.get(node);
        *node == self.observed.leader || seen.is_some_and(|seen| seen.membership == Membership::Alive)
    }

    /// Alive and caught up, so that it can be chosen to vote at once.
    pub(super) fn is_ready(&self, node: &NodeId) -> bool {
        self.is_alive(node) && self.has_caught_up(node)
    }

    /// Whether it can count as a voter. What was chosen already is not held up by one noisy detector.
    fn has_caught_up(&self, node: &NodeId) -> bool {
        let replication = self.observed.replication.get(node);
        let caught_up = replication.is_some_and(|replication| replication.reachable && replication.caught_up);
        *node == self.observed.leader || caught_up
    }

    fn commit(&mut self, record: &NodeRecord, kind: TransitionKind, to: Option<Role>, reason: String) {
        let transition = Transition {
            node: record.id,
            name: record.name.clone(),
            kind,
            from: Some(record.role),
            to,
            reason,
        };
        self.commit_transition(transition);
    }

    fn commit_transition(&mut self, transition: Transition) -> bool {
        match self.roles.apply(&transition, self.now_ms) {
            Ok(()) => self.steps.push(Step::Commit(transition)),
            Err(refused) => {
                self.why
                    .push(format!("{} of {}: {refused}", transition.kind, transition.name));
                return false;
            }
        }
        true
    }

    fn note(&mut self, note: RoleNote) {
        match self.roles.apply_note(&note) {
            Ok(()) => self.steps.push(Step::Note(note)),
            Err(refused) => self.why.push(refused.to_string()),
        }
    }

    /// First formation: the genesis names the first voters, and the topology what the others are. A founder that was
    /// never seen alive is admitted all the same, so that all count from the same number of nodes.
    fn admit_founders(&mut self) {
        let observed = self.observed;
        let missing = observed
            .founders
            .iter()
            .filter(|(node, _)| self.roles.get(node).is_none());
        let mut missing: Vec<_> = missing.collect();
        missing.sort_by_key(|(node, founder)| (!observed.voters.contains(node), founder.name.clone()));
        let nodes = self.roles.members().count() + missing.len();
        for (node, founder) in missing {
            let (to, reason) = match observed.voters.contains(node) {
                true => (Role::ControlPlane, "a first voter of the genesis"),
                false => (others(self.intent.topology, nodes), "a founder of the genesis"),
            };
            let admitted = self.commit_transition(Transition {
                node: *node,
                name: founder.name.clone(),
                kind: TransitionKind::Admit,
                from: None,
                to: Some(to),
                reason: reason.to_owned(),
            });
            if admitted && !founder.location.address.is_empty() {
                self.note(RoleNote::Located {
                    node: *node,
                    location: founder.location.clone(),
                });
            }
        }
    }

    /// Losses, returns and addresses: what is so, whatever is done about it.
    fn note_facts(&mut self) {
        let members: Vec<NodeRecord> = self.roles.members().cloned().collect();
        for record in members {
            let node = record.id;
            if self.is_lost(&node) && record.lost_since_ms.is_none() {
                let since_ms = self
                    .observed
                    .membership
                    .get(&node)
                    .map_or(self.now_ms, |seen| seen.since_ms);
                self.note(RoleNote::Lost {
                    node,
                    at_ms: since_ms.min(self.now_ms),
                });
            } else if self.is_heard_of(&node) && record.lost_since_ms.is_some() {
                let excused = self.observed.membership.get(&node).is_some_and(|seen| seen.excused);
                self.note(RoleNote::Returned {
                    node,
                    at_ms: self.now_ms,
                    excused,
                });
            }
            let said = self
                .observed
                .membership
                .get(&node)
                .and_then(|seen| seen.location.as_ref());
            if let Some(location) = said.filter(|location| self.is_heard_of(&node) && **location != record.location) {
                self.note(RoleNote::Located {
                    node,
                    location: location.clone(),
                });
            }
        }
    }

    /// Who is held as flapping, and who is released.
    fn judge_standing(&mut self) {
        let members: Vec<NodeRecord> = self.roles.members().cloned().collect();
        for record in members {
            match &record.quarantined {
                None if record.is_flapping() => {
                    let reason = format!("flapping: lost {} times within 10 minutes", record.losses_ms.len());
                    self.commit(&record, TransitionKind::Quarantine, Some(record.role), reason);
                }
                Some(quarantine) if quarantine.by == QuarantinedBy::Flapping => {
                    let alive = quarantine.alive_since_ms.filter(|_| self.is_alive(&record.id));
                    let alive_ms = alive.map_or(0, |since_ms| self.now_ms.saturating_sub(since_ms));
                    if quarantine.loss_ms.is_none() {
                        let reason = "an operator ended the loss that made it flapping".to_owned();
                        self.commit(&record, TransitionKind::Restore, Some(record.role), reason);
                    } else if alive_ms >= QUARANTINE_ALIVE_MS {
                        let reason = "alive for 10 minutes".to_owned();
                        self.commit(&record, TransitionKind::Restore, Some(record.role), reason);
                    }
                }
                None | Some(_) => {}
            }
        }
    }

    /// Confirms the role changes that the Raft membership has followed.
    fn confirm_moves(&mut self) {
        let members: Vec<NodeRecord> = self.roles.members().cloned().collect();
        for record in members {
            let votes = self.observed.voters.contains(&record.id);
            let followed = match record.moving {
                Some(Moving::Promoting) => votes,
                Some(Moving::Demoting) => !votes,
                None => false,
            };
            if followed {
                self.note(RoleNote::Confirm { node: record.id });
            }
            if record.role == Role::Bootstrap && votes && record.is_fit() && self.is_alive(&record.id) {
                let reason = "the first quorum has formed".to_owned();
                self.commit(&record, TransitionKind::Promote, Some(Role::ControlPlane), reason);
            }
        }
    }

    /// Roles first, then the one membership change that follows them.
    fn take_shape(&mut self) {
        let shape = Shape::choose(self);
        self.why.extend(shape.why.iter().cloned());
        if shape.voters.is_empty() {
            return;
        }
        if !shape.voters.contains(&self.observed.leader) {
            let heirs = shape
                .voters
                .intersection(&self.observed.voters)
                .filter(|node| !self.is_lost(node));
            let heirs: Vec<NodeId> = heirs.copied().collect();
            // One noisy detector does not keep a leader that is to go: who replicates and has all of it can lead.
            let ready = heirs.iter().filter(|node| self.has_caught_up(node));
            match ready.min_by_key(|node| (!self.is_alive(node), self.lag(node), self.name(node))) {
                Some(to) => return self.steps.push(Step::TransferLeader { to: *to }),
                None if !heirs.is_empty() => {
                    self.why
                        .push("the leader is to go, and no other voter has caught up".to_owned());
                    return;
                }
                // Nobody else votes: the leader commits the change that removes it, and steps down.
                None => {}
            }
        }
        for change in &shape.changes {
            if let Some(record) = self.roles.get(&change.node).cloned() {
                self.commit(&record, change.kind, Some(change.to), change.reason.clone());
            }
        }
        self.follow(&shape);
    }

    /// The membership that follows the roles, as far as the nodes that enter it are ready.
    fn follow(&mut self, shape: &Shape) {
        let current = &self.observed.voters;
        let voters = self.votable(shape);
        let entering = shape.voters.difference(&voters).filter(|node| !current.contains(node));
        let mut learners: BTreeSet<NodeId> = shape.standbys(self, &voters);
        learners.extend(entering.copied());
        learners.extend(shape.prepare.iter().filter(|node| !voters.contains(node)).copied());
        let waiting: Vec<NodeId> = learners
            .iter()
            .filter(|node| shape.voters.contains(node) || shape.prepare.contains(node))
            .filter(|node| !self.has_caught_up(node) && !self.is_lost(node))
            .copied()
            .collect();
        if voters != *current || learners != self.observed.learners {
            self.steps.push(Step::SetMembership { voters, learners });
        }
        self.steps
            .extend(waiting.into_iter().map(|node| Step::WaitCaughtUp { node }));
    }

    /// The voters of the shape that can vote now. A node that has not caught up does not enter, and somebody who votes
    /// today keeps its place for it: never fewer losses survived than today or in the end, and never an even number,
    /// unless what it is less by are some who leave and are lost.
    fn votable(&mut self, shape: &Shape) -> BTreeSet<NodeId> {
        let current = &self.observed.voters;
        let mut voters = shape.voters.clone();
        for node in &shape.voters {
            if current.contains(node) || self.has_caught_up(node) {
                continue;
            }
            voters.remove(node);
            let stand_ins = current
                .iter()
                .filter(|voter| !voters.contains(voter) && !shape.voters.contains(voter));
            let rank = |voter: &&NodeId| (self.is_lost(voter), self.went_back(voter), self.name(voter));
            if let Some(stand_in) = stand_ins.min_by_key(rank) {
                voters.insert(*stand_in);
            }
        }
        let lost = |voter: &NodeId| self.is_lost(voter);
        let floor = survives(current, lost).min(survives(&shape.voters, lost));
        let fewer = current.len().saturating_sub(voters.len());
        let rid_of_the_lost = fewer > 0 && current.difference(&voters).filter(|voter| lost(voter)).count() >= fewer;
        let grown_even = voters.len().is_multiple_of(2) && !current.len().is_multiple_of(2) && !rid_of_the_lost;
        if voters.is_empty() || grown_even || survives(&voters, lost) < floor {
            return current.clone();
        }
        voters
    }

    pub(super) fn lag(&self, node: &NodeId) -> u64 {
        self.observed
            .replication
            .get(node)
            .map_or(0, |replication| replication.lag)
    }

    pub(super) fn name(&self, node: &NodeId) -> &str {
        self.roles.get(node).map_or("", |record| record.name.as_str())
    }
}
