//! What an audit log says, what of it can be changed unnoticed (nothing), and how it goes on after a crash.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::join_all;
use revoada_core::resource::{Resource, ResourceFormat, ResourceRef};
use revoada_store::audit::{Audit, AuditLine, AuditLog, AuditProblem, AuditVerified, OpenAuditError, verify};
use revoada_store::limits::AUDIT_LINE_BYTES_MAX;
use revoada_store::{ApplyRequest, KindFilter, ListRequest, MemoryBackend, ReadOptions, StoreBackend, WatchRequest};

fn config(name: &str, value: &str) -> Resource {
    let document = format!("kind: ConfigMap\nmetadata: {{name: {name}, namespace: web}}\npassword: {value}\n");
    Resource::parse(document.into(), ResourceFormat::Yaml).unwrap()
}

fn reference(name: &str) -> ResourceRef {
    config(name, "x").reference
}

/// A log whose clock counts its lines.
fn open(path: &Path) -> Result<AuditLog, OpenAuditError> {
    let time = AtomicU64::new(100);
    AuditLog::open(path, Arc::new(move || time.fetch_add(1, Ordering::Relaxed)))
}

fn audited(path: &Path, who: &str) -> Audit<MemoryBackend> {
    Audit::new(Arc::new(MemoryBackend::new()), open(path).unwrap(), who)
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.log");
    (folder, path)
}

/// A finished log with five applied resources behind its first line.
async fn five() -> (tempfile::TempDir, PathBuf) {
    let (folder, path) = place();
    let backend = audited(&path, "ann");
    for name in ["a", "b", "c", "d", "e"] {
        backend.apply(ApplyRequest::one(config(name, "1"))).await.unwrap();
    }
    (folder, path)
}

