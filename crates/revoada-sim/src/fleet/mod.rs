//! Years of a cluster in seconds: the policy alone, on virtual time, under failures at stated rates.
//!
//! What decides is production's: [`plan`] is asked at the moments at which a driver would ask it, the committed roles
//! are its role machine, the first voters are the genesis', and the detector says how long a death goes unnoticed.
//! What is left out is everything that takes work and decides nothing: logs, connections, elections vote by vote. They
//! are replaced by the times that they take, which were measured (`timing.rs`). So a thousand nodes, or ten years, fit
//! into seconds. Rejected: whole simulated clusters ([`crate::run`]) for this. A minute of theirs
//! takes a part of a second, and a year has half a million minutes.
//!
//! [`plan`]: revoada_core::policy::plan

pub mod faults;
mod report;
mod run;
mod schedule;
mod svg;
mod tally;
#[cfg(test)]
mod tests;
mod timing;

use std::sync::Arc;
use std::time::Duration;

use revoada_attest::NodeKey;
use revoada_core::declaration::{
    BackendSpec, ClusterCoherenceError, ClusterDeclaration, DraftDeclaration, FabricFace, FabricStrategy,
};
use revoada_core::error::ErrorKind;
use revoada_core::genesis::{Founder, Genesis, GenesisError};
use revoada_core::roles::TransitionRefused;
use revoada_core::topology::TopologyStrategy;

pub use faults::{Faults, FaultsError, FaultsFile};
pub use report::{Downtime, Loss, Losses, Report, Span};
pub use svg::timeline;
pub use tally::Slice;

/// The most nodes of a simulated cluster.
pub const NODES_MAX: usize = 1_000;
/// The most years of a run.
pub const YEARS_MAX: f64 = 1_000.0;
/// The fewest years of a run: about nine hours.
pub const YEARS_MIN: f64 = 0.001;

/// What is to be simulated, besides the declaration.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What fails, and how often.
    pub faults: Faults,
    /// For how many years; from [`YEARS_MIN`] to [`YEARS_MAX`].
    pub years: f64,
    /// Which failures are drawn. One seed always gives one report.
    pub seed: u64,
    /// How many nodes; none takes as many as the declaration has to have.
    pub nodes: Option<usize>,
    /// Over how many zones the nodes are spread, in turn; 0 gives each its own, so that none shares its power or switch.
    pub zones: usize,
    /// Whether the policy replaces what is lost. False keeps the first voters, as where servers are picked by hand.
    pub replacement: bool,
}

