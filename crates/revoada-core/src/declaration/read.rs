//! From a tree to a draft: which field is where, and what stands in for one that is not there.
//!
//! Written out field by field. Rejected: deriving it. A derive stops at the first error, and knows no paths.

use std::sync::Arc;

use super::backend::{self, BackendConfig, BackendKind, BackendSpec};
use super::face::{self, ContainerRuntime, FabricFace, FaceKind, FaceSpec};
use super::file::{API_VERSION, KIND};
use super::finding::FindingCode;
use super::reader::{Object, Reader};
use super::strategy::{FabricStrategy, Placement};
use super::tree::Tree;
use crate::topology::{self, Pair, TopologyStrategy};

/// What was read. A value that could not be read is a placeholder; the reader knows its path.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) name: String,
    pub(super) strategy: FabricStrategy,
    pub(super) face: FabricFace,
    pub(super) topology: Option<Arc<dyn TopologyStrategy>>,
    pub(super) backend: BackendSpec,
}

pub(super) fn read(reader: &mut Reader, tree: &Tree, own: &[Arc<dyn TopologyStrategy>]) -> Read {
    let mut cluster = reader.object(String::new(), tree, "a cluster");
    fixed(reader, &mut cluster, "apiVersion", "version", API_VERSION);
    fixed(reader, &mut cluster, "kind", "kind of declaration", KIND);
    let name = reader
        .required_text(&mut cluster, "name", "the name of the cluster")
        .unwrap_or_default();
    let strategy = strategy(reader, &mut cluster);
    let face = face(reader, &mut cluster);
    let topology = topology(reader, &mut cluster, own);
    let backend = backend(reader, &mut cluster);
    reader.finish(cluster);
    Read {
        name,
        strategy,
        face,
        topology,
        backend,
    }
}

/// A field that has one value in every declaration.
fn fixed(reader: &mut Reader, cluster: &mut Object<'_>, key: &'static str, what: &str, only: &'static str) {
    if let Some(given) = reader.required_text(cluster, key, only)
        && given != only
    {
        reader.unknown_name(cluster.at(key), &given, what, &[only]);
    }
}

fn strategy(reader: &mut Reader, cluster: &mut Object<'_>) -> FabricStrategy {
    let prescribed = FabricStrategy::prescribed_homelab();
    if let Some(Tree::Text(name)) = cluster.get("strategy") {
        return named_strategy(reader, cluster.at("strategy"), name);
    }
    let Some(mut object) = reader.required_object(cluster, "strategy", "a strategy, or the name of one") else {
        return prescribed;
    };
    object.call("a strategy");
    let name = reader.text(&mut object, "name", &prescribed.name);
    // What states nothing but a name is that name, so a misspelt one is not a new strategy.
    if object.has_only(&["name"]) && object.get("name").is_some() {
        return named_strategy(reader, object.at("name"), &name);
    }
    let mut strategy = FabricStrategy { name, ..prescribed };

    let consensus = &mut strategy.consensus;
    let mut part = reader.optional_object(&mut object, "consensus", "the consensus of a strategy");
    consensus.size = reader.integer(&mut part, "size", u32::MAX, consensus.size);
    consensus.election_timeout = reader.duration(&mut part, "electionTimeout", consensus.election_timeout);
    consensus.heartbeat = reader.duration(&mut part, "heartbeat", consensus.heartbeat);
    consensus.snapshot_interval = reader.integer(&mut part, "snapshotInterval", u64::MAX, consensus.snapshot_interval);
    reader.finish(part);

    let membership = &mut strategy.membership;
    let mut part = reader.optional_object(&mut object, "membership", "the membership of a strategy");
    membership.gossip_cadence = reader.duration(&mut part, "gossipCadence", membership.gossip_cadence);
    membership.phi_threshold = reader.float(&mut part, "phiThreshold", membership.phi_threshold);
    membership.failsafe_timeout = reader.duration(&mut part, "failsafeTimeout", membership.failsafe_timeout);
    reader.finish(part);

    let content = &mut strategy.content;
    let mut part = reader.optional_object(&mut object, "content", "the content of a strategy");
    content.sync_cadence = reader.duration(&mut part, "syncCadence", content.sync_cadence);
    content.retention = reader.duration(&mut part, "retention", content.retention);
    reader.finish(part);

    let attestation = &mut strategy.attestation;
    let mut part = reader.optional_object(&mut object, "attestation", "the attestation of a strategy");
    attestation.seal_interval = reader.duration(&mut part, "sealInterval", attestation.seal_interval);
    attestation.operator_signature = reader.flag(&mut part, "operatorSignature", attestation.operator_signature);
    reader.finish(part);

    strategy.placement = reader.choice(
        &mut object,
        "placement",
        "placement",
        &Placement::NAMES,
        strategy.placement,
    );
    strategy.reconciliation = reader.duration(&mut object, "reconciliation", strategy.reconciliation);
    strategy.standbys = reader.integer(&mut object, "standbys", u32::MAX, strategy.standbys);
    reader.finish(object);
    strategy
}

