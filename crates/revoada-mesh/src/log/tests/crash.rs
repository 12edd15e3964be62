//! Crashes between and in the middle of writes, against a model.

use std::collections::BTreeSet;
use std::fs;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append { count: u64, payload_bytes: usize },
    Put { slot: u8, bytes: usize },
    PutLazily { slot: u8, bytes: usize },
    TruncateLast(u64),
    PurgeFirst(u64),
    PurgeBeyond(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1_u64..8, 0_usize..700).prop_map(|(count, payload_bytes)| Step::Append { count, payload_bytes }),
        2 => (0_u8..3, 0_usize..60).prop_map(|(slot, bytes)| Step::Put { slot, bytes }),
        2 => (0_u8..3, 0_usize..60).prop_map(|(slot, bytes)| Step::PutLazily { slot, bytes }),
        2 => (0_u64..8).prop_map(Step::TruncateLast),
        2 => (0_u64..12).prop_map(Step::PurgeFirst),
        1 => (0_u64..5).prop_map(Step::PurgeBeyond),
        1 => Just(Step::Reopen),
    ]
}

/// The engine and what it should hold.
struct Subject {
    folder: tempfile::TempDir,
    options: LogOptions,
    engine: LogEngine,
    /// 0-based; the first append of a fresh log begins at 1, as a snapshot never has to.
    next: u64,
    first: u64,
    entries: BTreeMap<u64, Bytes>,
    metadata: BTreeMap<u8, Bytes>,
    salt: u8,
}

impl Subject {
    fn new(cache_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 2048,
            cache_bytes,
            identity: 42,
            ..LogOptions::default()
        };
        let (engine, _) = open(folder.path(), options.clone());
        let (entries, metadata) = (BTreeMap::new(), BTreeMap::new());
        Self {
            folder,
            options,
            engine,
            next: 0,
            first: 0,
            entries,
            metadata,
            salt: 0,
        }
    }

    /// Bytes that are not those of another step.
    fn payload(&mut self, bytes: usize) -> Bytes {
        self.salt = self.salt.wrapping_add(1);
        Bytes::from(vec![self.salt; bytes])
    }

    fn new_entries(&mut self, count: u64, payload_bytes: usize) -> Vec<LogEntry> {
        (self.next..self.next + count)
            .map(|index| LogEntry {
                index,
                payload: self.payload(payload_bytes),
            })
            .collect()
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Append { count, payload_bytes } => {
                let entries = self.new_entries(count, payload_bytes);
                append_later(&self.engine, entries.clone()).wait().unwrap();
                self.next += count;
                self.entries
                    .extend(entries.into_iter().map(|entry| (entry.index, entry.payload)));
            }
            Step::Put { slot, bytes } => {
                let value = self.payload(bytes);
                put(&self.engine, slot, value.clone()).unwrap();
                self.metadata.insert(slot, value);
            }
            Step::PutLazily { slot, bytes } => {
                let value = self.payload(bytes);
                self.engine.put_metadata_lazily(slot, value.clone()).unwrap();
                self.metadata.insert(slot, value);
            }
            Step::TruncateLast(count) => {
                let index = self.next.saturating_sub(count);
                truncate_from(&self.engine, index).unwrap();
                self.entries.split_off(&index);
                self.next = index.max(self.first);
            }
            Step::PurgeFirst(count) => {
                if count > 0 && self.entries.len() as u64 >= count {
                    self.purge(self.first + count - 1);
                }
            }
            Step::PurgeBeyond(count) => self.purge(self.next + count),
            Step::Reopen => {
                self.engine.close().unwrap();
                let (engine, recovered) = open(self.folder.path(), self.options.clone());
                assert_eq!(recovered.torn_tail, None);
                self.engine = engine;
            }
        }
    }

    fn purge(&mut self, index: u64) {
        purge_to(&self.engine, index).unwrap();
        self.first = index + 1;
        self.next = self.next.max(self.first);
        self.entries = self.entries.split_off(&self.first);
    }

    fn expected(&self) -> Contents {
        let last = self.entries.last_key_value().map(|(index, _)| index + 1);
        Contents {
            first_index: self.first,
            next_index: last,
            entries: self.entries.clone(),
            metadata: self.metadata.clone(),
        }
    }

    /// What is on the disk now. A crash sees the folder at one moment; the second thread may be removing segments
    /// while this reads, so it reads again until nothing went missing.
    fn image(&self) -> Image {
        loop {
            let paths: Vec<_> = fs::read_dir(self.folder.path())
                .unwrap()
                .map(|file| file.unwrap().path())
                .collect();
            let read = |path: &PathBuf| {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((name, fs::read(path).ok()?))
            };
            if let Some(image) = paths.iter().map(read).collect() {
                return image;
            }
        }
    }
}

type Image = BTreeMap<String, Vec<u8>>;

const SECTOR: usize = 512;

