//! The verbs on resources, for both transports.
//!
//! Here a request becomes one of the backend's and its answer one of ours; the transports only carry them. What takes
//! long enough to hold up a node's heartbeats (parsing megabytes, writing thousands of items) is done on a thread for
//! blocking work; what is small is done at once, because the hop would cost more than the work.

mod documents;
pub mod http;

use std::sync::Arc;

use bytes::Bytes;
use revoada_core::error::ErrorKind;
use revoada_core::limits::APPLY_DOCUMENTS_MAX;
use revoada_core::resource::{Resource, ResourceRef};
use revoada_store::{
    ApplyRequest, Got, KindFilter, ListRequest, Listing, ReadOptions, StoreBackend, StoreError, WatchRequest,
    WatchStream,
};

use self::documents::{parse, parse_selector, render};
use super::message::{
    AppliedDocuments, AppliedResource, ApplyDocuments, DeleteResource, DeletedResource, Document, GetResource,
    GotResource, ListResources, ListedResources, Target, WatchResources,
};
use super::{Caller, Failure};

/// Documents of more bytes than this together are parsed or converted on a thread for blocking work.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Pages of more items than this are written on a thread for blocking work.
const INLINE_ITEMS_MAX: usize = 64;

/// The verbs on the resources of one backend.
#[derive(Clone)]
pub struct Resources {
    backend: Arc<dyn StoreBackend>,
}

impl Resources {
    /// The verbs on what rests in `backend`.
    pub fn new(backend: Arc<dyn StoreBackend>) -> Self {
        Self { backend }
    }

    pub(super) fn backend(&self) -> &Arc<dyn StoreBackend> {
        &self.backend
    }

    /// Applies every resource of every document, in order. All are parsed before the first is applied.
    pub async fn apply(&self, caller: &Caller, request: ApplyDocuments) -> Result<AppliedDocuments, Failure> {
        caller.must_operate("apply")?;
        let ApplyDocuments {
            documents,
            if_revision,
            dry_run,
        } = request;
        if documents.len() > APPLY_DOCUMENTS_MAX {
            let message = format!(
                "{} documents at once; at most {APPLY_DOCUMENTS_MAX} are taken",
                documents.len()
            );
            return Err(Failure::new(ErrorKind::Exhausted, message));
        }
        let bytes: usize = documents.iter().map(|document| document.document.len()).sum();
        let resources = away_if(bytes > INLINE_BYTES_MAX, move || parse_all(&documents)).await?;
        let applied = self
            .backend
            .apply(ApplyRequest {
                resources,
                if_revision,
                dry_run,
            })
            .await?;
        Ok(AppliedDocuments {
            results: applied.iter().map(AppliedResource::from).collect(),
        })
    }

    /// Reads one resource, in the format that is asked for.
    pub async fn get(&self, request: GetResource) -> Result<GotResource, Failure> {
        let GetResource {
            target,
            revision,
            stale,
            format,
        } = request;
        let got = self.find(target, ReadOptions { revision, stale }).await?;
        let Got {
            resource,
            create_revision,
            revision,
            version,
        } = got;
        let format = format.unwrap_or(resource.format);
        let long = format != resource.format && resource.document.len() > INLINE_BYTES_MAX;
        let document = away_if(long, move || render(&resource, format)).await?;
        Ok(GotResource {
            format,
            document,
            create_revision,
            revision,
            version,
        })
    }

    /// Deletes one resource.
    pub async fn delete(&self, caller: &Caller, request: DeleteResource) -> Result<DeletedResource, Failure> {
        caller.must_operate("delete")?;
        let DeleteResource { target, if_revision } = request;
        let reference = match target.group {
            Some(_) => exact(target),
            None => self.find(target, ReadOptions::LINEARIZABLE).await?.resource.reference,
        };
        let deleted = self.backend.delete(&reference, if_revision).await?;
        Ok(DeletedResource {
            revision: deleted.revision,
        })
    }

