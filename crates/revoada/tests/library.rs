//! A cluster that a program embeds: starting, using, stopping, and every way to get it wrong.

use std::sync::{Arc, Mutex};

use revoada::core::declaration::{BackendConfig, BackendSpec, ClusterDeclaration, FabricFace, prescribed_for};
use revoada::core::error::ErrorKind;
use revoada::core::resource::{Resource, ResourceFormat};
use revoada::store::{FolderBackend, FolderConfig, MemoryBackend, StoreBackend, conformance};
use revoada::{Cluster, ClusterBuilder, ClusterRuntimeError, FabricStrategy, Quorum3M, Solo};

fn three() -> ClusterBuilder {
    Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("native")
        .topology(Quorum3M)
}

fn hello() -> Vec<Resource> {
    let document = "kind: ConfigMap\nmetadata: { name: hello }\ndata: { a: b }\n";
    vec![Resource::parse(document.into(), ResourceFormat::Yaml).unwrap()]
}

#[tokio::test]
async fn a_cluster_in_a_folder_is_found_again_with_everything_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = three().folder(folder.path()).start().await.unwrap();
    assert!(cluster.is_running());
    assert_eq!(cluster.id(), "native/homelab-3node/quorum-3m");
    let applied = cluster.apply(hello()).await.unwrap();
    let reference = applied[0].reference.clone();
    assert!(cluster.health().await.unwrap().cluster_running);
    let mut snapshot = Vec::new();
    cluster.snapshot(&mut snapshot).await.unwrap();
    cluster.shutdown().await.unwrap();
    assert!(!cluster.is_running());

    cluster.start().await.unwrap();
    assert_eq!(cluster.get(&reference).await.unwrap().revision, applied[0].revision);
    let deleted = cluster.delete(&reference).await.unwrap();
    assert!(deleted.revision > applied[0].revision);
    let restored = cluster.restore(&mut &snapshot[..]).await.unwrap();
    assert!(restored.revision > deleted.revision, "a restore never goes back");
    assert_eq!(cluster.list("ConfigMap").await.unwrap().items.len(), 1);
    drop(cluster);

    let other = Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("another")
        .topology(Quorum3M)
        .folder(folder.path())
        .start()
        .await;
    assert!(matches!(other, Err(ClusterRuntimeError::OtherCluster { .. })));
}

#[tokio::test]
async fn a_double_start_and_a_stop_before_the_start_are_errors_of_their_own() {
    let cluster = three().build().unwrap();
    assert!(!cluster.is_running());
    assert!(matches!(cluster.shutdown().await, Err(ClusterRuntimeError::NotRunning)));
    assert!(matches!(
        cluster.list("ConfigMap").await,
        Err(ClusterRuntimeError::NotRunning)
    ));
    cluster.start().await.unwrap();
    assert!(matches!(
        cluster.start().await,
        Err(ClusterRuntimeError::AlreadyRunning)
    ));
    assert!(cluster.is_running(), "the second start did no harm");
    cluster.shutdown().await.unwrap();
    assert!(matches!(cluster.shutdown().await, Err(ClusterRuntimeError::NotRunning)));
}

#[tokio::test]
async fn a_missing_part_an_incoherent_triple_and_a_face_that_is_not_served_are_told_apart() {
    let part = |builder: ClusterBuilder| match builder.build() {
        Err(ClusterRuntimeError::MissingPart { part }) => part,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was built"),
    };
    assert_eq!(part(Cluster::builder()), "strategy");
    assert_eq!(
        part(Cluster::builder().strategy(FabricStrategy::prescribed_homelab())),
        "face"
    );
    let faced = Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("native");
    assert_eq!(part(faced.clone()), "topology");

    let Err(ClusterRuntimeError::Incoherent(findings)) = faced.clone().topology(Solo).build() else {
        panic!("three voters cannot come of one node")
    };
    assert!(
        findings
            .findings
            .iter()
            .any(|finding| finding.code.name() == "topology-too-small-for-quorum")
    );

    let kubernetes = faced
        .face(FabricFace::prescribed_kubernetes_v1_34())
        .topology(Quorum3M)
        .build();
    let Err(error @ ClusterRuntimeError::FaceNotServed { .. }) = kubernetes else {
        panic!("it was built")
    };
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn dropping_a_cluster_stops_its_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = three().folder(folder.path()).start().await.unwrap();
    let status = cluster.status().await.unwrap();
    drop(cluster);
    for node in status.nodes {
        // Nobody listens there any more, and the folder's lock is free.
        assert!(
            std::net::TcpListener::bind(node.address).is_ok(),
            "{} still listens",
            node.name
        );
    }
    three().folder(folder.path()).start().await.unwrap();
}

