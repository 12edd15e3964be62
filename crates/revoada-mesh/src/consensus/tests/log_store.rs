use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, RaftLogReader};

use super::super::types::{Batch, Entry, Types};
use super::*;

fn entry(term: u64, index: u64) -> Entry {
    let body = Bytes::from(format!("{term}/{index}").into_bytes());
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Batch(body)),
    }
}

fn open(folder: &Path) -> LogStore {
    let options = LogOptions {
        segment_bytes: 1 << 16,
        ..LogOptions::default()
    };
    LogStore::new(LogEngine::open(folder, options).unwrap().0).unwrap()
}

fn reopen(store: LogStore, folder: &Path) -> LogStore {
    store.engine().close().unwrap();
    drop(store);
    open(folder)
}

async fn append(store: &mut LogStore, entries: impl IntoIterator<Item = (u64, u64)>) {
    let (done, flushed) = Types::<Tokio>::oneshot();
    let entries: Vec<_> = entries.into_iter().map(|(term, index)| entry(term, index)).collect();
    store
        .append(entries, IOFlushed::<Types<Tokio>>::signal(done))
        .await
        .unwrap();
    flushed.await.unwrap().unwrap();
}

/// Terms and indexes from 0 on, read whole and piece by piece.
async fn held(store: &mut LogStore) -> Vec<(u64, u64)> {
    let of = |entries: &[Entry]| -> Vec<_> {
        entries
            .iter()
            .map(|entry| {
                let (term, index) = (entry.log_id.committed_leader_id().term, entry.index());
                assert_eq!(entry.payload, super::log_store::entry(term, index).payload);
                (term, index)
            })
            .collect()
    };
    let all = of(&store.try_get_log_entries(0..=u64::MAX - 1).await.unwrap());
    if let Some((_, first)) = all.first() {
        let end = first + all.len() as u64;
        let streamed: Vec<_> = {
            use futures::TryStreamExt as _;
            store.entries_stream(*first..end).await.try_collect().await.unwrap()
        };
        assert_eq!(of(&streamed), all);
        for (at, start) in (*first..end).enumerate() {
            assert_eq!(of(&store.limited_get_log_entries(start, end).await.unwrap()), all[at..]);
        }
    }
    all
}

#[tokio::test]
async fn a_restart_finds_entries_vote_and_committed() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    assert_eq!(store.read_vote().await.unwrap(), None);
    store.save_vote(&Vote::new(3, id(2))).await.unwrap();
    append(&mut store, (0..5).map(|index| (2, index))).await;
    store.save_committed(Some(log_id(2, 3))).await.unwrap();
    let mut store = reopen(store, dir.path());
    assert_eq!(store.read_vote().await.unwrap(), Some(Vote::new(3, id(2))));
    assert_eq!(store.read_committed().await.unwrap(), Some(log_id(2, 3)));
    assert_eq!(store.position(), (3, 4));
    assert_eq!(
        held(&mut store).await,
        (0..5).map(|index| (2, index)).collect::<Vec<_>>()
    );
    // Half of it is in memory now, and half on disk.
    append(&mut store, (5..8).map(|index| (3, index))).await;
    let expected: Vec<_> = (0..5)
        .map(|index| (2, index))
        .chain((5..8).map(|index| (3, index)))
        .collect();
    assert_eq!(held(&mut store).await, expected);
}

#[tokio::test]
async fn a_vote_counts_for_hellos_only_once_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    let mut clone = store.clone();
    let vote = Vote::new(9, id(1));
    let saved = clone.save_vote(&vote);
    assert_eq!(store.position().0, 0);
    saved.await.unwrap();
    assert_eq!(store.position().0, 9);
    assert_eq!(store.read_vote().await.unwrap(), Some(vote));
}

#[tokio::test]
async fn what_was_purged_stays_purged_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, (0..9).map(|index| (1, index))).await;
    store.purge(log_id(1, 4)).await.unwrap();
    let expected: Vec<_> = (5..9).map(|index| (1, index)).collect();
    assert_eq!(held(&mut store).await, expected);
    let mut store = reopen(store, dir.path());
    assert_eq!(held(&mut store).await, expected);
    let state = store.get_log_state().await.unwrap();
    assert_eq!(
        (state.last_purged_log_id, state.last_log_id),
        (Some(log_id(1, 4)), Some(log_id(1, 8)))
    );
}

#[tokio::test]
async fn an_installed_checkpoint_leaves_an_empty_log_that_knows_where_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, (0..3).map(|index| (1, index))).await;
    store.purge(log_id(4, 100)).await.unwrap();
    for _ in 0..2 {
        let state = store.get_log_state().await.unwrap();
        assert_eq!(
            (state.last_purged_log_id, state.last_log_id),
            (Some(log_id(4, 100)), Some(log_id(4, 100)))
        );
        assert_eq!(held(&mut store).await, []);
        store = reopen(store, dir.path());
    }
    append(&mut store, [(5, 101)]).await;
    assert_eq!(held(&mut store).await, [(5, 101)]);
    let mut store = reopen(store, dir.path());
    assert_eq!(held(&mut store).await, [(5, 101)]);
}

