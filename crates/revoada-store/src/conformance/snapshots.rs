//! What a snapshot promises between backends: one data set, the same section, and a way into every other.

use revoada_core::Digest;
use revoada_core::snapshot::verify;

use super::Outcome;
use super::fixtures::{data_set, ensure, ensure_eq, ok};
use crate::backend::{ApplyRequest, KindFilter, ListRequest, StoreBackend};

/// Applies [`data_set`] to an empty backend and returns the snapshot, with the digest of its resource section: the
/// same for every backend.
///
/// # Errors
/// What went wrong, in a sentence.
pub async fn resource_section(backend: &dyn StoreBackend) -> Result<(Vec<u8>, Digest), String> {
    ok("apply", backend.apply(ApplyRequest::many(data_set())).await)?;
    let mut file = Vec::new();
    ok("snapshot", backend.snapshot(&mut file).await)?;
    let inspection =
        verify(file.as_slice()).map_err(|error| format!("{} wrote a bad snapshot: {error}", backend.name()))?;
    ok("verification", crate::verify_snapshot(&mut file.as_slice()))?;
    ensure_eq("the number of resources", inspection.entries, data_set().len() as u64)?;
    Ok((file, inspection.resources))
}

/// Fills each of these empty backends, compares their resource sections, and restores every snapshot into every
/// backend, which then has to write the same section again.
///
/// # Errors
/// What went wrong, in a sentence.
pub async fn restores_everywhere(backends: &[&dyn StoreBackend]) -> Outcome {
    let mut files = Vec::new();
    for backend in backends {
        files.push((backend.name(), resource_section(*backend).await?));
    }
    let Some((_, (_, expected))) = files.first() else {
        return Ok(());
    };
    for (from, (file, section)) in &files {
        ensure_eq(&format!("the resource section of {from}"), section, expected)?;
        for backend in backends {
            let what = format!("{} restores what {from} wrote", backend.name());
            let before = ok(&what, backend.list(ListRequest::of(KindFilter::ANY)).await)?;
            let restored = ok(&what, backend.restore(&mut file.as_slice()).await)?;
            ensure(restored.revision > before.revision, || {
                format!("{what}, and the revision did not grow")
            })?;
            let mut again = Vec::new();
            ok(&what, backend.snapshot(&mut again).await)?;
            let again = verify(again.as_slice()).map_err(|error| format!("{what}, then: {error}"))?;
            ensure_eq(&what, again.resources, *expected)?;
        }
    }
    Ok(())
}
