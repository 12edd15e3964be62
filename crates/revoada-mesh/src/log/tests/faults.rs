//! A disk that fails, hangs, is full or slow.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn scripted(script: &str) -> (Arc<ScriptedFaults>, LogOptions) {
    let faults = Arc::new(script.parse::<ScriptedFaults>().unwrap());
    let hook: Arc<dyn FaultHook> = Arc::clone(&faults) as _;
    (
        faults,
        LogOptions {
            faults: Some(hook),
            ..LogOptions::default()
        },
    )
}

fn failed(error: &io::Error) -> &LogFailed {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("a LogFailed")
}

fn refused(error: &io::Error) -> &Refused {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .expect("a Refused")
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_stops_the_engine_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("fail-sync=2");
    let (engine, _) = open(folder.path(), options);
    append(&engine, 0..1, "a").unwrap();
    let error = append(&engine, 1..2, "a").unwrap_err();
    assert_eq!(
        failed(&error).source.raw_os_error(),
        Some(rustix::io::Errno::IO.raw_os_error())
    );
    for error in [
        append(&engine, 2..3, "a").unwrap_err(),
        put(&engine, 1, "vote").unwrap_err(),
        truncate_from(&engine, 0).unwrap_err(),
        purge_to(&engine, 0).unwrap_err(),
        engine.put_metadata_lazily(1, Bytes::new()).unwrap_err(),
        engine.close().unwrap_err(),
    ] {
        failed(&error);
    }
    assert_eq!(faults.appends(), 2, "no sync is tried again");
    assert_eq!(engine.stats().syncs, 1);
    assert_eq!(engine.metadata(1), None);
    drop(engine);
    let (_, recovered) = open(folder.path(), LogOptions::default());
    assert!(recovered.last >= Some(0));
}

#[test]
fn everything_that_waits_behind_a_failed_sync_is_answered_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("hang-sync=1,fail-sync=1");
    let (engine, _) = open(folder.path(), options);
    let answers: Vec<_> = (0..20)
        .map(|index| append_later(&engine, entries(index..index + 1, "a")))
        .collect();
    faults.wait_until_hanging();
    faults.release();
    for answer in answers {
        failed(&answer.wait().unwrap_err());
    }
    assert_eq!(faults.appends(), 1);
}

#[test]
fn a_hanging_sync_acknowledges_nothing_and_is_readable_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("hang-sync=1");
    let (engine, _) = open(folder.path(), options);
    let first = append_later(&engine, entries(0..1, "a"));
    faults.wait_until_hanging();
    let rest: Vec<_> = (1..100)
        .map(|index| append_later(&engine, entries(index..index + 1, "a")))
        .collect();
    assert_eq!(engine.read(0..1000, usize::MAX).unwrap(), entries(0..100, "a"));
    assert!(first.is_pending() && rest.iter().all(Answer::is_pending));
    assert!(engine.pending_bytes() > 0);
    faults.release();
    first.wait().unwrap();
    for answer in rest {
        answer.wait().unwrap();
    }
    assert_eq!(
        engine.stats().syncs,
        2,
        "what gathered during one sync goes with the next"
    );
    assert_eq!(engine.pending_bytes(), 0);
}

#[test]
fn a_full_disk_is_an_answer_and_nothing_before_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (_, options) = scripted("full-disk=3");
    let (engine, _) = open(folder.path(), options);
    append(&engine, 0..1, "a").unwrap();
    append(&engine, 1..2, "a").unwrap();
    let error = append(&engine, 2..3, "a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(failed(&error).kind(), revoada_core::error::ErrorKind::Exhausted);
    drop(engine);
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!(recovered.last, Some(1));
    append(&engine, 2..3, "b").unwrap();
}

#[test]
fn a_segment_stays_until_what_makes_it_unneeded_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (_, options) = scripted("full-disk=3");
    let options = LogOptions {
        faults: options.faults,
        ..small()
    };
    let (engine, _) = open(folder.path(), options);
    append(&engine, 0..1, "a").unwrap();
    purge_to(&engine, 0).unwrap();
    // The first segment holds no entry any more, and is the only one that says so until the second one does.
    let long = LogEntry {
        index: 1,
        payload: Bytes::from(vec![7; 1900]),
    };
    append_later(&engine, vec![long.clone()]).wait().unwrap_err();
    engine.close().unwrap_err();
    let first = folder.path().join("0000000000000001.log");
    assert!(first.exists());

    let (engine, recovered) = open(folder.path(), small());
    assert_eq!((recovered.first_index, recovered.last), (1, None));
    append_later(&engine, vec![long.clone()]).wait().unwrap();
    engine.close().unwrap();
    assert!(!first.exists());
    let (engine, _) = open(folder.path(), small());
    assert_eq!(engine.read(0..9, usize::MAX).unwrap(), vec![long]);
}

