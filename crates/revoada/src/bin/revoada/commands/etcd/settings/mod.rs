//! What flags mean: a member's settings, checked as etcd checks them and in its words, since people search for those.

mod face;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use revoada::EtcdOptions;
use revoada::node::introduction::Group;
use revoada::node::tls::{ClientTls, ServerTls};
use revoada::node::{BootError, EtcdListen, EtcdServes};

use super::flags::{FlagError, Given};
use super::urls::Url;
use tls::{Files, rules};

/// A member's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Its folder.
    pub data_dir: PathBuf,
    /// Where other members are answered.
    pub listen_peers: Vec<Url>,
    /// Where other members reach it.
    pub advertise_peers: Vec<Url>,
    /// Where clients are answered, and what.
    pub listen_clients: Vec<(Url, EtcdServes)>,
    /// Where clients reach it.
    pub advertise_clients: Vec<Url>,
    /// All members, and the token; or why they make no group, which nobody asks of a member that was introduced before.
    pub group: Result<Group, FlagError>,
    /// Whether it joins a group that is there.
    pub existing: bool,
    /// Certificates for clients.
    client_tls: Files,
    /// Certificates for peers.
    peer_tls: Files,
    /// Heartbeat and election, where they were given.
    pub timing: Option<(Duration, Duration)>,
    /// After how many entries a checkpoint is due, where that was given.
    pub snapshot_count: Option<u64>,
    /// See `--strict-reconfig-check`.
    pub strict: bool,
    /// See `--max-learners`.
    pub learners_max: usize,
    /// See `--force-new-cluster`.
    pub alone: bool,
    /// What the face is told.
    pub options: EtcdOptions,
    /// Sentences for the log.
    pub warnings: Vec<String>,
}

fn invalid(what: impl Into<String>) -> FlagError {
    FlagError::Invalid(what.into())
}

fn urls(given: &Given, name: &'static str) -> Result<Vec<Url>, FlagError> {
    let read = |text: &String| {
        Url::parse(text).map_err(|what| FlagError::Usage(format!("invalid value for flag -{name}: {what}")))
    };
    given.list(name).iter().map(read).collect()
}

fn texts(urls: &[Url]) -> Vec<String> {
    let mut texts: Vec<String> = urls.iter().map(Url::to_string).collect();
    texts.sort();
    texts
}

