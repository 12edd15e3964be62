//! Where resources rest, and which face can be served from there.
//!
//! A face needs capabilities, a backend has capabilities, and a pair is coherent when none is lacking. Rejected: a
//! table of allowed pairs. It says that a pair is wrong, but not what is missing.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::face::{ContainerRuntime, FaceKind};

/// A backend as it is declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(deny_unknown_fields)]
pub struct BackendSpec {
    /// Which backend, with what it needs to be known.
    #[serde(flatten)]
    pub config: BackendConfig,
    /// Whether every verb leaves a line in an audit log that is chained and synced before a mutation is acknowledged.
    #[serde(default)]
    pub audit: bool,
}

/// Which backend, with what it needs to be known. Paths and addresses are as the node sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum BackendConfig {
    /// The cluster's own replicated keyspace.
    Openraft,
    /// The memory of one process; gone with it.
    Memory,
    /// Files in a folder.
    Folder {
        /// The folder.
        path: String,
    },
    /// A Kubernetes API server.
    KubeApiserver {
        /// Its URL; without one the kubeconfig says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// A kubeconfig file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kubeconfig: Option<String>,
        /// The context of the kubeconfig.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<String>,
        /// A file that holds a bearer token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bearer_token_file: Option<String>,
        /// The group and version for kinds that state none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        api_version: Option<String>,
    },
    /// A Nomad agent.
    NomadHttp {
        /// Its URL.
        #[serde(default = "nomad_address")]
        address: String,
        /// A file that holds an ACL token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token_file: Option<String>,
        /// The region; without one the agent's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        /// The namespace; without one `default`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
    },
    /// systemd over D-Bus.
    SystemdDbus {
        /// The units of a user's manager rather than the system's.
        #[serde(default)]
        user_units: bool,
        /// Whether systemd reloads its units after each change.
        #[serde(default = "auto_reload")]
        auto_reload: bool,
        /// The bus; without one the usual one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
    },
    /// Containers as units of systemd.
    SupervisedSystemd {
        /// The host name that units are made for; without one the machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hostname: Option<String>,
        /// What runs the containers.
        #[serde(default)]
        runtime: ContainerRuntime,
    },
    /// An etcd cluster.
    Etcd {
        /// The URLs of its members, at least one.
        #[schemars(length(min = 1))]
        endpoints: Vec<String>,
        /// A file with the certificate authority of the servers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca: Option<String>,
        /// A file with the client's certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cert: Option<String>,
        /// A file with the client's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
}

pub(super) fn nomad_address() -> String {
    "http://127.0.0.1:4646".to_owned()
}

pub(super) const fn auto_reload() -> bool {
    true
}

/// Which backend, alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "the names are those of BackendConfig")]
pub enum BackendKind {
    Openraft,
    Memory,
    Folder,
    KubeApiserver,
    NomadHttp,
    SystemdDbus,
    SupervisedSystemd,
    Etcd,
}

impl BackendKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Openraft,
        Self::Memory,
        Self::Folder,
        Self::KubeApiserver,
        Self::NomadHttp,
        Self::SystemdDbus,
        Self::SupervisedSystemd,
        Self::Etcd,
    ];

    /// The name that a declaration uses for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Openraft => "openraft",
            Self::Memory => "memory",
            Self::Folder => "folder",
            Self::KubeApiserver => "kube-apiserver",
            Self::NomadHttp => "nomad-http",
            Self::SystemdDbus => "systemd-dbus",
            Self::SupervisedSystemd => "supervised-systemd",
            Self::Etcd => "etcd",
        }
    }

    /// What it has of the things that a face may need.
    pub const fn capabilities(self) -> &'static [FaceNeed] {
        use FaceNeed::{Containers, Leases, OrderedRevisions, Transactions, Units, WatchHistory};
        match self {
            Self::Openraft | Self::Etcd => &[Transactions, WatchHistory, Leases, OrderedRevisions],
            // One process writes them, so their revisions are ordered; neither keeps what was.
            Self::Memory | Self::Folder | Self::NomadHttp => &[OrderedRevisions],
            Self::SystemdDbus => &[Units],
            Self::SupervisedSystemd => &[Units, Containers],
            // The revisions of an API server are opaque to its clients, and it has no leases over entries.
            Self::KubeApiserver => &[],
        }
    }

    /// Whether a face of that kind can be served from it.
    pub fn serves(self, face: FaceKind) -> bool {
        self.lacks(face).is_empty()
    }

    /// What a face of that kind needs and this backend does not have.
    pub fn lacks(self, face: FaceKind) -> Vec<FaceNeed> {
        face_needs(face)
            .iter()
            .copied()
            .filter(|need| !self.capabilities().contains(need))
            .collect()
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl BackendConfig {
    /// Its kind.
    pub const fn kind(&self) -> BackendKind {
        match self {
            Self::Openraft => BackendKind::Openraft,
            Self::Memory => BackendKind::Memory,
            Self::Folder { .. } => BackendKind::Folder,
            Self::KubeApiserver { .. } => BackendKind::KubeApiserver,
            Self::NomadHttp { .. } => BackendKind::NomadHttp,
            Self::SystemdDbus { .. } => BackendKind::SystemdDbus,
            Self::SupervisedSystemd { .. } => BackendKind::SupervisedSystemd,
            Self::Etcd { .. } => BackendKind::Etcd,
        }
    }
}

impl BackendSpec {
    /// A backend without an audit log.
    pub const fn new(config: BackendConfig) -> Self {
        Self { config, audit: false }
    }

    /// The cluster's own replicated keyspace, without an audit log.
    pub const fn openraft() -> Self {
        Self::new(BackendConfig::Openraft)
    }

    /// Which backend.
    pub const fn kind(&self) -> BackendKind {
        self.config.kind()
    }

    /// The same backend with an audit log, or without one.
    pub const fn with_audit(mut self, audit: bool) -> Self {
        self.audit = audit;
        self
    }
}

impl Default for BackendSpec {
    fn default() -> Self {
        Self::openraft()
    }
}

/// What a face may need of a backend beyond storing documents by their address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaceNeed {
    /// Compare, then, else, over several keys at once.
    Transactions,
    /// Watches that resume from an earlier revision.
    WatchHistory,
    /// Entries that end with their lease.
    Leases,
    /// One revision that grows with each change, for blocking queries.
    OrderedRevisions,
    /// Units that a service manager runs.
    Units,
    /// Containers that are supervised.
    Containers,
}

impl FaceNeed {
    /// Its name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transactions => "transactions",
            Self::WatchHistory => "watches with history",
            Self::Leases => "leases",
            Self::OrderedRevisions => "ordered revisions",
            Self::Units => "units of a service manager",
            Self::Containers => "supervised containers",
        }
    }
}

impl fmt::Display for FaceNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a face of that kind needs of the backend that it is served from.
pub const fn face_needs(kind: FaceKind) -> &'static [FaceNeed] {
    match kind {
        FaceKind::Kubernetes | FaceKind::Etcd => &[FaceNeed::Transactions, FaceNeed::WatchHistory, FaceNeed::Leases],
        FaceKind::Nomad => &[FaceNeed::OrderedRevisions],
        FaceKind::Systemd => &[FaceNeed::Units],
        FaceKind::BareMetalSupervisor => &[FaceNeed::Containers],
        FaceKind::PureRaft => &[],
    }
}