fn verified(bytes: &[u8]) -> Result<AuditVerified, AuditProblem> {
    verify(bytes)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

#[tokio::test]
async fn every_verb_leaves_one_line_and_never_the_body() {
    let (_folder, path) = place();
    let backend = audited(&path, "ann");
    let secret = "hunter2";
    let both = vec![config("a", secret), config("b", secret)];
    backend.apply(ApplyRequest::many(both.clone()).dry_run()).await.unwrap();
    backend.apply(ApplyRequest::many(both)).await.unwrap();
    backend.apply(ApplyRequest::one(config("a", secret))).await.unwrap();
    backend
        .apply(ApplyRequest::one(config("a", "2")).if_revision(77))
        .await
        .unwrap_err();
    backend.get(&reference("a"), ReadOptions::LINEARIZABLE).await.unwrap();
    backend
        .get(&reference("z"), ReadOptions::LINEARIZABLE)
        .await
        .unwrap_err();
    backend
        .list(ListRequest::of(KindFilter::of("", "ConfigMap")))
        .await
        .unwrap();
    drop(backend.watch(WatchRequest::of(KindFilter::ANY)).await.unwrap());
    let other = backend.on_behalf_of("ben");
    other.delete(&reference("b"), None).await.unwrap();
    other.delete(&reference("b"), None).await.unwrap_err();
    let mut file = Vec::new();
    other.snapshot(&mut file).await.unwrap();
    other.restore(&mut file.as_slice()).await.unwrap();
    other.restore(&mut &file[..9]).await.unwrap_err();
    backend.log().flush().await.unwrap();

    let said: Vec<String> = lines(&path)
        .iter()
        .map(|line| {
            let line: AuditLine = serde_json::from_str(line).unwrap();
            let reference = line.reference.unwrap_or_default();
            format!("{} {} {reference}: {}", line.who, line.verb, line.outcome)
        })
        .collect();
    let expected = "\
revoada open : ok
ann apply-dry-run ConfigMap web/a: created
ann apply-dry-run ConfigMap web/b: created
ann apply ConfigMap web/a: created
ann apply ConfigMap web/b: created
ann apply ConfigMap web/a: unchanged
ann apply ConfigMap web/a: conflict
ann get ConfigMap web/a: ok
ann get ConfigMap web/z: not-found
ann list ConfigMap: ok
ann watch *: ok
ben delete ConfigMap web/b: ok
ben delete ConfigMap web/b: not-found
ben snapshot : ok
ben restore : ok
ben restore : invalid";
    assert_eq!(said.join("\n"), expected);
    assert!(!fs::read_to_string(&path).unwrap().contains(secret));
}

#[tokio::test]
async fn a_mutation_is_in_the_file_before_it_is_answered() {
    let (_folder, path) = place();
    let backend = audited(&path, "ann");
    for number in 0..20 {
        let name = format!("n{number}");
        backend.apply(ApplyRequest::one(config(&name, "1"))).await.unwrap();
        let last = lines(&path).pop().unwrap();
        assert!(last.contains(&format!("web/{name}\"")), "{last}");
        backend.delete(&reference(&name), None).await.unwrap();
        assert!(lines(&path).pop().unwrap().contains("\"delete\""));
    }
}

#[tokio::test]
async fn many_callers_at_once_leave_one_chain() {
    let (_folder, path) = place();
    let backend = audited(&path, "ann");
    let writers = (0..200).map(|number| {
        let backend = &backend;
        async move {
            let name = format!("n{number}");
            backend.apply(ApplyRequest::one(config(&name, "1"))).await.unwrap();
        }
    });
    join_all(writers).await;
    let found = verified(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((found.lines, found.torn_bytes), (201, 0));
}

#[tokio::test]
async fn no_byte_of_a_log_can_change_unnoticed() {
    let (_folder, path) = five().await;
    let whole = fs::read(&path).unwrap();
    let before = verified(&whole).unwrap();
    assert_eq!(before.lines, 6);
    for at in 0..whole.len() {
        for bit in [0, 3, 5] {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            // Of the last line only the head tells, which is why whoever reads a log notes it.
            let noticed = verified(&changed).map_or(true, |after| after.head != before.head);
            assert!(noticed, "byte {at}, bit {bit}");
        }
    }
}

#[tokio::test]
async fn what_was_done_to_a_log_is_told_apart_by_line() {
    let (_folder, path) = five().await;
    let sound = lines(&path);
    let after = |change: fn(&mut Vec<String>)| {
        let mut changed = sound.clone();
        change(&mut changed);
        verified(&joined(&changed))
    };
    let sequence = |line, found| move |problem: &AuditProblem| matches!(problem, AuditProblem::Sequence { line: l, found: f } if (*l, *f) == (line, found));
    let removed = after(|lines| drop(lines.remove(2))).unwrap_err();
    assert!(sequence(3, 4)(&removed), "{removed}");
    let swapped = after(|lines| lines.swap(2, 3)).unwrap_err();
    assert!(sequence(3, 4)(&swapped), "{swapped}");
    let repeated = after(|lines| lines.insert(2, lines[2].clone())).unwrap_err();
    assert!(sequence(4, 3)(&repeated), "{repeated}");
    let head_cut = after(|lines| drop(lines.remove(0))).unwrap_err();
    assert!(sequence(1, 2)(&head_cut), "{head_cut}");
    let changed = after(|lines| lines[2] = lines[2].replace("\"ann\"", "\"eve\"")).unwrap_err();
    assert!(matches!(changed, AuditProblem::Chain { line: 4 }), "{changed}");
    let spaced = after(|lines| lines[2] = lines[2].replace(':', ": ")).unwrap_err();
    assert!(matches!(spaced, AuditProblem::Chain { line: 4 }), "{spaced}");
    let foreign = after(|lines| lines.insert(2, "{}".to_owned())).unwrap_err();
    assert!(matches!(foreign, AuditProblem::Format { line: 3, .. }), "{foreign}");
    let long = after(|lines| lines.insert(2, " ".repeat(AUDIT_LINE_BYTES_MAX + 1))).unwrap_err();
    assert!(matches!(long, AuditProblem::TooLong { line: 3 }), "{long}");
    // A tail that was cut is a shorter log; the head that was noted before tells.
    let cut = after(|lines| lines.truncate(4)).unwrap();
    assert_eq!(cut.lines, 4);
    assert_ne!(cut.head, after(|_| {}).unwrap().head);
}

#[tokio::test]
async fn a_log_goes_on_where_it_ended() {
    let (_folder, path) = five().await;
    let before = verified(&fs::read(&path).unwrap()).unwrap();
    let backend = audited(&path, "ben");
    backend.apply(ApplyRequest::one(config("f", "1"))).await.unwrap();
    drop(backend);
    let after = verified(&fs::read(&path).unwrap()).unwrap();
    assert_eq!((before.lines, after.lines), (6, 8));
    let next: AuditLine = serde_json::from_str(&lines(&path)[6]).unwrap();
    assert_eq!((next.verb.as_str(), next.previous), ("open", before.head));
}

#[tokio::test]
async fn a_torn_line_is_dropped_and_said_so() {
    let (_folder, path) = five().await;
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .unwrap()
        + 1;
    for cut in [last + 1, last + 20, whole.len() - 1] {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(verified(&whole[..cut]).unwrap().torn_bytes, (cut - last) as u64);
        drop(open(&path).unwrap());
        let found = verified(&fs::read(&path).unwrap()).unwrap();
        assert_eq!((found.lines, found.torn_bytes), (6, 0));
        assert!(lines(&path)[5].contains("torn-line-dropped"));
    }
    // The very first line of a log.
    fs::write(&path, "{\"sequ").unwrap();
    drop(open(&path).unwrap());
    assert_eq!(verified(&fs::read(&path).unwrap()).unwrap().lines, 1);
}

#[tokio::test]
async fn what_is_no_audit_log_is_refused_and_left_as_it_is() {
    let (_folder, path) = five().await;
    let sound = lines(&path);
    let with = |line: String| joined(&[sound.as_slice(), &[line]].concat());
    for bytes in [
        b"dear diary\n".to_vec(),
        vec![b'x'; AUDIT_LINE_BYTES_MAX + 1],
        with("{}".to_owned()),
        with("x".repeat(3 * AUDIT_LINE_BYTES_MAX)),
    ] {
        fs::write(&path, &bytes).unwrap();
        let error = open(&path).map(drop).unwrap_err();
        assert!(matches!(error, OpenAuditError::Damaged { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[tokio::test]
async fn a_log_has_one_writer_and_is_no_symlink() {
    let (folder, path) = five().await;
    let first = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenAuditError::InUse { .. })));
    drop(first);
    let before = fs::read(&path).unwrap();
    let link = folder.path().join("link.log");
    symlink(&path, &link).unwrap();
    let error = open(&link).map(drop).unwrap_err();
    assert!(matches!(error, OpenAuditError::File { did: "opened", .. }), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn the_longest_callers_and_filters_still_make_a_line() {
    let (_folder, path) = place();
    let backend = audited(&path, &"\u{1}".repeat(10_000));
    let long = "\u{1}".repeat(10_000);
    let kind = KindFilter {
        kind: Some(long.clone()),
        group: Some(long.clone()),
    };
    let request = ListRequest {
        namespace: Some(long.clone()),
        name: Some(long),
        ..ListRequest::of(kind)
    };
    let _refused_or_empty = backend.list(request).await;
    let quoted = format!("\"{}", "\\\"".repeat(120));
    let document = format!("{{\"kind\":{quoted}\",\"metadata\":{{\"name\":{quoted}\",\"namespace\":{quoted}\"}}}}");
    let awkward = Resource::parse(document.into(), ResourceFormat::Json).unwrap();
    backend.apply(ApplyRequest::one(awkward)).await.unwrap();
    drop(backend);
    assert_eq!(verified(&fs::read(&path).unwrap()).unwrap().lines, 3);
    drop(open(&path).unwrap());
}
