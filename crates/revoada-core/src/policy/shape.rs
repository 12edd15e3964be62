//! Who should vote: the choice that everything else follows from.

use std::collections::BTreeSet;

use revoada_attest::{NodeId, Role, TransitionKind};

use super::Spread;
use super::draft::Draft;
use crate::roles::{Moving, NodeRecord};
use crate::topology::TopologyStrategy;

/// How many voters a cluster of `nodes` nodes has when it is whole: the topology's answer, brought to a number that
/// can be had. Never more than the nodes, at least one, and never even, for one voter less survives as much;
/// but where members come by name, as many as there are.
pub fn voters_declared(topology: &dyn TopologyStrategy, nodes: usize) -> usize {
    let wanted = topology.voters(nodes).clamp(1, nodes.max(1));
    if wanted.is_multiple_of(2) && !topology.has_roster() {
        wanted - 1
    } else {
        wanted
    }
}

/// The role of those that do not vote.
pub(super) fn others(topology: &dyn TopologyStrategy, nodes: usize) -> Role {
    match topology.others(nodes) {
        Role::Observer => Role::Observer,
        Role::Worker | Role::ControlPlane | Role::Bootstrap => Role::Worker,
    }
}

/// One role change that the shape wants.
pub(super) struct Change {
    pub(super) node: NodeId,
    pub(super) kind: TransitionKind,
    pub(super) to: Role,
    pub(super) reason: String,
}

/// The shape that can be had from what there is.
pub(super) struct Shape {
    /// Who should vote.
    pub(super) voters: BTreeSet<NodeId>,
    /// The role changes that lead there, in order.
    pub(super) changes: Vec<Change>,
    /// Who is to replicate as a learner because it is about to be needed as a voter.
    pub(super) prepare: BTreeSet<NodeId>,
    /// What stands in the way.
    pub(super) why: Vec<String>,
}

/// The choice in the making. Records are sorted into what becomes of them.
struct Choice<'a> {
    draft: &'a Draft<'a>,
    /// How many voters there should be.
    declared: usize,
    /// Voters that stay.
    stay: Vec<&'a NodeRecord>,
    /// Voters that are to go and may, as soon as somebody takes their place; the lost ones last, and of them last those
    /// that cannot come back as they were.
    leave: Vec<&'a NodeRecord>,
    /// Of those, the ones for which nobody has to be there.
    released: BTreeSet<NodeId>,
    /// Voters that go because there are more than declared, or because another was asked for in their place.
    dropped: Vec<(&'a NodeRecord, String)>,
    /// Who enters.
    fill: Vec<&'a NodeRecord>,
    prepare: BTreeSet<NodeId>,
    /// Whether the one exchange is for a better spread alone.
    spreads: bool,
    why: Vec<String>,
}

impl Shape {
    /// Chooses from the rehearsed roles. The order of the decisions is the order of the calls.
    pub(super) fn choose(draft: &Draft<'_>) -> Self {
        let mut choice = Choice::sort(draft);
        choice.fill_places();
        choice.grant_wishes();
        choice.drop_surplus();
        choice.spread_again();
        choice.settle()
    }

