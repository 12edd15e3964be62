//! Clusters that speak etcd, and where clients find them.

use std::net::{SocketAddr, TcpListener};

use revoada::core::declaration::FabricFace;
use revoada::node::config::EtcdConfig;

use super::TestCluster;

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
