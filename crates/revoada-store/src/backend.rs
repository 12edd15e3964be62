//! The port behind which resources rest: five verbs, a snapshot and its way back, and health.
//!
//! The trait is as small as the least able backend (systemd knows no revisions that can be read again), and says what
//! more a backend can do by its [`Capabilities`]. Rejected: a trait per ability. A declaration names a backend at run
//! time, and a caller that holds `Arc<dyn StoreBackend>` cannot ask it for another trait.

use std::io;

use async_trait::async_trait;
use revoada_core::resource::{LabelSelector, Resource, ResourceRef};
use serde::{Deserialize, Serialize};

use crate::capability::Capabilities;
use crate::error::StoreError;
use crate::watch::{WatchRequest, WatchStream};

/// What is to be applied.
#[derive(Debug, Clone)]
pub struct ApplyRequest {
    /// The resources, in the order in which they are applied: each is a transaction of its own.
    pub resources: Vec<Resource>,
    /// Apply only if the resource was last changed at this revision; 0 means that it must not exist.
    /// Only together with exactly one resource, else the request is invalid.
    pub if_revision: Option<u64>,
    /// Answer what would happen, and change nothing.
    pub dry_run: bool,
}

impl ApplyRequest {
    /// Applies one resource, whatever is there.
    pub fn one(resource: Resource) -> Self {
        Self::many(vec![resource])
    }

    /// Applies each of `resources`, whatever is there.
    pub fn many(resources: Vec<Resource>) -> Self {
        Self {
            resources,
            if_revision: None,
            dry_run: false,
        }
    }

    /// The same, only if the resource was last changed at `revision` (0: must not exist).
    #[must_use]
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.if_revision = Some(revision);
        self
    }

    /// The same, but only asking what would happen.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }
}

/// What applying one resource did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It was not there.
    Created,
    /// Its content is another now.
    Updated,
    /// Its content was the same already, in whatever format; the stored document stays as it was. A document of the
    /// native format is unchanged only if it is the same byte for byte.
    Unchanged,
}

impl Action {
    /// The name used in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The answer to one resource of an apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The resource.
    pub reference: ResourceRef,
    /// What was done.
    pub action: Action,
    /// The revision of the resource's last change: of this apply, or of the earlier one if it is unchanged. In a dry
    /// run that would change something, the store's revision when it was asked.
    pub revision: u64,
}

/// How a read is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Read what was there at this revision; needs `ReadAtRevision`. None reads the newest.
    pub revision: Option<u64>,
    /// Answer from what is at hand, without asking whether it is the newest. Default: linearizable.
    pub stale: bool,
}

impl ReadOptions {
    /// The newest, confirmed.
    pub const LINEARIZABLE: Self = Self {
        revision: None,
        stale: false,
    };
    /// Whatever is at hand.
    pub const STALE: Self = Self {
        revision: None,
        stale: true,
    };

    /// What was there at `revision`.
    pub const fn at(revision: u64) -> Self {
        Self {
            revision: Some(revision),
            stale: false,
        }
    }
}

/// A resource as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Got {
    /// The resource.
    pub resource: Resource,
    /// The revision that created it (this time, if it was deleted before).
    pub create_revision: u64,
    /// The revision of its last change.
    pub revision: u64,
    /// How often it was changed since its creation, which is 1.
    pub version: u64,
}

/// Which kinds a list or a watch is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KindFilter {
    /// The group: empty for the core group, none for any.
    pub group: Option<String>,
    /// The kind, exactly as written; none for any.
    pub kind: Option<String>,
}

impl KindFilter {
    /// Every kind.
    pub const ANY: Self = Self {
        group: None,
        kind: None,
    };

    /// Exactly this kind of this group.
    pub fn of(group: impl Into<String>, kind: impl Into<String>) -> Self {
        Self {
            group: Some(group.into()),
            kind: Some(kind.into()),
        }
    }

    /// This kind, in whichever group.
    pub fn named(kind: impl Into<String>) -> Self {
        Self {
            group: None,
            kind: Some(kind.into()),
        }
    }

    /// Whether `reference` is of these kinds.
    pub fn matches(&self, reference: &ResourceRef) -> bool {
        self.group.as_ref().is_none_or(|group| *group == reference.group)
            && self.kind.as_ref().is_none_or(|kind| *kind == reference.kind)
    }
}

/// Which resources are to be listed.
#[derive(Debug, Clone, Default)]
pub struct ListRequest {
    /// Of which kinds.
    pub kind: KindFilter,
    /// In which namespace; none for all, and for those that have none.
    pub namespace: Option<String>,
    /// With which name; none for any. For a kind whose group is not known: a get is cheaper where it is.
    pub name: Option<String>,
    /// With which labels; none for any.
    pub selector: Option<LabelSelector>,
    /// At most so many items in this page; none, and anything above [`LIST_PAGE_ITEMS_MAX`], means that maximum.
    /// A page with a selector may be shorter, and is never empty before the last.
    ///
    /// [`LIST_PAGE_ITEMS_MAX`]: crate::limits::LIST_PAGE_ITEMS_MAX
    pub limit: Option<usize>,
    /// Where the page before ended, as that page said. The other fields must be the same as for that page.
    pub continue_token: Option<String>,
    /// How it is read. With a continue token the revision is the first page's, and `revision` must be none or that.
    pub read: ReadOptions,
}