impl Settings {
    /// Checks and derives.
    ///
    /// # Errors
    /// [`FlagError`], in etcd's words where it has some.
    pub fn read(given: &Given) -> Result<Self, FlagError> {
        let mut warnings = given.warnings.clone();
        let name = match given.text("name") {
            "" => return Err(invalid("--name is empty")),
            name => name.to_owned(),
        };
        if name == "default" {
            warnings.push("it isn't recommended to use default name, please set a value for --name".to_owned());
        }
        let data_dir = given.some("data-dir").map_or_else(
            || {
                warnings.push("'data-dir' was empty; using default".to_owned());
                PathBuf::from(format!("{name}.etcd"))
            },
            PathBuf::from,
        );
        let listen_peers = urls(given, "listen-peer-urls")?;
        let advertise_peers = urls(given, "initial-advertise-peer-urls")?;
        if listen_peers.is_empty() || advertise_peers.is_empty() {
            return Err(invalid(
                "--listen-peer-urls and --initial-advertise-peer-urls need a URL each",
            ));
        }
        if given.has("listen-client-urls") && !given.has("advertise-client-urls") {
            return Err(invalid(
                "--advertise-client-urls is required when --listen-client-urls is set explicitly",
            ));
        }
        let http = urls(given, "listen-client-http-urls")?;
        let grpc = if http.is_empty() {
            EtcdServes::All
        } else {
            EtcdServes::Grpc
        };
        let both = urls(given, "listen-client-urls")?.into_iter().map(|url| (url, grpc));
        let http = http.into_iter().map(|url| (url, EtcdServes::Http));
        let metrics = urls(given, "listen-metrics-urls")?
            .into_iter()
            .map(|url| (url, EtcdServes::Metrics));
        let listen_clients: Vec<_> = both.chain(http).chain(metrics).collect();
        for url in listen_peers.iter().chain(listen_clients.iter().map(|(url, _)| url)) {
            url.bind().map_err(invalid)?;
        }
        let token = given.text("initial-cluster-token").to_owned();
        let group = members(given, &name, &advertise_peers).map(|members| Group { token, members });
        let existing = match given.text("initial-cluster-state") {
            "new" => false,
            "existing" => true,
            other => {
                return Err(FlagError::Usage(format!(
                    "invalid value {other:?} for flag -initial-cluster-state: invalid value {other:?}"
                )));
            }
        };
        let rules = rules(given)?;
        let years = given.number("self-signed-cert-validity")?;
        let client_hosts = listen_clients.iter().map(|(url, _)| url.host.clone());
        let client_tls = Files::of_clients(given, rules.clone(), years, client_hosts.collect())?;
        let peer_hosts = listen_peers.iter().chain(&advertise_peers).map(|url| url.host.clone());
        let peer_tls = Files::of_peers(given, rules, years, peer_hosts.collect())?;
        let settings = Self {
            timing: timing(given)?,
            snapshot_count: given
                .has("snapshot-count")
                .then(|| given.number::<u64>("snapshot-count"))
                .transpose()?
                .filter(|count| *count > 0),
            strict: given.switch("strict-reconfig-check")?,
            learners_max: given.number("max-learners")?,
            alone: given.switch("force-new-cluster")?,
            advertise_clients: urls(given, "advertise-client-urls")?,
            options: face::options(given, &mut warnings)?,
            name,
            data_dir,
            listen_peers,
            advertise_peers,
            listen_clients,
            group,
            existing,
            client_tls,
            peer_tls,
            warnings,
        };
        Ok(settings.warned())
    }

    /// With a word about everything that is open to others.
    fn warned(mut self) -> Self {
        for url in self.listen_peers.iter().filter(|url| !url.secure) {
            self.warnings.push(format!(
                "members are introduced to each other over {url} in the clear: who reaches it when the group is founded, \
                 or while a member is awaited, can be one"
            ));
        }
        if self.peer_tls.is_made() && self.listen_peers.iter().any(|url| url.secure) {
            self.warnings.push(
                "certificates of peers are made by themselves: members are introduced to each other without knowing to \
                 whom"
                    .to_owned(),
            );
        }
        self
    }

    /// The peer URLs of this member, sorted.
    pub fn peer_urls(&self) -> Vec<String> {
        texts(&self.advertise_peers)
    }

    /// Where clients reach it.
    pub fn client_urls(&self) -> Vec<String> {
        self.advertise_clients.iter().map(Url::to_string).collect()
    }

    /// Where it listens for members, each with whether that is by TLS.
    ///
    /// # Errors
    /// A sentence.
    pub fn peer_listeners(&self) -> Result<Vec<(SocketAddr, bool)>, String> {
        let listener = |url: &Url| Ok((url.bind()?, url.secure));
        self.listen_peers.iter().map(listener).collect()
    }

    /// Where it listens for clients; makes certificates where it has to.
    ///
    /// # Errors
    /// [`BootError`] says which certificate is missing.
    pub fn client_listeners(&self) -> Result<Vec<EtcdListen>, BootError> {
        let mut listeners = Vec::new();
        for (url, serves) in &self.listen_clients {
            let address = url.bind().map_err(|what| BootError::Unsupported { what })?;
            let tls = match url.secure {
                true => Some(self.client_tls.server(&self.data_dir, url)?),
                false => None,
            };
            let serves = *serves;
            listeners.push(EtcdListen { address, tls, serves });
        }
        Ok(listeners)
    }

