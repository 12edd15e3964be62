//! The queues of consensus stay within their limits (ARCHITECTURE.md, invariant 8; the limits are those of
//! `revoada_core::limits`). Those of faces and gossip are not simulated.

use revoada_mesh::consensus::Filled;

use super::Violation;
use crate::wire::Place;

/// The queues of one node, as they are now.
pub fn within(place: Place, queues: &[Filled]) -> Result<(), Violation> {
    match queues.iter().find(|filled| filled.holds > filled.limit) {
        None => Ok(()),
        Some(Filled { queue, holds, limit }) => {
            let what = format!("the queue \"{queue}\" of node-{place} holds {holds}, and {limit} are the most");
            Err(Violation::of("queues", what))
        }
    }
}
