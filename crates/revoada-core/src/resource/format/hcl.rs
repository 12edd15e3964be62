//! HCL 2 in its native syntax, as data: attributes, blocks and literal values.
//!
//! A resource in HCL is the object itself, one attribute per field:
//!
//! ```hcl
//! apiVersion = "v1"
//! kind       = "ConfigMap"
//! metadata   = { name = "greeting", namespace = "default" }
//! data = {
//!   "a key" = "text"
//! }
//! ```
//! A block without labels (`metadata { … }`) is the same as the attribute. Several resources in one file are blocks
//! with two labels, which state the kind and the name: `resource "ConfigMap" "greeting" { data = { … } }`. An object
//! whose own keys are no identifiers is given as the one attribute `document = { … }`, in a file or in such a block.
//!
//! Templates (`${…}`), functions, operators and variables are refused: a stored resource means the same everywhere, so
//! nothing in it may depend on where it is evaluated. Rejected: hcl-rs, which keeps the last of two equal keys of an
//! object, rounds integers beyond 64 bits, and does not say where a resource ends. A property test holds this reader
//! and its writer against it.

use std::ops::Range;

use serde_json::{Map, Value};

use super::super::number;
use super::super::refusal::{Fault, Refusal};
use super::super::{ResourceFormat, content};
use crate::limits;

/// The attribute that holds a whole object.
pub(crate) const WHOLE: &str = "document";
const BLOCK: &str = "resource";

/// Reads all resources of a file, each with the bytes it was given in.
pub(crate) fn read(text: &str) -> Result<Vec<(Value, Range<usize>)>, Fault> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        start: 0,
    };
    let mut resources = Vec::new();
    let mut attributes = Map::new();
    let mut attributes_at = None;
    loop {
        reader.blank();
        if reader.at == text.len() {
            break;
        }
        let start = reader.at;
        let key = reader.identifier()?;
        reader.space();
        if key == BLOCK && reader.peek() == Some(b'"') {
            reader.start = start;
            let resource = reader.labelled()?;
            if reader.at - start >= limits::DOCUMENT_BYTES_MAX {
                return Err(Refusal::TooLarge {
                    bytes: reader.at - start,
                }
                .at(start));
            }
            resources.push((resource, start..reader.at));
            reader.start = reader.at;
            reader.end_of_line()?;
            continue;
        }
        attributes_at.get_or_insert(start);
        reader.entry(&mut attributes, key, start, 1)?;
        reader.end_of_line()?;
    }
    match attributes_at {
        None => Ok(resources),
        Some(_) if text.len() >= limits::DOCUMENT_BYTES_MAX => Err(Refusal::TooLarge { bytes: text.len() }.into()),
        Some(_) if resources.is_empty() => Ok(vec![(whole(attributes)?, 0..text.len())]),
        Some(at) => {
            Err(syntax("attributes and resource blocks stand in one file; put them into resource blocks").at(at))
        }
    }
}

/// The object that the attributes are, or that their one attribute `document` holds.
fn whole(mut attributes: Map<String, Value>) -> Result<Value, Fault> {
    if attributes.len() == 1
        && let Some(Value::Object(_)) = attributes.get(WHOLE)
        && let Some(object) = attributes.remove(WHOLE)
    {
        return Ok(object);
    }
    let object = Value::Object(attributes);
    // Below `document` the reader allows one level more, which only the case above may use.
    if content::depth(&object) > limits::DOCUMENT_DEPTH_MAX {
        return Err(Refusal::TooDeep.into());
    }
    Ok(object)
}

