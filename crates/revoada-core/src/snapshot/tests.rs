//! The snapshot file: the same bytes for the same resources, and each kind of damage told apart.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;
use crate::limits::{DOCUMENT_BYTES_MAX, NAME_BYTES_MAX};

fn reference(kind: &str, name: &str) -> ResourceRef {
    ResourceRef {
        group: String::new(),
        kind: kind.into(),
        namespace: "default".into(),
        name: name.into(),
    }
}

fn header() -> Header {
    Header {
        revision: 41,
        declaration: "face: homelab\n".into(),
        created_by: "revoada test, memory".into(),
    }
}

fn snapshot(header: Header, entries: &[(ResourceRef, &[u8])], sections: &[(&str, &[u8])]) -> (Vec<u8>, Inspection) {
    let mut writer = SnapshotWriter::new(Vec::new(), header).unwrap();
    for (reference, document) in entries {
        writer.entry(reference, ResourceFormat::Yaml, document).unwrap();
    }
    for (name, content) in sections {
        writer.section(name, content).unwrap();
    }
    writer.finish().unwrap()
}

fn small() -> (Vec<u8>, Inspection) {
    let entries: [(ResourceRef, &[u8]); 2] = [
        (reference("ConfigMap", "a"), b"kind: ConfigMap\n"),
        (reference("ConfigMap", "b"), b""),
    ];
    snapshot(
        header(),
        &entries,
        &[(section::ROLES, b"who is what"), (section::CHAIN, b"")],
    )
}

#[test]
fn it_says_what_it_holds() {
    let (bytes, written) = small();
    let read = inspect(bytes.as_slice()).unwrap();
    assert_eq!(read, written);
    assert_eq!((read.format, read.revision, read.entries), (FORMAT, 41, 2));
    assert_eq!(read.bytes, bytes.len() as u64);
    assert_eq!(read.declaration, "face: homelab\n");
    assert_eq!(read.sections, [section::ROLES, section::CHAIN]);
}

#[test]
fn the_resource_section_is_the_same_whatever_wrote_it() {
    let entries: [(ResourceRef, &[u8]); 1] = [(reference("ConfigMap", "a"), b"x")];
    let other = Header {
        revision: 7,
        declaration: "another".into(),
        created_by: "revoada test, folder".into(),
    };
    let (bytes, mine) = snapshot(header(), &entries, &[]);
    let (others, theirs) = snapshot(other, &entries, &[(section::CHAIN, b"blocks")]);
    assert_eq!(mine.resources, theirs.resources);
    assert_ne!(mine.digest, theirs.digest);
    // From the first resource to the digest of the section, byte for byte.
    let section = |bytes: &[u8]| {
        let end = bytes
            .windows(Digest::BYTES)
            .position(|window| window == mine.resources.as_bytes())
            .unwrap();
        let start = bytes
            .windows(4)
            .position(|window| window == [tag::RESOURCE, 1, 0, 0])
            .unwrap();
        bytes[start..end].to_vec()
    };
    assert_eq!(section(&bytes), section(&others));
}

#[test]
fn every_cut_is_called_a_cut() {
    let (bytes, _) = small();
    for cut in 1..bytes.len() {
        let error = verify(&bytes[..cut]).unwrap_err();
        assert!(
            matches!(error, SnapshotError::CutShort { bytes } if bytes == cut as u64),
            "at {cut}: {error}"
        );
    }
    assert!(matches!(verify(&b""[..]), Err(SnapshotError::NotASnapshot)));
}

#[test]
fn every_flipped_bit_is_called_damage() {
    let (bytes, _) = small();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let error = verify(flipped.as_slice()).unwrap_err();
        match bit / 8 {
            // What does not begin as a snapshot is none, and the mark at the end is not part of the digest.
            at if at < MAGIC.len() => assert!(matches!(error, SnapshotError::NotASnapshot), "bit {bit}: {error}"),
            at if at >= bytes.len() - END.len() => {
                assert!(matches!(error, SnapshotError::Malformed { .. }), "bit {bit}: {error}");
            }
            _ => assert!(matches!(error, SnapshotError::Damaged { .. }), "bit {bit}: {error}"),
        }
    }
}

/// Puts the digest of what is there behind it: a file that was written so on purpose.
fn sealed(mut body: Vec<u8>) -> Vec<u8> {
    let digest = blake3::hash(&body);
    body.extend(digest.as_bytes());
    body.extend(END);
    body
}

#[test]
fn a_newer_format_is_called_so() {
    let (bytes, _) = small();
    let mut body = bytes[..bytes.len() - TRAILER_BYTES].to_vec();
    body[MAGIC.len()] = 2;
    let error = verify(sealed(body).as_slice()).unwrap_err();
    assert!(
        matches!(
            error,
            SnapshotError::NewerFormat {
                found: 2,
                known: FORMAT
            }
        ),
        "{error}"
    );
}

