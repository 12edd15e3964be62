//! Watches: what a watcher asks for and what it is told.
//!
//! A watcher pulls. It holds a position in the sequence of events and reads on when it is ready, so a slow one costs
//! no memory, and one that fell behind what is kept is told so. Rejected: a channel per watcher, which either grows
//! without bound or drops events in silence.

use std::pin::Pin;

use futures::Stream;
use revoada_core::resource::{LabelSelector, ResourceRef};

use crate::backend::{Got, KindFilter};
use crate::error::StoreError;

/// What is to be watched.
#[derive(Debug, Clone, Default)]
pub struct WatchRequest {
    /// Of which kinds.
    pub kind: KindFilter,
    /// In which namespace; none for all, and for those that have none.
    pub namespace: Option<String>,
    /// With which name; none for any.
    pub name: Option<String>,
    /// With which labels; none for any. A resource that changes into the selection is added, and one that changes out
    /// of it deleted.
    pub selector: Option<LabelSelector>,
    /// Resume after this revision: exactly the events of later ones. Without it the present resources come first, as
    /// added, then a bookmark.
    pub after: Option<u64>,
}

impl WatchRequest {
    /// Everything of this kind, beginning with what is there.
    pub fn of(kind: KindFilter) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// The same, resuming after `revision`.
    #[must_use]
    pub fn after(mut self, revision: u64) -> Self {
        self.after = Some(revision);
        self
    }

    /// Whether the address (not yet the labels) is one that is watched.
    pub fn matches_reference(&self, reference: &ResourceRef) -> bool {
        self.kind.matches(reference)
            && self
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == reference.namespace)
            && self.name.as_ref().is_none_or(|name| *name == reference.name)
    }
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq)]
pub enum WatchEvent {
    /// A resource came into what is watched.
    Added(Got),
    /// A resource changed.
    Modified(Got),
    /// A resource went out of what is watched.
    Deleted {
        /// The revision that took it out.
        revision: u64,
        /// What it was before.
        last: Got,
    },
    /// Nothing is missing up to this revision: a watch may be resumed after it.
    Bookmark {
        /// The revision.
        revision: u64,
    },
    /// Events are missing; the watcher has to start again without a position. Always the last event.
    Reset {
        /// The store's revision when it said so.
        revision: u64,
    },
}

impl WatchEvent {
    /// The name used in every output: `added`, `modified`, `deleted`, `bookmark`, `reset`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Modified(_) => "modified",
            Self::Deleted { .. } => "deleted",
            Self::Bookmark { .. } => "bookmark",
            Self::Reset { .. } => "reset",
        }
    }

    /// The revision of the event.
    pub const fn revision(&self) -> u64 {
        match self {
            Self::Added(got) | Self::Modified(got) => got.revision,
            Self::Deleted { revision, .. } | Self::Bookmark { revision } | Self::Reset { revision } => *revision,
        }
    }

    /// The resource that it is about: as it is now, or as it was before it was deleted.
    pub const fn object(&self) -> Option<&Got> {
        match self {
            Self::Added(got) | Self::Modified(got) | Self::Deleted { last: got, .. } => Some(got),
            Self::Bookmark { .. } | Self::Reset { .. } => None,
        }
    }
}

/// The events of a watch, in the order of their revisions; the present resources come in the order of a list.
///
/// It ends after a reset or an error and never otherwise, except when the store is shut down. Dropping it closes the
/// watch; polling may be abandoned at any point without losing an event.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, StoreError>> + Send>>;
