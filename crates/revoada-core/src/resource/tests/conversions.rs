//! What single values become on their way between formats.

use serde_json::{Value, json};

use super::super::*;
use super::{config_map, parse, yaml_data};

fn number(text: &str) -> Value {
    Value::Number(text.parse().unwrap())
}

#[test]
fn plain_scalars_of_yaml_are_those_of_the_core_schema() {
    for (text, expected) in [
        ("yes", json!("yes")),
        ("off", json!("off")),
        ("12:30", json!("12:30")),
        ("1_000", json!("1_000")),
        ("2001-01-01", json!("2001-01-01")),
        ("1.2.3", json!("1.2.3")),
        ("-x", json!("-x")),
        ("+", json!("+")),
        (".", json!(".")),
        ("0x", json!("0x")),
        ("0o8", json!("0o8")),
        ("-0x1", json!("-0x1")),
        ("~", json!(null)),
        ("", json!(null)),
        ("NULL", json!(null)),
        ("nULL", json!("nULL")),
        ("True", json!(true)),
        ("FALSE", json!(false)),
        ("\"yes\"", json!("yes")),
        ("'1'", json!("1")),
        ("!!str 1", json!("1")),
        ("! 1", json!("1")),
        ("!!float 1", number("1")),
        ("0o17", number("15")),
        ("0x1F", number("31")),
        ("0xFFFFFFFFFFFFFFFFFFFF", number("1208925819614629174706175")),
        ("0644", number("420")),
        ("-017", number("-15")),
        ("+0777", number("511")),
        ("00", number("0")),
        ("-00", number("0")),
        ("01777777777777777777777", number("18446744073709551615")),
        ("-01000000000000000000000", number("-9223372036854775808")),
        ("!!int 0644", number("420")),
        ("'0644'", json!("0644")),
        ("{'0644': a, 08.5: b}", json!({"0644": "a", "08.5": "b"})),
        ("+1", number("1")),
        ("-1", number("-1")),
        (".5", number("0.5")),
        ("-.5e3", number("-0.5e3")),
        ("1.", number("1.0")),
        ("01.50", number("1.50")),
        ("1e400", number("1e400")),
        ("18446744073709551616", number("18446744073709551616")),
        ("|\n  a\n  b\n", json!("a\nb\n")),
        (">-\n  a\n  b\n", json!("a b")),
        ("{a: 1, 2: x, true: y}", json!({"a": 1, "2": "x", "true": "y"})),
    ] {
        assert_eq!(yaml_data(text), expected, "{text}");
    }
}

#[test]
fn anchors_and_merge_keys_stand_for_what_they_name() {
    let text = "{base: &b {x: 1, y: 2}, other: &o {y: 3, z: 4}, one: {<<: *b, y: 9}, two: {<<: [*o, *b]}, same: *b}";
    let data = yaml_data(text);
    assert_eq!(data["one"], json!({"y": 9, "x": 1}));
    assert_eq!(data["two"], json!({"y": 3, "z": 4, "x": 1}));
    assert_eq!(data["same"], data["base"]);
    assert_eq!(yaml_data("{\"<<\": 1}"), json!({"<<": 1}));
}

#[test]
fn no_number_changes_on_its_way_through_every_format() {
    for text in [
        "0",
        "18446744073709551615",
        "-9223372036854775808",
        "-9223372036854775809",
        "-18446744073709551616",
        "-18446744073709551617",
        "18446744073709551616",
        "340282366920938463463374607431768211456",
        "0.1",
        "1.0",
        "1e400",
        "-1.5e-400",
        "0.30000000000000000001",
        "1.7976931348623157e308",
        "5e-324",
        "100000000000000000000.5",
    ] {
        let mut resource = Resource::from_content(config_map(number(text)), ResourceFormat::Json).unwrap();
        for format in [
            ResourceFormat::Native,
            ResourceFormat::Hcl,
            ResourceFormat::Yaml,
            ResourceFormat::Native,
            ResourceFormat::Json,
        ] {
            resource = parse(resource.render(format).unwrap(), format);
        }
        let found = resource.content["data"].as_number().unwrap();
        let value = |text: &str| super::super::number::Decimal::spelled(text).normalized();
        assert_eq!(value(found.as_str()), value(text));
        if !text.contains('e') {
            assert_eq!(found.as_str(), text);
        }
    }
}

