//! A cluster's shape as two numbers, and whether it is the one that was declared.

use crate::error::ErrorKind;

/// How many nodes a cluster has, and how many of them vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// All nodes, voters included.
    pub nodes: usize,
    /// Those that vote.
    pub voters: usize,
}

impl Shape {
    /// How many voters can be lost with a quorum left.
    pub const fn survives(self) -> usize {
        losses_survived(self.voters)
    }
}

/// How many of `voters` voters can be lost with a majority left: ⌈voters / 2⌉ − 1, and none of none (Raft §5.1).
pub const fn losses_survived(voters: usize) -> usize {
    voters.saturating_sub(1) / 2
}

/// How a shape differs from what its topology wants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The topology cannot be had with so few nodes.
    #[error("{topology} takes at least {nodes_min} nodes, and there are {nodes}")]
    TooFewNodes {
        /// Its name.
        topology: String,
        /// The nodes there are.
        nodes: usize,
        /// The nodes it takes.
        nodes_min: usize,
    },
    /// More or fewer voters than the topology wants.
    #[error("{topology} of {nodes} nodes has {expected} voters, and there are {voters}")]
    Voters {
        /// Its name.
        topology: String,
        /// The nodes there are.
        nodes: usize,
        /// The voters there are.
        voters: usize,
        /// The voters that the topology wants.
        expected: usize,
    },
}

impl ShapeError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

pub(super) fn validate(topology: &str, nodes_min: usize, expected: usize, shape: Shape) -> Result<(), ShapeError> {
    let Shape { nodes, voters } = shape;
    if nodes < nodes_min {
        return Err(ShapeError::TooFewNodes {
            topology: topology.to_owned(),
            nodes,
            nodes_min,
        });
    }
    if voters != expected {
        return Err(ShapeError::Voters {
            topology: topology.to_owned(),
            nodes,
            voters,
            expected,
        });
    }
    Ok(())
}
