//! Files: what renders reads back, what is left out is the default, and what parses is judged.

use proptest::prelude::*;

use super::*;

const CONTRACT: &str = r#"
apiVersion: revoada.dev/v1
kind: Cluster
name: homelab
strategy:
  name: homelab-3node
  consensus:    { size: 3, electionTimeout: 150ms, heartbeat: 50ms, snapshotInterval: 10000 }
  membership:   { gossipCadence: 100ms, phiThreshold: 8.0, failsafeTimeout: 300ms }
  content:      { syncCadence: 1s, retention: 7d }
  attestation:  { sealInterval: 1s, operatorSignature: false }
  placement:    zone-aware
  reconciliation: 500ms
  standbys: 2
face:           { name: native, kind: pure-raft }
topology:       { kind: cluster-3m-nw }
backend:        { kind: openraft }
"#;

#[test]
fn the_documented_file_and_its_short_form_declare_the_same() {
    let short = "
name: homelab
topology: { kind: cluster-3m-nw }
face: { kind: pure-raft }
strategy: homelab-3node
kind: Cluster
apiVersion: revoada.dev/v1
";
    let hcl = r#"
apiVersion = "revoada.dev/v1"
kind = "Cluster"
name = "homelab"
strategy {
  name = "homelab-3node"
  reconciliation = "0.5s"
  membership {
    phiThreshold = 8
  }
}
face {
  kind = "pure-raft"
}
topology = { "kind" = "cluster-3m-nw" }
"#;
    let whole = check(CONTRACT.as_bytes(), None)
        .expect("YAML")
        .into_result()
        .expect("coherent");
    for text in [short, hcl] {
        let other = check(text.as_bytes(), None)
            .expect("a document")
            .into_result()
            .expect("coherent");
        assert_eq!(other.digest(), whole.digest());
        assert_eq!(other.canonical_json(), whole.canonical_json());
    }
    let prescribed = ClusterDeclaration::prove(prescribed_for("cluster-3m-nw", 5).expect("five")).expect("coherent");
    assert_eq!(prescribed, whole);
}

/// The digest names a cluster for good: a change here orphans every cluster that exists.
#[test]
fn the_digest_of_the_prescribed_declaration_stays() {
    insta::assert_snapshot!(proved(&base()).canonical_json());
    insta::assert_snapshot!(proved(&base()).digest());
}

#[test]
fn a_rendered_file_reads_like_one_that_a_person_wrote() {
    let file = with(&[
        ("face", json!({"kind": "kubernetes", "version": "1.30"})),
        (
            "backend",
            json!({"kind": "etcd", "endpoints": ["http://a:2379", "http://b:2379"], "audit": true}),
        ),
    ]);
    for format in DeclarationFormat::ALL {
        insta::assert_snapshot!(format!("rendered_{format}"), proved(&file).render(format));
    }
}

#[test]
fn a_verdict_is_what_the_command_prints() {
    let verdict = serde_json::to_value(judged(&base())).expect("JSON");
    let digest = proved(&base()).digest().to_string();
    assert_eq!(
        verdict,
        json!({"id": "native/homelab-3node/quorum-3m", "digest": digest, "findings": []})
    );
    let verdict = serde_json::to_value(judged(&with(&[("strategy.consensus.size", json!(1))]))).expect("JSON");
    assert_eq!(
        verdict,
        json!({"id": null, "digest": null, "findings": [{
            "code": "consensus-size-too-small", "severity": "error", "path": "strategy.consensus.size",
            "message": "quorum-3m starts from at least 3 voters, not from 1", "remedy": "write 3",
        }]})
    );
}

/// The fields that the schema allows, by walking it along the values of a file that has them all.
fn allowed<'s>(schema: &'s Value, root: &'s Value) -> Vec<&'s str> {
    let mut keys = Vec::new();
    if let Some(target) = schema["$ref"].as_str() {
        keys.extend(allowed(root.pointer(&target[1..]).expect("a definition"), root));
    }
    keys.extend(
        schema["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str()),
    );
    for choice in ["oneOf", "anyOf", "allOf"] {
        keys.extend(
            schema[choice]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|choice| allowed(choice, root)),
        );
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

#[test]
fn the_schema_is_readable() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema()).expect("JSON"));
}

