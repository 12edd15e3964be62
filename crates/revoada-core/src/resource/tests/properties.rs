//! What holds for any content and any bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

use super::super::*;
use super::config_map;

/// Strings that some reader of some format takes for something else.
const NASTY: &[&str] = &[
    "",
    " ",
    "yes",
    "No",
    "on",
    "null",
    "Null",
    "~",
    "true",
    "FALSE",
    "1",
    "-1",
    "+1",
    "0x1F",
    "0o17",
    "017",
    "1_000",
    "1e3",
    ".5",
    ".inf",
    "-.INF",
    ".nan",
    "12:30",
    "2001-01-01",
    "<<",
    "=",
    "-",
    "- a",
    "? a",
    ": a",
    "a: b",
    "a #b",
    "#",
    "a:",
    "&a",
    "*a",
    "!a",
    "!!str a",
    "%a",
    "@a",
    "`a",
    "[a]",
    "{a: b}",
    "a, b",
    "'a'",
    "\"a\"",
    "a\\b",
    "\\n",
    "${a}",
    "$${a}",
    "$$${a}",
    "%{if a}",
    "%%{",
    "$",
    "%",
    "{",
    "}",
    "<<EOT",
    "---",
    "...",
    "--- a",
    "\n---\n",
    "a\n",
    "a\n\n",
    "\na",
    "a\nb",
    "a\nb\n",
    "a\nb\n\n",
    " a\nb",
    "a\n b",
    "a \nb ",
    "a\n \nb",
    "\t",
    "a\tb",
    "\ta\nb",
    "\r",
    "a\r\nb",
    "\0",
    "\u{7f}",
    "\u{85}",
    "\u{a0}",
    "\u{2028}",
    "\u{feff}",
    "\u{feff}a",
    "\u{fffe}",
    "\u{ffff}",
    "ä",
    "日本語",
    "😀",
    "e\u{301}",
    "\u{202e}a",
    "for",
    "if",
    "null ",
    " true",
    "document",
    "resource",
    "$serde_json::private::Number",
    "$serde_json::private::RawValue",
];

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(NASTY).prop_map(str::to_owned),
        2 => "[a-zA-Z0-9_./-]{1,12}",
        2 => any::<String>(),
        1 => "[ \\t\\n\\r:#\\-'\"$%{}a]{0,12}",
        1 => vec(prop::sample::select(NASTY), 2..4).prop_map(|parts| parts.concat()),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    let spelled = "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,5})?";
    prop_oneof![
        any::<u64>().prop_map(|value| value.to_string()),
        any::<i64>().prop_map(|value| value.to_string()),
        prop::sample::select(vec!["0", "-0", "1.0", "1e400", "0.1", "-0.0", "18446744073709551616"])
            .prop_map(str::to_owned),
        any::<f64>()
            .prop_filter("finite", |value| value.is_finite())
            .prop_map(|value| format!("{value:e}")),
        spelled,
    ]
    .prop_map(|text| text.parse().unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::Array),
            vec((text(), inner), 0..6).prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

/// The content of a resource, with anything in it, also beside the fields that it needs.
fn resource_content() -> impl Strategy<Value = Value> {
    (value(), vec((text(), value()), 0..3)).prop_map(|(data, more)| {
        let mut content = config_map(data);
        if let Value::Object(object) = &mut content {
            for (key, value) in more {
                object.entry(key).or_insert(value);
            }
        }
        content
    })
}

/// Equal in everything but the spelling of numbers, and the order of keys.
fn assert_same(given: &Value, found: &Value, document: &[u8]) {
    assert_eq!(
        content_digest(given),
        content_digest(found),
        "{given}\n{found}\n{}",
        String::from_utf8_lossy(document)
    );
}

