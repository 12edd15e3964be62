//! Resources on a keyspace: the verbs of a backend as operations and views, for every keyspace alike.
//!
//! Memory, folder and Raft differ in how an operation becomes durable and visible, and in nothing else; so the verbs
//! are written once, on the port of the keyspace. Each is one operation, decided where operations are put in order:
//! whether a resource is unchanged, or at the expected revision, is compared there and costs no round trip of its
//! own. Rejected: read, decide, compare-and-set, which retries under contention and pays two rounds for each write.

mod list;
mod snapshot;
mod spaces;
mod watch;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use revoada_core::keyspace::{
    Compare, CompareTarget, KeyRange, Keyspace as View, NO_LEASE, Op, OpResult, RangeQuery, ReadError, Relation,
    Revision, Txn, TxnAnswer, Version,
};
use revoada_core::resource::{RESOURCE_PREFIX, Resource, ResourceRef, key, stored};

use crate::backend::{
    Action, Applied, ApplyRequest, BackendHealth, Check, Deleted, Got, ListRequest, Listing, ReadOptions, Restored,
    Snapshotted, StoreBackend,
};
use crate::capability::{Capabilities, Capability};
use crate::error::{AlreadyExists, Compacted, NotFound, PartlyApplied, RevisionConflict, StoreError};
use crate::keyspace::{Consistency, Keyspace};
use crate::limits::{APPLY_RESOURCES_MAX, WATCHES_MAX};
use crate::watch::{WatchRequest, WatchStream};

pub use snapshot::{
    SnapshotSection, WholeSnapshot, read_snapshot, verify_snapshot, write_first_snapshot, write_snapshot,
};

/// A backend that keeps resources in a keyspace.
pub struct KeyspaceBackend<K: ?Sized> {
    name: &'static str,
    capabilities: Capabilities,
    keyspace: Arc<K>,
    watches: Arc<AtomicU64>,
}

impl<K: Keyspace + ?Sized> KeyspaceBackend<K> {
    /// The resources of `keyspace`, as the backend of this name. The capabilities are the keyspace's to state.
    pub fn on(name: &'static str, capabilities: Capabilities, keyspace: Arc<K>) -> Self {
        Self {
            name,
            capabilities,
            keyspace,
            watches: Arc::default(),
        }
    }

    /// The keyspace.
    pub fn keyspace(&self) -> &Arc<K> {
        &self.keyspace
    }

    /// How many watches are open.
    pub fn watches(&self) -> u64 {
        self.watches.load(Ordering::Relaxed)
    }

    /// Counts a watch for as long as the guard lives.
    fn open_watch(&self) -> Result<WatchOpen, StoreError> {
        let open = WatchOpen(Arc::clone(&self.watches));
        if open.0.fetch_add(1, Ordering::Relaxed) >= WATCHES_MAX as u64 {
            return Err(StoreError::exhausted(format_args!(
                "{WATCHES_MAX} watches are open already"
            )));
        }
        Ok(open)
    }

    async fn view(&self, options: ReadOptions) -> Result<View, StoreError> {
        let consistency = if options.stale {
            Consistency::Stale
        } else {
            Consistency::Linearizable
        };
        Ok(self.keyspace.view(consistency).await?)
    }

    fn require(&self, capability: Capability) -> Result<(), StoreError> {
        if self.capabilities.has(capability) {
            Ok(())
        } else {
            Err(StoreError::unsupported(self.name, capability))
        }
    }

    async fn apply_one(&self, resource: &Resource, if_revision: Option<u64>) -> Result<Applied, StoreError> {
        let reference = &resource.reference;
        let txn = Txn {
            compares: if_revision
                .map(|revision| last_changed_at(reference, revision))
                .into_iter()
                .collect(),
            then: vec![Op::Put {
                key: key(reference),
                value: stored::encode(resource),
                lease: NO_LEASE,
                keep_value: false,
                keep_lease: false,
                same_prefix_bytes: stored::same_prefix_bytes(resource),
                previous: false,
            }],
            otherwise: vec![read_numbers(reference)],
        };
        let (revision, answer) = self.keyspace.txn(txn).await?;
        let (action, revision) = match first(&answer) {
            Some(OpResult::Put { created: true, .. }) => (Action::Created, revision),
            Some(OpResult::Put { created: false, .. }) => (Action::Updated, revision),
            Some(OpResult::Unchanged { mod_revision }) => (Action::Unchanged, *mod_revision),
            result => return Err(not_as_expected(reference, if_revision, result)),
        };
        Ok(Applied {
            reference: reference.clone(),
            action,
            revision,
        })
    }

