//! What a folder keeps when it is opened again, and what it refuses to open.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{Resource, ResourceFormat, ResourceRef};
use revoada_store::conformance::data_set;
use revoada_store::{
    Applied, ApplyRequest, FolderBackend, FolderConfig, Got, KindFilter, ListRequest, OpenFolderError, ReadOptions,
    StoreBackend,
};

fn try_open(path: &Path) -> Result<FolderBackend, OpenFolderError> {
    FolderBackend::open(&FolderConfig {
        path: path.to_path_buf(),
    })
}

fn open(path: &Path) -> FolderBackend {
    try_open(path).unwrap()
}

fn refused(path: &Path) -> OpenFolderError {
    try_open(path).map(drop).unwrap_err()
}

fn config(name: &str, value: &str) -> Resource {
    let document = format!("kind: ConfigMap\nmetadata: {{name: {name}, namespace: web}}\nvalue: {value}\n");
    Resource::parse(document.into(), ResourceFormat::Yaml).unwrap()
}

async fn apply(folder: &FolderBackend, resource: Resource) -> Applied {
    folder.apply(ApplyRequest::one(resource)).await.unwrap().remove(0)
}

async fn all(folder: &FolderBackend) -> Vec<Got> {
    folder.list(ListRequest::of(KindFilter::ANY)).await.unwrap().items
}

/// Every path below a folder, with what is in the files.
fn tree(path: &Path) -> BTreeSet<(PathBuf, Option<Vec<u8>>)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let is_folder = fs::symlink_metadata(&path).unwrap().is_dir();
        if is_folder {
            found.extend(tree(&path));
        }
        let content = if is_folder { None } else { fs::read(&path).ok() };
        found.insert((path, content));
    }
    found
}

const FILE: &str = "resources-1/_config_map/web/a.resource";

/// A folder with one resource, and nobody who has it.
async fn closed() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("resources");
    apply(&open(&path), config("a", "1")).await;
    assert!(path.join(FILE).is_file());
    (parent, path)
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("resources");
    let folder = open(&path);
    folder.apply(ApplyRequest::many(data_set())).await.unwrap();
    apply(&folder, config("a", "1")).await;
    apply(&folder, config("a", "2")).await;
    let before = all(&folder).await;
    drop(folder);
    let after = all(&open(&path)).await;
    assert_eq!(before.len(), data_set().len() + 1);
    let numbers = |got: &[Got]| -> Vec<_> {
        got.iter()
            .map(|got| (got.resource.clone(), got.create_revision, got.revision, got.version))
            .collect()
    };
    assert_eq!(numbers(&after), numbers(&before));
}

#[tokio::test]
async fn a_revision_that_a_delete_took_is_never_given_again() {
    let (_parent, path) = closed().await;
    let folder = open(&path);
    let reference = config("a", "1").reference;
    let deleted = folder.delete(&reference, None).await.unwrap().revision;
    drop(folder);
    let folder = open(&path);
    let gone = folder.get(&reference, ReadOptions::LINEARIZABLE).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    let again = apply(&folder, config("b", "1")).await.revision;
    assert!(again > deleted, "{again} after {deleted}");
}

#[tokio::test]
async fn a_restore_is_there_when_it_is_opened_again_and_leaves_no_old_files() {
    let (_parent, path) = closed().await;
    let folder = open(&path);
    let mut file = Vec::new();
    folder.snapshot(&mut file).await.unwrap();
    apply(&folder, config("b", "1")).await;
    let restored = folder.restore(&mut file.as_slice()).await.unwrap().revision;
    drop(folder);
    let folder = open(&path);
    let names: Vec<String> = all(&folder)
        .await
        .into_iter()
        .map(|got| got.resource.reference.name)
        .collect();
    assert_eq!(names, ["a"]);
    assert!(apply(&folder, config("c", "1")).await.revision > restored);
    assert!(!path.join("resources-1").exists() && path.join("resources-2").is_dir());
}

#[tokio::test]
async fn a_second_owner_is_refused_and_told_who_has_it() {
    let (_parent, path) = closed().await;
    let first = open(&path);
    match refused(&path) {
        OpenFolderError::InUse { owner, .. } => assert_eq!(owner, format!("process {}", std::process::id())),
        other => panic!("{other:?}"),
    }
    apply(&first, config("b", "1")).await;
    drop(first);
    assert_eq!(all(&open(&path)).await.len(), 2);
}

#[tokio::test]
async fn a_newer_format_is_refused_by_its_number_and_left_as_it_is() {
    let (_parent, path) = closed().await;
    fs::write(path.join("folder.json"), r#"{"format":2,"shards":[1,2]}"#).unwrap();
    let before = tree(&path);
    let error = refused(&path);
    assert!(
        matches!(error, OpenFolderError::NewerFormat { found: 2, known: 1, .. }),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(tree(&path), before);
}

#[tokio::test]
async fn a_folder_of_other_things_is_refused_and_left_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("thesis.tex"), "chapter 1").unwrap();
    let before = tree(parent.path());
    assert!(matches!(refused(parent.path()), OpenFolderError::NotOurs { .. }));
    assert_eq!(tree(parent.path()), before);
    let missing = parent.path().join("not/there");
    assert!(matches!(
        refused(&missing),
        OpenFolderError::File { did: "created", .. }
    ));
    let file = parent.path().join("thesis.tex");
    assert!(matches!(refused(&file), OpenFolderError::File { did: "opened", .. }));
}

