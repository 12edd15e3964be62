//! What the proof says: one case and more for each code.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use revoada_attest::Role;

use super::*;
use crate::topology::{Cluster3MNW, Pair, Quorum3M, Solo, TopologyStrategy};

#[test]
fn the_prescribed_declaration_has_no_findings() {
    let declaration = proved(&base());
    assert_eq!(declaration.id(), "native/homelab-3node/quorum-3m");
    assert_eq!(declaration.findings(), []);
    assert_eq!(*declaration.strategy(), FabricStrategy::prescribed_homelab());
}

/// Changes to the base, and the codes that they cause, in the order of the file.
#[test]
fn each_change_causes_exactly_its_findings() {
    let cases: &[(&[(&str, Value)], &str)] = &[
        (
            &[("topology.kind", json!("solo"))],
            "topology-too-small-for-quorum survives-none",
        ),
        (
            &[("topology.kind", json!("solo")), ("strategy.consensus.size", json!(1))],
            "survives-none",
        ),
        (
            &[("topology.kind", json!("pair"))],
            "pair-without-witness topology-too-small-for-quorum survives-none",
        ),
        (
            &[("topology.kind", json!("pair")), ("strategy.consensus.size", json!(1))],
            "pair-without-witness survives-none",
        ),
        (&[("topology", json!({"kind": "pair", "witness": "w"}))], ""),
        (
            &[
                ("topology", json!({"kind": "pair", "witness": "w"})),
                ("strategy.consensus.size", json!(1)),
            ],
            "consensus-size-too-small",
        ),
        (&[("topology.kind", json!("cluster-3m-nw"))], ""),
        (&[("topology.kind", json!("mesh-all-peers"))], ""),
        (&[("topology.kind", json!("phalanx"))], ""),
        (
            &[
                ("topology.kind", json!("phalanx")),
                ("strategy.consensus.size", json!(5)),
            ],
            "",
        ),
        (
            &[("strategy.consensus.size", json!(5))],
            "topology-too-small-for-quorum",
        ),
        (
            &[("strategy.consensus.size", json!(4))],
            "consensus-size-even topology-too-small-for-quorum",
        ),
        (
            &[("strategy.consensus.size", json!(2))],
            "consensus-size-even consensus-size-too-small",
        ),
        (&[("strategy.consensus.size", json!(1))], "consensus-size-too-small"),
        (&[("strategy.consensus.size", json!(0))], "consensus-size-too-small"),
        (
            &[("strategy.reconciliation", json!("0ms"))],
            "detector-outpaces-reconciliation cadence-zero",
        ),
        (
            &[("strategy.membership.failsafeTimeout", json!("501ms"))],
            "detector-outpaces-reconciliation",
        ),
        (
            &[("strategy.membership.failsafeTimeout", json!("500ms"))],
            "detector-outpaces-reconciliation",
        ),
        (&[("strategy.membership.failsafeTimeout", json!("499ms"))], ""),
        (
            &[("strategy.consensus.heartbeat", json!("100ms"))],
            "heartbeat-too-slow",
        ),
        (&[("strategy.consensus.heartbeat", json!("75ms"))], ""),
        (
            &[("strategy.consensus.electionTimeout", json!("99ms"))],
            "election-timeout-below-fsync heartbeat-too-slow",
        ),
        (
            &[
                ("strategy.consensus.electionTimeout", json!("99ms")),
                ("strategy.consensus.heartbeat", json!("30ms")),
            ],
            "election-timeout-below-fsync",
        ),
        (&[("strategy.consensus.electionTimeout", json!("60s"))], ""),
        (&[("strategy.membership.phiThreshold", json!(40))], "phi-out-of-range"),
        (&[("strategy.membership.phiThreshold", json!(0.99))], "phi-out-of-range"),
        (&[("strategy.membership.phiThreshold", json!(1))], ""),
        (&[("strategy.membership.phiThreshold", json!(16.0))], ""),
        (
            &[("face.requiresOperatorSignature", json!(true))],
            "signature-promise-unmet",
        ),
        (
            &[
                ("face.requiresOperatorSignature", json!(true)),
                ("strategy.attestation.operatorSignature", json!(true)),
            ],
            "",
        ),
        (&[("topology.kind", json!("phalanxx"))], "unknown-name"),
        (&[("face.kind", json!("kubernets"))], "unknown-name"),
        (&[("backend.kind", json!("raft"))], "unknown-name"),
        (&[("strategy", json!("homelab"))], "unknown-name"),
        (&[("strategy", json!({"name": "homelab"}))], "unknown-name"),
        (&[("strategy.placement", json!("zone"))], "unknown-name"),
        (&[("apiVersion", json!("revoada.dev/v2"))], "unknown-name"),
        (&[("kind", json!("Klaster"))], "unknown-name"),
        (&[("strategy.consensus.quorum", json!(3))], "unknown-field"),
        (&[("topology.witness", json!("w"))], "unknown-field"),
        (&[("face.version", json!("1.36"))], "unknown-field"),
        (&[("metadata", json!({}))], "unknown-field"),
        (&[("name", Value::Null)], "missing-field"),
        (&[("apiVersion", Value::Null)], "missing-field"),
        (&[("face", Value::Null)], "missing-field"),
        (&[("topology", Value::Null)], "missing-field"),
        (&[("strategy", Value::Null)], "missing-field"),
        (&[("topology.kind", Value::Null)], "missing-field"),
        (&[("backend", Value::Null)], ""),
        (&[("backend", json!({"kind": "folder"}))], "missing-field"),
        (&[("backend", json!({"kind": "etcd"}))], "missing-field"),
        (
            &[("backend", json!({"kind": "etcd", "endpoints": []}))],
            "invalid-value",
        ),
        (
            &[("backend", json!({"kind": "etcd", "endpoints": ["http://a:2379", 5]}))],
            "wrong-type",
        ),
        (&[("backend", json!({"kind": "folder", "path": ""}))], "invalid-value"),
        (&[("strategy.reconciliation", json!(500))], "wrong-type"),
        (&[("strategy.reconciliation", json!("soon"))], "wrong-type"),
        (&[("strategy.standbys", json!("2"))], "wrong-type"),
        (&[("strategy.standbys", json!(1.5))], "wrong-type"),
        (&[("strategy.standbys", json!(2.0))], ""),
        (
            &[("strategy.attestation.operatorSignature", json!("yes"))],
            "wrong-type",
        ),
        (&[("strategy.consensus", json!([]))], "wrong-type"),
        (&[("face", json!("native"))], "wrong-type"),
        (&[("topology", json!("solo"))], "wrong-type"),
        (&[("name", json!(5))], "wrong-type"),
        (&[("name", json!("a/b"))], "invalid-value"),
        (&[("name", json!(""))], "invalid-value"),
        (&[("name", json!("n".repeat(64)))], "invalid-value"),
        (&[("face.name", json!("../etc"))], "invalid-value"),
        (
            &[("topology", json!({"kind": "pair", "witness": "a b"}))],
            "invalid-value",
        ),
        (
            &[("face", json!({"kind": "kubernetes", "version": "latest"}))],
            "invalid-value",
        ),
        (
            &[("face", json!({"kind": "kubernetes", "version": 1.36}))],
            "wrong-type",
        ),
    ];
    for (changes, expected) in cases {
        assert_eq!(codes(&with(changes)), *expected, "{changes:?}");
    }
}

