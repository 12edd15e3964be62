//! The rules that the parts of a declaration must keep, each with what it says when they do not.
//!
//! The same rules judge a file and a draft that a program made, so neither is a way around them. A rule speaks only
//! when every value that it relates was read: a placeholder would make findings about something nobody wrote.

use std::sync::Arc;
use std::time::Duration;

use super::backend::{BackendConfig, BackendKind, BackendSpec};
use super::duration;
use super::face::{FabricFace, FaceSpec};
use super::finding::{Finding, FindingCode};
use super::reader::listed;
use super::strategy::FabricStrategy;
use super::tree::quoted;
use crate::limits::{DECLARED_DURATION_MAX, DECLARED_NAME_BYTES_MAX};
use crate::topology::{self, TopologyStrategy, losses_survived};

/// Up to how many nodes beyond its least number a topology of the user's own is tried out.
const NODES_TRIED: usize = 64;

/// What is judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub(super) name: &'a str,
    pub(super) strategy: &'a FabricStrategy,
    pub(super) face: &'a FabricFace,
    /// None where the file names none that exists.
    pub(super) topology: Option<&'a Arc<dyn TopologyStrategy>>,
    pub(super) backend: &'a BackendSpec,
    /// The paths whose values are placeholders.
    pub(super) unread: &'a [String],
}

/// All findings, in no particular order.
pub(super) fn judge(parts: Parts<'_>) -> Vec<Finding> {
    let mut proof = Proof {
        parts,
        findings: Vec::new(),
    };
    proof.names();
    proof.durations();
    proof.detector();
    proof.consensus();
    proof.promises();
    proof.texts();
    if let Some(topology) = parts.topology
        && proof.topology_is_sound(topology.as_ref())
    {
        proof.quorum(topology.as_ref());
    }
    proof.findings
}

struct Proof<'a> {
    parts: Parts<'a>,
    findings: Vec<Finding>,
}

const SIZE: &str = "strategy.consensus.size";
const ELECTION_TIMEOUT: &str = "strategy.consensus.electionTimeout";
const HEARTBEAT: &str = "strategy.consensus.heartbeat";
const SNAPSHOT_INTERVAL: &str = "strategy.consensus.snapshotInterval";
const GOSSIP_CADENCE: &str = "strategy.membership.gossipCadence";
const PHI: &str = "strategy.membership.phiThreshold";
const FAILSAFE_TIMEOUT: &str = "strategy.membership.failsafeTimeout";
const SYNC_CADENCE: &str = "strategy.content.syncCadence";
const RETENTION: &str = "strategy.content.retention";
const SEAL_INTERVAL: &str = "strategy.attestation.sealInterval";
const OPERATOR_SIGNATURE: &str = "strategy.attestation.operatorSignature";
const RECONCILIATION: &str = "strategy.reconciliation";
const REQUIRES_SIGNATURE: &str = "face.requiresOperatorSignature";

impl<'a> Proof<'a> {
    fn say(&mut self, code: FindingCode, path: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.push(Finding::new(code, path, message, remedy));
    }

    /// Whether the values at all these paths were read.
    fn read(&self, paths: &[&str]) -> bool {
        paths.iter().all(|path| {
            !self.parts.unread.iter().any(|unread| {
                let below = path.strip_prefix(unread.as_str());
                unread.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            })
        })
    }

    fn names(&mut self) {
        let Parts {
            name,
            strategy,
            face,
            topology,
            ..
        } = self.parts;
        self.name("name", name);
        self.name("strategy.name", &strategy.name);
        self.name("face.name", &face.name);
        if let Some(topology) = topology {
            self.name("topology.kind", topology.name());
            if let Some(witness) = topology.witness() {
                self.name("topology.witness", witness);
            }
        }
    }

    fn name(&mut self, path: &str, name: &str) {
        if self.read(&[path]) && !is_name(name) {
            self.say(
                FindingCode::InvalidValue,
                path,
                format!("{} is not a name", quoted(name)),
                format!(
                    "use at most {DECLARED_NAME_BYTES_MAX} letters, digits, dots, dashes and underscores, \
                     a letter or digit first and last"
                ),
            );
        }
    }

