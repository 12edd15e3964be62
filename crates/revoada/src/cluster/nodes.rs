//! The threads of an embedded cluster's nodes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use revoada_core::declaration::ClusterDeclaration;
use revoada_core::genesis::{Founder, Genesis};
use revoada_core::roles::Membership;
use revoada_core::topology::TopologyStrategy;
use revoada_mesh::identity;
use revoada_mesh::log::LogOptions;
use revoada_node::config::NodeConfig;
use revoada_node::{Node, NodeOptions, Running, Stopped};
use revoada_store::StoreBackend;
use revoada_store::admin::{ClusterState, NodeStatus};
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::ClusterRuntimeError;
use crate::faces::NativeFaces;
use crate::system;

/// An embedded node's log is small: many of them may live in one program.
const SEGMENT_BYTES: u32 = 4 << 20;

/// How long a node that holds the state is taken to go on doing so.
const HOLDER_LASTS: Duration = Duration::from_millis(500);

struct Thread {
    name: String,
    running: watch::Receiver<Option<Running>>,
    runtime: Handle,
    join: Option<JoinHandle<Stopped>>,
}

/// The running nodes. Dropping them stops them and waits.
pub(super) struct Nodes {
    threads: parking_lot::Mutex<Vec<Thread>>,
    stop: CancellationToken,
    /// A node that holds the state, and when that was found out.
    holder: parking_lot::Mutex<Option<(Instant, String)>>,
    _temporary: Option<tempfile::TempDir>,
}

impl Nodes {
    pub fn start(
        declaration: &ClusterDeclaration,
        own: Option<Arc<dyn TopologyStrategy>>,
        store: Option<Arc<dyn StoreBackend>>,
        folder: Option<PathBuf>,
        nodes: usize,
    ) -> Result<Self, ClusterRuntimeError> {
        system::install_crypto();
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |source| ClusterRuntimeError::Folder { path, source }
        };
        let (folder, temporary) = match folder {
            Some(folder) => (folder, None),
            None => {
                let temporary = tempfile::tempdir().map_err(unusable(Path::new("a temporary folder")))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        fs::create_dir_all(&folder).map_err(unusable(&folder))?;
        let own: Vec<_> = own.into_iter().collect();
        let genesis_path = folder.join("genesis.json");
        let genesis = match fs::read(&genesis_path) {
            Ok(bytes) => {
                let genesis =
                    Genesis::parse_with(&bytes, &own).map_err(|source| ClusterRuntimeError::StoredGenesis {
                        path: folder.clone(),
                        source,
                    })?;
                if genesis.declaration() != declaration {
                    return Err(ClusterRuntimeError::OtherCluster {
                        path: folder,
                        asked: declaration.id(),
                        found: genesis.declaration().id(),
                    });
                }
                genesis
            }
            Err(_) => found(declaration, &folder, nodes)?,
        };
        let addresses = free_addresses(genesis.founders().len()).map_err(unusable(&folder))?;
        let seeds: BTreeSet<SocketAddr> = addresses.iter().copied().collect();
        let stop = CancellationToken::new();
        let started = Self {
            threads: parking_lot::Mutex::default(),
            stop: stop.clone(),
            holder: parking_lot::Mutex::default(),
            _temporary: temporary,
        };
        for (founder, listen) in genesis.founders().values().zip(addresses) {
            let config = NodeConfig {
                name: founder.name.clone(),
                folder: folder.join("nodes").join(&founder.name),
                genesis: genesis_path.clone(),
                listen,
                advertise: None,
                seeds: seeds.clone(),
                zone: founder.zone.clone(),
                rack: founder.rack.clone(),
                control: None,
                http: None,
                etcd: None,
                backup: None,
                operator: true,
            };
            let options = NodeOptions {
                config,
                faces: Arc::new(NativeFaces::default()),
                clock_ms: system::clock(),
                entropy: Arc::new(system::entropy),
                log: LogOptions {
                    segment_bytes: SEGMENT_BYTES,
                    ..LogOptions::default()
                },
                topologies: own.clone(),
                store: store.clone(),
                as_member: None,
            };
            let thread = spawn(options, stop.clone())?;
            started.threads.lock().push(thread);
        }
        Ok(started)
    }

    /// Waits until a node says that the cluster is formed and leads somewhere.
    pub async fn formed(&self, limit: Duration) -> Result<(), ClusterRuntimeError> {
        let deadline = Instant::now() + limit;
        loop {
            let why = match self.call(|node| async move { Ok(node.admin.status().await?) }).await {
                Ok(status) if status.cluster.state == ClusterState::Formed && status.cluster.leader.is_some() => {
                    return Ok(());
                }
                Ok(status) => format!("the cluster is {}", status.cluster.state.name()),
                Err(error) => error.to_string(),
            };
            let failed = self.threads.lock().iter_mut().find_map(|thread| {
                let ended = thread.join.as_ref().is_some_and(JoinHandle::is_finished);
                ended.then(|| (thread.name.clone(), thread.join.take()))
            });
            if let Some((node, Some(join))) = failed {
                return Err(match join.join() {
                    Ok(Stopped::NeverBooted(source)) => ClusterRuntimeError::Boot { node, source },
                    _ => ClusterRuntimeError::NotRunning,
                });
            }
            if Instant::now() >= deadline {
                return Err(ClusterRuntimeError::NotFormed {
                    seconds: limit.as_secs(),
                    why,
                });
            }
            // Off any timer of the caller's runtime, which may have none.
            self.pause().await;
        }
    }

    /// The backend of a running node, of one that holds the state where that is known.
    pub fn store(&self) -> Result<Arc<dyn StoreBackend>, ClusterRuntimeError> {
        let holder = self.holder.lock().clone().map(|(_, name)| name);
        let (_, running) = self.running(holder.as_deref()).ok_or(ClusterRuntimeError::NotRunning)?;
        Ok(running.store)
    }

    /// The node of that name, or whichever runs.
    fn running(&self, name: Option<&str>) -> Option<(Handle, Running)> {
        let threads = self.threads.lock();
        let of = |thread: &Thread| Some((thread.runtime.clone(), thread.running.borrow().clone()?));
        let named = threads.iter().filter(|thread| name == Some(thread.name.as_str()));
        named.chain(threads.iter()).find_map(of)
    }

    /// Has the next call find out anew who holds the state.
    pub fn forget_holder(&self) {
        self.holder.lock().take();
    }

    /// A node that holds the state: one that was drained, or is a worker beyond the standbys, could not answer a read.
    async fn holder(&self) -> Option<String> {
        if let Some((since, name)) = &*self.holder.lock()
            && since.elapsed() < HOLDER_LASTS
        {
            return Some(name.clone());
        }
        let (runtime, running) = self.running(None)?;
        let status = runtime.spawn(async move { running.admin.status().await });
        let status = status.await.ok()?.ok()?;
        let holds = |node: &&NodeStatus| node.membership == Membership::Alive && (node.voter || node.learner);
        let nodes = status.nodes.iter();
        let leader = nodes.clone().find(|node| node.leader);
        let name = leader.into_iter().chain(nodes.filter(holds)).next()?.name.clone();
        *self.holder.lock() = Some((Instant::now(), name.clone()));
        Some(name)
    }

    async fn pause(&self) {
        let runtime = self.threads.lock().first().map(|thread| thread.runtime.clone());
        if let Some(runtime) = runtime {
            // The node's thread is gone: then the next look says so.
            drop(runtime.spawn(tokio::time::sleep(Duration::from_millis(20))).await);
        }
    }

    /// Does something with a running node, on its own runtime.
    pub async fn call<T, F>(&self, act: impl FnOnce(Running) -> F) -> Result<T, ClusterRuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ClusterRuntimeError>> + Send + 'static,
    {
        let holder = self.holder().await;
        let (runtime, running) = self.running(holder.as_deref()).ok_or(ClusterRuntimeError::NotRunning)?;
        runtime
            .spawn(act(running))
            .await
            .map_err(|_| ClusterRuntimeError::NotRunning)?
    }

    /// Stops all and waits, without blocking the caller's runtime.
    pub async fn stop(&self) {
        self.stop.cancel();
        let joins: Vec<_> = self
            .threads
            .lock()
            .iter_mut()
            .filter_map(|thread| thread.join.take())
            .collect();
        let (done, wait) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            for join in joins {
                // A node that panicked has said so already.
                drop(join.join());
            }
            done.send(()).unwrap_or_default();
        });
        drop(wait.await);
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.get_mut() {
            if let Some(join) = thread.join.take() {
                // A node that panicked has said so already.
                drop(join.join());
            }
        }
    }
}

