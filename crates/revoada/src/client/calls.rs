//! The calls of the native API, one method each.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, StatusCode};
use revoada_core::resource::ResourceFormat;
use revoada_faces::native::Members;
use revoada_faces::native::message::{
    AppliedDocuments, ApplyDocuments, CREATE_REVISION_HEADER, ChainHeads, DeleteResource, DeletedResource, Done,
    GetResource, GotResource, ListResources, ListedResources, REVISION_HEADER, RecoverRequest, Target, VERSION_HEADER,
    WatchResources,
};
use revoada_store::admin::{ClusterStatus, HealthReport, History, Wish, WishGranted};
use serde::Serialize;

use super::error::ClientError;
use super::http::{Client, Outgoing, whole};
use super::path::PathBuilder;
use super::watch::Watch;

impl Client {
    /// What the cluster looks like from this node; needs no quorum.
    pub async fn status(&self) -> Result<ClusterStatus, ClientError> {
        self.json(self.read("/v1/status")).await
    }

    /// How it is; an unhealthy cluster is an answer and no error.
    pub async fn health(&self) -> Result<HealthReport, ClientError> {
        let request = self.read("/v1/health");
        let timeout = request.timeout;
        let answered = self.send(request).await?;
        let (status, _, bytes) = self.whole(answered, false, timeout).await?;
        match status {
            StatusCode::OK => self.parse(&bytes, false),
            StatusCode::SERVICE_UNAVAILABLE => {
                serde_json::from_slice(&bytes).map_err(|_| self.refused(status, &bytes, false))
            }
            status => Err(self.refused(status, &bytes, false)),
        }
    }

    /// Every transition, oldest first.
    pub async fn history(&self) -> Result<History, ClientError> {
        self.json(self.read("/v1/history")).await
    }

    /// The nodes.
    pub async fn members(&self) -> Result<Members, ClientError> {
        self.json(self.read("/v1/members")).await
    }

    /// The declaration in force.
    pub async fn declaration(&self) -> Result<serde_json::Value, ClientError> {
        self.json(self.read("/v1/declaration")).await
    }

    /// The chain, as the offline verifier reads it.
    pub async fn chain_export(&self) -> Result<Bytes, ClientError> {
        Ok(self.bytes(self.read("/v1/chain")).await?.1)
    }

    /// The chain's heads, by node.
    pub async fn chain_heads(&self) -> Result<ChainHeads, ClientError> {
        self.json(self.read("/v1/chain/heads")).await
    }

    /// The keys for a verifier, as the text that it reads.
    pub async fn chain_trust(&self) -> Result<String, ClientError> {
        self.text("/v1/chain/trust").await
    }

