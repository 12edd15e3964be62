//! A cluster of processes in a temporary folder.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use revoada::attest::{Digest, Role, TrustedKeys};
use revoada::client::message::{AppliedDocuments, ApplyDocuments, Document, GetResource, ListResources, Target};
use revoada::client::{Client, ClientError, ClientOptions, Endpoint};
use revoada::core::declaration::{ClusterDeclaration, DraftDeclaration, prescribed_for};
use revoada::core::genesis::{Founder, Genesis};
use revoada::core::resource::ResourceFormat;
use revoada::core::roles::{Membership, NodeState};
use revoada::node::config::{HttpConfig, NodeConfig};
use revoada::store::admin::{ClusterState, ClusterStatus, NodeStatus};
use revoada_mesh::identity;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{PATIENCE, until};

/// How many lines of a node's log are shown when a test fails.
const TAIL_LINES: usize = 25;

/// How long the tests' clients wait: a node that cannot answer has to be told from one that is slow.
const WAITS: ClientOptions = ClientOptions {
    connect_timeout: Duration::from_secs(2),
    answer_timeout: Duration::from_secs(10),
    long_answer_timeout: Duration::from_secs(60),
};

/// One node: its configuration, and its process while it runs.
pub struct NodeProcess {
    pub config: NodeConfig,
    /// Programs that start the node's program: `ip netns exec h1`, for instance.
    pub launcher: Vec<String>,
    /// What the process finds in its environment at its next start.
    pub environment: Vec<(String, String)>,
    pub config_file: PathBuf,
    /// What the program is, where it is not the one that all tests run.
    pub program: Option<String>,
    /// It runs without a process of its own, on a thread of the test.
    pub elsewhere: bool,
    log: PathBuf,
    process: Option<Child>,
    paused: bool,
}

impl NodeProcess {
    pub fn name(&self) -> &str {
        &self.config.name
    }

    pub fn is_running(&self) -> bool {
        self.elsewhere || self.process.is_some() && !self.paused
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the node's process runs").id()
    }

    /// The network namespace that it is started in, where that is not this one's.
    pub fn namespace(&self) -> Option<&str> {
        let named = self.launcher.starts_with(&["ip", "netns", "exec"].map(str::to_owned));
        self.launcher.get(3).filter(|_| named).map(String::as_str)
    }

    /// Everything that its processes have written to stderr.
    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A client of its control socket.
    pub fn client(&self) -> Client {
        Client::new(self.endpoint(), WAITS).unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::socket(self.config.control_socket())
    }