fn spawn(options: NodeOptions, stop: CancellationToken) -> Result<Thread, ClusterRuntimeError> {
    let name = options.config.name.clone();
    let failed = |source| ClusterRuntimeError::Folder {
        path: options.config.folder.clone(),
        source,
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let guard = handle.enter();
    let node = Node::prepare(options).map_err(|source| ClusterRuntimeError::Boot {
        node: name.clone(),
        source,
    })?;
    drop(guard);
    let (tell, running) = watch::channel(None);
    let join = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            runtime.block_on(node.run(stop, move |running| {
                tell.send_replace(Some(running));
            }))
        })
        .map_err(|source| ClusterRuntimeError::Folder {
            path: name.clone().into(),
            source,
        })?;
    Ok(Thread {
        name,
        running,
        runtime: handle,
        join: Some(join),
    })
}

/// Makes keys and genesis. The genesis is written last: without it nothing in the folder counts.
fn found(declaration: &ClusterDeclaration, folder: &Path, nodes: usize) -> Result<Genesis, ClusterRuntimeError> {
    let unusable = |source| ClusterRuntimeError::Folder {
        path: folder.to_owned(),
        source,
    };
    let mut founders = Vec::new();
    for number in 1..=nodes {
        let name = format!("node-{number}");
        let node_folder = folder.join("nodes").join(&name);
        fs::create_dir_all(&node_folder).map_err(unusable)?;
        let key = identity::load_or_create(&node_folder.join("node.key"), || {
            let mut seed = [0; 32];
            system::entropy(&mut seed).map(|()| seed)
        })
        .map_err(|error| unusable(std::io::Error::other(error)))?;
        founders.push((key.id(), Founder::named(name)));
    }
    let genesis = Genesis::prove(declaration.clone(), founders, None).map_err(ClusterRuntimeError::Genesis)?;
    let part = folder.join("genesis.part");
    fs::write(&part, genesis.render()).map_err(unusable)?;
    fs::File::open(&part)
        .and_then(|file| file.sync_all())
        .map_err(unusable)?;
    fs::rename(&part, folder.join("genesis.json")).map_err(unusable)?;
    Ok(genesis)
}

fn free_addresses(count: usize) -> std::io::Result<Vec<SocketAddr>> {
    // All are held until all are known, so that none is given twice.
    let held: Vec<_> = (0..count)
        .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .collect::<Result<_, _>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
