//! The one byte string that stands for a block body.
//!
//! CBOR (RFC 8949) with definite lengths and shortest integers, as §4.2.1 has it, in arrays, so that no question of
//! key order arises:
//!
//! ```text
//! body       = [version: 1, cluster: bytes(32), index: uint, parent: bytes(32), term: uint, time_ms: uint,
//!               proposer: bytes(32), transition]
//! transition = [node: bytes(32), name: text, kind: uint, from: uint / null, to: uint / null, reason: text]
//! kind       = 0 admit, 1 promote, 2 demote, 3 reassign, 4 quarantine, 5 restore, 6 evict
//! role       = 0 control-plane, 1 worker, 2 observer, 3 bootstrap
//! ```
//!
//! The numbers are part of the format: they are never reused, and a change of the layout takes a new version. Decoding
//! accepts exactly what encoding writes: it encodes what it read and compares, so there is one form of each body and
//! no room for a second reading of the same digest.
//!
//! Rejected: derived codecs. The layout would then be a side effect of a struct definition.

use std::convert::Infallible;

use minicbor::data::Type;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::Error as EncodeError;
use minicbor::{Decoder, Encoder};

use crate::{BlockBody, Digest, NodeId, Role, Transition, TransitionKind};

/// The layout above.
const VERSION: u8 = 1;

/// Why bytes are not the canonical form of a body.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("layout version {0} of a block is not known")]
    Version(u8),
    #[error("not a block body")]
    Cbor(#[source] DecodeError),
    #[error("not the canonical form of a block body")]
    NotCanonical,
}

/// The canonical bytes of `body`.
pub(crate) fn encode(body: &BlockBody) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256 + body.transition.name.len() + body.transition.reason.len());
    write(body, &mut Encoder::new(&mut bytes)).expect("writing CBOR into a Vec cannot fail");
    bytes
}

/// The body that `bytes` stand for.
pub(crate) fn decode(bytes: &[u8]) -> Result<BlockBody, Malformed> {
    let mut decoder = Decoder::new(bytes);
    let version = read_version(&mut decoder).map_err(Malformed::Cbor)?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let body = read(&mut decoder).map_err(Malformed::Cbor)?;
    if encode(&body) == bytes {
        Ok(body)
    } else {
        Err(Malformed::NotCanonical)
    }
}

fn write(body: &BlockBody, to: &mut Encoder<&mut Vec<u8>>) -> Result<(), EncodeError<Infallible>> {
    to.array(8)?.u8(VERSION)?;
    to.bytes(body.cluster.as_bytes())?
        .u64(body.index)?
        .bytes(body.parent.as_bytes())?;
    to.u64(body.term)?.u64(body.time_ms)?.bytes(body.proposer.as_bytes())?;
    let Transition {
        node,
        name,
        kind,
        from,
        to: role_after,
        reason,
    } = &body.transition;
    to.array(6)?.bytes(node.as_bytes())?.str(name)?.u8(kind_number(*kind))?;
    for role in [from, role_after] {
        match role {
            Some(role) => to.u8(role_number(*role))?,
            None => to.null()?,
        };
    }
    to.str(reason)?;
    Ok(())
}

fn read_version(from: &mut Decoder<'_>) -> Result<u8, DecodeError> {
    from.array()?;
    from.u8()
}

fn read(from: &mut Decoder<'_>) -> Result<BlockBody, DecodeError> {
    Ok(BlockBody {
        cluster: Digest::from_bytes(bytes32(from)?),
        index: from.u64()?,
        parent: Digest::from_bytes(bytes32(from)?),
        term: from.u64()?,
        time_ms: from.u64()?,
        proposer: NodeId::from_bytes(bytes32(from)?),
        transition: read_transition(from)?,
    })
}

fn read_transition(from: &mut Decoder<'_>) -> Result<Transition, DecodeError> {
    from.array()?;
    Ok(Transition {
        node: NodeId::from_bytes(bytes32(from)?),
        name: from.str()?.to_owned(),
        kind: kind(from)?,
        from: role(from)?,
        to: role(from)?,
        reason: from.str()?.to_owned(),
    })
}

fn bytes32(from: &mut Decoder<'_>) -> Result<[u8; 32], DecodeError> {
    from.bytes()?
        .try_into()
        .map_err(|_| DecodeError::message("32 bytes are expected"))
}

const fn kind_number(kind: TransitionKind) -> u8 {
    match kind {
        TransitionKind::Admit => 0,
        TransitionKind::Promote => 1,
        TransitionKind::Demote => 2,
        TransitionKind::Reassign => 3,
        TransitionKind::Quarantine => 4,
        TransitionKind::Restore => 5,
        TransitionKind::Evict => 6,
    }
}

fn kind(from: &mut Decoder<'_>) -> Result<TransitionKind, DecodeError> {
    Ok(match from.u8()? {
        0 => TransitionKind::Admit,
        1 => TransitionKind::Promote,
        2 => TransitionKind::Demote,
        3 => TransitionKind::Reassign,
        4 => TransitionKind::Quarantine,
        5 => TransitionKind::Restore,
        6 => TransitionKind::Evict,
        _ => return Err(DecodeError::message("an unknown kind of transition")),
    })
}

