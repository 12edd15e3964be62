//! Certificates as the flags give them: for clients, and for peers.

use std::path::{Path, PathBuf};

use revoada::node::BootError;
use revoada::node::tls::{CertificateFiles, ClientTls, ServerTls, TlsRules, Trust, self_signed};

use super::super::flags::{FlagError, Given};
use super::super::urls::Url;
use super::invalid;

/// Certificates of one kind, as they were given.
#[derive(Debug, Clone)]
pub struct Files {
    shown: Option<CertificateFiles>,
    client_shown: Option<CertificateFiles>,
    roots: Option<PathBuf>,
    asks_clients: bool,
    revoked: Option<PathBuf>,
    auto: bool,
    years: u32,
    rules: TlsRules,
    hosts: Vec<String>,
    /// Where certificates are made, below the member's folder.
    made_in: &'static str,
}

/// Versions and suites.
pub fn rules(given: &Given) -> Result<TlsRules, FlagError> {
    let version = |name: &'static str| match given.text(name) {
        "" => Ok(None),
        "TLS1.2" => Ok(Some(false)),
        "TLS1.3" => Ok(Some(true)),
        other => Err(invalid(format!(
            "unexpected TLS version {other:?}, must be one of: TLS1.2, TLS1.3"
        ))),
    };
    let only_1_3 = version("tls-min-version")? == Some(true);
    let only_1_2 = version("tls-max-version")? == Some(false);
    if only_1_2 && only_1_3 {
        return Err(invalid("min version (TLS1.3) is greater than max version (TLS1.2)"));
    }
    let cipher_suites = given.list("cipher-suites");
    if only_1_3 && !cipher_suites.is_empty() {
        return Err(invalid(
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ));
    }
    Ok(TlsRules {
        only_1_3,
        only_1_2,
        cipher_suites,
    })
}

fn pair(given: &Given, cert: &'static str, key: &'static str) -> Result<Option<CertificateFiles>, FlagError> {
    match (given.some(cert), given.some(key)) {
        (Some(cert), Some(key)) => Ok(Some(CertificateFiles {
            cert: cert.into(),
            key: key.into(),
        })),
        (None, None) => Ok(None),
        _ => Err(invalid(format!(
            "KeyFile and CertFile must both be present: --{cert} and --{key}"
        ))),
    }
}

impl Files {
    pub fn of_clients(given: &Given, rules: TlsRules, years: u32, hosts: Vec<String>) -> Result<Self, FlagError> {
        Ok(Self {
            shown: pair(given, "cert-file", "key-file")?,
            client_shown: None,
            roots: given.some("trusted-ca-file").map(PathBuf::from),
            asks_clients: given.switch("client-cert-auth")?,
            revoked: given.some("client-crl-file").map(PathBuf::from),
            auto: given.switch("auto-tls")?,
            years,
            rules,
            hosts,
            made_in: "fixtures/client",
        })
    }

    pub fn of_peers(given: &Given, rules: TlsRules, years: u32, hosts: Vec<String>) -> Result<Self, FlagError> {
        Ok(Self {
            shown: pair(given, "peer-cert-file", "peer-key-file")?,
            client_shown: pair(given, "peer-client-cert-file", "peer-client-key-file")?,
            roots: given.some("peer-trusted-ca-file").map(PathBuf::from),
            asks_clients: given.switch("peer-client-cert-auth")?,
            revoked: given.some("peer-crl-file").map(PathBuf::from),
            auto: given.switch("peer-auto-tls")?,
            years,
            rules,
            hosts,
            made_in: "fixtures/peer",
        })
    }

    /// Whether certificates are made and not given.
    pub fn is_made(&self) -> bool {
        self.auto && self.shown.is_none()
    }

    fn shown(&self, data_dir: &Path) -> Result<Option<CertificateFiles>, BootError> {
        if !self.is_made() {
            return Ok(self.shown.clone());
        }
        let mut hosts = self.hosts.clone();
        hosts.sort();
        hosts.dedup();
        self_signed(&data_dir.join(self.made_in), hosts, self.years).map(Some)
    }

    /// As etcd, roots alone make clients show a certificate as well.
    pub fn server(&self, data_dir: &Path, url: &Url) -> Result<ServerTls, BootError> {
        let shown = self.shown(data_dir)?.ok_or_else(|| BootError::Certificate {
            what: format!("TLS key/cert must be provided for the url {url} with HTTPS scheme"),
        })?;
        if self.asks_clients && self.roots.is_none() && !self.is_made() {
            return Err(BootError::Certificate {
                what:
                    "clients are to show certificates, and no --trusted-ca-file (or --peer-trusted-ca-file) says whose"
                        .to_owned(),
            });
        }
        Ok(ServerTls {
            shown,
            client_ca: self.roots.clone(),
            revoked: self.revoked.clone(),
            rules: self.rules.clone(),
        })
    }

    pub fn client(&self, data_dir: &Path) -> Result<ClientTls, BootError> {
        let trust = match &self.roots {
            Some(roots) => Trust::Roots(roots.clone()),
            None if self.is_made() => Trust::Anyone,
            None => Trust::System,
        };
        Ok(ClientTls {
            shown: match &self.client_shown {
                Some(shown) => Some(shown.clone()),
                None => self.shown(data_dir)?,
            },
            trust,
            rules: self.rules.clone(),
        })
    }
}
