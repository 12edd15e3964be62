//! Who may speak with this node: the members of its cluster, by their committed admission, and no voter that went back.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::RwLock;
use revoada_attest::NodeId;
use revoada_attest::planted::{Bug, is_planted};
use revoada_core::genesis::Genesis;
use revoada_mesh::consensus::{Consensus, Seat};
use revoada_mesh::disk_id::DiskId;
use revoada_mesh::runtime::{Runtime, Tokio, Watched, newest, wait_until};
use revoada_mesh::transport::{Gate, Hello, Refusal, RefusalKind, Transport};

use crate::positions::{Position, Positions};

pub(crate) struct NodeGate<R: Runtime = Tokio> {
    pub me: NodeId,
    pub genesis: Arc<Genesis>,
    pub name: String,
    pub address: SocketAddr,
    pub positions: Arc<Positions<R>>,
    /// The members that this node was told of when it was taken in: until it has come as far in the log, they are some.
    pub acquaintances: BTreeSet<NodeId>,
    /// The position before consensus runs.
    pub opened_at: (u64, u64),
    /// There while consensus runs; taken out when it stops, because consensus owns the transport that owns this gate.
    pub consensus: RwLock<Option<Consensus<R>>>,
}

/// The version in hellos and status.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

impl<R: Runtime> Gate for NodeGate<R> {
    fn hello(&self, to: &NodeId) -> Hello {
        let consensus = self.consensus.read().clone();
        let (term, last_index) = consensus.as_ref().map_or(self.opened_at, Consensus::position);
        Hello {
            cluster: self.genesis.digest(),
            name: self.name.clone(),
            version: VERSION.to_owned(),
            address: self.address,
            // A founder that never replicated anything still knows that others did, and so do its peers.
            formed: last_index > 0 || self.positions.any(),
            term,
            last_index,
            shown: consensus.map(|consensus| consensus.shown()).unwrap_or_default(),
            your_first_disk: self.positions.first_disk_told(to),
        }
    }

    fn admit(&self, peer: &NodeId, hello: &Hello) -> Result<(), Refusal> {
        // A voter may be back sooner than the driver has looked at how far replication had come.
        if let Some(consensus) = &*self.consensus.read() {
            self.positions.saw_replicated(&self.me, &consensus.view());
        }
        let standing = self.standing(peer);
        let decided = self.decide(peer, hello, standing);
        let went_back = decided
            .as_ref()
            .is_err_and(|refusal| matches!(refusal.kind, RefusalKind::LogWentBack | RefusalKind::OtherDisk));
        self.positions.answered(peer, went_back || is_unproved(standing, hello));
        if decided.is_ok() && self.genesis.founders().contains_key(peer) && hello.shown.disk != DiskId::default() {
            self.positions.saw_disk(*peer, hello.shown.disk);
        }
        decided
    }

    fn keeps(&self, peer: &NodeId) -> Result<(), Refusal> {
        let standing = self.standing(peer);
        let name = self.consensus.read().as_ref().map(|consensus| consensus.name_of(peer));
        self.belongs(peer, &name.unwrap_or_else(|| peer.short()), standing)
    }
}

/// Cuts off whoever was evicted, as soon as that is committed. Runs until consensus stops.
pub(crate) async fn watch<R: Runtime>(consensus: Consensus<R>, transport: Arc<Transport<R>>) {
    let mut applied: Watched<R, _> = consensus.applied();
    loop {
        let blocks = newest::<R, _>(&mut applied).blocks;
        transport.review();
        if wait_until::<R, _>(&mut applied, |applied| applied.blocks != blocks)
            .await
            .is_none()
        {
            return;
        }
    }
}

/// What is committed about a node.
#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Whether it is a member now.
    member: bool,
    /// Whether it ever was admitted.
    known: bool,
    /// Whether it votes.
    votes: bool,
    /// Which disk of it counts.
    seat: Option<Seat>,
}

impl<R: Runtime> NodeGate<R> {
    /// None before anything committed can be read.
    fn standing(&self, peer: &NodeId) -> Option<Standing> {
        self.consensus.read().as_ref().map(|consensus| {
            let (member, known) = consensus.read(|state| (state.is_member(peer), state.roles().get(peer).is_some()));
            Standing {
                member,
                known,
                votes: consensus.view().voters.contains(peer),
                seat: consensus.seat(peer),
            }
        })
    }

    /// Whether a node is of this cluster at all. Without a standing the genesis decides.
    fn belongs(&self, peer: &NodeId, them: &str, standing: Option<Standing>) -> Result<(), Refusal> {
        let (member, known) = standing.map_or_else(
            || (self.genesis.founders().contains_key(peer), false),
            |standing| (standing.member, standing.known),
        );
        match (member, known) {
            (true, _) => Ok(()),
            (false, false) if self.acquaintances.contains(peer) && self.is_arriving() => Ok(()),
            (false, true) => Err(Refusal {
                kind: RefusalKind::Evicted,
                reason: format!("{them} was evicted from this cluster for good"),
            }),
            (false, false) => Err(Refusal {
                kind: RefusalKind::UnknownKey,
                reason: unknown(&self.name, them, peer),
            }),
        }
    }

