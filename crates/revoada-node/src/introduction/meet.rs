//! The side that asks: founders that look for each other, and a member that comes later.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use revoada_attest::{NodeId, NodeKey};
use revoada_core::limits;
use revoada_core::roster::RosterMember;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::port::PeerTls;
use super::words::{
    FOUND, FounderWord, JOIN, JoinWord, MemberStanding, PROTOCOL, Refusal, RefusalKind, STANDING, StandingWord, Welcome,
};
use super::{Group, Introductions, Pins, PinsError, genesis};

/// Why founders did not become a group.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// The place of this member is taken: it was here before, with another key.
    #[error("member {id:x} has already been bootstrapped ({why})")]
    Bootstrapped {
        /// Its number.
        id: u64,
        /// In another member's words.
        why: String,
    },
    /// The genesis.
    #[error("these members make no cluster: {0}")]
    Genesis(String),
    /// What was learnt cannot be written down.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// Why a member did not come in.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Nobody has added it, or with other URLs.
    #[error("error validating peerURLs: {why}")]
    NotAdded {
        /// In words.
        why: String,
    },
    /// Its place is taken by another key.
    #[error("member has already been bootstrapped ({why})")]
    Bootstrapped {
        /// In words.
        why: String,
    },
    /// Nobody to ask.
    #[error("cannot fetch cluster info from peer urls: no other member is in --initial-cluster")]
    Alone,
    /// What was learnt cannot be written down.
    #[error(transparent)]
    Pins(#[from] PinsError),
}

/// Why a request to another member came to nothing.
#[derive(Debug)]
enum AskError {
    /// It is not there, or not yet.
    Unreachable(String),
    /// It has answered, and said no.
    Refused(Refusal),
}

/// Meets all other founders of `group`, however long that takes; writes down who they are, and the genesis.
///
/// Cancel-safe: nothing is written before all is known.
///
/// # Errors
/// [`FoundError`], where waiting does not help.
pub async fn founders(
    folder: &Path,
    group: &Group,
    my_urls: &[String],
    key: &NodeKey,
    introductions: &Introductions,
) -> Result<Pins, FoundError> {
    let me = FounderWord {
        protocol: PROTOCOL,
        id: group.number(my_urls),
        node: key.id(),
        group: group.digest(),
    };
    introductions.founder(me.clone());
    let others: Vec<&Vec<String>> = group.members.values().filter(|urls| **urls != my_urls).collect();
    let mut met: BTreeMap<u64, NodeId> = BTreeMap::from([(me.id, me.node)]);
    let mut said: BTreeMap<String, String> = BTreeMap::new();
    while met.len() <= others.len() {
        let missing = others.iter().filter(|urls| !met.contains_key(&group.number(urls)));
        let asked = missing.map(|urls| async {
            let answer = ask_any::<_, FounderWord>(&introductions.tls, urls, FOUND, &me).await;
            (*urls, answer)
        });
        for (urls, answer) in join_all(asked).await {
            let id = group.number(urls);
            let what = match answer {
                Ok(word) if word.group == me.group && word.id == id => {
                    met.insert(id, word.node);
                    continue;
                }
                Ok(_) => "it was started with another token, or with other members".to_owned(),
                Err(AskError::Refused(refusal)) if refusal.kind == RefusalKind::Bootstrapped => {
                    let why = refusal.why;
                    return Err(FoundError::Bootstrapped { id: me.id, why });
                }
                Err(AskError::Refused(refusal)) => refusal.why,
                Err(AskError::Unreachable(why)) => why,
            };
            let urls = urls.join(",");
            if said.get(&urls) != Some(&what) {
                tracing::info!(peer = urls, why = what, "waiting for a founder");
                said.insert(urls, what);
            }
        }
        if met.len() <= others.len() {
            tokio::time::sleep(Duration::from_millis(limits::INTRODUCTION_PAUSE_MS)).await;
        }
    }
    let founders: Vec<RosterMember> = group
        .members
        .values()
        .map(|urls| RosterMember {
            id: group.number(urls),
            name: String::new(),
            peer_urls: urls.clone(),
            client_urls: Vec::new(),
            learner: false,
            node: met.get(&group.number(urls)).copied(),
        })
        .collect();
    let genesis = genesis(group, &founders).map_err(FoundError::Genesis)?;
    let pins = Pins::new(me.id, group.token.clone(), founders);
    pins.save(folder, Some(&genesis.render()))?;
    introductions.pinned(&pins);
    Ok(pins)
}

