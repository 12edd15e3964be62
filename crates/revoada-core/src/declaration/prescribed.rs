//! The prescribed declaration, adapted to a topology and a number of nodes.

use super::spelling::nearest;
use super::{BackendSpec, DraftDeclaration, FabricFace, FabricStrategy};
use crate::error::ErrorKind;
use crate::topology;

/// Why no prescribed declaration fits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrescribeError {
    /// There is no topology of that name.
    #[error("there is no topology {given:?}; the nearest is {nearest}")]
    UnknownTopology {
        /// What was given.
        given: String,
        /// The name that is nearest to it.
        nearest: &'static str,
    },
    /// The topology takes more nodes than there are to be.
    #[error("{topology} takes at least {nodes_min} nodes, not {nodes}")]
    TooFewNodes {
        /// Its name.
        topology: String,
        /// The nodes there are to be.
        nodes: usize,
        /// The least it takes.
        nodes_min: usize,
    },
}

impl PrescribeError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The prescribed declaration (`homelab-3node`, our own API, openraft) in that topology: it starts from three voters,
/// or from one where the topology has only one. The name is `homelab`; change it in the draft.
///
/// # Errors
/// [`PrescribeError`] for a name that is no topology, and for fewer nodes than the topology takes.
pub fn prescribed_for(topology: &str, nodes: usize) -> Result<DraftDeclaration, PrescribeError> {
    let Some(shape) = topology::by_name(topology) else {
        let nearest = nearest(topology, topology::NAMES).expect("there are topologies");
        return Err(PrescribeError::UnknownTopology {
            given: topology.to_owned(),
            nearest,
        });
    };
    let nodes_min = shape.nodes_min();
    if nodes < nodes_min {
        return Err(PrescribeError::TooFewNodes {
            topology: topology.to_owned(),
            nodes,
            nodes_min,
        });
    }
    let size = if shape.voters(nodes_min) == 1 { 1 } else { 3 };
    Ok(DraftDeclaration {
        name: "homelab".to_owned(),
        strategy: FabricStrategy::prescribed_homelab().with_size(size),
        face: FabricFace::prescribed_native(),
        topology: shape,
        backend: BackendSpec::openraft(),
    })
}
