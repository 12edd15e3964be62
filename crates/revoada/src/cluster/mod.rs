//! A cluster inside a program: real nodes with real keys, logs and loopback connections, each on a thread of its own.
//!
//! The nodes are the same as `revoada node` runs. Calls are carried out on a node's own runtime, so a program may use
//! whatever runtime it likes. Nodes as tasks of the caller's runtime were rejected: a caller that blocks it would look
//! like a dead cluster.

mod builder;
mod error;
mod nodes;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use revoada_core::declaration::ClusterDeclaration;
use revoada_core::resource::{Resource, ResourceRef};
use revoada_core::topology::TopologyStrategy;
use revoada_store::admin::{ClusterStatus, HealthReport, Wish, WishGranted};
use revoada_store::{
    Applied, ApplyRequest, Deleted, Got, KindFilter, ListRequest, Listing, ReadOptions, Restored, Snapshotted,
    StoreBackend, WatchRequest, WatchStream,
};

pub use builder::{ClusterBackend, ClusterBuilder};
pub use error::ClusterRuntimeError;
use nodes::Nodes;

/// How long [`Cluster::start`] waits until writes are taken.
const START_SECONDS: u64 = 60;

/// A cluster that this program embeds. Dropping it stops its nodes.
pub struct Cluster {
    declaration: ClusterDeclaration,
    topology: Option<Arc<dyn TopologyStrategy>>,
    store: Option<Arc<dyn StoreBackend>>,
    folder: Option<PathBuf>,
    nodes: usize,
    running: Mutex<State>,
}

enum State {
    Stopped,
    Starting,
    Running(Arc<Nodes>),
}

type Result<T, E = ClusterRuntimeError> = std::result::Result<T, E>;

