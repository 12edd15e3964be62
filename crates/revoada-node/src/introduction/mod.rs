//! How members that know each other by URL alone become nodes that know each other by key.
//!
//! Who starts a group the way of etcd gives each member a name, its own URLs and everybody's; keys of nodes are nobody's
//! concern. So on the port of its peer URLs a member answers, beside other nodes, an introduction ([`port`]): HTTP in
//! three requests, over TLS by the certificates for peers where there are such, in the clear where the URL says so. What
//! it learns it writes down once, and never again asks for ([`Pins`]).
//!
//! *Founders* tell each other their keys, and the digest of the token and of all members that each was started with
//! ([`meet::founders`]). A founder is done when it has heard from all of them; from the same words all make the same
//! genesis. One that lost its disk in between, and so its key, would make another one: then neither genesis has a
//! majority that the other has not, because a founder is of one genesis only.
//!
//! *A member that was added* tells its key to one that is there already, which has it recorded for the member with those
//! URLs, once, and answers with the genesis and everybody's keys ([`meet::join`]).
//!
//! Rejected: to derive keys of nodes from certificates of peers. Plain HTTP has none, and one certificate often serves
//! all members.

pub mod meet;
pub mod port;
mod words;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use revoada_attest::{Digest, NodeId};
use revoada_core::declaration::{BackendSpec, ClusterDeclaration, DraftDeclaration, FabricFace, FabricStrategy};
use revoada_core::genesis::{Founder, Genesis};
use revoada_core::roster::RosterMember;
use revoada_core::topology::AsAsked;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub use meet::{FoundError, JoinError};
pub use port::{Introductions, PeerPort, PeerTls};
pub use words::MemberStanding;

/// What numbers of members and groups are taken under (BLAKE3 §2.3).
const MEMBER_CONTEXT: &str = "revoada.dev 2026 number of a member of etcd v1";
const GROUP_CONTEXT: &str = "revoada.dev 2026 token and members of etcd v1";

/// The name of the cluster in the genesis of a group.
const CLUSTER: &str = "etcd";

/// A member as it was started: `--initial-cluster`, `--initial-cluster-token`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// The token.
    pub token: String,
    /// The members by name, each with its peer URLs, sorted.
    pub members: std::collections::BTreeMap<String, Vec<String>>,
}