    /// The workers that replicate as learners, given who votes, and every observer. A lost one keeps its place until
    /// an alive one can take it, but a voter whose log went back leaves the membership first: what the leader knows of
    /// its log is not so any more.
    pub(super) fn standbys(&self, draft: &Draft<'_>, voters: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let silent = || {
            draft
                .roles
                .members()
                .filter(|record| !record.is_voter() && !voters.contains(&record.id) && !draft.went_back(&record.id))
        };
        let observers = silent()
            .filter(|record| record.role == Role::Observer)
            .map(|record| record.id);
        let mut chosen: Vec<&NodeRecord> = Vec::new();
        let mut workers: Vec<&NodeRecord> = silent()
            .filter(|record| record.role != Role::Observer && record.is_fit())
            .collect();
        while chosen.len() < draft.intent.standbys {
            let rank = |record: &NodeRecord| {
                let serves = draft.observed.learners.contains(&record.id);
                match (draft.is_lost(&record.id), serves, draft.is_alive(&record.id)) {
                    (false, true, _) => Some(0),
                    (false, false, true) => Some(1),
                    (true, true, _) => Some(2),
                    _ => None,
                }
            };
            let ranked = workers
                .iter()
                .enumerate()
                .filter_map(|(index, record)| Some((rank(record)?, index, *record)));
            let best = ranked.min_by_key(|(rank, _, record)| (*rank, crowd(draft, record, &chosen), &record.name));
            let Some((_, index, best)) = best else {
                break;
            };
            chosen.push(best);
            workers.remove(index);
        }
        observers.chain(chosen.iter().map(|record| record.id)).collect()
    }
}

/// How many of `among` stand where `record` stands: in its zone, and in its rack.
fn crowd(draft: &Draft<'_>, record: &NodeRecord, among: &[&NodeRecord]) -> (usize, usize) {
    let here = &record.location;
    let zone = among.iter().filter(|other| other.location.zone == here.zone).count();
    let rack = |other: &&&NodeRecord| other.location.zone == here.zone && other.location.rack == here.rack;
    match draft.intent.spread {
        Spread::None => (0, 0),
        Spread::Zone => (zone, 0),
        Spread::Rack => (zone, among.iter().filter(rack).count()),
    }
}

/// Chosen, spared, leading, fit, how crowded it stands, and its name backwards: the least goes first.
type DropKey<'a> = (bool, bool, bool, bool, (isize, isize), std::cmp::Reverse<&'a str>);

/// Whether its promotion is committed and the membership has not followed.
fn is_half_done(draft: &Draft<'_>, record: &NodeRecord) -> bool {
    record.moving == Some(Moving::Promoting) && !draft.observed.voters.contains(&record.id)
}

fn wants_out(record: &NodeRecord) -> bool {
    matches!(record.wish, Some(Role::Worker | Role::Observer))
}

fn wants_in(record: &NodeRecord) -> bool {
    record.wish == Some(Role::ControlPlane)
}

impl<'a> Choice<'a> {
    fn sort(draft: &'a Draft<'a>) -> Self {
        let declared = voters_declared(draft.intent.topology, draft.roles.members().count());
        let may_leave = |record: &NodeRecord| {
            let lost = draft.is_lost(&record.id);
            let unwanted = lost || !record.is_fit() || wants_out(record);
            // The replacement of a lost node is exempt from damping, in both directions.
            unwanted && (lost || !record.is_damped(draft.now_ms))
        };
        let (mut leave, stay): (Vec<_>, Vec<_>) = draft
            .roles
            .members()
            .filter(|record| record.is_voter())
            .partition(|record| may_leave(record));
        leave.sort_by_key(|record| {
            let standing = (record.quarantined.is_some(), record.drained);
            (
                draft.is_lost(&record.id),
                draft.went_back(&record.id),
                !draft.observed.voters.contains(&record.id),
                record.id != draft.observed.leader,
                standing,
                &record.name,
            )
        });
        let (dropped, fill, why) = (Vec::new(), Vec::new(), Vec::new());
        let (released, prepare) = (BTreeSet::new(), BTreeSet::new());
        Self {
            draft,
            declared,
            stay,
            leave,
            released,
            dropped,
            fill,
            prepare,
            spreads: false,
            why,
        }
    }

