//! The conformance suite against the backends of this crate; Raft, its third subject, is where clusters are made.

use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{Resource, ResourceFormat, ResourceRef};
use revoada_core::snapshot::{Header, SnapshotWriter};
use revoada_store::audit::{Audit, AuditLog};
use revoada_store::conformance::{self, Fresh};
use revoada_store::{
    Applied, ApplyRequest, BackendHealth, Capabilities, Deleted, FolderBackend, FolderConfig, Got, ListRequest,
    Listing, MemoryBackend, ReadOptions, Restored, Snapshotted, StoreBackend, StoreError, WatchRequest, WatchStream,
};

fn folder(path: &Path) -> FolderBackend {
    FolderBackend::open(&FolderConfig {
        path: path.to_path_buf(),
    })
    .unwrap()
}

fn audited<B: StoreBackend>(backend: B, log: &Path) -> Audit<B> {
    let log = AuditLog::open(log, Arc::new(|| 7)).unwrap();
    Audit::new(Arc::new(backend), log, "the suite")
}

/// Empty folders, one per case, kept as long as this lives.
struct Folders(tempfile::TempDir, std::sync::atomic::AtomicU32);

impl Folders {
    fn new() -> Arc<Self> {
        Arc::new(Self(tempfile::tempdir().unwrap(), 0.into()))
    }

    fn next(&self) -> std::path::PathBuf {
        let number = self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.0.path().join(number.to_string())
    }
}

fn fresh(backend: impl StoreBackend + 'static) -> Fresh {
    Box::pin(std::future::ready(Arc::new(backend) as Arc<dyn StoreBackend>))
}

#[tokio::test]
async fn memory_passes_the_conformance_suite() {
    let report = conformance::run(|| fresh(MemoryBackend::new())).await;
    report.assert_passed(&[]);
    assert!(report.passed.len() >= 19, "{report:?}");
}

#[tokio::test]
async fn a_folder_passes_the_conformance_suite() {
    let folders = Folders::new();
    let report = conformance::run(|| fresh(folder(&folders.next()))).await;
    report.assert_passed(&[]);
}

#[tokio::test]
async fn an_audited_backend_passes_the_conformance_suite() {
    let folders = Folders::new();
    let report = conformance::run(|| {
        let path = folders.next();
        fresh(audited(folder(&path), &path.with_extension("log")))
    })
    .await;
    report.assert_passed(&[]);
}

#[tokio::test]
async fn one_data_set_is_one_section_of_bytes_and_restores_into_every_backend() {
    let folders = Folders::new();
    let (memory, plain) = (MemoryBackend::new(), folder(&folders.next()));
    let logged = audited(MemoryBackend::new(), &folders.next());
    conformance::restores_everywhere(&[&memory, &plain, &logged])
        .await
        .unwrap();
}

/// A backend that deletes at whatever revision: what the suite is there to find.
struct Careless(MemoryBackend);

#[async_trait]
impl StoreBackend for Careless {
    fn name(&self) -> &str {
        "careless"
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<Applied>, StoreError> {
        self.0.apply(request).await
    }

    async fn get(&self, reference: &ResourceRef, options: ReadOptions) -> Result<Got, StoreError> {
        self.0.get(reference, options).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        self.0.list(request).await
    }

    async fn delete(&self, reference: &ResourceRef, _: Option<u64>) -> Result<Deleted, StoreError> {
        self.0.delete(reference, None).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.0.watch(request).await
    }

    async fn snapshot(&self, sink: &mut (dyn io::Write + Send)) -> Result<Snapshotted, StoreError> {
        self.0.snapshot(sink).await
    }

    async fn restore(&self, source: &mut (dyn io::Read + Send)) -> Result<Restored, StoreError> {
        self.0.restore(source).await
    }

    async fn health(&self) -> BackendHealth {
        self.0.health().await
    }
}

#[tokio::test]
async fn the_suite_finds_a_backend_that_does_not_compare() {
    let report = conformance::run(|| fresh(Careless(MemoryBackend::new()))).await;
    let failed: Vec<&str> = report.failed.iter().map(|(case, _)| *case).collect();
    assert_eq!(failed, ["an expected revision is compared before anything is written"]);
}

/// A whole snapshot, digests and all, that holds this document in that place.
fn crafted(name: &str, document: &str) -> Vec<u8> {
    let header = Header {
        revision: 9,
        declaration: String::new(),
        created_by: "an attacker".to_owned(),
    };
    let reference = ResourceRef {
        group: String::new(),
        kind: "A".to_owned(),
        namespace: String::new(),
        name: name.to_owned(),
    };
    let mut writer = SnapshotWriter::new(Vec::new(), header).unwrap();
    writer
        .entry(&reference, ResourceFormat::Yaml, document.as_bytes())
        .unwrap();
    writer.finish().unwrap().0
}

#[tokio::test]
async fn a_whole_snapshot_that_lies_about_its_documents_restores_nothing() {
    let folders = Folders::new();
    let path = folders.next();
    let (memory, plain) = (MemoryBackend::new(), folder(&path));
    let kept = Resource::parse("kind: A\nmetadata: {name: kept}\n".into(), ResourceFormat::Yaml).unwrap();
    let backends: [&dyn StoreBackend; 2] = [&memory, &plain];
    for backend in backends {
        backend.apply(ApplyRequest::one(kept.clone())).await.unwrap();
        for (name, document) in [
            ("other", "kind: A\nmetadata: {name: a}\n"),
            ("..", "kind: A\nmetadata: {name: ..}\n"),
            ("../../x", "kind: A\nmetadata: {name: ../../x}\n"),
            ("a", "kind: A\nmetadata: {name: a, namespace: elsewhere}\n"),
            ("a", "kind: [\n"),
            ("a", "kind: A\nmetadata: {name: a}\n---\nkind: A\nmetadata: {name: b}\n"),
        ] {
            let file = crafted(name, document);
            let error = backend.restore(&mut file.as_slice()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{name}: {error}");
        }
        let got = backend.get(&kept.reference, ReadOptions::LINEARIZABLE).await.unwrap();
        assert_eq!((got.revision, got.resource), (2, kept.clone()));
        let sound = crafted("a", "kind: A\nmetadata: {name: a}\n");
        backend.restore(&mut sound.as_slice()).await.unwrap();
    }
}
