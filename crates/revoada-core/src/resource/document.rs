//! From the bytes of a file, a stream or a request to resources.
//!
//! An input may hold several documents. It is cut at the markers of its format before anything is parsed, because each
//! resource keeps the very bytes it was given in, and because the limit of size is one of a document. Cutting YAML by
//! lines is exact: YAML forbids `---` and `...` at the beginning of a line everywhere else, also inside of strings
//! (YAML 1.2 §9.1.2), and JSON cannot have a line break in a string. Rejected: cutting at the parser's positions, which
//! leave out comments and the markers' own lines differently for every style.

use std::ops::Range;

use bytes::Bytes;
use serde_json::Value;

use super::format::{hcl, json, native, yaml};
use super::refusal::{Fault, ManifestError, Place, Position, Refusal};
use super::{Resource, ResourceFormat, ResourceRef, render_content};
use crate::limits;

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Reads all documents of an input; none is returned unless all are good.
///
/// Several documents stand one after another: YAML and JSON between lines `---`, JSON values and native envelopes also
/// directly in sequence, HCL as `resource` blocks. A `List` with `items` stands for its items; each gets a document of
/// its own, written in the format of the list. Without a `format` it is recognized from the bytes.
///
/// `source_name` is what errors call the input: a path, or `stdin`.
///
/// # Errors
/// [`ManifestError`] for the first document that is refused, and [`Refusal::Empty`] if there is none.
pub fn parse_documents(
    bytes: &[u8],
    format: Option<ResourceFormat>,
    source_name: &str,
) -> Result<Vec<Resource>, ManifestError> {
    let input = Input { bytes, source_name };
    let mut resources = Vec::new();
    for found in input.find(format)? {
        let document = Bytes::copy_from_slice(&bytes[found.range.clone()]);
        match list_items(found.content).map_err(|fault| input.error(fault, found.range.start, found.number, None))? {
            Listed::One(content) => resources.push(
                assemble(content, found.format, document)
                    .map_err(|refusal| input.error(refusal.into(), found.range.start, found.number, None))?,
            ),
            Listed::Items(items) => {
                for (index, item) in items.into_iter().enumerate() {
                    let resource = written(item, found.format).map_err(|refusal| {
                        input.error(refusal.into(), found.range.start, found.number, Some(index + 1))
                    })?;
                    resources.push(resource);
                }
            }
        }
    }
    if resources.is_empty() {
        return Err(unplaced(source_name, Refusal::Empty));
    }
    Ok(resources)
}

/// Reads the one document that `document` is.
pub(super) fn parse_one(document: Bytes, format: ResourceFormat) -> Result<Resource, ManifestError> {
    let content = read_one(&document, format).map_err(|fault| {
        let input = Input {
            bytes: &document,
            source_name: UNNAMED,
        };
        match format {
            ResourceFormat::Native => unplaced(UNNAMED, fault.refusal),
            _ => input.error(fault, 0, None, None),
        }
    })?;
    assemble(content, format, document).map_err(|refusal| unplaced(UNNAMED, refusal))
}

/// What errors call a document that came without a name.
const UNNAMED: &str = "the manifest";

fn read_one(document: &[u8], format: ResourceFormat) -> Result<Value, Fault> {
    if document.len() >= limits::DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: document.len() }.into());
    }
    if format == ResourceFormat::Native {
        return native::read(document);
    }
    let text = utf8(document)?;
    let trimmed = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let moved = |fault: Fault| fault.moved_by(text.len() - trimmed.len());
    match format {
        ResourceFormat::Json if trimmed.len() == json::space(trimmed.as_bytes()) => Err(Refusal::Empty.into()),
        ResourceFormat::Json => json::read(trimmed).map_err(moved),
        ResourceFormat::Hcl => {
            let mut resources = hcl::read(trimmed).map_err(moved)?;
            match (resources.pop(), resources.is_empty()) {
                (None, _) => Err(Refusal::Empty.into()),
                (Some((content, _)), true) => Ok(content),
                (Some((_, range)), false) => Err(moved(Refusal::SeveralDocuments.at(range.start))),
            }
        }
        ResourceFormat::Yaml | ResourceFormat::Native => {
            yaml::read(trimmed).map_err(moved)?.ok_or_else(|| Refusal::Empty.into())
        }
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|error| Refusal::NotUtf8.at(error.valid_up_to()))
}

