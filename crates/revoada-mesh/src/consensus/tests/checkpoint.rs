use std::fs;

use super::super::checkpoint::CheckpointFile;
use super::*;

fn state(entries: u64) -> ClusterState {
    let mut state = ClusterState::new(&genesis());
    for n in 1..=entries {
        let command = put(&format!("key-{n}"), format!("value {n}").as_bytes());
        state.apply(command, Context { index: n, term: 1 }).unwrap();
    }
    state
}

fn meta(index: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(log_id(1, index)),
        last_membership: StoredMembership::default(),
    }
}

fn open(folder: &Path) -> (Arc<Checkpoints>, Option<(SnapshotMeta, ClusterState)>) {
    let (checkpoints, loaded) =
        Checkpoints::open(Arc::new(crate::files::SystemFiles::default()), folder, genesis()).unwrap();
    (Arc::new(checkpoints), loaded)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A checkpoint's bytes, as another node would send them.
fn bytes_of(index: u64) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let file = checkpoints.write(meta(index), state(index)).unwrap();
    fs::read(file.path()).unwrap()
}

fn received(checkpoints: &Arc<Checkpoints>, bytes: &[u8]) -> Result<CheckpointFile, CheckpointError> {
    let mut receiving = checkpoints.receive(bytes.len() as u64)?;
    for piece in bytes.chunks(100) {
        receiving.write(piece)?;
    }
    receiving.finish()
}

#[test]
fn what_was_written_is_found_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, none) = open(dir.path());
    assert!(none.is_none());
    checkpoints.write(meta(3), state(3)).unwrap();
    drop(checkpoints);
    let (checkpoints, found) = open(dir.path());
    let (found_meta, found_state) = found.unwrap();
    assert_eq!(found_meta, meta(3));
    assert_eq!(found_state.keyspace().revision(), state(3).keyspace().revision());
    assert_eq!(found_state.keyspace().get(b"key-2").unwrap().value, "value 2");
    assert_eq!(checkpoints.current().unwrap().0, meta(3));
}

#[test]
fn equal_states_write_equal_bytes() {
    assert_eq!(bytes_of(5), bytes_of(5));
}

#[test]
fn a_file_that_is_cut_short_anywhere_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let whole = bytes_of(3);
    let path = dir.path().join("cut");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = checkpoints.read(&path).unwrap_err();
        assert!(
            matches!(error, CheckpointError::Damaged { .. }),
            "cut at {length}: {error:?}"
        );
    }
    fs::write(&path, [&whole[..], b"more"].concat()).unwrap();
    assert!(matches!(checkpoints.read(&path), Err(CheckpointError::Damaged { .. })));
}

#[test]
fn a_bit_that_flips_anywhere_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let whole = bytes_of(3);
    let path = dir.path().join("flipped");
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&path, &flipped).unwrap();
        let error = checkpoints.read(&path).unwrap_err();
        // The format and the cluster come before the digest, and speak for themselves.
        let expected = match error {
            CheckpointError::Damaged { .. } => true,
            CheckpointError::NewerFormat { .. } => (8..12).contains(&at),
            CheckpointError::OtherCluster { .. } => (16..100).contains(&at),
            CheckpointError::Io { .. } => false,
        };
        assert!(expected, "byte {at}: {error:?}");
    }
}

#[test]
fn a_damaged_checkpoint_is_an_error_at_the_start_and_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let path = checkpoints.write(meta(3), state(3)).unwrap().path().to_owned();
    drop(checkpoints);
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&path, &bytes).unwrap();
    let error = Checkpoints::open(Arc::new(crate::files::SystemFiles::default()), dir.path(), genesis())
        .err()
        .unwrap();
    assert!(
        error.to_string().starts_with(&format!("{} is damaged", path.display())),
        "{error}"
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_checkpoint_of_another_cluster_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.write(meta(3), state(3)).unwrap();
    let other = genesis_named("other", 3);
    let error = Checkpoints::open(
        Arc::new(crate::files::SystemFiles::default()),
        dir.path(),
        other.clone(),
    )
    .err()
    .unwrap();
    assert!(matches!(error, CheckpointError::OtherCluster { .. }), "{error:?}");
    assert!(error.to_string().contains(&genesis().digest().short()));
    assert!(error.to_string().contains(&other.digest().short()));
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = bytes_of(1);
    bytes[8..12].copy_from_slice(&7u32.to_le_bytes());
    fs::write(dir.path().join("1.checkpoint"), bytes).unwrap();
    let error = Checkpoints::open(Arc::new(crate::files::SystemFiles::default()), dir.path(), genesis())
        .err()
        .unwrap();
    assert!(
        matches!(error, CheckpointError::NewerFormat { found: 7, .. }),
        "{error:?}"
    );
}

