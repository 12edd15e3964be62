//! Records of the face's own in the keyspace: beside the keys of etcd's clients, where none of them reaches.
//!
//! A record is one key, read as the state at hand has it, and changed if nobody else did meanwhile. What it says is known
//! to every node as soon as it is applied there.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use revoada_core::keyspace::{Compare, CompareTarget, KeyRange, Keyspace as View, Op, Relation, Revision, Txn};
use revoada_store::Consistency;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::Status;

use super::{EtcdFace, refusal, refused};

/// How often a change is tried anew because somebody else changed the record meanwhile.
pub(super) const TRIES: usize = 16;

/// One record, and how it was read last.
#[derive(Debug)]
pub struct Record<T> {
    key: &'static [u8],
    what: &'static str,
    known: Mutex<Option<(Revision, Arc<T>)>>,
}

impl<T: Serialize + DeserializeOwned + Clone + PartialEq> Record<T> {
    /// The record under `key`; `what` it is, for messages.
    pub const fn new(key: &'static [u8], what: &'static str) -> Self {
        Self {
            key,
            what,
            known: Mutex::new(None),
        }
    }

    /// What a view has, and the revision that wrote it; none where nobody ever did.
    pub fn of(&self, view: &View) -> Result<Option<(Revision, Arc<T>)>, Status> {
        let Some(version) = view.get(self.key) else {
            return Ok(None);
        };
        let mut known = self.known.lock();
        if let Some((revision, record)) = &*known
            && *revision == version.mod_revision
        {
            return Ok(Some((*revision, record.clone())));
        }
        let record: T = cbor4ii::serde::from_slice(&version.value)
            .map_err(|error| Status::data_loss(format!("{} cannot be read: {error}", self.what)))?;
        let record = Arc::new(record);
        *known = Some((version.mod_revision, record.clone()));
        Ok(Some((version.mod_revision, record)))
    }

    /// Holds while the record is as that revision wrote it, 0 for never.
    pub fn unchanged_since(&self, written: Revision) -> Compare {
        Compare {
            range: KeyRange::One(Bytes::from_static(self.key)),
            target: CompareTarget::Mod(written),
            relation: Relation::Equal,
        }
    }
}

impl EtcdFace {
    /// Changes a record, again if somebody else did meanwhile; `first` is what it is where nobody ever wrote it.
    /// Returns it as it is then.
    pub(super) async fn change_record<T: Serialize + DeserializeOwned + Clone + PartialEq>(
        &self,
        record: &Record<T>,
        first: impl Fn() -> Result<T, Status>,
        change: impl Fn(&mut T) -> Result<(), refusal::Refusal>,
    ) -> Result<Arc<T>, Status> {
        for _ in 0..TRIES {
            let view = self.view(Consistency::Linearizable).await?;
            let (written, before) = match record.of(&view)? {
                Some((written, before)) => (written, before),
                None => (0, Arc::new(first()?)),
            };
            drop(view);
            let mut after = T::clone(&before);
            change(&mut after)?;
            if after == *before {
                return Ok(before);
            }
            let value = cbor4ii::serde::to_vec(Vec::new(), &after)
                .map_err(|error| Status::internal(format!("{} cannot be written: {error}", record.what)))?;
            let txn = Txn {
                compares: vec![record.unchanged_since(written)],
                then: vec![Op::put(Bytes::from_static(record.key), value)],
                otherwise: Vec::new(),
            };
            if self.keyspace.txn(txn).await.map_err(refused)?.1.succeeded {
                return Ok(Arc::new(after));
            }
        }
        Err(refusal::TOO_MANY_REQUESTS.into())
    }
}
