//! What a fleet has to keep to, whatever fails.

use revoada_core::declaration::{ClusterDeclaration, prescribed_for};

use super::*;

fn declared(topology: &str, nodes: usize) -> ClusterDeclaration {
    let draft = prescribed_for(topology, nodes).expect("it is prescribed");
    ClusterDeclaration::prove(draft).expect("it is coherent")
}

#[test]
fn look() {
    for topology in ["solo", "quorum-3m", "cluster-3m-nw", "mesh-all-peers", "phalanx"] {
        for replacement in [true, false] {
            let options = Options {
                nodes: Some(5),
                replacement,
                faults: Faults::by_name(&std::env::var("FAULTS").unwrap_or("homelab".into())).unwrap(),
                ..Options::default()
            };
            let began = std::time::Instant::now();
            let report = simulate(&declared(topology, 5), &options).expect("it is simulated");
            let took = began.elapsed();
            println!("{topology} {replacement}: {took:?} {report:#?}", report = Report { slices: Vec::new(), ..report });
        }
    }
}