    /// Writes the configuration and starts the process; it says nothing of whether it serves.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "{} runs already", self.config.name);
        fs::write(&self.config_file, serde_json::to_vec_pretty(&self.config).unwrap()).unwrap();
        let mut command = self.command();
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let spawned = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.process = Some(spawned.unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}")));
        self.paused = false;
    }

    /// Runs a second process with the same configuration to its end, and returns how it ended and its stderr.
    pub fn start_again(&self) -> (ExitStatus, String) {
        let output = self.command().stdin(Stdio::null()).output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self) -> Command {
        let program = self.program.clone().unwrap_or_else(program);
        let mut words = self.launcher.iter().cloned().chain([program]);
        let mut command = Command::new(words.next().expect("the program itself is a word"));
        command.args(words).arg("node").arg("--config").arg(&self.config_file);
        // What is refused is logged as a warning, and tests read that.
        command
            .env(
                "RUST_LOG",
                "warn,openraft=error,revoada=info,revoada_node=info,revoada_mesh=info",
            )
            .env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("pids are positive");
        kill_process(pid, signal).unwrap();
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        self.paused = false;
    }

    /// Arms failpoints of a process that was started with [`Self::failpoints`], at once; none is armed by no text.
    pub fn arm(&self, text: &str) {
        let file = self.failpoints();
        let part = file.with_extension("part");
        fs::write(&part, text).unwrap();
        fs::rename(&part, &file).unwrap();
    }

    /// Whether the process has noticed what it was armed with last.
    pub fn is_armed(&self) -> bool {
        let noticed = fs::read(self.failpoints().with_extension("armed"));
        noticed.is_ok_and(|noticed| noticed == fs::read(self.failpoints()).unwrap())
    }

    /// The file that arms them: to be named to the program by `REVOADA_FAILPOINTS`.
    pub fn failpoints(&self) -> PathBuf {
        self.config_file.with_extension("failpoints")
    }

    /// Gives it the program that has failpoints.
    pub fn with_failpoints(&mut self) {
        self.program = Some(program_with_failpoints());
        let file = self.failpoints().display().to_string();
        self.environment.push(("REVOADA_FAILPOINTS".to_owned(), file));
    }

    /// Gives its next process a clock of its own, which shows the machine's time until it is set.
    pub fn with_own_clock(&mut self, library: &Path) {
        self.set_clock(0);
        let file = self.config_file.with_extension("clock").display().to_string();
        let words = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            // Only the wall clock jumps: the kernel never sets the other one.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let words = words.map(|(name, value)| (name.to_owned(), value));
        self.environment.extend(words);
    }

    /// Sets that clock so many seconds beside the machine's.
    pub fn set_clock(&self, seconds: i64) {
        let file = self.config_file.with_extension("clock");
        let part = file.with_extension("clock-part");
        fs::write(&part, format!("{seconds:+}\n")).unwrap();
        fs::rename(&part, &file).unwrap();
    }

    /// Whether its process has ended by itself, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let ended = self.process.as_mut()?.try_wait().unwrap()?;
        self.process = None;
        self.paused = false;
        Some(ended)
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    /// SIGTERM, and waits until it has ended, as it should: with code 0.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        let what = format!("{} stops", self.config.name);
        let ended = until(&what, PATIENCE, async || {
            self.ended().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        assert!(ended.success(), "{what}: {ended}");
    }

    /// Removes what it knows, and keeps who it is.
    pub fn empty(&self) {
        for folder in ["log", "checkpoints"] {
            fs::remove_dir_all(self.config.folder.join(folder)).unwrap();
        }
    }

    /// Waits until its control socket says why it does not serve: the message and its causes, on one line.
    pub async fn excuse(&self, containing: &str) -> String {
        let client = self.client();
        until(
            &format!("{} says {containing:?}", self.name()),
            PATIENCE,
            async || match client.status().await {
                Ok(status) => Err(format!("it serves: {status:?}")),
                Err(error) => {
                    let said = [vec![error.to_string()], error.causes()].concat().join(": ");
                    if said.contains(containing) { Ok(said) } else { Err(said) }
                }
            },
        )
        .await
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The test is over: whatever can still go wrong here has no bearing on it.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// A cluster whose nodes are processes. Dropping it kills them; a test that fails shows the ends of their logs.
pub struct TestCluster {
    pub nodes: Vec<NodeProcess>,
    pub genesis: Genesis,
    pub token: String,
    folder: TempDir,
}

impl TestCluster {
    /// Makes folders, keys, genesis and configurations on a loopback address of the cluster's own. Nothing runs yet.
    pub fn prepare(topology: &str, count: usize) -> Self {
        Self::prepare_at(topology, &vec![own_loopback(); count])
    }

    /// The same, with each node at the address given for it, on a free port or, where that cannot be told here, on 7100.
    pub fn prepare_at(topology: &str, hosts: &[IpAddr]) -> Self {
        Self::prepare_declared(prescribed_for(topology, hosts.len()).unwrap(), hosts)
    }

    fn prepare_declared(draft: DraftDeclaration, hosts: &[IpAddr]) -> Self {
        let folder = tempfile::Builder::new().prefix("rv").tempdir().unwrap();
        let declaration = ClusterDeclaration::prove(draft).unwrap();
        let token = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let mut founders = Vec::new();
        let mut nodes = Vec::new();
        let genesis_file = folder.path().join("genesis.json");
        let addresses = free_addresses(hosts);
        let seeds: BTreeSet<SocketAddr> = addresses.iter().map(|(mesh, _)| *mesh).collect();
        for (number, (listen, http)) in addresses.iter().enumerate() {
            let name = format!("node-{}", number + 1);
            let node_folder = folder.path().join("nodes").join(&name);
            fs::create_dir_all(&node_folder).unwrap();
            let key = identity::load_or_create(&node_folder.join("node.key"), || {
                let mut seed = [0; 32];
                revoada::system::entropy(&mut seed).map(|()| seed)
            })
            .unwrap();
            founders.push((key.id(), Founder::named(&name)));
            nodes.push(NodeProcess {
                config: NodeConfig {
                    name: name.clone(),
                    folder: node_folder,
                    genesis: genesis_file.clone(),
                    listen: *listen,
                    advertise: None,
                    seeds: seeds.clone(),
                    zone: None,
                    rack: None,
                    control: None,
                    http: Some(HttpConfig { listen: *http }),
                    etcd: None,
                    backup: None,
                    operator: false,
                },
                launcher: Vec::new(),
                environment: Vec::new(),
                program: None,
                config_file: folder.path().join(format!("{name}.yaml")),
                elsewhere: false,
                log: folder.path().join(format!("{name}.log")),
                process: None,
                paused: false,
            });
        }
        let token_digest = Digest::from_bytes(*blake3::hash(token.as_bytes()).as_bytes());
        let genesis = Genesis::prove(declaration, founders, Some(token_digest)).unwrap();
        fs::write(&genesis_file, genesis.render()).unwrap();
        Self {
            nodes,
            genesis,
            token,
            folder,
        }
    }

    /// The same as [`Self::prepare`], of a declaration that is not quite the prescribed one.
    pub fn prepare_as(topology: &str, count: usize, change: impl FnOnce(&mut DraftDeclaration)) -> Self {
        Self::prepare_as_at(topology, &vec![own_loopback(); count], change)
    }

    /// The same as [`Self::prepare_at`], of a declaration that is not quite the prescribed one.
    pub fn prepare_as_at(topology: &str, hosts: &[IpAddr], change: impl FnOnce(&mut DraftDeclaration)) -> Self {
        let mut draft = prescribed_for(topology, hosts.len()).unwrap();
        change(&mut draft);
        Self::prepare_declared(draft, hosts)
    }

    /// Starts all nodes of a new cluster and waits until it has its declared shape.
    pub async fn start(topology: &str, count: usize) -> Self {
        let mut cluster = Self::prepare(topology, count);
        cluster.start_all();
        cluster.settled().await;
        cluster
    }

    /// The same, of a cluster that takes its time before it finds a node lost: one that is killed and started again at
    /// once, on a busy machine too, is back before it is replaced.
    pub async fn start_patient(topology: &str, count: usize) -> Self {
        let cadence = prescribed_for(topology, count)
            .unwrap()
            .strategy
            .membership
            .gossip_cadence;
        Self::start_patient_that_gossips(cadence, topology, count).await
    }

    /// The same, at a cadence of gossip that is not the prescribed one.
    pub async fn start_patient_that_gossips(cadence: Duration, topology: &str, count: usize) -> Self {
        let mut draft = prescribed_for(topology, count).unwrap();
        draft.strategy.membership.gossip_cadence = cadence;
        draft.strategy.membership.failsafe_timeout = Duration::from_secs(10);
        draft.strategy.reconciliation = Duration::from_secs(11);
        let mut cluster = Self::prepare_declared(draft, &vec![own_loopback(); count]);
        cluster.start_all();
        cluster.settled().await;
        cluster
    }

    pub fn start_all(&mut self) {
        self.nodes.iter_mut().for_each(NodeProcess::start);
    }

    /// SIGKILL to every process, all of them before the first is waited for.
    pub fn kill_all(&mut self) {
        for node in self.nodes.iter().filter(|node| node.process.is_some()) {
            node.signal(Signal::KILL);
        }
        self.nodes.iter_mut().for_each(NodeProcess::kill);
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The control sockets of all nodes.
    pub fn sockets(&self) -> Vec<PathBuf> {
        self.nodes.iter().map(|node| node.config.control_socket()).collect()
    }

    pub async fn status(&self, node: usize) -> Result<ClusterStatus, ClientError> {
        self.nodes[node].client().status().await
    }

    pub fn index_of(&self, name: &str) -> usize {
        self.nodes
            .iter()
            .position(|node| node.name() == name)
            .expect("a status names nodes of the genesis")
    }

    /// The running node that says of itself that it leads, and what it sees.
    pub async fn look_from_leader(&self) -> Result<(usize, ClusterStatus), String> {
        let mut seen = Vec::new();
        for (number, node) in self.nodes.iter().enumerate().filter(|(_, node)| node.is_running()) {
            match self.status(number).await {
                Ok(status) if leads(&status, node.name()) => return Ok((number, status)),
                Ok(status) => seen.push(format!(
                    "{}: {} led by {:?}",
                    node.name(),
                    status.cluster.state.name(),
                    status.cluster.leader
                )),
                Err(error) => seen.push(format!("{}: {error}: {:?}", node.name(), error.causes())),
            }
        }
        Err(format!("no running node leads: {seen:?}"))
    }

    /// Waits for a leader.
    pub async fn leader(&self) -> usize {
        until("a running node leads", PATIENCE, async || self.look_from_leader().await)
            .await
            .0
    }

    /// Waits until the leader sees `shape`, and returns what it sees.
    pub async fn seen(
        &self,
        what: &str,
        limit: Duration,
        shape: impl Fn(&ClusterStatus) -> bool,
    ) -> (usize, ClusterStatus) {
        until(what, limit, async || {
            let (leader, status) = self.look_from_leader().await?;
            if shape(&status) {
                Ok((leader, status))
            } else {
                Err(shown(&status))
            }
        })
        .await
    }

    /// Waits until every running node serves, the declared number of voters is caught up, and all roles are settled.
    pub async fn settled(&self) -> (usize, ClusterStatus) {
        let running: BTreeSet<String> = self
            .nodes
            .iter()
            .filter(|node| node.is_running())
            .map(|node| node.name().to_owned())
            .collect();
        for node in self.nodes.iter().filter(|node| node.is_running()) {
            // A node that was restarted at once has not been missed by the others, and may not serve yet.
            until(&format!("{} serves", node.name()), PATIENCE, async || {
                node.client()
                    .status()
                    .await
                    .map_err(|error| format!("{error}: {:?}", error.causes()))
            })
            .await;
        }
        self.seen("the cluster has its declared shape", PATIENCE, |status| {
            let redundancy = &status.cluster.redundancy;
            let voters = redundancy.voters_declared;
            redundancy.voters == voters
                && redundancy.voters_caught_up == voters
                && status
                    .nodes
                    .iter()
                    .filter(|node| running.contains(&node.name))
                    .all(is_settled)
        })
        .await
    }

    /// The voters but for the leader, and then the others; by their numbers.
    pub async fn followers_and_workers(&self) -> (Vec<usize>, Vec<usize>) {
        let (_, status) = self.settled().await;
        let numbers = |voter| {
            let of_kind = status
                .nodes
                .iter()
                .filter(move |node| node.voter == voter && !node.leader);
            of_kind.map(|node| self.index_of(&node.name)).collect()
        };
        (numbers(true), numbers(false))
    }

    pub async fn apply(&self, node: usize, name: &str, content: &str) -> Result<AppliedDocuments, ClientError> {
        self.nodes[node].client().apply(&config_map(name, content)).await
    }

    /// Applies through a node, and makes another attempt while it says that nothing can have happened.
    pub async fn apply_patiently(&self, node: usize, name: &str, content: &str) -> u64 {
        until(
            &format!("{name} is applied by {}", self.nodes[node].name()),
            PATIENCE,
            async || match self.apply(node, name, content).await {
                Ok(applied) => Ok(applied.results[0].revision),
                Err(error) => Err(format!("{error}: {:?}", error.causes())),
            },
        )
        .await
    }

    /// The content of a resource, by a linearizable read, or a stale one.
    pub async fn content(&self, node: usize, name: &str, stale: bool) -> Result<String, ClientError> {
        let target = Target {
            group: Some(String::new()),
            kind: "ConfigMap".into(),
            name: name.into(),
            ..Target::default()
        };
        let asked = GetResource {
            target,
            stale,
            format: Some(ResourceFormat::Json),
            ..GetResource::default()
        };
        let got = self.nodes[node].client().get(&asked).await?;
        let document: serde_json::Value = serde_json::from_slice(&got.document).unwrap();
        Ok(document["data"]["content"].as_str().unwrap().to_owned())
    }

    /// Every resource that the tests wrote: its name and content, and the revision of the read.
    pub async fn contents(&self, node: usize) -> (u64, std::collections::BTreeMap<String, String>) {
        let asked = ListResources {
            kind: "ConfigMap".into(),
            ..ListResources::default()
        };
        let client = self.nodes[node].client();
        let listed = until("a linearizable list", PATIENCE, async || {
            client
                .list_all(&asked)
                .await
                .map_err(|error| format!("{error}: {:?}", error.causes()))
        })
        .await;
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let of = |item: &serde_json::Value| (text(&item["metadata"]["name"]), text(&item["data"]["content"]));
        (listed.revision, listed.items.iter().map(of).collect())
    }

    /// Asserts that the chain, as one node exports it, is the one that all running nodes vouch for, and verifies with
    /// the founders' keys alone.
    pub async fn assert_chain_verifies(&self, node: usize) {
        let mut trust = TrustedKeys::of_cluster(self.genesis.digest());
        for (id, founder) in self.genesis.founders() {
            trust.insert(*id, &founder.name);
        }
        // Blocks may be added between the two questions, so the heads are asked for first.
        let mut heads = Vec::new();
        for other in self.nodes.iter().filter(|node| node.is_running()) {
            let said = other.client().chain_heads().await.unwrap();
            heads.extend(
                said.items
                    .into_iter()
                    .filter(|head| head.node == other.name())
                    .filter_map(|head| head.head),
            );
        }
        let client = self.nodes[node].client();
        until(
            "the exported chain verifies, with the heads of all nodes",
            PATIENCE,
            async || {
                let export = client.chain_export().await.map_err(|error| error.to_string())?;
                let report = revoada::attest::verify(&export, &trust, &heads);
                if report.valid && report.blocks > 0 {
                    Ok(())
                } else {
                    Err(format!("{report:?}"))
                }
            },
        )
        .await;
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for node in &self.nodes {
                let text = node.log_text();
                let lines: Vec<_> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
                eprintln!("--- {} (running: {})\n{tail}", node.name(), node.is_running());
            }
        }
    }
}

/// A document with one content.
pub fn config_map(name: &str, content: &str) -> ApplyDocuments {
    let document = format!("kind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{content: \"{content}\"}}\n");
    let document = Document {
        format: Some(ResourceFormat::Yaml),
        document: document.into(),
        default_namespace: None,
    };
    ApplyDocuments {
        documents: vec![document],
        ..ApplyDocuments::default()
    }
}

/// The program under test: the one that was built with the tests, or the one that `REVOADA_BIN` names.
pub fn program() -> String {
    std::env::var("REVOADA_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_revoada").to_owned())
}

/// The program that was built with the tests. It alone has failpoints: it is the same but for them.
pub fn program_with_failpoints() -> String {
    env!("CARGO_BIN_EXE_revoada").to_owned()
}

fn leads(status: &ClusterStatus, name: &str) -> bool {
    status.cluster.state == ClusterState::Formed && status.cluster.leader.as_deref() == Some(name)
}

fn is_settled(node: &NodeStatus) -> bool {
    node.membership == Membership::Alive
        && matches!(node.state, NodeState::Active)
        && match node.role {
            Role::ControlPlane => node.voter,
            Role::Worker | Role::Observer => !node.voter,
            Role::Bootstrap => false,
        }
}

fn shown(status: &ClusterStatus) -> String {
    let nodes = status.nodes.iter().map(|node| {
        let votes = if node.voter { " votes" } else { "" };
        format!(
            "{} {} {:?} {:?}{votes} lag {}",
            node.name, node.role, node.state, node.membership, node.lag
        )
    });
    format!("{:?} {:?}", status.cluster, nodes.collect::<Vec<_>>())
}

/// An address of loopback that no other cluster of this machine's tests has, so that a node finds its port free again
/// after it was down: an outgoing connection has 127.0.0.1, whatever it calls on loopback.
fn own_loopback() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    Ipv4Addr::new(127, 128 | high, low, NEXT.fetch_add(1, Ordering::SeqCst)).into()
}

/// Two free ports per host: for other nodes, and for programs.
fn free_addresses(hosts: &[IpAddr]) -> Vec<(SocketAddr, SocketAddr)> {
    // All are held until all are known, so that none is given twice.
    let bind = |host: &IpAddr| TcpListener::bind((*host, 0)).ok();
    let held: Vec<_> = hosts.iter().map(|host| (bind(host), bind(host))).collect();
    let address = |host: &IpAddr, held: &Option<TcpListener>, other| {
        held.as_ref()
            .map_or_else(|| SocketAddr::new(*host, other), |held| held.local_addr().unwrap())
    };
    let pairs = hosts.iter().zip(&held);
    pairs
        .map(|(host, (mesh, http))| (address(host, mesh, 7100), address(host, http, 7200)))
        .collect()
}