#[test]
fn equal_numbers_are_equal_however_they_are_spelled() {
    let digest = |text: &str| content_digest(&number(text));
    assert_eq!(digest("1"), digest("1.0"));
    assert_eq!(digest("1e2"), digest("100"));
    assert_eq!(digest("-0"), digest("0"));
    assert_ne!(digest("0.1"), digest("0.10000000000000001"));
    assert_ne!(digest("1"), content_digest(&json!("1")));
}

#[test]
fn a_manifest_is_written_as_people_write_it() {
    let content = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"example.com/x": "yes"}},
        "data": {"script": "#!/bin/sh\necho hi\n", "time": "12:30", "url": "http://x:80/y", "say": "${x}", "none": null},
        "list": [{"a": 1, "b": []}, [1, [2.50]], {}],
    });
    let yaml = render_content(&content, ResourceFormat::Yaml).unwrap();
    assert_eq!(
        std::str::from_utf8(&yaml).unwrap(),
        r##"apiVersion: v1
kind: ConfigMap
metadata:
  name: a
  labels:
    example.com/x: "yes"
data:
  script: |
    #!/bin/sh
    echo hi
  time: "12:30"
  url: http://x:80/y
  say: "${x}"
  none: null
list:
- a: 1
  b: []
- - 1
  - - 2.5
- {}
"##
    );
    let hcl = render_content(&content, ResourceFormat::Hcl).unwrap();
    assert_eq!(
        std::str::from_utf8(&hcl).unwrap(),
        r##"apiVersion = "v1"
kind = "ConfigMap"
metadata = {
  name = "a"
  labels = {
    "example.com/x" = "yes"
  }
}
data = {
  script = "#!/bin/sh\necho hi\n"
  time = "12:30"
  url = "http://x:80/y"
  say = "$${x}"
  none = null
}
list = [
  {
    a = 1
    b = []
  },
  [
    1,
    [
      2.5,
    ],
  ],
  {},
]
"##
    );
}

#[test]
fn a_native_envelope_has_the_documented_bytes() {
    let content = json!({"kind": "A", "metadata": {"name": "b"}, "n": [1.5, -1, 18446744073709551615_u64]});
    let envelope = render_content(&content, ResourceFormat::Native).unwrap();
    let expected = [
        &b"\xd9\xd9\xf7\x83\x67revoada\x01"[..],
        b"\xa3\x61n\x83\xc4\x82\x20\x0f\x20\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x64kind\x61A\x68metadata\xa1\x64name\x61b",
    ];
    assert_eq!(envelope, expected.concat());
    // What others write less strictly is read, and comes back as it was.
    let loose = b"\xd9\xd9\xf7\x83\x67revoada\x18\x01\xbf\x68metadata\xa1\x64name\x7f\x61b\xff\x64kind\x61A\x61n\xf9\x3e\x00\xff";
    let resource = parse(loose.to_vec(), ResourceFormat::Native);
    assert_eq!(
        resource.content,
        json!({"metadata": {"name": "b"}, "kind": "A", "n": 1.5})
    );
    assert_eq!(resource.render(ResourceFormat::Native).unwrap(), &loose[..]);
}

#[test]
fn hcl_is_read_in_every_shape_that_is_documented() {
    let text = r#"
# a comment
apiVersion = "apps/v1" // another
kind       = "Deployment" /* and one more */
metadata {
  name = "a"
  labels = { app: "web", "x/y" = "z", }
}
list = [1, 2.50, -3, [
  true, null, # in a list
]]
text = <<-EOT
    indented
      $${kept} \n
  EOT
raw = <<EOT
  a
EOT
"escaped" = 1
"#;
    let text = text.replace(
        "\"escaped\" = 1\n",
        "escaped = \"\\u00e4\\U0001f600 $ % $${a} %%{b}\"\n",
    );
    let resource = parse(text, ResourceFormat::Hcl);
    assert_eq!(resource.reference.to_string(), "Deployment.apps a");
    let expected = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "a", "labels": {"app": "web", "x/y": "z"}},
        "list": [1, number("2.50"), -3, [true, null]],
        "text": "indented\n  ${kept} \\n\n", "raw": "  a\n", "escaped": "ä😀 $ % ${a} %{b}",
    });
    assert_eq!(resource.content, expected);
}

