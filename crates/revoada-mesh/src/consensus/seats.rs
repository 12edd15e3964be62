//! Who votes, as a key and a disk: the membership of the log names for each voter the disk that votes for it.
//!
//! openraft counts votes and acknowledgements by key. A node that has come back on another disk has its key, and has
//! forgotten what it promised, so nothing that it says may be counted until it was taken in again. To Raft this makes it
//! another server, one that is in no membership, and what Raft proves holds of keys with disks as it does of servers:
//! answers are counted only from the disk that the effective membership names ([`Seats::counts`]), and a node stands for
//! election only if the membership that makes it a voter names its own disk ([`Seats::may_stand`]).
//!
//! The effective membership is followed where it is written, in the log store, and not in openraft's metrics, which come
//! later: an answer to an entry cannot arrive before the entry is in the log.
//!
//! The first membership follows from the genesis and names no disks ([`Seat::Founder`]). Until its leader has named them,
//! only a disk counts that is vouched for: a majority of the other founders has written down, durably, that it is the first
//! one of its node. Two disks of one node cannot both be, because two majorities have a founder in common.
//!
//! Rejected: to keep the disk in the roles, beside the transitions. Raft acts by its membership from the moment that it is
//! written, before anything is committed, and whoever counts votes by another record counts by an older or a newer one.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use revoada_attest::NodeId;
use revoada_attest::planted::{Bug, is_planted};
use serde::{Deserialize, Serialize};

use super::types::Membership;
use crate::disk_id::{DiskId, Shown};

/// Which disk of a node counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Seat {
    /// It does not vote: any.
    #[default]
    Any,
    /// It votes since the beginning: one that is vouched for.
    Founder,
    /// It votes: this one.
    Disk(DiskId),
}

/// Memberships of the log that are remembered: openraft needs two, and what is cut off goes back by few.
const REMEMBERED: usize = 16;

/// See the module.
pub struct Seats {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    own: Shown,
    /// By the index of the entry, the newest last.
    memberships: BTreeMap<u64, Membership>,
    /// Told whenever something has changed that [`Seats::may_stand`] depends on.
    listener: Option<Listener>,
}

/// Is told whether the node may stand for election.
type Listener = (NodeId, Box<dyn Fn(bool) + Send>);

impl Inner {
    fn effective(&self) -> Option<&Membership> {
        self.memberships.values().next_back()
    }

    fn tell(&self) {
        if let Some((me, listener)) = &self.listener {
            listener(self.may_stand(me));
        }
    }

    fn may_stand(&self, me: &NodeId) -> bool {
        if is_planted(Bug::CountsOtherDisks) {
            return true;
        }
        let votes = |membership: &&Membership| membership.voter_ids().any(|voter| voter == *me);
        // Where it votes no longer by the newest, it may have to be elected once more by the one before.
        let Some(membership) = self.memberships.values().rev().find(votes) else {
            return true;
        };
        match membership.get_node(me).map(|member| member.seat) {
            Some(Seat::Founder) => self.own.vouched,
            Some(Seat::Disk(disk)) => disk == self.own.disk,
            Some(Seat::Any) | None => false,
        }
    }
}

impl Seats {
    /// Nobody's, for a node that shows `own`.
    pub fn new(own: Shown) -> Self {
        Self {
            inner: Mutex::new(Inner {
                own,
                ..Inner::default()
            }),
        }
    }

    /// What this node shows.
    pub fn own(&self) -> Shown {
        self.inner.lock().own
    }

    /// Shows something else from now on; it is durable.
    pub fn show(&self, own: Shown) {
        let mut inner = self.inner.lock();
        inner.own = own;
        inner.tell();
    }

    /// Tells `listener` whether `me` may stand, now and whenever that changes. It is called under a lock, and must be short.
    pub fn listen(&self, me: NodeId, listener: impl Fn(bool) + Send + 'static) {
        let mut inner = self.inner.lock();
        inner.listener = Some((me, Box::new(listener)));
        inner.tell();
    }

    /// Tells nobody any more.
    pub fn hush(&self) {
        self.inner.lock().listener = None;
    }

