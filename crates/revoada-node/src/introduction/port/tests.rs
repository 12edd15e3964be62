use std::collections::BTreeMap;

use revoada_attest::NodeKey;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::super::{Group, meet};
use super::*;
use crate::tls::{ClientTls, ServerTls, TlsRules, Trust, self_signed};

fn hello(protocols: &[&[u8]]) -> Vec<u8> {
    let tls = ClientTls {
        shown: None,
        trust: Trust::Anyone,
        rules: TlsRules::default(),
    };
    let mut config = (*tls.config().unwrap()).clone();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[test]
fn callers_are_told_apart_by_their_first_bytes() {
    let node = hello(&[Protocol::Raft.name()]);
    assert_eq!(judge(&node), Some(Caller::Node));
    assert_eq!(judge(&hello(&[b"http/1.1"])), Some(Caller::OverTls));
    assert_eq!(judge(&hello(&[])), Some(Caller::OverTls));
    assert_eq!(judge(b"POST /"), Some(Caller::InTheClear));
    assert_eq!(judge(b""), None);
    for cut in 1..node.len() {
        assert_eq!(judge(&node[..cut]), None, "{cut} of {} bytes", node.len());
    }
}

struct Founder {
    folder: tempfile::TempDir,
    key: NodeKey,
    url: Vec<String>,
    introductions: Arc<Introductions>,
    _port: PeerPort,
}

impl Founder {
    async fn new(n: u8, tls: PeerTls) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let secure = tls.server.is_some();
        let introductions = Introductions::new(tls);
        let port = PeerPort::open(&[(address, secure)], &introductions).await.unwrap();
        let scheme = if secure { "https" } else { "http" };
        Self {
            folder: tempfile::tempdir().unwrap(),
            key: NodeKey::from_seed([n; 32]),
            url: vec![format!("{scheme}://localhost:{}", address.port())],
            introductions,
            _port: port,
        }
    }

    async fn found(&self, group: &Group) -> Result<Pins, meet::FoundError> {
        let limit = Duration::from_secs(20);
        let founded = meet::founders(self.folder.path(), group, &self.url, &self.key, &self.introductions);
        tokio::time::timeout(limit, founded).await.unwrap()
    }
}

async fn three(tls: impl Fn() -> PeerTls) -> (Vec<Founder>, Group) {
    let mut founders = Vec::new();
    for n in 1..=3 {
        founders.push(Founder::new(n, tls()).await);
    }
    let members = ["a", "b", "c"].into_iter().zip(&founders);
    let members = members.map(|(name, founder)| (name.to_owned(), founder.url.clone()));
    let group = Group {
        token: "t".to_owned(),
        members: BTreeMap::from_iter(members),
    };
    (founders, group)
}

fn genesis_of(founder: &Founder) -> Vec<u8> {
    std::fs::read(Pins::genesis_path(founder.folder.path())).unwrap()
}

#[tokio::test]
async fn founders_that_know_urls_alone_make_one_genesis() {
    let dir = tempfile::tempdir().unwrap();
    let shown = self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
    let rules = TlsRules::default();
    let mutual = || {
        let server = ServerTls {
            shown: shown.clone(),
            client_ca: Some(shown.cert.clone()),
            revoked: None,
            rules: rules.clone(),
        };
        let client = ClientTls {
            shown: Some(shown.clone()),
            trust: Trust::Roots(shown.cert.clone()),
            rules: rules.clone(),
        };
        PeerTls {
            server: Some(server.config(&[]).unwrap()),
            client: Some(client.config().unwrap()),
        }
    };
    for tls in [&PeerTls::default as &dyn Fn() -> PeerTls, &mutual] {
        let (founders, group) = three(tls).await;
        let all = founders.iter().map(|founder| founder.found(&group));
        let pins: Vec<Pins> = futures::future::join_all(all)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert_eq!(pins[0].members, pins[1].members);
        assert_eq!(pins[0].acquaintances().count(), 3);
        assert_eq!(genesis_of(&founders[0]), genesis_of(&founders[1]));
        assert_eq!(genesis_of(&founders[0]), genesis_of(&founders[2]));
    }
}

#[tokio::test]
async fn who_shows_no_certificate_of_a_peer_learns_nothing_and_tells_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let shown = self_signed(dir.path(), vec!["localhost".to_owned()], 1).unwrap();
    let server = ServerTls {
        shown: shown.clone(),
        client_ca: Some(shown.cert.clone()),
        revoked: None,
        rules: TlsRules::default(),
    };
    let stranger = ClientTls {
        shown: None,
        trust: Trust::Anyone,
        rules: TlsRules::default(),
    };
    let tls = PeerTls {
        server: Some(server.config(&[]).unwrap()),
        client: Some(stranger.config().unwrap()),
    };
    let (founders, group) = three(|| tls.clone()).await;
    let all = founders.iter().map(|founder| async {
        let folder = founder.folder.path();
        let found = meet::founders(folder, &group, &founder.url, &founder.key, &founder.introductions);
        tokio::time::timeout(Duration::from_millis(500), found).await.is_err()
    });
    assert_eq!(futures::future::join_all(all).await, [true; 3]);
}

#[tokio::test]
async fn a_founder_that_lost_its_key_is_told_so() {
    let (mut founders, group) = three(PeerTls::default).await;
    let all = founders.iter().map(|founder| founder.found(&group));
    futures::future::join_all(all)
        .await
        .into_iter()
        .for_each(|pins| drop(pins.unwrap()));
    founders[2].key = NodeKey::from_seed([9; 32]);
    let error = founders[2].found(&group).await.unwrap_err();
    assert!(matches!(error, meet::FoundError::Bootstrapped { .. }), "{error}");
    // One that was only late is let in.
    founders[2].key = NodeKey::from_seed([3; 32]);
    founders[2].found(&group).await.unwrap();
}

#[tokio::test]
async fn a_founder_of_another_group_is_waited_for() {
    let (founders, group) = three(PeerTls::default).await;
    let other = Group {
        token: "u".to_owned(),
        ..group.clone()
    };
    let folder = founders[0].folder.path();
    let waits = meet::founders(
        folder,
        &group,
        &founders[0].url,
        &founders[0].key,
        &founders[0].introductions,
    );
    let others = futures::future::join(founders[1].found(&other), founders[2].found(&other));
    tokio::select! {
        _ = waits => panic!("it made a genesis of members that were started for another group"),
        () = async { tokio::time::timeout(Duration::from_millis(500), others).await.unwrap_err(); } => {}
    }
}

#[tokio::test]
async fn callers_who_say_nothing_keep_nobody_out() {
    let founder = Founder::new(1, PeerTls::default()).await;
    let address = founder.url[0].trim_start_matches("http://").to_owned();
    let mut silent = Vec::new();
    for _ in 0..limits::HANDSHAKES_MAX {
        silent.push(TcpStream::connect(&address).await.unwrap());
    }
    let other = Founder::new(2, PeerTls::default()).await;
    let group = Group {
        members: BTreeMap::from([
            ("a".to_owned(), founder.url.clone()),
            ("b".to_owned(), other.url.clone()),
        ]),
        token: "t".to_owned(),
    };
    let (one, two) = futures::future::join(founder.found(&group), other.found(&group)).await;
    assert_eq!(one.unwrap().members, two.unwrap().members);
    assert_eq!(silent.len(), limits::HANDSHAKES_MAX);
}