fn named_strategy(reader: &mut Reader, path: String, name: &str) -> FabricStrategy {
    FabricStrategy::by_name(name).unwrap_or_else(|| {
        reader.unknown_name(path, name, "strategy", &FabricStrategy::NAMES);
        FabricStrategy::prescribed_homelab()
    })
}

/// The fields that only some kinds of an object have: known, but not read, where the kind is not.
fn know_all(object: &mut Object<'_>, keys: &[&'static str]) {
    keys.iter().for_each(|key| object.know(key));
}

fn face(reader: &mut Reader, cluster: &mut Object<'_>) -> FabricFace {
    let Some(mut object) = reader.required_object(cluster, "face", "a face") else {
        return FabricFace::prescribed_native();
    };
    let name = reader.optional_text(&mut object, "name");
    let requires_operator_signature = reader.flag(&mut object, "requiresOperatorSignature", false);
    let kind = kind(
        reader,
        &mut object,
        "face",
        &FaceKind::ALL.map(|kind| (kind.name(), kind)),
    );
    if let Some(kind) = kind {
        object.call(format!("a face of the kind {kind}"));
    } else {
        know_all(&mut object, &["version", "region", "userUnits", "runtime"]);
    }
    let spec = match kind {
        Some(FaceKind::Kubernetes) => FaceSpec::Kubernetes {
            version: reader.text(&mut object, "version", face::kubernetes_version()),
        },
        Some(FaceKind::Nomad) => FaceSpec::Nomad {
            region: reader.text(&mut object, "region", face::nomad_region()),
        },
        Some(FaceKind::Systemd) => FaceSpec::Systemd {
            user_units: reader.flag(&mut object, "userUnits", false),
        },
        Some(FaceKind::BareMetalSupervisor) => FaceSpec::BareMetalSupervisor {
            runtime: runtime(reader, &mut object),
        },
        Some(FaceKind::Etcd) => FaceSpec::Etcd,
        Some(FaceKind::PureRaft) | None => FaceSpec::PureRaft,
    };
    reader.finish(object);
    FabricFace {
        name: name.unwrap_or_else(|| spec.default_name()),
        spec,
        requires_operator_signature,
    }
}

