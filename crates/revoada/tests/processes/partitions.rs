//! A network that falls apart: each node is a host of its own, in a network namespace, on one switch.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Duration;

use revoada::attest::Role;
use revoada::core::error::ErrorKind;
use revoada::store::admin::ClusterState;

use crate::support::{Load, PATIENCE, TestCluster, missing, not_run, until};

/// Hosts `10.99.0.1` and on, in namespaces of their own, joined by a bridge in one more. Gone when it is dropped.
struct Hosts {
    prefix: String,
    count: usize,
}

impl Hosts {
    fn new(count: usize) -> Self {
        let hosts = Self {
            prefix: format!("rv{}", std::process::id()),
            count,
        };
        let switch = hosts.switch();
        ip(&["netns", "add", &switch]);
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"]);
        ip(&["-n", &switch, "link", "set", "br0", "up"]);
        for host in 0..count {
            let (name, port) = (hosts.name(host), format!("p{host}"));
            ip(&["netns", "add", &name]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            ip(&[
                "-n", &name, "link", "add", "e0", "type", "veth", "peer", "name", &port, "netns", &switch,
            ]);
            ip(&[
                "-n",
                &name,
                "addr",
                "add",
                &format!("{}/24", Self::address(host)),
                "dev",
                "e0",
            ]);
            ip(&["-n", &name, "link", "set", "e0", "up"]);
            ip(&["-n", &switch, "link", "set", &port, "master", "br0", "up"]);
        }
        hosts
    }

    fn switch(&self) -> String {
        format!("{}-sw", self.prefix)
    }

    fn name(&self, host: usize) -> String {
        format!("{}-h{host}", self.prefix)
    }

    fn address(host: usize) -> IpAddr {
        Ipv4Addr::new(10, 99, 0, u8::try_from(host + 1).unwrap()).into()
    }

    /// Drops every frame between one side and the other.
    fn cut(&self, side: &[usize]) {
        let ports = |inside: bool| {
            let chosen = (0..self.count).filter(|host| side.contains(host) == inside);
            chosen.map(|host| format!("\"p{host}\"")).collect::<Vec<_>>().join(", ")
        };
        let (here, there) = (ports(true), ports(false));
        self.filter(&format!(
            "add table bridge part; add chain bridge part f {{ type filter hook forward priority 0; }}; \
             add rule bridge part f iifname {{ {here} }} oifname {{ {there} }} drop; \
             add rule bridge part f iifname {{ {there} }} oifname {{ {here} }} drop"
        ));
    }

    fn heal(&self) {
        self.filter("delete table bridge part");
    }

    fn filter(&self, rules: &str) {
        ip(&["netns", "exec", &self.switch(), "nft", rules]);
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in (0..self.count).map(|host| self.name(host)).chain([self.switch()]) {
            // What is left of it is a name in /run/netns, and nobody can do more about it here.
            drop(Command::new("ip").args(["netns", "del", &name]).status());
        }
    }
}

fn ip(arguments: &[&str]) {
    let done = Command::new("ip").args(arguments).output().unwrap();
    assert!(
        done.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

#[tokio::test]
async fn a_partition_leaves_one_side_that_decides_and_heals_to_one_chain() {
    if let Some(reason) = missing(
        &["ip", "nft", "unshare"],
        &["unshare", "-n", "nft", "add table bridge probe"],
    ) {
        return not_run("a network partition", &reason);
    }
    let hosts = Hosts::new(5);
    let addresses: Vec<_> = (0..5).map(Hosts::address).collect();
    // Declared after the hosts, and so killed before they go.
    let mut cluster = TestCluster::prepare_at("cluster-3m-nw", &addresses);
    for (number, node) in cluster.nodes.iter_mut().enumerate() {
        node.launcher = ["ip", "netns", "exec", &hosts.name(number)].map(str::to_owned).to_vec();
    }
    cluster.start_all();
    let (leader, status) = cluster.settled().await;
    cluster.apply_patiently(leader, "fact", "before").await;

    // The leader and a worker on one side; two voters and a worker on the other.
    let worker = cluster.index_of(&status.nodes.iter().find(|node| !node.voter).unwrap().name);
    let minority = [leader, worker];
    let majority: Vec<usize> = (0..5).filter(|node| !minority.contains(node)).collect();
    let sockets: Vec<_> = majority
        .iter()
        .map(|node| cluster.nodes[*node].config.control_socket())
        .collect();
    hosts.cut(&minority);
    let load = Load::start(&sockets, 2, "majority");
    load.more(50).await;
    cluster
        .apply_patiently(majority[0], "fact", "decided by the majority")
        .await;

    for node in minority {
        until("the minority says that it has no quorum", PATIENCE, async || {
            let summary = cluster.status(node).await.map_err(|error| error.to_string())?.cluster;
            if summary.state == ClusterState::NoQuorum {
                Ok(())
            } else {
                Err(format!("{summary:?}"))
            }
        })
        .await;
        let refused = cluster.content(node, "fact", false).await.unwrap_err();
        assert_eq!(
            refused.kind(),
            ErrorKind::Unavailable,
            "a linearizable read without a quorum: {refused}"
        );
        assert_eq!(cluster.content(node, "fact", true).await.unwrap(), "before");
        let refused = cluster.apply(node, "minority", "x").await.unwrap_err().kind();
        assert!(
            matches!(refused, ErrorKind::Unavailable | ErrorKind::OutcomeUnknown),
            "{refused:?}"
        );
    }
    until(
        "the majority has replaced the voter that it cannot see",
        Duration::from_secs(10),
        async || {
            let status = cluster.status(majority[0]).await.map_err(|error| error.to_string())?;
            let voters: Vec<_> = status
                .nodes
                .iter()
                .filter(|node| node.voter)
                .map(|node| cluster.index_of(&node.name))
                .collect();
            if voters == majority {
                Ok(())
            } else {
                Err(format!("{voters:?} vote"))
            }
        },
    )
    .await;

    hosts.heal();
    let (now, status) = cluster.settled().await;
    assert!(
        majority.contains(&now),
        "who was cut off does not come back as the leader"
    );
    let back = status
        .nodes
        .iter()
        .find(|node| node.name == cluster.nodes[leader].name())
        .unwrap();
    assert_eq!((back.role, back.voter), (Role::Worker, false));
    for node in 0..5 {
        let content = until("a linearizable read after the partition", PATIENCE, async || {
            cluster
                .content(node, "fact", false)
                .await
                .map_err(|error| error.to_string())
        });
        assert_eq!(content.await, "decided by the majority");
    }
    let written = load.stop().await;
    for node in minority {
        written.assert_kept(&cluster, node).await;
        cluster.assert_chain_verifies(node).await;
    }
}
