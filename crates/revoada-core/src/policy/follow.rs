//! The plan where a roster says who votes: what it takes until the roles and Raft's membership are as the roster has it.
//!
//! Nothing here chooses. A loss changes nothing, whoever flaps stays, and a member that nobody has started yet is waited
//! for. One thing is decided all the same: a member votes only once it has caught up, so a call that adds one never
//! costs the quorum. etcd counts it from the call on, and a typing error in its URL can stop a group of two.

use std::collections::BTreeSet;

use revoada_attest::{NodeId, Role, Transition, TransitionKind};

use super::{Observed, Plan, Step};
use crate::roles::{Moving, NodeRecord, RoleNote, Roles};
use crate::roster::Roster;

/// What is left to do. The same rehearsal of every transition as in the plan of a topology.
pub(super) fn follow(observed: &Observed, roster: &Roster, now_ms: u64) -> Plan {
    let mut follow = Follow {
        observed,
        roster,
        now_ms,
        roles: observed.roles.clone(),
        plan: Plan {
            parent: observed.chain_head,
            ..Plan::default()
        },
    };
    if roster.is_founded() {
        follow.admit();
        follow.confirm();
        if observed.membership_change_in_flight {
            follow.because("a change of the Raft membership is under way");
        } else {
            follow.membership();
        }
    }
    follow.plan
}

struct Follow<'a> {
    observed: &'a Observed,
    roster: &'a Roster,
    now_ms: u64,
    roles: Roles,
    plan: Plan,
}

impl Follow<'_> {
    fn because(&mut self, why: &str) {
        self.plan.why.push(why.to_owned());
    }

    fn commit(&mut self, transition: Transition) {
        match self.roles.apply(&transition, self.now_ms) {
            Ok(()) => self.plan.steps.push(Step::Commit(transition)),
            Err(refused) => {
                let why = format!("{} of {}: {refused}", transition.kind, transition.name);
                self.plan.why.push(why);
            }
        }
    }

    fn change(&mut self, record: &NodeRecord, kind: TransitionKind, to: Option<Role>, reason: &str) {
        self.commit(Transition {
            node: record.id,
            name: record.name.clone(),
            kind,
            from: Some(record.role),
            to,
            reason: reason.to_owned(),
        });
    }

    /// Takes in every member that has introduced itself.
    fn admit(&mut self) {
        for member in self.roster.members() {
            let Some(node) = member.node.filter(|node| self.roles.get(node).is_none()) else {
                continue;
            };
            let (role, reason) = match self.observed.voters.contains(&node) {
                true => (Role::ControlPlane, "a founder of the group"),
                false => (Role::Observer, "it was added as a member"),
            };
            // Names of members need not differ, and those of nodes have to.
            let name = match self.observed.founders.get(&node) {
                Some(founder) => founder.name.clone(),
                None => format!("{:016x}", member.id),
            };
            self.commit(Transition {
                node,
                name,
                kind: TransitionKind::Admit,
                from: None,
                to: Some(role),
                reason: reason.to_owned(),
            });
        }
    }

    /// Notes that the membership has followed.
    fn confirm(&mut self) {
        let moving = self
            .roles
            .members()
            .filter_map(|record| Some((record.id, record.moving?)));
        let followed = |(node, moving): &(NodeId, Moving)| match moving {
            Moving::Promoting => self.observed.voters.contains(node),
            Moving::Demoting => !self.observed.voters.contains(node),
        };
        let followed: Vec<NodeId> = moving.filter(followed).map(|(node, _)| node).collect();
        for node in followed {
            let note = RoleNote::Confirm { node };
            if self.roles.apply_note(&note).is_ok() {
                self.plan.steps.push(Step::Note(note));
            }
        }
    }

    fn has_caught_up(&self, node: &NodeId) -> bool {
        let replication = self.observed.replication.get(node);
        *node == self.observed.leader || replication.is_some_and(|seen| seen.reachable && seen.caught_up)
    }

    /// Who votes and who replicates, and the roles that go with it.
    fn membership(&mut self) {
        let observed = self.observed;
        let known = |learner: bool| {
            let members = self.roster.members().filter(move |member| member.learner == learner);
            members.filter_map(|member| member.node)
        };
        let asked: BTreeSet<NodeId> = known(false).collect();
        let ready = |node: &NodeId| observed.learners.contains(node) && self.has_caught_up(node);
        let votes = |node: &&NodeId| observed.voters.contains(*node) || ready(node);
        let voters: BTreeSet<NodeId> = asked.iter().filter(votes).copied().collect();
        let waiting: Vec<NodeId> = asked.difference(&voters).copied().collect();
        let learners: BTreeSet<NodeId> = known(true).chain(waiting.iter().copied()).collect();
        if voters.is_empty() {
            return self.because("none of the members that are to vote has caught up");
        }
        if !voters.contains(&observed.leader) {
            let heir = voters
                .iter()
                .find(|node| observed.voters.contains(node) && self.has_caught_up(node));
            return match heir.copied() {
                Some(to) => self.plan.steps.push(Step::TransferLeader { to }),
                None => self.because("the leader is to go, and no other voter has caught up"),
            };
        }
        let records: Vec<NodeRecord> = self.roles.members().cloned().collect();
        for record in &records {
            if voters.contains(&record.id) && !record.is_voter() {
                let (kind, to) = (TransitionKind::Promote, Role::ControlPlane);
                self.change(record, kind, Some(to), "it was asked for as a voter, and has caught up");
            } else if record.is_voter() && !voters.contains(&record.id) {
                let (kind, to) = (TransitionKind::Demote, Role::Observer);
                self.change(record, kind, Some(to), "it was removed as a member");
            }
        }
        for record in &records {
            let replicates = observed.voters.contains(&record.id) || observed.learners.contains(&record.id);
            if self.roster.of_node(&record.id).is_none() && !replicates && !record.is_voter() {
                self.change(record, TransitionKind::Evict, None, "it was removed as a member");
            }
        }
        if voters != observed.voters || learners != observed.learners {
            self.plan.steps.push(Step::SetMembership { voters, learners });
        }
        let waiting = waiting.into_iter().filter(|node| !self.has_caught_up(node));
        let waiting: Vec<Step> = waiting.map(|node| Step::WaitCaughtUp { node }).collect();
        self.plan.steps.extend(waiting);
    }
}