const fn role_number(role: Role) -> u8 {
    match role {
        Role::ControlPlane => 0,
        Role::Worker => 1,
        Role::Observer => 2,
        Role::Bootstrap => 3,
    }
}

fn role(from: &mut Decoder<'_>) -> Result<Option<Role>, DecodeError> {
    if from.datatype()? == Type::Null {
        from.null()?;
        return Ok(None);
    }
    Ok(Some(match from.u8()? {
        0 => Role::ControlPlane,
        1 => Role::Worker,
        2 => Role::Observer,
        3 => Role::Bootstrap,
        _ => return Err(DecodeError::message("an unknown role")),
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example() -> BlockBody {
        BlockBody {
            cluster: Digest::from_bytes([0x11; 32]),
            index: 24,
            parent: Digest::from_bytes([0x22; 32]),
            term: 3,
            time_ms: 1_764_000_000_000,
            proposer: NodeId::from_bytes([0x33; 32]),
            transition: Transition {
                node: NodeId::from_bytes([0x44; 32]),
                name: "node-é".to_owned(),
                kind: TransitionKind::Evict,
                from: Some(Role::Observer),
                to: None,
                reason: "gone".to_owned(),
            },
        }
    }

    fn bodies() -> impl Strategy<Value = BlockBody> {
        let kinds = prop::sample::select(vec![
            TransitionKind::Admit,
            TransitionKind::Promote,
            TransitionKind::Demote,
            TransitionKind::Reassign,
            TransitionKind::Quarantine,
            TransitionKind::Restore,
            TransitionKind::Evict,
        ]);
        let roles = || {
            prop::option::of(prop::sample::select(vec![
                Role::ControlPlane,
                Role::Worker,
                Role::Observer,
                Role::Bootstrap,
            ]))
        };
        let numbers: (BoxedStrategy<u64>, _, _) = (any::<u64>().boxed(), any::<u64>(), any::<u64>());
        let ids = any::<[[u8; 32]; 4]>();
        (numbers, ids, any::<String>(), any::<String>(), kinds, roles(), roles()).prop_map(
            |((index, term, time_ms), [cluster, parent, proposer, node], name, reason, kind, from, to)| BlockBody {
                cluster: Digest::from_bytes(cluster),
                index,
                parent: Digest::from_bytes(parent),
                term,
                time_ms,
                proposer: NodeId::from_bytes(proposer),
                transition: Transition {
                    node: NodeId::from_bytes(node),
                    name,
                    kind,
                    from,
                    to,
                    reason,
                },
            },
        )
    }

    /// Written out by hand from the layout, so that the layout and the code can only change together.
    #[test]
    fn the_bytes_are_those_of_the_layout() {
        let expected = [
            [0x88, 0x01].as_slice(),
            &[0x58, 0x20],
            &[0x11; 32],
            &[0x18, 24],
            &[0x58, 0x20],
            &[0x22; 32],
            &[0x03],
            &[0x1b, 0x00, 0x00, 0x01, 0x9a, 0xb6, 0x97, 0xe8, 0x00],
            &[0x58, 0x20],
            &[0x33; 32],
            &[0x86],
            &[0x58, 0x20],
            &[0x44; 32],
            &[0x67],
            "node-é".as_bytes(),
            &[0x06, 0x02, 0xf6, 0x64],
            b"gone",
        ]
        .concat();
        assert_eq!(encode(&example()), expected);
    }

    /// A published digest never changes: whoever sees this fail has made every chain that exists invalid.
    #[test]
    fn the_digest_of_the_example_is_fixed() {
        let expected = "a32bf00aad94e0ff555f025692b9a6ada35883e96b03d970b6814568e4676208";
        assert_eq!(example().digest().to_string(), expected);
    }

    #[test]
    fn a_second_form_of_the_same_body_is_refused() {
        let sound = encode(&example());
        // The index 24 in two bytes, as a longer integer.
        let mut longer = sound.clone();
        longer.splice(36..38, [0x19, 0x00, 24]);
        assert!(matches!(decode(&longer), Err(Malformed::NotCanonical)));
        let trailing = [sound.as_slice(), &[0]].concat();
        assert!(matches!(decode(&trailing), Err(Malformed::NotCanonical)));
        let mut indefinite = [sound.as_slice(), &[0xff]].concat();
        indefinite[0] = 0x9f;
        assert!(matches!(decode(&indefinite), Err(Malformed::NotCanonical)));
    }

    #[test]
    fn a_newer_layout_is_refused_by_its_version() {
        let mut newer = encode(&example());
        newer[1] = 2;
        assert!(matches!(decode(&newer), Err(Malformed::Version(2))));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(body in bodies()) {
            prop_assert_eq!(decode(&encode(&body)).unwrap(), body);
        }

        #[test]
        fn whatever_decodes_is_canonical(body in bodies(), at: prop::sample::Index, byte: u8) {
            let mut bytes = encode(&body);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(read) = decode(&bytes) {
                prop_assert_eq!(encode(&read), bytes);
            }
        }

        #[test]
        fn arbitrary_bytes_are_answered(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
