//! What becomes of a cluster over years of failures: the policy that production runs, on virtual time.
//!
//! [`simulate`] takes a proved declaration, so a topology of one's own is simulated as ours are; [`simulate_topology`]
//! takes the topology alone. docs/simulate.md says how to read a [`Report`], and what is not in it.

use revoada_core::error::ErrorKind;

pub use revoada_sim::fleet::faults::{Failing, Happening, Rolling, Wearing};
pub use revoada_sim::fleet::{
    Downtime, Faults, FaultsError, Loss, Losses, NODES_MAX, Options, Report, SimulateError, Slice, Span, YEARS_MAX,
    YEARS_MIN, nodes_least, simulate, simulate_topology, simulate_with, timeline,
};

/// Why a file holds no rates.
#[derive(Debug, thiserror::Error)]
pub enum FaultsFileError {
    /// It is not what such a file is.
    #[error("{name} holds no rates of failures: {what}")]
    Syntax {
        /// What the file is called.
        name: String,
        /// What is wrong, and where.
        what: String,
    },
    /// It starts from a profile that does not exist.
    #[error("{name} extends {base}, which is no profile: there are {}", profiles())]
    UnknownProfile {
        /// What the file is called.
        name: String,
        /// What it names.
        base: String,
    },
    /// A number cannot be a rate.
    #[error("the rates of {name} are no rates")]
    Rate {
        /// What the file is called.
        name: String,
        /// Which one, and why.
        #[source]
        source: FaultsError,
    },
}

impl FaultsFileError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }
}

/// The names of the profiles, as a list in a sentence.
pub fn profiles() -> String {
    Faults::PROFILES.map(|(name, _)| name).join(", ")
}

/// Reads rates of failures from YAML, or JSON. `name` is what the file is called.
///
/// # Errors
/// [`FaultsFileError`] says whether it is no such file, extends what does not exist, or has a number that is no rate.
pub fn read_faults(name: &str, text: &str) -> Result<Faults, FaultsFileError> {
    let file: revoada_sim::fleet::FaultsFile =
        serde_saphyr::from_str(text).map_err(|source| FaultsFileError::Syntax {
            name: name.to_owned(),
            what: first_line(&source),
        })?;
    let base = file.base.clone().unwrap_or_default();
    let faults = file.into_faults(name).ok_or_else(|| FaultsFileError::UnknownProfile {
        name: name.to_owned(),
        base,
    })?;
    faults.check().map_err(|source| FaultsFileError::Rate {
        name: name.to_owned(),
        source,
    })?;
    Ok(faults)
}

/// What the parser says, without its mark and the picture of the file that it draws.
fn first_line(error: &serde_saphyr::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::time::Duration;

    use super::*;

    fn refused(text: &str) -> String {
        let error = read_faults("rates.yaml", text).expect_err(text);
        format!(
            "{error}; {}",
            error.source().map(ToString::to_string).unwrap_or_default()
        )
    }

    #[test]
    fn a_file_states_rates_and_may_start_from_a_profile() {
        let faults = read_faults("rates.yaml", "extends: homelab\ncrashes: {mtbf: 7d, mttr: 90s}\n").unwrap();
        let crashes = faults.crashes.unwrap();
        assert_eq!(crashes.mttr, Duration::from_secs(90));
        assert_eq!(faults.disks, Faults::homelab().disks);
        let alone = read_faults("rates.json", r#"{"splits": {"perYear": 2, "duration": "10m"}}"#).unwrap();
        assert_eq!((alone.crashes, alone.splits.unwrap().per_year), (None, 2.0));
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named() {
        for (text, says) in [
            ("crash: {}", "crash"),
            ("crashes: {mtbf: 7d, mtr: 5m}", "mtr"),
            ("crashes: {mtbf: 7, mttr: 5m}", "number and a unit"),
            ("crashes: {mtbf: 7d}", "mttr"),
            ("extends: homelap", "homelab, datacenter, harsh, none"),
            ("disks: {afr: .nan, mttr: 1d}", "disks.afr"),
            ("disks: {afr: -1, mttr: 1d}", "disks.afr"),
            ("crashes: {mtbf: 1s, mttr: 1s}", "crashes.mtbf"),
            ("reboots: {every: 1d, downtime: 20h}", "half"),
            ("[]", "rates.yaml"),
        ] {
            let error = refused(text);
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
