//! What can be wrong with a genesis.

use revoada_attest::NodeId;

use crate::declaration::{ClusterCoherenceError, SyntaxError};
use crate::error::ErrorKind;

/// The founders do not make a genesis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// Two founders have the same name.
    #[error("two founders are named {name}")]
    DuplicateName {
        /// That name.
        name: String,
    },
    /// Two founders have the same key.
    #[error("the founder {name} has the key of another: {id}")]
    DuplicateKey {
        /// That key.
        id: NodeId,
        /// The second founder that has it.
        name: String,
    },
    /// A name cannot be one.
    #[error("{name:?} is not the {what} of a founder: letters, digits, dots, dashes and underscores, at most 63")]
    InvalidName {
        /// `name`, `zone` or `rack`.
        what: &'static str,
        /// What was given.
        name: String,
    },
    /// A key is not a point on the curve, or one of small order.
    #[error("the key of the founder {name} is not an ed25519 public key: {id}")]
    InvalidKey {
        /// What was given as key.
        id: NodeId,
        /// Whose key it was to be.
        name: String,
    },
    /// The topology cannot start with so few.
    #[error("{topology} starts from at least {founders_min} founders, and there are {founders}")]
    TooFewFounders {
        /// The name of the topology.
        topology: String,
        /// How many there are.
        founders: usize,
        /// How many it takes.
        founders_min: usize,
    },
    /// The declaration names a witness that is not among the founders.
    #[error("the witness {witness} is not among the founders")]
    NoWitness {
        /// Its name.
        witness: String,
    },
}

impl GenesisError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// A file is not a genesis.
#[derive(Debug, thiserror::Error)]
pub enum GenesisParseError {
    /// It is no JSON document.
    #[error("the genesis cannot be read")]
    Syntax {
        /// Why.
        source: SyntaxError,
    },
    /// It is JSON of another shape: a field is missing, unknown, or of another type.
    #[error("{path} of the genesis: {problem}")]
    Shape {
        /// Which field.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Its declaration is not coherent.
    #[error("the declaration of the genesis cannot be used")]
    Declaration {
        /// The findings.
        source: ClusterCoherenceError,
    },
    /// Its founders do not make a genesis.
    #[error("the founders of the genesis cannot be used")]
    Founders {
        /// What is wrong.
        source: GenesisError,
    },
}

impl GenesisParseError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}