    /// A membership is about to be written at `index`; what was there and behind it is gone.
    pub fn append(&self, index: u64, membership: Membership) {
        let mut inner = self.inner.lock();
        inner.memberships.split_off(&index);
        inner.memberships.insert(index, membership);
        while inner.memberships.len() > REMEMBERED {
            inner.memberships.pop_first();
        }
        inner.tell();
    }

    /// The log was cut off from `index` on.
    pub fn truncate_from(&self, index: u64) {
        let mut inner = self.inner.lock();
        if !inner.memberships.split_off(&index).is_empty() {
            inner.tell();
        }
    }

    /// Instead of everything up to the entry `last` there is a membership, of the entry at `index`.
    pub fn install(&self, last: u64, index: u64, membership: Membership) {
        let mut inner = self.inner.lock();
        inner.memberships = inner.memberships.split_off(&(last + 1));
        inner.memberships.insert(index, membership);
        inner.tell();
    }

    /// Whether what `node` says from the disk that it has shown counts, by the effective membership: always where it does
    /// not vote, since nothing is counted then.
    pub fn counts(&self, node: &NodeId, shown: Shown) -> bool {
        let inner = self.inner.lock();
        let Some(membership) = inner.effective() else {
            return true;
        };
        let counts = match membership.get_node(node).map(|member| member.seat) {
            Some(Seat::Founder) => shown.vouched,
            Some(Seat::Disk(disk)) => disk == shown.disk,
            Some(Seat::Any) | None => membership.voter_ids().all(|voter| voter != *node),
        };
        counts || is_planted(Bug::CountsOtherDisks)
    }

    /// Whether this node may stand for election: the newest membership in which it votes names its disk.
    pub fn may_stand(&self, me: &NodeId) -> bool {
        self.inner.lock().may_stand(me)
    }

    /// The seat of a node in the effective membership; none where it is not in it.
    pub fn seat(&self, node: &NodeId) -> Option<Seat> {
        let inner = self.inner.lock();
        inner.effective()?.get_node(node).map(|member| member.seat)
    }

