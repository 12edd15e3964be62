//! Scripts in, transcripts out: one file per story in `testdata/policy/`.
//!
//! A story is a sequence of blocks: commands, `----`, and what came of them. `UPDATE_EXPECT=1` writes the second half
//! anew; a changed transcript is explained in the commit that changes it.

use std::fmt::Write as _;
use std::path::PathBuf;

use revoada_attest::NodeId;

use super::cluster::{TestCluster, TestShape, id, name, names};
use crate::policy::{Plan, Step, WishKind};
use crate::roles::{Membership, RoleNote};

/// How many steps a story may take to settle.
const STEPS_MAX: usize = 200;
/// How often in a row a story waits for a learner before it goes on without.
const WAITS_MAX: usize = 3;

fn line(step: &Step) -> String {
    match step {
        Step::Commit(transition) => {
            let role = |role: Option<revoada_attest::Role>| role.map_or("-", revoada_attest::Role::name);
            let (from, to) = (role(transition.from), role(transition.to));
            format!(
                "{} {}: {from} -> {to} ({})",
                transition.kind, transition.name, transition.reason
            )
        }
        Step::Note(note) => {
            let what = match note {
                RoleNote::Confirm { .. } => "confirmed".to_owned(),
                RoleNote::Lost { .. } => "lost".to_owned(),
                RoleNote::Returned { excused: true, .. } => "returned, excused".to_owned(),
                RoleNote::Returned { .. } => "returned".to_owned(),
                RoleNote::Excuse { .. } => "excused".to_owned(),
                RoleNote::Located { location, .. } => format!("in {}", location.zone.as_deref().unwrap_or("no zone")),
                RoleNote::Drain { on, .. } => format!("drain {on}"),
                RoleNote::Wish { role, .. } => format!("wish {}", role.map_or("none", revoada_attest::Role::name)),
            };
            format!("note {}: {what}", name(&note.node()))
        }
        Step::SetMembership { voters, learners } => {
            format!("membership: voters {}; learners {}", names(voters), names(learners))
        }
        Step::TransferLeader { to } => format!("transfer leadership to {}", name(to)),
        Step::WaitCaughtUp { node } => format!("wait until {} has caught up", name(node)),
    }
}

fn number(word: &str) -> NodeId {
    id(word.trim_start_matches('n').parse().expect("a node is n and a number"))
}

fn shape(word: &str) -> TestShape {
    match word {
        "all-odd" => TestShape::AllOdd,
        "ratio" => TestShape::Ratio,
        "even" => TestShape::Even,
        fixed => TestShape::Fixed(fixed.trim_start_matches("fixed-").parse().expect("fixed-N")),
    }
}

fn wish(word: &str) -> Option<WishKind> {
    Some(match word {
        "promote" => WishKind::Promote,
        "demote" => WishKind::Demote,
        "drain" => WishKind::Drain,
        "quarantine" => WishKind::Quarantine,
        "restore" => WishKind::Restore,
        _ => return None,
    })
}

struct Story {
    cluster: TestCluster,
    out: String,
}

