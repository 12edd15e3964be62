//! Content as YAML, in the block style that people write manifests in.
//!
//! A string is written plain only if every reader of YAML, 1.1 or 1.2, takes it for that string; a text of several lines
//! becomes a literal block if nothing in it would change; all else is quoted. Rejected: a serializer through serde,
//! which sees a number of arbitrary precision as a private struct.

use serde_json::{Map, Value};

/// The longest key that is written in the short form; the parser looks 1024 characters ahead for its colon (YAML §7.4).
const SIMPLE_KEY_CHARS_MAX: usize = 1000;

/// Words that a reader of YAML 1.1 or 1.2 takes for something else than a string, in lower case.
const RESERVED: &[&str] = &["null", "true", "false", "yes", "no", "on", "off", "y", "n"];

/// Writes `content` as one document, without a marker before it.
pub(crate) fn write(content: &Value) -> Vec<u8> {
    let mut out = String::new();
    match content {
        Value::Object(object) if !object.is_empty() => mapping(&mut out, object, 0),
        Value::Array(items) if !items.is_empty() => sequence(&mut out, items, 0),
        scalar => {
            inline(&mut out, scalar, 0);
            out.push('\n');
        }
    }
    out.into_bytes()
}

/// The cursor is where the first key begins; ends behind a line break.
fn mapping(out: &mut String, object: &Map<String, Value>, indent: usize) {
    for (index, (key, value)) in object.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        if key.chars().count() > SIMPLE_KEY_CHARS_MAX {
            out.push_str("? ");
            quoted(out, key);
            out.push('\n');
            pad(out, indent);
        } else {
            scalar_key(out, key);
        }
        out.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                out.push('\n');
                pad(out, indent + 2);
                mapping(out, inner, indent + 2);
            }
            Value::Array(items) if !items.is_empty() => {
                out.push('\n');
                pad(out, indent);
                sequence(out, items, indent);
            }
            scalar => {
                out.push(' ');
                inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// The cursor is where the first dash begins; ends behind a line break.
fn sequence(out: &mut String, items: &[Value], indent: usize) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            pad(out, indent);
        }
        out.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => mapping(out, inner, indent + 2),
            Value::Array(inner) if !inner.is_empty() => sequence(out, inner, indent + 2),
            scalar => {
                inline(out, scalar, indent + 2);
                out.push('\n');
            }
        }
    }
}

/// A scalar or an empty collection; the lines of a block are indented by `indent`. Ends before the line break.
fn inline(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(number.as_str()),
        Value::Array(_) => out.push_str("[]"),
        Value::Object(_) => out.push_str("{}"),
        Value::String(text) if is_plain(text) => out.push_str(text),
        Value::String(text) if is_literal(text) => literal(out, text, indent),
        Value::String(text) => quoted(out, text),
    }
}

fn scalar_key(out: &mut String, key: &str) {
    if is_plain(key) {
        out.push_str(key)
    } else {
        quoted(out, key)
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

/// Whether the text, written without quotes on one line, is read as this string everywhere.
fn is_plain(text: &str) -> bool {
    let starts_well = text.starts_with(|first: char| first.is_alphabetic() || matches!(first, '/' | '_'));
    let bytes = text.as_bytes();
    starts_well
        && !text.ends_with(' ')
        && text.char_indices().all(|(at, c)| match c {
            // Inside a word only: `a: b` is a mapping.
            ':' => bytes
                .get(at + 1)
                .is_some_and(|&next| next.is_ascii_alphanumeric() || next == b'/'),
            ' ' | '_' | '-' | '.' | '/' | '@' | '+' | '=' | ',' | '(' | ')' | ';' | '$' => true,
            c => c.is_alphanumeric(),
        })
        && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// Whether the text survives a literal block with the indicator that [`literal`] chooses.
fn is_literal(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.ends_with('\n')
        // The first line sets the indentation.
        && !body.starts_with([' ', '\t', '\n'])
        && body.chars().all(|c| matches!(c, '\n' | '\t') || !needs_escape(c))
}

fn literal(out: &mut String, text: &str, indent: usize) {
    out.push_str(if text.ends_with('\n') { "|" } else { "|-" });
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        out.push('\n');
        if !line.is_empty() {
            pad(out, indent);
            out.push_str(line);
        }
    }
}

/// What YAML does not call printable (§5.1), its line breaks, and what editors tend to lose.
fn needs_escape(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if needs_escape(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