#[test]
fn every_cadence_interval_and_timeout_is_refused_at_zero() {
    let zero = [
        "strategy.consensus.electionTimeout",
        "strategy.consensus.heartbeat",
        "strategy.membership.gossipCadence",
        "strategy.membership.failsafeTimeout",
        "strategy.content.syncCadence",
        "strategy.attestation.sealInterval",
        "strategy.reconciliation",
    ];
    for path in zero {
        let said = judged(&with(&[(path, json!("0s"))])).findings;
        assert!(
            said.iter()
                .any(|f| f.code == FindingCode::CadenceZero && f.path == path),
            "{path}: {said:?}"
        );
    }
    assert_eq!(
        codes(&with(&[("strategy.consensus.snapshotInterval", json!(0))])),
        "cadence-zero"
    );
    assert_eq!(
        codes(&with(&[("strategy.content.retention", json!("0s"))])),
        "",
        "retention is no cadence"
    );
}

/// A number that its field cannot hold is a finding that names the field, and causes no other.
#[test]
fn numbers_out_of_range_are_found_wherever_they_are() {
    let integers = [
        "strategy.consensus.size",
        "strategy.consensus.snapshotInterval",
        "strategy.standbys",
    ];
    let durations = [
        "strategy.consensus.electionTimeout",
        "strategy.consensus.heartbeat",
        "strategy.membership.gossipCadence",
        "strategy.membership.failsafeTimeout",
        "strategy.content.syncCadence",
        "strategy.content.retention",
        "strategy.attestation.sealInterval",
        "strategy.reconciliation",
    ];
    for path in integers {
        for number in [
            "-3",
            "1e400",
            "-1e400",
            "18446744073709551616",
            "340282366920938463463374607431768211456",
            "1e30",
        ] {
            let file = with(&[(path, json!("HERE"))]).to_string().replace("\"HERE\"", number);
            let findings = check(file.as_bytes(), None).expect("JSON").findings;
            assert_eq!(
                findings
                    .iter()
                    .map(|f| (f.code.name(), f.path.as_str()))
                    .collect::<Vec<_>>(),
                [("number-out-of-range", path)]
            );
        }
        for word in ["NaN", "Infinity", "-inf", ".nan"] {
            assert_eq!(
                codes(&with(&[(path, json!(word))])),
                "number-out-of-range",
                "{path} {word}"
            );
        }
    }
    for path in durations {
        for text in [
            "-3s",
            "1000000000000d",
            "99999999999999999999999ms",
            "NaN",
            "inf",
            "36501d",
        ] {
            assert_eq!(
                codes(&with(&[(path, json!(text))])),
                "number-out-of-range",
                "{path} {text}"
            );
        }
        assert_eq!(codes(&with(&[(path, json!(-3))])), "number-out-of-range", "{path}");
    }
    let phi = "strategy.membership.phiThreshold";
    for text in ["NaN", "Infinity", ".nan", "inf"] {
        assert_eq!(
            codes(&with(&[(phi, json!(text))])),
            "phi-out-of-range number-out-of-range",
            "{text}"
        );
    }
    assert_eq!(
        codes(&with(&[(phi, json!(-3))])),
        "phi-out-of-range number-out-of-range"
    );
}

