//! Content as HCL, in the shape that `hcl.rs` documents.

use serde_json::{Map, Value};

use super::hcl::WHOLE;

/// Words that mean something else than themselves where a key of an object may stand.
const RESERVED: &[&str] = &["true", "false", "null", "for", "if", "in", "else", "endif", "endfor"];

/// Writes an object as a file of its own.
pub(crate) fn write(object: &Map<String, Value>) -> Vec<u8> {
    let mut out = String::new();
    if object.keys().all(|key| is_identifier(key) && key != WHOLE) {
        for (key, value) in object {
            out.push_str(key);
            out.push_str(" = ");
            write_value(&mut out, value, 0);
            out.push('\n');
        }
    } else {
        out.push_str(WHOLE);
        out.push_str(" = ");
        write_object(&mut out, object, 0);
        out.push('\n');
    }
    out.into_bytes()
}

fn write_value(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => write_list(out, items, indent),
        Value::Object(object) => write_object(out, object, indent),
    }
}

fn write_list(out: &mut String, items: &[Value], indent: usize) {
    if items.is_empty() {
        out.push_str("[]");
        return;
    }
    out.push_str("[\n");
    for item in items {
        pad(out, indent + 2);
        write_value(out, item, indent + 2);
        out.push_str(",\n");
    }
    pad(out, indent);
    out.push(']');
}

fn write_object(out: &mut String, object: &Map<String, Value>, indent: usize) {
    if object.is_empty() {
        out.push_str("{}");
        return;
    }
    out.push_str("{\n");
    for (key, value) in object {
        pad(out, indent + 2);
        if is_identifier(key) {
            out.push_str(key)
        } else {
            write_string(out, key)
        }
        out.push_str(" = ");
        write_value(out, value, indent + 2);
        out.push('\n');
    }
    pad(out, indent);
    out.push('}');
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn is_identifier(key: &str) -> bool {
    key.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        && !RESERVED.contains(&key)
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    let mut previous = None;
    for (at, c) in text.char_indices() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Doubled where it would begin a template. Behind another one readers disagree about what `$$${` is.
            '$' | '%' if text[at + 1..].starts_with('{') && previous == Some(c) => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            '$' | '%' if text[at + 1..].starts_with('{') => {
                out.push(c);
                out.push(c);
            }
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
        previous = Some(c);
    }
    out.push('"');
}
