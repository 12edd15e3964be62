//! More at once than is answered at once: what waits in queues, and that these have an end.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::executor::SimRuntime;
use bytes::Bytes;
use futures::future::join_all;
use openraft_rt::AsyncRuntime;
use revoada_core::keyspace::{Op, Operation, Txn};

use super::Clients;
use crate::entropy::Chance;
use crate::history::{Read, Write};

/// How many writes come at once, at least and at most: the larger number is more than may wait on one node.
const WRITES: (u64, u64) = (1_500, 9_000);
/// The same of reads.
const READS: (u64, u64) = (500, 9_000);

impl Clients {
    /// Floods one node with writes and reads, once.
    pub(super) async fn flood(self, mut chance: Chance) {
        SimRuntime::sleep(chance.ms(1_000, 12_000)).await;
        let Some((place, running)) = self.somebody(&mut chance) else {
            return;
        };
        self.cluster.floods.fetch_add(1, Ordering::Relaxed);
        self.cluster.trace.say(format_args!("node-{place} is flooded"));
        // Whoever looks at the queues looks more often from here on.
        SimRuntime::sleep(Duration::from_millis(120)).await;
        let key = Bytes::from_static(b"flood");
        let writes = (0..chance.between(WRITES.0, WRITES.1)).map(|number| {
            let (key, value) = (key.clone(), Bytes::from(format!("w-flood-{number}")));
            let operation = Operation::Txn(Txn::always(vec![Op::put(key.clone(), value.clone())]));
            let (clients, running) = (&self, &running);
            async move {
                let (outcome, span) = clients.ask("flood-put", running, operation).await?;
                Some(Write {
                    span,
                    revision: outcome.revision,
                    changes: [(key, Some(value))].into(),
                })
            }
        });
        let reads = (0..chance.between(READS.0, READS.1)).map(|_| self.view("flood-get", &running));
        let (written, read) = futures::join!(join_all(writes), join_all(reads));
        self.cluster.floods.fetch_sub(1, Ordering::Relaxed);
        self.history.add(|records| {
            records.writes.extend(written.into_iter().flatten());
            records
                .reads
                .extend(read.into_iter().flatten().map(|(view, span)| Read {
                    span,
                    revision: view.revision(),
                    linearizable: true,
                    seen: [(key.clone(), view.get(&key).map(|version| version.value.clone()))].into(),
                }));
        });
    }
}
