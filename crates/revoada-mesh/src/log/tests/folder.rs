//! What a folder may look like when it is opened, and what is left in it.

use super::*;
use crate::log::format::{SEGMENT_HEADER_FIXED_BYTES, record_bytes};
use revoada_core::error::ErrorKind;

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!((recovered.first_index, recovered.last), (0, None));
    append(&engine, 0..10, "a").unwrap();
    put(&engine, 1, "vote").unwrap();
    engine.put_metadata_lazily(2, Bytes::from_static(b"committed")).unwrap();
    assert_eq!(engine.read(2..5, usize::MAX).unwrap(), entries(2..5, "a"));
    engine.close().unwrap();

    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!((recovered.first_index, recovered.last), (0, Some(9)));
    assert_eq!(recovered.metadata[&1], Bytes::from_static(b"vote"));
    assert_eq!(recovered.metadata[&2], Bytes::from_static(b"committed"));
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(engine.read(0..100, usize::MAX).unwrap(), entries(0..10, "a"));
}

#[test]
fn a_read_stops_at_its_limit_and_gives_at_least_one_entry() {
    let folder = tempfile::tempdir().unwrap();
    for cache_bytes in [0, 1 << 20] {
        let folder = folder.path().join(cache_bytes.to_string());
        let (engine, _) = open(&folder, LogOptions { cache_bytes, ..small() });
        append(&engine, 1..100, "a").unwrap();
        assert_eq!(engine.read(1..100, 0).unwrap(), entries(1..2, "a"));
        assert_eq!(engine.read(10..100, 8).unwrap(), entries(10..12, "a"));
        assert_eq!(engine.read(0..3, usize::MAX).unwrap(), entries(1..3, "a"));
        assert_eq!(engine.read(98..200, usize::MAX).unwrap(), entries(98..100, "a"));
        assert_eq!(engine.read(200..300, usize::MAX).unwrap(), []);
    }
}

#[test]
fn one_owner_at_a_time_and_the_other_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    let error = LogEngine::open(folder.path(), small()).unwrap_err();
    assert!(matches!(&error, OpenError::Locked { owner: Some(owner), .. } if *owner == std::process::id()));
    assert!(
        error
            .to_string()
            .ends_with(&format!("in use by process {}", std::process::id())),
        "{error}"
    );
    engine.close().unwrap();
    let (again, _) = open(folder.path(), small());
    drop(again);
    open(folder.path(), small());
}

