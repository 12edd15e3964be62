//! Measures the keyspace: `cargo run --release -p revoada-core --example keyspace_bench`.
//!
//! One thread, processor time, 100,000 keys shaped like resource keys, values of 1 KiB: puts per second (new keys, then
//! overwriting all of them in another order, then with a clone taken every 64 puts as the state machine does), compaction,
//! a paged list, the checkpoint both ways, what a put and a page cost as keys grow, and the resident memory per entry as
//! Linux counts it.

use std::error::Error;
use std::fs;
use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use revoada_core::keyspace::{KeyRange, Keyspace, Op, Operation, RangeQuery, Txn};

const ENTRIES: usize = 100_000;
const VALUE_BYTES: usize = 1024;
const GROWN_VALUE_BYTES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let keys: Vec<Bytes> = (0..ENTRIES)
        .map(|index| Bytes::from(format!("r/\0ConfigMap\0default\0bench-{index:08}")))
        .collect();
    // A stride that has no common factor with the number of keys visits each once, in no useful order.
    let scattered = |index: usize| (index * 7_919) % ENTRIES;

    let idle = resident_bytes()?;
    let mut keyspace = Keyspace::new();
    let new = timed(|| (0..ENTRIES).try_for_each(|index| put(&mut keyspace, &keys[scattered(index)], index)))?;
    report("put, new keys", ENTRIES, new);
    let per_entry = resident_bytes()?.saturating_sub(idle) / ENTRIES;
    println!(
        "{:32} {per_entry:>12} B/entry, {} events of history",
        "resident, new keys",
        keyspace.history_events()
    );

    let over = timed(|| (0..ENTRIES).try_for_each(|index| put(&mut keyspace, &keys[scattered(index)], index + 1)))?;
    report("put, existing keys", ENTRIES, over);
    let per_event = (resident_bytes()?.saturating_sub(idle) / ENTRIES).saturating_sub(per_entry);
    println!("{:32} {per_event:>12} B/event", "resident, history of overwriting");
    let mut snapshot = keyspace.clone();
    let shared = timed(|| {
        (0..ENTRIES).try_for_each(|index| {
            if index % 64 == 0 {
                snapshot = keyspace.clone();
            }
            put(&mut keyspace, &keys[scattered(index)], index + 2)
        })
    })?;
    report("put, a clone every 64", ENTRIES, shared);
    drop(snapshot);
    let ascending = timed(|| (0..ENTRIES).try_for_each(|index| put(&mut keyspace, &keys[index], index + 3)))?;
    report("put, in key order", ENTRIES, ascending);

    let gets = timed(|| {
        (0..ENTRIES).for_each(|index| drop(black_box(keyspace.get(&keys[scattered(index)]).cloned())));
        Ok(())
    })?;
    report("get", ENTRIES, gets);

    let old = keyspace.revision() - 1_000;
    let mut after = None;
    let mut pages = 0;
    let list = timed(|| {
        loop {
            let query = RangeQuery {
                range: KeyRange::All,
                revision: Some(old),
                limit: 500,
                after: after.take(),
                ..RangeQuery::default()
            };
            let page = keyspace.range(&query)?;
            pages += 1;
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more {
                return Ok(());
            }
        }
    })?;
    report("list at an old revision, pages", pages, list);

    println!("{:32} {:>12} B by our count", "history", keyspace.history_bytes());
    let mut bytes = Vec::new();
    let written = timed(|| Ok(keyspace.clone().write_checkpoint(&mut bytes)?))?;
    report_bytes("write, with 400,000 events", bytes.len(), written);
    let read = timed(|| {
        black_box(Keyspace::read_checkpoint(bytes.as_slice())?);
        Ok(())
    })?;
    report_bytes("read, with 400,000 events", bytes.len(), read);

    let revision = keyspace.revision();
    let before = keyspace.history_events();
    let compacted = timed(|| {
        keyspace.apply(Operation::Compact { revision })?;
        Ok(())
    })?;
    report("compact, events dropped", before - keyspace.history_events(), compacted);

    bytes = Vec::new();
    let written = timed(|| Ok(keyspace.clone().write_checkpoint(&mut bytes)?))?;
    report_bytes("write, without history", bytes.len(), written);
    let read = timed(|| {
        black_box(Keyspace::read_checkpoint(bytes.as_slice())?);
        Ok(())
    })?;
    report_bytes("read, without history", bytes.len(), read);
    drop(keyspace);
    for entries in [1_000, 100_000, 1_000_000] {
        as_it_grows(entries)?;
    }
    Ok(())
}

