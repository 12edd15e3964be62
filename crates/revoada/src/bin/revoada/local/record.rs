//! `cluster.json`: what `up` decided when it made the cluster, and keeps to.

use std::fs;
use std::io;
use std::net::SocketAddr;

use revoada_core::error::ErrorKind;
use revoada_core::{Digest, NodeId};
use serde::{Deserialize, Serialize};

use super::folder::{Folder, write_atomically};
use crate::failure::CliError;

/// The format that this build writes, and the newest that it reads.
const VERSION: u32 = 1;

/// A cluster that `up` made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The format of this file.
    pub version: u32,
    /// The cluster's declared name.
    pub name: String,
    /// The declared topology's name.
    pub topology: String,
    /// The digest of the declaration it was made from.
    pub declaration: Digest,
    /// The digest of the genesis: the cluster's identity.
    pub genesis: Digest,
    /// Fields that are set in every node's config, as `K=V`.
    #[serde(default)]
    pub node_args: Vec<String>,
    /// The nodes, in the order of their numbers.
    pub nodes: Vec<NodeEntry>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its name.
    pub name: String,
    /// Its key.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub mesh: SocketAddr,
    /// Where clients reach it by TLS.
    pub http: SocketAddr,
    /// Where clients of etcd reach it; none in a cluster without that face.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<SocketAddr>,
}

impl Record {
    /// A record of a cluster that is made now.
    pub const fn version() -> u32 {
        VERSION
    }

    /// The record in `folder`; none where no cluster was made.
    pub fn read(folder: &Folder) -> Result<Option<Self>, CliError> {
        Self::read_file(&folder.record())
    }

    /// The record in the file `path`; none where it does not exist.
    pub fn read_file(path: &std::path::Path) -> Result<Option<Self>, CliError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(CliError::unreadable(path, &error)),
        };
        let what = || format!("{} is not what `up` wrote", path.display());
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_slice(&bytes).map_err(|error| CliError::because(ErrorKind::Invalid, what(), &error))?;
        if version > VERSION {
            let message = format!(
                "{} has version {version}, and this build reads up to {VERSION}",
                path.display()
            );
            return Err(CliError::new(ErrorKind::Unsupported, message).hint("use a newer revoada"));
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| CliError::because(ErrorKind::Invalid, what(), &error))
    }

    /// Writes the record.
    pub fn write(&self, path: &std::path::Path) -> Result<(), CliError> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|error| CliError::because(ErrorKind::Invalid, "the record of the cluster", &error))?;
        text.push(b'\n');
        write_atomically(path, &text)
            .map_err(|error| CliError::file(format!("cannot write {}", path.display()), &error))
    }

    /// The cluster in `folder`, or what to do where there is none.
    pub fn of(folder: &Folder) -> Result<Self, CliError> {
        Self::read(folder)?.ok_or_else(|| {
            CliError::new(
                ErrorKind::Unavailable,
                format!("there is no cluster in {}", folder.root().display()),
            )
            .hint("`revoada up` makes one; `--dir DIR` names another folder, `--endpoint URL|SOCKET` a node")
        })
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Result<&NodeEntry, CliError> {
        self.nodes.iter().find(|node| node.name == name).ok_or_else(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            CliError::new(
                ErrorKind::NotFound,
                format!("`up` started no node called {name:?} here"),
            )
            .hint(format!("its nodes are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_newer_build_is_refused_and_one_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        assert!(Record::read_file(&path).unwrap().is_none());
        fs::write(&path, r#"{"version":2,"shape":"round"}"#).unwrap();
        assert_eq!(Record::read_file(&path).unwrap_err().kind(), ErrorKind::Unsupported);
        fs::write(&path, "{").unwrap();
        let error = Record::read_file(&path).unwrap_err();
        assert!(error.failure.message.contains("cluster.json"), "{error:?}");
        assert_eq!(error.code(), 2);
    }
}
