//! The declaration of a cluster: a strategy, a face and a topology that are proved to fit each other.
//!
//! A file is read into a tree, the tree into a draft, and the draft is judged by rules; every step notes what is wrong
//! and goes on, so one look at the findings is enough to mend the file. A draft without errors becomes a
//! [`ClusterDeclaration`], and nothing else does. Rejected: deserializing straight into the types. It stops at the
//! first error, and whoever can deserialize a declaration can have one that was never proved.

mod backend;
mod duration;
mod face;
mod file;
mod finding;
mod format;
mod prescribed;
mod proof;
mod read;
mod reader;
mod spelling;
mod strategy;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use revoada_attest::Digest;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use backend::{BackendConfig, BackendKind, BackendSpec, FaceNeed, face_needs};
pub use face::{ContainerRuntime, FabricFace, FaceKind, FaceSpec};
pub use file::{API_VERSION, KIND, schema};
pub use finding::{ClusterCoherenceError, Finding, FindingCode, Severity};
pub use format::{DeclarationFormat, SyntaxError};
pub use prescribed::{PrescribeError, prescribed_for};
pub use strategy::{
    AttestationStrategy, ConsensusStrategy, ContentStrategy, FabricStrategy, MembershipStrategy, Placement,
    ReconciliationCadence,
};

pub(crate) use format::parse as parse_tree;
pub(crate) use proof::is_name;
pub(crate) use tree::Tree;

use crate::topology::TopologyStrategy;
use file::ClusterFile;
use proof::Parts;
use reader::Reader;

/// What the digest of a declaration is taken under, so that it is never the digest of anything else (BLAKE3 §2.3).
const DIGEST_CONTEXT: &str = "revoada.dev 2026 digest of a cluster declaration v1";

/// The parts of a declaration before they are proved.
#[derive(Debug, Clone)]
pub struct DraftDeclaration {
    /// The cluster's name.
    pub name: String,
    /// How the fabric converges.
    pub strategy: FabricStrategy,
    /// Which API it speaks.
    pub face: FabricFace,
    /// What shape it takes; one of the user's own is as good as a built-in one.
    pub topology: Arc<dyn TopologyStrategy>,
    /// Where resources rest.
    pub backend: BackendSpec,
}

/// A proved declaration: its parts fit each other. It cannot be had otherwise than from [`check`] or
/// [`ClusterDeclaration::prove`] (invariant 2), and it never changes. A clone is cheap; two are equal when their
/// digests are.
#[derive(Clone)]
pub struct ClusterDeclaration {
    parts: Arc<DraftDeclaration>,
    findings: Arc<[Finding]>,
    digest: Digest,
}

/// What the proof of a file says.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The proved declaration; none where a finding is an error.
    pub declaration: Option<ClusterDeclaration>,
    /// All findings, in the order of the file.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// The declaration, or what keeps it from being one.
    ///
    /// # Errors
    /// [`ClusterCoherenceError`] with all findings.
    pub fn into_result(self) -> Result<ClusterDeclaration, ClusterCoherenceError> {
        self.declaration.ok_or(ClusterCoherenceError {
            findings: self.findings,
        })
    }
}

/// `{"id": …, "digest": …, "findings": […]}`, as `revoada check -o json` prints it.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut verdict = serializer.serialize_struct("Verdict", 3)?;
        verdict.serialize_field("id", &self.declaration.as_ref().map(ClusterDeclaration::id))?;
        verdict.serialize_field(
            "digest",
            &self.declaration.as_ref().map(|proved| proved.digest().to_string()),
        )?;
        verdict.serialize_field("findings", &self.findings)?;
        verdict.end()
    }
}

/// Reads and proves a declaration. Without a format it is recognised: JSON begins with `{`, and what is no object in
/// YAML may be HCL.
///
/// # Errors
/// [`SyntaxError`] where the bytes are no document of that format, so that there is nothing findings could be about.
/// Whatever can be read is judged: it is either proved, or has at least one finding that is an error.
pub fn check(bytes: &[u8], format: Option<DeclarationFormat>) -> Result<Verdict, SyntaxError> {
    check_with(bytes, format, &[])
}

/// [`check`] for a program that brings topologies of its own: the file may name them.
///
/// # Errors
/// As [`check`].
pub fn check_with(
    bytes: &[u8],
    format: Option<DeclarationFormat>,
    own: &[Arc<dyn TopologyStrategy>],
) -> Result<Verdict, SyntaxError> {
    Ok(check_tree(&format::parse(bytes, format)?, own))
}

/// Proves a document that was read already.
pub(crate) fn check_tree(tree: &Tree, own: &[Arc<dyn TopologyStrategy>]) -> Verdict {
    let mut reader = Reader::default();
    let read = read::read(&mut reader, tree, own);
    let judged = proof::judge(Parts {
        name: &read.name,
        strategy: &read.strategy,
        face: &read.face,
        topology: read.topology.as_ref(),
        backend: &read.backend,
        unread: &reader.unread,
    });
    let mut findings = reader.findings;
    findings.extend(judged);
    put_in_order(&mut findings, tree);
    let draft = read.topology.map(|topology| DraftDeclaration {
        name: read.name,
        strategy: read.strategy,
        face: read.face,
        topology,
        backend: read.backend,
    });
    let declaration = match draft {
        Some(draft) if !findings.iter().any(Finding::is_error) => {
            Some(ClusterDeclaration::seal(draft, findings.clone()))
        }
        _ => None,
    };
    Verdict { declaration, findings }
}

