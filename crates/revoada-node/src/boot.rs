//! Why a node could not start. The control socket tells it to whoever asks, for as long as the process lives.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use revoada_core::genesis::GenesisParseError;
use revoada_mesh::consensus::OpenError;
use revoada_mesh::identity::KeyFileError;
use revoada_mesh::membership::GossipError;

/// What went wrong between the configuration and the first word to another node.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The folder cannot be used.
    #[error("cannot {verb} {}", path.display())]
    Folder {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process runs on the folder.
    #[error("{} belongs to the process {owner}", path.display())]
    Owned {
        /// The folder.
        path: PathBuf,
        /// Its owner, as it wrote itself down.
        owner: String,
    },
    /// The genesis is not one.
    #[error("the genesis {} is not valid", path.display())]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: GenesisParseError,
    },
    /// The folder belongs to another cluster.
    #[error("{} belongs to cluster {found}, and the genesis is that of {expected}", path.display())]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// The genesis's digest.
        expected: String,
        /// What the folder says.
        found: String,
    },
    /// The key.
    #[error("the node's key cannot be used")]
    Key(#[source] KeyFileError),
    /// The genesis does not know this node.
    #[error("the genesis has no founder {name} with the key {id}{hint}")]
    NotAFounder {
        /// The configured name.
        name: String,
        /// The key in the folder.
        id: String,
        /// What it does have, if that helps.
        hint: String,
    },
    /// The backend is not one that this node serves.
    #[error("{what}")]
    Unsupported {
        /// What, and what to do.
        what: String,
    },
    /// Log or checkpoint.
    #[error("the node's state cannot be opened")]
    Consensus(#[source] OpenError),
    /// Another backend.
    #[error("the backend cannot be opened")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A port.
    #[error("cannot listen on {address}{hint}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What to do, if that is known.
        hint: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The control socket.
    #[error("cannot listen on the control socket {}", path.display())]
    Control {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// TLS.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The certificate of the HTTP API.
    #[error("the certificate of the HTTP API cannot be made or read: {what}")]
    Certificate {
        /// What failed.
        what: String,
    },
    /// Gossip.
    #[error("membership cannot start")]
    Gossip(#[source] GossipError),
}
