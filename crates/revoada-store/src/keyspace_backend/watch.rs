//! Watches of resources: the events of keys, filtered by labels and told as what a watcher sees.
//!
//! A watch has two phases: the present resources, in pages at one revision, then the events behind it. It holds where
//! it is (a key in the first phase, a revision in the second) and at most one pull's worth of events.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use revoada_core::keyspace::{Event, EventKind, Keyspace as View, RangeQuery, ReadError, Revision, Version};
use revoada_core::resource::ResourceRef;

use super::list::Part;
use super::{WatchOpen, got};
use crate::backend::Got;
use crate::error::StoreError;
use crate::keyspace::{KeyEventStream, KeyEvents, Keyspace, watch_keys};
use crate::limits::{SCAN_ENTRIES_MAX, WATCH_BOOKMARK_REVISIONS};
use crate::watch::{WatchEvent, WatchRequest, WatchStream};

/// Opens a watch; `view` is a confirmed one.
pub(super) fn open<K: Keyspace + ?Sized + 'static>(
    keyspace: Arc<K>,
    view: &View,
    request: WatchRequest,
    open: WatchOpen,
) -> Result<WatchStream, StoreError> {
    let newest = view.revision();
    if let Some(after) = request.after.filter(|after| *after > newest) {
        return Err(StoreError::invalid(format_args!(
            "revision {after} is not there yet; the newest is {newest}"
        )));
    }
    let part = Part::of(&request.kind, request.namespace.as_deref(), request.name.as_deref());
    let phase = match request.after {
        Some(after) => Phase::events(&keyspace, &part, after),
        None => Phase::Present {
            revision: newest,
            after: None,
        },
    };
    let told = request.after.unwrap_or(newest);
    let watch = Watch {
        keyspace,
        part,
        request,
        phase,
        ready: VecDeque::new(),
        told,
        _open: open,
    };
    Ok(Box::pin(futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        if matches!(event, Err(_) | Ok(WatchEvent::Reset { .. })) {
            watch.phase = Phase::Ended;
            watch.ready.clear();
        }
        Some((event, watch))
    })))
}

enum Phase {
    /// Telling what is there, at a revision, from behind a key.
    Present {
        revision: Revision,
        after: Option<Bytes>,
    },
    /// Telling what changes.
    Events(KeyEventStream),
    Ended,
}

impl Phase {
    fn events<K: Keyspace + ?Sized + 'static>(keyspace: &Arc<K>, part: &Part, after: Revision) -> Self {
        Self::Events(watch_keys(Arc::clone(keyspace), part.range.clone(), after))
    }
}

struct Watch<K: ?Sized> {
    keyspace: Arc<K>,
    part: Part,
    request: WatchRequest,
    phase: Phase,
    /// Read and not yet told.
    ready: VecDeque<WatchEvent>,
    /// The revision of the newest event that was told, or where the watch began.
    told: Revision,
    _open: WatchOpen,
}

impl<K: Keyspace + ?Sized + 'static> Watch<K> {
    async fn next(&mut self) -> Option<Result<WatchEvent, StoreError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                self.told = self.told.max(event.revision());
                return Some(Ok(event));
            }
            let filled = match &mut self.phase {
                Phase::Ended => return None,
                Phase::Present { revision, after } => {
                    let (revision, after) = (*revision, after.take());
                    self.read_present(revision, after)
                }
                Phase::Events(events) => {
                    let events = events.next().await?;
                    self.read_events(events)
                }
            };
            if let Err(error) = filled {
                return Some(Err(error));
            }
        }
    }

    /// Reads the next page of what is there; behind the last comes the bookmark.
    fn read_present(&mut self, revision: Revision, after: Option<Bytes>) -> Result<(), StoreError> {
        let view = self.keyspace.view_at_hand();
        let query = RangeQuery {
            revision: Some(revision),
            limit: SCAN_ENTRIES_MAX as u64,
            after,
            ..RangeQuery::of(self.part.range.clone())
        };
        let read = match view.range(&query) {
            Ok(read) => read,
            Err(ReadError::Compacted { .. }) => {
                self.ready.push_back(WatchEvent::Reset {
                    revision: view.revision(),
                });
                return Ok(());
            }
            Err(error @ ReadError::Future { .. }) => {
                return Err(StoreError::unavailable_because("the state at hand went back", error));
            }
        };
        for entry in &read.entries {
            let Some(reference) = self.part.reference(&entry.key) else {
                continue;
            };
            let got = got(reference, &entry.version)?;
            if self.selects(&got) {
                self.ready.push_back(WatchEvent::Added(got));
            }
        }
        self.phase = match read.entries.last().filter(|_| read.more) {
            Some(last) => Phase::Present {
                revision,
                after: Some(last.key.clone()),
            },
            None => {
                self.ready.push_back(WatchEvent::Bookmark { revision });
                Phase::events(&self.keyspace, &self.part, revision)
            }
        };
        Ok(())
    }

    fn read_events(&mut self, events: KeyEvents) -> Result<(), StoreError> {
        match events {
            KeyEvents::Changed(events) => {
                for event in events {
                    if let Some(reference) = self.part.reference(&event.key) {
                        let event = self.told_as(reference, &event)?;
                        self.ready.extend(event);
                    }
                }
            }
            KeyEvents::Progress(revision) if revision.saturating_sub(self.told) >= WATCH_BOOKMARK_REVISIONS => {
                self.ready.push_back(WatchEvent::Bookmark { revision });
            }
            KeyEvents::Progress(_) => {}
            KeyEvents::Compacted { .. } => {
                let revision = self.keyspace.view_at_hand().revision();
                self.ready.push_back(WatchEvent::Reset { revision });
            }
        }
        Ok(())
    }

    /// What a change looks like to this watcher: a resource may also come in and go out by its labels.
    fn told_as(&self, reference: ResourceRef, event: &Event) -> Result<Option<WatchEvent>, StoreError> {
        let selected = |version: Option<&Version>| -> Result<Option<Got>, StoreError> {
            let got = version.map(|version| got(reference.clone(), version)).transpose()?;
            Ok(got.filter(|got| self.selects(got)))
        };
        let (before, now) = match &event.kind {
            EventKind::Put { version, previous } => {
                // Without labels only whether it was there matters, and that costs no decoding.
                let now = selected(Some(version))?;
                if self.request.selector.is_none() {
                    return Ok(now.map(|now| {
                        if previous.is_some() {
                            WatchEvent::Modified(now)
                        } else {
                            WatchEvent::Added(now)
                        }
                    }));
                }
                (selected(previous.as_ref())?, now)
            }
            EventKind::Delete { previous } => (selected(Some(previous))?, None),
        };
        Ok(match (before, now) {
            (None, None) => None,
            (None, Some(now)) => Some(WatchEvent::Added(now)),
            (Some(_), Some(now)) => Some(WatchEvent::Modified(now)),
            (Some(last), None) => Some(WatchEvent::Deleted {
                revision: event.revision,
                last,
            }),
        })
    }

    fn selects(&self, got: &Got) -> bool {
        self.request
            .selector
            .as_ref()
            .is_none_or(|selector| selector.matches(&got.resource))
    }
}
