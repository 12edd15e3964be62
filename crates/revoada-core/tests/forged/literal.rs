use std::sync::Arc;

use revoada_core::declaration::{ClusterDeclaration, prescribed_for};

fn main() {
    let parts = Arc::new(prescribed_for("solo", 1).unwrap());
    let _ = ClusterDeclaration { parts, findings: Arc::new([]), digest: Default::default() };
}
