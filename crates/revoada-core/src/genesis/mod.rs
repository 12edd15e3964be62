//! The birth certificate of a cluster: its declaration and the keys of its founders.
//!
//! Its digest is the cluster's identity, and every founder derives the same first voters from it, so no partition at
//! birth can make two clusters, and no node has to be told by another who begins. Rejected: an identity that is drawn
//! at random by whoever starts first. Two founders that cannot see each other would both be first.

mod error;
mod file;
#[cfg(test)]
mod tests;
mod voters;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use revoada_attest::{Digest, NodeId};

pub use error::{GenesisError, GenesisParseError};

use crate::declaration::{ClusterDeclaration, is_name};
use crate::topology::TopologyStrategy;

/// What the digest of a genesis is taken under, so that it is never the digest of anything else (BLAKE3 §2.3).
const DIGEST_CONTEXT: &str = "revoada.dev 2026 digest of a genesis v1";

/// A node that is there from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founder {
    /// Its name, unlike that of any other founder.
    pub name: String,
    /// The zone that it stands in, where that is known.
    pub zone: Option<String>,
    /// The rack within the zone, where that is known.
    pub rack: Option<String>,
}

impl Founder {
    /// A founder of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            zone: None,
            rack: None,
        }
    }

    /// The same founder in a zone.
    pub fn in_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// The same founder in a rack.
    pub fn in_rack(mut self, rack: impl Into<String>) -> Self {
        self.rack = Some(rack.into());
        self
    }
}

/// A proved genesis: enough founders with different names and valid keys. It never changes; a clone is cheap.
#[derive(Debug, Clone)]
pub struct Genesis {
    declaration: ClusterDeclaration,
    founders: Arc<BTreeMap<NodeId, Founder>>,
    token_digest: Option<Digest>,
    digest: Digest,
}

impl Genesis {
    /// Proves a genesis. `token_digest` is the digest of the token by which the founders let each other in, where
    /// they use one.
    ///
    /// # Errors
    /// [`GenesisError`] names the founder or the number that is wrong.
    pub fn prove(
        declaration: ClusterDeclaration,
        founders: impl IntoIterator<Item = (NodeId, Founder)>,
        token_digest: Option<Digest>,
    ) -> Result<Self, GenesisError> {
        let mut by_key = BTreeMap::new();
        let mut names = BTreeSet::new();
        for (id, founder) in founders {
            check_founder(&id, &founder)?;
            if !names.insert(founder.name.clone()) {
                return Err(GenesisError::DuplicateName { name: founder.name });
            }
            let name = founder.name.clone();
            if by_key.insert(id, founder).is_some() {
                return Err(GenesisError::DuplicateKey { id, name });
            }
        }
        let size = declaration.strategy().consensus.size as usize;
        let founders_min = declaration.topology().nodes_min().max(size);
        if by_key.len() < founders_min {
            let topology = declaration.topology().name().to_owned();
            return Err(GenesisError::TooFewFounders {
                topology,
                founders: by_key.len(),
                founders_min,
            });
        }
        if let Some(witness) = declaration.witness()
            && !names.contains(witness)
        {
            return Err(GenesisError::NoWitness {
                witness: witness.to_owned(),
            });
        }
        let canonical = file::canonical(&declaration, &by_key, token_digest);
        let digest = Digest::from_bytes(blake3::derive_key(DIGEST_CONTEXT, canonical.as_bytes()));
        Ok(Self {
            declaration,
            founders: Arc::new(by_key),
            token_digest,
            digest,
        })
    }

    /// What the cluster was declared to be when it began.
    pub fn declaration(&self) -> &ClusterDeclaration {
        &self.declaration
    }

    /// The nodes that are there from the beginning, by key.
    pub fn founders(&self) -> &BTreeMap<NodeId, Founder> {
        &self.founders
    }

    /// The digest of the token by which the founders let each other in, where they use one.
    pub fn token_digest(&self) -> Option<Digest> {
        self.token_digest
    }

    /// The cluster's identity: a node with another one is of another cluster.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The founders that vote first: as many as the topology wants of that many nodes, spread as the strategy places
    /// them, and otherwise the first by name (`node-2` before `node-10`). A declared witness is always one of them.
    pub fn first_voters(&self) -> BTreeSet<NodeId> {
        voters::first(&self.declaration, &self.founders)
    }

    /// Reads a genesis file and proves it.
    ///
    /// # Errors
    /// [`GenesisParseError`] says whether it is no JSON, has another shape, declares what is not coherent, or has the
    /// wrong founders.
    pub fn parse(bytes: &[u8]) -> Result<Self, GenesisParseError> {
        Self::parse_with(bytes, &[])
    }

    /// [`Genesis::parse`] for a program that brings topologies of its own.
    ///
    /// # Errors
    /// As [`Genesis::parse`].
    pub fn parse_with(bytes: &[u8], own: &[Arc<dyn TopologyStrategy>]) -> Result<Self, GenesisParseError> {
        file::parse(bytes, own)
    }

    /// The genesis as a file in JSON. Parsing it again gives the same digest.
    pub fn render(&self) -> String {
        file::render(&self.declaration, &self.founders, self.token_digest)
    }
}

impl PartialEq for Genesis {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for Genesis {}

fn check_founder(id: &NodeId, founder: &Founder) -> Result<(), GenesisError> {
    let name = || founder.name.clone();
    if !is_name(&founder.name) {
        return Err(GenesisError::InvalidName {
            what: "name",
            name: name(),
        });
    }
    for (what, place) in [("zone", &founder.zone), ("rack", &founder.rack)] {
        if let Some(place) = place
            && !is_name(place)
        {
            return Err(GenesisError::InvalidName {
                what,
                name: place.clone(),
            });
        }
    }
    // For a key of small order anyone can make signatures that verify, so it identifies nobody.
    match ed25519_dalek::VerifyingKey::from_bytes(id.as_bytes()) {
        Ok(key) if !key.is_weak() => Ok(()),
        _ => Err(GenesisError::InvalidKey { id: *id, name: name() }),
    }
}