impl Default for Options {
    /// A hundred years of a homelab: as ten clusters live in ten years.
    fn default() -> Self {
        Self {
            faults: Faults::homelab(),
            years: 100.0,
            seed: 1,
            nodes: None,
            zones: 0,
            replacement: true,
        }
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The length of the run is no length.
    #[error("{given} years cannot be simulated: from {YEARS_MIN} to {YEARS_MAX} can")]
    Years {
        /// What was given.
        given: f64,
    },
    /// The number of nodes is out of range.
    #[error("{id} cannot be simulated with {given} nodes: it takes {least} at least, and {NODES_MAX} are the most")]
    Nodes {
        /// The declaration's id.
        id: String,
        /// What was given.
        given: usize,
        /// The least it takes.
        least: usize,
    },
    /// There are more zones than nodes.
    #[error("{nodes} nodes cannot be spread over {zones} zones")]
    Zones {
        /// The nodes.
        nodes: usize,
        /// The zones.
        zones: usize,
    },
    /// A rate cannot be drawn from.
    #[error("the rates of {name} are no rates")]
    Faults {
        /// The profile or file.
        name: String,
        /// Which one, and why.
        #[source]
        source: FaultsError,
    },
    /// What the policy planned was refused: a mistake in this program, or in a topology of one's own.
    #[error("seed {seed}: after {at:?} the policy planned what cannot be: {planned}")]
    Stuck {
        /// The seed, to see it again.
        seed: u64,
        /// When, from the beginning of the simulation.
        at: Duration,
        /// What was planned.
        planned: String,
        /// Why it cannot be.
        #[source]
        source: TransitionRefused,
    },
    /// The topology does not fit a declaration.
    #[error("the declaration is not coherent")]
    Incoherent(#[source] ClusterCoherenceError),
    /// The cluster cannot be made of these nodes.
    #[error("no cluster can be made")]
    Genesis(#[source] GenesisError),
}

impl SimulateError {
    /// [`ErrorKind::Invalid`] for what was asked, and the kind of what was refused for a plan that cannot be.
    pub const fn kind(&self) -> ErrorKind {
        if let Self::Stuck { source, .. } = self {
            return source.kind();
        }
        ErrorKind::Invalid
    }
}

/// Simulates what becomes of a cluster of this declaration, its topology being one of ours or the user's own.
///
/// Deterministic: the same declaration and options give the same report. Two declarations with the same seed suffer the
/// same failures of the same machine numbers at the same times. Takes a second for some ten years of five nodes, and
/// blocks for as long.
///
/// # Errors
/// [`SimulateError`] names what is out of range, and then nothing was simulated, or what went wrong on the way.
pub fn simulate(declaration: &ClusterDeclaration, options: &Options) -> Result<Report, SimulateError> {
    simulate_with(declaration, options, &mut |_| {})
}

/// [`simulate`] for a topology alone, under the prescribed strategy.
///
/// # Errors
/// As [`simulate`], and [`SimulateError::Incoherent`] for a topology that no cluster can have.
pub fn simulate_topology(topology: impl TopologyStrategy, options: &Options) -> Result<Report, SimulateError> {
    let least = topology.nodes_min();
    let size = if topology.voters(least) == 1 { 1 } else { 3 };
    let draft = DraftDeclaration {
        name: "simulated".to_owned(),
        strategy: FabricStrategy::prescribed_homelab().with_size(size),
        face: FabricFace::prescribed_native(),
        topology: Arc::new(topology),
        backend: BackendSpec::openraft(),
    };
    let declaration = ClusterDeclaration::prove(draft).map_err(SimulateError::Incoherent)?;
    simulate(&declaration, options)
}

/// [`simulate`] that says now and then how much of it is done, from 0 to 1.
///
/// # Errors
/// As [`simulate`].
pub fn simulate_with(
    declaration: &ClusterDeclaration,
    options: &Options,
    progress: &mut dyn FnMut(f64),
) -> Result<Report, SimulateError> {
    let years = options.years;
    if !(YEARS_MIN..=YEARS_MAX).contains(&years) {
        return Err(SimulateError::Years { given: years });
    }
    let no_rates = |source| SimulateError::Faults {
        name: options.faults.name.clone(),
        source,
    };
    options.faults.check().map_err(no_rates)?;
    let least = nodes_least(declaration);
    let nodes = options.nodes.unwrap_or(least);
    if !(least..=NODES_MAX).contains(&nodes) {
        let id = declaration.id();
        return Err(SimulateError::Nodes {
            id,
            given: nodes,
            least,
        });
    }
    options.faults.check_for(nodes).map_err(no_rates)?;
    if options.zones > nodes {
        let zones = options.zones;
        return Err(SimulateError::Zones { nodes, zones });
    }
    let genesis = born(declaration, nodes, options.zones).map_err(SimulateError::Genesis)?;
    let end_ms = (years * faults::YEAR.as_millis() as f64) as u64;
    let fleet = run::Fleet::new(&genesis, options, end_ms);
    fleet.run(progress, &mut |_| {}).map_err(|stuck| SimulateError::Stuck {
        seed: options.seed,
        at: Duration::from_millis(stuck.at_ms),
        planned: stuck.planned,
        source: stuck.source,
    })
}

/// With how many nodes a declaration can begin.
pub fn nodes_least(declaration: &ClusterDeclaration) -> usize {
    let size = declaration.strategy().consensus.size as usize;
    declaration.topology().nodes_min().max(size)
}

/// The genesis of so many machines, called `node-1` and so on. The last one is the witness, where one was declared.
fn born(declaration: &ClusterDeclaration, nodes: usize, zones: usize) -> Result<Genesis, GenesisError> {
    let named = |number: usize| format!("node-{}", number + 1);
    let stranger = |witness: &&str| (0..nodes).all(|number| named(number) != **witness);
    let witness = declaration.witness().filter(stranger);
    let founders = (0..nodes).map(|number| {
        let name = match witness {
            Some(witness) if number + 1 == nodes => witness.to_owned(),
            _ => named(number),
        };
        let founder = Founder::named(name);
        let founder = match zones {
            0 => founder,
            _ => founder.in_zone(format!("zone-{}", number % zones + 1)),
        };
        (key_of(number).id(), founder)
    });
    Genesis::prove(declaration.clone(), founders, None)
}

/// The key of a machine: a function of its number.
fn key_of(number: usize) -> NodeKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
    NodeKey::from_seed(seed)
}