#[tokio::test]
async fn a_file_that_was_changed_cut_or_moved_is_named() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("a byte", |path| {
            let mut bytes = fs::read(path.join(FILE)).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path.join(FILE), bytes).unwrap();
        }),
        ("cut", |path| {
            let bytes = fs::read(path.join(FILE)).unwrap();
            fs::write(path.join(FILE), &bytes[..bytes.len() - 3]).unwrap();
        }),
        ("emptied", |path| fs::write(path.join(FILE), "").unwrap()),
        ("renamed", |path| {
            fs::rename(path.join(FILE), path.join(FILE.replace("a.resource", "b.resource"))).unwrap();
        }),
        ("two with one content", |path| {
            fs::copy(path.join(FILE), path.join(FILE.replace("a.resource", "b.resource")))
                .map(drop)
                .unwrap();
        }),
        ("longer than any", |path| {
            fs::write(path.join(FILE), vec![b'#'; 2 * 1024 * 1024]).unwrap();
        }),
    ];
    for (what, damage) in damages {
        let (_parent, path) = closed().await;
        damage(&path);
        let error = refused(&path);
        let named = error.to_string().contains(".resource");
        assert!(named, "{what}: {error:?}");
        assert!(
            matches!(error, OpenFolderError::Damaged { .. } | OpenFolderError::File { .. }),
            "{what}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_symlink_is_never_followed_out_of_the_folder() {
    for inside in [
        "resources-1",
        "resources-1/_config_map",
        "resources-1/_config_map/web",
        FILE,
        "folder.json",
        "lock",
    ] {
        let (parent, path) = closed().await;
        let outside = parent.path().join("outside");
        fs::rename(path.join(inside), &outside).unwrap();
        symlink(&outside, path.join(inside)).unwrap();
        let before = tree(parent.path());
        let error = refused(&path);
        assert!(
            error.to_string().contains(inside.rsplit('/').next().unwrap()),
            "{inside}: {error}"
        );
        if inside != "lock" {
            assert!(matches!(error, OpenFolderError::NotPlain { .. }), "{inside}: {error:?}");
            assert_eq!(fs::read_link(path.join(inside)).unwrap(), outside);
        } else {
            assert_eq!(tree(parent.path()), before);
        }
    }
}

#[tokio::test]
async fn what_a_crash_left_behind_is_cleared_away() {
    let (_parent, path) = closed().await;
    fs::write(path.join("folder.json.tmp"), "{\"for").unwrap();
    fs::write(path.join("resources-1/_config_map/web/%tmp"), "# revoada 1 ya").unwrap();
    // Of a restore that did not come to its end.
    fs::create_dir_all(path.join("resources-2/_config_map/web")).unwrap();
    fs::write(path.join("resources-2/_config_map/web/z.resource"), "half").unwrap();
    let folder = open(&path);
    assert_eq!(all(&folder).await.len(), 1);
    assert!(!path.join("resources-2").exists());
    assert!(!path.join("resources-1/_config_map/web/%tmp").exists());
    apply(&folder, config("b", "1")).await;
    drop(folder);
    assert_eq!(all(&open(&path)).await.len(), 2);
}

fn reference(name: String, namespace: String, kind: String) -> Option<ResourceRef> {
    let reference = ResourceRef {
        group: String::new(),
        kind,
        namespace,
        name,
    };
    reference.check().is_ok().then_some(reference)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever names there are, files lie in the folder only, and come back as the same resources.
    #[test]
    fn invariant_names_stay_in_the_folder_and_come_back(
        names in proptest::collection::vec(
            (prop_oneof!["\\PC{1,20}", "[a-cA-C.%_~@-]{1,6}", Just("É".repeat(126))], "\\PC{0,6}", "[a-zA-Z.%]{1,6}"), 1..12,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("resources");
        let references: BTreeSet<ResourceRef> =
            names.into_iter().filter_map(|(name, namespace, kind)| reference(name, namespace, kind)).collect();
        let folder = open(&path);
        for reference in &references {
            let content = serde_json::json!({
                "kind": reference.kind, "metadata": {"name": reference.name, "namespace": reference.namespace},
            });
            runtime.block_on(apply(&folder, Resource::from_content(content, ResourceFormat::Json).unwrap()));
        }
        drop(folder);
        let beside: Vec<_> = fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        prop_assert_eq!(beside, ["resources"]);
        let found = runtime.block_on(async { all(&open(&path)).await });
        let found: BTreeSet<ResourceRef> = found.into_iter().map(|got| got.resource.reference).collect();
        prop_assert_eq!(found, references);
    }
}
