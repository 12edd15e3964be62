//! TLS by certificates in files, as listeners and callers of etcd have it.
//!
//! The server's certificate is read again when its file has changed, as etcd does: whoever renews certificates does not
//! restart their users. What is wrong with a file then is logged, and the certificate before it serves on.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};

use crate::boot::BootError;

/// Where distributions keep the certificates that the system trusts.
const SYSTEM_ROOTS: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// What is common to both sides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsRules {
    /// TLS 1.3 and nothing older.
    pub only_1_3: bool,
    /// TLS 1.2 and nothing newer.
    pub only_1_2: bool,
    /// The cipher suites that may be used, by their names at IANA; any where empty.
    pub cipher_suites: Vec<String>,
}

/// A certificate and its key, in files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A server's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// What it shows.
    pub shown: CertificateFiles,
    /// The roots that clients have to be certified by; without them clients need no certificate.
    pub client_ca: Option<PathBuf>,
    /// Certificates of clients that are valid no longer.
    pub revoked: Option<PathBuf>,
    /// Versions and suites.
    pub rules: TlsRules,
}

/// Whom a client believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Whoever is certified by these roots.
    Roots(PathBuf),
    /// Whoever is certified by a root that the system trusts.
    System,
    /// Whoever answers.
    Anyone,
}

/// A client's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// What it shows, where it is asked.
    pub shown: Option<CertificateFiles>,
    /// Whom it believes.
    pub trust: Trust,
    /// Versions and suites.
    pub rules: TlsRules,
}

fn failed(path: &Path, what: impl ToString) -> BootError {
    BootError::Certificate {
        what: format!("{}: {}", path.display(), what.to_string()),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BootError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(|certs| certs.collect::<Result<Vec<_>, _>>());
    let certificates = certificates.map_err(|error| failed(path, error))?;
    if certificates.is_empty() {
        return Err(failed(path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn roots(path: &Path) -> Result<Arc<RootCertStore>, BootError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        roots.add(root).map_err(|error| failed(path, error))?;
    }
    Ok(Arc::new(roots))
}

fn system_roots() -> Result<Arc<RootCertStore>, BootError> {
    let path = SYSTEM_ROOTS.iter().map(Path::new).find(|path| path.is_file());
    let path = path.ok_or_else(|| BootError::Certificate {
        what: "no roots are given, and the system has none at the usual places".to_owned(),
    })?;
    let mut roots = RootCertStore::empty();
    // Of the hundreds there some are of kinds that are not understood.
    roots.add_parsable_certificates(certificates(path)?);
    Ok(Arc::new(roots))
}

/// A list in PEM or DER, as etcd takes both.
fn revoked(path: &Path) -> Result<CertificateRevocationListDer<'static>, BootError> {
    let bytes = fs::read(path).map_err(|error| failed(path, error))?;
    if bytes.starts_with(b"-----BEGIN") {
        return CertificateRevocationListDer::from_pem_slice(&bytes).map_err(|error| failed(path, error));
    }
    Ok(CertificateRevocationListDer::from(bytes))
}

impl CertificateFiles {
    /// When either file was changed last.
    fn changed(&self) -> io::Result<SystemTime> {
        let changed = |path: &Path| fs::metadata(path)?.modified();
        Ok(changed(&self.cert)?.max(changed(&self.key)?))
    }

    fn read(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, BootError> {
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| failed(&self.key, error))?;
        let certified = CertifiedKey::from_der(certificates(&self.cert)?, key, provider);
        certified.map(Arc::new).map_err(|error| failed(&self.cert, error))
    }
}

/// Certificates that are read again when their files change.
#[derive(Debug)]
struct Renewed {
    files: CertificateFiles,
    provider: Arc<CryptoProvider>,
    current: Mutex<(Option<SystemTime>, Arc<CertifiedKey>)>,
}

impl Renewed {
    fn open(files: CertificateFiles, provider: Arc<CryptoProvider>) -> Result<Self, BootError> {
        let changed = files.changed().map_err(|error| failed(&files.cert, error))?;
        let current = files.read(&provider)?;
        Ok(Self {
            files,
            provider,
            current: Mutex::new((Some(changed), current)),
        })
    }

    fn newest(&self) -> Arc<CertifiedKey> {
        let mut current = self.current.lock();
        let changed = self.files.changed().ok();
        if changed != current.0 {
            // Once for each change, whatever comes of it.
            current.0 = changed;
            match self.files.read(&self.provider) {
                Ok(read) => current.1 = read,
                Err(error) => tracing::warn!(%error, "a certificate has changed and cannot be used"),
            }
        }
        current.1.clone()
    }
}

impl ResolvesServerCert for Renewed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.newest())
    }
}

