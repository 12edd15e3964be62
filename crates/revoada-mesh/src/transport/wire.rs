//! The wire of production: TCP, and TLS 1.3 by the nodes' own keys.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use revoada_attest::{NodeId, NodeKey};
use revoada_core::limits;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::{Frames, Protocol, Wire, tls};

/// Frames over TLS.
pub type TlsFrames = Framed<TlsStream<TcpStream>, LengthDelimitedCodec>;

/// See the module.
pub struct TlsWire {
    server: Arc<ServerConfig>,
    clients: BTreeMap<Protocol, Arc<ClientConfig>>,
}

impl TlsWire {
    /// Speaks as the holder of `key`.
    pub(super) fn new(key: &NodeKey) -> Result<Self, rustls::Error> {
        let names: Vec<&[u8]> = Protocol::ALL.iter().map(|protocol| protocol.name()).collect();
        let clients = Protocol::ALL
            .iter()
            .map(|protocol| Ok((*protocol, tls::client(key, protocol.name())?)))
            .collect::<Result<_, rustls::Error>>()?;
        Ok(Self {
            server: tls::server(key, &names)?,
            clients,
        })
    }
}

impl Frames for TlsFrames {
    fn allow(&mut self, frame_bytes_max: usize) {
        self.codec_mut().set_max_frame_length(frame_bytes_max);
    }
}

impl Wire for TlsWire {
    type Socket = TcpStream;
    type Frames = TlsFrames;

    async fn call(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }

    async fn secure(&self, tcp: TcpStream, address: SocketAddr, protocol: Protocol) -> io::Result<(NodeId, TlsFrames)> {
        tune(&tcp)?;
        let config = self.clients[&protocol].clone();
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsStream::Client(TlsConnector::from(config).connect(name, tcp).await?);
        let peer = peer_of(&stream, protocol)?.1;
        Ok((peer, Framed::new(stream, codec(limits::HELLO_BYTES_MAX))))
    }

    async fn accept(&self, tcp: TcpStream) -> io::Result<(Protocol, NodeId, TlsFrames)> {
        tune(&tcp)?;
        let stream = TlsStream::Server(TlsAcceptor::from(self.server.clone()).accept(tcp).await?);
        let (protocol, peer) = peer_of(&stream, Protocol::Raft)?;
        Ok((protocol, peer, Framed::new(stream, codec(limits::HELLO_BYTES_MAX))))
    }
}

/// Small messages leave at once, and a connection whose other side is gone without a word ends: without that a reader
/// waits for ever, and after a partition TCP's own patience doubles with each attempt.
fn tune(tcp: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, Duration::from_secs(limits::LINK_PROBE_S))?;
    sockopt::set_tcp_keepintvl(tcp, Duration::from_secs(limits::LINK_PROBE_S))?;
    sockopt::set_tcp_keepcnt(tcp, limits::LINK_PROBES_MAX)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(tcp, limits::LINK_UNACKNOWLEDGED_MS_MAX)?;
    Ok(())
}

fn codec(frame_bytes_max: usize) -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(frame_bytes_max)
        .new_codec()
}

fn peer_of(stream: &TlsStream<TcpStream>, called: Protocol) -> io::Result<(Protocol, NodeId)> {
    let refused = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (_, session) = stream.get_ref();
    let key = session
        .peer_certificates()
        .and_then(<[_]>::first)
        .ok_or_else(|| refused("it showed no key"))?;
    let peer = tls::node_of(key).ok_or_else(|| refused("its key is not an ed25519 key"))?;
    let protocol = match session.alpn_protocol() {
        Some(name) => Protocol::ALL.into_iter().find(|protocol| protocol.name() == name),
        None => None,
    };
    let protocol = protocol.ok_or_else(|| refused("it speaks none of this node's protocols"))?;
    if matches!(stream, TlsStream::Client(_)) && protocol != called {
        return Err(refused("it answered for another protocol"));
    }
    Ok((protocol, peer))
}