    fn durations(&mut self) {
        let strategy = self.parts.strategy;
        let prescribed = FabricStrategy::prescribed_homelab();
        let of = |s: &FabricStrategy| {
            [
                (ELECTION_TIMEOUT, s.consensus.election_timeout),
                (HEARTBEAT, s.consensus.heartbeat),
                (GOSSIP_CADENCE, s.membership.gossip_cadence),
                (FAILSAFE_TIMEOUT, s.membership.failsafe_timeout),
                (SYNC_CADENCE, s.content.sync_cadence),
                (RETENTION, s.content.retention),
                (SEAL_INTERVAL, s.attestation.seal_interval),
                (RECONCILIATION, s.reconciliation),
            ]
        };
        for ((path, given), (_, usual)) in of(strategy).into_iter().zip(of(&prescribed)) {
            if !self.read(&[path]) {
                continue;
            }
            let remedy = format!("write a duration above zero, e.g. {}", duration::text(usual));
            if given > DECLARED_DURATION_MAX {
                let message = format!("{} is longer than a hundred years", duration::text(given));
                self.say(FindingCode::NumberOutOfRange, path, message, remedy);
            } else if given.is_zero() && path != RETENTION {
                self.say(FindingCode::CadenceZero, path, "it is zero", remedy);
            }
        }
        if strategy.consensus.snapshot_interval == 0 && self.read(&[SNAPSHOT_INTERVAL]) {
            let remedy = format!(
                "write a number of entries, e.g. {}",
                prescribed.consensus.snapshot_interval
            );
            self.say(FindingCode::CadenceZero, SNAPSHOT_INTERVAL, "it is zero", remedy);
        }
    }

    fn detector(&mut self) {
        let strategy = self.parts.strategy;
        let (failsafe, cadence) = (strategy.membership.failsafe_timeout, strategy.reconciliation);
        if failsafe >= cadence && self.read(&[FAILSAFE_TIMEOUT, RECONCILIATION]) {
            self.say(
                FindingCode::DetectorOutpacesReconciliation,
                FAILSAFE_TIMEOUT,
                format!(
                    "a death is seen after {}, and the next decision is made after {}",
                    duration::text(failsafe),
                    duration::text(cadence)
                ),
                "make failsafeTimeout shorter than reconciliation, e.g. 300ms and 500ms",
            );
        }
        let phi = strategy.membership.phi_threshold;
        if !self.read(&[PHI]) {
            return;
        }
        if !phi.is_finite() || phi.is_sign_negative() && phi != 0.0 {
            let message = format!("{phi} is not a finite number from zero on");
            self.say(
                FindingCode::NumberOutOfRange,
                PHI,
                message,
                "write a number from 1 to 16, e.g. 8.0",
            );
        }
        if !(1.0..=16.0).contains(&phi) {
            let message = format!("{phi} is not from 1 to 16");
            self.say(
                FindingCode::PhiOutOfRange,
                PHI,
                message,
                "write a number from 1 to 16, e.g. 8.0",
            );
        }
    }

    fn consensus(&mut self) {
        let consensus = &self.parts.strategy.consensus;
        let (election, heartbeat) = (consensus.election_timeout, consensus.heartbeat);
        if heartbeat.saturating_mul(2) > election && self.read(&[ELECTION_TIMEOUT, HEARTBEAT]) {
            self.say(
                FindingCode::HeartbeatTooSlow,
                HEARTBEAT,
                format!(
                    "two heartbeats of {} take longer than the election timeout of {}",
                    duration::text(heartbeat),
                    duration::text(election)
                ),
                "make heartbeat at most half of electionTimeout, e.g. a third: 50ms of 150ms",
            );
        }
        if election < Duration::from_millis(100) && self.read(&[ELECTION_TIMEOUT]) {
            self.say(
                FindingCode::ElectionTimeoutBelowFsync,
                ELECTION_TIMEOUT,
                format!(
                    "a slow disk may need longer than {} for one sync",
                    duration::text(election)
                ),
                "use 100ms or more, unless the disks are known to be fast",
            );
        }
        let size = consensus.size;
        if size.is_multiple_of(2) && size > 0 && self.read(&[SIZE]) {
            self.say(
                FindingCode::ConsensusSizeEven,
                SIZE,
                format!(
                    "{size} voters survive {} losses, as {} do",
                    losses_survived(size as usize),
                    size - 1
                ),
                format!("write an odd number, e.g. {}", if size < 4 { 3 } else { size - 1 }),
            );
        }
    }

