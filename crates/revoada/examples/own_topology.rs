//! A topology of one's own: five voters as soon as there are seven nodes, three before.
//! `cargo run --example own_topology`.

use revoada::attest::Role;
use revoada::{Cluster, FabricStrategy, TopologyStrategy};

#[derive(Debug)]
struct Harbour;

impl TopologyStrategy for Harbour {
    fn name(&self) -> &str {
        "harbour"
    }

    fn nodes_min(&self) -> usize {
        4
    }

    fn voters(&self, nodes: usize) -> usize {
        match nodes {
            0 => 0,
            1..=2 => 1,
            3..=6 => 3,
            _ => 5,
        }
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Worker
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("harbour")
        .topology(Harbour)
        .nodes(4)
        .start()
        .await?;
    let status = cluster.status().await?;
    println!("{}: {:?}", cluster.id(), status.cluster.redundancy);
    for node in status.nodes {
        println!("{} is a {}", node.name, node.role);
    }
    cluster.shutdown().await?;
    Ok(())
}