    /// The seats that are to be taken otherwise: a voter's whose disk is not named yet and was shown with enough vouchers,
    /// and that of a node that votes no longer. None while the membership is joint. `shown` tells what others than `me` showed.
    pub fn unsettled(&self, me: &NodeId, shown: impl Fn(&NodeId) -> Option<Shown>) -> BTreeMap<NodeId, Seat> {
        let inner = self.inner.lock();
        let shown = |node: &NodeId| if node == me { Some(inner.own) } else { shown(node) };
        let Some(membership) = inner
            .effective()
            .filter(|membership| membership.get_joint_config().len() == 1)
        else {
            return BTreeMap::new();
        };
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let settled = membership.nodes().filter_map(|(node, member)| {
            let seat = match (voters.contains(node), member.seat) {
                (true, Seat::Founder) => Seat::Disk(shown(node).filter(|shown| shown.vouched)?.disk),
                (false, _) => Seat::Any,
                (true, seat) => seat,
            };
            (seat != member.seat).then_some((*node, seat))
        });
        settled.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::Member;
    use super::*;

    const ME: u8 = 1;
    const MINE: DiskId = DiskId::of([3; 8]);
    const OTHER: DiskId = DiskId::of([5; 8]);

    fn id(n: u8) -> NodeId {
        NodeId::from_bytes([n; 32])
    }

    fn shows(disk: DiskId, vouched: bool) -> Shown {
        Shown { disk, vouched }
    }

    /// `voters` vote, and these sit there.
    fn membership(voters: &[u8], seats: &[(u8, Seat)]) -> Membership {
        let nodes = seats.iter().map(|(n, seat)| {
            let name = format!("node-{n}");
            (id(*n), Member { name, seat: *seat })
        });
        let voters: BTreeSet<NodeId> = voters.iter().map(|n| id(*n)).collect();
        Membership::new(vec![voters], nodes.collect::<BTreeMap<_, _>>()).unwrap()
    }

    #[test]
    fn only_the_disk_that_the_membership_names_counts() {
        let seats = Seats::new(shows(MINE, false));
        assert!(
            seats.counts(&id(2), shows(OTHER, false)),
            "before any membership nothing is counted"
        );
        seats.append(
            1,
            membership(&[2, 3], &[(2, Seat::Disk(MINE)), (3, Seat::Founder), (4, Seat::Any)]),
        );
        let cases = [
            (2, MINE, false, true),
            (2, OTHER, true, false),
            (3, OTHER, true, true),
            (3, OTHER, false, false),
            (4, OTHER, false, true),
        ];
        for (node, disk, vouched, counts) in cases {
            assert_eq!(
                seats.counts(&id(node), shows(disk, vouched)),
                counts,
                "node {node} on {disk}, {vouched}"
            );
        }
    }

    #[test]
    fn what_is_cut_off_the_log_names_nobody() {
        let seats = Seats::new(shows(MINE, false));
        seats.append(1, membership(&[2], &[(2, Seat::Disk(MINE))]));
        seats.append(5, membership(&[2], &[(2, Seat::Disk(OTHER))]));
        assert!(!seats.counts(&id(2), shows(MINE, false)));
        seats.truncate_from(5);
        assert!(seats.counts(&id(2), shows(MINE, false)));
        // A checkpoint takes the place of everything up to its last entry.
        seats.append(9, membership(&[2], &[(2, Seat::Disk(OTHER))]));
        seats.install(20, 7, membership(&[2], &[(2, Seat::Disk(MINE))]));
        assert!(seats.counts(&id(2), shows(MINE, false)));
    }

    /// A node on a new disk gets the log from its beginning, with memberships in which it was a voter.
    #[test]
    fn a_node_stands_only_by_a_membership_that_names_its_disk() {
        let told = std::sync::Arc::new(Mutex::new(None));
        let seats = Seats::new(shows(MINE, false));
        let heard = told.clone();
        seats.listen(id(ME), move |may_stand| *heard.lock() = Some(may_stand));
        let stands = |at: u64, voters: &[u8], seat| {
            seats.append(at, membership(voters, &[(ME, seat), (2, Seat::Founder)]));
            assert_eq!(
                Some(seats.may_stand(&id(ME))),
                *told.lock(),
                "what is told is what is so"
            );
            seats.may_stand(&id(ME))
        };
        assert!(!stands(1, &[ME, 2], Seat::Founder), "not vouched for");
        assert!(!stands(2, &[ME, 2], Seat::Disk(OTHER)));
        assert!(
            !stands(3, &[2], Seat::Any),
            "by the one before it would vote on another disk"
        );
        assert!(stands(4, &[ME, 2], Seat::Disk(MINE)));
        assert!(
            stands(5, &[2], Seat::Disk(MINE)),
            "it may have to lead once more to be let go"
        );
        seats.append(6, membership(&[ME], &[(ME, Seat::Founder)]));
        assert!(!seats.may_stand(&id(ME)));
        seats.show(shows(MINE, true));
        assert_eq!(*told.lock(), Some(true));
    }

    #[test]
    fn disks_are_named_once_they_are_vouched_for_and_no_longer_without_a_vote() {
        let seats = Seats::new(shows(MINE, true));
        let seat = [
            (ME, Seat::Founder),
            (2, Seat::Founder),
            (3, Seat::Founder),
            (4, Seat::Disk(OTHER)),
            (5, Seat::Any),
        ];
        seats.append(1, membership(&[ME, 2, 3], &seat));
        let shown = |node: &NodeId| (*node != id(3)).then_some(shows(OTHER, *node == id(2)));
        let expected = [
            (id(ME), Seat::Disk(MINE)),
            (id(2), Seat::Disk(OTHER)),
            (id(4), Seat::Any),
        ];
        assert_eq!(seats.unsettled(&id(ME), shown), BTreeMap::from(expected));
        assert_eq!(seats.unsettled(&id(ME), |_| Some(shows(OTHER, false))).len(), 2);
    }
}
