use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::StreamExt as _;
use revoada_attest::{Block, BlockBody, NodeId, Role, Transition, TransitionKind};
use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
use revoada_core::genesis::Founder;
use revoada_core::machine::Command;
use revoada_mesh::transport::link::{CallError, Link};
use revoada_mesh::transport::{ConnectError, Gate, Hello, Refusal, RefusalKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;

/// Far above what anything here takes.
const SOON: Duration = Duration::from_secs(10);

/// Answers every request with a line of text.
struct Lines;

impl Faces for Lines {
    fn serve(&self, _: Parts) -> Router {
        Router::new().fallback(|| async { "running" })
    }

    fn serve_etcd(&self, _: EtcdParts) -> Router {
        Router::new()
    }

    fn unavailable(&self, what: &str, causes: Vec<String>) -> Router {
        let text = [vec![what.to_owned()], causes].concat().join(": ");
        Router::new().fallback(move || async move { text })
    }
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_seed([n; 32])
}

fn genesis(name: &str) -> Genesis {
    let mut draft = prescribed_for("solo", 1).unwrap();
    draft.name = name.to_owned();
    let founders = [(key(1).id(), Founder::named("node-1"))];
    Genesis::prove(ClusterDeclaration::prove(draft).unwrap(), founders, None).unwrap()
}

/// A cluster of one, in `folder`.
fn options(folder: &Path) -> NodeOptions {
    fs::write(folder.join("genesis.json"), genesis("homelab").render()).unwrap();
    NodeOptions {
        config: NodeConfig {
            name: "node-1".to_owned(),
            folder: folder.join("data"),
            genesis: folder.join("genesis.json"),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            seeds: BTreeSet::new(),
            zone: None,
            rack: None,
            control: None,
            http: None,
            etcd: None,
            backup: None,
            operator: false,
        },
        faces: Arc::new(Lines),
        clock_ms: Arc::new(|| 1_000),
        entropy: Arc::new(|bytes| {
            bytes.fill(1);
            Ok(())
        }),
        log: LogOptions {
            segment_bytes: 1 << 18,
            ..LogOptions::default()
        },
        topologies: Vec::new(),
        store: None,
        as_member: None,
    }
}

async fn control(folder: &Path) -> String {
    let mut socket = tokio::net::UnixStream::connect(folder.join("data/control.sock"))
        .await
        .unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Asks the control socket until it answers with `part`.
async fn answers(folder: &Path, part: &str) -> String {
    let asked = async {
        loop {
            let answer = control(folder).await;
            if answer.contains(part) {
                return answer;
            }
        }
    };
    timeout(SOON, asked)
        .await
        .unwrap_or_else(|_| panic!("the control socket never says {part}"))
}

#[tokio::test]
async fn a_folder_has_one_owner_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::prepare(options(dir.path())).unwrap();
    let error = Node::prepare(options(dir.path())).err().unwrap();
    assert!(
        matches!(&error, BootError::Owned { owner, .. } if *owner == std::process::id().to_string()),
        "{error}"
    );
    drop(first);
    Node::prepare(options(dir.path())).unwrap();
}

#[tokio::test]
async fn nobody_else_on_the_machine_looks_into_the_folder_whoever_made_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    let folder = options.config.folder.clone();
    let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
    drop(Node::prepare(self::options(dir.path())).unwrap());
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    drop(Node::prepare(options).unwrap());
    assert_eq!(mode(), 0o700);
}

#[tokio::test]
async fn a_boot_that_fails_is_told_on_the_control_socket_until_the_node_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path());
    fs::remove_file(dir.path().join("genesis.json")).unwrap();
    let stop = CancellationToken::new();
    let node = tokio::spawn(
        Node::prepare(options)
            .unwrap()
            .run(stop.clone(), |_| panic!("it never started")),
    );
    let answer = answers(dir.path(), "could not start").await;
    assert!(
        answer.contains("genesis.json") && answer.contains("No such file"),
        "{answer}"
    );
    stop.cancel();
    let stopped = timeout(SOON, node).await.unwrap().unwrap();
    assert!(
        matches!(stopped, Stopped::NeverBooted(BootError::Folder { .. })),
        "{stopped:?}"
    );
    assert!(!dir.path().join("data/control.sock").exists());
}

#[tokio::test]
async fn a_folder_of_another_cluster_is_refused_by_name_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    check_cluster(dir.path(), &genesis("homelab")).unwrap();
    check_cluster(dir.path(), &genesis("homelab")).unwrap();
    let error = check_cluster(dir.path(), &genesis("other")).unwrap_err();
    for digest in [genesis("homelab").digest(), genesis("other").digest()] {
        assert!(error.to_string().contains(&digest.to_string()), "{error}");
    }
    check_cluster(dir.path(), &genesis("homelab")).unwrap();
}

