//! What this build serves of all that can be declared. What it does not serve it refuses by name, before anything runs.

use revoada_core::declaration::{BackendKind, ClusterDeclaration, FaceKind};

/// Why a cluster of `nodes` nodes with this declaration cannot be started by this build; none if it can.
pub fn unserved(declaration: &ClusterDeclaration, nodes: usize) -> Option<String> {
    let face = declaration.face().kind();
    let backend = declaration.backend().kind();
    match face {
        FaceKind::PureRaft => {}
        FaceKind::Etcd if backend == BackendKind::Openraft => {}
        FaceKind::Etcd => {
            return Some(format!(
                "this build serves the face etcd from the backend openraft, not from {}",
                backend.name()
            ));
        }
        face => {
            return Some(format!(
                "this build does not serve the face {}: declare pure-raft or etcd",
                face.name()
            ));
        }
    }
    match backend {
        BackendKind::Openraft => None,
        BackendKind::Memory | BackendKind::Folder if nodes == 1 => None,
        kind @ (BackendKind::Memory | BackendKind::Folder) => Some(format!(
            "the backend {} holds what one node holds, and this cluster has {nodes} nodes: declare the topology solo, or \
             the backend openraft",
            kind.name()
        )),
        kind => Some(format!(
            "this build does not serve the backend {}: declare openraft",
            kind.name()
        )),
    }
}

#[cfg(test)]
mod tests {
    use revoada_core::declaration::{BackendConfig, BackendSpec, DraftDeclaration, FabricFace, prescribed_for};

    use super::*;

    fn declared(change: impl FnOnce(&mut DraftDeclaration)) -> ClusterDeclaration {
        let mut draft = prescribed_for("quorum-3m", 3).unwrap();
        change(&mut draft);
        ClusterDeclaration::prove(draft).unwrap()
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        assert_eq!(unserved(&declared(|_| {}), 3), None);
        let kubernetes = declared(|draft| draft.face = FabricFace::prescribed_kubernetes_v1_34());
        assert!(unserved(&kubernetes, 3).unwrap().contains("kubernetes"));
        let memory = declared(|draft| draft.backend = BackendSpec::new(BackendConfig::Memory));
        assert!(unserved(&memory, 3).unwrap().contains("memory"));
        assert_eq!(unserved(&memory, 1), None);
    }
}