/// Puts findings in the order in which their paths stand in the file. One about something that is not there comes
/// where its parent does; those that come at one place keep the order of the documentation.
fn put_in_order(findings: &mut [Finding], tree: &Tree) {
    let mut places = BTreeMap::new();
    number_places(tree, String::new(), &mut places);
    findings.sort_by_key(|finding| (place(&finding.path, &places), finding.code));
}

fn number_places(tree: &Tree, path: String, places: &mut BTreeMap<String, usize>) {
    places.insert(path.clone(), places.len());
    match tree {
        Tree::Object(fields) => {
            fields
                .iter()
                .for_each(|(key, value)| number_places(value, reader::join(&path, key), places));
        }
        Tree::List(items) => {
            items
                .iter()
                .enumerate()
                .for_each(|(nth, item)| number_places(item, format!("{path}[{nth}]"), places));
        }
        _ => {}
    }
}

fn place(path: &str, places: &BTreeMap<String, usize>) -> usize {
    let mut path = path;
    loop {
        if let Some(place) = places.get(path) {
            return *place;
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return 0,
        }
    }
}

impl ClusterDeclaration {
    /// Proves a draft, by the same rules as a file.
    ///
    /// # Errors
    /// [`ClusterCoherenceError`] with all findings, where at least one is an error.
    pub fn prove(draft: DraftDeclaration) -> Result<Self, ClusterCoherenceError> {
        let mut findings = proof::judge(Parts {
            name: &draft.name,
            strategy: &draft.strategy,
            face: &draft.face,
            topology: Some(&draft.topology),
            backend: &draft.backend,
            unread: &[],
        });
        put_in_order(&mut findings, &tree_of(&draft));
        if findings.iter().any(Finding::is_error) {
            return Err(ClusterCoherenceError { findings });
        }
        Ok(Self::seal(draft, findings))
    }

    fn seal(draft: DraftDeclaration, findings: Vec<Finding>) -> Self {
        let digest = blake3::derive_key(DIGEST_CONTEXT, canonical(&draft).as_bytes());
        Self {
            parts: Arc::new(draft),
            findings: findings.into(),
            digest: Digest::from_bytes(digest),
        }
    }

    /// `FACE/STRATEGY/TOPOLOGY`, e.g. `native/homelab-3node/quorum-3m`.
    pub fn id(&self) -> String {
        format!(
            "{}/{}/{}",
            self.parts.face.name,
            self.parts.strategy.name,
            self.parts.topology.name()
        )
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.parts.name
    }

    /// How the fabric converges.
    pub fn strategy(&self) -> &FabricStrategy {
        &self.parts.strategy
    }

    /// Which API it speaks.
    pub fn face(&self) -> &FabricFace {
        &self.parts.face
    }

    /// What shape it takes.
    pub fn topology(&self) -> Arc<dyn TopologyStrategy> {
        Arc::clone(&self.parts.topology)
    }

    /// The name of the node that must vote because it breaks a tie: a pair's, where one was declared.
    pub fn witness(&self) -> Option<&str> {
        self.parts.topology.witness()
    }

    /// Where resources rest.
    pub fn backend(&self) -> &BackendSpec {
        &self.parts.backend
    }

    /// Whether every verb leaves a line in an audit log.
    pub fn audit(&self) -> bool {
        self.parts.backend.audit
    }

    /// What the proof had to say beside that it holds: warnings and notes.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// A copy of its parts, to be changed and proved again.
    pub fn draft(&self) -> DraftDeclaration {
        self.parts.as_ref().clone()
    }

    /// BLAKE3 over [`ClusterDeclaration::canonical_json`], under a context of its own: the same for every file that
    /// declares the same, whatever its format, its order, and whether it states what is the default anyway.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The declaration as a file, every default written out. Proving it again gives the same digest.
    pub fn render(&self, format: DeclarationFormat) -> String {
        format::render(&ClusterFile::of(self), format)
    }

    /// The declaration as compact JSON with sorted keys, every default written out: one text per meaning, for storage.
    /// [`check`] reads it back.
    pub fn canonical_json(&self) -> String {
        canonical(&self.parts)
    }
}

fn canonical(draft: &DraftDeclaration) -> String {
    const WRITABLE: &str = "a declaration is texts, booleans and finite numbers under texts";
    let mut value = serde_json::to_value(ClusterFile::of_draft(draft)).expect(WRITABLE);
    value.sort_all_objects();
    value.to_string()
}

/// The file of a draft as a tree, for the order of its paths; a number that is not finite is nothing there.
fn tree_of(draft: &DraftDeclaration) -> Tree {
    const WRITABLE: &str = "a draft is texts, booleans and numbers under texts";
    let text = serde_json::to_string(&ClusterFile::of_draft(draft)).expect(WRITABLE);
    serde_json::from_str(&text).expect("what serde_json wrote it reads")
}

impl fmt::Debug for ClusterDeclaration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ClusterDeclaration({} {} {})",
            self.parts.name,
            self.id(),
            self.digest.short()
        )
    }
}

impl PartialEq for ClusterDeclaration {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for ClusterDeclaration {}

/// As the file that it is, every default written out.
impl Serialize for ClusterDeclaration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ClusterFile::of(self).serialize(serializer)
    }
}
