use openraft::EntryPayload;
use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};

use super::super::types::{Batch, Entry};
use super::*;

fn machine(folder: &Path) -> Machine {
    let (checkpoints, loaded) =
        Checkpoints::open(Arc::new(crate::files::SystemFiles::default()), folder, genesis()).unwrap();
    Machine::new(&genesis(), Arc::new(checkpoints), loaded, nobodys_seats())
}

/// Applies entries that each put one value.
async fn apply(machine: &mut Machine, entries: std::ops::RangeInclusive<u64>, value_bytes: usize) {
    let entries = entries.map(|index| {
        let batch = Command::encode_batch(&[put(&format!("key-{index}"), &vec![7; value_bytes])]);
        let entry = Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Batch(batch)),
        };
        Ok((entry, None))
    });
    machine.apply(futures::stream::iter(entries)).await.unwrap();
}

#[tokio::test]
async fn others_have_their_turn_while_much_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = machine(dir.path());
    let turns = Arc::new(Mutex::new(0));
    let counted = turns.clone();
    let other = tokio::spawn(async move {
        loop {
            *counted.lock() += 1;
            tokio::task::yield_now().await;
        }
    });
    let entries = 40;
    apply(&mut machine, 1..=entries, limits::APPLY_BYTES_PER_TURN / 4).await;
    other.abort();
    assert!(*turns.lock() >= entries / 4, "{} turns", turns.lock());
    assert_eq!(machine.shared().applied().borrow_watched().index, entries);
}

#[tokio::test]
async fn a_checkpoint_that_was_written_keeps_nothing_of_the_state_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut machine = machine(dir.path());
    apply(&mut machine, 1..=10, 10).await;
    let mut builder = machine.get_snapshot_builder().await;
    let snapshot = builder.build_snapshot().await.unwrap();
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(1, 10)));
    assert!(builder.state.is_none());
    // What was given away cannot be written again.
    builder.build_snapshot().await.unwrap_err();
}