/// A resource whose document is made from its content.
pub(super) fn from_content(content: Value, format: ResourceFormat) -> Result<Resource, ManifestError> {
    written(content, format).map_err(|refusal| unplaced(UNNAMED, refusal))
}

fn written(content: Value, format: ResourceFormat) -> Result<Resource, Refusal> {
    let document = render_content(&content, format).map_err(|error| match error {
        super::RenderError::NotAnObject { found } => Refusal::NotAnObject { found },
        super::RenderError::TooDeep => Refusal::TooDeep,
    })?;
    if document.len() >= limits::DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: document.len() });
    }
    assemble(content, format, document)
}

fn assemble(content: Value, format: ResourceFormat, document: Bytes) -> Result<Resource, Refusal> {
    let reference = ResourceRef::of(&content)?;
    Ok(Resource {
        reference,
        format,
        document,
        content,
    })
}

/// An error about a source as a whole.
pub(super) fn unplaced(source: &str, refusal: Refusal) -> ManifestError {
    let place = Place {
        source: source.to_owned(),
        document: None,
        item: None,
        position: None,
    };
    ManifestError {
        place: Box::new(place),
        refusal,
    }
}

enum Listed {
    One(Value),
    Items(Vec<Value>),
}

fn list_items(mut content: Value) -> Result<Listed, Fault> {
    let is_list = content.get("kind").and_then(Value::as_str) == Some("List")
        && content
            .get("metadata")
            .and_then(|metadata| metadata.get("name"))
            .is_none_or(Value::is_null);
    if !is_list {
        return Ok(Listed::One(content));
    }
    match content.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => Ok(Listed::Items(items)),
        _ => Err(Refusal::BadList.into()),
    }
}

/// One document of an input.
struct Found {
    content: Value,
    format: ResourceFormat,
    /// Where it is in the input.
    range: Range<usize>,
    /// Its number, from 1, if the input has or may have several.
    number: Option<usize>,
}

struct Input<'a> {
    bytes: &'a [u8],
    source_name: &'a str,
}

impl<'a> Input<'a> {
    /// The error for a fault in the document that begins at `start`; offsets are those of the input.
    fn error(&self, fault: Fault, start: usize, document: Option<usize>, item: Option<usize>) -> ManifestError {
        let is_text = !self.bytes.starts_with(native::MAGIC);
        let position = is_text.then(|| Position::of(self.bytes, fault.offset.unwrap_or(start)));
        let place = Place {
            source: self.source_name.to_owned(),
            document,
            item,
            position,
        };
        ManifestError {
            place: Box::new(place),
            refusal: fault.refusal,
        }
    }

    fn find(&self, format: Option<ResourceFormat>) -> Result<Vec<Found>, ManifestError> {
        if format == Some(ResourceFormat::Native) || format.is_none() && self.bytes.starts_with(native::MAGIC) {
            return self.envelopes();
        }
        let text = utf8(self.bytes).map_err(|fault| self.error(fault, 0, None, None))?;
        let trimmed = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let base = text.len() - trimmed.len();
        match format {
            Some(ResourceFormat::Hcl) => self.blocks(trimmed, base),
            None if looks_like_hcl(trimmed) => self.blocks(trimmed, base),
            _ => self.marked(trimmed, base, format),
        }
    }

