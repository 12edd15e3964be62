//! The checkpoint: complete, deterministic, and harmless whatever its bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::properties::operation;
use crate::keyspace::{CheckpointError, Keyspace, Operation};

fn after(operations: Vec<Operation>) -> Keyspace {
    let mut keyspace = Keyspace::new();
    for operation in operations {
        // Refusals are part of what happens; they change nothing.
        drop(keyspace.apply(operation));
    }
    keyspace
}

fn written(keyspace: &Keyspace) -> Vec<u8> {
    let mut bytes = Vec::new();
    keyspace.clone().write_checkpoint(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_checkpoint_gives_the_same_keyspace_and_the_same_bytes(operations in vec(operation(), 0..60)) {
        let keyspace = after(operations);
        let bytes = written(&keyspace);
        let mut rest = bytes.as_slice();
        let read = Keyspace::read_checkpoint(&mut rest).unwrap();
        prop_assert!(rest.is_empty());
        prop_assert_eq!(&read, &keyspace);
        prop_assert_eq!(read.history_bytes(), keyspace.history_bytes());
        prop_assert_eq!(written(&read), bytes);
    }

    #[test]
    fn operations_after_a_checkpoint_do_the_same(first in vec(operation(), 0..40), second in vec(operation(), 0..40)) {
        let mut keyspace = after(first);
        let mut read = Keyspace::read_checkpoint(written(&keyspace).as_slice()).unwrap();
        for operation in second {
            prop_assert_eq!(keyspace.apply(operation.clone()), read.apply(operation));
        }
        prop_assert_eq!(read, keyspace);
    }

    #[test]
    fn a_cut_checkpoint_is_called_so(operations in vec(operation(), 0..40), cut in any::<prop::sample::Index>()) {
        let bytes = written(&after(operations));
        let cut = &bytes[..cut.index(bytes.len())];
        prop_assert!(matches!(Keyspace::read_checkpoint(cut), Err(CheckpointError::CutShort)));
    }

    #[test]
    fn changed_bytes_are_an_error_or_a_keyspace_that_writes_them(
        operations in vec(operation(), 0..40),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = written(&after(operations));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let mut rest = bytes.as_slice();
        if let Ok(read) = Keyspace::read_checkpoint(&mut rest) {
            let used = bytes.len() - rest.len();
            prop_assert_eq!(&written(&read)[..], &bytes[..used]);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(any::<u8>(), 0..400), header in any::<bool>()) {
        let start = if header { written(&Keyspace::new())[..12].to_vec() } else { Vec::new() };
        drop(Keyspace::read_checkpoint([start, bytes].concat().as_slice()));
    }
}

#[test]
fn a_newer_checkpoint_is_called_so() {
    let mut bytes = written(&Keyspace::new());
    bytes[8] = 2;
    assert!(matches!(
        Keyspace::read_checkpoint(bytes.as_slice()),
        Err(CheckpointError::NewerFormat { found: 2, known: 1 })
    ));
    assert!(matches!(
        Keyspace::read_checkpoint(&b"something else"[..]),
        Err(CheckpointError::NotACheckpoint)
    ));
}
