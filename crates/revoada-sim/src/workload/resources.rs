//! Resources through the store's port, as faces use it: apply, list with pages, snapshot, restore.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use crate::executor::SimRuntime;
use bytes::Bytes;
use openraft_rt::AsyncRuntime;
use revoada_core::resource::{Resource, ResourceFormat, key, stored};
use revoada_store::{Action, ApplyRequest, KindFilter, ListRequest, StoreError, read_snapshot};

use super::{Clients, PATIENCE, now};
use crate::cluster::Running;
use crate::entropy::Chance;
use crate::history::{PutBack, Read, Span, Write};

/// How many resources there are.
const RESOURCES: u64 = 6;
/// How many come in one page of a list.
const PAGE: usize = 2;

fn resource(number: u64, value: &str) -> Resource {
    let document = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: kept-{number}\n  namespace: default\ndata:\n  value: \"{value}\"\n"
    );
    Resource::parse(document.into(), ResourceFormat::Yaml).expect("the document is valid")
}

/// All keys that resources of this client may have, with what is there.
fn all(found: impl IntoIterator<Item = (Bytes, Bytes)>) -> BTreeMap<Bytes, Option<Bytes>> {
    let mut seen: BTreeMap<Bytes, Option<Bytes>> = (0..RESOURCES)
        .map(|number| (key(&resource(number, "").reference), None))
        .collect();
    seen.extend(found.into_iter().map(|(key, value)| (key, Some(value))));
    seen
}

impl Clients {
    /// Applies resources, lists them, takes snapshots, and restores one of those that it took.
    pub(super) async fn keep(self, mut chance: Chance) {
        let mut snapshots: Vec<Vec<u8>> = Vec::new();
        let mut values = 0;
        while self.goes_on() {
            SimRuntime::sleep(chance.ms(200, 1_200)).await;
            let Some((_, running)) = self.somebody(&mut chance) else {
                continue;
            };
            match chance.below(10) {
                0..5 => {
                    values += 1;
                    let applied = resource(chance.below(RESOURCES), &format!("value {values}"));
                    self.apply(&running, applied).await;
                }
                5..7 => self.list_resources(&running, &mut chance).await,
                7 | 8 => snapshots.extend(self.snapshot(&running).await),
                _ if !snapshots.is_empty() => {
                    let snapshot = chance.pick(&snapshots).clone();
                    self.put_back(&running, &snapshot).await;
                }
                _ => {}
            }
        }
    }

    /// Waits for the answer of a verb, and counts it.
    async fn verb<T>(
        &self,
        kind: &str,
        asked: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Option<(T, Span)> {
        if !self.goes_on() {
            return None;
        }
        let called = now();
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let answer = SimRuntime::timeout(PATIENCE, asked).await;
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let span = Span {
            called,
            returned: now(),
        };
        let (answer, how) = match answer {
            Ok(Ok(answer)) => (Some((answer, span)), ""),
            Ok(Err(StoreError::OutcomeUnknown(_))) | Err(_) => (None, "-unknown"),
            Ok(Err(_)) => (None, "-refused"),
        };
        self.history.count(&format!("{kind}{how}"));
        answer
    }

    async fn apply(&self, running: &Running, resource: Resource) {
        let changes = [(key(&resource.reference), Some(stored::encode(&resource)))].into();
        let asked = running.store.apply(ApplyRequest::one(resource));
        let Some((applied, span)) = self.verb("apply", asked).await else {
            return;
        };
        if let [applied] = &applied[..]
            && applied.action != Action::Unchanged
        {
            let write = Write {
                span,
                revision: applied.revision,
                changes,
            };
            self.history.add(|records| records.writes.push(write));
        }
    }

    /// Lists with pages; each is asked of another node.
    async fn list_resources(&self, running: &Running, chance: &mut Chance) {
        let (mut running, mut first) = (running.clone(), None);
        let mut found = BTreeMap::new();
        let mut request = ListRequest {
            limit: Some(PAGE),
            ..ListRequest::of(KindFilter::of("", "ConfigMap"))
        };
        loop {
            let asked = running.store.list(request.clone());
            let Some((page, span)) = self.verb("list-resources", asked).await else {
                return;
            };
            let first = *first.get_or_insert((page.revision, span));
            found.extend(page.items.into_iter().map(|got| {
                let resource = got.resource;
                (key(&resource.reference), stored::encode(&resource))
            }));
            request.continue_token = page.continue_token;
            if request.continue_token.is_none() {
                let read = Read {
                    span: first.1,
                    revision: first.0,
                    linearizable: true,
                    seen: all(found),
                };
                return self.history.add(|records| records.reads.push(read));
            }
            SimRuntime::sleep(chance.ms(1, 80)).await;
            let Some((_, next)) = self.somebody(chance) else { return };
            running = next;
        }
    }

    async fn snapshot(&self, running: &Running) -> Option<Vec<u8>> {
        let mut file = Vec::new();
        let (taken, span) = self.verb("snapshot", running.store.snapshot(&mut file)).await?;
        let whole = read_snapshot(&mut &file[..]).await;
        let whole = whole.expect("a snapshot that was answered for can be read");
        let read = Read {
            span,
            revision: taken.revision,
            linearizable: true,
            seen: all(whole.restore.entries),
        };
        self.history.add(|records| records.reads.push(read));
        Some(file)
    }

    async fn put_back(&self, running: &Running, snapshot: &[u8]) {
        let whole = read_snapshot(&mut &snapshot[..]).await;
        let whole = whole.expect("a snapshot that was read can be read again");
        let asked = async { running.store.restore(&mut &snapshot[..]).await };
        let Some((restored, span)) = self.verb("restore-snapshot", asked).await else {
            return;
        };
        let put_back = PutBack {
            revision: restored.revision,
            taken: whole.inspection.revision,
            prefix: whole.restore.prefix,
            entries: whole.restore.entries.into_iter().collect(),
        };
        let write = Write {
            span,
            revision: restored.revision,
            changes: BTreeMap::new(),
        };
        self.history.add(|records| {
            records.put_back.push(put_back);
            records.writes.push(write);
        });
    }
}