impl TlsRules {
    fn provider(&self) -> Result<Arc<CryptoProvider>, BootError> {
        let mut provider = ring::default_provider();
        if !self.cipher_suites.is_empty() {
            let chosen = |suite: &rustls::SupportedCipherSuite| {
                let name = format!("{:?}", suite.suite());
                // Suites of TLS 1.3 cannot be chosen in Go, and so are always there.
                name.starts_with("TLS13_") || self.cipher_suites.contains(&name)
            };
            provider.cipher_suites.retain(chosen);
            let understood = |given: &&String| {
                let mut known = provider.cipher_suites.iter();
                !known.any(|suite| format!("{:?}", suite.suite()) == **given)
            };
            let unknown: Vec<&String> = self.cipher_suites.iter().filter(understood).collect();
            if unknown.len() == self.cipher_suites.len() {
                return Err(BootError::Certificate {
                    what: format!(
                        "none of the cipher suites can be had: {}",
                        self.cipher_suites.join(", ")
                    ),
                });
            }
            for suite in unknown {
                tracing::warn!(suite, "this cipher suite is not to be had, and the others are used");
            }
        }
        Ok(Arc::new(provider))
    }

    fn versions(&self) -> &'static [&'static SupportedProtocolVersion] {
        const ONLY_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];
        const ONLY_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
        match (self.only_1_2, self.only_1_3) {
            (true, _) => ONLY_1_2,
            (false, true) => ONLY_1_3,
            (false, false) => rustls::ALL_VERSIONS,
        }
    }
}

impl ServerTls {
    /// Reads the files. `protocols` are the names of what is spoken over it (ALPN, RFC 7301).
    ///
    /// # Errors
    /// [`BootError::Certificate`] names the file, [`BootError::Tls`] what does not fit together.
    pub fn config(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, BootError> {
        let provider = self.rules.provider()?;
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.rules.versions())
            .map_err(BootError::Tls)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots(path)?, provider.clone());
                if let Some(list) = &self.revoked {
                    // As etcd, which compares what it is shown with the list, and nothing above it.
                    verifier = verifier
                        .with_crls([revoked(list)?])
                        .only_check_end_entity_revocation()
                        .allow_unknown_revocation_status();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(|error| failed(path, error))?)
            }
        };
        let resolver = Renewed::open(self.shown.clone(), provider)?;
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// As [`ServerTls::config`].
    pub fn config(&self) -> Result<Arc<ClientConfig>, BootError> {
        let provider = self.rules.provider()?;
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(self.rules.versions())
            .map_err(BootError::Tls)?;
        let verifier = |roots| {
            WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                .build()
                .map_err(|error| BootError::Certificate {
                    what: error.to_string(),
                })
        };
        let builder = match &self.trust {
            Trust::Roots(path) => builder.with_webpki_verifier(verifier(roots(path)?)?),
            Trust::System => builder.with_webpki_verifier(verifier(system_roots()?)?),
            Trust::Anyone => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider.clone()))),
        };
        match &self.shown {
            None => Ok(Arc::new(builder.with_no_client_auth())),
            Some(files) => {
                let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, error))?;
                let config = builder.with_client_auth_cert(certificates(&files.cert)?, key);
                config.map(Arc::new).map_err(BootError::Tls)
            }
        }
    }
}

