//! Every refusal, by the input that gets it, and where and how it is told.

use bytes::Bytes;
use serde_json::{Value, json};

use super::super::*;
use super::config_map;
use crate::error::ErrorKind;

fn refusal(text: impl Into<Bytes>, format: ResourceFormat) -> Refusal {
    Resource::parse(text.into(), format).expect_err("it is refused").refusal
}

/// The same content in every format.
fn in_every_format(content: &Value) -> impl Iterator<Item = (ResourceFormat, Bytes)> {
    ResourceFormat::ALL
        .into_iter()
        .map(move |format| (format, render_content(content, format).unwrap()))
}

fn check(content: &Value, expected: &Refusal) {
    for (format, document) in in_every_format(content) {
        assert_eq!(&refusal(document, format), expected, "{format}");
    }
}

#[test]
fn a_resource_without_a_kind_or_a_name_is_refused() {
    let without_kind = json!({"metadata": {"name": "a"}});
    check(&without_kind, &Refusal::Missing { field: "kind" });
    check(
        &json!({"kind": null, "metadata": {"name": "a"}}),
        &Refusal::Missing { field: "kind" },
    );
    check(
        &json!({"kind": "", "metadata": {"name": "a"}}),
        &Refusal::Missing { field: "kind" },
    );
    for content in [
        json!({"kind": "A"}),
        json!({"kind": "A", "metadata": null}),
        json!({"kind": "A", "metadata": {}}),
        json!({"kind": "A", "metadata": {"name": ""}}),
    ] {
        check(&content, &Refusal::Missing { field: "metadata.name" });
    }
    let number = json!({"kind": "A", "metadata": {"name": 1}});
    check(
        &number,
        &Refusal::NotAString {
            field: "metadata.name",
            found: "a number",
        },
    );
    assert!(matches!(
        refusal(r#"{"kind":"A","metadata":"a"}"#, ResourceFormat::Json),
        Refusal::Unrepresentable { .. }
    ));
}

#[test]
fn a_name_has_at_most_253_bytes() {
    let named = |name: String| json!({"kind": "A", "metadata": {"name": name}});
    for (format, document) in in_every_format(&named("a".repeat(253))) {
        assert!(Resource::parse(document, format).is_ok());
    }
    check(
        &named("a".repeat(254)),
        &Refusal::NameTooLong {
            field: "metadata.name",
            bytes: 254,
        },
    );
    check(
        &named("ä".repeat(127)),
        &Refusal::NameTooLong {
            field: "metadata.name",
            bytes: 254,
        },
    );
}

#[test]
fn a_name_cannot_leave_its_place() {
    for bad in [
        "..", ".", "../etc", "a/b", "/", "a\0b", "a\nb", "\u{7f}", "\u{85}", "a..b",
    ] {
        for (field, content) in [
            ("metadata.name", json!({"kind": "A", "metadata": {"name": bad}})),
            (
                "metadata.namespace",
                json!({"kind": "A", "metadata": {"name": "a", "namespace": bad}}),
            ),
            ("kind", json!({"kind": bad, "metadata": {"name": "a"}})),
        ] {
            for (format, document) in in_every_format(&content) {
                match refusal(document, format) {
                    Refusal::BadName { field: found, name, .. } => assert_eq!((found, &*name), (field, bad)),
                    other => panic!("{format} {bad:?}: {other:?}"),
                }
            }
        }
    }
    let group = json!({"apiVersion": "../v1", "kind": "A", "metadata": {"name": "a"}});
    for (format, document) in in_every_format(&group) {
        assert!(matches!(
            refusal(document, format),
            Refusal::BadName {
                field: "apiVersion",
                ..
            }
        ));
    }
}

#[test]
fn what_is_not_utf_8_is_refused_where_it_stops_being_so() {
    for format in [ResourceFormat::Yaml, ResourceFormat::Json, ResourceFormat::Hcl] {
        let error = parse_documents(b"kind = \"A\"\nb = \"\xff\"", Some(format), "a.txt").unwrap_err();
        assert_eq!(error.refusal, Refusal::NotUtf8);
        assert_eq!(error.place.position, Some(Position { line: 2, column: 6 }));
    }
    assert_eq!(
        parse_documents(b"\xd9\xd9", None, "a").unwrap_err().refusal,
        Refusal::NotUtf8
    );
}

#[test]
fn a_document_of_one_and_a_half_mebibytes_is_refused_by_its_size() {
    let limit = limits::DOCUMENT_BYTES_MAX;
    for format in ResourceFormat::ALL {
        // Not even of its format: nothing was parsed.
        assert_eq!(refusal(vec![b'{'; limit], format), Refusal::TooLarge { bytes: limit });
        let largest = sized(format, limit - 1);
        assert_eq!(largest.len(), limit - 1);
        assert!(Resource::parse(largest.clone(), format).is_ok(), "{format}");
        assert_eq!(
            parse_documents(&largest, Some(format), "a").map(|found| found.len()),
            Ok(1),
            "{format}"
        );
        let error = parse_documents(&sized(format, limit), Some(format), "a")
            .map(|found| found.len())
            .unwrap_err();
        assert!(matches!(error.refusal, Refusal::TooLarge { .. }), "{format} {error}");
        assert_eq!(error.kind(), ErrorKind::Exhausted);
    }
    // Several may be larger together.
    let two = [
        &sized(ResourceFormat::Json, limit - 1)[..],
        &sized(ResourceFormat::Json, limit - 1),
    ]
    .concat();
    assert_eq!(parse_documents(&two, None, "a").map(|found| found.len()), Ok(2));
    let too_large = [
        &b"{\"kind\":\"A\",\"metadata\":{\"name\":\"a\"}} "[..],
        &sized(ResourceFormat::Json, limit),
    ]
    .concat();
    let error = parse_documents(&too_large, None, "a").unwrap_err();
    assert_eq!(
        (error.place.document, error.refusal),
        (Some(2), Refusal::TooLarge { bytes: limit })
    );
}

/// A resource whose document has exactly this size.
fn sized(format: ResourceFormat, bytes: usize) -> Bytes {
    let document = |padding: usize| render_content(&config_map(json!("a".repeat(padding))), format).unwrap();
    let one_less = document(bytes - 1000).len() - (bytes - 1000);
    document(bytes - one_less)
}

#[test]
fn nesting_is_bounded_in_every_format() {
    let nested = |levels: usize| {
        // The object itself and `data` are one level each.
        config_map((0..levels).fold(json!(1), |inner, level| {
            if level % 2 == 0 {
                json!([inner])
            } else {
                json!({"k": inner})
            }
        }))
    };
    let deepest = nested(limits::DOCUMENT_DEPTH_MAX - 1);
    for (format, document) in in_every_format(&deepest) {
        assert!(Resource::parse(document, format).is_ok(), "{format}");
    }
    let too_deep = nested(limits::DOCUMENT_DEPTH_MAX);
    assert_eq!(
        render_content(&too_deep, ResourceFormat::Yaml),
        Err(RenderError::TooDeep)
    );
    for format in ResourceFormat::ALL {
        let document = match format {
            ResourceFormat::Native => format::native::write(&too_deep),
            ResourceFormat::Yaml => format::yaml_write::write(&too_deep),
            ResourceFormat::Json => format::json::write(&too_deep),
            ResourceFormat::Hcl => format::hcl_write::write(too_deep.as_object().unwrap()),
        };
        assert_eq!(refusal(document, format), Refusal::TooDeep, "{format}");
    }
}

#[test]
fn no_nesting_overflows_the_stack() {
    let many = 1_000_000;
    let repeated = |open: &str| open.repeat(many / open.len());
    for (format, document) in [
        (ResourceFormat::Json, repeated("[")),
        (ResourceFormat::Json, repeated("{\"a\":")),
        (ResourceFormat::Yaml, repeated("[")),
        (ResourceFormat::Yaml, repeated("{a: ")),
        (ResourceFormat::Yaml, repeated("- ")),
        (ResourceFormat::Hcl, format!("a = {}", repeated("["))),
        (ResourceFormat::Hcl, format!("a = {}", repeated("{a="))),
        (ResourceFormat::Hcl, repeated("a {\n")),
        (ResourceFormat::Hcl, format!("document = {}", repeated("["))),
    ] {
        let start = document.chars().take(12).collect::<String>();
        assert_eq!(refusal(document, format), Refusal::TooDeep, "{format} {start}");
    }
    let keys = refusal(repeated("? "), ResourceFormat::Yaml);
    assert!(matches!(keys, Refusal::Unrepresentable { .. }), "{keys:?}");
    for head in [&b"\x81"[..], b"\x9f", b"\xa1\x61a", b"\xbf\x61a"] {
        let document = [format::native::MAGIC, b"\x01", &head.repeat(many / head.len())].concat();
        assert_eq!(refusal(document, ResourceFormat::Native), Refusal::TooDeep);
    }
}

#[test]
fn a_key_that_is_there_twice_is_refused_wherever_it_is() {
    let twice = |format, text: &str, line, column| {
        let error = parse_documents(text.as_bytes(), Some(format), "a").unwrap_err();
        assert_eq!(error.refusal, Refusal::DuplicateKey { key: "x".to_owned() }, "{text}");
        assert_eq!(error.place.position, Some(Position { line, column }), "{text}");
    };
    twice(ResourceFormat::Json, "{\"x\":1,\n \"x\":1}", 2, 2);
    twice(
        ResourceFormat::Json,
        "{\"a\":[{\"x\":{},\"y\":1,\"\\u0078\":2}]}",
        1,
        21,
    );
    twice(ResourceFormat::Yaml, "x: 1\ny: 2\nx: 1\n", 3, 1);
    twice(ResourceFormat::Yaml, "a:\n- b: {x: 1, \"x\": 2}\n", 2, 13);
    twice(ResourceFormat::Yaml, "a: 1\n? x\n: 1\n? 'x'\n: 2\n", 4, 3);
    twice(ResourceFormat::Hcl, "x = 1\nx = 1\n", 2, 1);
    twice(ResourceFormat::Hcl, "a = [{ x = 1, \"x\" = 2 }]\n", 1, 15);
    twice(ResourceFormat::Hcl, "x = {}\nx {\n}\n", 2, 1);
    twice(ResourceFormat::Hcl, "b {\n  x = 1\n  x = 2\n}\n", 3, 3);
    let native = [format::native::MAGIC, b"\x01\xa1\x61a\xa2\x61x\x01\x61x\x01"].concat();
    assert_eq!(
        refusal(native, ResourceFormat::Native),
        Refusal::DuplicateKey { key: "x".to_owned() }
    );
}

#[test]
fn a_yaml_bomb_is_refused_before_it_grows() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [&*alias; 10].join(", "));
    }
    assert_eq!(refusal(bomb, ResourceFormat::Yaml), Refusal::AliasBomb);
    let quadratic = format!("a: &a {}\nb: [{}]\n", "x".repeat(500_000), ["*a"; 10_000].join(","));
    assert_eq!(refusal(quadratic, ResourceFormat::Yaml), Refusal::AliasBomb);
    let merges = format!(
        "a: &a {{k: {}}}\nb: [{}]\n",
        "x".repeat(500_000),
        ["{<<: *a}"; 10_000].join(",")
    );
    assert_eq!(refusal(merges, ResourceFormat::Yaml), Refusal::AliasBomb);
    let anchors = format!("a: {}{}{}\n", "&a [".repeat(4), "x".repeat(500_000), "]".repeat(4));
    assert_eq!(refusal(anchors, ResourceFormat::Yaml), Refusal::AliasBomb);
    assert_eq!(refusal("a: &a [*a]\n", ResourceFormat::Yaml), Refusal::AliasCycle);
    assert_eq!(refusal("a: &a {b: *a}\n", ResourceFormat::Yaml), Refusal::AliasCycle);
    assert!(matches!(
        refusal("a: *b\n", ResourceFormat::Yaml),
        Refusal::Syntax { .. }
    ));
    // An alias that would nest too deep where it is used.
    let deep = format!(
        "a: &a {}{}\nb: {}*a{}\n",
        "[".repeat(40),
        "]".repeat(40),
        "[".repeat(40),
        "]".repeat(40)
    );
    assert_eq!(refusal(deep, ResourceFormat::Yaml), Refusal::TooDeep);
}

