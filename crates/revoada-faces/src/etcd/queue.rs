//! What locks and elections share: whoever wants a name puts a key of its own under it, tied to its lease, and has it when
//! no older key is left (etcd: `client/v3/concurrency`, whose keys these are, so that both sides may mix).

use bytes::Bytes;
use futures::StreamExt;
use revoada_core::keyspace::{
    Compare, CompareTarget, Entry, EventKind, KeyRange, LeaseId, Op, OpResult, RangeQuery, Relation, Revision, Txn,
};
use revoada_store::{Consistency, KeyEvents, watch_keys};
use tonic::Status;

use super::auth::{self, Need};
use super::txn::one;
use super::{EtcdFace, keys, refusal, refused};

/// How long a lease lives that a client did not bring, in seconds (etcd: the default of a session).
const OWN_LEASE_TTL_S: i64 = 60;

/// A place in a queue.
pub struct Place {
    /// The key, as its client knows it.
    pub key: Bytes,
    /// The revision that created it: the order of the queue.
    pub created: Revision,
    /// Whether it was there already.
    pub was_there: bool,
}

/// Where the queue of a name lies.
pub fn prefix(name: &[u8]) -> Vec<u8> {
    [name, b"/"].concat()
}

/// What has to be allowed to whoever queues up, or looks who is first.
pub fn queue_needs(name: &[u8]) -> [Need; 2] {
    let (key, end) = (Bytes::from(prefix(name)), Bytes::from([name, b"0"].concat()));
    [auth::write(&key, &end), auth::read(&key, &end)]
}

/// The key has to have been created by this revision.
pub fn created_at(key: &[u8], revision: Revision) -> Compare {
    Compare {
        range: one(key),
        target: CompareTarget::Create(revision),
        relation: Relation::Equal,
    }
}

/// Takes its place away again when whoever waited is gone.
struct GivesUp<'a> {
    face: &'a EtcdFace,
    key: Bytes,
    armed: bool,
}

impl Drop for GivesUp<'_> {
    fn drop(&mut self) {
        if self.armed {
            let (face, key) = (self.face.clone(), self.key.clone());
            tokio::spawn(async move {
                // Its lease ends it otherwise.
                drop(face.keyspace.txn(Txn::always(vec![Op::delete(one(&key))])).await);
            });
        }
    }
}

impl EtcdFace {
    /// The lease that a client brought, or one of our own.
    pub(super) async fn lease_or_own(&self, lease: i64) -> Result<LeaseId, Status> {
        match lease {
            0 => self.grant(0, OWN_LEASE_TTL_S).await.map(|(_, id, _)| id),
            lease => Ok(lease as u64),
        }
    }

    /// Takes a place in the queue of `name`, with `value`, and waits until it is the first.
    pub(super) async fn queue_up(
        &self,
        name: &[u8],
        lease: LeaseId,
        value: Bytes,
    ) -> Result<(Revision, Place), Status> {
        let place = self.take_place(name, lease, value).await?;
        let mut gives_up = GivesUp {
            face: self,
            key: place.key.clone(),
            armed: true,
        };
        let revision = self.wait_for_older(name, place.created).await?;
        // The lease may have ended meanwhile, and the place with it.
        let view = self.view(Consistency::Linearizable).await?;
        let mine = view
            .get(&keys::stored(&place.key))
            .map(|version| version.create_revision);
        gives_up.armed = false;
        if mine != Some(place.created) {
            return Err(refusal::LEASE_NOT_FOUND.into());
        }
        Ok((revision, place))
    }

    async fn take_place(&self, name: &[u8], lease: LeaseId, value: Bytes) -> Result<Place, Status> {
        let mut key = prefix(name);
        key.extend_from_slice(format!("{lease:x}").as_bytes());
        let key = Bytes::from(key);
        let txn = Txn {
            compares: vec![created_at(&key, 0)],
            then: vec![Op::Put {
                key: keys::stored(&key),
                value,
                lease,
                keep_value: false,
                keep_lease: false,
                same_prefix_bytes: 0,
                previous: false,
            }],
            otherwise: vec![Op::Range(RangeQuery::of(one(&key)))],
        };
        let (revision, answer) = self.keyspace.txn(txn).await.map_err(refused)?;
        let there = match answer.results.into_iter().next() {
            Some(OpResult::Range(mut answer)) => answer.entries.pop(),
            _ => None,
        };
        Ok(Place {
            key,
            created: there.as_ref().map_or(revision, |entry| entry.version.create_revision),
            was_there: there.is_some(),
        })
    }

    /// Waits until no key of the queue is older than `created`.
    async fn wait_for_older(&self, name: &[u8], created: Revision) -> Result<Revision, Status> {
        loop {
            let view = self.view(Consistency::Linearizable).await?;
            let query = RangeQuery {
                max_create_revision: created - 1,
                keys_only: true,
                ..RangeQuery::of(keys::prefix(&prefix(name)))
            };
            let answer = view.range(&query).map_err(refusal::unreadable)?;
            // The last of those in front: when it goes, most others have gone.
            let last = answer
                .entries
                .into_iter()
                .max_by_key(|entry| entry.version.create_revision);
            let Some(last) = last else { return Ok(view.revision()) };
            self.wait_until_deleted(last, view.revision()).await?;
        }
    }

    async fn wait_until_deleted(&self, entry: Entry, after: Revision) -> Result<(), Status> {
        let range = KeyRange::One(entry.key);
        let mut events = watch_keys(self.keyspace.clone(), range, after);
        let mut stopping = std::pin::pin!(self.stopping());
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = &mut stopping => return Err(refusal::STOPPED.into()),
            };
            match event {
                Some(KeyEvents::Changed(events))
                    if events
                        .iter()
                        .any(|event| matches!(event.kind, EventKind::Delete { .. })) =>
                {
                    return Ok(());
                }
                Some(KeyEvents::Changed(_) | KeyEvents::Progress(_)) => {}
                // Looking again tells.
                Some(KeyEvents::Compacted { .. }) => return Ok(()),
                None => return Err(refusal::STOPPED.into()),
            }
        }
    }

    /// The oldest key of a queue: who has the name.
    pub(super) async fn first_of(&self, name: &[u8]) -> Result<(Revision, Option<Entry>), Status> {
        let view = self.view(Consistency::Linearizable).await?;
        let query = RangeQuery::of(keys::prefix(&prefix(name)));
        let answer = view.range(&query).map_err(refusal::unreadable)?;
        let first = answer
            .entries
            .into_iter()
            .min_by_key(|entry| entry.version.create_revision);
        Ok((view.revision(), first))
    }
}
