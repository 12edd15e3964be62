use std::io::Write as _;

use proptest::prelude::*;
use revoada_core::keyspace::EntryNumbers;
use revoada_store::read_snapshot;

use super::*;

const PAGE: usize = 4096;

/// One page: a header, elements of 16 bytes, keys and values.
fn page(id: u64, kind: u16, elements: &[(u32, &[u8], &[u8])]) -> Vec<u8> {
    let mut page = id.to_le_bytes().to_vec();
    page.extend(kind.to_le_bytes());
    page.extend((elements.len() as u16).to_le_bytes());
    page.extend([0; 4]);
    let mut position = elements.len() * 16;
    for (flags, key, value) in elements {
        if kind == 1 {
            page.extend((position as u32).to_le_bytes());
            page.extend((key.len() as u32).to_le_bytes());
            page.extend_from_slice(value);
            position += key.len();
        } else {
            for number in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                page.extend(number.to_le_bytes());
            }
            position += key.len() + value.len();
        }
        position -= 16;
    }
    for (_, key, value) in elements {
        page.extend_from_slice(key);
        if kind != 1 {
            page.extend_from_slice(value);
        }
    }
    page
}

fn meta(id: u64, txid: u64, root: u64, pages: u64) -> Vec<u8> {
    let mut content = 0xED0C_DAED_u32.to_le_bytes().to_vec();
    for number in [2, PAGE as u32, 0] {
        content.extend(number.to_le_bytes());
    }
    for number in [root, 0, u64::MAX, pages, txid] {
        content.extend(number.to_le_bytes());
    }
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let sum = content.iter().fold(0xcbf2_9ce4_8422_2325, step);
    content.extend(sum.to_le_bytes());
    let mut page = page(id, 4, &[]);
    page.extend(content);
    page
}

fn revision(main: u64, sub: u64, tombstone: bool) -> Vec<u8> {
    let mut key = main.to_be_bytes().to_vec();
    key.push(b'_');
    key.extend(sub.to_be_bytes());
    key.extend(tombstone.then_some(b't'));
    key
}

fn kv(key: &str, numbers: (i64, i64, i64), value: &str, lease: i64) -> Vec<u8> {
    let (create_revision, mod_revision, version) = numbers;
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision,
        mod_revision,
        version,
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease,
    }
    .encode_to_vec()
}

/// A database as etcd has it: `a` written twice, `b` with a lease, `c` deleted, `d` written by the transaction that wrote
/// `b`; two leaves below a branch.
fn database() -> Vec<u8> {
    let first = [
        (revision(2, 0, false), kv("a", (2, 2, 1), "old", 0)),
        (revision(3, 0, false), kv("b", (3, 3, 1), "leased", 77)),
        (revision(3, 1, false), kv("d", (3, 3, 1), "", 0)),
    ];
    let second = [
        (revision(4, 0, false), kv("c", (4, 4, 1), "gone", 0)),
        (revision(5, 0, false), kv("a", (2, 5, 2), "new", 0)),
        (revision(6, 0, true), kv("c", (0, 0, 0), "", 0)),
    ];
    let leaf = |id, pairs: &[(Vec<u8>, Vec<u8>)]| {
        let elements: Vec<_> = pairs.iter().map(|(key, value)| (0, &key[..], &value[..])).collect();
        page(id, 2, &elements)
    };
    let (four, five) = (4_u64.to_le_bytes(), 5_u64.to_le_bytes());
    let branch = page(3, 1, &[(0, &first[0].0, &four), (0, &second[0].0, &five)]);
    let bucket = |root: u64, page: &[u8]| [&root.to_le_bytes()[..], &[0; 8], page].concat();
    let lease = leasepb::Lease {
        id: 77,
        ttl: 60,
        remaining_ttl: 0,
    };
    let lease = page(0, 2, &[(0, &77_u64.to_be_bytes(), &lease.encode_to_vec())]);
    let compacted = revision(9, 0, false);
    let meta_bucket = page(0, 2, &[(0, b"finishedCompactRev", &compacted)]);
    let users = page(0, 2, &[(0, b"root", b"x")]);
    let root = page(
        2,
        2,
        &[
            (1, b"authUsers", &bucket(0, &users)),
            (1, b"key", &bucket(3, &[])),
            (1, b"lease", &bucket(0, &lease)),
            (1, b"meta", &bucket(0, &meta_bucket)),
        ],
    );
    let pages = [
        meta(0, 6, 2, 6),
        meta(1, 7, 2, 6),
        root,
        branch,
        leaf(4, &first),
        leaf(5, &second),
    ];
    let mut file = Vec::new();
    for page in pages {
        file.extend_from_slice(&page);
        file.resize(file.len().next_multiple_of(PAGE), 0);
    }
    file
}

