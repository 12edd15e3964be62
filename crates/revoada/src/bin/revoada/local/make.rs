//! Making a cluster in a folder, so that a crash at any point leaves nothing, or something that the next `up` completes.
//!
//! Everything is made in `.forming` and synced; its `cluster.json`, written last there, says that it is complete. Then
//! the parts move to their places, `cluster.json` last again. A next `up` that finds a complete `.forming` moves what
//! is left in it; an incomplete one it throws away, since no node has ever run from it. Rejected: making each part in
//! its place, where half a key file cannot be told from a damaged one.

use std::fs;
use std::io;
use std::path::Path;

use revoada_core::declaration::{ClusterDeclaration, FaceKind};
use revoada_core::error::ErrorKind;
use revoada_core::genesis::{Founder, Genesis};
use revoada_core::{Digest, NodeId};
use revoada_mesh::identity::load_or_create;

use super::folder::{Folder, sync_folder, write_atomically};
use super::record::{NodeEntry, Record};
use super::{config, ports};
use crate::failure::CliError;

/// The parts of a cluster besides its record, in the order in which they move.
const PARTS: [&str; 3] = ["genesis.json", "token", "nodes"];

/// What is to be made.
pub struct Plan {
    /// The proved declaration.
    pub declaration: ClusterDeclaration,
    /// How many nodes.
    pub nodes: usize,
    /// Fields for every node's config.
    pub node_args: Vec<String>,
}

/// Completes what an `up` that was cut off had made. Whether there was something to complete.
pub fn complete(folder: &Folder) -> Result<bool, CliError> {
    let forming = folder.forming();
    if Record::read_file(&forming.join("cluster.json"))?.is_none() {
        return match fs::remove_dir_all(&forming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CliError::file(
                format!("cannot take away {}", forming.display()),
                &error,
            )),
            _ => Ok(false),
        };
    }
    let moved = || -> io::Result<()> {
        for part in PARTS {
            move_part(&forming, folder.root(), part)?;
        }
        // The record comes last: a folder that has it is whole.
        sync_folder(folder.root())?;
        move_part(&forming, folder.root(), "cluster.json")?;
        fs::remove_dir(&forming)?;
        sync_folder(folder.root())
    };
    moved().map_err(|error| {
        CliError::file(
            format!("cannot complete the cluster in {}", folder.root().display()),
            &error,
        )
    })?;
    Ok(true)
}

fn move_part(from: &Path, to: &Path, part: &str) -> io::Result<()> {
    match fs::rename(from.join(part), to.join(part)) {
        // It had moved before the other `up` was cut off.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        moved => moved,
    }
}

/// Makes a cluster in a folder that has none.
pub fn make(folder: &Folder, plan: &Plan) -> Result<Record, CliError> {
    for part in PARTS {
        let path = folder.root().join(part);
        if path.exists() {
            let message = format!("{} is there, and no cluster.json beside it", path.display());
            return Err(CliError::new(ErrorKind::Conflict, message)
                .hint("`up` makes a cluster only in a folder that has none: name another with --dir"));
        }
    }
    let forming = folder.forming();
    let failed =
        |error: &io::Error| CliError::file(format!("cannot make a cluster in {}", folder.root().display()), error);
    fs::create_dir_all(forming.join("nodes")).map_err(|error| failed(&error))?;
    let token = random_hex().map_err(|error| failed(&error))?;
    write_atomically(&forming.join("token"), token.as_bytes()).map_err(|error| failed(&error))?;
    let names = node_names(&plan.declaration, plan.nodes);
    let mut founders: Vec<(NodeId, Founder)> = Vec::new();
    for name in &names {
        founders.push((
            make_key(&forming.join("nodes").join(name))?,
            Founder::named(name.as_str()),
        ));
    }
    let digest = Digest::from_bytes(*blake3::hash(token.as_bytes()).as_bytes());
    let genesis = Genesis::prove(plan.declaration.clone(), founders.clone(), Some(digest))
        .map_err(|error| CliError::because(error.kind(), "these nodes do not make a cluster", &error))?;
    write_atomically(&forming.join("genesis.json"), genesis.render().as_bytes()).map_err(|error| failed(&error))?;
    let etcd = plan.declaration.face().kind() == FaceKind::Etcd;
    let listeners = if etcd { 3 } else { 2 };
    let addresses = ports::choose(folder.root(), listeners * names.len())?;
    let of = |listener: usize, node: usize| addresses.get(listener * names.len() + node).copied();
    let nowhere = || CliError::new(ErrorKind::Exhausted, "there are not enough free ports");
    let record = Record {
        version: Record::version(),
        name: plan.declaration.name().to_owned(),
        topology: plan.declaration.topology().name().to_owned(),
        declaration: plan.declaration.digest(),
        genesis: genesis.digest(),
        node_args: plan.node_args.clone(),
        nodes: founders
            .into_iter()
            .enumerate()
            .map(|(node, (id, founder))| {
                Ok(NodeEntry {
                    name: founder.name,
                    id,
                    mesh: of(0, node).ok_or_else(nowhere)?,
                    http: of(1, node).ok_or_else(nowhere)?,
                    etcd: of(2, node),
                })
            })
            .collect::<Result<_, CliError>>()?,
    };
    sync_folder(&forming.join("nodes")).map_err(|error| failed(&error))?;
    config::check(folder, &record)?;
    record.write(&forming.join("cluster.json"))?;
    complete(folder)?;
    Ok(record)
}