    /// The certificates for members: what is shown to those who call, and to those who are called.
    ///
    /// # Errors
    /// [`BootError`] says which certificate is missing.
    pub fn peer_tls(&self) -> Result<(Option<ServerTls>, Option<ClientTls>), BootError> {
        let secure = self.listen_peers.iter().find(|url| url.secure);
        let server = secure
            .map(|url| self.peer_tls.server(&self.data_dir, url))
            .transpose()?;
        let mut all = self.group.iter().flat_map(|group| group.members.values()).flatten();
        let calls = secure.is_some() || all.any(|url| url.starts_with("https://"));
        let client = calls.then(|| self.peer_tls.client(&self.data_dir)).transpose()?;
        Ok((server, client))
    }
}

/// `NAME=URL,…`, where a name may come more than once.
fn members(given: &Given, name: &str, advertise: &[Url]) -> Result<BTreeMap<String, Vec<String>>, FlagError> {
    let mine = texts(advertise);
    let text = match given.some("initial-cluster") {
        Some(text) => text.to_owned(),
        None => return Ok(BTreeMap::from([(name.to_owned(), mine)])),
    };
    let mut members: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| invalid(format!("error setting up initial cluster: {part:?} is not NAME=URL")))?;
        let url = Url::parse(url).map_err(|what| invalid(format!("error setting up initial cluster: {what}")))?;
        members.entry(name.to_owned()).or_default().push(url.to_string());
    }
    for urls in members.values_mut() {
        urls.sort();
        urls.dedup();
    }
    let all: Vec<&String> = members.values().flatten().collect();
    if let Some(twice) = all.iter().enumerate().find(|(at, url)| all[..*at].contains(url)) {
        return Err(invalid(format!(
            "initial cluster has a duplicate peer URL: {}",
            twice.1
        )));
    }
    match members.get(name) {
        None => Err(invalid(format!(
            "couldn't find local name {name:?} in the initial cluster configuration"
        ))),
        Some(listed) if *listed == mine => Ok(members),
        Some(listed) => Err(invalid(format!(
            "--initial-cluster has {name}={} but missing from --initial-advertise-peer-urls={}",
            listed.join(","),
            mine.join(",")
        ))),
    }
}

