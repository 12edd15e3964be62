//! Hosts with a network of their own that can be taken apart.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::TestCluster;
use super::tools::missing;

/// Hosts `10.99.0.1` and on, in namespaces of their own, joined by a bridge in one more. Gone when it is dropped.
pub struct Hosts {
    prefix: String,
    count: usize,
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Hosts {
    /// What is missing here for any of it.
    pub fn missing() -> Option<String> {
        let probe = ["unshare", "-n", "nft", "add table bridge probe"];
        missing(&["ip", "nft", "unshare"], &probe)
    }

    pub fn new(count: usize) -> Self {
        let hosts = Self {
            prefix: format!("rv{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::SeqCst)),
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

    pub fn name(&self, host: usize) -> String {
        format!("{}-h{host}", self.prefix)
    }

    pub fn address(host: usize) -> IpAddr {
        Ipv4Addr::new(10, 99, 0, u8::try_from(host + 1).unwrap()).into()
    }

    /// Puts each node of a cluster that was prepared for it on its host.
    pub fn house(&self, cluster: &mut TestCluster) {
        for (number, node) in cluster.nodes.iter_mut().enumerate() {
            node.launcher = ["ip", "netns", "exec", &self.name(number)].map(str::to_owned).to_vec();
        }
    }

    /// A cluster of five of these, one on each of `hosts`. Nothing runs yet.
    pub fn prepare(&self, topology: &str) -> TestCluster {
        let mut cluster = TestCluster::prepare_at(topology, &self.addresses());
        self.house(&mut cluster);
        cluster
    }

    /// The addresses of all of them.
    pub fn addresses(&self) -> Vec<IpAddr> {
        (0..self.count).map(Self::address).collect()
    }

    /// Drops every frame between one side and the other.
    pub fn cut(&self, side: &[usize]) {
        let others: Vec<usize> = (0..self.count).filter(|host| !side.contains(host)).collect();
        self.rules(&[drops(side, &others, ""), drops(&others, side, "")]);
    }

    /// Drops every frame between two hosts that go on to hear all others.
    pub fn cut_between(&self, one: usize, other: usize) {
        self.rules(&[drops(&[one], &[other], ""), drops(&[other], &[one], "")]);
    }

    /// Drops every frame of one host to the others, and none to it.
    pub fn silence(&self, host: usize) {
        let others: Vec<usize> = (0..self.count).filter(|other| *other != host).collect();
        self.rules(&[drops(&[host], &others, "")]);
    }

    /// Drops so many of a hundred frames, whosever they are.
    pub fn lose(&self, percent: u32) {
        let all: Vec<usize> = (0..self.count).collect();
        self.rules(&[drops(&all, &all, &format!("numgen random mod 100 < {percent} "))]);
    }

    fn rules(&self, rules: &[String]) {
        let chain = "add table bridge part; add chain bridge part f { type filter hook forward priority 0; }";
        self.filter(&[&[chain.to_owned()], rules].concat().join("; "));
    }

    pub fn heal(&self) {
        // Whether or not there is anything to heal.
        self.filter("add table bridge part; delete table bridge part");
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

/// A rule that drops frames from one of these hosts to one of those.
fn drops(from: &[usize], to: &[usize], which: &str) -> String {
    let ports = |hosts: &[usize]| {
        hosts
            .iter()
            .map(|host| format!("\"p{host}\""))
            .collect::<Vec<_>>()
            .join(", ")
    };
    format!(
        "add rule bridge part f iifname {{ {} }} oifname {{ {} }} {which}drop",
        ports(from),
        ports(to)
    )
}