    /// What `apply_one` would do, by the state that is there now.
    async fn apply_one_dry(&self, resource: &Resource, if_revision: Option<u64>) -> Result<Applied, StoreError> {
        let view = self.view(ReadOptions::LINEARIZABLE).await?;
        let there = view.get(&key(&resource.reference));
        if let Some(expected) = if_revision {
            let actual = there.map(|version| version.mod_revision);
            if actual.unwrap_or(0) != expected {
                return Err(conflict(&resource.reference, expected, actual));
            }
        }
        let (action, revision) = match there {
            None => (Action::Created, view.revision()),
            Some(version) if is_same(&version.value, resource) => (Action::Unchanged, version.mod_revision),
            Some(_) => (Action::Updated, view.revision()),
        };
        Ok(Applied {
            reference: resource.reference.clone(),
            action,
            revision,
        })
    }
}

/// Counts one open watch.
struct WatchOpen(Arc<AtomicU64>);

impl Drop for WatchOpen {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether applying `resource` over what is stored changes nothing, as [`Op::Put`] decides it.
fn is_same(there: &[u8], resource: &Resource) -> bool {
    let new = stored::encode(resource);
    match stored::same_prefix_bytes(resource) as usize {
        prefix if prefix <= there.len() && prefix <= new.len() => there[..prefix] == new[..prefix],
        _ => *there == *new,
    }
}

/// Holds if the resource was last changed at `revision`, for 0 if it does not exist.
fn last_changed_at(reference: &ResourceRef, revision: Revision) -> Compare {
    Compare {
        range: KeyRange::One(key(reference)),
        target: CompareTarget::Mod(revision),
        relation: Relation::Equal,
    }
}

/// Reads everything of a resource but its document.
fn read_numbers(reference: &ResourceRef) -> Op {
    Op::Range(RangeQuery {
        keys_only: true,
        ..RangeQuery::of(KeyRange::One(key(reference)))
    })
}

/// The result of the one operation of a branch.
fn first(answer: &TxnAnswer) -> Option<&OpResult> {
    answer.results.first()
}

/// The error of a compare that did not hold: `result` is what [`read_numbers`] found.
fn not_as_expected(reference: &ResourceRef, expected: Option<u64>, result: Option<&OpResult>) -> StoreError {
    match (expected, result) {
        (Some(expected), Some(OpResult::Range(range))) => conflict(
            reference,
            expected,
            range.entries.first().map(|entry| entry.version.mod_revision),
        ),
        (_, result) => StoreError::outcome_unknown(format_args!("the keyspace answered {result:?} for {reference}")),
    }
}

fn conflict(reference: &ResourceRef, expected: u64, actual: Option<u64>) -> StoreError {
    let reference = reference.clone();
    match (expected, actual) {
        (0, Some(revision)) => AlreadyExists { reference, revision }.into(),
        (expected, actual) => RevisionConflict {
            reference,
            expected,
            actual,
        }
        .into(),
    }
}

/// A resource as it is stored, read from its entry.
fn got(reference: ResourceRef, version: &Version) -> Result<Got, StoreError> {
    let resource = stored::decode(&version.value, &reference).map_err(|damage| {
        StoreError::unavailable_because(format_args!("what is stored as {reference} cannot be read"), damage)
    })?;
    Ok(Got {
        resource,
        create_revision: version.create_revision,
        revision: version.mod_revision,
        version: version.version,
    })
}

fn unreadable(error: ReadError) -> StoreError {
    match error {
        ReadError::Compacted { asked, oldest } => Compacted {
            requested: asked,
            oldest,
        }
        .into(),
        ReadError::Future { asked, current } => StoreError::invalid(format_args!(
            "revision {asked} is not there yet; the newest is {current}"
        )),
    }
}

/// A reference that did not come out of a document (a flag, a path) has to be one that could.
fn check(reference: &ResourceRef) -> Result<(), StoreError> {
    reference
        .check()
        .map_err(|refusal| StoreError::invalid_because("the reference is not valid", refusal))
}

#[async_trait]
impl<K: Keyspace + ?Sized + 'static> StoreBackend for KeyspaceBackend<K> {
    fn name(&self) -> &str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn apply(&self, request: ApplyRequest) -> Result<Vec<Applied>, StoreError> {
        let ApplyRequest {
            resources,
            if_revision,
            dry_run,
        } = request;
        if if_revision.is_some() && resources.len() != 1 {
            return Err(StoreError::invalid(format_args!(
                "an expected revision is for one resource, and there are {}",
                resources.len()
            )));
        }
        if resources.len() > APPLY_RESOURCES_MAX {
            return Err(StoreError::exhausted(format_args!(
                "one apply takes {APPLY_RESOURCES_MAX} resources, and there are {}",
                resources.len()
            )));
        }
        resources.iter().try_for_each(|resource| check(&resource.reference))?;

        let mut applied = Vec::with_capacity(resources.len());
        for resource in &resources {
            let one = if dry_run {
                self.apply_one_dry(resource, if_revision).await
            } else {
                self.apply_one(resource, if_revision).await
            };
            match one {
                Ok(one) => applied.push(one),
                Err(error) if applied.is_empty() || dry_run => return Err(error),
                Err(error) => {
                    let failed = resource.reference.clone();
                    return Err(PartlyApplied {
                        applied,
                        failed,
                        source: Box::new(error),
                    }
                    .into());
                }
            }
        }
        Ok(applied)
    }

