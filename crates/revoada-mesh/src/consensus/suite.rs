//! openraft's own suite for implementors, on our log and state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use revoada_attest::NodeKey;
use revoada_core::declaration::{ClusterDeclaration, prescribed_for};
use revoada_core::genesis::{Founder, Genesis};
use tempfile::TempDir;

use super::checkpoint::Checkpoints;
use super::log_store::LogStore;
use super::machine::Machine;
use super::types::Types;
use crate::log::{LogEngine, LogOptions};
use crate::runtime::Tokio;

struct Folder;

fn genesis() -> Arc<Genesis> {
    let declaration = ClusterDeclaration::prove(prescribed_for("quorum-3m", 3).unwrap()).unwrap();
    let founders = (1..=3).map(|n| (NodeKey::from_seed([n; 32]).id(), Founder::named(format!("node-{n}"))));
    Arc::new(Genesis::prove(declaration, founders, None).unwrap())
}

impl StoreBuilder<Types<Tokio>, LogStore, Machine, TempDir> for Folder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types<Tokio>>> {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions {
            segment_bytes: 1 << 16,
            ..LogOptions::default()
        };
        let (engine, _) = LogEngine::open(&dir.path().join("log"), options).unwrap();
        let genesis = genesis();
        let (checkpoints, loaded) = Checkpoints::open(
            Arc::new(crate::files::SystemFiles::default()),
            &dir.path().join("checkpoints"),
            genesis.clone(),
        )
        .unwrap();
        let log = LogStore::new(engine).unwrap();
        let machine = Machine::new(&genesis, Arc::new(checkpoints), loaded, log.seats().clone());
        Ok((dir, log, machine))
    }
}

#[tokio::test]
async fn the_log_and_the_state_machine_pass_openrafts_suite() {
    Suite::test_all(Folder).await.unwrap();
}
