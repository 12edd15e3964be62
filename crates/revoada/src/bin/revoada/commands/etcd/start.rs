//! One member: introduced, started, serving until a signal.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::sync::Arc;
use std::time::Duration;

use revoada::node::config::NodeConfig;
use revoada::node::introduction::meet;
use revoada::node::introduction::{
    FoundError, Introductions, JoinError, MemberStanding, PeerPort, PeerTls, Pins, PinsError, node_name,
};
use revoada::node::{self, AsMember, BootError, EtcdServes, NodeOptions, Stopped};
use revoada::{NativeFaces, system};
use revoada_attest::NodeKey;
use revoada_core::genesis::Genesis;
use revoada_core::topology::{AsAsked, TopologyStrategy};
use revoada_mesh::identity::{self, KeyFileError};
use tokio_util::sync::CancellationToken;

use super::flags::FlagError;
use super::notify;
use super::settings::Settings;
use super::urls::Url;

/// Where systemd wants to hear that a service is ready.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// How often a name that is not known yet is looked up.
const LOOKUP_PAUSE: Duration = Duration::from_millis(500);

/// How a member ended that started.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// It is a member no longer.
    Removed,
}

/// Why a member does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data-dir.
    #[error("cannot use the data-dir")]
    Folder(#[source] std::io::Error),
    /// The data-dir is another program's.
    #[error(
        "the data-dir {0} is one of etcd itself, whose files are not read: start with an empty one, or bring the keys over \
         with a snapshot"
    )]
    OfEtcd(String),
    /// The key.
    #[error("the member's key cannot be used")]
    Key(#[from] KeyFileError),
    /// A listener or a certificate.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// What was written down.
    #[error(transparent)]
    Pins(#[from] PinsError),
    /// The founders.
    #[error("discovery failed")]
    Found(#[from] FoundError),
    /// The members that are there.
    #[error("cannot join")]
    Join(#[from] JoinError),
    /// It stopped by itself.
    #[error("the member has failed: {0}")]
    Failed(String),
    /// Who its members are.
    #[error(transparent)]
    Group(#[from] FlagError),
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Runs a member until `stop`, or until it is removed.
pub async fn run(settings: &Settings, stop: &CancellationToken) -> Result<End, StartError> {
    let folder = &settings.data_dir;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(StartError::Folder)?;
    if folder.join("member").exists() {
        return Err(StartError::OfEtcd(folder.display().to_string()));
    }
    let key = identity::load_or_create(&folder.join("node.key"), || {
        let mut seed = [0; 32];
        system::entropy(&mut seed).map(|()| seed)
    })?;
    let (server, client) = settings.peer_tls()?;
    let tls = PeerTls {
        server: server.map(|tls| tls.config(&[b"http/1.1"])).transpose()?,
        client: client.map(|tls| tls.config()).transpose()?,
    };
    let introductions = Introductions::new(tls);
    let listeners = settings.peer_listeners().map_err(StartError::Other)?;
    let port = PeerPort::open(&listeners, &introductions).await?;
    let Some(pins) = stop
        .run_until_cancelled(introduced(settings, &key, &introductions))
        .await
        .transpose()?
    else {
        return Ok(End::Asked);
    };
    tracing::info!(
        "local-member-id" = node_name(pins.id),
        "data-dir" = %folder.display(),
        "advertise-client-urls" = ?settings.client_urls(),
        "starting an etcd server"
    );
    let removed = CancellationToken::new();
    let asking = ask_standing(pins.clone(), key.clone(), introductions.clone(), removed.clone());
    let asking = tokio::spawn(stop.clone().run_until_cancelled_owned(asking));
    let Some(options) = stop
        .run_until_cancelled(options(settings, pins, port, introductions))
        .await
    else {
        return Ok(End::Asked);
    };
    let (options, ready) = options?;
    let served = stop.child_token();
    let announcing = tokio::spawn(announce(settings.clone(), ready, served.clone()));
    let node = node::Node::prepare(options)?;
    let ends = CancellationToken::new();
    let until = async {
        tokio::select! {
            () = stop.cancelled() => {}
            () = removed.cancelled() => {}
        }
        ends.cancel();
    };
    let (stopped, ()) = tokio::join!(
        async {
            let stopped = node.run(ends.clone(), |_| {}).await;
            removed.cancel();
            stopped
        },
        until
    );
    served.cancel();
    // Neither has anything left to say.
    drop(announcing.await);
    asking.abort();
    match stopped {
        Stopped::Asked if stop.is_cancelled() => Ok(End::Asked),
        Stopped::Asked | Stopped::Removed => Ok(End::Removed),
        Stopped::NeverBooted(error) => Err(error.into()),
        Stopped::Failed(why) => Err(StartError::Failed(why)),
    }
}

/// What was written down when this member was introduced, now or before.
async fn introduced(settings: &Settings, key: &NodeKey, us: &Introductions) -> Result<Pins, StartError> {
    let folder = &settings.data_dir;
    if let Some(pins) = Pins::load(folder)? {
        tracing::info!("data-dir" = %folder.display(), "server has already been initialized");
        let own: [Arc<dyn TopologyStrategy>; 1] = [Arc::new(AsAsked)];
        // What is wrong with the genesis is said when the node reads it.
        let genesis = fs::read(Pins::genesis_path(folder)).ok();
        let genesis = genesis.and_then(|bytes| Genesis::parse_with(&bytes, &own).ok());
        let founder = genesis.filter(|genesis| genesis.founders().contains_key(&key.id()));
        us.returned(&pins, key.id(), founder.and_then(|genesis| genesis.token_digest()));
        return Ok(pins);
    }
    let group = settings.group.as_ref().map_err(Clone::clone)?;
    let urls = settings.peer_urls();
    if settings.existing {
        tracing::info!("looking for the cluster that this member was added to");
        return Ok(meet::join(folder, group, &urls, key, us).await?);
    }
    tracing::info!(
        founders = group.members.len(),
        "waiting until all founders are introduced to each other"
    );
    Ok(meet::founders(folder, group, &urls, key, us).await?)
}

/// Asks the others whether this member still is one: nobody speaks with one that was removed while it was away.
async fn ask_standing(pins: Pins, key: NodeKey, us: Arc<Introductions>, removed: CancellationToken) {
    if meet::standing(&pins, key.id(), us.tls()).await == MemberStanding::Removed {
        removed.cancel();
    }
}

async fn options(
    settings: &Settings,
    pins: Pins,
    port: PeerPort,
    introductions: Arc<Introductions>,
) -> Result<(NodeOptions, CancellationToken), StartError> {
    let address = address(&settings.advertise_peers[0]).await;
    let others = pins.members.iter().filter(|member| member.id != pins.id);
    let mut seeds = BTreeSet::new();
    for url in others.flat_map(|member| &member.peer_urls) {
        match Url::parse(url) {
            Ok(url) => match url.resolve().await {
                Ok(seed) => drop(seeds.insert(seed)),
                Err(why) => tracing::warn!(why, "a member is not asked at first"),
            },
            Err(why) => tracing::warn!(why, "a member is not asked at first"),
        }
    }
    let folder = settings.data_dir.clone();
    let config = NodeConfig {
        name: node_name(pins.id),
        genesis: Pins::genesis_path(&folder),
        folder,
        listen: address,
        advertise: Some(address),
        seeds,
        zone: None,
        rack: None,
        control: None,
        http: None,
        etcd: None,
        backup: None,
        operator: false,
    };
    let ready = CancellationToken::new();
    let as_member = AsMember {
        pins,
        name: settings.name.clone(),
        client_urls: settings.client_urls(),
        port,
        introductions,
        listen: settings.client_listeners()?,
        strict: settings.strict,
        learners_max: settings.learners_max,
        timing: settings.timing,
        snapshot_interval: settings.snapshot_count,
        // One that was never here has nothing to go on with, and begins as etcd does.
        alone: settings.alone && settings.data_dir.join("log").exists(),
        ready: ready.clone(),
    };
    let options = NodeOptions {
        config,
        faces: Arc::new(NativeFaces {
            etcd: settings.options.clone(),
        }),
        clock_ms: system::clock(),
        entropy: Arc::new(system::entropy),
        log: node::LogOptions::default(),
        topologies: vec![Arc::new(AsAsked)],
        store: None,
        as_member: Some(as_member),
    };
    Ok((options, ready))
}

/// Where others reach this member; waits until its own name is known.
async fn address(url: &Url) -> SocketAddr {
    let mut said = false;
    loop {
        match url.resolve().await {
            Ok(address) => return address,
            Err(why) if !said => tracing::warn!(why, "waiting until this member's own name is known"),
            Err(_) => {}
        }
        said = true;
        tokio::time::sleep(LOOKUP_PAUSE).await;
    }
}

/// Says what scripts wait for, once the member serves.
async fn announce(settings: Settings, ready: CancellationToken, stop: CancellationToken) {
    if stop.run_until_cancelled(ready.cancelled()).await.is_none() {
        return;
    }
    tracing::info!(
        "local-member-name" = settings.name,
        "advertise-client-urls" = ?settings.client_urls(),
        "published local member to cluster through raft"
    );
    for (url, _) in settings
        .listen_clients
        .iter()
        .filter(|(_, serves)| *serves != EtcdServes::Metrics)
    {
        tracing::info!("ready to serve client requests");
        let (traffic, address) = ("grpc+http", format!("{}:{}", url.host, url.port));
        if url.secure {
            tracing::info!(traffic, address, "serving client traffic securely");
        } else {
            tracing::info!(
                traffic,
                address,
                "serving client traffic insecurely; this is strongly discouraged!"
            );
        }
    }
    let socket = std::env::var(NOTIFY_SOCKET).ok();
    if let Err(error) = notify::ready(socket.as_deref()) {
        tracing::warn!(%error, "systemd was not told that this service is ready");
    }
}