#[test]
fn a_newer_format_is_refused_by_its_number() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), small()));
    let file = used_segments(folder.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[8] = 2;
    std::fs::write(&file, &bytes).unwrap();
    let error = LogEngine::open(folder.path(), small()).unwrap_err();
    assert!(
        matches!(
            &error,
            OpenError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(std::fs::read(&file).unwrap(), bytes, "nothing was changed");
}

#[test]
fn a_file_of_another_kind_and_a_segment_of_another_log_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), small()));
    let error = LogEngine::open(folder.path(), LogOptions { identity: 7, ..small() }).unwrap_err();
    assert!(
        matches!(
            error,
            OpenError::Foreign {
                expected: 7,
                found: 0,
                ..
            }
        ),
        "{error}"
    );
    let file = used_segments(folder.path()).remove(0);
    std::fs::write(
        &file,
        "%PDF-1.7 is no log, and longer than a segment's header is, at that: 64 bytes",
    )
    .unwrap();
    let error = LogEngine::open(folder.path(), small()).unwrap_err();
    assert!(
        matches!(&error, OpenError::WrongFormat { file: named } if *named == file),
        "{error}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_and_a_full_disk_have_errors_of_their_own() {
    let of = |kind: io::ErrorKind| OpenError::of("create", "/somewhere", kind.into());
    assert!(matches!(
        of(io::ErrorKind::ReadOnlyFilesystem),
        OpenError::ReadOnly { .. }
    ));
    assert!(matches!(
        of(io::ErrorKind::PermissionDenied),
        OpenError::ReadOnly { .. }
    ));
    assert!(matches!(of(io::ErrorKind::StorageFull), OpenError::Full { .. }));
    let folder = tempfile::tempdir().unwrap();
    let faults: ScriptedFaults = "full-allocate=1".parse().unwrap();
    let options = LogOptions {
        faults: Some(Arc::new(faults)),
        ..small()
    };
    let error = LogEngine::open(folder.path(), options).unwrap_err();
    assert!(matches!(error, OpenError::Full { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Exhausted);
    open(folder.path(), small());
}

#[test]
fn a_missing_segment_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    for index in 0..300 {
        append(&engine, index..index + 1, "a").unwrap();
    }
    engine.close().unwrap();
    let segments = used_segments(folder.path());
    assert!(segments.len() > 3);
    for gone in [0, 1] {
        let copy = std::fs::read(&segments[gone]).unwrap();
        std::fs::remove_file(&segments[gone]).unwrap();
        let error = LogEngine::open(folder.path(), small()).unwrap_err();
        assert!(
            matches!(&error, OpenError::Missing { file } if *file == segments[gone]),
            "{error}"
        );
        std::fs::write(&segments[gone], copy).unwrap();
    }
    let (_, recovered) = open(folder.path(), small());
    assert_eq!(recovered.last, Some(299));
}

#[test]
fn a_purge_removes_files_and_keeps_what_their_records_said() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    put(&engine, 1, "vote").unwrap();
    for index in 0..300 {
        append(&engine, index..index + 1, "a").unwrap();
    }
    let before = engine.size_bytes().unwrap();
    purge_to(&engine, 289).unwrap();
    assert_eq!(
        engine.bounds(),
        LogBounds {
            first_index: 290,
            last_index: Some(299)
        }
    );
    assert!(engine.size_bytes().unwrap() < before);
    assert_eq!(engine.read(0..292, usize::MAX).unwrap(), entries(290..292, "a"));
    engine.close().unwrap();
    assert!(engine.stats().segments_removed > 2);
    assert!(used_segments(folder.path()).len() <= 2);

    let (engine, recovered) = open(folder.path(), small());
    assert_eq!((recovered.first_index, recovered.last), (290, Some(299)));
    assert_eq!(recovered.metadata[&1], Bytes::from_static(b"vote"));
    // A snapshot was installed: the log goes on behind it.
    purge_to(&engine, 500).unwrap();
    assert_eq!(
        engine.bounds(),
        LogBounds {
            first_index: 501,
            last_index: None
        }
    );
    drop(engine);
    let (engine, recovered) = open(folder.path(), small());
    assert_eq!((recovered.first_index, recovered.last), (501, None));
    append(&engine, 501..502, "b").unwrap();
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_that_is_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    append(&engine, 0..1, "a").unwrap();
    let large = LogEntry {
        index: 1,
        payload: Bytes::from(vec![7; 100_000]),
    };
    append_later(&engine, vec![large.clone()]).wait().unwrap();
    append(&engine, 2..3, "a").unwrap();
    drop(engine);
    let (engine, recovered) = open(folder.path(), small());
    assert_eq!(recovered.last, Some(2));
    assert_eq!(engine.read(1..2, 0).unwrap(), [large]);
}

#[test]
fn garbage_behind_the_end_is_cut_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), LogOptions::default());
    append(&engine, 0..3, "a").unwrap();
    drop(engine);
    let file = used_segments(folder.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    let end = SEGMENT_HEADER_FIXED_BYTES + 3 * record_bytes(3);
    bytes[end..end + 200].fill(0xa5);
    std::fs::write(&file, bytes).unwrap();
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!(
        recovered.torn_tail,
        Some(TornTail {
            file: file.clone(),
            offset: end as u64,
            bytes: 200
        })
    );
    assert_eq!(recovered.last, Some(2));
    append(&engine, 3..5, "a").unwrap();
    drop(engine);
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!(recovered.torn_tail, None);
    assert_eq!(engine.read(0..9, usize::MAX).unwrap(), entries(0..5, "a"));
}