    fn envelopes(&self) -> Result<Vec<Found>, ManifestError> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.bytes.len() {
            let number = Some(found.len() + 1);
            let rest = &self.bytes[at..];
            // A promise of more than the limit is not read to its end.
            let within = &rest[..rest.len().min(limits::DOCUMENT_BYTES_MAX)];
            let (content, length) = native::read_prefix(within).map_err(|fault| {
                let refusal = match fault.refusal {
                    Refusal::Truncated if within.len() < rest.len() => Refusal::TooLarge { bytes: within.len() },
                    refusal => refusal,
                };
                let place = Place {
                    source: self.source_name.to_owned(),
                    document: number,
                    item: None,
                    position: None,
                };
                ManifestError {
                    place: Box::new(place),
                    refusal,
                }
            })?;
            if length >= limits::DOCUMENT_BYTES_MAX {
                return Err(self.error(Refusal::TooLarge { bytes: length }.into(), at, number, None));
            }
            found.push(Found {
                content,
                format: ResourceFormat::Native,
                range: at..at + length,
                number,
            });
            at += length;
        }
        Ok(found)
    }

    fn blocks(&self, text: &str, base: usize) -> Result<Vec<Found>, ManifestError> {
        let resources = hcl::read(text).map_err(|fault| self.error(fault.moved_by(base), base, None, None))?;
        let several = resources.len() > 1;
        let found = resources
            .into_iter()
            .enumerate()
            .map(|(index, (content, range))| Found {
                content,
                format: ResourceFormat::Hcl,
                range: base + range.start..base + range.end,
                number: several.then_some(index + 1),
            });
        Ok(found.collect())
    }

    /// YAML and JSON, between markers.
    fn marked(&self, text: &str, base: usize, format: Option<ResourceFormat>) -> Result<Vec<Found>, ManifestError> {
        let mut found = Vec::new();
        let parts = cut(text);
        let several = parts.len() > 1;
        for part in parts {
            let start = base + part.start;
            let chunk = &text[part];
            let number = found.len() + 1;
            let at_number = |number: usize| (several || number > 1).then_some(number);
            let opens = chunk.trim_start().starts_with(['{', '[']);
            let is_json = format == Some(ResourceFormat::Json) || format.is_none() && opens;
            if !is_json {
                if let Some(content) = read_yaml(chunk)
                    .map_err(|fault| self.error(fault.moved_by(start), start, at_number(number), None))?
                {
                    let range = start..start + chunk.len();
                    found.push(Found {
                        content,
                        format: ResourceFormat::Yaml,
                        range,
                        number: at_number(number),
                    });
                }
                continue;
            }
            match json_values(chunk) {
                Ok(values) => {
                    for (content, range) in values {
                        let number = at_number(found.len() + 1);
                        let range = start + range.start..start + range.end;
                        found.push(Found {
                            content,
                            format: ResourceFormat::Json,
                            range,
                            number,
                        });
                    }
                }
                Err((fault, before)) => {
                    // A mapping of YAML in braces looks like JSON at first. What it really is, is told by who can read it.
                    let is_syntax = matches!(fault.refusal, Refusal::Syntax { .. });
                    if format.is_none()
                        && is_syntax
                        && let Ok(Some(content)) = read_yaml(chunk)
                    {
                        let range = start..start + chunk.len();
                        found.push(Found {
                            content,
                            format: ResourceFormat::Yaml,
                            range,
                            number: at_number(number),
                        });
                        continue;
                    }
                    return Err(self.error(fault.moved_by(start), start, at_number(number + before), None));
                }
            }
        }
        Ok(found)
    }
}

fn read_yaml(chunk: &str) -> Result<Option<Value>, Fault> {
    if chunk.len() >= limits::DOCUMENT_BYTES_MAX {
        return Err(Refusal::TooLarge { bytes: chunk.len() }.into());
    }
    yaml::read(chunk)
}

type JsonValues = Vec<(Value, Range<usize>)>;