#[test]
fn the_schema_knows_the_fields_that_the_reader_knows() {
    let schema = schema();
    assert_eq!(schema["title"], json!("Cluster"));
    let at = |pointer: &str| {
        schema
            .pointer(pointer)
            .unwrap_or_else(|| panic!("{pointer} in {schema:#}"))
    };
    let cases = [
        ("", at("")),
        ("strategy", at("/properties/strategy")),
        ("strategy.consensus", at("/$defs/ConsensusStrategy")),
        ("strategy.membership", at("/$defs/MembershipStrategy")),
        ("strategy.content", at("/$defs/ContentStrategy")),
        ("strategy.attestation", at("/$defs/AttestationStrategy")),
        ("face", at("/properties/face")),
        ("topology", at("/properties/topology")),
        ("backend", at("/properties/backend")),
    ];
    for (path, described) in cases {
        // An unknown kind makes the fields of all kinds known; the remedy for an unknown field lists them.
        let unknown = if path.is_empty() {
            "zzz".to_owned()
        } else {
            format!("{path}.zzz")
        };
        let mut changes = vec![(unknown.as_str(), json!(0))];
        let kind = format!("{path}.kind");
        if ["face", "topology", "backend"].contains(&path) {
            changes.push((kind.as_str(), json!("?")));
        }
        let findings = judged(&with(&changes)).findings;
        let finding = findings
            .iter()
            .find(|finding| finding.code == FindingCode::UnknownField)
            .expect("unknown");
        let (_, listed) = finding.remedy.split_once("there are ").expect("a list");
        let mut known: Vec<&str> = listed.split(", ").collect();
        known.sort_unstable();
        assert_eq!(known, allowed(described, &schema), "{path}");
    }
}

/// Names that some reader of some format takes for something else than a text.
const NASTY_NAMES: [&str; 24] = [
    "0644",
    "08",
    "1e5",
    "12",
    "0x10",
    "0o7",
    "0b1",
    "1_000",
    "1.5",
    "2001-01-01",
    "null",
    "true",
    "False",
    "yes",
    "NO",
    "on",
    "n",
    "y",
    "nan",
    "NaN",
    "inf",
    "5e-3",
    "1-1",
    "e5",
];
/// The same for texts that no name can be.
const NASTY_TEXTS: [&str; 16] = [
    "12:30",
    "~",
    "- a",
    "a: b",
    "a #b",
    "&a",
    "*a",
    "!a",
    "%{if a}",
    "$${a}",
    "<<",
    " a ",
    "日本語 😀",
    "[a]",
    "{",
    "'",
];

fn declarable() -> impl Strategy<Value = DraftDeclaration> {
    let nasty = |words: &'static [&'static str]| proptest::sample::select(words).prop_map(str::to_owned);
    let text = || {
        let plain = "[a-zA-Z0-9/:._ é\"'\\\\${}%#-]{0,11}[a-z]";
        prop_oneof![3 => plain, 1 => nasty(&NASTY_NAMES), 1 => nasty(&NASTY_TEXTS)]
    };
    let optional = || proptest::option::of(text());
    let name = || prop_oneof![3 => "[a-z0-9]([a-z0-9._-]{0,8}[a-z0-9])?", 1 => nasty(&NASTY_NAMES)];
    let face = prop_oneof![
        Just(FaceSpec::PureRaft),
        Just(FaceSpec::Etcd),
        (0..99_u32).prop_map(|minor| FaceSpec::Kubernetes {
            version: format!("1.{minor}")
        }),
        name().prop_map(|region| FaceSpec::Nomad { region }),
        any::<bool>().prop_map(|user_units| FaceSpec::Systemd { user_units }),
        Just(FaceSpec::BareMetalSupervisor {
            runtime: ContainerRuntime::Docker
        }),
    ];
    let backend = prop_oneof![
        Just(BackendConfig::Openraft),
        Just(BackendConfig::Memory),
        text().prop_map(|path| BackendConfig::Folder { path }),
        (optional(), optional(), optional(), optional(), optional()).prop_map(
            |(endpoint, kubeconfig, context, b, a)| {
                BackendConfig::KubeApiserver {
                    endpoint,
                    kubeconfig,
                    context,
                    bearer_token_file: b,
                    api_version: a,
                }
            }
        ),
        (text(), optional(), optional(), optional()).prop_map(|(address, token_file, region, namespace)| {
            BackendConfig::NomadHttp {
                address,
                token_file,
                region,
                namespace,
            }
        }),
        (any::<bool>(), any::<bool>(), optional()).prop_map(|(user_units, auto_reload, address)| {
            BackendConfig::SystemdDbus {
                user_units,
                auto_reload,
                address,
            }
        }),
        optional().prop_map(|hostname| BackendConfig::SupervisedSystemd {
            hostname,
            runtime: ContainerRuntime::Podman
        }),
        (
            proptest::collection::vec(text(), 1..3),
            optional(),
            optional(),
            optional()
        )
            .prop_map(|(endpoints, ca, cert, key)| BackendConfig::Etcd {
                endpoints,
                ca,
                cert,
                key
            }),
    ];
    let times = proptest::array::uniform4(1..1_000_000_000_000_000_u64);
    (
        (name(), name(), name(), face, backend, any::<bool>(), any::<bool>()),
        (
            times,
            1.0..=16.0_f64,
            0..6_usize,
            any::<u32>(),
            1..=u64::MAX,
            0..5_usize,
            proptest::option::of(name()),
        ),
    )
        .prop_map(|((name, strategy, face_name, face, backend, audit, signed), rest)| {
            let (times, phi, topology, standbys, entries, placement, witness) = rest;
            let topology = crate::topology::NAMES[topology];
            let mut draft = prescribed_for(topology, 9).expect("nine are enough for all");
            if let Some(witness) = witness.filter(|_| topology == "pair") {
                draft.topology = Arc::new(crate::topology::Pair::with_witness(witness));
                draft.strategy.consensus.size = 3;
            }
            draft.name = name;
            draft.strategy.name = strategy;
            let [sync, retention, seal, more] = times.map(std::time::Duration::from_nanos);
            draft.strategy.content = ContentStrategy {
                sync_cadence: sync,
                retention,
            };
            draft.strategy.attestation = AttestationStrategy {
                seal_interval: seal,
                operator_signature: signed,
            };
            draft.strategy.reconciliation += more;
            draft.strategy.membership.phi_threshold = phi;
            draft.strategy.consensus.snapshot_interval = entries;
            draft.strategy.standbys = standbys;
            draft.strategy.placement = Placement::NAMES[placement].1;
            draft.face = FabricFace {
                name: face_name,
                spec: face,
                requires_operator_signature: signed,
            };
            draft.backend = BackendSpec { config: backend, audit };
            draft
        })
}

