//! A node's life: lock the folder, open the control socket, boot, serve, stop; and once more after a recovery.

mod doors;

use std::fs;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use parking_lot::RwLock;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::declaration::BackendConfig;
use revoada_core::genesis::Genesis;
use revoada_core::limits;
use revoada_core::topology::TopologyStrategy;
use revoada_mesh::consensus::{CheckpointRule, Consensus, ConsensusConfig};
use revoada_mesh::disk_id::DiskId;
use revoada_mesh::identity;
use revoada_mesh::keyspace::{Clock, RAFT_CAPABILITIES, RaftKeyspace};
use revoada_mesh::log::LogOptions;
use revoada_mesh::membership::{Facts, Gossip, GossipConfig};
use revoada_mesh::transport::{Protocol, Transport};
use revoada_store::audit::{Audit, AuditLog};
use revoada_store::{
    ClusterAdmin, FolderBackend, FolderConfig, Keyspace, KeyspaceBackend, MemoryBackend, RaftGroup, StoreBackend,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use doors::bind;
use doors::{Listener, etcd_listeners};

use crate::backup;
use crate::boot::BootError;
use crate::config::{EtcdConfig, NodeConfig};
use crate::gate::VERSION;
use crate::generation;
use crate::group::{ByName, Group, count_leaders};
use crate::introduction::port::Host;
use crate::listen::{self, EtcdListener, Https, Slot};
use crate::member::{Found, Member, MemberOptions, Surroundings, Working, judgement};
use crate::roster::{self, AsMember};
use crate::served::unserved;

/// What the node hands to whoever builds the faces.
pub struct Parts {
    /// The resources.
    pub store: Arc<dyn StoreBackend>,
    /// The cluster.
    pub admin: Arc<dyn ClusterAdmin>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Becomes true when the node stops: what streams has to end then.
    pub stopping: watch::Receiver<bool>,
    /// A folder for what is too large for memory.
    pub spool: PathBuf,
}

/// What the node hands to whoever builds the etcd face.
pub struct EtcdParts {
    /// The keys.
    pub keyspace: Arc<dyn Keyspace>,
    /// The members.
    pub group: Arc<dyn RaftGroup>,
    /// The time, in milliseconds since 1970, by which leases are granted.
    pub clock_ms: Clock,
    /// Random bytes.
    pub entropy: Entropy,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Becomes true when the node stops: what streams has to end then.
    pub stopping: watch::Receiver<bool>,
}

/// Builds what answers requests. The node knows no face; the composition root does.
pub trait Faces: Send + Sync + 'static {
    /// The service of a node that runs. Requests carry a [`crate::Caller`] in their extensions.
    fn serve(&self, parts: Parts) -> Router;

    /// The service of the etcd face, on a node that serves it.
    fn serve_etcd(&self, parts: EtcdParts) -> Router;

    /// The service of a node that does not: it answers every request with `what` and its causes.
    fn unavailable(&self, what: &str, causes: Vec<String>) -> Router;
}

/// Fills a buffer with random bytes.
pub type Entropy = Arc<dyn Fn(&mut [u8]) -> io::Result<()> + Send + Sync>;

/// How a node is to run.
pub struct NodeOptions {
    /// Its configuration.
    pub config: NodeConfig,
    /// What answers requests.
    pub faces: Arc<dyn Faces>,
    /// The time, in milliseconds since 1970.
    pub clock_ms: Clock,
    /// Random bytes.
    pub entropy: Entropy,
    /// How the log is kept, faults included.
    pub log: LogOptions,
    /// Topologies of the user's own.
    pub topologies: Vec<Arc<dyn TopologyStrategy>>,
    /// A backend that was opened already and is shared with others; by the declaration where absent.
    pub store: Option<Arc<dyn StoreBackend>>,
    /// What a node that is a member by name is, beside its configuration.
    pub as_member: Option<AsMember>,
}

/// Why a node's services end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    Shutdown,
    Recover { reason: String },
}

/// How a node ended.
#[derive(Debug)]
pub enum Stopped {
    /// It was asked to.
    Asked,
    /// It never booted; it answered with the reason until it was asked to stop.
    NeverBooted(BootError),
    /// Consensus stopped by itself, for instance because the disk failed.
    Failed(String),
    /// It was removed from its group.
    Removed,
}