#[test]
fn a_size_out_of_bounds_is_called_so_and_not_allocated() {
    let mut body = Vec::new();
    body.extend(MAGIC);
    body.extend(FORMAT.to_le_bytes());
    body.extend(1_u64.to_le_bytes());
    body.extend(u32::MAX.to_le_bytes());
    let error = verify(sealed(body).as_slice()).unwrap_err();
    assert!(
        matches!(error, SnapshotError::OutOfBounds { size, .. } if size == u64::from(u32::MAX)),
        "{error}"
    );
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let (bytes, _) = small();
    let error = verify([bytes.as_slice(), b"more"].concat().as_slice()).unwrap_err();
    assert!(matches!(error, SnapshotError::CutShort { .. }), "{error}");
    let mut body = bytes[..bytes.len() - TRAILER_BYTES].to_vec();
    body.push(0);
    let error = verify(sealed(body).as_slice()).unwrap_err();
    assert!(matches!(error, SnapshotError::Malformed { .. }), "{error}");
}

#[test]
fn a_writer_refuses_what_no_reader_would_take() {
    let mut writer = SnapshotWriter::new(Vec::new(), header()).unwrap();
    let put = |writer: &mut SnapshotWriter<Vec<u8>>, name: &str, bytes: usize| {
        writer.entry(&reference("ConfigMap", name), ResourceFormat::Json, &vec![0; bytes])
    };
    put(&mut writer, "b", 1).unwrap();
    assert!(matches!(
        put(&mut writer, "b", 1),
        Err(WriteSnapshotError::OutOfOrder { .. })
    ));
    assert!(matches!(
        put(&mut writer, "a", 1),
        Err(WriteSnapshotError::OutOfOrder { .. })
    ));
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(matches!(
        put(&mut writer, &long, 1),
        Err(WriteSnapshotError::TooLarge { what: "a name", .. })
    ));
    assert!(matches!(
        put(&mut writer, "c", DOCUMENT_BYTES_MAX + 1),
        Err(WriteSnapshotError::TooLarge { .. })
    ));
    writer.section("x", b"").unwrap();
    assert!(matches!(
        writer.section("x", b""),
        Err(WriteSnapshotError::SectionTwice { .. })
    ));
    assert!(matches!(
        put(&mut writer, "d", 1),
        Err(WriteSnapshotError::ResourceBehindSection)
    ));
    let (bytes, inspection) = writer.finish().unwrap();
    assert_eq!(verify(bytes.as_slice()).unwrap(), inspection);
    assert_eq!(inspection.entries, 1);
}

/// Gives out one byte at a time.
struct Dripping<'a>(&'a [u8]);

impl std::io::Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn what_is_larger_than_any_buffer_goes_through_whole() {
    let document = vec![7_u8; DOCUMENT_BYTES_MAX];
    let content = vec![9_u8; 700_001];
    let entries: [(ResourceRef, &[u8]); 2] = [(reference("A", "a"), &document), (reference("A", "b"), &document)];
    let (bytes, written) = snapshot(header(), &entries, &[("large", &content)]);
    assert_eq!(verify(bytes.as_slice()).unwrap(), written);
    let mut reader = SnapshotReader::open(bytes.as_slice()).unwrap();
    let mut items = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        items.push(item);
    }
    assert_eq!(reader.finish().unwrap(), written);
    assert_eq!(
        items[2],
        Item::Section {
            name: "large".into(),
            content: content.into()
        }
    );
}

proptest! {
    #[test]
    fn what_was_written_is_read_whatever_the_pieces(
        entries in btree_map(("[a-z]{0,3}", "[A-Z]{1,3}", "[a-z]{0,2}", "[a-zé]{1,4}"), vec(any::<u8>(), 0..40), 0..8),
        sections in btree_map("[a-z]{1,4}", vec(any::<u8>(), 0..40), 0..3),
        revision in any::<u64>(),
    ) {
        let mut writer = SnapshotWriter::new(Vec::new(), Header { revision, ..header() }).unwrap();
        let mut expected = Vec::new();
        for ((group, kind, namespace, name), document) in entries {
            let reference = ResourceRef { group, kind, namespace, name };
            writer.entry(&reference, ResourceFormat::Hcl, &document).unwrap();
            expected.push(Item::Entry(SnapshotEntry { reference, format: ResourceFormat::Hcl, document: document.into() }));
        }
        for (name, content) in sections {
            writer.section(&name, &content).unwrap();
            expected.push(Item::Section { name, content: content.into() });
        }
        let (bytes, written) = writer.finish().unwrap();
        let mut reader = SnapshotReader::open(Dripping(&bytes)).unwrap();
        let mut items = Vec::new();
        while let Some(item) = reader.next_item().unwrap() {
            items.push(item);
        }
        prop_assert_eq!(items, expected);
        prop_assert_eq!(reader.finish().unwrap(), written);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..300), keep in 0..200_usize, seal in any::<bool>()) {
        let (whole, _) = small();
        let body = [&whole[..keep.min(whole.len())], &bytes].concat();
        let file = if seal { sealed(body) } else { body };
        prop_assert!(verify(file.as_slice()).is_err());
    }
}
