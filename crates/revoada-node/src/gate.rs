//! Who may speak with this node: the members of its cluster, by their committed admission, and no voter that went back.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use revoada_attest::NodeId;
use revoada_core::genesis::Genesis;
use revoada_mesh::consensus::Consensus;
use revoada_mesh::transport::{Gate, Hello, Refusal, RefusalKind};

use crate::positions::{Position, Positions};

pub(crate) struct NodeGate {
    pub genesis: Arc<Genesis>,
    pub name: String,
    pub address: SocketAddr,
    pub positions: Arc<Positions>,
    /// The position before consensus runs.
    pub opened_at: (u64, u64),
    /// There while consensus runs; taken out when it stops, because consensus owns the transport that owns this gate.
    pub consensus: RwLock<Option<Consensus>>,
}

/// The version in hellos and status.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Gate for NodeGate {
    fn hello(&self) -> Hello {
        let (term, last_index) = self
            .consensus
            .read()
            .as_ref()
            .map_or(self.opened_at, Consensus::position);
        Hello {
            cluster: self.genesis.digest(),
            name: self.name.clone(),
            version: VERSION.to_owned(),
            address: self.address,
            formed: last_index > 0,
            term,
            last_index,
        }
    }

    fn admit(&self, peer: &NodeId, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |kind, reason| Err(Refusal { kind, reason });
        let (me, them) = (&self.name, &hello.name);
        let mine = self.genesis.digest();
        if hello.cluster != mine {
            let cluster = self.genesis.declaration().name();
            return refuse(
                RefusalKind::OtherCluster,
                format!(
                    "{them} is of cluster {}, {me} of {cluster} ({})",
                    hello.cluster.short(),
                    mine.short()
                ),
            );
        }
        let Some(consensus) = self.consensus.read().clone() else {
            return match self.genesis.founders().contains_key(peer) {
                true => Ok(()),
                false => refuse(RefusalKind::UnknownKey, unknown(me, them, peer)),
            };
        };
        let (member, known) = consensus.read(|state| (state.is_member(peer), state.roles().get(peer).is_some()));
        if !member && known {
            return refuse(
                RefusalKind::Evicted,
                format!("{them} was evicted from this cluster for good"),
            );
        }
        if !member {
            return refuse(RefusalKind::UnknownKey, unknown(me, them, peer));
        }
        let claimed = Position {
            term: hello.term,
            index: hello.last_index,
        };
        if consensus.view().voters.contains(peer)
            && let Some(remembered) = self.positions.went_back(peer, claimed)
        {
            return refuse(
                RefusalKind::LogWentBack,
                format!(
                    "{them} is a voter whose log went back: it says term {} and index {}, {me} has seen term {} and \
                     index {}; its disk was restored or emptied, and it may vote again only after it was replaced",
                    claimed.term, claimed.index, remembered.term, remembered.index
                ),
            );
        }
        Ok(())
    }
}

fn unknown(me: &str, them: &str, peer: &NodeId) -> String {
    format!("{me} does not know the key {peer}, which calls itself {them}")
}
