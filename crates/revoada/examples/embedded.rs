//! A cluster of three inside this program: `cargo run --example embedded`.

use revoada::core::resource::{Resource, ResourceFormat};
use revoada::{Cluster, FabricStrategy, Quorum3M};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cluster = Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("homelab")
        .topology(Quorum3M)
        .start()
        .await?;
    let document = "kind: ConfigMap\nmetadata: { name: hello }\ndata: { answer: \"42\" }\n";
    let applied = cluster
        .apply(vec![Resource::parse(document.into(), ResourceFormat::Yaml)?])
        .await?;
    println!(
        "{} is at revision {} of {}",
        applied[0].reference,
        applied[0].revision,
        cluster.id()
    );
    println!(
        "{}",
        String::from_utf8(cluster.get(&applied[0].reference).await?.resource.document.to_vec())?
    );
    cluster.shutdown().await?;
    Ok(())
}
