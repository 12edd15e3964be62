mod coherence;
mod files;
mod syntax;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;

/// `homelab-3node` on three nodes, every field written out.
fn base() -> Value {
    json!({
        "apiVersion": "revoada.dev/v1", "kind": "Cluster", "name": "homelab",
        "strategy": {
            "name": "homelab-3node",
            "consensus": {"size": 3, "electionTimeout": "150ms", "heartbeat": "50ms", "snapshotInterval": 10000},
            "membership": {"gossipCadence": "100ms", "phiThreshold": 8.0, "failsafeTimeout": "300ms"},
            "content": {"syncCadence": "1s", "retention": "7d"},
            "attestation": {"sealInterval": "1s", "operatorSignature": false},
            "placement": "zone-aware", "reconciliation": "500ms", "standbys": 2,
        },
        "face": {"name": "native", "kind": "pure-raft"},
        "topology": {"kind": "quorum-3m"},
        "backend": {"kind": "openraft"},
    })
}

/// The base with some fields set, or removed where the value is null.
fn with(changes: &[(&str, Value)]) -> Value {
    let mut file = base();
    for (path, value) in changes {
        let (parents, last) = path
            .rsplit_once('.')
            .map_or((None, *path), |(parents, last)| (Some(parents), last));
        let object = parents
            .into_iter()
            .flat_map(|path| path.split('.'))
            .fold(&mut file, |at, key| &mut at[key]);
        let object = object.as_object_mut().expect("a path leads through objects");
        match value {
            Value::Null => object.remove(last),
            value => object.insert(last.to_owned(), value.clone()),
        };
    }
    file
}

fn judged(file: &Value) -> Verdict {
    let verdict = check(file.to_string().as_bytes(), Some(DeclarationFormat::Json)).expect("JSON");
    assert_eq!(
        verdict.declaration.is_none(),
        verdict.findings.iter().any(Finding::is_error)
    );
    for finding in &verdict.findings {
        assert!(
            !finding.path.is_empty() && !finding.message.is_empty() && !finding.remedy.is_empty(),
            "{finding:?}"
        );
        assert_eq!(finding.severity, finding.code.severity());
    }
    verdict
}

/// The findings, one per line: `error[code] path: message`.
fn said(file: &Value) -> String {
    judged(file)
        .findings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// The codes of the findings, in their order.
fn codes(file: &Value) -> String {
    judged(file)
        .findings
        .iter()
        .map(|finding| finding.code.name())
        .collect::<Vec<_>>()
        .join(" ")
}

fn proved(file: &Value) -> ClusterDeclaration {
    judged(file).into_result().expect("coherent")
}
