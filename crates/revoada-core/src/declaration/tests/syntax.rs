//! Bytes that are no document, and how a format is recognised.

use std::error::Error;

use super::*;
use crate::limits::DECLARATION_BYTES_MAX;

fn refused(bytes: &[u8], format: DeclarationFormat) -> String {
    let error = check(bytes, Some(format)).expect_err("no document");
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[test]
fn what_is_no_document_is_an_error_and_no_finding() {
    use DeclarationFormat::{Hcl, Json, Yaml};
    let deep_json = "[".repeat(100_000);
    let deep_yaml = "[".repeat(100_000);
    let deep_blocks = "a {\n".repeat(20_000);
    let deep_lists = format!("a = {}", "[".repeat(20_000));
    let deep_signs = format!("a = {}1", "-".repeat(20_000));
    let deep_nots = format!("a = {}true", "!".repeat(20_000));
    let deep_conditions = format!("a = {}1", "true ? 1 : ".repeat(20_000));
    let bomb = format!(
        "a0: &a0 [x, x, x, x, x, x, x, x, x]\n{}",
        (1..20)
            .map(|n| format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")))
            .collect::<String>()
    );
    let cases = [
        (
            "{",
            Json,
            "it is not valid JSON: EOF while parsing an object at line 1 column 1",
        ),
        (
            "{\"a\": NaN, b}",
            Json,
            "it is not valid JSON: expected value at line 1 column 7",
        ),
        ("{} {}", Json, "it is not valid JSON: trailing characters"),
        (
            r#"{"a": 1, "a": 2}"#,
            Json,
            "it is not valid JSON: the key \"a\" is there twice",
        ),
        (&deep_json, Json, "it is not valid JSON: "),
        ("a: [", Yaml, "it is not valid YAML: "),
        ("a: 1\na: 2\n", Yaml, "it is not valid YAML: "),
        ("a: 1\n---\nb: 2\n", Yaml, "it is not valid YAML: "),
        (&deep_yaml, Yaml, "it is not valid YAML: "),
        (&bomb, Yaml, "it is not valid YAML: "),
        ("a = ", Hcl, "it is not valid HCL: "),
        ("a = 1\na = 2\n", Hcl, "it is not valid HCL: "),
        ("a { }\na { }\n", Hcl, "it is not valid HCL: `a` is there twice"),
        ("a = 1\na { }\n", Hcl, "it is not valid HCL: "),
        ("a = { b = 1, b = 2 }\n", Hcl, "it is not valid HCL: "),
        (
            "a = { b = 1, \"b\" = 2 }\n",
            Hcl,
            "it is not valid HCL: the value of `a` is an object with the key \"b\" twice",
        ),
        (
            "a = { (b) = 1 }\n",
            Hcl,
            "it is not valid HCL: the value of `a` is an object with a key that is no text",
        ),
        ("a \"b\" { }\n", Hcl, "it is not valid HCL: the block `a` has a label"),
        (
            "a = b\n",
            Hcl,
            "it is not valid HCL: the value of `a` is the variable \"b\"; texts stand in quotes",
        ),
        (
            "a = 1 + 1\n",
            Hcl,
            "it is not valid HCL: the value of `a` is an operation",
        ),
        (
            "a = \"${b}\"\n",
            Hcl,
            "it is not valid HCL: the value of `a` is an expression",
        ),
        (&deep_blocks, Hcl, "it is not valid HCL: "),
        (&deep_lists, Hcl, "it is not valid HCL: "),
        (&deep_signs, Hcl, "it is not valid HCL: "),
        (&deep_nots, Hcl, "it is not valid HCL: "),
        (&deep_conditions, Hcl, "it is not valid HCL: "),
    ];
    for (text, format, expected) in cases {
        let said = refused(text.as_bytes(), format);
        assert!(said.starts_with(expected), "{:.40}: {said}", text);
    }
    // Every other construct of HCL that nests.
    for open in [
        "(",
        "{b=",
        "\"${",
        "f(",
        "[for x in ",
        "b[b",
        "\"%{if ",
        "<<E\n${",
        "-(",
        "(b ? ",
    ] {
        let said = refused(format!("a = {}", open.repeat(20_000)).as_bytes(), Hcl);
        assert!(said.starts_with("it is not valid HCL: "), "{open}: {said}");
    }
    let latin = refused(b"name: caf\xe9", Yaml);
    assert!(latin.starts_with("it is not UTF-8 at byte 9"), "{latin}");
    let large = refused(&vec![b' '; DECLARATION_BYTES_MAX + 1], Json);
    assert!(large.contains("more than the 1048576"), "{large}");
}

#[test]
fn a_document_that_is_no_object_is_a_finding_about_all_of_it() {
    for (text, what) in [
        ("", "nothing"),
        ("5", "the number 5"),
        ("[1, 2]", "a list of 2"),
        ("hello", "the text \"hello\""),
    ] {
        let findings = check(text.as_bytes(), Some(DeclarationFormat::Yaml))
            .expect("YAML")
            .findings;
        let said: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [format!(
                "error[wrong-type] .: it is {what}, not an object that is a cluster"
            )]
        );
    }
}

#[test]
fn the_format_is_recognised_by_name_and_by_content() {
    assert_eq!(
        DeclarationFormat::from_file_name("a/b.YML"),
        Some(DeclarationFormat::Yaml)
    );
    assert_eq!(
        DeclarationFormat::from_file_name("b.c.json"),
        Some(DeclarationFormat::Json)
    );
    assert_eq!(
        DeclarationFormat::from_file_name("cluster.hcl"),
        Some(DeclarationFormat::Hcl)
    );
    assert_eq!(DeclarationFormat::from_file_name("cluster"), None);
    let declaration = proved(&base());
    for format in DeclarationFormat::ALL {
        let again = check(declaration.render(format).as_bytes(), None)
            .expect("recognised")
            .into_result();
        assert_eq!(again.expect("coherent").digest(), declaration.digest(), "{format}");
    }
}

#[test]
fn yaml_numbers_that_are_not_finite_are_findings_that_name_their_field() {
    for number in [
        ".nan",
        ".inf",
        "-.inf",
        "1e400",
        "NaN",
        "99999999999999999999999999999999999999999999",
    ] {
        let text = format!(
            "apiVersion: revoada.dev/v1\nkind: Cluster\nname: homelab\nface: {{kind: pure-raft}}\n\
             topology: {{kind: solo}}\nstrategy: {{consensus: {{size: {number}}}}}\n"
        );
        let findings = check(text.as_bytes(), Some(DeclarationFormat::Yaml))
            .expect("YAML")
            .findings;
        assert!(
            findings.iter().any(|f| f.code == FindingCode::NumberOutOfRange),
            "{number}: {findings:?}"
        );
        assert!(
            findings.iter().all(|f| f.code != FindingCode::WrongType),
            "{number}: {findings:?}"
        );
    }
}

#[test]
fn json_words_for_numbers_that_are_not_finite_are_findings_that_name_their_field() {
    let file = with(&[
        ("strategy.consensus.size", json!("HERE")),
        ("strategy.membership.gossipCadence", json!("HERE")),
        ("strategy.membership.phiThreshold", json!("HERE")),
        ("backend", json!({"kind": "folder", "path": "\\\"NaN\\"})),
    ]);
    for word in ["NaN", "Infinity", "-Infinity"] {
        let text = file.to_string().replace("\"HERE\"", word);
        let findings = check(text.as_bytes(), Some(DeclarationFormat::Json))
            .expect("read")
            .findings;
        let said: Vec<_> = findings.iter().map(|f| format!("{} {}", f.code, f.path)).collect();
        assert_eq!(
            said,
            [
                "number-out-of-range strategy.consensus.size",
                "number-out-of-range strategy.membership.gossipCadence",
                "phi-out-of-range strategy.membership.phiThreshold",
                "number-out-of-range strategy.membership.phiThreshold",
            ],
            "{word}"
        );
    }
}

/// `kubectl` reads 8 from both; the reader of manifests reads the former alike, and refuses the latter.
#[test]
fn a_yaml_number_that_begins_with_a_zero_is_octal() {
    for number in ["010", "08"] {
        let text = format!(
            "apiVersion: revoada.dev/v1\nkind: Cluster\nname: homelab\nface: {{kind: pure-raft}}\n\
             topology: {{kind: quorum-3m}}\nstrategy: {{standbys: {number}}}\n"
        );
        let declaration = check(text.as_bytes(), None).expect("YAML").into_result();
        assert_eq!(declaration.expect("coherent").strategy().standbys, 8, "{number}");
    }
}