/// Any JSON value, of the shape that a declaration might have or not.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9-]{0,6}".prop_map(Value::from),
        Just(json!("0ms")),
        Just(json!("pair")),
        Just(json!("openraft")),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let keys = prop_oneof![
            Just("kind".to_owned()),
            Just("name".to_owned()),
            Just("size".to_owned()),
            Just("consensus".to_owned()),
            Just("witness".to_owned()),
            "[a-z.]{0,3}",
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            proptest::collection::btree_map(keys, inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

const PATHS: [&str; 24] = [
    "apiVersion",
    "kind",
    "name",
    "strategy",
    "strategy.name",
    "strategy.consensus",
    "strategy.consensus.size",
    "strategy.consensus.electionTimeout",
    "strategy.consensus.heartbeat",
    "strategy.membership",
    "strategy.membership.phiThreshold",
    "strategy.content",
    "strategy.attestation",
    "strategy.placement",
    "strategy.standbys",
    "face",
    "face.kind",
    "face.extra",
    "topology",
    "topology.kind",
    "topology.witness",
    "backend",
    "backend.kind",
    "backend.audit",
];

proptest! {
    #[test]
    fn rendering_and_proving_again_gives_the_same_digest(draft in declarable()) {
        // A random face does not fit every backend; those that do not are no subject here.
        let Ok(declaration) = ClusterDeclaration::prove(draft) else { return Ok(()) };
        for format in DeclarationFormat::ALL {
            let text = declaration.render(format);
            let again = check(text.as_bytes(), Some(format));
            let again = again.map_err(|error| TestCaseError::fail(format!("{error:?}\n{text}")))?.into_result();
            let again = again.map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
            prop_assert_eq!(again.digest(), declaration.digest(), "{}", text);
            prop_assert_eq!(again.id(), declaration.id());
        }
        let stored = check(declaration.canonical_json().as_bytes(), None).expect("JSON").into_result();
        prop_assert_eq!(stored.expect("coherent").canonical_json(), declaration.canonical_json());
    }

    #[test]
    fn what_parses_is_proved_or_has_an_error(
        changes in proptest::collection::vec((proptest::sample::select(&PATHS), any_value()), 1..4),
    ) {
        let mut file = base();
        for (path, value) in changes {
            // A change may have replaced an object on the way by something else.
            let mut at = Some(&mut file);
            for key in path.split('.') {
                at = at.and_then(Value::as_object_mut).map(|object| object.entry(key).or_insert(Value::Null));
            }
            if let Some(at) = at {
                *at = value;
            }
        }
        // It asserts what every verdict has to keep.
        judged(&file);
        // The same file in YAML is judged alike.
        let yaml = check(file.to_string().as_bytes(), Some(DeclarationFormat::Yaml));
        if let Ok(yaml) = yaml {
            prop_assert_eq!(yaml.findings.len(), judged(&file).findings.len());
        }
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in ".{0,200}") {
        for format in [None, Some(DeclarationFormat::Yaml), Some(DeclarationFormat::Json), Some(DeclarationFormat::Hcl)] {
            for input in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(verdict) = check(input, format) {
                    prop_assert!(verdict.declaration.is_some() || verdict.findings.iter().any(Finding::is_error));
                }
            }
        }
    }
}
