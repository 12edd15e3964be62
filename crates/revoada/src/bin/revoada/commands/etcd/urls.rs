//! URLs as etcd takes them: a scheme, a host and a port, and nothing behind it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A URL of a member or a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is `https`.
    pub secure: bool,
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Url {
    /// Reads one.
    ///
    /// # Errors
    /// A sentence that names the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("{text:?} is no URL: it begins with no scheme"))?;
        let secure = match scheme {
            "http" => false,
            "https" => true,
            "unix" | "unixs" => return Err(format!("{text:?}: sockets of this machine alone are not served")),
            _ => return Err(format!("URL scheme must be http, https, unix, or unixs: {text}")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(format!("URL must not contain a path: {text}"));
        }
        let (host, port) = authority
            .rsplit_once(':')
            .filter(|(host, _)| !host.ends_with(':'))
            .ok_or_else(|| format!("URL address does not have the form \"host:port\": {text}"))?;
        let port = port
            .parse()
            .map_err(|_| format!("URL address does not have the form \"host:port\": {text}"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(address) => address,
            None if host.contains(':') => return Err(format!("an address of IPv6 stands in brackets: {text}")),
            None => host,
        };
        Ok(Self {
            secure,
            host: host.to_owned(),
            port,
        })
    }

    /// The address to listen on: an address, or `localhost`.
    ///
    /// # Errors
    /// A sentence, where the host is another name.
    pub fn bind(&self) -> Result<SocketAddr, String> {
        if self.host == "localhost" {
            return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)));
        }
        let address: IpAddr = self
            .host
            .parse()
            .map_err(|_| format!("expected IP in URL for binding ({self})"))?;
        Ok(SocketAddr::from((address, self.port)))
    }

    /// Where it is now, by the names that this machine knows; an address of IPv4 before one of IPv6.
    ///
    /// # Errors
    /// A sentence, where the name is not known.
    pub async fn resolve(&self) -> Result<SocketAddr, String> {
        let found = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| format!("cannot find {self}: {error}"))?;
        found
            .min_by_key(|address| !address.is_ipv4())
            .ok_or_else(|| format!("cannot find {self}: the name has no address"))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_scheme_a_host_and_a_port() {
        for text in [
            "http://localhost:2379",
            "https://10.0.0.1:1",
            "http://[::1]:2380",
            "https://etcd-0.etcd:2380",
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Url::parse("http://a:1/").unwrap().to_string(), "http://a:1");
        for text in [
            "a:1",
            "ftp://a:1",
            "http://a",
            "http://a:b",
            "http://a:1/x",
            "http://::1:2380",
            "unix://a:1",
        ] {
            Url::parse(text).unwrap_err();
        }
    }

    #[test]
    fn one_listens_on_addresses() {
        let bind = |text: &str| Url::parse(text).unwrap().bind();
        assert_eq!(bind("http://localhost:1"), Ok("127.0.0.1:1".parse().unwrap()));
        assert_eq!(bind("http://0.0.0.0:1"), Ok("0.0.0.0:1".parse().unwrap()));
        assert_eq!(bind("http://[::]:1"), Ok("[::]:1".parse().unwrap()));
        assert!(bind("http://example.org:1").unwrap_err().contains("expected IP"));
    }
}