impl Cluster {
    /// Puts a cluster together.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    fn new(
        declaration: ClusterDeclaration,
        topology: Option<Arc<dyn TopologyStrategy>>,
        store: Option<Arc<dyn StoreBackend>>,
        folder: Option<PathBuf>,
        nodes: usize,
    ) -> Self {
        Self {
            declaration,
            topology,
            store,
            folder,
            nodes,
            running: Mutex::new(State::Stopped),
        }
    }

    /// `FACE/STRATEGY/TOPOLOGY`.
    pub fn id(&self) -> String {
        self.declaration.id()
    }

    /// What it was declared as.
    pub fn declaration(&self) -> &ClusterDeclaration {
        &self.declaration
    }

    /// Whether it was started and not stopped since.
    pub fn is_running(&self) -> bool {
        matches!(*self.running.lock(), State::Running(_))
    }

    /// Starts the nodes and returns when the cluster takes writes, or after a minute. A cluster that was stopped can be
    /// started again. Dropping the future stops what it has started.
    pub async fn start(&self) -> Result<()> {
        {
            let mut running = self.running.lock();
            if !matches!(*running, State::Stopped) {
                return Err(ClusterRuntimeError::AlreadyRunning);
            }
            *running = State::Starting;
        }
        let starting = Starting(&self.running);
        let nodes = Nodes::start(
            &self.declaration,
            self.topology.clone(),
            self.store.clone(),
            self.folder.clone(),
            self.nodes,
        )?;
        let nodes = Arc::new(nodes);
        nodes.formed(Duration::from_secs(START_SECONDS)).await?;
        *self.running.lock() = State::Running(nodes);
        std::mem::forget(starting);
        Ok(())
    }

    fn nodes(&self) -> Result<Arc<Nodes>> {
        match &*self.running.lock() {
            State::Running(nodes) => Ok(nodes.clone()),
            State::Stopped | State::Starting => Err(ClusterRuntimeError::NotRunning),
        }
    }

    /// Stops the nodes and waits for them; what was acknowledged is on disk.
    pub async fn shutdown(&self) -> Result<()> {
        let nodes = {
            let mut running = self.running.lock();
            match std::mem::replace(&mut *running, State::Stopped) {
                State::Running(nodes) => nodes,
                other => {
                    *running = other;
                    return Err(ClusterRuntimeError::NotRunning);
                }
            }
        };
        nodes.stop().await;
        Ok(())
    }

    /// The backend behind a running cluster, for what the verbs here do not cover.
    pub fn backend(&self) -> Result<Arc<dyn StoreBackend>> {
        self.nodes()?.store()
    }

    /// Makes the resources be what they are given as, one after the other.
    pub async fn apply(&self, resources: Vec<Resource>) -> Result<Vec<Applied>> {
        self.apply_with(ApplyRequest::many(resources)).await
    }

    /// The same with a condition, or without doing it.
    pub async fn apply_with(&self, request: ApplyRequest) -> Result<Vec<Applied>> {
        self.nodes()?
            .call(move |node| async move { Ok(node.store.apply(request).await?) })
            .await
    }

    /// The newest of one resource.
    pub async fn get(&self, reference: &ResourceRef) -> Result<Got> {
        self.get_with(reference, ReadOptions::LINEARIZABLE).await
    }

    /// One resource, perhaps an older or a stale one.
    pub async fn get_with(&self, reference: &ResourceRef, options: ReadOptions) -> Result<Got> {
        let reference = reference.clone();
        self.nodes()?
            .call(move |node| async move { Ok(node.store.get(&reference, options).await?) })
            .await
    }

    /// All resources of a kind, as of one revision.
    pub async fn list(&self, kind: &str) -> Result<Listing> {
        self.list_with(ListRequest::of(KindFilter::named(kind))).await
    }

    /// The same, narrowed or in pages.
    pub async fn list_with(&self, request: ListRequest) -> Result<Listing> {
        self.nodes()?
            .call(move |node| async move { Ok(node.store.list(request).await?) })
            .await
    }

    /// Removes a resource.
    pub async fn delete(&self, reference: &ResourceRef) -> Result<Deleted> {
        self.delete_if(reference, None).await
    }

    /// Removes a resource if it is at a revision.
    pub async fn delete_if(&self, reference: &ResourceRef, if_revision: Option<u64>) -> Result<Deleted> {
        let reference = reference.clone();
        self.nodes()?
            .call(move |node| async move { Ok(node.store.delete(&reference, if_revision).await?) })
            .await
    }

    /// What changes from now on, or from a revision on.
    pub async fn watch(&self, request: WatchRequest) -> Result<WatchStream> {
        self.nodes()?
            .call(move |node| async move { Ok(node.store.watch(request).await?) })
            .await
    }

    /// Writes a snapshot. It is gathered in memory first, because the sink is the caller's and may be slow.
    pub async fn snapshot(&self, sink: &mut (dyn Write + Send)) -> Result<Snapshotted> {
        let (bytes, done) = self
            .nodes()?
            .call(|node| async move {
                let mut bytes = Vec::new();
                let done = node.store.snapshot(&mut bytes).await?;
                Ok((bytes, done))
            })
            .await?;
        let failed = |source| ClusterRuntimeError::Folder {
            path: "the snapshot's sink".into(),
            source,
        };
        sink.write_all(&bytes).map_err(failed)?;
        Ok(done)
    }

    /// Replaces all resources by a snapshot's.
    pub async fn restore(&self, source: &mut (dyn Read + Send)) -> Result<Restored> {
        let mut bytes = Vec::new();
        let failed = |source| ClusterRuntimeError::Folder {
            path: "the snapshot's source".into(),
            source,
        };
        source.read_to_end(&mut bytes).map_err(failed)?;
        self.nodes()?
            .call(move |node| async move { Ok(node.store.restore(&mut &bytes[..]).await?) })
            .await
    }

    /// How it is.
    pub async fn health(&self) -> Result<HealthReport> {
        self.nodes()?
            .call(|node| async move { Ok(node.admin.health().await?) })
            .await
    }

    /// What it looks like.
    pub async fn status(&self) -> Result<ClusterStatus> {
        self.nodes()?
            .call(|node| async move { Ok(node.admin.status().await?) })
            .await
    }

    /// Asks for a change of a node's role, as an operator. Returns when it is committed, with `wait` when it is done.
    pub async fn role_wish(&self, node: &str, wish: Wish, wait: bool) -> Result<WishGranted> {
        let nodes = self.nodes()?;
        let name = node.to_owned();
        let granted = nodes
            .call(move |node| async move { Ok(node.admin.role_wish(&name, wish, wait).await?) })
            .await;
        // A node that was drained holds the state no longer.
        nodes.forget_holder();
        granted
    }
}

/// Puts a start that failed or was dropped back to stopped.
struct Starting<'a>(&'a Mutex<State>);

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        *self.0.lock() = State::Stopped;
    }
}