    fn promises(&mut self) {
        let Parts {
            strategy,
            face,
            backend,
            ..
        } = self.parts;
        if face.requires_operator_signature
            && !strategy.attestation.operator_signature
            && self.read(&[REQUIRES_SIGNATURE, OPERATOR_SIGNATURE])
        {
            self.say(
                FindingCode::SignaturePromiseUnmet,
                REQUIRES_SIGNATURE,
                "the face promises an operator's signature on every attested change, and the strategy asks for none",
                "set strategy.attestation.operatorSignature to true, or do not promise it",
            );
        }
        let (kind, rests_in) = (face.kind(), backend.kind());
        let lacks = rests_in.lacks(kind);
        if !lacks.is_empty() && self.read(&["face.kind", "backend.kind"]) {
            let lacks = listed(lacks.iter().map(|need| need.name()));
            let fit = BackendKind::ALL
                .into_iter()
                .filter(|backend| backend.serves(kind))
                .map(BackendKind::name);
            self.say(
                FindingCode::FaceBackendMismatch,
                "backend.kind",
                format!("a face of the kind {kind} needs what the backend {rests_in} lacks: {lacks}"),
                format!("use one of these backends: {}; or the face pure-raft", listed(fit)),
            );
        }
    }

    fn texts(&mut self) {
        if let FaceSpec::Kubernetes { version } = &self.parts.face.spec {
            let minor = version.strip_prefix("1.").unwrap_or_default();
            let plain = (1..=3).contains(&minor.len()) && minor.bytes().all(|digit| digit.is_ascii_digit());
            if !plain && self.read(&["face.version"]) {
                let message = format!("{} is not a version of Kubernetes", quoted(version));
                self.say(
                    FindingCode::InvalidValue,
                    "face.version",
                    message,
                    "write it as \"1.36\", in quotes",
                );
            }
        }
        if let FaceSpec::Nomad { region } = &self.parts.face.spec {
            self.name("face.region", region);
        }
        let mut texts: Vec<(&str, Option<&String>)> = Vec::new();
        match &self.parts.backend.config {
            BackendConfig::Openraft | BackendConfig::Memory => {}
            BackendConfig::Folder { path } => texts.push(("path", Some(path))),
            BackendConfig::KubeApiserver {
                endpoint,
                kubeconfig,
                context,
                bearer_token_file,
                api_version,
            } => {
                texts.extend([
                    ("endpoint", endpoint.as_ref()),
                    ("kubeconfig", kubeconfig.as_ref()),
                    ("context", context.as_ref()),
                    ("bearerTokenFile", bearer_token_file.as_ref()),
                    ("apiVersion", api_version.as_ref()),
                ]);
            }
            BackendConfig::NomadHttp {
                address,
                token_file,
                region,
                namespace,
            } => texts.extend([
                ("address", Some(address)),
                ("tokenFile", token_file.as_ref()),
                ("region", region.as_ref()),
                ("namespace", namespace.as_ref()),
            ]),
            BackendConfig::SystemdDbus { address, .. } => texts.push(("address", address.as_ref())),
            BackendConfig::SupervisedSystemd { hostname, .. } => texts.push(("hostname", hostname.as_ref())),
            BackendConfig::Etcd {
                endpoints,
                ca,
                cert,
                key,
            } => {
                texts.extend([("ca", ca.as_ref()), ("cert", cert.as_ref()), ("key", key.as_ref())]);
                self.endpoints(endpoints);
            }
        }
        for (key, text) in texts {
            if let Some(text) = text {
                self.usable_text(&format!("backend.{key}"), text);
            }
        }
    }

    fn endpoints(&mut self, endpoints: &[String]) {
        let path = "backend.endpoints";
        // An item that could not be read has a finding of its own, and is not in the list.
        let all_read = self.read(&[path]) && !self.parts.unread.iter().any(|unread| unread.starts_with(path));
        if endpoints.is_empty() && all_read {
            let remedy = "write at least one, e.g. [\"http://127.0.0.1:2379\"]";
            self.say(FindingCode::InvalidValue, path, "there is no endpoint", remedy);
        }
        for (nth, endpoint) in endpoints.iter().enumerate().filter(|_| all_read) {
            self.usable_text(&format!("{path}[{nth}]"), endpoint);
        }
    }