#[tokio::test]
async fn a_cluster_starts_from_a_declaration_and_from_a_file() {
    let draft = prescribed_for("solo", 1).unwrap();
    let declaration = ClusterDeclaration::prove(draft).unwrap();
    let cluster = Cluster::builder()
        .declaration(declaration.clone())
        .start()
        .await
        .unwrap();
    assert_eq!(cluster.status().await.unwrap().nodes.len(), 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cluster.yaml");
    let yaml = declaration.render(revoada::core::declaration::DeclarationFormat::Yaml);
    std::fs::write(&file, yaml).unwrap();
    let cluster = Cluster::builder().declaration_file(&file).start().await.unwrap();
    assert_eq!(cluster.declaration(), &declaration);
    std::fs::write(&file, "kind: [").unwrap();
    let broken = Cluster::builder().declaration_file(&file).build();
    assert!(matches!(broken, Err(ClusterRuntimeError::Syntax { .. })));
}

#[tokio::test]
async fn resources_rest_in_the_backend_that_was_opened_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resources");
    let backend = FolderBackend::open(&FolderConfig { path: path.clone() }).unwrap();
    let cluster = three()
        .backend((backend, path.display().to_string()))
        .start()
        .await
        .unwrap();
    cluster.apply(hello()).await.unwrap();
    cluster.shutdown().await.unwrap();
    drop(cluster);
    let backend = FolderBackend::open(&FolderConfig { path }).unwrap();
    assert_eq!(backend.health().await.resource_count, 1);

    let cluster = three().backend(MemoryBackend::new()).start().await.unwrap();
    cluster.apply(hello()).await.unwrap();
    assert_eq!(cluster.list("ConfigMap").await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_declared_audit_writes_down_every_verb() {
    let folder = tempfile::tempdir().unwrap();
    let strategy = FabricStrategy::prescribed_homelab().with_size(1);
    let audited = BackendSpec::new(BackendConfig::Openraft).with_audit(true);
    let cluster = Cluster::builder()
        .strategy(strategy)
        .face_pure_raft("native")
        .topology(Solo)
        .backend(audited)
        .folder(folder.path())
        .start()
        .await
        .unwrap();
    cluster.apply(hello()).await.unwrap();
    let log = std::fs::read_to_string(folder.path().join("nodes/node-1/audit.log")).unwrap();
    assert!(
        log.lines()
            .any(|line| line.contains("\"apply\"") && line.contains("hello")),
        "{log}"
    );
    assert!(!log.contains("data: { a: b }"), "never the body");
}

#[tokio::test]
async fn resources_kept_by_raft_pass_the_conformance_suite() {
    let clusters: Arc<Mutex<Vec<Arc<Cluster>>>> = Arc::default();
    let keep = clusters.clone();
    let report = conformance::run(move || {
        let keep = keep.clone();
        Box::pin(async move {
            let cluster = Arc::new(three().start().await.unwrap());
            let backend: Arc<dyn StoreBackend> = cluster.backend().unwrap();
            let mut keep = keep.lock().unwrap();
            // The case before is over; its cluster may go.
            keep.clear();
            keep.push(cluster);
            backend
        })
    })
    .await;
    report.assert_passed(&[]);
}

#[tokio::test]
async fn a_snapshot_restores_into_every_other_backend() {
    let folder = tempfile::tempdir().unwrap();
    let folder = FolderBackend::open(&FolderConfig {
        path: folder.path().join("resources"),
    })
    .unwrap();
    let memory = MemoryBackend::new();
    let cluster = three().start().await.unwrap();
    let raft = cluster.backend().unwrap();
    conformance::restores_everywhere(&[&memory, &folder, &*raft])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_backend_that_is_not_served_and_too_few_nodes_are_refused_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |builder: ClusterBuilder| builder.folder(folder.path().join("cluster"));
    let refused = |builder: ClusterBuilder| match in_folder(builder).build() {
        Err(error) => error,
        Ok(_) => panic!("it was built"),
    };
    let own = refused(three().backend(BackendSpec::new(BackendConfig::Memory)));
    assert!(matches!(own, ClusterRuntimeError::NotServed { .. }), "{own:?}");
    assert_eq!(own.kind(), ErrorKind::Unsupported);
    assert!(own.to_string().contains("memory"), "{own}");
    let few = refused(three().nodes(2));
    assert!(
        matches!(few, ClusterRuntimeError::TooFewNodes { nodes: 2, least: 3, .. }),
        "{few:?}"
    );
    assert_eq!(few.kind(), ErrorKind::Invalid);
    let none = refused(three().nodes(0));
    assert!(matches!(none, ClusterRuntimeError::TooFewNodes { .. }), "{none:?}");
    assert!(!folder.path().join("cluster").exists());
}

#[tokio::test]
async fn an_opened_backend_goes_with_a_declaration_that_names_it_and_with_no_other() {
    let memory = |topology: &str, nodes| {
        let mut draft = prescribed_for(topology, nodes).unwrap();
        draft.backend = BackendSpec::new(BackendConfig::Memory);
        ClusterDeclaration::prove(draft).unwrap()
    };
    let cluster = Cluster::builder()
        .declaration(memory("quorum-3m", 3))
        .backend(MemoryBackend::new())
        .start()
        .await
        .unwrap();
    cluster.apply(hello()).await.unwrap();
    cluster.shutdown().await.unwrap();
    cluster.start().await.unwrap();
    let kept = cluster.list("ConfigMap").await.unwrap().items.len();
    assert_eq!(kept, 1, "it rests in what was given, which outlives the nodes");

    let other = ClusterDeclaration::prove(prescribed_for("quorum-3m", 3).unwrap()).unwrap();
    let refused = Cluster::builder()
        .declaration(other)
        .backend(MemoryBackend::new())
        .build();
    let Err(error @ ClusterRuntimeError::OtherBackend { .. }) = refused else {
        panic!("resources would rest elsewhere, and nobody would be told")
    };
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_cluster_that_has_just_started_declares_as_many_voters_as_its_nodes_make() {
    let cluster = Cluster::builder()
        .strategy(FabricStrategy::prescribed_homelab())
        .face_pure_raft("native")
        .topology(revoada::MeshAllPeers)
        .nodes(5)
        .start()
        .await
        .unwrap();
    // The founders are admitted one after the other, and writes are taken before the last of them.
    assert_eq!(cluster.status().await.unwrap().cluster.redundancy.voters_declared, 5);
}