/// Asks the members in `group` to be taken in as the member that was added with `my_urls`.
///
/// Cancel-safe: nothing is written before it is in.
///
/// # Errors
/// [`JoinError`], where waiting does not help.
pub async fn join(
    folder: &Path,
    group: &Group,
    my_urls: &[String],
    key: &NodeKey,
    introductions: &Introductions,
) -> Result<Pins, JoinError> {
    let others: Vec<String> = group
        .members
        .values()
        .filter(|urls| **urls != my_urls)
        .flatten()
        .cloned()
        .collect();
    if others.is_empty() {
        return Err(JoinError::Alone);
    }
    let word = JoinWord {
        protocol: PROTOCOL,
        peer_urls: my_urls.to_vec(),
        node: key.id(),
    };
    let mut said = String::new();
    let welcome = loop {
        match ask_any::<_, Welcome>(&introductions.tls, &others, JOIN, &word).await {
            Ok(welcome) => break welcome,
            Err(AskError::Refused(refusal)) if refusal.kind == RefusalKind::NotAdded => {
                return Err(JoinError::NotAdded { why: refusal.why });
            }
            Err(AskError::Refused(refusal)) if refusal.kind == RefusalKind::Bootstrapped => {
                return Err(JoinError::Bootstrapped { why: refusal.why });
            }
            Err(AskError::Refused(Refusal { why, .. }) | AskError::Unreachable(why)) => {
                if said != why {
                    tracing::warn!(why, "not taken in yet");
                    said = why;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(limits::INTRODUCTION_PAUSE_MS)).await;
    };
    same_members(group, &welcome.members).map_err(|why| JoinError::NotAdded { why })?;
    let pins = Pins::new(welcome.id, welcome.token, welcome.members);
    pins.save(folder, Some(&welcome.genesis))?;
    introductions.pinned(&pins);
    Ok(pins)
}

/// Whether `--initial-cluster` has exactly the members that there are.
fn same_members(group: &Group, members: &[RosterMember]) -> Result<(), String> {
    if group.members.len() != members.len() {
        let (given, there) = (group.members.len(), members.len());
        return Err(format!(
            "member count is unequal: --initial-cluster has {given}, the cluster has {there}"
        ));
    }
    let unmatched = |urls: &&Vec<String>| !members.iter().any(|member| member.peer_urls == **urls);
    match group.members.values().find(unmatched) {
        None => Ok(()),
        Some(urls) => Err(format!("no member of the cluster has the peer URLs {}", urls.join(","))),
    }
}

/// What a member that was here before still is, in the words of the first other member that knows.
pub async fn standing(pins: &Pins, node: NodeId, tls: &PeerTls) -> MemberStanding {
    let word = StandingWord { id: pins.id, node };
    let others = pins.members.iter().filter(|member| member.id != pins.id);
    let asked = others.map(|member| ask_any::<_, MemberStanding>(tls, &member.peer_urls, STANDING, &word));
    let answers = join_all(asked).await;
    let known = answers
        .into_iter()
        .flatten()
        .find(|standing| *standing != MemberStanding::Unknown);
    known.unwrap_or(MemberStanding::Unknown)
}

/// Asks at one URL after the other, until one answers; a refusal counts more than silence.
async fn ask_any<Q: Serialize + Sync, A: DeserializeOwned>(
    tls: &PeerTls,
    urls: &[String],
    path: &str,
    question: &Q,
) -> Result<A, AskError> {
    let limit = Duration::from_millis(limits::INTRODUCTION_MS_MAX);
    let mut failed = AskError::Unreachable("it has no URL".to_owned());
    for url in urls {
        let answer = tokio::time::timeout(limit, ask(tls, url, path, question)).await;
        match answer.unwrap_or_else(|_| Err(AskError::Unreachable(format!("{url} does not answer in time")))) {
            Err(error) => match (&failed, &error) {
                (AskError::Refused(_), AskError::Unreachable(_)) => {}
                _ => failed = error,
            },
            answered => return answered,
        }
    }
    Err(failed)
}

async fn ask<Q: Serialize + Sync, A: DeserializeOwned>(
    tls: &PeerTls,
    url: &str,
    path: &str,
    question: &Q,
) -> Result<A, AskError> {
    let failed = |what: &dyn std::fmt::Display| AskError::Unreachable(format!("{url}: {what}"));
    let (secure, authority) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return Err(failed(&"it is neither http nor https")),
    };
    let authority = authority.trim_end_matches('/');
    let tcp = TcpStream::connect(authority).await.map_err(|error| failed(&error))?;
    let body = serde_json::to_vec(question).map_err(|error| failed(&error))?;
    let request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, authority)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body.into()))
        .map_err(|error| failed(&error))?;
    if !secure {
        return exchange(TokioIo::new(tcp), request).await.map_err(|what| what.at(url));
    }
    let config = tls
        .client
        .clone()
        .ok_or_else(|| failed(&"this member has no certificates for peers"))?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host).map_err(|error| failed(&error))?;
    let stream = TlsConnector::from(config).connect(name, tcp).await;
    let stream = stream.map_err(|error| failed(&error))?;
    exchange(TokioIo::new(stream), request)
        .await
        .map_err(|what| what.at(url))
}

