//! How full the queues of a node are, each beside its limit (invariant 8): for whoever has to see that they are bounded.
//!
//! Nothing decides by it, and every place that puts something into a queue looks at the limit by itself. Rejected: one
//! counter for all of them; a queue that grows without a bound would hide behind those that are empty.

use revoada_core::limits;

use super::Consensus;
use crate::runtime::Runtime;

/// One queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// Which.
    pub queue: &'static str,
    /// How much is in it.
    pub holds: usize,
    /// How much may be.
    pub limit: usize,
}

impl<R: Runtime> Consensus<R> {
    /// The queues of this node, as they are now; of queues that there are several of, the fullest.
    pub fn queues(&self) -> Vec<Filled> {
        let of = |queue, holds, limit| Filled { queue, holds, limit };
        let (writes, batches) = self.proposer.waiting();
        let log = self.log.engine();
        vec![
            of("writes", writes, limits::WRITES_WAITING_MAX),
            of("batches", batches, limits::BATCHES_IN_FLIGHT_MAX),
            of("reads", self.reads.waiting(), limits::READS_WAITING_MAX),
            of("calls", self.peers.calls_most(), limits::LINK_CALLS_MAX),
            of(
                "connections",
                self.peers.transport().accepted_most(),
                limits::CONNECTIONS_PER_PEER_MAX,
            ),
            // What is looked at is whether there is room, and not how large the next append is.
            of(
                "log-bytes",
                log.pending_bytes(),
                log.pending_bytes_max() + limits::APPEND_BYTES_MAX as usize,
            ),
            of("recent-bytes", self.log.recent_bytes(), limits::LOG_RECENT_BYTES_MAX),
        ]
    }
}
