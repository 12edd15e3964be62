//! What every backend has to do, as a suite that runs against each of them.
//!
//! Each case states what it needs. A backend that lacks a capability does not run the case, and the [`Report`] says
//! which one and why: nothing is left out in silence, and a test asserts what its backend is expected to miss.
//! Rejected: one test function per case by a macro. A case that was left out looks like one that passed.

mod cases;
mod fixtures;
mod snapshots;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::backend::StoreBackend;
use crate::capability::Capability;

pub use fixtures::data_set;
pub use snapshots::{resource_section, restores_everywhere};

/// An empty backend for one case.
pub type Fresh = Pin<Box<dyn Future<Output = Arc<dyn StoreBackend>> + Send>>;

/// One case under way.
type Running<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// What was found wrong, in a sentence.
pub type Outcome = Result<(), String>;

/// One thing that a backend has to do.
struct Case {
    /// What it does, as a sentence.
    name: &'static str,
    needs: &'static [Capability],
    run: for<'a> fn(&'a dyn StoreBackend) -> Running<'a>,
}

/// What was run against one backend, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The backend's name.
    pub backend: String,
    /// The cases that hold.
    pub passed: Vec<&'static str>,
    /// The cases that do not, with what was found.
    pub failed: Vec<(&'static str, String)>,
    /// The cases that were not run, with the first capability that is missing.
    pub not_run: Vec<(&'static str, Capability)>,
}

impl Report {
    /// Fails the test that calls it unless every case holds and exactly these capabilities were missed.
    ///
    /// # Panics
    /// With the whole report.
    pub fn assert_passed(&self, missing: &[Capability]) {
        let mut missed: Vec<Capability> = self.not_run.iter().map(|(_, capability)| *capability).collect();
        missed.sort_unstable();
        missed.dedup();
        assert!(self.failed.is_empty() && missed == missing, "{self:#?}");
    }
}

/// Runs every case against an empty backend of its own that `fresh` makes.
pub async fn run(fresh: impl Fn() -> Fresh) -> Report {
    let mut report = Report {
        backend: String::new(),
        passed: Vec::new(),
        failed: Vec::new(),
        not_run: Vec::new(),
    };
    for case in cases::ALL {
        let backend = fresh().await;
        report.backend = backend.name().to_owned();
        let capabilities = backend.capabilities();
        if let Some(missing) = case.needs.iter().find(|needed| !capabilities.has(**needed)) {
            report.not_run.push((case.name, *missing));
            continue;
        }
        match (case.run)(&*backend).await {
            Ok(()) => report.passed.push(case.name),
            Err(found) => report.failed.push((case.name, found)),
        }
    }
    report
}