#[test]
fn a_damaged_entry_is_named_when_it_is_read_and_when_the_log_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let options = || LogOptions {
        cache_bytes: 0,
        ..LogOptions::default()
    };
    let (engine, _) = open(folder.path(), options());
    append(&engine, 0..3, "a").unwrap();
    append(&engine, 3..6, "a").unwrap();
    let file = used_segments(folder.path()).remove(0);
    let place = SEGMENT_HEADER_FIXED_BYTES + record_bytes(3);
    flip_bit(&file, (place + 41) * 8);
    let expected = Rot {
        file: file.clone(),
        offset: place as u64,
        what: "an entry's payload cannot be read",
    };
    let error = engine.read(0..6, usize::MAX).unwrap_err();
    assert_eq!(error.get_ref().unwrap().downcast_ref(), Some(&expected));
    assert_eq!(engine.read(2..6, usize::MAX).unwrap(), entries(2..6, "a"));
    drop(engine);
    match LogEngine::open(folder.path(), options()).unwrap_err() {
        OpenError::Rot(rot) => assert_eq!((rot.file, rot.offset), (file, place as u64)),
        other => panic!("{other}"),
    }
}

#[test]
fn rot_in_the_very_last_write_is_found_once_the_engine_was_idle() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), LogOptions::default());
    append(&engine, 0..1, "a").unwrap();
    engine.close().unwrap();
    let file = used_segments(folder.path()).remove(0);
    flip_bit(&file, (SEGMENT_HEADER_FIXED_BYTES + 41) * 8);
    let error = LogEngine::open(folder.path(), LogOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Rot(_)), "{error}");
}

#[test]
fn what_was_torn_does_not_come_back_behind_later_entries() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), LogOptions::default());
    append(&engine, 0..1, "a").unwrap();
    append(&engine, 1..4, "torn").unwrap();
    drop(engine);
    let file = used_segments(folder.path()).remove(0);
    let mut bytes = std::fs::read(&file).unwrap();
    // Of the second write the first record never reached the disk, and the other two did; there was no time to mark.
    let start = SEGMENT_HEADER_FIXED_BYTES + record_bytes(3);
    let record = record_bytes(6);
    bytes[start..start + record].fill(0);
    bytes[start + 3 * record..].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!(recovered.last, Some(0));
    assert_eq!(
        recovered.torn_tail,
        Some(TornTail {
            file: file.clone(),
            offset: start as u64,
            bytes: 3 * record as u64 - 2
        })
    );
    append(&engine, 1..2, "more").unwrap();
    // Closing leaves a mark; a crash does not.
    let crashed = std::fs::read(&file).unwrap();
    drop(engine);
    std::fs::write(&file, crashed).unwrap();
    let (engine, recovered) = open(folder.path(), LogOptions::default());
    assert_eq!(recovered.last, Some(1));
    assert_eq!(engine.read(1..9, usize::MAX).unwrap(), entries(1..2, "more"));
}

#[test]
fn a_read_for_later_is_what_the_log_held_when_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    append(&engine, 0..200, "a").unwrap();
    let here = std::thread::current().id();
    let ask = |range: Range<u64>| {
        let (sender, answer) = channel();
        engine.read_then(range, usize::MAX, move |read| {
            sender.send((read, std::thread::current().id())).unwrap();
        });
        answer
    };
    // The first read is held up, and what follows it finds the log cut at both ends.
    let (release, busy) = channel::<()>();
    engine.read_then(0..1, 1, move |_| busy.recv().unwrap());
    let answer = ask(0..200);
    truncate_from(&engine, 150).unwrap();
    purge_to(&engine, 100).unwrap();
    release.send(()).unwrap();
    let (read, thread) = answer.recv().unwrap();
    assert_eq!(read.unwrap(), entries(0..200, "a"));
    assert_ne!(thread, here);
    let (read, _) = ask(0..200).recv().unwrap();
    assert_eq!(read.unwrap(), entries(101..150, "a"));
    // What is in memory needs no other thread.
    let (read, thread) = ask(300..400).recv().unwrap();
    assert_eq!((read.unwrap(), thread), (Vec::new(), here));
}