impl Story {
    fn say(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn run(&mut self, command: &str) {
        let words: Vec<&str> = command.split_whitespace().collect();
        let nodes = || words[1..].iter().map(|word| number(word));
        match words[0] {
            "cluster" => {
                let option = |key: &str| words.iter().find_map(|word| word.strip_prefix(key));
                let zones: Vec<&str> = option("zones=")
                    .map(|zones| zones.split(',').collect())
                    .unwrap_or_default();
                let standbys = option("standbys=").map_or(2, |standbys| standbys.parse().expect("a number"));
                self.cluster =
                    TestCluster::born(words[1].parse().expect("a number"), shape(words[2]), standbys, &zones);
            }
            "lose" => nodes().for_each(|node| self.cluster.lose(node)),
            "return" => nodes().for_each(|node| self.cluster.bring_back(node, false)),
            "start" => nodes().for_each(|node| self.cluster.bring_back(node, true)),
            "empty" => nodes().for_each(|node| self.cluster.go_back(node)),
            "join" => nodes().for_each(|node| self.cluster.join(node)),
            "suspect" => nodes().for_each(|node| self.see(node, Membership::Suspect, true)),
            "gossip-dead" => nodes().for_each(|node| self.see(node, Membership::Dead, true)),
            "unreachable" => nodes().for_each(|node| self.see(node, Membership::Alive, false)),
            "lag" => {
                let seen = self.cluster.nodes.get_mut(&number(words[1])).expect("it exists");
                seen.caught_up_at_ms = Some(u64::MAX);
            }
            "side" => {
                let side: Vec<NodeId> = nodes().collect();
                self.cluster.leader = side[0];
                let all: Vec<NodeId> = self.cluster.nodes.keys().copied().collect();
                for node in all {
                    match side.contains(&node) {
                        true if self.cluster.is_lost(&node) => self.cluster.bring_back(node, false),
                        true => {}
                        false => self.see(node, Membership::Dead, false),
                    }
                }
            }
            "leader" => self.cluster.leader = number(words[1]),
            "shape" => self.cluster.shape = shape(words[1]),
            "standbys" => self.cluster.standbys = words[1].parse().expect("a number"),
            "in-flight" => self.cluster.in_flight = words[1] == "yes",
            "pass" => {
                let seconds: u64 = words[1].trim_end_matches('s').parse().expect("seconds");
                self.cluster.now_ms += seconds * 1_000;
            }
            "plan" => {
                let plan = self.cluster.plan();
                plan.steps.iter().for_each(|step| self.say(line(step)));
                self.close(&plan);
            }
            "step" => {
                if let Some(step) = self.cluster.plan().steps.first() {
                    self.say(line(step));
                    self.cluster.execute(step);
                }
            }
            "settle" => self.settle(),
            "status" => self.status(),
            word => match wish(word) {
                Some(kind) => self.ask(kind, number(words[1])),
                None => panic!("unknown command {command:?}"),
            },
        }
    }

    fn see(&mut self, node: NodeId, membership: Membership, reachable: bool) {
        let now_ms = self.cluster.now_ms;
        let seen = self.cluster.nodes.get_mut(&node).expect("it exists");
        (seen.membership, seen.since_ms, seen.reachable) = (membership, now_ms, reachable);
    }

    fn ask(&mut self, kind: WishKind, node: NodeId) {
        match self.cluster.ask(kind, node) {
            Ok(steps) => {
                for step in steps {
                    self.say(line(&step));
                    self.cluster.execute(&step);
                }
            }
            Err(refused) => self.say(format!("refused ({}): {refused}", refused.kind())),
        }
    }

    /// Plans again after each step, as the driver does.
    fn settle(&mut self) {
        let mut waits = 0;
        for _ in 0..STEPS_MAX {
            let plan = self.cluster.plan();
            let Some(step) = plan.steps.first().filter(|_| waits < WAITS_MAX) else {
                // Standbys catch up while nobody looks.
                self.cluster.now_ms += 1_000;
                return self.close(&plan);
            };
            waits = if matches!(step, Step::WaitCaughtUp { .. }) {
                waits + 1
            } else {
                0
            };
            self.say(line(step));
            self.cluster.execute(step);
        }
        panic!("it does not settle within {STEPS_MAX} steps");
    }

    fn close(&mut self, plan: &Plan) {
        for why in &plan.why {
            self.say(format!("({why})"));
        }
        let TestCluster {
            voters,
            learners,
            leader,
            ..
        } = &self.cluster;
        let survives = self
            .cluster
            .survives(voters)
            .map_or("no quorum".to_owned(), |more| format!("survives {more}"));
        self.say(format!(
            "= leader {}; voters {}; learners {}; {survives}",
            name(leader),
            names(voters),
            names(learners),
        ));
    }

    fn status(&mut self) {
        let records: Vec<_> = self.cluster.roles.nodes.values().cloned().collect();
        for record in records {
            let seen = &self.cluster.nodes[&record.id];
            self.say(format!(
                "{} {} {} {}",
                record.name,
                record.role,
                record.state().name(),
                seen.membership.name()
            ));
        }
    }
}

fn check(story: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/policy")
        .join(format!("{story}.txt"));
    let text = std::fs::read_to_string(&path).expect("the story is readable");
    let cluster = TestCluster::born(1, TestShape::Fixed(1), 0, &[]);
    let mut teller = Story {
        cluster,
        out: String::new(),
    };
    let mut told = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let commands = block.split("\n----").next().expect("split yields at least one part");
        for command in commands.lines().filter(|command| !command.starts_with('#')) {
            teller.run(command);
        }
        let out = std::mem::take(&mut teller.out);
        let separator = if told.is_empty() { "" } else { "\n" };
        let silent = commands.lines().all(|command| command.starts_with('#'));
        let answer = if silent { String::new() } else { format!("----\n{out}") };
        writeln!(told, "{separator}{commands}\n{}", answer.trim_end()).expect("writing to a string cannot fail");
        if silent {
            told.truncate(told.trim_end().len());
            told.push('\n');
        }
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &told).expect("the story is writable");
        return;
    }
    assert!(
        text == told,
        "{story} went otherwise (UPDATE_EXPECT=1 rewrites it):\n{told}"
    );
}

macro_rules! stories {
    ($($test:ident: $story:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            check($story);
        })*
    };
}

stories! {
    a_cluster_forms_from_cold: "formation",
    a_lost_leader_is_replaced: "loss_of_the_leader",
    a_lost_voter_is_replaced_and_returns_as_a_worker: "loss_of_a_voter",
    two_lost_voters_are_replaced: "loss_of_two",
    a_lost_worker_changes_no_role: "loss_of_a_worker",
    a_minority_decides_nothing_and_a_majority_goes_on: "partition",
    a_flapping_node_is_quarantined_and_released: "flapping",
    a_drained_node_gives_its_vote_away: "drain",
    a_rolling_restart_moves_one_vote_at_a_time: "rolling_restart",
    one_grows_to_five_by_odd_steps: "growth",
    five_shrink_to_one: "shrink",
    a_topology_changes_while_the_cluster_runs: "change_of_topology",
    an_operator_exchanges_voters: "wishes",
    a_half_executed_plan_is_continued: "continuation",
    a_new_voter_comes_from_another_zone: "spread",
    voters_are_spread_again_when_a_lost_zone_is_back: "spread_again",
    one_detector_moves_nothing: "one_detector",
    a_voter_that_forgot_is_taken_in_again: "log_went_back",
}
