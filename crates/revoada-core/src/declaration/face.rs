//! Which external API a cluster speaks.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// A face as it is declared: a name, what it speaks, and what it promises.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct FabricFace {
    /// Its name, the first part of the cluster's id. A file may leave it out: see [`FaceSpec::default_name`].
    #[schemars(
        description = "Its name; without one `native` for pure-raft, `k8s-vVERSION` for kubernetes, else the kind.",
        default,
        skip_serializing_if = "String::is_empty"
    )]
    pub name: String,
    /// What it speaks.
    #[serde(flatten)]
    pub spec: FaceSpec,
    /// Whether it promises to its users that every attested change was signed by an operator.
    #[serde(default)]
    pub requires_operator_signature: bool,
}

/// What a face speaks, with what that needs to be known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum FaceSpec {
    /// The Kubernetes API.
    Kubernetes {
        /// The version whose API is served, e.g. `"1.36"`.
        #[serde(default = "kubernetes_version")]
        #[schemars(regex(pattern = r"^1\.[0-9]{1,3}$"))]
        version: String,
    },
    /// The HTTP API of Nomad.
    Nomad {
        /// The region that the cluster answers for.
        #[serde(default = "nomad_region")]
        region: String,
    },
    /// Units of systemd.
    #[serde(rename_all = "camelCase")]
    Systemd {
        /// The units of a user's manager rather than the system's.
        #[serde(default)]
        user_units: bool,
    },
    /// Our own HTTP API, and nothing above it.
    PureRaft,
    /// Programs and containers on bare metal.
    BareMetalSupervisor {
        /// What runs the containers.
        #[serde(default)]
        runtime: ContainerRuntime,
    },
    /// The etcd v3 API.
    Etcd,
}

/// What a face speaks, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of FaceSpec")]
pub enum FaceKind {
    Kubernetes,
    Nomad,
    Systemd,
    PureRaft,
    BareMetalSupervisor,
    Etcd,
}

/// What runs containers on bare metal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerRuntime {
    /// Podman.
    #[default]
    Podman,
    /// Docker.
    Docker,
}

impl ContainerRuntime {
    /// Every runtime with the name that a declaration uses for it.
    pub const NAMES: [(&str, Self); 2] = [("podman", Self::Podman), ("docker", Self::Docker)];
}

pub(super) fn kubernetes_version() -> String {
    "1.36".to_owned()
}

pub(super) fn nomad_region() -> String {
    "global".to_owned()
}

impl FaceKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 6] = [
        Self::Kubernetes,
        Self::Nomad,
        Self::Systemd,
        Self::PureRaft,
        Self::BareMetalSupervisor,
        Self::Etcd,
    ];

    /// The name that a declaration uses for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Nomad => "nomad",
            Self::Systemd => "systemd",
            Self::PureRaft => "pure-raft",
            Self::BareMetalSupervisor => "bare-metal-supervisor",
            Self::Etcd => "etcd",
        }
    }
}

impl fmt::Display for FaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FaceSpec {
    /// Its kind.
    pub const fn kind(&self) -> FaceKind {
        match self {
            Self::Kubernetes { .. } => FaceKind::Kubernetes,
            Self::Nomad { .. } => FaceKind::Nomad,
            Self::Systemd { .. } => FaceKind::Systemd,
            Self::PureRaft => FaceKind::PureRaft,
            Self::BareMetalSupervisor { .. } => FaceKind::BareMetalSupervisor,
            Self::Etcd => FaceKind::Etcd,
        }
    }

    /// The name of a face that states none.
    pub fn default_name(&self) -> String {
        match self {
            Self::PureRaft => "native".to_owned(),
            Self::Kubernetes { version } => format!("k8s-v{version}"),
            other => other.kind().name().to_owned(),
        }
    }
}

impl FabricFace {
    /// A face of that kind, named after it, with nothing promised.
    pub fn new(spec: FaceSpec) -> Self {
        Self {
            name: spec.default_name(),
            spec,
            requires_operator_signature: false,
        }
    }

    /// The face of the prescribed declaration: our own API, named `native`.
    pub fn prescribed_native() -> Self {
        Self::new(FaceSpec::PureRaft)
    }

    /// The Kubernetes API as of 1.34, named `k8s-v1.34`.
    pub fn prescribed_kubernetes_v1_34() -> Self {
        Self::new(FaceSpec::Kubernetes {
            version: "1.34".to_owned(),
        })
    }

    /// Our own API under that name.
    pub fn pure_raft(name: impl Into<String>) -> Self {
        Self::new(FaceSpec::PureRaft).named(name)
    }

    /// The etcd v3 API.
    pub fn etcd() -> Self {
        Self::new(FaceSpec::Etcd)
    }

    /// The same face under another name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// What it speaks.
    pub const fn kind(&self) -> FaceKind {
        self.spec.kind()
    }
}