    /// A path, an address, a name of others: not empty, nothing that cannot be printed.
    fn usable_text(&mut self, path: &str, text: &str) {
        let usable = !text.trim().is_empty() && !text.chars().any(char::is_control);
        if !usable && self.read(&[path]) {
            let message = format!("{} is empty, or has characters that cannot be printed", quoted(text));
            self.say(
                FindingCode::InvalidValue,
                path,
                message,
                "write a text, or remove the field",
            );
        }
    }

    /// Whether a topology keeps what the policy relies on; the built-in ones do.
    fn topology_is_sound(&mut self, topology: &dyn TopologyStrategy) -> bool {
        let (name, nodes_min) = (topology.name(), topology.nodes_min());
        let tried = nodes_min..nodes_min.saturating_add(NODES_TRIED);
        let unsound = tried
            .into_iter()
            .find(|&nodes| !(1..=nodes).contains(&topology.voters(nodes)));
        let wrong = match (unsound, built_in(topology)) {
            (Some(nodes), _) => format!("{name} of {nodes} nodes has {} voters", topology.voters(nodes)),
            (_, Some(known)) if (0..NODES_TRIED).any(|nodes| known.voters(nodes) != topology.voters(nodes)) => {
                format!("it is not the topology that everybody else calls {name}")
            }
            _ => return true,
        };
        let remedy = "give it at least one voter, at most as many as nodes, and a name of its own";
        self.say(FindingCode::TopologyUnsound, "topology.kind", wrong, remedy);
        false
    }

    fn quorum(&mut self, topology: &dyn TopologyStrategy) {
        let (name, nodes_min) = (topology.name(), topology.nodes_min());
        let voters = topology.voters(nodes_min);
        let size = self.parts.strategy.consensus.size;
        if self.read(&[SIZE, "topology.witness"]) {
            let size_min = if voters > 1 { 3 } else { 1 };
            if size < size_min {
                self.say(
                    FindingCode::ConsensusSizeTooSmall,
                    SIZE,
                    format!("{name} starts from at least {size_min} voters, not from {size}"),
                    format!("write {size_min}"),
                );
            }
            if nodes_min < size as usize {
                let larger = listed(larger_topologies(size as usize));
                let or = if larger.is_empty() {
                    String::new()
                } else {
                    format!(", or use one of {larger}")
                };
                self.say(
                    FindingCode::TopologyTooSmallForQuorum,
                    "topology.kind",
                    format!("{name} may be whole with {nodes_min} nodes, fewer than the {size} voters to start from"),
                    format!("set {SIZE} to {}{or}", if nodes_min < 3 { 1 } else { 3 }),
                );
            }
        }
        if !self.read(&["topology.witness"]) {
            return;
        }
        if name == "pair" && topology.witness().is_none() {
            self.say(
                FindingCode::PairWithoutWitness,
                "topology",
                "a pair without a witness survives no loss of its voter",
                "name a third node as topology.witness, and set strategy.consensus.size to 3",
            );
        }
        if losses_survived(voters) == 0 {
            self.say(
                FindingCode::SurvivesNone,
                "topology.kind",
                format!(
                    "{name} declares {voters} voter{}: no loss is survived",
                    if voters == 1 { "" } else { "s" }
                ),
                "use quorum-3m or cluster-3m-nw where a loss has to be survived",
            );
        }
    }
}

fn larger_topologies(size: usize) -> impl Iterator<Item = &'static str> {
    topology::NAMES
        .into_iter()
        .filter(move |name| topology::by_name(name).is_some_and(|topology| topology.nodes_min() >= size))
}

/// The built-in topology that has the name of this one.
fn built_in(topology: &dyn TopologyStrategy) -> Option<Arc<dyn TopologyStrategy>> {
    match (topology.name(), topology.witness()) {
        ("pair", Some(witness)) => Some(Arc::new(topology::Pair::with_witness(witness))),
        (name, _) => topology::by_name(name),
    }
}

/// Whether a text can be the name of a cluster, a strategy, a face, a topology or a node.
pub(crate) fn is_name(text: &str) -> bool {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= DECLARED_NAME_BYTES_MAX
        && ends(text.chars().next())
        && ends(text.chars().next_back())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}
