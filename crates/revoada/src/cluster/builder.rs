//! Putting a cluster together, part by part, or from a declaration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revoada_core::declaration::{
    BackendConfig, BackendSpec, ClusterDeclaration, DeclarationFormat, DraftDeclaration, FabricFace, FabricStrategy,
    FaceKind, check,
};
use revoada_core::topology::TopologyStrategy;
use revoada_store::{FolderBackend, MemoryBackend, StoreBackend};

use super::{Cluster, ClusterRuntimeError};

/// Where an embedded cluster's resources rest.
#[derive(Clone)]
pub enum ClusterBackend {
    /// As a declaration says it.
    Declared(BackendSpec),
    /// A backend that the program has opened: all nodes of the cluster share it.
    Opened(BackendSpec, Arc<dyn StoreBackend>),
}

impl From<BackendSpec> for ClusterBackend {
    fn from(spec: BackendSpec) -> Self {
        Self::Declared(spec)
    }
}

impl From<MemoryBackend> for ClusterBackend {
    fn from(backend: MemoryBackend) -> Self {
        Self::Opened(BackendSpec::new(BackendConfig::Memory), Arc::new(backend))
    }
}

impl From<(FolderBackend, String)> for ClusterBackend {
    fn from((backend, path): (FolderBackend, String)) -> Self {
        Self::Opened(BackendSpec::new(BackendConfig::Folder { path }), Arc::new(backend))
    }
}

/// Builds a [`Cluster`]. A strategy, a face and a topology are needed, or a declaration; everything else has a default.
#[derive(Clone, Default)]
pub struct ClusterBuilder {
    name: Option<String>,
    strategy: Option<FabricStrategy>,
    face: Option<FabricFace>,
    topology: Option<Arc<dyn TopologyStrategy>>,
    backend: Option<ClusterBackend>,
    declaration: Option<ClusterDeclaration>,
    file: Option<PathBuf>,
    folder: Option<PathBuf>,
    nodes: Option<usize>,
}

impl ClusterBuilder {
    /// The cluster's name; `embedded` by default.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How the fabric converges.
    #[must_use]
    pub fn strategy(mut self, strategy: FabricStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Which external API it speaks.
    #[must_use]
    pub fn face(mut self, face: FabricFace) -> Self {
        self.face = Some(face);
        self
    }

    /// The native API alone, under this name.
    #[must_use]
    pub fn face_pure_raft(self, name: impl Into<String>) -> Self {
        self.face(FabricFace::pure_raft(name))
    }

    /// What shape it takes: one of ours, or one of your own.
    #[must_use]
    pub fn topology(mut self, topology: impl TopologyStrategy) -> Self {
        self.topology = Some(Arc::new(topology));
        self
    }

    /// Where resources rest; the cluster's own Raft by default.
    #[must_use]
    pub fn backend(mut self, backend: impl Into<ClusterBackend>) -> Self {
        self.backend = Some(backend.into());
        self
    }

    /// All of the above, proved already.
    #[must_use]
    pub fn declaration(mut self, declaration: ClusterDeclaration) -> Self {
        self.declaration = Some(declaration);
        self
    }

    /// A file with a declaration, in YAML, JSON or HCL by its name.
    #[must_use]
    pub fn declaration_file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some(path.as_ref().to_owned());
        self
    }

    /// Where the nodes keep their data. Without one they keep it in a temporary folder, which goes with the cluster.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// How many nodes; as many as the topology needs by default.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// Proves the parts. Nothing runs yet; see [`Cluster::start`].
    pub fn build(self) -> Result<Cluster, ClusterRuntimeError> {
        let missing = |part| ClusterRuntimeError::MissingPart { part };
        let own = self.topology.clone();
        let (spec, opened) = match self.backend {
            None => (None, None),
            Some(ClusterBackend::Declared(spec)) => (Some(spec), None),
            Some(ClusterBackend::Opened(spec, backend)) => (Some(spec), Some(backend)),
        };
        let declaration = match (self.declaration, self.file) {
            (Some(declaration), _) => declaration,
            (None, Some(path)) => read(&path)?,
            (None, None) => {
                let draft = DraftDeclaration {
                    name: self.name.unwrap_or_else(|| "embedded".to_owned()),
                    strategy: self.strategy.ok_or(missing("strategy"))?,
                    face: self.face.ok_or(missing("face"))?,
                    topology: self.topology.ok_or(missing("topology"))?,
                    backend: spec.clone().unwrap_or_else(BackendSpec::openraft),
                };
                ClusterDeclaration::prove(draft).map_err(ClusterRuntimeError::Incoherent)?
            }
        };
        // A declaration names its backend; one that was given beside it is that one, or a mistake.
        if let Some(given) = spec.map(|spec| spec.kind())
            && given != declaration.backend().kind()
        {
            let declared = declaration.backend().kind();
            return Err(ClusterRuntimeError::OtherBackend { given, declared });
        }
        let kind = declaration.face().kind();
        if kind != FaceKind::PureRaft {
            return Err(ClusterRuntimeError::FaceNotServed { kind });
        }
        let least = declaration
            .topology()
            .nodes_min()
            .max(declaration.strategy().consensus.size as usize);
        let nodes = self.nodes.unwrap_or(least);
        if nodes < least {
            let id = declaration.id();
            return Err(ClusterRuntimeError::TooFewNodes { id, nodes, least });
        }
        if let (None, Some(what)) = (&opened, revoada_node::unserved(&declaration, nodes)) {
            return Err(ClusterRuntimeError::NotServed { what });
        }
        Ok(Cluster::new(declaration, own, opened, self.folder, nodes))
    }

    /// Proves the parts and starts the cluster: returns when it takes writes.
    pub async fn start(self) -> Result<Cluster, ClusterRuntimeError> {
        let cluster = self.build()?;
        cluster.start().await?;
        Ok(cluster)
    }
}

fn read(path: &Path) -> Result<ClusterDeclaration, ClusterRuntimeError> {
    let bytes = std::fs::read(path).map_err(|source| ClusterRuntimeError::Folder {
        path: path.to_owned(),
        source,
    })?;
    let format = path.to_str().and_then(DeclarationFormat::from_file_name);
    check(&bytes, format)
        .map_err(|source| ClusterRuntimeError::Syntax {
            path: path.to_owned(),
            source,
        })?
        .into_result()
        .map_err(ClusterRuntimeError::Incoherent)
}