/// With every number and every object in one form; a second opinion on the digest.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            let normal = number::Decimal::spelled(number.as_str()).normalized();
            Value::String(format!("{}{}e{}", normal.negative, normal.digits, normal.exponent))
        }
        Value::Array(items) => Value::Array(items.iter().map(plain).collect()),
        Value::Object(object) => {
            let mut entries: Vec<(String, Value)> =
                object.iter().map(|(key, value)| (key.clone(), plain(value))).collect();
            entries.sort_by(|(left, _), (right, _)| left.cmp(right));
            Value::Object(entries.into_iter().collect::<Map<_, _>>())
        }
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_conversion_keeps_the_content(content in resource_content()) {
        for from in ResourceFormat::ALL {
            let first = Resource::from_content(content.clone(), from).unwrap();
            let given = Resource::parse(first.document.clone(), from).unwrap_or_else(|error| {
                panic!("{from}: {error}\n{}", String::from_utf8_lossy(&first.document))
            });
            assert_same(&content, &given.content, &given.document);
            prop_assert_eq!(plain(&content), plain(&given.content));
            for to in ResourceFormat::ALL {
                let document = given.render(to).unwrap();
                if to == from {
                    prop_assert_eq!(&document, &first.document);
                }
                let converted = Resource::parse(document.clone(), to).unwrap_or_else(|error| {
                    panic!("{from} to {to}: {error}\n{}", String::from_utf8_lossy(&document))
                });
                assert_same(&content, &converted.content, &document);
                prop_assert_eq!(&converted.reference, &given.reference);
            }
        }
    }

    #[test]
    fn a_text_format_keeps_spellings_and_the_order_of_keys(content in resource_content()) {
        for format in [ResourceFormat::Yaml, ResourceFormat::Json, ResourceFormat::Hcl] {
            let document = render_content(&content, format).unwrap();
            let found = Resource::parse(document, format).unwrap();
            prop_assert_eq!(found.content.to_string(), content.to_string(), "{}", format);
        }
    }

    #[test]
    fn an_octal_number_of_a_manifest_is_the_same_number_in_every_format(mode: u64, zeros in 1..4_usize) {
        let text = format!("kind: A\nmetadata: {{name: a}}\nmode: {}{mode:o}\n", "0".repeat(zeros));
        let given = Resource::parse(text.clone().into(), ResourceFormat::Yaml).unwrap();
        prop_assert_eq!(given.render(ResourceFormat::Yaml).unwrap(), text);
        for format in ResourceFormat::ALL {
            let converted = Resource::parse(given.render(format).unwrap(), format).unwrap();
            prop_assert_eq!(converted.content["mode"].as_u64(), Some(mode), "{}", format);
        }
    }

    #[test]
    fn a_native_document_is_written_in_one_way(content in resource_content()) {
        let first = render_content(&content, ResourceFormat::Native).unwrap();
        let again = Resource::parse(first.clone(), ResourceFormat::Native).unwrap();
        prop_assert_eq!(render_content(&again.content, ResourceFormat::Native).unwrap(), first);
    }

    #[test]
    fn documents_of_one_input_are_found_again(contents in vec(resource_content(), 1..4), format in prop::sample::select(&ResourceFormat::ALL[..])) {
        let documents: Vec<Bytes> = contents.iter().map(|content| render_content(content, format).unwrap()).collect();
        let separator: &[u8] = if format == ResourceFormat::Native { b"" } else { b"\n---\n" };
        let input = if format == ResourceFormat::Hcl && documents.len() > 1 {
            let blocks = documents.iter().map(|document| {
                [b"resource \"ConfigMap\" \"a\" {\n", &document[..], b"}\n"].concat()
            });
            blocks.collect::<Vec<_>>().concat()
        } else {
            documents.join(separator)
        };
        let given_as = if format == ResourceFormat::Yaml { Some(format) } else { None };
        let found = parse_documents(&input, given_as, "input").unwrap_or_else(|error| {
            panic!("{error}\n{}", String::from_utf8_lossy(&input))
        });
        prop_assert_eq!(found.len(), contents.len());
        for (resource, content) in found.iter().zip(&contents) {
            assert_same(content, &resource.content, &input);
            let alone = Resource::parse(resource.document.clone(), resource.format).unwrap();
            assert_same(content, &alone.content, &resource.document);
        }
    }

    #[test]
    fn json_is_read_as_serde_json_reads_it(text in json_like()) {
        let ours = format::json::read(&text);
        let theirs = serde_json::from_str::<Value>(&text);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours.to_string(), theirs.to_string()),
            (Err(fault), Ok(_)) => prop_assert!(
                matches!(fault.refusal, Refusal::DuplicateKey { .. } | Refusal::NumberTooLong), "{:?} {}", fault, text
            ),
            (Ok(value), Err(error)) => prop_assert!(false, "{} {} {}", error, text, value),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn hcl_is_written_as_hcl_rs_reads_it(content in resource_content()) {
        // hcl-rs has no numbers beyond 64 bits, so they are compared as strings.
        prop_assume!(!content.to_string().contains("$serde_json"));
        let content = plain(&content);
        let document = render_content(&content, ResourceFormat::Hcl).unwrap();
        let text = std::str::from_utf8(&document).unwrap();
        let theirs: Value = hcl::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let theirs = match theirs.get("document") {
            Some(whole) if theirs.get("kind").is_none() => whole.clone(),
            _ => theirs,
        };
        assert_same(&content, &theirs, &document);
    }

    #[test]
    fn yaml_is_written_as_serde_saphyr_reads_it(content in resource_content()) {
        prop_assume!(!content.to_string().contains("$serde_json"));
        let content = plain(&content);
        let document = render_content(&content, ResourceFormat::Yaml).unwrap();
        let text = std::str::from_utf8(&document).unwrap();
        let theirs: Value = serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_same(&content, &theirs, &document);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        read_every_way(&bytes);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[\\[\\]{}:,&*!|>'\"%@#?<=$\\\\ \\n\\t0-9a-f.~-]{0,300}") {
        read_every_way(text.as_bytes());
    }

    #[test]
    fn a_damaged_document_is_read_or_refused(
        content in resource_content(),
        format in prop::sample::select(&ResourceFormat::ALL[..]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = render_content(&content, format).unwrap().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        read_every_way(&bytes);
        if cut && format == ResourceFormat::Native {
            let error = Resource::parse(Bytes::from(bytes), format).unwrap_err();
            prop_assert_eq!(error.refusal, Refusal::Truncated);
        }
    }

    #[test]
    fn the_digest_ignores_the_order_of_keys_and_nothing_else(content in resource_content(), other in resource_content()) {
        let reversed = reverse(&content);
        prop_assert_eq!(content_digest(&content), content_digest(&reversed));
        prop_assert_eq!(content_digest(&content) == content_digest(&other), plain(&content) == plain(&other));
    }
}

fn reverse(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(reverse).collect()),
        Value::Object(object) => Value::Object(
            object
                .iter()
                .rev()
                .map(|(key, value)| (key.clone(), reverse(value)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// What is read stays what it is when it is written and read again; nothing panics.
fn read_every_way(bytes: &[u8]) {
    for format in ResourceFormat::ALL {
        let _refused_or_read = parse_documents(bytes, Some(format), "input");
        if let Ok(resource) = Resource::parse(Bytes::copy_from_slice(bytes), format) {
            for to in ResourceFormat::ALL {
                let again = Resource::parse(resource.render(to).unwrap(), to).unwrap_or_else(|error| panic!("{error}"));
                assert_same(&resource.content, &again.content, &again.document);
            }
        }
    }
    if let Ok(resources) = parse_documents(bytes, None, "input") {
        for resource in resources {
            assert!(Resource::parse(resource.document, resource.format).is_ok());
        }
    }
}

/// JSON, and what is nearly JSON. Without serde_json's private keys, which it does not read as keys.
fn json_like() -> impl Strategy<Value = String> {
    prop_oneof![
        value()
            .prop_map(|value| value.to_string())
            .prop_filter("private keys", |text| !text.contains("$serde_json")),
        "[\\[\\]{}:,\"\\\\ \\nu0-9a-fDdCc.+eEtrulns/-]{0,40}",
        "\"(\\\\[nrtbf/\\\\\"]|\\\\u[0-9a-fA-F]{4}|\\\\u[dD][89a-fA-F][0-9a-f]{2}|[ -~ä😀])*\"?",
        "-?[0-9]{0,3}\\.?[0-9]{0,3}([eE][+-]?[0-9]{0,3})?",
    ]
}
