//! Keys and stored values.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::parse;

const YAML: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\nspec: {replicas: 1}\n";

fn reference() -> impl Strategy<Value = ResourceRef> {
    let part = "[a-zA-Z0-9 .ä:-]{1,6}".prop_filter("a step of a path", |name| !name.contains("..") && name != ".");
    let or_empty = prop_oneof![Just(String::new()), part.clone()];
    (or_empty.clone(), part.clone(), or_empty, part).prop_map(|(group, kind, namespace, name)| ResourceRef {
        group,
        kind,
        namespace,
        name,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_are_in_the_order_of_references_and_read_back(a in reference(), b in reference()) {
        prop_assert_eq!(key(&a).cmp(&key(&b)), a.cmp(&b));
        prop_assert_eq!(parse_key(&key(&a)), Some(a));
    }

    #[test]
    fn a_prefix_has_the_keys_of_its_kind_and_namespace(a in reference(), b in reference()) {
        let same_kind = a.group == b.group && a.kind == b.kind;
        prop_assert_eq!(key(&a).starts_with(&key_prefix(&b.group, &b.kind, None)), same_kind);
        let prefix = key_prefix(&b.group, &b.kind, Some(&b.namespace));
        prop_assert_eq!(key(&a).starts_with(&prefix), same_kind && a.namespace == b.namespace);
    }

    #[test]
    fn any_stored_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let stored = Bytes::from(bytes);
        let _refused_or_read = (stored::document(&stored), stored::digest(&stored));
        let reference = parse(YAML, ResourceFormat::Yaml).reference;
        prop_assert!(stored::decode(&stored, &reference).is_err());
    }
}

#[test]
fn what_is_no_key_of_a_resource_is_not_parsed() {
    let good = key(&ResourceRef {
        group: String::new(),
        kind: "A".into(),
        namespace: "n".into(),
        name: "a".into(),
    });
    assert!(parse_key(&good).is_some());
    assert!(parse_key(&good[..good.len() - 1]).is_none());
    assert!(parse_key(&[&good[..], b"more\0"].concat()).is_none());
    for bytes in [
        &b""[..],
        b"/registry/a",
        RESOURCE_PREFIX,
        b"\0resource\0\0\0\0\0",
        b"\0resource\0\0A\0\0\xff\0",
    ] {
        assert!(parse_key(bytes).is_none(), "{bytes:?}");
    }
}

#[test]
fn a_stored_resource_reads_back_with_its_bytes() {
    for format in ResourceFormat::ALL {
        let resource = parse(parse(YAML, ResourceFormat::Yaml).render(format).unwrap(), format);
        let stored = stored::encode(&resource);
        assert_eq!(stored::decode(&stored, &resource.reference), Ok(resource.clone()));
        assert_eq!(stored::document(&stored), Ok((format, resource.document.clone())));
        assert_eq!(stored::digest(&stored), Ok(resource.content_digest()));
    }
}

#[test]
fn a_namespace_from_outside_is_kept_beside_the_document() {
    let resource = parse(YAML, ResourceFormat::Yaml)
        .with_default_namespace("prod")
        .unwrap();
    assert_eq!(resource.reference.to_string(), "Deployment.apps prod/web");
    assert_eq!(resource.document, YAML);
    let stored = stored::encode(&resource);
    assert_eq!(stored::decode(&stored, &resource.reference), Ok(resource.clone()));
    assert_eq!(stored::document(&stored).unwrap().1, YAML);
    // The document's own namespace is not overruled.
    let own = parse("kind: A\nmetadata: {name: a, namespace: own}", ResourceFormat::Yaml);
    assert_eq!(own.clone().with_default_namespace("prod"), Ok(own));
    let error = parse(YAML, ResourceFormat::Yaml)
        .with_default_namespace("a/b")
        .unwrap_err();
    assert!(matches!(error.refusal, Refusal::BadName { .. }));
}

#[test]
fn the_first_bytes_say_whether_the_content_is_the_same() {
    let yaml = parse(YAML, ResourceFormat::Yaml);
    let json = parse(yaml.render(ResourceFormat::Json).unwrap(), ResourceFormat::Json);
    let other = parse(YAML.replace("replicas: 1", "replicas: 2"), ResourceFormat::Yaml);
    let head = |resource: &Resource| stored::encode(resource)[..stored::SAME_CONTENT_PREFIX_BYTES as usize].to_vec();
    assert_eq!(head(&yaml), head(&json));
    assert!(yaml.same_content(&json));
    assert_ne!(head(&yaml), head(&other));
    assert_eq!(stored::same_prefix_bytes(&yaml), 33);
    let native = parse(yaml.render(ResourceFormat::Native).unwrap(), ResourceFormat::Native);
    assert_eq!(stored::same_prefix_bytes(&native), u32::MAX);
}

#[test]
fn a_stored_value_that_is_damaged_or_newer_is_told_apart() {
    let resource = parse(YAML, ResourceFormat::Yaml);
    let stored = stored::encode(&resource);
    let mut newer = stored.to_vec();
    newer[0] = 2;
    assert_eq!(
        stored::document(&newer.into()),
        Err(stored::StoredError::Newer { version: 2 })
    );
    for length in 0..=stored::SAME_CONTENT_PREFIX_BYTES as usize {
        let cut = stored.slice(..length);
        assert!(
            matches!(stored::document(&cut), Err(stored::StoredError::Damaged { .. })),
            "{length}"
        );
    }
    let elsewhere = ResourceRef {
        name: "other".to_owned(),
        ..resource.reference
    };
    assert!(matches!(
        stored::decode(&stored, &elsewhere),
        Err(stored::StoredError::Damaged { .. })
    ));
}

#[test]
fn a_reference_is_read_from_the_document() {
    let of = |content| ResourceRef::of(&content).unwrap();
    assert_eq!(of(json!({"kind": "A", "metadata": {"name": "a"}})).to_string(), "A a");
    assert_eq!(
        of(json!({"apiVersion": "v1", "kind": "A", "metadata": {"name": "a", "namespace": null}})).group,
        ""
    );
    let full = of(json!({"apiVersion": "g.example/v1", "kind": "A", "metadata": {"name": "a", "namespace": "n"}}));
    assert_eq!(full.to_string(), "A.g.example n/a");
}
