use std::collections::BTreeSet;
use std::io::{BufReader, Seek as _, SeekFrom, Write as _};
use std::time::Duration;

use revoada_core::snapshot::{Header, SnapshotWriter};

use super::*;

fn identity() -> Digest {
    Digest::from_bytes([0xab; 32])
}

fn folder(path: &Path, writer: &str) -> BackupFolder {
    BackupFolder::new(path, "home", &identity(), writer)
}

fn snapshot(revision: u64) -> Vec<u8> {
    let header = Header {
        revision,
        declaration: String::new(),
        created_by: "a test".to_owned(),
    };
    SnapshotWriter::new(Vec::new(), header).unwrap().finish().unwrap().0
}

fn make(folder: &BackupFolder, now_ms: u64, revision: u64) -> Backup {
    let mut unfinished = folder.begin().unwrap();
    unfinished.write_all(&snapshot(revision)).unwrap();
    unfinished.finish(now_ms).unwrap()
}

fn names(path: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(path).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_backup_is_named_after_cluster_writer_time_and_revision() {
    let dir = tempfile::tempdir().unwrap();
    let backup = make(&folder(dir.path(), "node-1"), 1_764_595_845_999, 42);
    let name = backup.file.file_name().unwrap().to_str().unwrap();
    assert_eq!(name, "home-abababab.node-1.20251201T133045Z.r42.snap");
    assert_eq!(backup.taken_ms, 1_764_595_845_000);
    assert_eq!(backup.inspection.revision, 42);
    verify_snapshot(&mut BufReader::new(File::open(&backup.file).unwrap())).unwrap();
}

#[test]
fn a_name_is_read_as_it_was_written_and_in_no_other_way() {
    let prefix = name::prefix("home", &identity(), "a");
    let name = BackupName::new(1_764_595_845_000, 7);
    assert_eq!(BackupName::parse(&name.render(&prefix), &prefix), Some(name));
    for other in [
        "home-abababab.a.20251201T133045Z.r07.snap",
        "home-abababab.a.20251301T133045Z.r7.snap",
        "home-abababab.a.20251201T133045Z.r7.snap.old",
        "home-abababab.a.20251201T133045Z.r.snap",
        "home-abababab.a.2025é201T133045Z.r7.snap",
        "home-abababab.ab.20251201T133045Z.r7.snap",
        "home-abababac.a.20251201T133045Z.r7.snap",
        "home-abababab.a..r7.snap",
        "home-abababab.a.",
    ] {
        assert_eq!(BackupName::parse(other, &prefix), None, "{other}");
    }
    assert_eq!(
        name::prefix("a/../b.c", &identity(), ""),
        "a-..-b-c-abababab.unnamed.".replace("..", "--")
    );
}

#[test]
fn only_a_writers_own_oldest_go_and_never_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, theirs) = (folder(dir.path(), "a"), folder(dir.path(), "b"));
    let other_cluster = BackupFolder::new(dir.path(), "home", &Digest::from_bytes([1; 32]), "a");
    for second in 0..4 {
        make(&theirs, second * 1_000, 1);
        make(&other_cluster, second * 1_000, 1);
    }
    fs::write(dir.path().join("home-abababab.a.notes.snap"), "mine, but no backup").unwrap();
    let before = names(dir.path());
    for second in 0..5 {
        make(&mine, second * 1_000, second + 1);
    }
    let newest = make(&mine, 9_000, 9);
    let deleted = mine.prune(2, &newest).unwrap();
    assert_eq!(deleted.len(), 4);
    let kept = mine.backups().unwrap();
    assert_eq!(kept, [BackupName::new(4_000, 5), BackupName::new(9_000, 9)]);
    assert!(before.is_subset(&names(dir.path())));

    // The clock went back: what is the newest in truth is the oldest by its name.
    let newest = make(&mine, 1_000, 10);
    mine.prune(1, &newest).unwrap();
    assert!(newest.file.exists());
    mine.prune(0, &newest).unwrap();
    assert!(newest.file.exists());
}

#[test]
fn what_is_not_whole_gets_no_name_and_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path(), "a");
    let good = make(&folder, 1_000, 1);
    let whole = snapshot(2);
    for length in [0, 1, 16, whole.len() / 2, whole.len() - 1] {
        let mut unfinished = folder.begin().unwrap();
        unfinished.write_all(&whole[..length]).unwrap();
        let error = unfinished.finish(2_000).unwrap_err();
        assert!(matches!(error, BackupError::NotWhole { .. }), "{error:?}");
    }
    for at in 0..whole.len() {
        let mut unfinished = folder.begin().unwrap();
        unfinished.write_all(&whole).unwrap();
        // The disk gives back something else than it was given.
        unfinished.file.seek(SeekFrom::Start(at as u64)).unwrap();
        unfinished.file.write_all(&[whole[at] ^ 1]).unwrap();
        assert!(unfinished.finish(2_000).is_err(), "byte {at}");
    }
    assert_eq!(names(dir.path()).len(), 1);
    assert!(good.file.exists());
}

#[test]
fn what_a_dead_process_left_is_removed_and_what_another_writes_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (mine, theirs) = (folder(dir.path(), "a"), folder(dir.path(), "b"));
    let left = dir.path().join(".home-abababab.a.1-0.part");
    let of_others = dir.path().join(".home-abababab.b.1-0.part");
    fs::write(&left, "half").unwrap();
    fs::write(&of_others, "half").unwrap();
    let writing = theirs.begin().unwrap();
    assert!(!of_others.exists(), "a writer removes its own");
    let first = mine.begin().unwrap();
    assert!(!left.exists());
    let second = mine.begin().unwrap();
    for unfinished in [&writing, &first, &second] {
        assert!(unfinished.path.as_ref().unwrap().exists(), "it is being written");
    }
    drop((writing, first, second));
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_folder_that_is_not_there_is_named_and_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let away = dir.path().join("away");
    let error = folder(&away, "a").begin().unwrap_err();
    assert!(
        error.to_string().contains("away") && error.hint().is_some(),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!away.exists());
}

#[test]
fn health_tells_a_failure_and_an_age() {
    let every = Duration::from_secs(3_600);
    let standing = Standing::new(folder(Path::new("/b"), "a"), every, 20, 0);
    assert!(standing.check(1_000).ok);
    let late = standing.check(7_200_001);
    assert!(!late.ok && late.detail.contains("none in /b"), "{late:?}");
    assert_eq!(standing.figures(0), (None, 0));
}

#[test]
fn the_next_is_due_from_the_newest_on_and_failures_are_tried_again_ever_later() {
    let every = Duration::from_secs(60);
    assert_eq!(next_due_ms(None, every, 5), 0);
    assert_eq!(next_due_ms(Some(0), every, 10_000), 50_000);
    assert_eq!(next_due_ms(Some(0), every, 100_000), 0);
    assert_eq!(next_due_ms(Some(100_000), every, 0), 0, "the clock went back");
    let mut backoff = Backoff::default();
    let pauses: Vec<u64> = (0..8).map(|_| backoff.next_pause(every).as_secs()).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
    backoff.reset();
    assert_eq!(backoff.next_pause(every).as_secs(), 1);
}
