//! What members say to each other when they meet: JSON, in requests of HTTP/1.1.

use revoada_attest::{Digest, NodeId};
use revoada_core::roster::RosterMember;
use serde::{Deserialize, Serialize};

/// The version of these words; another one is not answered.
pub(super) const PROTOCOL: u32 = 1;

/// A founder meets another one.
pub(super) const FOUND: &str = "/revoada/introduction/found";
/// A member that was added meets one that is there.
pub(super) const JOIN: &str = "/revoada/introduction/join";
/// A member asks whether it still is one.
pub(super) const STANDING: &str = "/revoada/introduction/standing";

/// What a founder says of itself, to whoever it meets and in answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FounderWord {
    pub protocol: u32,
    /// The number that its URLs and its token give it.
    pub id: u64,
    /// Its key.
    pub node: NodeId,
    /// Of its token and all members.
    pub group: Digest,
}

/// What a member that was added says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct JoinWord {
    pub protocol: u32,
    pub peer_urls: Vec<String>,
    pub node: NodeId,
}

/// What it is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Welcome {
    pub id: u64,
    pub token: String,
    pub genesis: String,
    pub members: Vec<RosterMember>,
}

/// Who asks for its standing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StandingWord {
    pub id: u64,
    pub node: NodeId,
}

/// What it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberStanding {
    /// A member.
    Member,
    /// One no longer.
    Removed,
    /// Nobody that is known here yet.
    Unknown,
}

/// Why somebody was not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    /// Which rule was broken.
    pub kind: RefusalKind,
    /// In words.
    pub why: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum RefusalKind {
    /// Not now; asking again may help.
    Later,
    /// It was started for another group, or with other members.
    OtherGroup,
    /// Its place is taken by another key.
    Bootstrapped,
    /// Nobody has added it.
    NotAdded,
}