fn write_image(image: &Image) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in image {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

/// `after`, with only some of the sectors in which it differs from `before`. Segments are written one after the
/// other, so all before the torn one are as in `after`, and all behind it as in `before`. Segments that were removed
/// meanwhile are there again: a removal that a write leads to begins when all of that write is durable, so no crash
/// can both tear the write and find the segment gone (`a_segment_stays_until_what_makes_it_unneeded_is_durable`).
fn tear(before: &Image, after: &Image, which: prop::sample::Index, kept: &BTreeSet<usize>) -> Image {
    let changed: Vec<_> = after
        .iter()
        .filter(|(name, bytes)| before.get(*name) != Some(bytes) && name.ends_with(".log"))
        .collect();
    if changed.is_empty() {
        return after.clone();
    }
    let mut image = before.clone();
    image.extend(after.clone());
    let torn = which.index(changed.len());
    for (at, (name, bytes)) in changed.iter().enumerate().skip(torn) {
        let mut old = before.get(*name).cloned().unwrap_or_default();
        old.resize(bytes.len(), 0);
        for (sector, new) in bytes.chunks(SECTOR).enumerate() {
            if at == torn && kept.contains(&sector) {
                old[sector * SECTOR..sector * SECTOR + new.len()].copy_from_slice(new);
            }
        }
        image.insert((*name).clone(), old);
    }
    image
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn invariant_a_crash_loses_nothing_acknowledged_and_keeps_a_prefix_of_the_rest(
        steps in prop::collection::vec(step(), 1..30),
        cache_bytes in 0_usize..4096,
        last in (1_u64..10, 0_usize..900),
        which in any::<prop::sample::Index>(),
        kept in prop::collection::btree_set(0_usize..5, 0..5),
    ) {
        let mut subject = Subject::new(cache_bytes);
        for step in &steps {
            subject.take(step);
            prop_assert_eq!(Contents::of(&subject.engine), subject.expected());
        }
        // Lazy metadata is not acknowledged: what comes next carries it.
        put(&subject.engine, 9, "sync").unwrap();
        subject.metadata.insert(9, Bytes::from_static(b"sync"));
        let before = subject.image();
        let acknowledged = subject.expected();
        let more = subject.new_entries(last.0, last.1);
        append_later(&subject.engine, more.clone()).wait().unwrap();
        let torn = tear(&before, &subject.image(), which, &kept);

        let folder = write_image(&torn);
        let (engine, recovered) = open(folder.path(), subject.options.clone());
        let found = Contents::of(&engine);
        let extra = found.entries.len() - acknowledged.entries.len();
        let mut expected = acknowledged;
        for entry in &more[..extra] {
            expected.entries.insert(entry.index, entry.payload.clone());
            expected.next_index = Some(entry.index + 1);
        }
        prop_assert_eq!(&found, &expected);
        prop_assert_eq!(recovered.metadata, expected.metadata);

        // What was recovered can be built upon.
        append_later(&engine, more[extra..].to_vec()).wait().unwrap();
        engine.close().unwrap();
        let (engine, recovered) = open(folder.path(), subject.options.clone());
        prop_assert_eq!(recovered.torn_tail, None);
        prop_assert_eq!(recovered.last, more.last().map(|entry| entry.index));
        let tail = engine.read(more[0].index..u64::MAX, usize::MAX).unwrap();
        prop_assert_eq!(tail, more);
    }

    #[test]
    fn invariant_a_flipped_bit_is_found_or_harmless(
        steps in prop::collection::vec(step(), 1..20),
        which in any::<prop::sample::Index>(),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut subject = Subject::new(0);
        for step in &steps {
            subject.take(step);
        }
        subject.engine.close().unwrap();
        let mut image = subject.image();
        let names: Vec<_> = image.iter()
            .filter(|(name, bytes)| name.ends_with(".log") && bytes.iter().any(|byte| *byte != 0))
            .map(|(name, _)| name.clone())
            .collect();
        let bytes = image.get_mut(&names[which.index(names.len())]).unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let bit = bit.index(end * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let folder = write_image(&image);
        match LogEngine::open(folder.path(), subject.options.clone()) {
            Ok((engine, _)) => prop_assert_eq!(Contents::of(&engine), subject.expected()),
            Err(OpenError::Rot(_) | OpenError::WrongFormat { .. } | OpenError::NewerFormat { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }

    #[test]
    fn invariant_a_cut_file_gives_a_prefix_or_an_error(
        count in 1_u64..40,
        payload_bytes in 0_usize..300,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut subject = Subject::new(0);
        for _ in 0..count {
            subject.take(&Step::Append { count: 1, payload_bytes });
        }
        subject.engine.close().unwrap();
        let mut image = subject.image();
        image.retain(|name, bytes| !name.ends_with(".log") || bytes.iter().any(|byte| *byte != 0));
        let name = image.keys().rfind(|name| name.ends_with(".log")).unwrap().clone();
        let bytes = image.get_mut(&name).unwrap();
        bytes.truncate(cut.index(bytes.len()));
        let folder = write_image(&image);
        match LogEngine::open(folder.path(), subject.options.clone()) {
            Ok((engine, _)) => {
                let found = Contents::of(&engine).entries;
                let expected: BTreeMap<_, _> = subject.entries.into_iter().take(found.len()).collect();
                prop_assert_eq!(found, expected);
            }
            Err(OpenError::Rot(_) | OpenError::Missing { .. }) => {}
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