#[tokio::test]
async fn what_was_truncated_is_replaced_in_memory_and_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, (0..6).map(|index| (1, index))).await;
    store.truncate_after(Some(log_id(1, 2))).await.unwrap();
    assert_eq!(held(&mut store).await, [(1, 0), (1, 1), (1, 2)]);
    append(&mut store, [(2, 3), (2, 4)]).await;
    let expected = [(1, 0), (1, 1), (1, 2), (2, 3), (2, 4)];
    assert_eq!(held(&mut store).await, expected);
    let mut store = reopen(store, dir.path());
    assert_eq!(held(&mut store).await, expected);
    // Behind a restart the window in memory begins in the middle of the log.
    append(&mut store, [(2, 5)]).await;
    store.truncate_after(Some(log_id(2, 3))).await.unwrap();
    append(&mut store, [(3, 4)]).await;
    assert_eq!(held(&mut store).await, [(1, 0), (1, 1), (1, 2), (2, 3), (3, 4)]);
    store.truncate_after(None).await.unwrap();
    assert_eq!(held(&mut store).await, []);
    let state = store.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (None, None));
}

#[tokio::test]
async fn the_window_in_memory_is_bounded_and_what_left_it_is_read_from_disk() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 1 << 20,
        cache_bytes: 0,
        ..LogOptions::default()
    };
    let mut store = LogStore::new(LogEngine::open(dir.path(), options).unwrap().0).unwrap();
    let body = Bytes::from(vec![7; 1 << 20]);
    let count = limits::LOG_RECENT_BYTES_MAX as u64 / (1 << 20) + 2;
    for index in 0..count {
        let (done, flushed) = Types::<Tokio>::oneshot();
        let entry = Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Normal(Batch(body.clone())),
        };
        store
            .append([entry], IOFlushed::<Types<Tokio>>::signal(done))
            .await
            .unwrap();
        flushed.await.unwrap().unwrap();
    }
    for index in [0, 1, count - 1] {
        let read = store.limited_get_log_entries(index, index + 1).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].payload, EntryPayload::Normal(Batch(body.clone())));
    }
    // A read takes what fits an append, and at least one entry.
    let read = store.limited_get_log_entries(0, count).await.unwrap();
    assert!((1..=4).contains(&read.len()), "{}", read.len());
}

#[tokio::test]
async fn what_is_read_from_the_disk_does_not_hold_the_callers_thread() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = open(dir.path());
    append(&mut store, (0..5).map(|index| (1, index))).await;
    let mut store = reopen(store, dir.path());
    // A disk that takes long, as the thread that reads sees it.
    let (release, busy) = std::sync::mpsc::channel::<()>();
    store.engine().read_then(0..1, 1, move |read| {
        read.unwrap();
        busy.recv_timeout(SOON).unwrap();
    });
    let mut other = store.clone();
    {
        let mut streamed = Box::pin(other.entries_stream(0..5).await);
        let mut reading = Box::pin(store.limited_get_log_entries(0, 5));
        assert!(futures::poll!(futures::StreamExt::next(&mut streamed)).is_pending());
        assert!(futures::poll!(reading.as_mut()).is_pending());
        release.send(()).unwrap();
        assert_eq!(timeout(SOON, reading).await.unwrap().unwrap().len(), 5);
        let first = timeout(SOON, futures::StreamExt::next(&mut streamed)).await.unwrap();
        assert_eq!(first.unwrap().unwrap(), entry(1, 0));
    }
    append(&mut store, [(1, 5)]).await;
    assert_eq!(held(&mut store).await.len(), 6);
}

#[tokio::test]
async fn cutting_the_log_behind_a_checkpoint_waits_for_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Arc::new("hang-sync=2".parse::<crate::log::ScriptedFaults>().unwrap());
    let options = LogOptions {
        faults: Some(faults.clone()),
        ..LogOptions::default()
    };
    let mut store = LogStore::new(LogEngine::open(dir.path(), options).unwrap().0).unwrap();
    append(&mut store, (0..5).map(|index| (1, index))).await;
    let cut = timeout(SOON, store.purge(log_id(1, 2))).await;
    faults.release();
    cut.expect("it does not wait for the sync").unwrap();
    assert_eq!(held(&mut store).await, [(1, 3), (1, 4)]);
    let mut store = reopen(store, dir.path());
    assert_eq!(held(&mut store).await, [(1, 3), (1, 4)]);
    // A log that takes nothing more says so.
    store.engine().close().unwrap();
    store.purge(log_id(1, 3)).await.unwrap_err();
}