impl AskError {
    fn at(self, url: &str) -> Self {
        match self {
            Self::Unreachable(what) => Self::Unreachable(format!("{url}: {what}")),
            refused @ Self::Refused(_) => refused,
        }
    }
}

async fn exchange<I, A>(io: TokioIo<I>, request: Request<Full<bytes::Bytes>>) -> Result<A, AskError>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: DeserializeOwned,
{
    let failed = |error: hyper::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        AskError::Unreachable(format!("{error}{cause}"))
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(failed)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::INTRODUCTION_BYTES_MAX);
        let body = body.collect().await;
        let body = body
            .map_err(|error| AskError::Unreachable(error.to_string()))?
            .to_bytes();
        Ok((status, body))
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection ends when the sender is dropped, or with the answer.
    let (status, body): (StatusCode, bytes::Bytes) = tokio::select! {
        biased;
        answer = exchange.as_mut() => answer?,
        ended = connection => {
            ended.map_err(failed)?;
            exchange.await?
        }
    };
    let garbage = |error: serde_json::Error| {
        AskError::Unreachable(format!("it does not speak as a member of revoada ({status}: {error})"))
    };
    if status == StatusCode::OK {
        return serde_json::from_slice(&body).map_err(garbage);
    }
    Err(serde_json::from_slice(&body).map_or_else(garbage, AskError::Refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str) -> RosterMember {
        RosterMember {
            id,
            name: String::new(),
            peer_urls: vec![url.to_owned()],
            client_urls: Vec::new(),
            learner: false,
            node: None,
        }
    }

    #[test]
    fn a_member_that_comes_names_exactly_those_that_are_there() {
        let urls = ["http://10.0.0.1:2380", "http://10.0.0.2:2380"];
        let members = urls.map(|url| (url.to_owned(), vec![url.to_owned()]));
        let group = Group {
            token: "t".to_owned(),
            members: BTreeMap::from(members),
        };
        let there = |urls: &[&str]| -> Vec<RosterMember> { (1..).zip(urls).map(|(id, url)| member(id, url)).collect() };
        assert_eq!(same_members(&group, &there(&urls)), Ok(()));
        let fewer = same_members(&group, &there(&urls[..1])).unwrap_err();
        assert!(fewer.contains("member count is unequal"), "{fewer}");
        let other = same_members(&group, &there(&[urls[0], "http://10.0.0.3:2380"])).unwrap_err();
        assert!(other.contains("10.0.0.2"), "{other}");
    }
}
