//! Where the keys of etcd's clients lie in the keyspace.
//!
//! One byte in front of each: what others keep there cannot be named by any client, and "every key" is a range of its
//! own. Rejected: no prefix, and hiding the others from ranges and deletions; one forgotten place gives a client's
//! `del --from-key ''` every resource of the cluster.

use bytes::{BufMut, Bytes, BytesMut};
use revoada_core::keyspace::KeyRange;

/// In front of every key of etcd's clients.
pub const SPACE: u8 = b'e';

/// `range_end` of a range that has no end.
const NO_END: &[u8] = &[0];

/// The key as it is stored.
pub fn stored(key: &[u8]) -> Bytes {
    let mut stored = BytesMut::with_capacity(key.len() + 1);
    stored.put_u8(SPACE);
    stored.put_slice(key);
    stored.freeze()
}

/// A stored key as its client knows it, without copying.
pub fn shown(stored: &Bytes) -> Bytes {
    stored.slice(1..)
}

/// Every key of etcd's clients.
pub fn every() -> KeyRange {
    KeyRange::Prefix(Bytes::from_static(&[SPACE]))
}

/// A range as the protocol spells it: one key where `end` is empty; from `key` on where it is one NUL; else to `end`,
/// which is not in it.
pub fn range(key: &[u8], end: &[u8]) -> KeyRange {
    match end {
        [] => KeyRange::One(stored(key)),
        NO_END => KeyRange::Span {
            start: stored(key),
            end: Bytes::from_static(&[SPACE + 1]),
        },
        end => KeyRange::Span {
            start: stored(key),
            end: stored(end),
        },
    }
}

/// Every key that begins with `prefix`.
pub fn prefix(prefix: &[u8]) -> KeyRange {
    KeyRange::Prefix(stored(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_reaches_what_its_client_named_and_nothing_of_others() {
        let others = [&b"\0resource\0x"[..], b"", b"d", b"f", b"\xff"];
        for range in [
            range(b"", b"\0"),
            range(b"\0", b"\0"),
            range(b"a", b"\xff\xff"),
            every(),
            prefix(b""),
        ] {
            for other in others {
                assert!(!range.contains(other), "{range:?} has {other:?}");
            }
            assert!(range.contains(&stored(b"b")), "{range:?}");
        }
        let one = range(b"a", b"");
        assert!(one.contains(&stored(b"a")) && !one.contains(&stored(b"aa")));
        let some = range(b"a", b"c");
        assert!(some.contains(&stored(b"bz")) && !some.contains(&stored(b"c")));
        assert_eq!(shown(&stored(b"key")), Bytes::from_static(b"key"));
    }
}