impl Group {
    /// The digest of all of it: founders that have another one were started for another group.
    pub fn digest(&self) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key(GROUP_CONTEXT);
        put(&mut hasher, &self.token);
        for (name, urls) in &self.members {
            put(&mut hasher, name);
            hasher.update(&(urls.len() as u64).to_le_bytes());
            urls.iter().for_each(|url| put(&mut hasher, url));
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The number of the member with these peer URLs, a founder.
    pub fn number(&self, peer_urls: &[String]) -> u64 {
        number(&self.token, peer_urls, None)
    }
}

/// The number of a member: from its URLs and its group's token, as in etcd, and for one that was added from the time.
pub(crate) fn number(token: &str, peer_urls: &[String], added_at_ms: Option<u64>) -> u64 {
    let mut peer_urls = peer_urls.to_vec();
    peer_urls.sort();
    let mut hasher = blake3::Hasher::new_derive_key(MEMBER_CONTEXT);
    put(&mut hasher, token);
    peer_urls.iter().for_each(|url| put(&mut hasher, url));
    if let Some(at_ms) = added_at_ms {
        hasher.update(&at_ms.to_le_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_be_bytes(first).max(1)
}

fn put(hasher: &mut blake3::Hasher, text: &str) {
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

/// The name of a member's node: its number as etcd prints it. Names of members need not differ.
pub fn node_name(id: u64) -> String {
    format!("{id:016x}")
}

/// The genesis of a group whose founders are these, each with its key.
fn genesis(group: &Group, founders: &[RosterMember]) -> Result<Genesis, String> {
    let declaration = ClusterDeclaration::prove(DraftDeclaration {
        name: CLUSTER.to_owned(),
        strategy: FabricStrategy::prescribed_homelab().with_size(1),
        face: FabricFace::etcd(),
        topology: Arc::new(AsAsked),
        backend: BackendSpec::openraft(),
    });
    let declaration = declaration.map_err(|error| error.to_string())?;
    let founders = founders
        .iter()
        .filter_map(|member| Some((member.node?, Founder::named(node_name(member.id)))));
    Genesis::prove(declaration, founders, Some(group.digest())).map_err(|error| error.to_string())
}

/// What a member has written down of itself and of the others: it stays the same member, whatever it is started with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    /// 1.
    format: u32,
    /// Its number.
    pub id: u64,
    /// The token of its group.
    pub token: String,
    /// The members when it was introduced, or later; each with its key, where that is known.
    pub members: Vec<RosterMember>,
}

/// Why what was written down cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PinsError {
    /// The file system.
    #[error("cannot {verb} {}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The file.
    #[error("{} is not what a member wrote down: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

const PINS: &str = "members.json";
const GENESIS: &str = "genesis.json";

impl Pins {
    pub(crate) fn new(id: u64, token: String, members: Vec<RosterMember>) -> Self {
        let format = 1;
        Self {
            format,
            id,
            token,
            members,
        }
    }

    /// Where the genesis of a member is, in its folder.
    pub fn genesis_path(folder: &Path) -> PathBuf {
        folder.join(GENESIS)
    }

    /// Reads what a member wrote down; none where it was never introduced.
    ///
    /// # Errors
    /// [`PinsError`] names the file.
    pub fn load(folder: &Path) -> Result<Option<Self>, PinsError> {
        let path = folder.join(PINS);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                let verb = "read";
                return Err(PinsError::Io { verb, path, source });
            }
        };
        let malformed = |what: String| PinsError::Malformed {
            path: path.clone(),
            what,
        };
        let pins: Self = serde_json::from_slice(&bytes).map_err(|error| malformed(error.to_string()))?;
        if pins.format != 1 {
            return Err(malformed(format!(
                "it is of format {}, and this program reads 1",
                pins.format
            )));
        }
        Ok(Some(pins))
    }

    /// Writes it all down, durably. The genesis is there before anything says that this member was introduced.
    pub(crate) fn save(&self, folder: &Path, genesis: Option<&str>) -> Result<(), PinsError> {
        if let Some(genesis) = genesis {
            replace(&Self::genesis_path(folder), genesis.as_bytes())?;
        }
        let text = serde_json::to_vec_pretty(self).expect("names and numbers can be written");
        replace(&folder.join(PINS), &text)
    }

    /// The others that have a key.
    pub fn acquaintances(&self) -> impl Iterator<Item = NodeId> {
        self.members.iter().filter_map(|member| member.node)
    }
}

/// A file whole or as it was, and durable.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), PinsError> {
    let failed = |source| PinsError::Io {
        verb: "write",
        path: path.to_owned(),
        source,
    };
    let part = path.with_extension("part");
    let mut file = fs::File::create(&part).map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&part, path))
        .map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use revoada_attest::NodeKey;

    use super::*;

    fn group(token: &str, members: &[(&str, &str)]) -> Group {
        let members = members
            .iter()
            .map(|(name, url)| ((*name).to_owned(), vec![(*url).to_owned()]));
        Group {
            token: token.to_owned(),
            members: members.collect(),
        }
    }

    const TWO: &[(&str, &str)] = &[("a", "http://10.0.0.1:2380"), ("b", "http://10.0.0.2:2380")];

    #[test]
    fn a_group_is_its_token_and_its_members() {
        let one = group("t", TWO);
        assert_eq!(one.digest(), group("t", TWO).digest());
        assert_ne!(one.digest(), group("u", TWO).digest());
        assert_ne!(one.digest(), group("t", &TWO[..1]).digest());
        let urls = &one.members["a"];
        assert_eq!(one.number(urls), group("t", &TWO[..1]).number(urls));
        assert_ne!(one.number(urls), group("u", TWO).number(urls));
        assert_ne!(one.number(urls), number("t", urls, Some(1)));
    }

    #[test]
    fn what_was_written_down_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Pins::load(dir.path()).unwrap(), None);
        let group = group("t", TWO);
        let members: Vec<RosterMember> = (1..)
            .zip(&group.members)
            .map(|(n, (_, urls))| RosterMember {
                id: group.number(urls),
                name: String::new(),
                peer_urls: urls.clone(),
                client_urls: Vec::new(),
                learner: false,
                node: Some(NodeKey::from_seed([n; 32]).id()),
            })
            .collect();
        let genesis = genesis(&group, &members).unwrap();
        assert_eq!(genesis.first_voters().len(), 2);
        let pins = Pins::new(members[0].id, group.token.clone(), members);
        pins.save(dir.path(), Some(&genesis.render())).unwrap();
        assert_eq!(Pins::load(dir.path()).unwrap().as_ref(), Some(&pins));
        let own: [Arc<dyn revoada_core::topology::TopologyStrategy>; 1] = [Arc::new(AsAsked)];
        let read = fs::read(Pins::genesis_path(dir.path())).unwrap();
        assert_eq!(Genesis::parse_with(&read, &own).unwrap().digest(), genesis.digest());
        fs::write(dir.path().join(PINS), "{}").unwrap();
        let error = Pins::load(dir.path()).unwrap_err();
        assert!(error.to_string().contains(PINS), "{error}");
    }
}
