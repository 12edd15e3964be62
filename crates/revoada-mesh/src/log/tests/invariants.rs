//! Many threads on one log.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn readers_see_a_contiguous_log_while_it_grows_and_shrinks() {
    let folder = tempfile::tempdir().unwrap();
    let options = LogOptions {
        segment_bytes: 16 * 1024,
        cache_bytes: 512,
        ..LogOptions::default()
    };
    let (engine, _) = open(folder.path(), options.clone());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3_u64)
            .map(|reader| {
                let (engine, stop) = (engine.clone(), &stop);
                scope.spawn(move || {
                    let mut seen = 0;
                    loop {
                        // Looked at before the read: a thread that never ran meanwhile reads what there is in the end.
                        let stopped = stop.load(Ordering::SeqCst);
                        let bounds = engine.bounds();
                        let from = bounds.first_index + (seen * 7 + reader) % 64;
                        let read = engine.read(from..from + 50, 10_000).unwrap();
                        for pair in read.windows(2) {
                            assert_eq!(pair[1].index, pair[0].index + 1);
                        }
                        for entry in &read {
                            assert!(entry.payload.ends_with(format!("-{}", entry.index).as_bytes()));
                        }
                        seen += read.len() as u64;
                        if stopped {
                            return seen;
                        }
                    }
                })
            })
            .collect();
        let mut answers = Vec::new();
        for round in 0..300_u64 {
            let next = engine.bounds().last_index.map_or(0, |last| last + 1);
            answers.push(append_later(&engine, entries(next..next + 20, "a")));
            if round % 5 == 0 {
                let (done, answer) = done();
                engine.truncate_from(next + 10, done);
                answers.push(answer);
            }
            if round % 20 == 19 {
                let (done, answer) = done();
                engine.purge_to(next.saturating_sub(30), done);
                answers.push(answer);
                answers.drain(..).for_each(|answer| answer.wait().unwrap());
            }
        }
        answers.drain(..).for_each(|answer| answer.wait().unwrap());
        stop.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.join().unwrap() > 0);
        }
    });
    let before = Contents::of(&engine);
    engine.close().unwrap();
    let (engine, _) = open(folder.path(), options);
    assert_eq!(Contents::of(&engine), before);
}

#[test]
fn callbacks_run_in_the_order_of_the_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _) = open(folder.path(), small());
    let (sender, order) = channel();
    for index in 0..200 {
        let sender = sender.clone();
        engine.append(entries(index..index + 1, "a"), move |result| {
            result.unwrap();
            sender.send(index).unwrap();
        });
    }
    drop(sender);
    assert!(order.iter().eq(0..200));
}