#[test]
fn an_envelope_that_is_cut_or_followed_by_something_is_refused() {
    let whole = render_content(
        &config_map(json!([1.5, "text", null, {"a": -1}])),
        ResourceFormat::Native,
    )
    .unwrap();
    for length in 0..whole.len() {
        assert_eq!(
            refusal(whole.slice(..length), ResourceFormat::Native),
            Refusal::Truncated,
            "{length}"
        );
    }
    let followed = [&whole[..], b"\0"].concat();
    assert_eq!(
        refusal(followed.clone(), ResourceFormat::Native),
        Refusal::TrailingBytes
    );
    let error = parse_documents(&followed, None, "a").unwrap_err();
    assert_eq!(error.place.document, Some(2));
    let newer = [format::native::MAGIC, b"\x02\xa0"].concat();
    assert_eq!(
        refusal(newer, ResourceFormat::Native),
        Refusal::NewerEnvelope { version: 2 }
    );
    // A length that promises more than there is costs no memory.
    let promise = [format::native::MAGIC, b"\x01\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"].concat();
    assert_eq!(refusal(promise, ResourceFormat::Native), Refusal::Truncated);
    for (content, what) in [
        (&b"\x41a"[..], "a CBOR byte string"),
        (b"\xf7", "CBOR's undefined"),
        (b"\xc0\x61a", "the CBOR tag 0"),
        (b"\xf9\x7c\x00", "a number that is not finite"),
        (b"\xfb\x7f\xf8\0\0\0\0\0\0", "a number that is not finite"),
    ] {
        let document = [format::native::MAGIC, b"\x01", content].concat();
        match refusal(document, ResourceFormat::Native) {
            Refusal::Unrepresentable { what: found, .. } => assert_eq!(found, what),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bytes_after_the_document_are_refused() {
    let json = r#"{"kind":"A","metadata":{"name":"a"}}"#;
    assert_eq!(
        refusal(format!("{json} x"), ResourceFormat::Json),
        Refusal::TrailingBytes
    );
    assert_eq!(
        refusal(format!("{json}{json}"), ResourceFormat::Json),
        Refusal::TrailingBytes
    );
    assert_eq!(
        refusal(format!("{json}\n---\n{json}"), ResourceFormat::Yaml),
        Refusal::SeveralDocuments
    );
    let blocks = "resource \"A\" \"a\" {}\nresource \"A\" \"b\" {}\n";
    assert_eq!(refusal(blocks, ResourceFormat::Hcl), Refusal::SeveralDocuments);
}

#[test]
fn a_top_level_that_is_no_object_is_refused() {
    for (text, format, found) in [
        ("[]", ResourceFormat::Json, "a list"),
        ("null", ResourceFormat::Json, "null"),
        ("\"a\"", ResourceFormat::Json, "a string"),
        ("- a", ResourceFormat::Yaml, "a list"),
        ("hello", ResourceFormat::Yaml, "a string"),
        ("1", ResourceFormat::Yaml, "a number"),
    ] {
        assert_eq!(refusal(text, format), Refusal::NotAnObject { found }, "{text}");
    }
}

#[test]
fn an_input_without_documents_is_refused() {
    for format in [ResourceFormat::Yaml, ResourceFormat::Json, ResourceFormat::Hcl] {
        for text in ["", " \n", "\u{feff}"] {
            assert_eq!(refusal(text, format), Refusal::Empty, "{format} {text:?}");
            assert_eq!(
                parse_documents(text.as_bytes(), Some(format), "a").unwrap_err().refusal,
                Refusal::Empty
            );
        }
    }
    for text in ["", "---\n---\n", "# nothing\n", "...\n"] {
        assert_eq!(
            parse_documents(text.as_bytes(), None, "a").unwrap_err().refusal,
            Refusal::Empty,
            "{text:?}"
        );
    }
}

#[test]
fn the_second_of_two_documents_is_named_with_its_line() {
    let text = "kind: A\nmetadata: {name: a}\n---\nkind: B\nmetadata: {name: b}\nx: [1, 2\n";
    let error = parse_documents(text.as_bytes(), None, "two.yaml").unwrap_err();
    assert!(error.to_string().starts_with("two.yaml, document 2, line "), "{error}");
    assert!(error.place.position.unwrap().line >= 6, "{error}");
    let text = "{\"kind\":\"A\",\"metadata\":{\"name\":\"a\"}}\n---\n{\"kind\":\"B\"}";
    let error = parse_documents(text.as_bytes(), None, "stdin").unwrap_err();
    assert_eq!(
        error.to_string(),
        "stdin, document 2, line 3, column 1: metadata.name is missing; add it"
    );
    let text = "{\"kind\":\"A\",\"metadata\":{\"name\":\"a\"}} {\"kind\": }";
    let error = parse_documents(text.as_bytes(), None, "stdin").unwrap_err();
    assert_eq!(
        error.to_string(),
        "stdin, document 2, line 1, column 47: it is not valid json: a value is expected, and '}' was found"
    );
    let list = "kind: List\nitems:\n- {kind: A, metadata: {name: a}}\n- {kind: A}\n";
    let error = parse_documents(list.as_bytes(), None, "list.yaml").unwrap_err();
    assert_eq!(error.place.item, Some(2), "{error}");
    assert_eq!(
        parse_documents(b"kind: List\n", None, "a").unwrap_err().refusal,
        Refusal::BadList
    );
}

#[test]
fn yaml_that_no_resource_can_hold_is_refused() {
    for text in [
        "x: .inf",
        "x: -.Inf",
        "x: .nan",
        "x: !foo a",
        "x: !!binary aGk=",
        "x: !!int a",
        "~: 1",
        "[a]: 1",
        "<<: 1",
    ] {
        assert!(
            matches!(refusal(text, ResourceFormat::Yaml), Refusal::Unrepresentable { .. }),
            "{text}"
        );
    }
    // No octal number to Kubernetes' reader, which takes all of these for decimal ones, as YAML 1.2 does; YAML 1.1 has
    // strings. The last two are beyond 64 bits.
    let beyond = "02000000000000000000000";
    for text in ["+08", "089", "-0128", "!!int 0800", beyond, "-01000000000000000000001"] {
        let named = text.trim_start_matches("!!int ").to_owned();
        let expected = Refusal::AmbiguousZero { text: named };
        assert_eq!(refusal(format!("x: {text}"), ResourceFormat::Yaml), expected);
    }
    for key in ["0644", "-017", "00", "089"] {
        let expected = Refusal::AmbiguousZero { text: key.to_owned() };
        assert_eq!(refusal(format!("{{{key}: x}}"), ResourceFormat::Yaml), expected);
    }
}

#[test]
fn hcl_that_would_have_to_be_evaluated_is_refused() {
    for text in ["x = \"${a}\"", "x = \"%{if a}\"", "x = <<EOT\n${a}\nEOT\n"] {
        assert!(
            matches!(refusal(text, ResourceFormat::Hcl), Refusal::Unrepresentable { .. }),
            "{text}"
        );
    }
    for text in [
        "x = a",
        "x = 1 + 1",
        "x = f(1)",
        "x = a.b",
        "x = -a",
        "x = !true",
        "x = (1)",
        "x = [for a in b : a]",
        "x = 1 2",
        "x \"label\" {}",
        "x = 1 y = 2",
        "x = \"a",
        "x = <<EOT\na\n",
        "x =",
        "x",
        "= 1",
        "x = \"\\q\"",
        "x = \"\\ud800\"",
        "x = {a = 1 b = 2}",
        "x = [1 2]",
        "resource \"A\" {}",
        "resource \"A\" \"a\" {",
        "kind = 1\nresource \"A\" \"a\" {}\n",
    ] {
        assert!(
            matches!(refusal(text, ResourceFormat::Hcl), Refusal::Syntax { .. }),
            "{text}"
        );
    }
    assert!(matches!(
        refusal("resource \"A\" \"a\" {\n kind = \"B\"\n}", ResourceFormat::Hcl),
        Refusal::Contradiction { field: "kind", .. }
    ));
    assert!(matches!(
        refusal(
            "resource \"A\" \"a\" {\n metadata = { name = \"b\" }\n}",
            ResourceFormat::Hcl
        ),
        Refusal::Contradiction {
            field: "metadata.name",
            ..
        }
    ));
}

#[test]
fn a_number_is_bounded_in_its_digits_and_its_exponent() {
    let long = "9".repeat(limits::NUMBER_DIGITS_MAX + 1);
    for number in [&*long, "1e1000000001", "1e-99999999999999999999999"] {
        for (format, text) in [
            (ResourceFormat::Json, format!("{{\"x\":{number}}}")),
            (ResourceFormat::Yaml, format!("x: {number}")),
            (ResourceFormat::Hcl, format!("x = {number}")),
        ] {
            assert_eq!(refusal(text, format), Refusal::NumberTooLong, "{format}");
        }
    }
}
