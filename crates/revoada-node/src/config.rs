//! What a node is told at its start: who it is, where its folder is, whom to ask first. Never who votes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use revoada_core::limits;
use serde::{Deserialize, Serialize};

/// A node's configuration file, in YAML or JSON. Unknown fields are errors; relative paths are relative to the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Its name, as the genesis has it.
    pub name: String,
    /// Its data folder.
    pub folder: PathBuf,
    /// The genesis of its cluster.
    pub genesis: PathBuf,
    /// Where it listens for other nodes.
    pub listen: SocketAddr,
    /// Where other nodes reach it; `listen` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<SocketAddr>,
    /// Where other nodes may be found at first.
    #[serde(default)]
    pub seeds: BTreeSet<SocketAddr>,
    /// Its zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Its rack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
    /// Its control socket; `control.sock` in its folder where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<PathBuf>,
    /// The HTTP API on TCP; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
    /// The etcd face; where absent it is not served, whatever the declaration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd: Option<EtcdConfig>,
    /// Backups that it makes beside its work; none where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupConfig>,
    /// Whether an operator started this process, so that the loss before it does not count as flapping.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// The HTTP API on TCP: always TLS, always with the cluster's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// The etcd face: etcd v3 over gRPC, for a cluster that declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where clients reach it, as a URL; made of `listen` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// Its certificates. Without them it is served in the clear, which only the loopback address may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<EtcdTls>,
}

/// Backups: snapshots in a folder, each verified after it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupConfig {
    /// How often, as `6h`.
    #[serde(with = "every")]
    pub every: Duration,
    /// How many of its own are kept; older ones are deleted.
    #[serde(default = "kept")]
    pub keep: usize,
    /// The folder, which has to be there; several nodes may share one.
    pub to: PathBuf,
}

const fn kept() -> usize {
    limits::BACKUPS_KEPT
}

/// A time between two backups, as people write it.
mod every {
    use std::time::Duration;

    use revoada_core::limits;
    use serde::de::{Deserialize as _, Deserializer, Error};
    use serde::ser::Serializer;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(super) fn serialize<S: Serializer>(every: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*every))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        let every = humantime::parse_duration(&text)
            .map_err(|error| D::Error::custom(format_args!("every: {text:?} is no duration such as 6h: {error}")))?;
        if every < limits::BACKUP_EVERY_MIN {
            return Err(D::Error::custom(
                "every: a second is the shortest time between two backups",
            ));
        }
        Ok(every)
    }
}

/// Certificates of the etcd face: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdTls {
    /// The server's certificate, and those between it and its root.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The roots that clients have to be certified by; where absent clients need no certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

impl EtcdConfig {
    /// Where clients reach it.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.advertise
            .clone()
            .unwrap_or_else(|| format!("{scheme}://{}", self.listen))
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is not what a configuration looks like.
    #[error("the configuration {} is not valid: {what}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What and where.
        what: String,
    },
}

impl NodeConfig {
    /// Reads and resolves a file.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        let invalid = |what: String| ConfigError::Invalid {
            path: path.to_owned(),
            what,
        };
        let text = std::str::from_utf8(&bytes).map_err(|error| invalid(format!("it is not UTF-8: {error}")))?;
        let config: Self = serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?;
        Ok(config.relative_to(path.parent().unwrap_or(Path::new(""))))
    }

    /// With every relative path taken from `base`.
    #[must_use]
    pub fn relative_to(mut self, base: &Path) -> Self {
        self.folder = base.join(&self.folder);
        self.genesis = base.join(&self.genesis);
        self.control = self.control.map(|path| base.join(path));
        if let Some(backup) = &mut self.backup {
            backup.to = base.join(&backup.to);
        }
        if let Some(tls) = self.etcd.as_mut().and_then(|etcd| etcd.tls.as_mut()) {
            tls.cert = base.join(&tls.cert);
            tls.key = base.join(&tls.key);
            tls.client_ca = tls.client_ca.take().map(|path| base.join(path));
        }
        self
    }

    /// Where other nodes reach it.
    pub fn address(&self) -> SocketAddr {
        self.advertise.unwrap_or(self.listen)
    }

    /// Its control socket.
    pub fn control_socket(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| self.folder.join("control.sock"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<NodeConfig, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        NodeConfig::load(&path)
    }

    const LEAST: &str = "name: a\nfolder: data\ngenesis: genesis.json\nlisten: 127.0.0.1:7101\n";

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let config = load(LEAST).unwrap();
        assert!(config.folder.is_absolute() && config.folder.ends_with("data"));
        assert_eq!(config.control_socket(), config.folder.join("control.sock"));
        assert_eq!(config.address(), config.listen);
    }

    #[test]
    fn backups_are_every_so_often_and_twenty_are_kept() {
        let config = load(&format!("{LEAST}backup: {{ every: 6h, to: backups }}\n")).unwrap();
        let backup = config.backup.clone().unwrap();
        assert_eq!((backup.every, backup.keep), (Duration::from_secs(21_600), 20));
        assert!(backup.to.is_absolute() && backup.to.ends_with("backups"));
        let written = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<NodeConfig>(&written).unwrap(), config);
        for every in ["0s", "10ms", "often", "-1h"] {
            let error = load(&format!("{LEAST}backup: {{ every: {every}, to: b }}\n")).unwrap_err();
            assert!(error.to_string().contains("every"), "{error}");
        }
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = load(&format!("{LEAST}quorum: 3\n")).unwrap_err();
        assert!(error.to_string().contains("quorum"), "{error}");
    }
    #[test]
    fn what_cannot_be_read_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.yaml");
        let missing = NodeConfig::load(&path).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { .. }) && missing.to_string().contains("node.yaml"));
        for bytes in [
            &b"\xff\xfe"[..],
            b"",
            b"name: a\n",
            b"listen: [",
            b"listen: here\nname: a\nfolder: b\ngenesis: c\n",
        ] {
            std::fs::write(&path, bytes).unwrap();
            let invalid = NodeConfig::load(&path).unwrap_err();
            assert!(matches!(invalid, ConfigError::Invalid { .. }), "{invalid:?}");
            assert!(invalid.to_string().contains("node.yaml"), "{invalid}");
        }
    }

    #[test]
    fn an_advertised_address_and_a_socket_of_ones_own_are_used() {
        let config = load(&format!(
            "{LEAST}advertise: 10.0.0.1:7\ncontrol: run/c.sock\nhttp:\n  listen: 127.0.0.1:8\n"
        ))
        .unwrap();
        assert_eq!(config.address(), "10.0.0.1:7".parse().unwrap());
        assert!(config.control_socket().is_absolute() && config.control_socket().ends_with("run/c.sock"));
        assert_eq!(config.http.unwrap().listen, "127.0.0.1:8".parse().unwrap());
    }
}
