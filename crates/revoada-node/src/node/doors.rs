//! Where connections come to a node from: other nodes, and clients of etcd.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use revoada_core::declaration::FaceKind;
use revoada_core::limits;
use revoada_mesh::transport::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::NodeOptions;
use crate::boot::BootError;
use crate::introduction::port::Nodes;
use crate::listen::EtcdListen;
use crate::roster::AsMember;

/// Where connections of other nodes come from.
pub(super) enum Listener {
    /// A port of the node's own.
    Own(TcpListener),
    /// One on which a member answers others as well.
    Shared(Nodes),
}

impl Listener {
    /// The port of the member, or one of the node's own.
    pub async fn open(member: Option<&AsMember>, address: SocketAddr) -> Result<Self, BootError> {
        if let Some(member) = member {
            return Ok(Self::Shared(member.port.nodes()));
        }
        let failed = |source: io::Error| BootError::Listen {
            address,
            hint: if source.kind() == io::ErrorKind::AddrInUse {
                ": the port is in use by another program"
            } else {
                ""
            },
            source,
        };
        bind(address).await.map(Self::Own).map_err(failed)
    }
}

impl Incoming for Listener {
    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        match self {
            Self::Own(listener) => listener.accept().await,
            Self::Shared(nodes) => nodes.accept().await,
        }
    }
}

/// Where the etcd face is served, if anywhere.
pub(super) fn etcd_listeners(options: &NodeOptions, face: FaceKind) -> Result<Vec<EtcdListen>, BootError> {
    match (&options.as_member, &options.config.etcd, face) {
        (Some(member), _, _) => Ok(member.listen.clone()),
        (None, Some(etcd), FaceKind::Etcd) => Ok(vec![EtcdListen::of(etcd)?]),
        (None, Some(_), other) => Err(BootError::Unsupported {
            what: format!(
                "the config has an etcd section, and the cluster declares the face {}",
                other.name()
            ),
        }),
        (None, None, _) => Ok(Vec::new()),
    }
}

/// Binds, and waits a while for a port that is in use: a process that was killed frees its ports only when the kernel
/// is done with it, which a sync under way delays.
pub(crate) async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let deadline = Instant::now() + Duration::from_millis(limits::BIND_MS_MAX);
    loop {
        match TcpListener::bind(address).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(limits::FORMATION_PAUSE_MS)).await;
            }
            other => return other,
        }
    }
}