    /// Whether this node has not come to the entry yet that makes it a member: what it has applied until then is older than
    /// what it was told when it was taken in.
    fn is_arriving(&self) -> bool {
        let consensus = self.consensus.read();
        let arrived = |consensus: &Consensus<R>| consensus.read(|state| state.roster().of_node(&self.me).is_some());
        !consensus.as_ref().is_some_and(arrived)
    }

    /// `standing` is none before anything committed can be read; then the genesis decides.
    fn decide(&self, peer: &NodeId, hello: &Hello, standing: Option<Standing>) -> Result<(), Refusal> {
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
        self.belongs(peer, them, standing)?;
        let votes = standing
            .filter(|standing| standing.votes)
            .and_then(|standing| standing.seat);
        let votes_with = match votes {
            Some(Seat::Disk(disk)) => Some(disk),
            Some(Seat::Founder) => self.positions.first_disk(peer),
            Some(Seat::Any) | None => None,
        };
        if let Some(disk) = votes_with
            && disk != hello.shown.disk
            && !is_planted(Bug::CountsOtherDisks)
        {
            return refuse(
                RefusalKind::OtherDisk,
                format!(
                    "{them} is a voter on another disk: it says {}, and {disk} votes; its disk was emptied, or its key \
                     copied, and it may vote again only after it was replaced",
                    hello.shown.disk
                ),
            );
        }
        let claimed = Position {
            term: hello.term,
            index: hello.last_index,
        };
        if standing.is_some_and(|standing| standing.votes)
            && !is_planted(Bug::AdmitsForgetful)
            && !is_planted(Bug::CountsOtherDisks)
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

/// Whether it votes by the first membership, and too few vouch for its disk: nobody counts what it says. Where that lasts, it
/// is as lost as a voter whose log went back, and can be taken in again as such; it may come in meanwhile, to be vouched for.
fn is_unproved(standing: Option<Standing>, hello: &Hello) -> bool {
    standing.is_some_and(|standing| standing.votes && standing.seat == Some(Seat::Founder)) && !hello.shown.vouched
}

fn unknown(me: &str, them: &str, peer: &NodeId) -> String {
    format!("{me} does not know the key {peer}, which calls itself {them}")
}

#[cfg(test)]
mod tests {
    use revoada_attest::{Digest, NodeKey};
    use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
    use revoada_core::genesis::Founder;
    use revoada_mesh::disk_id::Shown;
    use revoada_mesh::files::SystemFiles;

    use super::*;

    fn id(n: u8) -> NodeId {
        NodeKey::from_seed([n; 32]).id()
    }

    fn gate(folder: &std::path::Path) -> NodeGate {
        let declaration = ClusterDeclaration::prove(prescribed_for("quorum-3m", 3).unwrap()).unwrap();
        let founders = (1..=3).map(|n| (id(n), Founder::named(format!("node-{n}"))));
        NodeGate {
            me: id(1),
            genesis: Arc::new(Genesis::prove(declaration, founders, None).unwrap()),
            name: "node-1".to_owned(),
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            positions: Arc::new(Positions::open(
                Arc::new(SystemFiles::default()),
                folder.join("positions.json"),
            )),
            acquaintances: BTreeSet::new(),
            opened_at: (3, 9),
            consensus: RwLock::new(None),
        }
    }

    fn says(gate: &NodeGate, term: u64, last_index: u64) -> Hello {
        Hello {
            name: "node-2".to_owned(),
            term,
            last_index,
            shown: Shown {
                disk: DISK,
                vouched: true,
            },
            ..gate.hello(&id(2))
        }
    }

    const DISK: DiskId = DiskId::of([7; 8]);
    const OTHER_DISK: DiskId = DiskId::of([9; 8]);

    const VOTER: Option<Standing> = Some(Standing {
        member: true,
        known: true,
        votes: true,
        seat: Some(Seat::Disk(DISK)),
    });
    const LEARNER: Option<Standing> = Some(Standing {
        member: true,
        known: true,
        votes: false,
        seat: None,
    });
    const EVICTED: Option<Standing> = Some(Standing {
        member: false,
        known: true,
        votes: false,
        seat: None,
    });
    const NOBODY: Option<Standing> = Some(Standing {
        member: false,
        known: false,
        votes: false,
        seat: None,
    });

    #[test]
    fn who_is_let_in_follows_from_what_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path());
        gate.positions.saw(id(2), Position { term: 5, index: 100 });
        let cases = [
            (2, (5, 100), None, Ok(())),
            (7, (5, 100), None, Err(RefusalKind::UnknownKey)),
            (7, (5, 100), NOBODY, Err(RefusalKind::UnknownKey)),
            (2, (5, 100), EVICTED, Err(RefusalKind::Evicted)),
            (2, (5, 100), VOTER, Ok(())),
            (2, (6, 101), VOTER, Ok(())),
            // Never heard of: nothing is held against it.
            (3, (0, 0), VOTER, Ok(())),
            (2, (0, 0), VOTER, Err(RefusalKind::LogWentBack)),
            (2, (5, 99), VOTER, Err(RefusalKind::LogWentBack)),
            (2, (4, 200), VOTER, Err(RefusalKind::LogWentBack)),
            // Who does not vote cannot vote twice.
            (2, (0, 0), LEARNER, Ok(())),
        ];
        for (node, (term, index), standing, expected) in cases {
            let decided = gate.decide(&id(node), &says(&gate, term, index), standing);
            assert_eq!(
                decided.map_err(|refusal| refusal.kind),
                expected,
                "node {node} at {term}/{index}: {standing:?}"
            );
        }
    }