/// The values that stand in a chunk one after another; with a fault, the number of those before it.
fn json_values(chunk: &str) -> Result<JsonValues, (Fault, usize)> {
    let mut values = Vec::new();
    let mut at = json::space(chunk.as_bytes());
    while at < chunk.len() {
        let rest = &chunk[at..];
        if rest.len() >= limits::DOCUMENT_BYTES_MAX {
            let bytes = json_extent(rest.as_bytes());
            if bytes >= limits::DOCUMENT_BYTES_MAX {
                return Err((Refusal::TooLarge { bytes }.at(at), values.len()));
            }
        }
        let (value, length) = json::read_prefix(rest).map_err(|fault| (fault.moved_by(at), values.len()))?;
        values.push((value, at..at + length));
        at += length;
        at += json::space(&chunk.as_bytes()[at..]);
    }
    Ok(values)
}

/// The length of the JSON value at the beginning, by its brackets alone.
fn json_extent(bytes: &[u8]) -> usize {
    let (mut open, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => open += 1,
            b'}' | b']' if !in_string => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    bytes.len()
}

/// The parts of a text between lines `---` and `...`. Directives (`%YAML`) stay with the document that follows them.
fn cut(text: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut line_at = 0;
    for line in text.split_inclusive('\n') {
        let is_marker = |marker: &str| {
            line.strip_prefix(marker)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
        };
        if is_marker("...") {
            parts.push(start..line_at);
            start = line_at + 3;
        } else if is_marker("---") && !ends_in_directives(&text[start..line_at]) {
            parts.push(start..line_at);
            let rest_is_blank = line[3..].trim().is_empty();
            start = line_at + if rest_is_blank { line.len() } else { 3 };
        }
        line_at += line.len();
    }
    parts.push(start..text.len());
    parts.retain(|part| !is_void(&text[part.clone()]));
    parts
}

/// Whether a part has nothing but comments.
fn is_void(part: &str) -> bool {
    part.lines()
        .all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
}

/// Whether a part has nothing but directives and comments.
fn ends_in_directives(part: &str) -> bool {
    !is_void(part) && part.lines().all(|line| line.starts_with('%') || is_void(line))
}

/// Whether the first thing in a text is an HCL attribute or block. In YAML, `a = b` is a lone scalar, never a mapping.
fn looks_like_hcl(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        let comment = if rest.starts_with('#') || rest.starts_with("//") {
            rest.find('\n')
        } else if rest.starts_with("/*") {
            rest.find("*/").map(|end| end + 1)
        } else {
            break;
        };
        rest = comment.map_or("", |end| &rest[end + 1..]).trim_start();
    }
    let after = rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-'));
    let has_name = after.len() < rest.len();
    let next = after.trim_start_matches([' ', '\t']);
    has_name && (next.starts_with(['=', '{', '"']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_its_markers_and_nowhere_else() {
        let parts = |text: &str| {
            cut(text)
                .into_iter()
                .map(|part| text[part].to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(parts("a: 1\n"), ["a: 1\n"]);
        assert_eq!(
            parts("# licence\n---\na: 1\n---\n---\nb: |\n  ---\n  x\n"),
            ["a: 1\n", "b: |\n  ---\n  x\n"]
        );
        assert_eq!(parts("a: 1\n...\nb: 2"), ["a: 1\n", "\nb: 2"]);
        assert_eq!(
            parts("%YAML 1.2\n---\na: 1\n---\nb: 2"),
            ["%YAML 1.2\n---\na: 1\n", "b: 2"]
        );
        assert_eq!(parts("{}\r\n---\r\n{}"), ["{}\r\n", "{}"]);
        assert_eq!(parts("--- {a: 1}\n---x: 1"), [" {a: 1}\n---x: 1"]);
    }

    #[test]
    fn hcl_is_told_from_yaml_by_its_first_words() {
        for text in [
            "kind = 1",
            "# c\n// d\n/* e */ resource \"a\" \"b\" {}",
            "metadata {\n}",
        ] {
            assert!(looks_like_hcl(text), "{text}");
        }
        for text in ["kind: a", "# kind = a\nkind: b", "{\"a\": 1}", "- a", "", "\"a\" = 1"] {
            assert!(!looks_like_hcl(text), "{text}");
        }
    }
}