#[test]
fn what_was_never_finished_is_removed_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.write(meta(3), state(3)).unwrap();
    fs::write(dir.path().join("00000000000000000009.part"), b"half").unwrap();
    fs::write(dir.path().join("a note of the operator"), b"mine").unwrap();
    let (_, found) = open(dir.path());
    assert_eq!(found.unwrap().0, meta(3));
    let names = files(dir.path());
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.contains(&"a note of the operator".to_owned()));
}

#[test]
fn an_older_checkpoint_stays_for_as_long_as_somebody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let held = checkpoints.write(meta(1), state(1)).unwrap();
    checkpoints.write(meta(2), state(2)).unwrap();
    assert_eq!(checkpoints.read(held.path()).unwrap().0, meta(1));
    let path = held.path().to_owned();
    drop(held);
    assert!(!path.exists());
    assert_eq!(files(dir.path()).len(), 1);
}

#[test]
fn a_checkpoint_that_took_long_does_not_replace_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    checkpoints
        .adopt(meta(9), received(&checkpoints, &bytes_of(9)).unwrap())
        .unwrap();
    let late = checkpoints.write(meta(4), state(4)).unwrap();
    assert_eq!(checkpoints.read(late.path()).unwrap().0, meta(4));
    drop(late);
    assert_eq!(checkpoints.current().unwrap().0, meta(9));
    assert_eq!(files(dir.path()).len(), 1);
    drop(checkpoints);
    assert_eq!(open(dir.path()).1.unwrap().0, meta(9));
}

#[test]
fn a_received_checkpoint_counts_only_once_it_is_installed() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    checkpoints.write(meta(4), state(4)).unwrap();
    let file = received(&checkpoints, &bytes_of(9)).unwrap();
    // A crash here leaves the part behind, and the next start goes on from the older one.
    let names = files(dir.path());
    assert!(names.iter().any(|name| name.ends_with(".part")), "{names:?}");
    assert_eq!(open(dir.path()).1.unwrap().0, meta(4));
    drop(file);
    // Raft passed it over: nothing of it stays.
    drop(received(&checkpoints, &bytes_of(9)).unwrap());
    assert_eq!(files(dir.path()).len(), 1);
    checkpoints
        .adopt(meta(9), received(&checkpoints, &bytes_of(9)).unwrap())
        .unwrap();
    assert_eq!(open(dir.path()).1.unwrap().0, meta(9));
}

#[test]
fn what_arrives_damaged_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let whole = bytes_of(3);
    let damaged = |result: Result<CheckpointFile, CheckpointError>| {
        assert!(matches!(result.unwrap_err(), CheckpointError::Damaged { .. }));
    };
    damaged(received(&checkpoints, &whole[..whole.len() - 1]));
    damaged(received(&checkpoints, &whole[..7]));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    damaged(received(&checkpoints, &flipped));
    let mut short = checkpoints.receive(whole.len() as u64).unwrap();
    short.write(&whole[..5]).unwrap();
    damaged(short.finish());
    let mut long = checkpoints.receive(5).unwrap();
    assert!(matches!(long.write(&whole[..6]), Err(CheckpointError::Damaged { .. })));
    drop(long);
    assert_eq!(files(dir.path()), Vec::<String>::new());
}

#[test]
fn two_checkpoints_that_arrive_at_once_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let (checkpoints, _) = open(dir.path());
    let (three, nine) = (bytes_of(3), bytes_of(9));
    let mut first = checkpoints.receive(three.len() as u64).unwrap();
    let mut second = checkpoints.receive(nine.len() as u64).unwrap();
    first.write(&three).unwrap();
    second.write(&nine).unwrap();
    let (first, second) = (first.finish().unwrap(), second.finish().unwrap());
    checkpoints.adopt(meta(9), second).unwrap();
    checkpoints.adopt(meta(3), first).unwrap();
    assert_eq!(checkpoints.current().unwrap().0, meta(9));
    assert_eq!(files(dir.path()).len(), 1);
}
