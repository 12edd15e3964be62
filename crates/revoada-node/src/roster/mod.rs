//! A node that is a member by name: what it says of itself when it starts, changes of members at the leader, and the end
//! of a member that was removed.

mod change;
mod keep;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use revoada_attest::NodeId;
use tokio_util::sync::CancellationToken;

pub(crate) use change::{RosterAsk, ask, decide};
pub(crate) use keep::keep;

use crate::introduction::{Introductions, PeerPort, Pins};
use crate::listen::EtcdListen;

/// What a node that is a member by name is started with, beside its configuration.
pub struct AsMember {
    /// Who it is, and what it knows of the others.
    pub pins: Pins,
    /// Its name, which it makes known when it starts.
    pub name: String,
    /// Where clients reach it, as URLs; made known as well.
    pub client_urls: Vec<String>,
    /// Where connections of other nodes come in.
    pub port: PeerPort,
    /// What it answers to those that it is not introduced to.
    pub introductions: Arc<Introductions>,
    /// Where it serves clients.
    pub listen: Vec<EtcdListen>,
    /// Whether a change of members that could cost the quorum is refused.
    pub strict: bool,
    /// How many learners there may be at once.
    pub learners_max: usize,
    /// The time between two heartbeats, and the least time without a leader before it stands for election; the
    /// declaration's where absent.
    pub timing: Option<(Duration, Duration)>,
    /// After how many entries a checkpoint is due; the declaration's where absent.
    pub snapshot_interval: Option<u64>,
    /// Whether it is to go on as the only member, because the others are lost for good.
    pub alone: bool,
    /// Is cancelled when it serves as a member of its group.
    pub ready: CancellationToken,
}

impl AsMember {
    pub(crate) fn word(&self, folder: PathBuf) -> Word {
        Word {
            pins: self.pins.clone(),
            folder,
            name: self.name.clone(),
            client_urls: self.client_urls.clone(),
            alone: self.alone,
            ready: self.ready.clone(),
            introductions: self.introductions.clone(),
        }
    }

    pub(crate) fn acquaintances(&self) -> BTreeSet<NodeId> {
        self.pins.acquaintances().collect()
    }
}

/// What a member says of itself, and where it writes down what it hears.
pub(crate) struct Word {
    pub pins: Pins,
    pub folder: PathBuf,
    pub name: String,
    pub client_urls: Vec<String>,
    pub alone: bool,
    pub ready: CancellationToken,
    pub introductions: Arc<Introductions>,
}
