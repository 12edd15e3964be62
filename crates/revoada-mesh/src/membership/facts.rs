//! What a node tells of itself by gossip: small, and nothing that anybody decides about another node by.

use revoada_attest::Digest;

/// The facts. Strings on the wire, because chitchat's keys and values are; a value that cannot be read is a default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// The term of its durable vote.
    pub term: u64,
    /// The last index that its state machine has applied; it may be ahead of what its own disk holds.
    pub applied: u64,
    /// The term of its durable vote.
    pub kept_term: u64,
    /// The last index that is committed and durable on it: what it has after any kill.
    pub kept: u64,
    /// How many blocks its chain has.
    pub blocks: u64,
    /// The digest of its chain's head.
    pub head: Digest,
    /// Its process.
    pub pid: u32,
    /// When it started, in milliseconds since the epoch, by its own clock.
    pub started_ms: u64,
    /// Its resident memory, in bytes.
    pub rss_bytes: u64,
    /// Its zone, or empty.
    pub zone: String,
    /// Its rack, or empty.
    pub rack: String,
    /// Whether an operator started this process (`up`, `start`), so that the loss before it does not count.
    pub by_operator: bool,
    /// Whether it leads in its term, as far as it knows.
    pub leads: bool,
    /// Where clients of etcd reach it, as a URL, or empty.
    pub etcd_url: String,
}

impl Facts {
    pub(super) fn to_pairs(&self) -> Vec<(String, String)> {
        [
            ("name", self.name.clone()),
            ("version", self.version.clone()),
            ("term", self.term.to_string()),
            ("applied", self.applied.to_string()),
            ("kept-term", self.kept_term.to_string()),
            ("kept", self.kept.to_string()),
            ("blocks", self.blocks.to_string()),
            ("head", self.head.to_string()),
            ("pid", self.pid.to_string()),
            ("started", self.started_ms.to_string()),
            ("rss", self.rss_bytes.to_string()),
            ("zone", self.zone.clone()),
            ("rack", self.rack.clone()),
            ("operator", self.by_operator.to_string()),
            ("leads", self.leads.to_string()),
            ("etcd", self.etcd_url.clone()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    pub(super) fn from_pairs<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut facts = Self::default();
        for (key, value) in pairs {
            match key {
                "name" => facts.name = value.to_owned(),
                "version" => facts.version = value.to_owned(),
                "term" => facts.term = value.parse().unwrap_or_default(),
                "applied" => facts.applied = value.parse().unwrap_or_default(),
                "kept-term" => facts.kept_term = value.parse().unwrap_or_default(),
                "kept" => facts.kept = value.parse().unwrap_or_default(),
                "blocks" => facts.blocks = value.parse().unwrap_or_default(),
                "head" => facts.head = value.parse().unwrap_or_default(),
                "pid" => facts.pid = value.parse().unwrap_or_default(),
                "started" => facts.started_ms = value.parse().unwrap_or_default(),
                "rss" => facts.rss_bytes = value.parse().unwrap_or_default(),
                "zone" => facts.zone = value.to_owned(),
                "rack" => facts.rack = value.to_owned(),
                "operator" => facts.by_operator = value.parse().unwrap_or_default(),
                "leads" => facts.leads = value.parse().unwrap_or_default(),
                "etcd" => facts.etcd_url = value.to_owned(),
                // A newer program may tell more.
                _ => {}
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_as_they_were_told() {
        let facts = Facts {
            name: "node-1".to_owned(),
            version: "0.1.0".to_owned(),
            term: 7,
            applied: 9,
            kept_term: 6,
            kept: 8,
            blocks: 3,
            head: Digest::from_bytes([5; 32]),
            pid: 12,
            started_ms: 99,
            rss_bytes: 1,
            zone: "a".to_owned(),
            rack: String::new(),
            by_operator: true,
            leads: true,
            etcd_url: "http://127.0.0.1:2379".to_owned(),
        };
        let pairs = facts.to_pairs();
        assert_eq!(
            Facts::from_pairs(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))),
            facts
        );
    }
}