fn with_digest(mut database: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&database);
    database.extend_from_slice(&digest);
    database
}

fn open(bytes: &[u8], check_digest: bool) -> Result<SnapshotFile, FileError> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    SnapshotFile::open(file, check_digest, &mut |_, _| {})
}

fn written(file: &SnapshotFile, bump: u64) -> Result<Vec<u8>, FileError> {
    let mut snapshot = Vec::new();
    file.write(bump, &mut snapshot, &mut |_| {})?;
    Ok(snapshot)
}

/// Waits for a future that needs no runtime.
fn ready<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

#[test]
fn what_etcd_has_at_its_newest_revision_is_what_a_new_cluster_begins_with() {
    let file = open(&with_digest(database()), true).unwrap();
    let summary = file.summary();
    assert_eq!((summary.revision, summary.keys, summary.leases), (9, 3, 1));
    assert_eq!(summary.users, ["root"]);
    let snapshot = written(&file, 0).unwrap();
    let whole = ready(read_snapshot(&mut &snapshot[..])).unwrap();
    let entries: Vec<_> = whole
        .restore
        .entries
        .iter()
        .map(|(key, value)| (&key[..], &value[..]))
        .collect();
    assert_eq!(entries, [(&b"ea"[..], &b"new"[..]), (b"eb", b"leased"), (b"ed", b"")]);
    let numbers = |create_revision, mod_revision, version| EntryNumbers {
        create_revision,
        mod_revision,
        version,
    };
    assert_eq!(
        whole.restore.numbers,
        [numbers(2, 5, 2), numbers(3, 3, 1), numbers(3, 3, 1)]
    );
    assert_eq!(whole.restore.revision, 9);
    let leases: Vec<_> = whole
        .restore
        .leases
        .iter()
        .map(|lease| (lease.id, lease.ttl_ms, lease.keys.len()))
        .collect();
    assert_eq!(leases, [(77, 60_000, 1)]);
    let bumped = written(&file, 1_000).unwrap();
    assert_eq!(ready(read_snapshot(&mut &bumped[..])).unwrap().restore.revision, 1_009);
}

#[test]
fn a_file_that_was_cut_or_changed_is_named_so() {
    let whole = with_digest(database());
    let mut changed = whole.clone();
    changed[5 * PAGE + 200] ^= 1;
    assert!(matches!(open(&changed, true), Err(FileError::Damaged { .. })));
    let cut = &whole[..whole.len() - 100];
    assert!(matches!(open(cut, true), Err(FileError::NoDigest | FileError::Bolt(_))));
    assert!(matches!(open(&database(), true), Err(FileError::NoDigest)));
    assert!(open(&database(), false).is_ok(), "a copy of a database has none");
    for other in [&b""[..], b"revoada-snapshot", &[0; 3 * PAGE]] {
        assert!(matches!(open(other, true), Err(FileError::Bolt(BoltError::NotBolt))));
    }
    let short = &database()[..5 * PAGE];
    assert!(matches!(
        open(short, false),
        Err(FileError::Bolt(BoltError::CutShort { .. }))
    ));
}

#[test]
fn one_damaged_meta_page_leaves_the_other() {
    for meta in [0, PAGE] {
        let mut database = database();
        database[meta + 30] ^= 1;
        assert_eq!(open(&database, false).unwrap().summary().keys, 3);
    }
}

#[test]
fn pages_that_point_at_each_other_end_in_an_error() {
    let mut database = database();
    // The branch's children: the branch itself.
    for child in 0..2 {
        let at = 3 * PAGE + 16 + child * 16 + 8;
        database[at..at + 8].copy_from_slice(&3_u64.to_le_bytes());
    }
    let error = open(&database, false).unwrap_err();
    assert!(matches!(error, FileError::Bolt(BoltError::Malformed { .. })), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_changed_or_cut_ends_in_a_snapshot_or_an_error(
        changes in prop::collection::vec((0..6_usize, 0..400_usize, any::<u8>()), 0..6),
        length in prop::option::of(0..6 * PAGE),
    ) {
        let mut database = database();
        for (page, at, byte) in changes {
            database[page * PAGE + at] = byte;
        }
        if let Some(length) = length {
            database.truncate(length);
        }
        if let Ok(file) = open(&database, false)
            && let Ok(snapshot) = written(&file, 0)
        {
            // What is written is whole, whatever it says.
            prop_assert!(revoada_core::snapshot::verify(&snapshot[..]).is_ok());
        }
    }
}