#[tokio::test]
async fn a_node_alone_boots_serves_stops_and_boots_again() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let stop = CancellationToken::new();
        let (told, started) = tokio::sync::oneshot::channel();
        let mut told = Some(told);
        let node = Node::prepare(options(dir.path())).unwrap();
        let node = tokio::spawn(node.run(stop.clone(), move |running| {
            assert!(told.take().unwrap().send(running).is_ok());
        }));
        let running = timeout(SOON, started).await.unwrap().unwrap();
        answers(dir.path(), "running").await;
        let formed = async {
            while running.admin.status().await.unwrap().cluster.leader.as_deref() != Some("node-1") {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, formed).await.expect("a cluster of one forms by itself");
        stop.cancel();
        assert!(matches!(timeout(SOON, node).await.unwrap().unwrap(), Stopped::Asked));
    }
}

#[test]
fn a_key_that_the_genesis_does_not_know_is_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let config = options(dir.path()).config;
    check_founder(&config, &genesis("homelab"), &key(1)).unwrap();
    let error = check_founder(&config, &genesis("homelab"), &key(2))
        .unwrap_err()
        .to_string();
    assert!(error.contains(&key(2).id().to_string()), "{error}");
    assert!(
        error.ends_with(&format!("node-1 has the key {}", key(1).id())),
        "{error}"
    );
    let renamed = NodeConfig {
        name: "node-9".to_owned(),
        ..config
    };
    let error = check_founder(&renamed, &genesis("homelab"), &key(1))
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("this key is node-1's"), "{error}");
}

/// Commits what the driver would not: an admission or an eviction of a node that the genesis does not know.
async fn transit(consensus: &Consensus, kind: TransitionKind, node: NodeId, from: Option<Role>, to: Option<Role>) {
    let committed = async {
        loop {
            let (cluster, index, parent) = consensus.read(|state| {
                let chain = state.chain();
                (chain.cluster(), chain.len(), chain.head())
            });
            let transition = Transition {
                node,
                name: "node-9".to_owned(),
                kind,
                from,
                to,
                reason: "a test".to_owned(),
            };
            let body = BlockBody {
                cluster,
                index,
                parent,
                term: consensus.view().term,
                time_ms: 1_000,
                proposer: key(1).id(),
                transition,
            };
            // Until the node leads, and has done what it does by itself.
            if let Ok(Ok(_)) = consensus.propose(Command::Transit(Block::seal(body, &key(1)))).await {
                return;
            }
        }
    };
    timeout(SOON, committed).await.expect("the transition is committed");
}

/// Knows everybody, and says what it was told to.
struct Guest(Hello);

impl Gate for Guest {
    fn hello(&self, _: &NodeId) -> Hello {
        self.0.clone()
    }

    fn admit(&self, _: &NodeId, _: &Hello) -> Result<(), Refusal> {
        Ok(())
    }

    fn keeps(&self, _: &NodeId) -> Result<(), Refusal> {
        Ok(())
    }
}

#[tokio::test]
async fn an_evicted_node_loses_the_connections_that_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    options.config.listen = free.local_addr().unwrap();
    drop(free);
    fs::create_dir_all(&options.config.folder).unwrap();
    let slot: Slot = Arc::new(RwLock::new(Router::new()));
    let services = Services::boot(&options, &slot, None).await.unwrap();
    let consensus = services.member.consensus().clone();
    let address = options.config.listen;
    let guest = Guest(Hello {
        name: "node-9".to_owned(),
        ..services.member.gate().hello(&key(9).id())
    });
    let guest = Transport::new(&key(9), Arc::new(guest)).unwrap();
    let call = async || guest.connect(address, None, Protocol::Forward, SOON).await;
    assert!(matches!(
        call().await.unwrap_err(),
        ConnectError::RefusedByPeer { source, .. } if source.kind == RefusalKind::UnknownKey
    ));

    transit(&consensus, TransitionKind::Admit, key(9).id(), None, Some(Role::Worker)).await;
    let mut connection = call().await.unwrap();
    let link = Link::start(call().await.unwrap());
    transit(&consensus, TransitionKind::Evict, key(9).id(), Some(Role::Worker), None).await;
    let end = timeout(SOON, connection.frames.next()).await.expect("it is cut off");
    assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    let asked = link.call(1, bytes::Bytes::new(), SOON).await;
    assert!(
        matches!(asked, Err(CallError::Broken | CallError::NotSent)),
        "{asked:?}"
    );
    assert!(matches!(
        call().await.unwrap_err(),
        ConnectError::RefusedByPeer { source, .. } if source.kind == RefusalKind::Evicted
    ));

    let stop = CancellationToken::new();
    stop.cancel();
    services.run(&stop).await;
}