impl ListRequest {
    /// Everything of this kind.
    pub fn of(kind: KindFilter) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Listing {
    /// The revision at which all pages are served.
    pub revision: u64,
    /// In the order of group, kind, namespace, name.
    pub items: Vec<Got>,
    /// Where the next page starts; none on the last. Opaque, and only for the backend that gave it.
    pub continue_token: Option<String>,
    /// How many items follow this page, where that is known without reading them.
    pub remaining: Option<u64>,
}

/// The answer to a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The revision that deleted it.
    pub revision: u64,
}

/// What a snapshot that was written holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshotted {
    /// The revision that it shows.
    pub revision: u64,
    /// The number of entries in its resource section.
    pub entries: u64,
}

/// The answer to a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The store's revision now: larger than any that it ever handed out, and than the snapshot's.
    pub revision: u64,
    /// The number of resources that are there now.
    pub entries: u64,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, in kebab-case.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, for people.
    pub detail: String,
}

/// How a backend is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendHealth {
    /// Everything that was looked at; the backend is healthy when all are ok.
    pub checks: Vec<Check>,
    /// The number of resources.
    pub resource_count: u64,
    /// The number of watches that are open.
    pub subscriber_count: u64,
    /// How old the newest state is that a stale read would see, in milliseconds; 0 where writes are seen at once.
    pub freshness_ms: u64,
}

impl BackendHealth {
    /// Whether every check is ok.
    pub fn is_healthy(&self) -> bool {
        self.checks.iter().all(|check| check.ok)
    }
}

/// Where resources rest.
///
/// To ensure correctness:
/// - A revision is handed out once, and never goes back, also not over a restore or a restart.
/// - A verb that returned `Ok` is visible to every later linearizable read, and is as durable as the capabilities say.
/// - A mutation that may or may not have happened is `OutcomeUnknown`, never `Unavailable`.
/// - Every verb may be cancelled by dropping its future; a mutation that was dropped may or may not happen.
///
/// Every verb may fail with `Unavailable`, `Denied` or `Unauthenticated`; what else it may fail with stands there.
#[async_trait]
pub trait StoreBackend: Send + Sync {
    /// The name used in declarations and outputs: `openraft`, `memory`, `folder`, …
    fn name(&self) -> &str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Creates or updates resources, each in its own transaction, in order, stopping at the first that fails; if any
    /// was applied before it, the error is `PartlyApplied`.
    ///
    /// A resource that is [`Action::Unchanged`] takes no revision.
    ///
    /// Errors: `AlreadyExists` (`if_revision` 0), `Conflict`, `Invalid`, `Exhausted`, `OutcomeUnknown`.
    async fn apply(&self, request: ApplyRequest) -> Result<Vec<Applied>, StoreError>;

    /// Reads one resource. Errors: `NotFound`, `Compacted`, `Invalid` (a revision that is not there yet).
    async fn get(&self, reference: &ResourceRef, options: ReadOptions) -> Result<Got, StoreError>;

    /// Reads one page of resources. Errors: `Compacted` (also of a continue token), `Invalid` (a token of another
    /// request or backend, a revision that is not there yet).
    async fn list(&self, request: ListRequest) -> Result<Listing, StoreError>;

    /// Deletes one resource, with `if_revision` only if it was last changed then.
    /// Errors: `NotFound`, `Conflict`, `OutcomeUnknown`.
    async fn delete(&self, reference: &ResourceRef, if_revision: Option<u64>) -> Result<Deleted, StoreError>;

    /// Opens a watch. The stream holds a position and no queue: a watcher that does not read costs nothing, and is
    /// told to start again (`reset`) when its position is compacted.
    /// Errors: `Invalid` (a position that is not there yet), `Exhausted` (too many watches). A position that is
    /// compacted already is no error: the stream's only event is a reset.
    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, StoreError>;

    /// Writes everything at one revision as a snapshot into `sink`, without holding up writers.
    /// Errors: `Unavailable` with the sink's error as its source; what was written then is no whole snapshot.
    async fn snapshot(&self, sink: &mut (dyn io::Write + Send)) -> Result<Snapshotted, StoreError>;

    /// Replaces all resources by those of a snapshot, or changes nothing. Moves the revision past everything that was
    /// ever handed out, here and by the snapshot's origin, and ends every watch with a reset.
    /// Errors: `Invalid` (cut short, changed, of a newer format), `Exhausted`, `OutcomeUnknown`.
    async fn restore(&self, source: &mut (dyn io::Read + Send)) -> Result<Restored, StoreError>;

    /// How it is. Never fails: what is wrong is a check that is not ok.
    async fn health(&self) -> BackendHealth;
}
