//! What can go wrong with a cluster that a program embeds.

use std::io;
use std::path::PathBuf;

use revoada_core::declaration::{BackendKind, ClusterCoherenceError, FaceKind, SyntaxError};
use revoada_core::error::ErrorKind;
use revoada_core::genesis::{GenesisError, GenesisParseError};
use revoada_node::BootError;
use revoada_store::StoreError;
use revoada_store::admin::AdminError;

/// An error of [`Cluster`](super::Cluster) or its builder. Each condition is one variant.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterRuntimeError {
    /// The builder was not given a part that has no default.
    #[error("a cluster needs a {part}: call .{part}(…) before it is started")]
    MissingPart {
        /// The builder's method that was not called.
        part: &'static str,
    },
    /// The parts do not fit together; nothing was started.
    #[error("the declaration is not coherent")]
    Incoherent(#[source] ClusterCoherenceError),
    /// The declaration's file cannot be parsed.
    #[error("the declaration {} cannot be parsed", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        #[source]
        source: SyntaxError,
    },
    /// This build does not serve the face.
    #[error("this build does not serve the face {}: declare pure-raft", kind.name())]
    FaceNotServed {
        /// The face.
        kind: FaceKind,
    },
    /// This build does not serve the rest of what was declared.
    #[error("{what}")]
    NotServed {
        /// What, and what to declare instead.
        what: String,
    },
    /// The declaration names a backend, and another was given beside it.
    #[error("the backend {} was given, and the declaration names {}", given.name(), declared.name())]
    OtherBackend {
        /// The one that was given.
        given: BackendKind,
        /// The one that is declared.
        declared: BackendKind,
    },
    /// So many nodes do not make such a cluster.
    #[error("{id} starts from at least {least} nodes, not {nodes}")]
    TooFewNodes {
        /// The declaration's id.
        id: String,
        /// How many were asked for.
        nodes: usize,
        /// How many it takes.
        least: usize,
    },
    /// It runs already.
    #[error("the cluster runs already")]
    AlreadyRunning,
    /// It does not run: it was never started, or was stopped.
    #[error("the cluster does not run")]
    NotRunning,
    /// The genesis cannot be made of these founders.
    #[error("the cluster's genesis cannot be made")]
    Genesis(#[source] GenesisError),
    /// The folder's genesis cannot be read.
    #[error("the genesis in {} cannot be read", path.display())]
    StoredGenesis {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: GenesisParseError,
    },
    /// The folder belongs to a cluster with another declaration.
    #[error("{} holds a cluster that was declared otherwise ({found}, not {asked})", path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// The id of the declaration that was asked for.
        asked: String,
        /// The id of the declaration that is there.
        found: String,
    },
    /// The folder cannot be used.
    #[error("cannot use {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A node could not be prepared.
    #[error("{node} cannot start")]
    Boot {
        /// The node.
        node: String,
        /// Why not.
        #[source]
        source: BootError,
    },
    /// The nodes run, and no leader came in time.
    #[error("the cluster could not be formed within {seconds} s: {why}")]
    NotFormed {
        /// How long it was waited for.
        seconds: u64,
        /// What the nodes say.
        why: String,
    },
    /// A verb on resources failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A question about the cluster failed.
    #[error(transparent)]
    Admin(#[from] AdminError),
}

impl ClusterRuntimeError {
    /// Which condition it is, for callers that branch.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::MissingPart { .. }
            | Self::Incoherent(_)
            | Self::Syntax { .. }
            | Self::OtherBackend { .. }
            | Self::TooFewNodes { .. }
            | Self::Genesis(_) => ErrorKind::Invalid,
            Self::FaceNotServed { .. } | Self::NotServed { .. } => ErrorKind::Unsupported,
            Self::AlreadyRunning => ErrorKind::AlreadyExists,
            Self::OtherCluster { .. } | Self::StoredGenesis { .. } => ErrorKind::Conflict,
            Self::NotRunning | Self::Folder { .. } | Self::Boot { .. } | Self::NotFormed { .. } => {
                ErrorKind::Unavailable
            }
            Self::Store(error) => error.kind(),
            Self::Admin(error) => error.kind(),
        }
    }
}