#[test]
fn no_room_for_the_next_segment_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (_, options) = scripted("full-allocate=2");
    let (engine, _) = open(
        folder.path(),
        LogOptions {
            segment_bytes: 2048,
            ..options
        },
    );
    let mut acknowledged = None;
    let error = loop {
        let next = acknowledged.map_or(0, |last| last + 1);
        match append(&engine, next..next + 1, "a") {
            Ok(()) => acknowledged = Some(next),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert_eq!(failed(&error).action, "create");
    drop(engine);
    let names = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let segments = names.filter(|path| path.extension().is_some_and(|of| of == "log"));
    assert_eq!(
        segments.count(),
        used_segments(folder.path()).len(),
        "what was had of the next one is given back"
    );
    let (_, recovered) = open(folder.path(), small());
    assert_eq!(recovered.last, acknowledged);
}

#[test]
fn a_write_in_two_parts_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (_, options) = scripted("short-write=1");
    let (engine, _) = open(
        folder.path(),
        LogOptions {
            cache_bytes: 0,
            ..options
        },
    );
    append(&engine, 0..50, "a").unwrap();
    assert_eq!(engine.read(0..50, usize::MAX).unwrap(), entries(0..50, "a"));
}

#[test]
fn a_full_queue_refuses_and_says_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("hang-sync=1");
    let (engine, _) = open(
        folder.path(),
        LogOptions {
            pending_bytes_max: 100,
            ..options
        },
    );
    let answer = append_later(&engine, entries(0..5, "a"));
    faults.wait_until_hanging();
    let error = append(&engine, 5..6, "a").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert!(matches!(refused(&error), Refused::Busy { pending_bytes } if *pending_bytes >= 100));
    assert_eq!(engine.bounds().last_index, Some(4));
    let room = Arc::new(AtomicBool::new(false));
    let (sender, told) = channel();
    let flag = Arc::clone(&room);
    engine.when_writable(move || {
        flag.store(true, Ordering::SeqCst);
        sender.send(()).unwrap();
    });
    assert!(!room.load(Ordering::SeqCst));
    faults.release();
    told.recv().unwrap();
    answer.wait().unwrap();
    append(&engine, 5..6, "a").unwrap();
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), LogOptions::default());
    append(&engine, 5..8, "a").unwrap();
    let before = Contents::of(&engine);
    for wrong in [7..9, 9..10] {
        let error = append(&engine, wrong.clone(), "b").unwrap_err();
        assert_eq!(
            refused(&error),
            &Refused::Gap {
                expected: 8,
                found: wrong.start
            }
        );
    }
    let mut torn = entries(8..10, "b");
    torn[1].index = 11;
    append_later(&engine, torn).wait().unwrap_err();
    let error = put(&engine, 0, vec![0; 16 * 1024 + 1]).unwrap_err();
    assert_eq!(
        refused(&error),
        &Refused::TooLarge {
            bytes: 16_385,
            bytes_max: 16_384
        }
    );
    assert_eq!(Contents::of(&engine), before);
    engine.close().unwrap();
    assert_eq!(refused(&append(&engine, 8..9, "a").unwrap_err()), &Refused::Closed);
    assert_eq!(Contents::of(&engine), before);
}

#[test]
fn lazy_metadata_costs_no_sync_and_rides_with_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("");
    let (engine, _) = open(folder.path(), options);
    for value in 0..100_u8 {
        engine.put_metadata_lazily(3, Bytes::from(vec![value])).unwrap();
    }
    assert_eq!(engine.metadata(3), Some(Bytes::from(vec![99])));
    assert_eq!(faults.appends(), 0);
    append(&engine, 0..1, "a").unwrap();
    assert_eq!(faults.appends(), 1);
    assert_eq!(engine.pending_bytes(), 0);
}

#[test]
fn the_last_handle_may_go_inside_a_callback() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), LogOptions::default());
    let held = engine.clone();
    let (sender, told) = channel();
    let (go, may_go) = channel::<()>();
    engine.append(entries(0..1, "a"), move |result| {
        may_go.recv().unwrap();
        drop(held);
        sender.send(result).unwrap();
    });
    drop(engine);
    go.send(()).unwrap();
    told.recv().unwrap().unwrap();
    // The writer frees the folder by itself, a moment later.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match LogEngine::open(folder.path(), LogOptions::default()) {
            Ok((_, recovered)) => break assert_eq!(recovered.last, Some(0)),
            Err(OpenError::Locked { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_panicking_callback_stops_the_engine_and_leaves_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let (faults, options) = scripted("hang-sync=1");
    let (engine, _) = open(folder.path(), options);
    engine.append(entries(0..1, "a"), |_| panic!("on purpose"));
    faults.wait_until_hanging();
    let waiting = append_later(&engine, entries(1..2, "a"));
    faults.release();
    failed(&waiting.wait().unwrap_err());
    failed(&append(&engine, 2..3, "a").unwrap_err());
}

#[test]
fn a_fault_script_that_is_not_understood_is_named() {
    for script in ["fail-sync", "fail-sync=0", "fail-sync=x", "burn=1"] {
        let error = script.parse::<ScriptedFaults>().unwrap_err();
        assert_eq!(error.item, script);
    }
}