    /// The node's metrics, in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        self.text("/metrics").await
    }

    /// Applies documents; all are parsed before the first resource is applied.
    pub async fn apply(&self, request: &ApplyDocuments) -> Result<AppliedDocuments, ClientError> {
        let mutation = !request.dry_run;
        let request = self.post_json("/v1/resources".to_owned(), request)?;
        self.json(Outgoing { mutation, ..request }).await
    }

    /// Reads one resource, in JSON where no format is asked for.
    pub async fn get(&self, request: &GetResource) -> Result<GotResource, ClientError> {
        let GetResource {
            target,
            revision,
            stale,
            format,
        } = request;
        let format = format.unwrap_or(ResourceFormat::Json);
        let path = target_path(target)
            .parameter("revision", *revision)
            .flag("stale", *stale)
            .parameter("format", Some(format));
        let (headers, document) = self.bytes(self.read(path.build())).await?;
        Ok(GotResource {
            format,
            document,
            create_revision: self.number(&headers, CREATE_REVISION_HEADER)?,
            revision: self.number(&headers, REVISION_HEADER)?,
            version: self.number(&headers, VERSION_HEADER)?,
        })
    }

    /// Deletes one resource.
    pub async fn delete(&self, request: &DeleteResource) -> Result<DeletedResource, ClientError> {
        let path = target_path(&request.target).parameter("if_revision", request.if_revision);
        self.json(self.change(Method::DELETE, path.build())).await
    }

    /// Reads one page of resources.
    pub async fn list(&self, request: &ListResources) -> Result<ListedResources, ClientError> {
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
        let path = PathBuilder::new("/v1/resources")
            .segment(kind)
            .parameter("group", group.as_ref())
            .parameter("namespace", namespace.as_ref())
            .parameter("selector", selector.as_ref())
            .parameter("limit", *limit)
            .parameter("continue", continue_token.as_ref())
            .parameter("revision", *revision)
            .flag("stale", *stale);
        self.json(self.read(path.build())).await
    }

    /// Reads all pages of a list, at the revision of the first.
    pub async fn list_all(&self, request: &ListResources) -> Result<ListedResources, ClientError> {
        let mut listed = self.list(request).await?;
        while let Some(continue_token) = listed.continue_token.take() {
            let next = ListResources {
                continue_token: Some(continue_token),
                ..request.clone()
            };
            let page = self.list(&next).await?;
            listed.items.extend(page.items);
            listed.continue_token = page.continue_token;
        }
        listed.remaining = None;
        Ok(listed)
    }

    /// Opens a watch.
    pub async fn watch(&self, request: &WatchResources) -> Result<Watch, ClientError> {
        let WatchResources {
            group,
            kind,
            namespace,
            name,
            selector,
            from,
        } = request;
        let path = PathBuilder::new("/v1/watch")
            .segment(kind)
            .parameter("group", group.as_ref())
            .parameter("namespace", namespace.as_ref())
            .parameter("name", name.as_ref())
            .parameter("selector", selector.as_ref())
            .parameter("from", *from);
        let response = self.streamed(self.read(path.build())).await?;
        Ok(Watch::new(self.clone(), response.into_body()))
    }

    /// Asks for a change of a node's role: answered when it is committed, with `wait` when it is done.
    pub async fn role_wish(&self, node: &str, wish: Wish, wait: bool) -> Result<WishGranted, ClientError> {
        let path = PathBuilder::new("/v1/nodes")
            .segment(node)
            .segment(wish.name())
            .flag("wait", wait);
        let mut request = self.change(Method::POST, path.build());
        if wait {
            request.timeout = self.options().long_answer_timeout;
        }
        self.json(request).await
    }

    /// Records that an operator ended the node's current loss.
    pub async fn excuse(&self, node: &str) -> Result<(), ClientError> {
        let path = PathBuilder::new("/v1/nodes").segment(node).segment("excuse");
        let Done {} = self.json(self.change(Method::POST, path.build())).await?;
        Ok(())
    }

    /// Stops the node.
    pub async fn shutdown(&self) -> Result<(), ClientError> {
        let Done {} = self.json(self.change(Method::POST, "/v1/shutdown")).await?;
        Ok(())
    }

    /// Makes the node the only voter, without a quorum.
    pub async fn recover(&self, reason: &str) -> Result<(), ClientError> {
        let body = RecoverRequest {
            reason: reason.to_owned(),
        };
        let Done {} = self.json(self.post_json("/v1/recover".to_owned(), &body)?).await?;
        Ok(())
    }

    async fn text(&self, path: &str) -> Result<String, ClientError> {
        let (_, bytes) = self.bytes(self.read(path)).await?;
        String::from_utf8(bytes.into()).map_err(|_| self.bad_answer(false, "text that is not UTF-8".to_owned()))
    }

    fn post_json(&self, path: String, body: &impl Serialize) -> Result<Outgoing, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.into()))?;
        Ok(Outgoing {
            body: whole(body.into()),
            content_type: Some("application/json"),
            ..self.change(Method::POST, path)
        })
    }

    /// A number that an answer has in a header.
    pub(super) fn number(&self, headers: &HeaderMap, name: &str) -> Result<u64, ClientError> {
        let number = headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
        number.ok_or_else(|| {
            let what = headers
                .get(CONTENT_TYPE)
                .and_then(|value| value.to_str().ok())
                .unwrap_or("a body");
            self.bad_answer(false, format!("{what} without the header {name}"))
        })
    }
}

fn target_path(
    Target {
        group,
        kind,
        namespace,
        name,
    }: &Target,
) -> PathBuilder {
    PathBuilder::new("/v1/resources")
        .segment(kind)
        .segment(name)
        .parameter("group", group.as_ref())
        .parameter("namespace", (!namespace.is_empty()).then_some(namespace))
}