    /// Reads one page of resources: the JSON text of a [`ListedResources`].
    pub async fn list(&self, request: ListResources) -> Result<Bytes, Failure> {
        let ListResources {
            group,
            kind,
            namespace,
            selector,
            limit,
            continue_token,
            revision,
            stale,
        } = request;
        let selector = parse_selector(selector.as_deref())?;
        let kind = KindFilter {
            group,
            kind: Some(kind),
        };
        let read = ReadOptions { revision, stale };
        let listing = self
            .backend
            .list(ListRequest {
                kind,
                namespace,
                name: None,
                selector,
                limit,
                continue_token,
                read,
            })
            .await?;
        away_if(listing.items.len() > INLINE_ITEMS_MAX, move || page(&listing)).await
    }

    /// Opens a watch.
    pub async fn watch(&self, request: WatchResources) -> Result<WatchStream, Failure> {
        let WatchResources {
            group,
            kind,
            namespace,
            name,
            selector,
            from,
        } = request;
        let selector = parse_selector(selector.as_deref())?;
        let kind = KindFilter {
            group,
            kind: Some(kind),
        };
        Ok(self
            .backend
            .watch(WatchRequest {
                kind,
                namespace,
                name,
                selector,
                after: from,
            })
            .await?)
    }

    /// The one resource that `target` names. Without a group it is the core group's, or else the only one of that kind
    /// and name in any group.
    async fn find(&self, target: Target, read: ReadOptions) -> Result<Got, Failure> {
        let any_group = target.group.is_none();
        let reference = exact(target);
        match self.backend.get(&reference, read).await {
            Err(error @ StoreError::NotFound(_)) if any_group => {
                let request = ListRequest {
                    kind: KindFilter::named(reference.kind.as_str()),
                    namespace: Some(reference.namespace),
                    name: Some(reference.name),
                    limit: Some(2),
                    read,
                    ..ListRequest::default()
                };
                let mut found = self.backend.list(request).await?.items;
                match (found.pop(), found.pop()) {
                    (Some(one), None) => Ok(one),
                    (None, _) => Err(error.into()),
                    (Some(one), Some(other)) => Err(Failure::invalid(format!(
                        "{} and {} are both called that; say which group",
                        other.resource.reference, one.resource.reference
                    ))),
                }
            }
            got => Ok(got?),
        }
    }
}

/// The address that a target states, with the core group where it states none.
fn exact(target: Target) -> ResourceRef {
    let Target {
        group,
        kind,
        namespace,
        name,
    } = target;
    ResourceRef {
        group: group.unwrap_or_default(),
        kind,
        namespace,
        name,
    }
}

fn parse_all(documents: &[Document]) -> Result<Vec<Resource>, Failure> {
    let mut resources = Vec::with_capacity(documents.len());
    for (index, document) in documents.iter().enumerate() {
        let source = if documents.len() == 1 {
            "the body".to_owned()
        } else {
            format!("documents[{index}]")
        };
        resources.append(&mut parse(document, &source)?);
        if resources.len() > APPLY_DOCUMENTS_MAX {
            let message = format!("more than {APPLY_DOCUMENTS_MAX} resources at once; send them in parts");
            return Err(Failure::new(ErrorKind::Exhausted, message));
        }
    }
    Ok(resources)
}

fn page(listing: &Listing) -> Result<Bytes, Failure> {
    let page = ListedResources {
        revision: listing.revision,
        items: listing.items.iter().map(|got| &got.resource.content).collect(),
        continue_token: listing.continue_token.clone(),
        remaining: listing.remaining,
    };
    let text = serde_json::to_vec(&page)
        .map_err(|error| Failure::because(ErrorKind::Invalid, "the list cannot be written as JSON", &error))?;
    Ok(text.into())
}

/// Does `work` on a thread for blocking work if it is `long`, else here.
async fn away_if<T: Send + 'static>(
    long: bool,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if !long {
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::because(
            ErrorKind::Unavailable,
            "nothing was done: the work was abandoned",
            &error,
        )
    })?
}