#[test]
fn several_resources_in_one_hcl_file_keep_their_own_bytes() {
    let text = "# two\nresource \"ConfigMap\" \"a\" {\n  data = { x = \"}\" }\n}\n\nresource \"Job\" \"b\" { document = { \"odd key\" = 1 } }\n";
    let found = parse_documents(text.as_bytes(), None, "two.hcl").unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].document,
        "resource \"ConfigMap\" \"a\" {\n  data = { x = \"}\" }\n}"
    );
    assert_eq!(
        found[0].content,
        json!({"kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "}"}})
    );
    assert_eq!(found[1].reference.to_string(), "Job b");
    assert_eq!(found[1].content["odd key"], json!(1));
    for resource in found {
        assert_eq!(parse(resource.document.clone(), ResourceFormat::Hcl), resource);
    }
}

#[test]
fn several_documents_in_one_input_keep_their_own_bytes() {
    let yaml = "# head\n---\nkind: A # a\nmetadata: {name: a}\n---\n# b\nkind: B\nmetadata: {name: b}\n...\n";
    let found = parse_documents(yaml.as_bytes(), None, "a.yaml").unwrap();
    assert_eq!(found[0].document, "kind: A # a\nmetadata: {name: a}\n");
    assert_eq!(found[1].document, "# b\nkind: B\nmetadata: {name: b}\n");
    let json = |name: &str| format!("{{\"kind\":\"A\",\"metadata\":{{\"name\":\"{name}\"}}}}");
    for separator in ["\n---\n", "\n", "", " ", "\r\n---\r\n", "\n--- \n"] {
        let text = [json("a"), json("b"), json("c")].join(separator);
        let found = parse_documents(text.as_bytes(), None, "stdin").unwrap();
        assert_eq!(
            found
                .iter()
                .map(|resource| &*resource.reference.name)
                .collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert!(found.iter().all(|resource| resource.format == ResourceFormat::Json));
        assert_eq!(found[1].document, json("b"));
    }
    let mixed = format!(
        "{}\n---\nkind: B\nmetadata:\n  name: b\n---\n{{kind: C, metadata: {{name: c}}}}\n",
        json("a")
    );
    let found = parse_documents(mixed.as_bytes(), None, "stdin").unwrap();
    let formats: Vec<ResourceFormat> = found.iter().map(|resource| resource.format).collect();
    assert_eq!(
        formats,
        [ResourceFormat::Json, ResourceFormat::Yaml, ResourceFormat::Yaml]
    );
    let marked = parse_documents("\u{feff}kind: A\nmetadata: {name: a}".as_bytes(), None, "bom").unwrap();
    assert_eq!(marked[0].reference.kind, "A");
}

#[test]
fn a_list_stands_for_its_items() {
    let content = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"kind": "A", "metadata": {"name": "a"}, "n": 1.50}, {"apiVersion": "apps/v1", "kind": "B", "metadata": {"name": "b"}},
    ]});
    for format in ResourceFormat::ALL {
        let document = render_content(&content, format).unwrap();
        let found = parse_documents(&document, Some(format), "list").unwrap();
        assert_eq!(found.len(), 2, "{format}");
        for (resource, item) in found.iter().zip(content["items"].as_array().unwrap()) {
            assert_eq!(content_digest(&resource.content), content_digest(item));
            assert_eq!(parse(resource.document.clone(), format), *resource);
        }
    }
    let empty = parse_documents(b"kind: List\nitems: []\n", None, "list").unwrap_err();
    assert_eq!(empty.refusal, Refusal::Empty);
}

#[test]
fn long_keys_and_texts_survive_every_format() {
    let key = "k ".repeat(2000);
    let text = format!("{}\nline\n", "long \"line\" ".repeat(3000));
    let mut data = json!({"after": [1]});
    data[&key] = json!({"inner": [text], "list": [[text]]});
    data[format!("{key}2")] = json!(text);
    let content = config_map(data);
    for from in ResourceFormat::ALL {
        let resource = parse(render_content(&content, from).unwrap(), from);
        for to in ResourceFormat::ALL {
            let converted = parse(resource.render(to).unwrap(), to);
            assert_eq!(converted.content_digest(), content_digest(&content), "{from} to {to}");
        }
    }
}