/// The `kind` of a face, a topology or a backend.
fn kind<T: Copy>(reader: &mut Reader, object: &mut Object<'_>, what: &str, names: &[(&'static str, T)]) -> Option<T> {
    let all: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    reader.required_text(object, "kind", &format!("one of {}", all.join(", ")))?;
    let names: Vec<(&'static str, Option<T>)> = names.iter().map(|(name, kind)| (*name, Some(*kind))).collect();
    reader.choice(object, "kind", what, &names, None)
}

fn runtime(reader: &mut Reader, object: &mut Object<'_>) -> ContainerRuntime {
    reader.choice(
        object,
        "runtime",
        "runtime",
        &ContainerRuntime::NAMES,
        ContainerRuntime::default(),
    )
}

fn topology(
    reader: &mut Reader,
    cluster: &mut Object<'_>,
    own: &[Arc<dyn TopologyStrategy>],
) -> Option<Arc<dyn TopologyStrategy>> {
    let mut object = reader.required_object(cluster, "topology", "a topology")?;
    let names: Vec<&str> = topology::NAMES
        .into_iter()
        .chain(own.iter().map(|topology| topology.name()))
        .collect();
    let kind = reader.required_text(&mut object, "kind", &format!("one of {}", names.join(", ")));
    let mut found = kind.as_deref().and_then(|kind| {
        topology::by_name(kind).or_else(|| own.iter().find(|topology| topology.name() == kind).cloned())
    });
    match (&found, &kind) {
        (Some(topology), _) => object.call(format!("the topology {}", topology.name())),
        (None, Some(kind)) => reader.unknown_name(object.at("kind"), kind, "topology", &names),
        (None, None) => {}
    }
    let has_witness = found
        .as_ref()
        .is_none_or(|topology| topology.name() == "pair" || topology.witness().is_some());
    if has_witness {
        let witness = reader.optional_text(&mut object, "witness");
        let declared = found.as_ref().and_then(|topology| topology.witness());
        match (witness, found.as_ref().map(|topology| topology.name())) {
            (Some(witness), Some("pair")) => found = Some(Arc::new(Pair::with_witness(witness))),
            // A topology of the user's own brings its witness; the file may repeat it, and cannot change it.
            (Some(witness), Some(_)) if declared != Some(witness.as_str()) => {
                let remedy = format!("write {}, or remove it", declared.unwrap_or_default());
                reader.refuse(
                    FindingCode::InvalidValue,
                    object.at("witness"),
                    "the topology has another witness",
                    remedy,
                );
            }
            _ => {}
        }
    }
    reader.finish(object);
    found
}

fn backend(reader: &mut Reader, cluster: &mut Object<'_>) -> BackendSpec {
    if cluster.get("backend").is_none() {
        return BackendSpec::default();
    }
    let mut object = reader.optional_object(cluster, "backend", "a backend");
    let audit = reader.flag(&mut object, "audit", false);
    let kind = kind(
        reader,
        &mut object,
        "backend",
        &BackendKind::ALL.map(|kind| (kind.name(), kind)),
    );
    if let Some(kind) = kind {
        object.call(format!("a backend of the kind {kind}"));
    }
    let config = match kind {
        None => {
            know_all(
                &mut object,
                &[
                    "path",
                    "endpoint",
                    "kubeconfig",
                    "context",
                    "bearerTokenFile",
                    "apiVersion",
                    "address",
                    "tokenFile",
                    "region",
                    "namespace",
                    "userUnits",
                    "autoReload",
                    "hostname",
                    "runtime",
                    "endpoints",
                    "ca",
                    "cert",
                    "key",
                ],
            );
            BackendConfig::Openraft
        }
        Some(BackendKind::Openraft) => BackendConfig::Openraft,
        Some(BackendKind::Memory) => BackendConfig::Memory,
        Some(BackendKind::Folder) => BackendConfig::Folder {
            path: reader
                .required_text(&mut object, "path", "the path of the folder")
                .unwrap_or_default(),
        },
        Some(BackendKind::KubeApiserver) => BackendConfig::KubeApiserver {
            endpoint: reader.optional_text(&mut object, "endpoint"),
            kubeconfig: reader.optional_text(&mut object, "kubeconfig"),
            context: reader.optional_text(&mut object, "context"),
            bearer_token_file: reader.optional_text(&mut object, "bearerTokenFile"),
            api_version: reader.optional_text(&mut object, "apiVersion"),
        },
        Some(BackendKind::NomadHttp) => BackendConfig::NomadHttp {
            address: reader.text(&mut object, "address", backend::nomad_address()),
            token_file: reader.optional_text(&mut object, "tokenFile"),
            region: reader.optional_text(&mut object, "region"),
            namespace: reader.optional_text(&mut object, "namespace"),
        },
        Some(BackendKind::SystemdDbus) => BackendConfig::SystemdDbus {
            user_units: reader.flag(&mut object, "userUnits", false),
            auto_reload: reader.flag(&mut object, "autoReload", backend::auto_reload()),
            address: reader.optional_text(&mut object, "address"),
        },
        Some(BackendKind::SupervisedSystemd) => BackendConfig::SupervisedSystemd {
            hostname: reader.optional_text(&mut object, "hostname"),
            runtime: runtime(reader, &mut object),
        },
        Some(BackendKind::Etcd) => BackendConfig::Etcd {
            endpoints: reader.texts(&mut object, "endpoints", "the URLs of its members"),
            ca: reader.optional_text(&mut object, "ca"),
            cert: reader.optional_text(&mut object, "cert"),
            key: reader.optional_text(&mut object, "key"),
        },
    };
    reader.finish(object);
    BackendSpec { config, audit }
}
