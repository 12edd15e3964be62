//! Clusters that speak etcd, and where clients find them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use revoada::core::declaration::{DraftDeclaration, FabricFace};
use revoada::node::config::EtcdConfig;

use super::{Door, Hosts, TestCluster};

impl TestCluster {
    /// The same as [`TestCluster::start`], with the face etcd in the clear on every node.
    pub async fn start_with_etcd(topology: &str, count: usize) -> Self {
        let mut cluster = Self::prepare_as(topology, count, |draft| draft.face = FabricFace::etcd());
        // All are held until all are known, so that none is given twice.
        let held: Vec<_> = cluster.nodes.iter().map(|node| free(node.config.listen)).collect();
        for (node, held) in cluster.nodes.iter_mut().zip(&held) {
            node.config.etcd = Some(EtcdConfig {
                listen: held.local_addr().unwrap(),
                advertise: None,
                tls: None,
            });
        }
        drop(held);
        cluster.start_all();
        cluster.settled().await;
        cluster
    }

    /// The same as [`Hosts::prepare`], with the face etcd in the clear on the loopback address of every host.
    pub fn prepare_with_etcd_on(hosts: &Hosts, topology: &str) -> Self {
        let etcd = |draft: &mut DraftDeclaration| draft.face = FabricFace::etcd();
        let mut cluster = Self::prepare_as_at(topology, &hosts.addresses(), etcd);
        for node in &mut cluster.nodes {
            node.config.etcd = Some(EtcdConfig {
                listen: (Ipv4Addr::LOCALHOST, 2379).into(),
                advertise: None,
                tls: None,
            });
        }
        hosts.house(&mut cluster);
        cluster
    }

    /// Where the etcd faces of all nodes are.
    pub fn etcd_doors(&self) -> Vec<Door> {
        let doors = self.nodes.iter().filter_map(|node| {
            Some(Door {
                address: node.config.etcd.as_ref()?.listen,
                namespace: node.namespace().map(str::to_owned),
            })
        });
        doors.collect()
    }

    /// The URLs of all nodes' etcd faces, with commas between them.
    pub fn etcd_endpoints(&self) -> String {
        let urls = self
            .nodes
            .iter()
            .filter_map(|node| Some(node.config.etcd.as_ref()?.url()));
        urls.collect::<Vec<_>>().join(",")
    }
}

fn free(beside: SocketAddr) -> TcpListener {
    TcpListener::bind((beside.ip(), 0)).unwrap()
}
