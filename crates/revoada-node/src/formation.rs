//! The birth of a cluster: any founder that votes at first may write the first membership, once a majority of the
//! founders has said that it was never formed.
//!
//! All of them write the same, because it follows from the genesis; so it does no harm if several do. The majority is
//! asked so that a founder whose disk was emptied does not start over beside a cluster that lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::consensus::peers::Peers;
use revoada_mesh::transport::{ConnectError, Protocol};

/// Runs until this node is part of a formed cluster.
pub(crate) async fn run(
    me: NodeId,
    genesis: Arc<Genesis>,
    seeds: BTreeSet<SocketAddr>,
    peers: Peers,
    consensus: Consensus,
) {
    let first_voters = genesis.first_voters();
    let majority = genesis.founders().len() / 2 + 1;
    loop {
        if consensus.position().1 > 0 {
            return;
        }
        let answers = ask(&seeds, &peers).await;
        let formed = answers.values().any(|formed| *formed);
        let blank = answers
            .iter()
            .filter(|(id, _)| genesis.founders().contains_key(id) && **id != me)
            .count()
            + 1;
        if formed {
            tracing::debug!("a founder is formed already: waiting for the leader");
        } else if blank >= majority && first_voters.contains(&me) {
            match consensus.form(&first_voters).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "cannot write the first membership"),
            }
        }
        tokio::time::sleep(Duration::from_millis(limits::FORMATION_PAUSE_MS)).await;
    }
}

/// Which nodes answered, and whether each was ever formed.
async fn ask(seeds: &BTreeSet<SocketAddr>, peers: &Peers) -> BTreeMap<NodeId, bool> {
    let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
    let asked = seeds.iter().map(|seed| async move {
        match peers.transport().connect(*seed, None, Protocol::Forward, limit).await {
            Ok(connection) => {
                peers.book().learn(connection.peer, connection.hello.address);
                Some((connection.peer, connection.hello.formed))
            }
            Err(error @ (ConnectError::RefusedByPeer { .. } | ConnectError::RefusedHere { .. })) => {
                tracing::warn!(%seed, error = &error as &dyn std::error::Error, "a seed is not of this cluster");
                None
            }
            // Not up yet.
            Err(_) => None,
        }
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}