/// What a put, and a page of a list with its total, cost among so many keys, with a clone every 64 puts.
fn as_it_grows(entries: usize) -> Result<(), Box<dyn Error>> {
    const ROUNDS: usize = 100_000;
    let key = |index: usize| Bytes::from(format!("key-{:012}", index * 7_919 % entries));
    let idle = resident_bytes()?;
    let mut keyspace = Keyspace::new();
    for index in 0..entries {
        let op = Op::put(key(index), vec![7; GROWN_VALUE_BYTES]);
        keyspace.apply(Operation::Txn(Txn::always(vec![op])))?;
        let revision = keyspace.revision();
        if index % 10_000 == 9_999 {
            keyspace.apply(Operation::Compact { revision })?;
        }
    }
    println!(
        "{:32} {:>12} B/entry",
        format!("resident, {entries} keys of 256 B"),
        resident_bytes()?.saturating_sub(idle) / entries
    );
    let mut snapshot = keyspace.clone();
    let puts = timed(|| {
        for index in 0..ROUNDS {
            if index % 64 == 0 {
                snapshot = keyspace.clone();
            }
            let op = Op::put(key(index * 31), vec![8; GROWN_VALUE_BYTES]);
            keyspace.apply(Operation::Txn(Txn::always(vec![op])))?;
        }
        Ok(())
    })?;
    drop(snapshot);
    report(&format!("put among {entries}"), ROUNDS, puts);
    let query = RangeQuery {
        limit: 1,
        ..RangeQuery::of(KeyRange::All)
    };
    const PAGES: usize = 100;
    let pages = timed(|| {
        for _ in 0..PAGES {
            assert_eq!(black_box(keyspace.range(&query)?).count, entries as u64);
        }
        Ok(())
    })?;
    report(&format!("page and total of {entries}"), PAGES, pages);
    Ok(())
}

fn put(keyspace: &mut Keyspace, key: &Bytes, number: usize) -> Result<(), Box<dyn Error>> {
    // What comes from the network owns its bytes, so the cost of making them is part of the measurement.
    let value = vec![number as u8; VALUE_BYTES];
    let op = Op::put(Bytes::copy_from_slice(key), value);
    keyspace.apply(Operation::Txn(Txn::always(vec![op])))?;
    Ok(())
}

/// The processor time that the work takes, so that a busy machine does not count against it.
fn timed(work: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let start = processor_time()?;
    work()?;
    Ok(processor_time()? - start)
}

/// How long this thread has run (`/proc/thread-self/schedstat`, in nanoseconds).
fn processor_time() -> Result<Duration, Box<dyn Error>> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(
        schedstat.split(' ').next().ok_or("schedstat is empty")?.parse()?,
    ))
}

fn report(what: &str, count: usize, took: Duration) {
    println!(
        "{what:32} {:>12.0} /s ({count} in {took:.1?})",
        count as f64 / took.as_secs_f64()
    );
}

fn report_bytes(what: &str, bytes: usize, took: Duration) {
    println!(
        "{what:32} {:>12.0} MB/s ({bytes} B in {took:.1?})",
        bytes as f64 / took.as_secs_f64() / 1e6
    );
}

/// What the process holds in memory now (`/proc/self/statm`, in pages of 4 KiB).
fn resident_bytes() -> Result<usize, Box<dyn Error>> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: usize = statm.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * 4096)
}
