//! The state as bytes, for a checkpoint: the keyspace in its own form, then roles, chain and staged entries as CBOR.

use std::io::{self, Read, Write};
use std::sync::Arc;

use revoada_attest::Chain;
use serde::{Deserialize, Serialize};

use super::{ClusterState, Staged};
use crate::genesis::Genesis;
use crate::keyspace::Keyspace;
use crate::limits;
use crate::roles::Roles;
use crate::roster::Roster;

#[derive(Serialize)]
struct RestRef<'a> {
    roles: &'a Roles,
    chain: &'a Chain,
    staged: Option<&'a Staged>,
    roster: &'a Roster,
}

#[derive(Deserialize)]
struct Rest {
    roles: Roles,
    chain: Chain,
    staged: Option<Staged>,
    #[serde(default)]
    roster: Roster,
}

impl ClusterState {
    /// Writes the state, and lets go of it while it does; see [`Keyspace::write_checkpoint`]. Equal states write equal
    /// bytes.
    pub fn write_checkpoint(self, out: &mut impl Write) -> io::Result<()> {
        let rest = RestRef {
            roles: &self.roles,
            chain: &self.chain,
            staged: self.staged.as_deref(),
            roster: &self.roster,
        };
        let rest = cbor4ii::serde::to_vec(Vec::new(), &rest).map_err(io::Error::other)?;
        out.write_all(&(rest.len() as u64).to_le_bytes())?;
        out.write_all(&rest)?;
        self.keyspace.write_checkpoint(out)
    }

    /// Reads what [`ClusterState::write_checkpoint`] wrote. What does not fit is `InvalidData`, an early end
    /// `UnexpectedEof`; a flipped bit in a value is the container's matter, which has a digest.
    pub fn read_checkpoint(genesis: &Genesis, input: &mut impl Read) -> io::Result<Self> {
        let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        let mut length = [0; 8];
        input.read_exact(&mut length)?;
        let length = u64::from_le_bytes(length);
        if length > limits::CHECKPOINT_ROLES_BYTES_MAX {
            return Err(invalid(format!("{length} bytes of roles and chain")));
        }
        let mut bytes = Vec::new();
        if input.take(length).read_to_end(&mut bytes)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let rest: Rest = cbor4ii::serde::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
        let keyspace = Keyspace::read_checkpoint(input).map_err(|error| invalid(error.to_string()))?;
        let mut state = Self::new(genesis);
        state.roles = Arc::new(rest.roles);
        state.chain = rest.chain;
        state.staged = rest.staged.map(Arc::new);
        state.keyspace = keyspace;
        state.roster = Arc::new(rest.roster);
        Ok(state)
    }
}