#[test]
fn all_findings_come_at_once_and_in_the_order_of_the_file() {
    let file = with(&[
        ("strategy.membership.gossipCadence", json!("0ms")),
        ("strategy.consensus.size", json!(2)),
        ("strategy.consensus.quorum", json!(2)),
        ("strategy.membership.phiThreshold", json!(0.0)),
        ("face.requiresOperatorSignature", json!(true)),
        ("topology.kind", json!("mesh")),
        ("backend.kind", json!("folder")),
    ]);
    assert_eq!(
        said(&file),
        "\
error[consensus-size-even] strategy.consensus.size: 2 voters survive 0 losses, as 1 do
error[unknown-field] strategy.consensus.quorum: the consensus of a strategy has no field \"quorum\"
error[cadence-zero] strategy.membership.gossipCadence: it is zero
error[phi-out-of-range] strategy.membership.phiThreshold: 0 is not from 1 to 16
error[signature-promise-unmet] face.requiresOperatorSignature: the face promises an operator's signature on every attested change, and the strategy asks for none
error[unknown-name] topology.kind: there is no topology \"mesh\"
error[missing-field] backend.path: `path` is not there"
    );
    // The same parts in another order: the findings follow it.
    let turned = r#"{"topology": {"kind": "x"}, "kind": "Cluster", "name": "", "apiVersion": "revoada.dev/v1",
        "face": {"kind": "y"}, "strategy": {"standbys": -1, "consensus": {"size": 4}}}"#;
    let findings = check(turned.as_bytes(), None).expect("JSON").findings;
    let paths: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "topology.kind",
            "name",
            "face.kind",
            "strategy.standbys",
            "strategy.consensus.size"
        ]
    );
}

#[test]
fn the_remedy_for_a_misspelling_names_the_nearest() {
    let cases = [
        ("topology.kind", json!("phalanxx"), "write phalanx;"),
        ("face.kind", json!("kubernets"), "write kubernetes;"),
        ("backend.kind", json!("open-raft"), "write openraft;"),
        ("strategy.placement", json!("zoneaware"), "write zone-aware;"),
        (
            "strategy.consensus.electionTimout",
            json!("1s"),
            "write electionTimeout,",
        ),
        ("strategie", json!({}), "write strategy,"),
        ("apiVersion", json!("v1"), "write revoada.dev/v1;"),
    ];
    for (path, value, remedy) in cases {
        let findings = judged(&with(&[(path, value)])).findings;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].remedy.starts_with(remedy), "{findings:?}");
    }
}

