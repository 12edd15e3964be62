//! `status`: who is what, and how many losses are survived. Answers from any living node, also without a quorum.

use revoada_core::Role;
use revoada_core::roles::{Membership, NodeState};
use revoada_store::admin::{ClusterState, ClusterStatus, NodeStatus};

use crate::connect::Context;
use crate::failure::{Exit, Outcome};
use crate::output::{Cell, Style, Table, paint};

pub async fn run(context: &Context) -> Outcome {
    let status = context.find().await?.status;
    let colour = context.out.colour();
    context.out.value(&status, || render(&status, colour))?;
    Ok(Exit::Done)
}

/// The status for people: a line about the cluster, and a row per node.
pub fn render(status: &ClusterStatus, colour: bool) -> String {
    format!("{}\n{}", headline(status, colour), nodes(&status.nodes).render(colour))
}

fn headline(status: &ClusterStatus, colour: bool) -> String {
    let cluster = &status.cluster;
    let redundancy = &cluster.redundancy;
    let state = match cluster.state {
        ClusterState::Formed => Style::Good,
        ClusterState::Forming => Style::Warn,
        ClusterState::NoQuorum => Style::Bad,
    };
    let whole = redundancy.voters_caught_up == redundancy.voters_declared;
    let voters = format!(
        "{} of {} voters caught up, survives {}",
        redundancy.voters_caught_up,
        redundancy.voters_declared,
        match redundancy.survives {
            0 => "no loss".to_owned(),
            1 => "1 loss".to_owned(),
            losses => format!("{losses} losses"),
        }
    );
    let leader = match &cluster.leader {
        Some(leader) => format!("{leader} leads in term {}", cluster.term),
        None => format!("no leader in term {}", cluster.term),
    };
    format!(
        "{} {} {}\n{leader}; {}; revision {}",
        paint(&cluster.name, Style::Bold, colour),
        paint(&format!("({})", cluster.id), Style::Dim, colour),
        paint(cluster.state.name(), state, colour),
        paint(&voters, if whole { Style::Good } else { Style::Warn }, colour),
        cluster.revision,
    )
}

fn nodes(nodes: &[NodeStatus]) -> Table {
    let mut table = Table::new(&[
        "NAME", "ROLE", "STATE", "ALIVE", "RAFT", "LAG", "ADDRESS", "PID", "MEMORY", "UP",
    ]);
    for node in nodes {
        table.row([
            node.name.as_str().into(),
            role_cell(node.role),
            state_cell(node.state),
            membership_cell(node.membership),
            raft(node).into(),
            node.lag.to_string().into(),
            address(node).into(),
            node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string()).into(),
            node.rss_bytes.map_or_else(|| "-".to_owned(), bytes).into(),
            node.uptime_ms.map_or_else(|| "-".to_owned(), duration).into(),
        ]);
    }
    table
}

/// A role, coloured.
pub fn role_cell(role: Role) -> Cell {
    let style = match role {
        Role::ControlPlane | Role::Bootstrap => Style::Bold,
        Role::Worker | Role::Observer => Style::Plain,
    };
    Cell::styled(role.name(), style)
}

/// A state, coloured.
pub fn state_cell(state: NodeState) -> Cell {
    let style = match state {
        NodeState::Active => Style::Plain,
        NodeState::Promoting | NodeState::Demoting | NodeState::Draining => Style::Warn,
        NodeState::Quarantined | NodeState::Evicted => Style::Bad,
    };
    Cell::styled(state.name(), style)
}

/// What membership says, coloured.
pub fn membership_cell(membership: Membership) -> Cell {
    let style = match membership {
        Membership::Alive => Style::Good,
        Membership::Suspect => Style::Warn,
        Membership::Dead => Style::Bad,
    };
    Cell::styled(membership.name(), style)
}

/// Where a node is; one that was not heard of since the asked node started has told no port yet.
pub fn address(node: &NodeStatus) -> String {
    match node.address.port() {
        0 => "-".to_owned(),
        _ => node.address.to_string(),
    }
}

/// What a node is to Raft.
pub fn raft(node: &NodeStatus) -> &'static str {
    match (node.leader, node.voter, node.learner) {
        (true, _, _) => "leader",
        (_, true, _) => "voter",
        (_, _, true) => "standby",
        _ => "-",
    }
}

/// A size in bytes for people.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A number of milliseconds for people.
pub fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds}s"),
        (0, 0, minutes, seconds) => format!("{minutes}m{seconds:02}s"),
        (0, hours, minutes, _) => format!("{hours}h{minutes:02}m"),
        (days, hours, _, _) => format!("{days}d{hours:02}h"),
    }
}

#[cfg(test)]
pub mod tests {
    use revoada_store::admin::{ClusterSummary, Redundancy};

    use super::*;

    /// A cluster of three with a leader, one of them dead.
    pub fn example() -> ClusterStatus {
        let node = |number: u8| NodeStatus {
            name: format!("node-{number}"),
            id: revoada_core::NodeId::from_bytes([number; 32]),
            role: if number < 3 { Role::ControlPlane } else { Role::Worker },
            state: NodeState::Active,
            membership: if number == 2 {
                Membership::Dead
            } else {
                Membership::Alive
            },
            leader: number == 1,
            voter: number < 3,
            learner: number == 3,
            applied: 10,
            lag: 0,
            address: format!("127.0.0.1:710{number}").parse().unwrap(),
            pid: (number != 2).then_some(4_000 + u32::from(number)),
            rss_bytes: (number != 2).then_some(33 << 20),
            uptime_ms: (number != 2).then_some(61_000),
            version: "0.1.0".to_owned(),
        };
        ClusterStatus {
            cluster: ClusterSummary {
                id: "native/homelab-3node/pair".to_owned(),
                name: "homelab".to_owned(),
                digest: revoada_core::Digest::default(),
                state: ClusterState::Formed,
                revision: 42,
                term: 3,
                leader: Some("node-1".to_owned()),
                redundancy: Redundancy {
                    voters_declared: 2,
                    voters: 2,
                    voters_caught_up: 1,
                    survives: 0,
                },
            },
            nodes: (1..=3).map(node).collect(),
        }
    }

    #[test]
    fn a_status_is_a_line_about_the_cluster_and_a_row_per_node() {
        let text = "\
homelab (native/homelab-3node/pair) formed
node-1 leads in term 3; 1 of 2 voters caught up, survives no loss; revision 42
NAME    ROLE           STATE   ALIVE  RAFT     LAG  ADDRESS         PID   MEMORY    UP
node-1  control-plane  active  alive  leader   0    127.0.0.1:7101  4001  33.0 MiB  1m01s
node-2  control-plane  active  dead   voter    0    127.0.0.1:7102  -     -         -
node-3  worker         active  alive  standby  0    127.0.0.1:7103  4003  33.0 MiB  1m01s
";
        assert_eq!(render(&example(), false), text);
    }

    #[test]
    fn a_node_that_was_never_heard_of_has_no_address() {
        let mut status = example();
        status.nodes[1].address = "0.0.0.0:0".parse().unwrap();
        let text = render(&status, false);
        assert!(
            text.contains("node-2  control-plane  active  dead   voter    0    -  "),
            "{text}"
        );
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(5 << 50), "5120.0 TiB");
        assert_eq!(duration(59_999), "59s");
        assert_eq!(duration(3_600_000), "1h00m");
        assert_eq!(duration(90_000_000), "1d01h");
    }
}