/// `node-1`, `node-2`, …; a declared witness of another name is the last of them.
fn node_names(declaration: &ClusterDeclaration, count: usize) -> Vec<String> {
    let mut names: Vec<String> = (1..=count).map(|number| format!("node-{number}")).collect();
    if let (Some(witness), Some(last)) = (declaration.witness(), count.checked_sub(1))
        && !names.iter().any(|name| name == witness)
    {
        names[last] = witness.to_owned();
    }
    names
}

fn make_key(node: &Path) -> Result<NodeId, CliError> {
    let made = fs::create_dir_all(node);
    made.map_err(|error| CliError::file(format!("cannot make {}", node.display()), &error))?;
    let key = load_or_create(&node.join("node.key"), random_bytes)
        .map_err(|error| CliError::because(ErrorKind::Unavailable, "cannot make the key of a node", &error))?;
    Ok(key.id())
}

/// Thirty-two bytes from the system.
pub fn random_bytes() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    revoada::system::entropy(&mut bytes)?;
    Ok(bytes)
}

/// A token: thirty-two bytes from the system in hex.
pub fn random_hex() -> io::Result<String> {
    Ok(Digest::from_bytes(random_bytes()?).to_string())
}

/// Whether a folder holds anything that `up` made, whole or not.
pub fn is_anything_there(folder: &Folder) -> bool {
    folder.record().exists() || folder.forming().exists()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use revoada_core::declaration::prescribed_for;

    use super::*;

    fn plan(nodes: usize) -> Plan {
        let draft = prescribed_for("quorum-3m", nodes).unwrap();
        Plan {
            declaration: ClusterDeclaration::prove(draft).unwrap(),
            nodes,
            node_args: Vec::new(),
        }
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path()).unwrap();
        (dir, folder)
    }

    #[test]
    fn a_cluster_is_made_with_a_genesis_that_reads_back_and_secrets_for_its_owner_only() {
        let (_dir, folder) = folder();
        let record = make(&folder, &plan(3)).unwrap();
        assert_eq!(Record::read(&folder).unwrap().unwrap(), record);
        let genesis = Genesis::parse(&fs::read(folder.genesis()).unwrap()).unwrap();
        assert_eq!(genesis.digest(), record.genesis);
        let token = fs::read_to_string(folder.token()).unwrap();
        assert_eq!(
            genesis.token_digest().unwrap().as_bytes(),
            blake3::hash(token.trim().as_bytes()).as_bytes()
        );
        for secret in [folder.token(), folder.node("node-2").join("node.key")] {
            assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert!(!folder.forming().exists());
    }

    #[test]
    fn an_up_that_was_cut_off_before_it_was_complete_leaves_nothing_that_counts() {
        let (_dir, folder) = folder();
        fs::create_dir_all(folder.forming().join("nodes/node-1")).unwrap();
        fs::write(folder.forming().join("nodes/node-1/node.key"), "").unwrap();
        assert!(!complete(&folder).unwrap());
        assert!(!folder.forming().exists());
        make(&folder, &plan(3)).unwrap();
    }

    #[test]
    fn an_up_that_was_cut_off_while_parts_moved_is_completed() {
        let (_dir, folder) = folder();
        let record = make(&folder, &plan(3)).unwrap();
        // Back to where it was after the first part had moved.
        fs::create_dir(folder.forming()).unwrap();
        for part in ["token", "nodes", "cluster.json"] {
            fs::rename(folder.root().join(part), folder.forming().join(part)).unwrap();
        }
        assert!(Record::read(&folder).unwrap().is_none());
        assert!(complete(&folder).unwrap());
        assert_eq!(Record::read(&folder).unwrap().unwrap(), record);
        assert!(folder.node("node-3").join("node.key").exists() && folder.token().exists());
    }

    #[test]
    fn a_folder_with_parts_of_something_else_is_left_alone() {
        let (_dir, folder) = folder();
        fs::write(folder.token(), "mine").unwrap();
        assert_eq!(make(&folder, &plan(3)).unwrap_err().code(), 6);
        assert_eq!(fs::read(folder.token()).unwrap(), b"mine");
    }
}