    /// Those whose promotion is committed and whom the membership has not followed.
    fn half_done(&self) -> impl Iterator<Item = &'a NodeRecord> {
        self.stay
            .iter()
            .copied()
            .filter(|record| is_half_done(self.draft, record))
    }

    /// How many exchanges have only their first half committed: promotions that the membership has not followed, less
    /// the demotions by exchange that it has not followed.
    fn owed(&self, is_exchange: impl Fn(&NodeRecord) -> bool) -> usize {
        let answers = |record: &&NodeRecord| {
            record.moving == Some(Moving::Demoting)
                && self.draft.observed.voters.contains(&record.id)
                && is_exchange(record)
        };
        let answered = self.draft.roles.members().filter(answers).count();
        self.half_done().count().saturating_sub(answered)
    }

    /// Those that could take a place, whether they are ready or not, without those chosen already.
    fn candidates(&self) -> Vec<&'a NodeRecord> {
        let draft = self.draft;
        let silent = draft
            .roles
            .members()
            .filter(|record| !record.is_voter() && record.is_fit());
        let free = silent.filter(|record| draft.is_alive(&record.id) && !self.prepare.contains(&record.id));
        free.filter(|record| self.fill.iter().all(|filled| filled.id != record.id))
            .collect()
    }

    /// Fills the places that nobody keeps: as many as were lost by anyone, the others only by those whose role has
    /// not changed just now.
    fn fill_places(&mut self) {
        let draft = self.draft;
        let places = self.declared.saturating_sub(self.stay.len());
        let votes = |record: &&NodeRecord| record.is_voter() || draft.observed.voters.contains(&record.id);
        let lost = draft
            .roles
            .members()
            .filter(votes)
            .filter(|record| draft.is_lost(&record.id))
            .count();
        let exempt = lost.saturating_sub(self.half_done().count());
        for place in 0..places {
            let mut open = self.candidates();
            open.retain(|record| place < exempt || !record.is_damped(draft.now_ms));
            let among: Vec<&NodeRecord> = self.stay.iter().chain(&self.fill).copied().collect();
            let best = open.into_iter().min_by_key(|record| {
                let wish = (!wants_in(record), wants_out(record));
                let damped = record.is_damped(draft.now_ms);
                let ready = draft.is_ready(&record.id);
                (
                    !ready,
                    wish,
                    crowd(draft, record, &among),
                    damped,
                    draft.lag(&record.id),
                    &record.name,
                )
            });
            match best {
                Some(record) if draft.is_ready(&record.id) => self.fill.push(record),
                Some(record) => drop(self.prepare.insert(record.id)),
                None => break,
            }
        }
        let missing = places > self.fill.len() + self.prepare.len();
        let mut early = if missing { self.candidates() } else { Vec::new() };
        early.extend(self.stay.iter().filter(|record| !record.is_fit() || wants_out(record)));
        self.why.extend(early.iter().map(|record| waits(record)));
    }

    /// An operator's promotion in a full topology is an exchange: the one that goes is not the leader, if there is
    /// any other, and the last in order.
    fn grant_wishes(&mut self) {
        let draft = self.draft;
        let mut askers = self.candidates();
        askers.retain(|record| wants_in(record));
        askers.sort_by_key(|record| &record.name);
        for asker in askers {
            let victim = self
                .stay
                .iter()
                .enumerate()
                .filter(|(_, record)| !record.is_damped(draft.now_ms));
            // As if the asker voted already, which is what the choice is made from once its half is committed.
            let among: Vec<&NodeRecord> = self.stay.iter().chain(&self.fill).chain([&asker]).copied().collect();
            let victim = victim
                .min_by_key(|(_, record)| self.drop_key(record, &among, false))
                .map(|(index, _)| index);
            let full = self.stay.len() + self.fill.len() == self.declared;
            match victim {
                Some(index) if full && draft.is_ready(&asker.id) && !asker.is_damped(draft.now_ms) => {
                    let victim = self.stay.remove(index);
                    self.dropped
                        .push((victim, format!("an operator asked for {} in its place", asker.name)));
                    self.fill.push(asker);
                }
                _ => {
                    if asker.is_damped(draft.now_ms) || victim.is_none() {
                        self.why.push(waits(asker));
                    }
                    self.prepare.insert(asker.id);
                }
            }
        }
    }

    /// Who goes first when somebody has to. Last of all a node that an exchange has just chosen, for a plan never
    /// turns round; and the leader only if there is no other. With `spares` the word of an operator counts more than that.
    fn drop_key(&self, record: &'a NodeRecord, among: &[&NodeRecord], spares: bool) -> DropKey<'a> {
        let (zone, rack) = crowd(self.draft, record, among);
        let crowded = (-zone.cast_signed(), -rack.cast_signed());
        let chosen = record.moving == Some(Moving::Promoting) || wants_in(record);
        let fit = record.is_fit() && !wants_out(record);
        (
            chosen,
            spares && record.asked,
            record.id == self.draft.observed.leader,
            fit,
            crowded,
            std::cmp::Reverse(record.name.as_str()),
        )
    }

    /// Drops what is more than declared. What an exchange began is finished whatever damping holds, but as it was
    /// begun: who was held when its first half was committed is spared as long as anybody else can go. A choice made
    /// from this moment alone would take another victim than the one that the exchange was granted for.
    fn drop_surplus(&mut self) {
        let draft = self.draft;
        let half_done = self.half_done().max_by_key(|record| record.changed_at_ms);
        let begun_ms = half_done
            .and_then(|record| record.changed_at_ms)
            .unwrap_or(draft.now_ms);
        // An exchange that no operator asked for takes nobody whom one did.
        let spares = half_done.is_some_and(|record| !record.asked);
        let held = |record: &NodeRecord| record.is_damped(begun_ms) || record.is_damped(draft.now_ms);
        let nodes = draft.roles.members().count();
        while self.stay.len() > self.declared {
            let open = self
                .stay
                .iter()
                .enumerate()
                .filter(|(_, record)| half_done.is_some() || !held(record));
            let first = open.min_by_key(|(_, record)| (held(record), self.drop_key(record, &self.stay, spares)));
            let Some((index, _)) = first else {
                self.why
                    .push("voters that are too many wait: a node changes its role at most once a minute".into());
                break;
            };
            let reason = match half_done {
                Some(chosen) => format!("{} was promoted in its place", chosen.name),
                None => wanted_by(draft, self.declared, nodes),
            };
            let record = self.stay.remove(index);
            self.dropped.push((record, reason));
        }
    }

    /// Exchanges one voter for a worker that stands where fewer of them are: voters are spread when they are chosen, and a
    /// zone that was lost is empty of them when it is back. Only in peace, where all that were declared vote, are there and
    /// have caught up; one at a time, and the next no sooner than a minute later. Nobody is moved whose role an operator
    /// asked for. The exchange is one joint change like any other, so at no time are fewer losses survived.
    ///
    /// Rejected: to choose all voters anew. Most would move for nothing.
    fn spread_again(&mut self) {
        let draft = self.draft;
        let in_peace = self.stay.len() == self.declared
            && self.fill.is_empty()
            && self.dropped.is_empty()
            && self.leave.is_empty()
            && self.prepare.is_empty()
            && draft.roles.members().all(|record| record.moving.is_none())
            && self.stay.iter().all(|record| {
                draft.is_ready(&record.id)
                    && draft.observed.voters.contains(&record.id)
                    && !record.is_damped(draft.now_ms)
            });
        if draft.intent.spread == Spread::None || !in_peace {
            return;
        }
        // Each voter counts those that stand where it does, itself included: less is better.
        let crowding = |voters: &[&NodeRecord]| {
            let crowds = voters.iter().map(|record| crowd(draft, record, voters));
            crowds.fold((0, 0), |(zones, racks), (zone, rack)| (zones + zone, racks + rack))
        };
        let now = crowding(&self.stay);
        let movable = |record: &&NodeRecord| !record.asked && record.wish.is_none();
        let candidates = self.candidates();
        let open = || {
            candidates
                .iter()
                .filter(|record| movable(record))
                .filter(|record| !record.is_damped(draft.now_ms))
        };
        let judged = open().filter_map(|record| {
            // Who would go if the first half were committed, which is what a plan behind that is made from.
            let among: Vec<&NodeRecord> = self.stay.iter().chain([record]).copied().collect();
            let goers = self.stay.iter().enumerate();
            let (index, victim) = goers.min_by_key(|(_, goer)| self.drop_key(goer, &among, true))?;
            let mut voters = self.stay.clone();
            voters[index] = record;
            let rank = (
                crowding(&voters),
                !draft.is_ready(&record.id),
                draft.lag(&record.id),
                &record.name,
            );
            movable(victim).then_some((rank, index, *record))
        });
        let Some((rank, index, record)) = judged.min_by(|a, b| a.0.cmp(&b.0)) else {
            return;
        };
        if rank.0 >= now {
            return;
        }
        if !draft.is_ready(&record.id) {
            self.prepare.insert(record.id);
            return;
        }
        self.spreads = true;
        let victim = self.stay.remove(index);
        let reason = format!("{} stands where fewer voters are", record.name);
        self.dropped.push((victim, reason));
        self.fill.push(record);
    }

    /// Brings the number to an odd one that can be had, and says which changes lead there.
    fn settle(mut self) -> Shape {
        let draft = self.draft;
        let chosen = |choice: &Self| choice.stay.len() + choice.fill.len();
        let places = self.declared.saturating_sub(chosen(&self)).min(self.leave.len());
        let mut kept: Vec<&NodeRecord> = self.leave.drain(..places).collect();
        self.release(&mut kept);
        if (chosen(&self) + kept.len()).is_multiple_of(2) {
            // By one that enters, or whose promotion is committed already: half of an exchange asks for the other. Where
            // both halves are committed, who entered has the place of somebody else. Who forgot may have gone alone.
            let enters = !self.fill.is_empty() || self.owed(|record| !draft.went_back(&record.id)) > 0;
            let replaced = kept.pop_if(|_| enters);
            match (replaced, self.fill.pop_if(|_| replaced.is_none())) {
                (Some(replaced), _) => self.leave.insert(0, replaced),
                // It is ready, and stays so, for the day when there are two.
                (None, Some(early)) => drop(self.prepare.insert(early.id)),
                (None, None) => self.stay.extend(self.dropped.pop().map(|(record, _)| record)),
            }
        }
        let hope = if self.prepare.is_empty() { "" } else { " yet" };
        self.why.extend(kept.iter().map(|record| {
            let ails = what_ails(draft, record);
            format!(
                "{} keeps its vote ({ails}): nobody can take its place{hope}",
                record.name
            )
        }));
        let staying = self.stay.iter().chain(&self.fill).chain(&kept);
        let voters = staying.map(|record| record.id).collect();
        let changes = self.changes();
        Shape {
            voters,
            changes,
            prepare: self.prepare,
            why: self.why,
        }
    }

    /// Lets those go without a replacement whose log went back, beyond those that somebody could replace, now or soon.
    /// Refused by its peers, such a voter is none in all but the count. Without its vote it is taken in again as a
    /// learner, and then promoted like any other; with it, it would wait for an operator for ever. A majority of fewer
    /// voters is never larger, so no fewer further losses are survived: of three voters with one lost none, of the two
    /// that are there none either. A voter that is merely dead is not let go: it comes back with its log, and counts.
    fn release(&mut self, kept: &mut Vec<&'a NodeRecord>) {
        let mut spare = self.prepare.len() + self.candidates().len();
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for record in kept.drain(..) {
            let gone = self.draft.went_back(&record.id);
            match spare {
                0 if gone => go.push(record),
                _ => stay.push(record),
            }
            spare -= usize::from(gone && spare > 0);
        }
        *kept = stay;
        self.released.extend(go.iter().map(|record| record.id));
        self.leave.extend(go);
    }

    /// Promotions and demotions in pairs, so that the history reads as exchanges; then what does not vote.
    fn changes(&self) -> Vec<Change> {
        let draft = self.draft;
        let nodes = draft.roles.members().count();
        let role = others(draft.intent.topology, nodes);
        let mut goers: Vec<(&NodeRecord, String)> = self
            .leave
            .iter()
            .map(|record| {
                let alone = if self.released.contains(&record.id) {
                    ", and nobody can take its place"
                } else {
                    ""
                };
                (*record, format!("{}{alone}", what_ails(draft, record)))
            })
            .collect();
        goers.sort_by_key(|(record, _)| (!draft.is_lost(&record.id), &record.name));
        goers.extend(self.dropped.iter().map(|(record, reason)| (*record, reason.clone())));
        let demotion = |(record, reason): &(&NodeRecord, String)| {
            let to = record.wish.filter(|wish| *wish != Role::ControlPlane).unwrap_or(role);
            Change {
                node: record.id,
                kind: TransitionKind::Demote,
                to,
                reason: reason.clone(),
            }
        };
        // Exchanges of which only the first half is committed come first.
        let (owed, goers) = goers.split_at(self.owed(|_| true).min(goers.len()));
        let mut changes: Vec<Change> = owed.iter().map(demotion).collect();
        for index in 0..self.fill.len().max(goers.len()) {
            let goer = goers.get(index);
            if let Some(record) = self.fill.get(index) {
                let reason = match goer {
                    Some((goer, _)) if self.spreads => {
                        format!("replaces {}, which stands where more voters are", goer.name)
                    }
                    Some((goer, _)) if wants_in(record) => format!("an operator asked for it; replaces {}", goer.name),
                    Some((goer, _)) => format!("replaces {}: {}", goer.name, what_ails(draft, goer)),
                    None => wanted_by(draft, self.declared, nodes),
                };
                let (node, kind, to) = (record.id, TransitionKind::Promote, Role::ControlPlane);
                changes.push(Change { node, kind, to, reason });
            }
            changes.extend(goer.map(demotion));
        }
        changes.extend(self.reassignments(role, nodes));
        changes
    }

    fn reassignments(&self, role: Role, nodes: usize) -> impl Iterator<Item = Change> {
        let draft = self.draft;
        let filled = |record: &NodeRecord| self.fill.iter().any(|filled| filled.id == record.id);
        let silent = draft
            .roles
            .members()
            .filter(move |record| !record.is_voter() && record.is_fit());
        let open = silent.filter(move |record| !filled(record) && !record.is_damped(draft.now_ms));
        open.filter_map(move |record| {
            let asked = record.wish.filter(|wish| *wish != Role::ControlPlane);
            let to = asked.unwrap_or(role);
            let reason = match asked {
                Some(_) => "an operator asked for it".to_owned(),
                None => format!(
                    "{} wants {}s of {nodes} nodes beside the voters",
                    draft.intent.topology.name(),
                    to
                ),
            };
            let change = Change {
                node: record.id,
                kind: TransitionKind::Reassign,
                to,
                reason,
            };
            (to != record.role).then_some(change)
        })
    }
}

/// Said of a node that damping holds.
fn waits(record: &NodeRecord) -> String {
    format!("{} waits: a node changes its role at most once a minute", record.name)
}

fn wanted_by(draft: &Draft<'_>, declared: usize, nodes: usize) -> String {
    format!(
        "{} wants {declared} of {nodes} nodes to vote",
        draft.intent.topology.name()
    )
}

/// Why a voter is to go, in words.
fn what_ails(draft: &Draft<'_>, record: &NodeRecord) -> &'static str {
    if draft.went_back(&record.id) {
        "lost, its log went back"
    } else if draft.is_lost(&record.id) {
        "lost"
    } else if record.quarantined.is_some() {
        "quarantined"
    } else if record.drained {
        "draining"
    } else if wants_out(record) {
        "demoted by an operator"
    } else {
        "another was asked for"
    }
}