/// Heartbeat and election where either was given; both then follow etcd's rule.
fn timing(given: &Given) -> Result<Option<(Duration, Duration)>, FlagError> {
    if !given.has("heartbeat-interval") && !given.has("election-timeout") {
        return Ok(None);
    }
    let (heartbeat, election): (u64, u64) = (given.number("heartbeat-interval")?, given.number("election-timeout")?);
    if heartbeat == 0 || election == 0 {
        return Err(invalid("--heartbeat-interval and --election-timeout must be >0"));
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(invalid(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as --heartbeat-interval[{heartbeat}ms]"
        )));
    }
    if election > 50_000 {
        return Err(invalid(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than 50000ms"
        )));
    }
    Ok(Some((
        Duration::from_millis(heartbeat),
        Duration::from_millis(election),
    )))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use revoada::AutoCompaction;
    use revoada::node::tls::Trust;

    use super::face::go_duration;
    use super::*;

    fn settings(arguments: &[&str]) -> Result<Settings, FlagError> {
        let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        Settings::read(&Given::read(&arguments, &BTreeMap::new())?)
    }

    #[test]
    fn what_is_not_set_is_etcds_default() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.data_dir, Path::new("default.etcd"));
        assert_eq!(
            settings.group.as_ref().unwrap().members["default"],
            ["http://localhost:2380"]
        );
        assert_eq!(settings.client_urls(), ["http://localhost:2379"]);
        assert_eq!((settings.timing, settings.snapshot_count), (None, None));
        let named = self::settings(&["--name=a"]).unwrap();
        assert_eq!(named.group.unwrap().members.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_does_not_fit_is_said_in_etcds_words() {
        let cluster = "--initial-cluster=a=http://localhost:2380,b=http://localhost:2381";
        settings(&["--name=a", cluster]).unwrap().group.unwrap();
        for (arguments, says) in [
            (
                vec!["--listen-client-urls=http://localhost:1"],
                "--advertise-client-urls is required",
            ),
            (vec!["--name=c", cluster], "couldn't find local name \"c\""),
            (
                vec!["--name=b", cluster],
                "but missing from --initial-advertise-peer-urls",
            ),
            (
                vec![
                    "--name=a",
                    "--initial-cluster=a=http://h:1,b=http://h:1",
                    "--initial-advertise-peer-urls=http://h:1",
                ],
                "duplicate",
            ),
            (vec!["--heartbeat-interval=300"], "at least as 5 times"),
            (
                vec!["--listen-peer-urls=http://example.org:2380"],
                "expected IP in URL for binding",
            ),
            (vec!["--cert-file=c"], "must both be present"),
            (vec!["--initial-cluster-state=old"], "invalid value"),
            (
                vec!["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
                "greater than max version",
            ),
        ] {
            let error = settings(&arguments).and_then(|settings| settings.group).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(says), "{arguments:?}: {error}");
        }
    }

    #[test]
    fn roots_make_clients_show_certificates_and_made_ones_believe_anyone() {
        let tls = settings(&[
            "--listen-client-urls=https://localhost:1",
            "--advertise-client-urls=https://localhost:1",
            "--cert-file=c",
            "--key-file=k",
            "--trusted-ca-file=r",
        ]);
        let listen = tls.unwrap().client_listeners().unwrap();
        assert_eq!(
            listen[0].tls.as_ref().unwrap().client_ca.as_deref(),
            Some(Path::new("r"))
        );
        let dir = tempfile::tempdir().unwrap();
        let data_dir = format!("--data-dir={}", dir.path().display());
        let made = settings(&[
            "--peer-auto-tls",
            "--listen-peer-urls=https://localhost:1",
            "--initial-advertise-peer-urls=https://localhost:1",
            &data_dir,
        ]);
        let (server, client) = made.unwrap().peer_tls().unwrap();
        assert_eq!(server.unwrap().client_ca, None);
        assert_eq!(client.unwrap().trust, Trust::Anyone);
    }

    #[test]
    fn the_face_is_told_what_the_flags_say() {
        let options = |arguments: &[&str]| settings(arguments).map(|settings| settings.options);
        assert_eq!(
            options(&["--quota-backend-bytes=0"]).unwrap().quota_bytes,
            Some(2 << 30)
        );
        assert_eq!(options(&["--quota-backend-bytes=-1"]).unwrap().quota_bytes, None);
        let hours = options(&["--auto-compaction-retention=2"]).unwrap().auto_compaction;
        assert_eq!(hours, Some(AutoCompaction::Periodic(Duration::from_secs(7_200))));
        let age = options(&["--auto-compaction-retention=5m"]).unwrap().auto_compaction;
        assert_eq!(age, Some(AutoCompaction::Periodic(Duration::from_secs(300))));
        let revisions = options(&["--auto-compaction-mode=revision", "--auto-compaction-retention=7"]).unwrap();
        assert_eq!(revisions.auto_compaction, Some(AutoCompaction::Revisions(7)));
        let jwt = options(&["--auth-token=jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=5s"]).unwrap();
        assert_eq!(jwt.token_ttl, Duration::from_secs(5));
        for wrong in [
            "--auth-token=x",
            "--bcrypt-cost=3",
            "--auto-compaction-mode=x",
            "--auth-token=jwt,ttl=x",
        ] {
            options(&[wrong]).unwrap_err();
        }
    }

    #[test]
    fn durations_are_gos() {
        let read = |text: &str| go_duration(text).map(|duration| duration.as_millis()).ok_or(());
        assert_eq!(read("10m0s"), Ok(600_000));
        assert_eq!(read("1.5h"), Ok(5_400_000));
        assert_eq!(read("5000000000ns"), Ok(5_000));
        assert_eq!(read("0"), Ok(0));
        for wrong in ["5", "s", "5x", "-1s"] {
            read(wrong).unwrap_err();
        }
    }
}