/// Every face with every backend: `ok`, or the capabilities that are lacking.
#[test]
fn a_face_is_served_only_from_a_backend_that_has_what_it_needs() {
    let mut table = Vec::new();
    for face in FaceKind::ALL {
        for backend in BackendKind::ALL {
            let stated = match backend {
                BackendKind::Folder => json!({"kind": "folder", "path": "/srv/r"}),
                BackendKind::Etcd => json!({"kind": "etcd", "endpoints": ["http://127.0.0.1:2379"]}),
                other => json!({"kind": other.name()}),
            };
            let file = with(&[("face", json!({"kind": face.name()})), ("backend", stated)]);
            let findings = judged(&file).findings;
            assert!(
                findings
                    .iter()
                    .all(|finding| finding.code == FindingCode::FaceBackendMismatch),
                "{findings:?}"
            );
            assert_eq!(findings.is_empty(), backend.serves(face));
            for need in backend.lacks(face) {
                assert!(findings[0].message.contains(need.name()), "{findings:?}");
            }
            if backend.serves(face) {
                table.push(format!("{face} on {backend}"));
            }
        }
    }
    let expected = "\
kubernetes on openraft, kubernetes on etcd, nomad on openraft, nomad on memory, nomad on folder, nomad on nomad-http, \
nomad on etcd, systemd on systemd-dbus, systemd on supervised-systemd, pure-raft on openraft, pure-raft on memory, \
pure-raft on folder, pure-raft on kube-apiserver, pure-raft on nomad-http, pure-raft on systemd-dbus, \
pure-raft on supervised-systemd, pure-raft on etcd, bare-metal-supervisor on supervised-systemd, etcd on openraft, \
etcd on etcd";
    assert_eq!(table.join(", "), expected);
}

#[test]
fn every_code_is_explained_and_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = FindingCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(names.len(), FindingCode::ALL.len());
    for code in FindingCode::ALL {
        assert!(code.explain().len() > 80, "{code}");
        assert_eq!(serde_json::to_value(code).expect("a name"), json!(code.name()));
    }
}

fn draft() -> DraftDeclaration {
    prescribed_for("quorum-3m", 3).expect("three are enough")
}

#[test]
fn a_draft_of_a_program_is_judged_by_the_same_rules_as_a_file() {
    let mut wrong = draft();
    wrong.name = "a b".to_owned();
    wrong.strategy.reconciliation = Duration::MAX;
    wrong.strategy.membership.phi_threshold = f64::NAN;
    wrong.strategy.consensus.heartbeat = Duration::MAX;
    wrong.strategy.consensus.size = 4;
    let error = ClusterDeclaration::prove(wrong).expect_err("not coherent");
    let codes: Vec<&str> = error.findings.iter().map(|finding| finding.code.name()).collect();
    assert_eq!(
        codes.join(" "),
        "invalid-value consensus-size-even heartbeat-too-slow number-out-of-range phi-out-of-range \
         number-out-of-range number-out-of-range topology-too-small-for-quorum"
    );
    assert!(
        error
            .to_string()
            .starts_with("the declaration is not coherent: name: \"a b\" is not a name")
    );

    let proved = ClusterDeclaration::prove(draft()).expect("coherent");
    assert_eq!(proved.digest(), super::proved(&base()).digest());
    assert_eq!(proved, super::proved(&base()));
}

#[test]
fn warnings_stay_with_the_proved_declaration() {
    let mut alone = draft();
    alone.topology = Arc::new(Solo);
    alone.strategy.consensus.size = 1;
    let alone = ClusterDeclaration::prove(alone).expect("a warning is no error");
    assert_eq!(
        alone.findings().iter().map(|f| f.code).collect::<Vec<_>>(),
        [FindingCode::SurvivesNone]
    );
}

/// Five of nine, and a name of its own.
#[derive(Debug)]
struct OwnShape {
    name: &'static str,
    voters: usize,
}

impl TopologyStrategy for OwnShape {
    fn name(&self) -> &str {
        self.name
    }

    fn nodes_min(&self) -> usize {
        9
    }

    fn voters(&self, _nodes: usize) -> usize {
        self.voters
    }

    fn others(&self, _nodes: usize) -> Role {
        Role::Observer
    }
}