/// Believes whoever answers: it keeps listeners out, and nobody else. What etcd does with certificates that it made itself.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that signs itself, for `hosts`, with its key; made once in `folder` and used again until `years` are over.
///
/// # Errors
/// [`BootError::Certificate`] names the file.
pub fn self_signed(folder: &Path, hosts: Vec<String>, years: u32) -> Result<CertificateFiles, BootError> {
    let files = CertificateFiles {
        cert: folder.join("cert.pem"),
        key: folder.join("key.pem"),
    };
    let age = files.changed().ok().and_then(|changed| changed.elapsed().ok());
    let day = std::time::Duration::from_secs(86_400);
    if age.is_some_and(|age| age < day * 365 * years.max(1) - day) {
        return Ok(files);
    }
    let unmade = |path: &Path, error: &dyn std::fmt::Display| failed(path, error);
    fs::create_dir_all(folder).map_err(|error| unmade(folder, &error))?;
    let mut parameters = rcgen::CertificateParams::new(hosts).map_err(|error| unmade(&files.cert, &error))?;
    // A day of grace for clocks that differ.
    let now = SystemTime::now();
    parameters.not_before = (now - day).into();
    parameters.not_after = (now + day * 365 * years.max(1)).into();
    let key = rcgen::KeyPair::generate().map_err(|error| unmade(&files.key, &error))?;
    let cert = parameters
        .self_signed(&key)
        .map_err(|error| unmade(&files.cert, &error))?;
    crate::listen::write_secret(&files.key, key.serialize_pem().as_bytes())
        .map_err(|error| unmade(&files.key, &error))?;
    let part = folder.join("cert.part");
    fs::write(&part, cert.pem())
        .and_then(|()| fs::rename(&part, &files.cert))
        .map_err(|error| unmade(&files.cert, &error))?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_made_once_and_serves_both_sides() {
        let dir = tempfile::tempdir().unwrap();
        let made = self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
        let before = fs::read(&made.cert).unwrap();
        assert_eq!(self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap(), made);
        assert_eq!(fs::read(&made.cert).unwrap(), before);
        let server = ServerTls {
            shown: made.clone(),
            client_ca: Some(made.cert.clone()),
            revoked: None,
            rules: TlsRules::default(),
        };
        assert_eq!(server.config(&[b"h2"]).unwrap().alpn_protocols, [b"h2".to_vec()]);
        let client = ClientTls {
            shown: Some(made.clone()),
            trust: Trust::Anyone,
            rules: TlsRules::default(),
        };
        client.config().unwrap();
    }

    #[test]
    fn what_is_wrong_with_a_file_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
        let server = |shown: CertificateFiles, client_ca: Option<PathBuf>| ServerTls {
            shown,
            client_ca,
            revoked: None,
            rules: TlsRules::default(),
        };
        let missing = dir.path().join("missing.pem");
        let no_cert = CertificateFiles {
            cert: missing.clone(),
            ..made.clone()
        };
        for tls in [server(no_cert, None), server(made.clone(), Some(missing))] {
            let error = tls.config(&[]).unwrap_err();
            assert!(error.to_string().contains("missing.pem"), "{error}");
        }
        let error = server(made.clone(), Some(made.key.clone())).config(&[]).unwrap_err();
        assert!(error.to_string().contains("key.pem"), "{error}");
    }

    #[test]
    fn cipher_suites_are_chosen_by_name() {
        let rules = |names: &[&str]| TlsRules {
            cipher_suites: names.iter().map(ToString::to_string).collect(),
            ..TlsRules::default()
        };
        let one = rules(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_128_CBC_SHA"]);
        let suites = one.provider().unwrap().cipher_suites.clone();
        let old = suites.iter().filter(|suite| suite.tls13().is_none()).count();
        assert_eq!(old, 1);
        let error = rules(&["TLS_RSA_WITH_AES_128_CBC_SHA"]).provider().unwrap_err();
        assert!(error.to_string().contains("TLS_RSA_WITH_AES_128_CBC_SHA"), "{error}");
    }

    #[test]
    fn a_certificate_that_was_renewed_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let made = self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
        let renewed = Renewed::open(made.clone(), Arc::new(ring::default_provider())).unwrap();
        let before = renewed.newest().cert[0].clone();
        fs::remove_file(&made.cert).unwrap();
        self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
        let after = renewed.newest().cert[0].clone();
        assert_ne!(after, before);
        // One that cannot be read leaves the one before it.
        fs::write(&made.cert, "nothing").unwrap();
        assert_eq!(renewed.newest().cert[0], after);
    }
}