fn syntax(detail: impl Into<String>) -> Refusal {
    Refusal::Syntax {
        format: ResourceFormat::Hcl,
        detail: detail.into(),
    }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Where the resource that is being read began; it may not become too large on the way.
    start: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn starts_with(&self, text: &str) -> bool {
        self.bytes[self.at..].starts_with(text.as_bytes())
    }

    fn expected(&self, what: &str) -> Fault {
        let detail = match self.text[self.at..].chars().next() {
            Some(found) => format!("{what} is expected, and {found:?} was found"),
            None => format!("{what} is expected, and it ends here"),
        };
        syntax(detail).at(self.at)
    }

    /// Steps over spaces and block comments, within the line.
    fn space(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r') => self.at += 1,
                Some(b'/') if self.starts_with("/*") => {
                    let length = self.text[self.at + 2..]
                        .find("*/")
                        .map_or(self.text.len() - self.at, |end| end + 4);
                    self.at += length;
                }
                _ => return,
            }
        }
    }

    /// Steps over spaces, comments and line breaks.
    fn blank(&mut self) {
        loop {
            self.space();
            match self.peek() {
                Some(b'\n') => self.at += 1,
                Some(b'#') => self.line_comment(),
                Some(b'/') if self.starts_with("//") => self.line_comment(),
                _ => return,
            }
        }
    }

    fn line_comment(&mut self) {
        self.at += self.text[self.at..].find('\n').unwrap_or(self.text.len() - self.at);
    }

    /// Whether the line ends here, perhaps with a comment.
    fn at_line_end(&mut self) -> bool {
        self.space();
        matches!(self.peek(), None | Some(b'\n' | b'#')) || self.starts_with("//")
    }

    fn end_of_line(&mut self) -> Result<(), Fault> {
        if self.at_line_end() {
            return Ok(());
        }
        Err(self.expected("the end of the line (expressions are not evaluated in a resource)"))
    }

    fn identifier(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.text[self.at..];
        let length = rest
            .char_indices()
            .find(|&(at, c)| !(c.is_alphabetic() || c == '_' || at > 0 && (c.is_alphanumeric() || c == '-')))
            .map_or(rest.len(), |(at, _)| at);
        if length == 0 {
            return Err(self.expected("a name"));
        }
        self.at += length;
        Ok(&rest[..length])
    }

    /// The rest of `resource "KIND" "NAME" { … }`, from the first label.
    fn labelled(&mut self) -> Result<Value, Fault> {
        let kind = self.string()?;
        self.space();
        if self.peek() != Some(b'"') {
            return Err(self.expected("the name of the resource in double quotes"));
        }
        let name = self.string()?;
        self.space();
        if self.peek() != Some(b'{') {
            return Err(self.expected("'{'"));
        }
        let at = self.at;
        let body = whole(self.body(1)?)?;
        with_labels(body, kind, name).map_err(|refusal| refusal.at(at))
    }

    /// The entries of a block at `depth`, from its `{` to its `}`.
    fn body(&mut self, depth: usize) -> Result<Map<String, Value>, Fault> {
        self.enter(depth)?;
        let mut object = Map::new();
        loop {
            self.blank();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(object);
            }
            let start = self.at;
            let key = self.identifier()?;
            self.space();
            self.entry(&mut object, key, start, depth)?;
            if !self.at_line_end() && self.peek() != Some(b'}') {
                return Err(self.expected("the end of the line or '}'"));
            }
        }
    }

    /// An attribute or a block without labels, from what follows its name.
    fn entry(&mut self, object: &mut Map<String, Value>, key: &str, start: usize, depth: usize) -> Result<(), Fault> {
        // What `document` holds takes the place of the object that holds it.
        let depth = if depth == 1 && key == WHOLE { 0 } else { depth };
        let value = match self.peek() {
            Some(b'=') => {
                self.at += 1;
                self.space();
                self.value(depth)?
            }
            Some(b'{') => Value::Object(self.body(depth + 1)?),
            Some(b'"') => return Err(syntax("only a resource block has labels; write an attribute").at(self.at)),
            _ => return Err(self.expected("'=' or '{'")),
        };
        content::insert(object, key.to_owned(), value).map_err(|refusal| refusal.at(start))
    }

    /// Steps over the bracket that opens a list or an object at `depth`.
    fn enter(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > limits::DOCUMENT_DEPTH_MAX {
            return Err(Refusal::TooDeep.at(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        if self.at - self.start >= limits::DOCUMENT_BYTES_MAX {
            return Err(Refusal::TooLarge {
                bytes: self.at - self.start,
            }
            .at(self.start));
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'[') => self.list(depth + 1),
            Some(b'{') => self.object(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'<') if self.starts_with("<<") => self.heredoc().map(Value::String),
            _ => {
                let start = self.at;
                match self.identifier() {
                    Ok("true") => Ok(Value::Bool(true)),
                    Ok("false") => Ok(Value::Bool(false)),
                    Ok("null") => Ok(Value::Null),
                    _ => {
                        self.at = start;
                        Err(self.expected("a literal value (expressions are not evaluated in a resource)"))
                    }
                }
            }
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let length = number::scan(&self.bytes[self.at..]).ok_or_else(|| self.expected("a number"))?;
        let spelling = &self.text[self.at..self.at + length];
        let number = number::from_spelling(spelling).map_err(|refusal| refusal.at(self.at))?;
        self.at += length;
        Ok(Value::Number(number))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut items = Vec::new();
        loop {
            self.blank();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Value::Array(items));
            }
            items.push(self.value(depth)?);
            self.blank();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {}
                _ => return Err(self.expected("',' or ']'")),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut object = Map::new();
        loop {
            self.blank();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Value::Object(object));
            }
            let start = self.at;
            let key = match self.peek() {
                Some(b'"') => self.string()?,
                _ => self.identifier()?.to_owned(),
            };
            self.space();
            if !matches!(self.peek(), Some(b'=' | b':')) {
                return Err(self.expected("'='"));
            }
            self.at += 1;
            self.space();
            let value = self.value(depth)?;
            content::insert(&mut object, key, value).map_err(|refusal| refusal.at(start))?;
            if self.at_line_end() {
                continue;
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {}
                _ => return Err(self.expected("',', the end of the line or '}'")),
            }
        }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let run = self.text[self.at..]
                .find(['"', '\\', '\n', '$', '%'])
                .unwrap_or(self.text.len() - self.at);
            string.push_str(&self.text[self.at..self.at + run]);
            self.at += run;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(b'$' | b'%') => self.marker(&mut string)?,
                _ => return Err(self.expected("'\"'")),
            }
        }
    }

    /// A `$` or `%`, which may begin a template or stand for itself.
    fn marker(&mut self, string: &mut String) -> Result<(), Fault> {
        let rest = &self.text[self.at..];
        if rest.starts_with("$${") || rest.starts_with("%%{") {
            string.push_str(&rest[1..3]);
            self.at += 3;
        } else if rest.starts_with("${") || rest.starts_with("%{") {
            let what = "a template".to_owned();
            return Err(Refusal::Unrepresentable {
                what,
                remedy: "write $${ or %%{ for the text itself",
            }
            .at(self.at));
        } else {
            string.push_str(&rest[..1]);
            self.at += 1;
        }
        Ok(())
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 2;
        let digits = match self.bytes.get(start + 1) {
            Some(b'n') => return Ok('\n'),
            Some(b'r') => return Ok('\r'),
            Some(b't') => return Ok('\t'),
            Some(b'"') => return Ok('"'),
            Some(b'\\') => return Ok('\\'),
            Some(b'u') => 4,
            Some(b'U') => 8,
            _ => 0,
        };
        let code = self.bytes.get(self.at..self.at + digits).unwrap_or_default();
        let character = std::str::from_utf8(code)
            .ok()
            .filter(|code| code.len() == digits && code.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|code| u32::from_str_radix(code, 16).ok())
            .and_then(char::from_u32);
        self.at += digits;
        character.ok_or_else(|| {
            self.at = start;
            self.expected("one of \\n \\r \\t \\\" \\\\ \\uXXXX \\UXXXXXXXX")
        })
    }

    /// `<<END` or `<<-END`, the lines, and `END` on a line of its own.
    fn heredoc(&mut self) -> Result<String, Fault> {
        let start = self.at;
        self.at += 2;
        let dedents = self.peek() == Some(b'-');
        self.at += usize::from(dedents);
        let end = self.identifier()?;
        self.space();
        if self.peek() != Some(b'\n') {
            return Err(self.expected("the end of the line"));
        }
        self.at += 1;
        let mut lines = Vec::new();
        loop {
            let line = self.text[self.at..].split_inclusive('\n').next().unwrap_or("");
            if line.trim() == end {
                // The line break behind the end belongs to what comes next.
                self.at += line.trim_end().len();
                break;
            }
            if !line.ends_with('\n') {
                return Err(syntax(format!("the heredoc has no line {end} that ends it")).at(start));
            }
            lines.push((self.at, line));
            self.at += line.len();
        }
        let after = self.at;
        let margin = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
        let common = lines
            .iter()
            .map(|(_, line)| *line)
            .filter(|line| !line.trim().is_empty())
            .map(margin)
            .min();
        let cut = if dedents { common.unwrap_or(0) } else { 0 };
        let mut string = String::new();
        for (line_at, line) in lines {
            let stop = line_at + line.len();
            self.at = line_at + cut.min(margin(line));
            while self.at < stop {
                let rest = &self.text[self.at..stop];
                let run = rest.find(['$', '%']).unwrap_or(rest.len());
                string.push_str(&rest[..run]);
                self.at += run;
                if self.at < stop {
                    self.marker(&mut string)?;
                }
            }
        }
        self.at = after;
        Ok(string)
    }
}

