//! A topology of one's own: five voters as soon as there are seven nodes, three before. First what a hundred years of it
//! would be like with four nodes and with seven, then a cluster of it.
//! `cargo run --example own_topology`.

use revoada::attest::Role;
use revoada::simulation::Options;
use revoada::{Cluster, FabricStrategy, TopologyStrategy, simulate_topology};

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
    for nodes in [4, 7] {
        let options = Options {
            nodes: Some(nodes),
            ..Options::default()
        };
        let report = simulate_topology(Harbour, &options)?;
        println!(
            "{nodes} nodes: {:.7} % of {} years, {} losses of the quorum",
            report.availability * 100.0,
            options.years,
            report.quorum_losses.span.count
        );
    }
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