/// What a running node tells whoever started it.
#[derive(Clone)]
pub struct Running {
    /// The resources.
    pub store: Arc<dyn StoreBackend>,
    /// The cluster.
    pub admin: Arc<dyn ClusterAdmin>,
}

/// A node.
pub struct Node {
    options: NodeOptions,
    control: tokio::net::UnixListener,
    /// Held for the node's whole life: the folder is ours.
    _lock: fs::File,
}

impl Node {
    /// Takes the folder and opens the control socket. Nothing has been read or sent yet.
    pub fn prepare(options: NodeOptions) -> Result<Self, BootError> {
        let config = &options.config;
        let folder = &config.folder;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| BootError::Folder {
                verb: "make",
                path: folder.clone(),
                source,
            })?;
        let lock = lock(folder)?;
        close_to_others(folder)?;
        let control = listen::bind_control(&config.control_socket())?;
        Ok(Self {
            options,
            control,
            _lock: lock,
        })
    }

    /// Runs until `stop` resolves or the node is told to stop by its control socket.
    ///
    /// `started` is called each time that the node has booted. A boot that fails is told to whoever asks the control
    /// socket, until `stop`; but a member by name ends, as whatever starts it expects.
    pub async fn run(self, stop: CancellationToken, mut started: impl FnMut(Running)) -> Stopped {
        let Self {
            options,
            control,
            _lock,
        } = self;
        let slot: Slot = Arc::new(RwLock::new(
            options
                .faces
                .unavailable("this node is starting; ask again shortly", Vec::new()),
        ));
        let control_stop = CancellationToken::new();
        let serving = tokio::spawn(listen::serve_control(control, slot.clone(), control_stop.clone()));
        let mut recovery = None;
        let stopped = loop {
            let services = match Services::boot(&options, &slot, recovery.take()).await {
                Ok(services) => services,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "this node cannot start");
                    let (what, causes) = (error.to_string(), causes(&error));
                    *slot.write() = options
                        .faces
                        .unavailable(&format!("this node could not start: {what}"), causes);
                    if options.as_member.is_none() {
                        stop.cancelled().await;
                    }
                    break Stopped::NeverBooted(error);
                }
            };
            started(services.running.clone());
            match services.run(&stop).await {
                Ended::Asked => break Stopped::Asked,
                Ended::Removed => break Stopped::Removed,
                Ended::Failed(why) => {
                    tracing::error!(why, "this node has failed and keeps away from its cluster");
                    *slot.write() = options.faces.unavailable("this node has failed", vec![why.clone()]);
                    if options.as_member.is_none() {
                        stop.cancelled().await;
                    }
                    break Stopped::Failed(why);
                }
                Ended::Recover(reason) => {
                    *slot.write() = options.faces.unavailable("this node is being recovered", Vec::new());
                    recovery = Some(reason);
                }
            }
        };
        control_stop.cancel();
        // The socket's task ends by itself now; what it still answers has its own limit.
        drop(serving.await);
        let socket = options.config.control_socket();
        if let Err(error) = fs::remove_file(&socket) {
            tracing::debug!(path = %socket.display(), %error, "the control socket stays");
        }
        stopped
    }
}

fn causes(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(error.source(), |error| error.source())
        .map(ToString::to_string)
        .collect()
}

/// Whatever the cluster stores is in the folder. It may have been made by somebody who did not think of that.
fn close_to_others(folder: &Path) -> Result<(), BootError> {
    let failed = |source| BootError::Folder {
        verb: "keep others out of",
        path: folder.to_owned(),
        source,
    };
    let mode = fs::metadata(folder).map_err(failed)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).map_err(failed)
}