    #[test]
    fn a_node_that_arrives_lets_those_in_that_it_was_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let mut gate = gate(dir.path());
        let decided = |gate: &NodeGate, standing| {
            let decided = gate.decide(&id(7), &says(gate, 5, 100), standing);
            decided.map_err(|refusal| refusal.kind)
        };
        assert_eq!(decided(&gate, NOBODY), Err(RefusalKind::UnknownKey));
        gate.acquaintances.insert(id(7));
        assert_eq!(decided(&gate, None), Ok(()));
        // Its log is older than what it was told.
        assert_eq!(decided(&gate, NOBODY), Ok(()));
        assert_eq!(decided(&gate, EVICTED), Err(RefusalKind::Evicted));
    }

    #[test]
    fn a_voter_votes_with_one_disk() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path());
        let founder = Some(Standing {
            seat: Some(Seat::Founder),
            ..VOTER.unwrap()
        });
        let on = |disk| Hello {
            shown: Shown { disk, vouched: false },
            ..says(&gate, 5, 100)
        };
        let decided = |node, disk, standing| {
            gate.decide(&id(node), &on(disk), standing)
                .map_err(|refusal| refusal.kind)
        };
        assert_eq!(decided(2, DISK, VOTER), Ok(()));
        assert_eq!(decided(2, OTHER_DISK, VOTER), Err(RefusalKind::OtherDisk));
        assert_eq!(decided(2, OTHER_DISK, LEARNER), Ok(()));
        // In the first membership that is the first one that was seen.
        assert_eq!(decided(2, OTHER_DISK, founder), Ok(()));
        gate.admit(&id(2), &on(DISK)).unwrap();
        gate.admit(&id(2), &on(OTHER_DISK)).unwrap();
        assert_eq!(decided(2, DISK, founder), Ok(()));
        assert_eq!(decided(2, OTHER_DISK, founder), Err(RefusalKind::OtherDisk));
        // It is told once it is durable, and after a restart as well.
        assert_eq!(gate.hello(&id(2)).your_first_disk, None);
        gate.positions.save_disks();
        assert_eq!(gate.hello(&id(2)).your_first_disk, Some(DISK));
        let positions: Positions = Positions::open(Arc::new(SystemFiles::default()), dir.path().join("positions.json"));
        assert_eq!(positions.first_disk_told(&id(2)), Some(DISK));
    }

    #[test]
    fn a_refusal_names_both_sides_and_what_does_not_fit() {
        let dir = tempfile::tempdir().unwrap();
        let gate = gate(dir.path());
        let other = Hello {
            cluster: Digest::from_bytes([7; 32]),
            ..says(&gate, 5, 100)
        };
        let refusal = gate.decide(&id(2), &other, VOTER).unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::OtherCluster);
        for part in [
            "node-2",
            "node-1",
            "homelab",
            &other.cluster.short(),
            &gate.genesis.digest().short(),
        ] {
            assert!(refusal.reason.contains(part), "{part} is missing: {refusal}");
        }
        gate.positions.saw(id(2), Position { term: 5, index: 100 });
        let refusal = gate.decide(&id(2), &says(&gate, 1, 2), VOTER).unwrap_err();
        for part in ["node-2", "node-1", "term 1 and index 2", "term 5 and index 100"] {
            assert!(refusal.reason.contains(part), "{part} is missing: {refusal}");
        }
    }

    #[test]
    fn before_consensus_runs_the_hello_tells_what_was_found_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let hello = gate(dir.path()).hello(&id(2));
        assert_eq!((hello.term, hello.last_index, hello.formed), (3, 9, true));
    }
}
