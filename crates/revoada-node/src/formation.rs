//! The birth of a cluster: any founder that votes at first may write the first membership, once a majority of the
//! founders has said that it was never formed.
//!
//! All of them write the same, because it follows from the genesis; so it does no harm if several do. The majority is
//! asked so that a founder whose disk was emptied does not start over beside a cluster that lives; and each founder writes
//! down which disk of every other it saw first. Only one whose disk is the first to a majority of the others begins, or
//! votes before the membership names disks: if its disk was emptied after it had voted, then a founder knows of that, also
//! where all those that voted with it are away. With three founders this takes both others, with five three of four.
//!
//! Founders that do not come are waited for as long as [`limits::FORMATION_PATIENCE_MS`]; then a majority that counts the
//! node itself is enough. What is lost by that is said in the log, and is back once those that were missing have been there.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::consensus::peers::Peers;
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, elapsed};
use revoada_mesh::transport::{ConnectError, Hello, Protocol};

use crate::driver::Spoke;

/// Runs until this node is part of a formed cluster.
pub(crate) async fn run<R: Runtime>(
    me: NodeId,
    genesis: Arc<Genesis>,
    seeds: BTreeSet<SocketAddr>,
    peers: Peers<R>,
    consensus: Consensus<R>,
    spoke: Arc<Mutex<Spoke<R>>>,
) {
    let first_voters = genesis.first_voters();
    let majority = genesis.founders().len() / 2 + 1;
    let vouchers_min = vouchers_min(genesis.founders().len());
    let mut vouchers = BTreeSet::new();
    let patience = Duration::from_millis(limits::FORMATION_PATIENCE_MS);
    let mut few_since = None;
    let mut refusals = Refusals::new();
    let mut pause = Duration::from_millis(limits::FORMATION_PAUSE_MS);
    loop {
        if consensus.position().1 > 0 {
            return;
        }
        let (answers, refused) = ask(&seeds, &peers, &mut refusals).await;
        let now = InstantOf::<R>::now();
        let spoke_now = answers.keys().map(|id| (*id, now));
        spoke.lock().formed_with.extend(spoke_now);
        let mine = consensus.shown();
        let founders = answers
            .iter()
            .filter(|(id, _)| genesis.founders().contains_key(id) && **id != me);
        // What a founder has once told it has durably, and never takes back.
        let told = founders.filter(|(_, hello)| hello.your_first_disk == Some(mine.disk));
        vouchers.extend(told.map(|(id, _)| *id));
        if vouchers.len() + 1 >= majority {
            few_since.get_or_insert(now);
        }
        let waited = few_since.is_some_and(|since| elapsed::<R>(since) >= patience);
        if waited && vouchers.len() < vouchers_min && !mine.vouched {
            tracing::warn!(
                "this cluster is born without all of its founders: until those that are missing have been there, an emptied \
                 disk of a founder cannot be told from a new one where nobody else is"
            );
        }
        if !mine.vouched
            && (vouchers.len() >= vouchers_min || waited)
            && let Err(error) = consensus.vouch().await
        {
            tracing::warn!(%error, "cannot note that this disk is vouched for");
        }
        let formed = answers.values().any(|hello| hello.formed);
        let blank = answers
            .iter()
            .filter(|(id, _)| genesis.founders().contains_key(id) && **id != me)
            .count()
            + 1;
        let ready = |id: &&NodeId| match **id == me {
            true => consensus.shown().vouched,
            false => answers.get(*id).is_some_and(|hello| hello.shown.vouched),
        };
        let ready_voters = first_voters.iter().filter(ready).count();
        if formed {
            tracing::debug!("a founder is formed already: waiting for the leader");
        } else if blank >= majority
            && ready(&&me)
            && ready_voters > first_voters.len() / 2
            && first_voters.contains(&me)
        {
            match consensus.form(&first_voters).await {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, "cannot write the first membership"),
            }
        }
        R::sleep(pause).await;
        // Whoever refuses this node does not change its mind soon, and logs each attempt.
        if refused {
            pause = (pause * 2).min(Duration::from_millis(limits::FORMATION_REFUSED_PAUSE_MS_MAX));
        }
    }
}

/// How many of the other founders have to vouch for a disk: any two such lots have a founder in common.
const fn vouchers_min(founders: usize) -> usize {
    match founders.saturating_sub(1) {
        0 => 0,
        others => others / 2 + 1,
    }
}

/// The refusals that were logged: each is once, and not at every attempt.
type Refusals = BTreeMap<SocketAddr, String>;

/// Which nodes answered, and what; and whether any of them refused this node, or it them.
async fn ask<R: Runtime>(
    seeds: &BTreeSet<SocketAddr>,
    peers: &Peers<R>,
    refusals: &mut Refusals,
) -> (BTreeMap<NodeId, Hello>, bool) {
    let limit = Duration::from_millis(limits::CONNECT_MS_MAX);
    let asked = seeds.iter().map(|seed| async move {
        match peers.transport().connect(*seed, None, Protocol::Forward, limit).await {
            Ok(connection) => {
                peers.book().learn(connection.peer, connection.hello.address);
                Some(Ok((connection.peer, connection.hello)))
            }
            Err(error @ (ConnectError::RefusedByPeer { .. } | ConnectError::RefusedHere { .. })) => {
                Some(Err((*seed, error)))
            }
            // Not up yet.
            Err(_) => None,
        }
    });
    let mut answers = BTreeMap::new();
    let mut refused = false;
    for answer in futures::future::join_all(asked).await.into_iter().flatten() {
        match answer {
            Ok((peer, hello)) => {
                answers.insert(peer, hello);
            }
            Err((seed, error)) => {
                refused = true;
                let reason = error.source().map(ToString::to_string).unwrap_or_default();
                if refusals.get(&seed) != Some(&reason) {
                    tracing::warn!(%seed, error = &error as &dyn Error, "a seed and this node refuse each other");
                    refusals.insert(seed, reason);
                }
            }
        }
    }
    (answers, refused)
}
