//! What a thread has found of signatures, for a simulation: there many nodes verify the same block on one thread, and a
//! verdict is a function of the key, the message and the signature.
//!
//! There only with the feature `verdicts`, and off until a thread asks for it; production's own check reaches each verdict
//! once. Rejected: keys in a simulation that sign nothing. What is verified would be another chain than production's.

use crate::{NodeId, Signature};

#[cfg(feature = "verdicts")]
std::thread_local! {
    static REACHED: std::cell::RefCell<Option<std::collections::BTreeMap<[u8; 32], bool>>> =
        const { std::cell::RefCell::new(None) };
}

/// Lets this thread remember from here on, and forget what it remembers; or not any more.
#[cfg(feature = "verdicts")]
pub fn remember(on: bool) {
    REACHED.with(|reached| *reached.borrow_mut() = on.then(Default::default));
}

/// What was found before, or is now.
#[cfg(feature = "verdicts")]
pub(crate) fn reached(id: &NodeId, message: &[u8], signature: &Signature, check: impl FnOnce() -> bool) -> bool {
    if REACHED.with(|reached| reached.borrow().is_none()) {
        return check();
    }
    let mut hasher = blake3::Hasher::new();
    // Two of a fixed length, and the rest: no other three have the same bytes.
    hasher
        .update(id.as_bytes())
        .update(signature.as_bytes())
        .update(message);
    let key = *hasher.finalize().as_bytes();
    let before = REACHED.with(|reached| reached.borrow().as_ref().and_then(|known| known.get(&key).copied()));
    before.unwrap_or_else(|| {
        let verdict = check();
        REACHED.with(|reached| {
            if let Some(known) = reached.borrow_mut().as_mut() {
                known.insert(key, verdict);
            }
        });
        verdict
    })
}

/// What is found: nothing is remembered in this build.
#[cfg(not(feature = "verdicts"))]
pub(crate) fn reached(_: &NodeId, _: &[u8], _: &Signature, check: impl FnOnce() -> bool) -> bool {
    check()
}

#[cfg(all(test, feature = "verdicts"))]
mod tests {
    use super::*;
    use crate::NodeKey;

    #[test]
    fn a_verdict_is_of_one_key_one_message_and_one_signature() {
        remember(true);
        let (key, other) = (NodeKey::from_seed([1; 32]), NodeKey::from_seed([2; 32]));
        let signature = key.sign(b"yes");
        for _ in 0..2 {
            assert!(key.id().verify(b"yes", &signature));
            assert!(!key.id().verify(b"no", &signature));
            assert!(!other.id().verify(b"yes", &signature));
            assert!(!key.id().verify(b"yes", &other.sign(b"yes")));
        }
        remember(false);
    }
}
