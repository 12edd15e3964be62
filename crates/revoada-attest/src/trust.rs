//! The keys that a verifier believes, as a text file that a person can read, diff and sign.
//!
//! ```text
//! # comment, also after an entry
//! cluster HEX          the cluster's digest; pins the chain to this cluster, at most once
//! HEX NAME             a node's key, and the name to call it by
//! ```
//!
//! It has to hold every node that ever proposed or witnessed a block, those that left included. Rejected: reading the
//! keys out of the chain's own admissions. A forged chain would then bring the keys that make it genuine.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::{Digest, NodeId, ParseHexError};

/// Keys by node, and the cluster that they belong to.
///
/// [`fmt::Display`] writes the file that [`FromStr`] reads, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedKeys {
    cluster: Option<Digest>,
    names: BTreeMap<NodeId, String>,
}

/// A line of a trust file that cannot be used. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trusted keys")]
pub struct TrustError {
    /// The line's number.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub problem: TrustProblem,
}

/// What is wrong with a line of a trust file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustProblem {
    /// The key is not 64 hex characters.
    #[error("a line starts with a node's key or with `cluster`")]
    Key(#[source] ParseHexError),
    /// The cluster's digest is not 64 hex characters.
    #[error("`cluster` is followed by the cluster's digest")]
    Cluster(#[source] ParseHexError),
    /// The 32 bytes are not an ed25519 key, or one that anybody can sign for.
    #[error("{0} is not a usable ed25519 key")]
    UnusableKey(NodeId),
    /// A key without the name to call it by.
    #[error("the key {0} has no name")]
    NoName(NodeId),
    /// The key is there twice.
    #[error("the key {0} was there before")]
    KeyTwice(NodeId),
    /// A second `cluster` line.
    #[error("the cluster was there before")]
    ClusterTwice,
}

impl TrustedKeys {
    /// No keys, and only chains of this cluster.
    pub fn of_cluster(cluster: Digest) -> Self {
        Self {
            cluster: Some(cluster),
            names: BTreeMap::new(),
        }
    }

    /// Trusts `node`, called `name` in reports; white space and `#` in a name become `-`, so that it fits on its line.
    pub fn insert(&mut self, node: NodeId, name: &str) {
        let fits = |c: char| !(c.is_whitespace() || c.is_control() || c == '#');
        let name: String = name.chars().map(|c| if fits(c) { c } else { '-' }).collect();
        self.names
            .insert(node, if name.is_empty() { node.short() } else { name });
    }

    /// The cluster that is pinned.
    pub fn cluster(&self) -> Option<Digest> {
        self.cluster
    }

    /// Whether the node's key is trusted.
    pub fn contains(&self, node: &NodeId) -> bool {
        self.names.contains_key(node)
    }

    /// The name of a trusted node.
    pub fn name(&self, node: &NodeId) -> Option<&str> {
        self.names.get(node).map(String::as_str)
    }

    /// The trusted nodes with their names, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeId, &str)> {
        self.names.iter().map(|(node, name)| (node, name.as_str()))
    }

    /// How many keys are trusted.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether no key is trusted.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn add_line(&mut self, line: &str) -> Result<(), TrustProblem> {
        let entry = line.split('#').next().unwrap_or_default().trim();
        let (first, rest) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
        let rest = rest.trim_start();
        if first.is_empty() {
            return Ok(());
        }
        if first == "cluster" {
            let cluster = rest.parse().map_err(TrustProblem::Cluster)?;
            return match self.cluster.replace(cluster) {
                None => Ok(()),
                Some(_) => Err(TrustProblem::ClusterTwice),
            };
        }
        let node: NodeId = first.parse().map_err(TrustProblem::Key)?;
        if !node.is_valid_key() {
            return Err(TrustProblem::UnusableKey(node));
        }
        if rest.is_empty() {
            return Err(TrustProblem::NoName(node));
        }
        if self.contains(&node) {
            return Err(TrustProblem::KeyTwice(node));
        }
        self.insert(node, rest);
        Ok(())
    }
}

impl FromStr for TrustedKeys {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let mut keys = Self::default();
        for (line, content) in (1..).zip(text.lines()) {
            keys.add_line(content).map_err(|problem| TrustError { line, problem })?;
        }
        Ok(keys)
    }
}

impl fmt::Display for TrustedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(cluster) = &self.cluster {
            writeln!(f, "cluster {cluster}")?;
        }
        self.iter().try_for_each(|(node, name)| writeln!(f, "{node} {name}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{cluster, key, trust};

    fn refused(text: &str) -> (usize, TrustProblem) {
        let error = text.parse::<TrustedKeys>().unwrap_err();
        (error.line, error.problem)
    }

    #[test]
    fn a_file_is_read_with_comments_blank_lines_and_windows_line_ends() {
        let node = key(1).id();
        let upper = key(2).id().to_string().to_uppercase();
        let text = format!(
            "# of 1 May\r\n\r\ncluster  {}\r\n{node} node-1 # the first\n\t{upper}\tnode-2",
            cluster()
        );
        assert_eq!(text.parse::<TrustedKeys>().unwrap(), trust(2));
        let keys: TrustedKeys = text.parse().unwrap();
        assert_eq!(
            (keys.len(), keys.name(&node), keys.cluster()),
            (2, Some("node-1"), Some(cluster()))
        );
        assert!(!keys.contains(&key(3).id()));
        assert!("# nobody\n".parse::<TrustedKeys>().unwrap().is_empty());
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_by_its_number() {
        let (one, pin) = (key(1).id(), cluster());
        let weak = "0100000000000000000000000000000000000000000000000000000000000000";
        let long = format!("{one}00 name");
        assert!(matches!(refused("\nnode-1\n"), (2, TrustProblem::Key(_))));
        assert!(matches!(refused(&long), (1, TrustProblem::Key(_))));
        assert!(matches!(refused("cluster abc"), (1, TrustProblem::Cluster(_))));
        assert!(matches!(refused("cluster"), (1, TrustProblem::Cluster(_))));
        assert_eq!(
            refused(&format!("{weak} nobody")),
            (1, TrustProblem::UnusableKey(weak.parse().unwrap()))
        );
        assert_eq!(refused(&format!("#\n#\n{one} # name")), (3, TrustProblem::NoName(one)));
        assert_eq!(refused(&format!("{one} a\n{one} b")), (2, TrustProblem::KeyTwice(one)));
        assert_eq!(
            refused(&format!("cluster {pin}\ncluster {pin}")),
            (2, TrustProblem::ClusterTwice)
        );
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(seeds in prop::collection::vec((1_u8.., any::<String>()), 0..8), pin: bool) {
            let mut keys = if pin { TrustedKeys::of_cluster(cluster()) } else { TrustedKeys::default() };
            seeds.iter().for_each(|(number, name)| keys.insert(key(*number).id(), name));
            prop_assert_eq!(keys.to_string().parse::<TrustedKeys>().unwrap(), keys);
        }

        #[test]
        fn any_text_is_answered(text: String) {
            if let Ok(keys) = text.parse::<TrustedKeys>() {
                prop_assert!(keys.is_empty());
            }
        }
    }
}