fn lock(folder: &Path) -> Result<fs::File, BootError> {
    let path = folder.join("node.pid");
    let failed = |source| BootError::Folder {
        verb: "lock",
        path: path.clone(),
        source,
    };
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut owner = String::new();
            // Whoever it is: the lock is what counts, the number is a help.
            file.read_to_string(&mut owner).unwrap_or_default();
            return Err(BootError::Owned {
                path: folder.to_owned(),
                owner: owner.trim().to_owned(),
            });
        }
        Err(fs::TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

enum Ended {
    Asked,
    Removed,
    Failed(String),
    Recover(String),
}

/// What is open before anything is served.
struct Serving {
    genesis: Arc<Genesis>,
    me: NodeId,
    transport: Arc<Transport>,
    listener: Listener,
    https: Option<Https>,
    etcd: Vec<EtcdListener>,
    member: Arc<Member>,
    start: Start,
}

/// What a node writes down of every start.
struct Start {
    started_ms: u64,
    generation: u64,
    spool: PathBuf,
}

impl Start {
    fn note(options: &NodeOptions) -> Result<Self, BootError> {
        let folder = &options.config.folder;
        let started_ms = (options.clock_ms)();
        let path = folder.join("generation");
        let generation =
            generation::next(&*options.log.files, &path, started_ms).map_err(|source| BootError::Folder {
                verb: "write",
                path,
                source,
            })?;
        let spool = folder.join("spool");
        fs::create_dir_all(&spool).map_err(|source| BootError::Folder {
            verb: "make",
            path: spool.clone(),
            source,
        })?;
        Ok(Self {
            started_ms,
            generation,
            spool,
        })
    }
}

/// Everything of a node that runs between its boot and its stop.
struct Services {
    running: Running,
    member: Arc<Member>,
    gossip: Arc<Gossip>,
    tasks: JoinSet<()>,
    listeners: CancellationToken,
    stopping: watch::Sender<bool>,
    told: watch::Receiver<Option<Stop>>,
    removed: Option<CancellationToken>,
}

impl Services {
    async fn boot(options: &NodeOptions, slot: &Slot, recovery: Option<String>) -> Result<Self, BootError> {
        let config = &options.config;
        let folder = &config.folder;
        let genesis = Arc::new(read_genesis(config, &options.topologies)?);
        check_cluster(folder, &genesis)?;
        let key = identity::load_or_create(&folder.join("node.key"), || {
            let mut seed = [0; 32];
            (options.entropy)(&mut seed).map(|()| seed)
        })
        .map_err(BootError::Key)?;
        if options.as_member.is_none() {
            check_founder(config, &genesis, &key)?;
        }
        let declaration = genesis.declaration();
        if options.store.is_none()
            && let Some(what) = unserved(declaration, genesis.founders().len())
        {
            return Err(BootError::Unsupported { what });
        }
        let as_member = options.as_member.as_ref();
        let strategy = declaration.strategy();
        let timing = as_member.and_then(|member| member.timing);
        let (heartbeat, election_timeout) =
            timing.unwrap_or((strategy.consensus.heartbeat, strategy.consensus.election_timeout));
        let snapshot_interval = as_member.and_then(|member| member.snapshot_interval);
        let me = key.id();
        let address = config.address();

        let mut random = [0; 8];
        (options.entropy)(&mut random).map_err(|source| BootError::Folder {
            verb: "draw a name for the disk of",
            path: folder.clone(),
            source,
        })?;
        let seeds = config.seeds.iter().copied().filter(|seed| *seed != address);
        let member_options = MemberOptions {
            name: config.name.clone(),
            address,
            seeds: seeds.collect(),
            key: key.clone(),
            consensus: ConsensusConfig {
                id: me,
                folder: folder.clone(),
                genesis: genesis.clone(),
                election_timeout,
                heartbeat,
                snapshot_interval: snapshot_interval.unwrap_or(strategy.consensus.snapshot_interval),
                checkpoints: CheckpointRule::default(),
                log: options.log.clone(),
                new_disk: DiskId::of(random),
            },
            clock_ms: options.clock_ms.clone(),
            acquaintances: as_member.map(AsMember::acquaintances).unwrap_or_default(),
        };
        // Before the log is opened, which takes room for a segment ahead of time, and all there is for a moment before it
        // finds that this is too little.
        let start = Start::note(options)?;
        // From disk, off the runtime: a large state takes a while.
        let mut found = tokio::task::spawn_blocking(move || Found::open(member_options))
            .await
            .map_err(|error| BootError::Backend(error.into()))?
            .map_err(BootError::Consensus)?;
        let alone = as_member.is_some_and(|member| member.alone);
        if recovery.is_some() || alone {
            found.make_sole_voter().await.map_err(BootError::Consensus)?;
        }

        let listener = Listener::open(as_member, config.listen).await?;
        let https = match &config.http {
            Some(http) => Some(Https::bind(http.listen, folder, &config.name, genesis.token_digest()).await?),
            None => None,
        };
        let mut etcd = Vec::new();
        for listen in etcd_listeners(options, declaration.face().kind())? {
            etcd.push(EtcdListener::bind(&listen).await?);
        }
        let transport = Arc::new(Transport::new(&key, found.gate()).map_err(BootError::Tls)?);
        let member = Arc::new(found.start(transport.clone()).await.map_err(BootError::Consensus)?);
        let serving = Serving {
            genesis,
            me,
            transport,
            listener,
            https,
            etcd,
            member: member.clone(),
            start,
        };
        let booted = Self::serve(options, slot, serving, recovery).await;
        if booted.is_err() {
            // A node that says that it could not start must not vote behind its own back.
            member.stop().await;
        }
        booted
    }

    async fn serve(
        options: &NodeOptions,
        slot: &Slot,
        serving: Serving,
        recovery: Option<String>,
    ) -> Result<Self, BootError> {
        let Serving {
            genesis,
            me,
            transport,
            listener,
            https,
            etcd,
            member,
            start,
        } = serving;
        let Start {
            started_ms,
            generation,
            spool,
        } = start;
        let config = &options.config;
        let address = config.address();

        let facts = Facts {
            name: config.name.clone(),
            version: VERSION.to_owned(),
            pid: std::process::id(),
            started_ms,
            zone: config.zone.clone().unwrap_or_default(),
            rack: config.rack.clone().unwrap_or_default(),
            by_operator: config.operator,
            etcd_url: config.etcd.as_ref().map(EtcdConfig::url).unwrap_or_default(),
            ..Facts::default()
        };
        let gossip_config = GossipConfig {
            id: me,
            generation,
            address,
            cluster: genesis.digest(),
            seeds: config.seeds.iter().copied().filter(|seed| *seed != address).collect(),
            judgement: judgement(&genesis),
        };
        let gossip = Gossip::start(gossip_config, transport.clone(), member.book().clone(), facts.clone())
            .await
            .map_err(BootError::Gossip)?;
        let gossip = Arc::new(gossip);

        let keyspace = Arc::new(raft_keyspace(options, member.consensus()));
        let store = open_store(options, &genesis, keyspace.clone()).await?;
        let (stopping, stopping_seen) = watch::channel(false);
        let backups = backup::of(config, &genesis, started_ms);
        let Working {
            admin,
            metrics,
            mut handlers,
            tasks: doing,
            told,
            facts: telling,
            driver,
        } = member.work(Surroundings {
            view: gossip.view(),
            facts,
            tells: gossip.clone(),
            resident_bytes,
            store: store.clone(),
            recovery,
            backups: backups.clone(),
        });
        let mut router = options.faces.serve(Parts {
            store: store.clone(),
            admin: admin.clone(),
            metrics: metrics.clone(),
            stopping: stopping_seen.clone(),
            spool,
        });

        handlers.insert(Protocol::Gossip, gossip.handler());
        let listeners = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(
            listeners
                .clone()
                .run_until_cancelled_owned(transport.serve(listener, handlers))
                .map_unit(),
        );
        if let Some(https) = https {
            tasks.spawn(https.serve(slot.clone(), listeners.clone()));
        }
        if !etcd.is_empty() {
            let by_name = options.as_member.as_ref().map(|member| ByName {
                driver,
                id: member.pins.id,
                token: member.pins.token.clone(),
                strict: member.strict,
                learners_max: member.learners_max,
            });
            let leader_changes = Arc::default();
            let counts = count_leaders(member.consensus().clone(), Arc::clone(&leader_changes));
            tasks.spawn(listeners.clone().run_until_cancelled_owned(counts).map_unit());
            let group = Group {
                me,
                address,
                genesis: genesis.clone(),
                consensus: member.consensus().clone(),
                view: gossip.view(),
                facts: telling,
                by_name,
                leader_changes,
            };
            let served = options.faces.serve_etcd(EtcdParts {
                keyspace,
                group: Arc::new(group),
                clock_ms: options.clock_ms.clone(),
                entropy: options.entropy.clone(),
                metrics,
                stopping: stopping_seen,
            });
            for listener in etcd {
                tasks.spawn(listener.serve(served.clone(), listeners.clone()));
            }
            // For operators, on the control socket: whoever calls there needs no user of etcd's.
            router = router.nest_service(listen::ETCD_PATH, served);
        }
        let removed = options.as_member.as_ref().map(|as_member| {
            as_member.introductions.host(Host {
                consensus: member.consensus().clone(),
                genesis: genesis.clone(),
                token: as_member.pins.token.clone(),
            });
            let (removed, word) = (CancellationToken::new(), as_member.word(config.folder.clone()));
            let (consensus, told) = (member.consensus().clone(), removed.clone());
            tasks.spawn(async move {
                roster::keep(word, me, consensus).await;
                told.cancel();
            });
            removed
        });
        for task in doing {
            tasks.spawn(task);
        }
        if let Some(standing) = backups {
            tasks.spawn(backup::keep(standing, store.clone(), options.clock_ms.clone()));
        }
        *slot.write() = router;
        Ok(Self {
            running: Running { store, admin },
            member,
            gossip,
            tasks,
            listeners,
            stopping,
            told,
            removed,
        })
    }

    async fn run(mut self, stop: &CancellationToken) -> Ended {
        let consensus = self.member.consensus().clone();
        let failed = async {
            loop {
                consensus.changes().await;
                if let Some(why) = consensus.view().stopped {
                    return why;
                }
            }
        };
        let removed = self.removed.clone();
        let removed = async {
            match removed {
                Some(removed) => removed.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            () = stop.cancelled() => Ended::Asked,
            told = self.told.wait_for(Option::is_some) => match told.as_deref() {
                Ok(Some(Stop::Recover { reason })) => Ended::Recover(reason.clone()),
                _ => Ended::Asked,
            },
            why = failed => Ended::Failed(why),
            () = removed => Ended::Removed,
        };
        self.stopping.send_replace(true);
        if matches!(ended, Ended::Asked) {
            hand_over(&consensus).await;
        }
        self.listeners.cancel();
        // Whatever uses consensus ends before it does.
        self.tasks.shutdown().await;
        self.member.stop().await;
        drop(self.gossip);
        ended
    }
}

/// A leader that stops on purpose lets another one lead first, so that nobody has to wait for its silence.
async fn hand_over(consensus: &Consensus) {
    let raft = consensus.view();
    let near = Duration::from_millis(limits::HAND_OVER_MS_MAX);
    let successor = raft
        .matched
        .iter()
        .filter(|(id, _)| raft.voters.contains(id) && raft.answered.get(id).is_some_and(|ago| *ago < near))
        .max_by_key(|(_, matched)| **matched);
    let (true, Some((successor, _))) = (raft.leads, successor) else {
        return;
    };
    if let Err(error) = consensus.hand_over(*successor).await {
        tracing::debug!(%error, "leadership is not handed over");
        return;
    }
    let follows = async {
        while consensus.view().leads {
            consensus.changes().await;
        }
    };
    if tokio::time::timeout(near, follows).await.is_err() {
        tracing::debug!("leadership was not taken over in time");
    }
}

/// Lets a future that may be cancelled stand where a task without a result is wanted.
trait MapUnit: Future + Sized {
    async fn map_unit(self) {
        self.await;
    }
}

impl<F: Future> MapUnit for F {}

fn read_genesis(config: &NodeConfig, own: &[Arc<dyn TopologyStrategy>]) -> Result<Genesis, BootError> {
    let path = &config.genesis;
    let bytes = fs::read(path).map_err(|source| BootError::Folder {
        verb: "read the genesis",
        path: path.clone(),
        source,
    })?;
    Genesis::parse_with(&bytes, own).map_err(|source| BootError::Genesis {
        path: path.clone(),
        source,
    })
}

/// A folder belongs to the cluster that it was first used for.
fn check_cluster(folder: &Path, genesis: &Genesis) -> Result<(), BootError> {
    let path = folder.join("cluster");
    let failed = |verb| {
        let path = path.clone();
        move |source| BootError::Folder { verb, path, source }
    };
    let expected = genesis.digest().to_string();
    match fs::read_to_string(&path) {
        Ok(found) if found.trim() == expected => Ok(()),
        Ok(found) => Err(BootError::OtherCluster {
            path: folder.to_owned(),
            expected,
            found: found.trim().to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let part = folder.join("cluster.part");
            let mut file = fs::File::create(&part).map_err(failed("write"))?;
            writeln!(file, "{expected}")
                .and_then(|()| file.sync_all())
                .map_err(failed("write"))?;
            fs::rename(&part, &path).map_err(failed("write"))
        }
        Err(error) => Err(failed("read")(error)),
    }
}

fn check_founder(config: &NodeConfig, genesis: &Genesis, key: &NodeKey) -> Result<(), BootError> {
    let founders = genesis.founders();
    let hint = match founders.get(&key.id()) {
        Some(founder) if founder.name == config.name => return Ok(()),
        Some(founder) => format!(": this key is {}'s", founder.name),
        None => match founders.iter().find(|(_, founder)| founder.name == config.name) {
            Some((id, _)) => format!(": {} has the key {id}", config.name),
            None => String::new(),
        },
    };
    Err(BootError::NotAFounder {
        name: config.name.clone(),
        id: key.id().to_string(),
        hint,
    })
}

/// The keyspace of the Raft group, which every node has.
fn raft_keyspace(options: &NodeOptions, consensus: &Consensus) -> RaftKeyspace {
    let entropy = options.entropy.clone();
    let clock = options.clock_ms.clone();
    let restore_id = Arc::new(move || {
        let mut bytes = [0; 8];
        // Without entropy the clock tells two restores apart as well as anything.
        match entropy(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => clock(),
        }
    });
    RaftKeyspace::new(consensus.clone(), options.clock_ms.clone(), restore_id)
}

async fn open_store(
    options: &NodeOptions,
    genesis: &Genesis,
    keyspace: Arc<RaftKeyspace>,
) -> Result<Arc<dyn StoreBackend>, BootError> {
    let declaration = genesis.declaration();
    let spec = declaration.backend();
    let alone = genesis.founders().len() == 1;
    let store: Arc<dyn StoreBackend> = match (&spec.config, &options.store) {
        (_, Some(opened)) => opened.clone(),
        (BackendConfig::Openraft, None) => Arc::new(KeyspaceBackend::on("openraft", RAFT_CAPABILITIES, keyspace)),
        (BackendConfig::Memory, None) if alone => Arc::new(MemoryBackend::new()),
        (BackendConfig::Folder { path }, None) if alone => {
            let path = options.config.folder.join(path);
            let opened = tokio::task::spawn_blocking(move || FolderBackend::open(&FolderConfig { path }))
                .await
                .map_err(|error| BootError::Backend(error.into()))?;
            Arc::new(opened.map_err(|error| BootError::Backend(error.into()))?)
        }
        _ => {
            let what = unserved(declaration, genesis.founders().len());
            let what = what.unwrap_or_else(|| format!("the backend {} is not served", spec.kind().name()));
            return Err(BootError::Unsupported { what });
        }
    };
    if !declaration.audit() {
        return Ok(store);
    }
    let clock = options.clock_ms.clone();
    let path = options.config.folder.join("audit.log");
    let log = tokio::task::spawn_blocking(move || AuditLog::open(path, clock))
        .await
        .map_err(|error| BootError::Backend(error.into()))?
        .map_err(|error| BootError::Backend(error.into()))?;
    Ok(Arc::new(Audit::new(store, log, &options.config.name)))
}

/// Resident memory of this process (proc(5), `statm`); 0 where it cannot be told.
fn resident_bytes() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests;