    async fn get(&self, reference: &ResourceRef, options: ReadOptions) -> Result<Got, StoreError> {
        check(reference)?;
        let view = self.view(options).await?;
        let version = match options.revision {
            Some(revision) => view.get_at(&key(reference), revision).map_err(unreadable)?,
            None => view.get(&key(reference)),
        };
        let version = version.ok_or_else(|| NotFound {
            reference: reference.clone(),
        })?;
        got(reference.clone(), version)
    }

    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError> {
        let view = self.view(request.read).await?;
        list::page(&view, &request).await
    }

    async fn delete(&self, reference: &ResourceRef, if_revision: Option<u64>) -> Result<Deleted, StoreError> {
        check(reference)?;
        if if_revision == Some(0) {
            return Err(StoreError::invalid(
                "what must not exist cannot be deleted; give the revision that it has",
            ));
        }
        let txn = Txn {
            compares: if_revision
                .map(|revision| last_changed_at(reference, revision))
                .into_iter()
                .collect(),
            then: vec![Op::delete(KeyRange::One(key(reference)))],
            otherwise: vec![read_numbers(reference)],
        };
        let (revision, answer) = self.keyspace.txn(txn).await?;
        match first(&answer) {
            Some(OpResult::Deleted { count: 0, .. }) => Err(NotFound {
                reference: reference.clone(),
            }
            .into()),
            Some(OpResult::Deleted { .. }) => Ok(Deleted { revision }),
            // Deleting what is gone finds nothing, whatever revision was expected.
            Some(OpResult::Range(range)) if range.entries.is_empty() => Err(NotFound {
                reference: reference.clone(),
            }
            .into()),
            result => Err(not_as_expected(reference, if_revision, result)),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError> {
        self.require(Capability::Watch)?;
        let open = self.open_watch()?;
        let view = self.view(ReadOptions::LINEARIZABLE).await?;
        watch::open(Arc::clone(&self.keyspace), &view, request, open)
    }

    async fn snapshot(&self, sink: &mut (dyn io::Write + Send)) -> Result<Snapshotted, StoreError> {
        let view = self.view(ReadOptions::LINEARIZABLE).await?;
        let extras = self.keyspace.snapshot_extras();
        let written = write_snapshot(&view, self.name, extras, None, sink).await?;
        Ok(Snapshotted {
            revision: written.revision,
            entries: written.entries,
        })
    }

    async fn restore(&self, source: &mut (dyn io::Read + Send)) -> Result<Restored, StoreError> {
        snapshot::restore(&*self.keyspace, source).await
    }

    async fn health(&self) -> BackendHealth {
        let view = self.keyspace.view_at_hand();
        let query = RangeQuery {
            count_only: true,
            ..RangeQuery::of(KeyRange::Prefix(RESOURCE_PREFIX.into()))
        };
        let resource_count = view.range(&query).map_or(0, |range| range.count);
        let reads = match self.keyspace.view(Consistency::Linearizable).await {
            Ok(view) => (true, format!("reads are served at revision {}", view.revision())),
            Err(error) => (false, error.to_string()),
        };
        let mut checks = vec![Check {
            name: "reads".to_owned(),
            ok: reads.0,
            detail: reads.1,
        }];
        checks.extend(self.keyspace.checks().await);
        BackendHealth {
            checks,
            resource_count,
            subscriber_count: self.watches(),
            freshness_ms: self.keyspace.freshness_ms(),
        }
    }
}

/// Lets others on the same thread have a turn: what goes through a large store does so between its pages.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut given, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