/// The body of a resource block, with the kind and the name that its labels state.
fn with_labels(body: Value, kind: String, name: String) -> Result<Value, Refusal> {
    let Value::Object(mut body) = body else {
        return Err(Refusal::NotAnObject {
            found: content::type_name(&body),
        });
    };
    let mut resource = Map::new();
    if let Some(version) = body.shift_remove("apiVersion") {
        resource.insert("apiVersion".to_owned(), version);
    }
    body.shift_remove("kind")
        .map_or(Ok(()), |stated| agrees("kind", &stated, &kind))?;
    resource.insert("kind".to_owned(), Value::String(kind));
    let mut metadata = Map::new();
    match body.shift_remove("metadata") {
        None => {
            metadata.insert("name".to_owned(), Value::String(name));
        }
        Some(Value::Object(mut stated)) => {
            stated
                .shift_remove("name")
                .map_or(Ok(()), |stated| agrees("metadata.name", &stated, &name))?;
            metadata.insert("name".to_owned(), Value::String(name));
            metadata.append(&mut stated);
        }
        // Refused where the reference is read.
        Some(other) => {
            resource.insert("metadata".to_owned(), other);
            return Ok(Value::Object(resource));
        }
    }
    resource.insert("metadata".to_owned(), Value::Object(metadata));
    resource.append(&mut body);
    Ok(Value::Object(resource))
}

fn agrees(field: &'static str, stated: &Value, label: &str) -> Result<(), Refusal> {
    if stated.as_str() == Some(label) {
        return Ok(());
    }
    let value = stated
        .as_str()
        .map_or_else(|| content::type_name(stated).to_owned(), str::to_owned);
    Err(Refusal::Contradiction {
        field,
        label: label.to_owned(),
        value,
    })
}
