//! Where a node is reached, and what has to be shown there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use hyper::http::Uri;
use revoada_core::error::ErrorKind;

/// The port of an https endpoint that names none.
const PORT_DEFAULT: u16 = 443;

/// Where a node is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// Its control socket. Who calls is told by the socket's peer credentials.
    Socket(PathBuf),
    /// Its TLS listener.
    Https {
        /// The host name or the IP address, without brackets.
        host: String,
        /// The TCP port.
        port: u16,
        /// The bearer token that is shown.
        token: String,
        /// The PEM file of the authorities that may vouch for the node.
        ca_file: PathBuf,
    },
}

/// A text that is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Something else than https.
    #[error("{url} is not an https URL, and nothing else is spoken over TCP")]
    NotHttps {
        /// What was given.
        url: String,
    },
    /// Not a URL of a host.
    #[error("{url} is not a URL of the form https://HOST:PORT")]
    NotAUrl {
        /// What was given.
        url: String,
    },
}

impl EndpointError {
    /// The kind to branch on.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::NotHttps { .. } | Self::NotAUrl { .. } => ErrorKind::Invalid,
        }
    }
}

impl Endpoint {
    /// The control socket at `path`.
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        Self::Socket(path.into())
    }

    /// Whether `text` is meant as a URL; anything else is the path of a socket.
    pub fn is_url(text: &str) -> bool {
        text.contains("://")
    }

    /// The TLS listener at `https://HOST[:PORT]`.
    pub fn https(url: &str, token: impl Into<String>, ca_file: impl Into<PathBuf>) -> Result<Self, EndpointError> {
        let not_a_url = || EndpointError::NotAUrl { url: url.to_owned() };
        let uri = Uri::from_str(url).map_err(|_| not_a_url())?;
        if uri.scheme_str() != Some("https") {
            return Err(EndpointError::NotHttps { url: url.to_owned() });
        }
        let authority = uri.authority().ok_or_else(not_a_url)?;
        if authority.as_str().contains('@') || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(not_a_url());
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(not_a_url());
        }
        let port = authority.port_u16().unwrap_or(PORT_DEFAULT);
        Ok(Self::Https {
            host,
            port,
            token: token.into(),
            ca_file: ca_file.into(),
        })
    }

    /// The socket's path, if it is one.
    pub fn socket_path(&self) -> Option<&Path> {
        match self {
            Self::Socket(path) => Some(path),
            Self::Https { .. } => None,
        }
    }

    /// What goes into the `host` header.
    pub(super) fn host_header(&self) -> String {
        match self {
            Self::Socket(_) => "localhost".to_owned(),
            Self::Https { host, port, .. } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Https { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// What goes into the `authorization` header.
    pub(super) fn authorization(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Https { token, .. } => Some(format!("Bearer {token}")),
        }
    }
}

/// The socket's path or the URL; never the token.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Https { .. } => write!(f, "https://{}", self.host_header()),
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_of_a_host_is_an_endpoint_and_nothing_else_is() {
        let cases = [
            ("https://node-1:7070", Some("https://node-1:7070")),
            ("https://node-1/", Some("https://node-1:443")),
            ("https://127.0.0.1:7070", Some("https://127.0.0.1:7070")),
            ("https://[::1]:7070", Some("https://[::1]:7070")),
            ("http://node-1:7070", None),
            ("https://node-1:7070/v1", None),
            ("https://me@node-1", None),
            ("https://", None),
            ("node-1:7070", None),
        ];
        for (url, expected) in cases {
            let endpoint = Endpoint::https(url, "secret", "ca.pem");
            assert_eq!(
                endpoint.as_ref().ok().map(ToString::to_string).as_deref(),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn an_endpoint_does_not_print_its_token() {
        let endpoint = Endpoint::https("https://node-1", "secret", "ca.pem").unwrap();
        assert!(!format!("{endpoint} {endpoint:?}").contains("secret"));
    }
}