#[test]
fn a_topology_of_the_users_own_plugs_in() {
    let own: Arc<dyn TopologyStrategy> = Arc::new(OwnShape {
        name: "five-of-nine",
        voters: 5,
    });
    let declaration = ClusterDeclaration::prove(DraftDeclaration {
        topology: Arc::clone(&own),
        ..draft()
    })
    .expect("sound");
    assert_eq!(declaration.id(), "native/homelab-3node/five-of-nine");
    let file = declaration.render(DeclarationFormat::Yaml);
    let unknown = check(file.as_bytes(), None).expect("YAML").findings;
    assert_eq!(
        unknown.iter().map(|f| f.code).collect::<Vec<_>>(),
        [FindingCode::UnknownName]
    );
    let known = check_with(file.as_bytes(), None, &[own])
        .expect("YAML")
        .into_result()
        .expect("known");
    assert_eq!(known.digest(), declaration.digest());
}

#[test]
fn an_unsound_topology_is_refused() {
    for (name, voters) in [("none", 0), ("more-than-nodes", 10), ("quorum-3m", 5)] {
        let topology = Arc::new(OwnShape { name, voters });
        let error = ClusterDeclaration::prove(DraftDeclaration { topology, ..draft() }).expect_err("unsound");
        let codes: Vec<FindingCode> = error.findings.iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [FindingCode::TopologyUnsound], "{name}");
    }
}

#[test]
fn the_prescribed_declaration_is_adapted_to_topology_and_nodes() {
    for (name, nodes, size) in [
        ("solo", 1, 1),
        ("solo", 5, 1),
        ("pair", 2, 1),
        ("quorum-3m", 3, 3),
        ("cluster-3m-nw", 5, 3),
        ("phalanx", 9, 3),
    ] {
        let draft = prescribed_for(name, nodes).expect(name);
        assert_eq!(draft.strategy.consensus.size, size, "{name}");
        ClusterDeclaration::prove(draft).expect("what is prescribed is coherent");
    }
    let error = prescribed_for("phalanx", 4).expect_err("five");
    assert_eq!(error.to_string(), "phalanx takes at least 5 nodes, not 4");
    let error = prescribed_for("quorum3m", 4).expect_err("no such name");
    assert_eq!(
        error.to_string(),
        "there is no topology \"quorum3m\"; the nearest is quorum-3m"
    );
}

#[test]
fn the_names_that_users_know_are_there() {
    assert_eq!(FabricStrategy::prescribed_homelab().name, "homelab-3node");
    assert_eq!(FabricFace::prescribed_kubernetes_v1_34().name, "k8s-v1.34");
    assert_eq!(FabricFace::pure_raft("homelab").kind(), FaceKind::PureRaft);
    let cadence = ReconciliationCadence::every(Duration::from_secs(2));
    assert_eq!(
        FabricStrategy::default().with_reconciliation(cadence).reconciliation,
        Duration::from_secs(2)
    );
    let declared = |topology: Arc<dyn TopologyStrategy>| {
        ClusterDeclaration::prove(DraftDeclaration { topology, ..draft() }).expect("coherent")
    };
    assert_eq!(declared(Arc::new(Quorum3M)).topology().name(), "quorum-3m");
    assert_eq!(declared(Arc::new(Cluster3MNW)).witness(), None);
    assert_eq!(declared(Arc::new(Pair::with_witness("third"))).witness(), Some("third"));
}

proptest! {
    /// Whatever a program puts together is either proved, or has at least one error.
    #[test]
    fn a_draft_is_proved_or_has_an_error(
        size in any::<u32>(), phi in any::<f64>(), millis in proptest::array::uniform8(any::<u64>()),
        nodes in 0..6_usize, signature: bool, name in ".{0,8}",
    ) {
        let at = |nth: usize| Duration::from_millis(millis[nth]);
        let mut draft = draft();
        draft.name = name;
        draft.topology = crate::topology::by_name(crate::topology::NAMES[nodes]).expect("listed");
        draft.face.requires_operator_signature = signature;
        draft.strategy.consensus.size = size;
        draft.strategy.consensus.election_timeout = at(0);
        draft.strategy.consensus.heartbeat = at(1);
        draft.strategy.membership.gossip_cadence = at(2);
        draft.strategy.membership.failsafe_timeout = at(3);
        draft.strategy.membership.phi_threshold = phi;
        draft.strategy.content.sync_cadence = at(4);
        draft.strategy.content.retention = at(5);
        draft.strategy.attestation.seal_interval = at(6);
        draft.strategy.reconciliation = at(7);
        if let Err(error) = ClusterDeclaration::prove(draft) {
            prop_assert!(error.errors().count() > 0);
        }
    }
}
