use revoada_core::declaration::ClusterDeclaration;

fn main() {
    let _: ClusterDeclaration = serde_json::from_str("{}").unwrap();
}
