//! A native face over a memory backend and a cluster that is made up.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::{Extension, Router};
use revoada_core::roles::{Membership, NodeState};
use revoada_faces::native::{Caller, NativeFace};
use revoada_store::admin::{
    AdminError, ChainHead, ClusterState, ClusterStatus, ClusterSummary, HealthReport, History, NodeStatus, Redundancy,
    Wish, WishGranted,
};
use revoada_store::{ClusterAdmin, MemoryBackend};

/// A cluster of one node, which remembers what was asked of it.
#[derive(Default)]
pub struct MadeUpCluster {
    pub asked: Mutex<Vec<String>>,
    pub healthy: bool,
}

impl MadeUpCluster {
    fn note(&self, asked: String) {
        self.asked.lock().unwrap().push(asked);
    }
}

#[async_trait]
impl ClusterAdmin for MadeUpCluster {
    async fn status(&self) -> Result<ClusterStatus, AdminError> {
        Ok(ClusterStatus {
            cluster: ClusterSummary {
                id: "native/homelab/solo".to_owned(),
                name: "homelab".to_owned(),
                digest: "00".repeat(32).parse().unwrap(),
                state: ClusterState::Formed,
                revision: 7,
                term: 2,
                leader: Some("node-1".to_owned()),
                redundancy: Redundancy::default(),
            },
            nodes: vec![NodeStatus {
                name: "node-1".to_owned(),
                id: "11".repeat(32).parse().unwrap(),
                role: serde_json::from_str("\"control-plane\"").unwrap(),
                state: NodeState::Active,
                membership: Membership::Alive,
                leader: true,
                voter: true,
                learner: false,
                applied: 9,
                lag: 0,
                address: "127.0.0.1:7070".parse().unwrap(),
                pid: None,
                rss_bytes: None,
                uptime_ms: None,
                version: "0.1.0".to_owned(),
            }],
        })
    }

    async fn health(&self) -> Result<HealthReport, AdminError> {
        Ok(HealthReport {
            healthy: self.healthy,
            checks: Vec::new(),
            cluster_running: true,
            face_running: true,
            resource_count: 0,
            subscriber_count: 0,
            freshness_ms: 0,
        })
    }

    async fn history(&self) -> Result<History, AdminError> {
        Ok(History::default())
    }

    async fn chain_export(&self) -> Result<Vec<u8>, AdminError> {
        Ok(vec![0, 1, 255])
    }

    async fn chain_heads(&self) -> Result<Vec<ChainHead>, AdminError> {
        Ok(vec![ChainHead {
            node: "node-1".to_owned(),
            id: "11".repeat(32).parse().unwrap(),
            index: None,
            head: None,
        }])
    }

    async fn trust(&self) -> Result<String, AdminError> {
        Ok("a key\n".to_owned())
    }

    async fn role_wish(&self, node: &str, wish: Wish, wait: bool) -> Result<WishGranted, AdminError> {
        if node != "node-1" {
            return Err(AdminError::UnknownNode { node: node.to_owned() });
        }
        self.note(format!("{} {node} wait={wait}", wish.name()));
        Ok(WishGranted {
            node: node.to_owned(),
            index: Some(3),
            done: wait,
            already: None,
            why: Vec::new(),
        })
    }

    async fn excuse(&self, node: &str) -> Result<(), AdminError> {
        self.note(format!("excuse {node}"));
        Ok(())
    }

    async fn recover(&self, reason: &str) -> Result<(), AdminError> {
        self.note(format!("recover: {reason}"));
        Err(AdminError::Unavailable {
            what: "a quorum is there".to_owned(),
            source: Some("two of three".into()),
        })
    }

    async fn declaration(&self) -> Result<serde_json::Value, AdminError> {
        Ok(serde_json::json!({"name": "homelab"}))
    }

    async fn shutdown(&self) -> Result<(), AdminError> {
        self.note("shutdown".to_owned());
        Ok(())
    }
}

/// A face, and the cluster behind it.
pub fn face(spool: &std::path::Path) -> (NativeFace, Arc<MadeUpCluster>) {
    let cluster = Arc::new(MadeUpCluster {
        healthy: true,
        ..MadeUpCluster::default()
    });
    let face = NativeFace::new(Arc::new(MemoryBackend::new()), Arc::clone(&cluster) as _, spool)
        .with_metrics(|| "revoada_raft_term 2\n".to_owned());
    (face, cluster)
}

/// The face's service, as a listener gives it to an operator.
pub fn for_operator(face: NativeFace) -> Router {
    face.router().layer(Extension(Caller::operator("a test")))
}
