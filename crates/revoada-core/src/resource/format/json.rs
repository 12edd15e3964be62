//! JSON (RFC 8259), read strictly.
//!
//! One pass, straight into the content: numbers keep their spelling, a key that is there twice is refused where it
//! stands, depth is bounded, and the end of a value is known to the byte, so that values in sequence can be cut apart.
//! Rejected: `serde_json::from_slice`, which silently keeps the last of two equal keys, and by which an object that
//! happens to have serde_json's private number key turns into a number. A property test holds this reader against it.

use serde_json::{Map, Value};

use super::super::number;
use super::super::refusal::{Fault, Refusal};
use super::super::{ResourceFormat, content};
use crate::limits;

/// Reads one value from the beginning of `text`; also gives the offset behind it.
pub(crate) fn read_prefix(text: &str) -> Result<(Value, usize), Fault> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
    };
    reader.space();
    let value = reader.value(0)?;
    Ok((value, reader.at))
}

/// Reads the one value that `text` is.
pub(crate) fn read(text: &str) -> Result<Value, Fault> {
    let (value, end) = read_prefix(text)?;
    let end = end + space(&text.as_bytes()[end..]);
    if end < text.len() {
        return Err(Refusal::TrailingBytes.at(end));
    }
    Ok(value)
}

/// Writes `content` on one line.
pub(crate) fn write(content: &Value) -> Vec<u8> {
    // The `Display` of a value cannot fail: its keys are strings, and it writes to memory.
    content.to_string().into_bytes()
}

/// The number of bytes of white space at the beginning.
pub(crate) fn space(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
        .count()
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.at += space(&self.bytes[self.at..]);
    }

    fn expected(&self, what: &str) -> Fault {
        let detail = match self.text[self.at..].chars().next() {
            Some(found) => format!("{what} is expected, and {found:?} was found"),
            None => format!("{what} is expected, and it ends here"),
        };
        Refusal::Syntax {
            format: ResourceFormat::Json,
            detail,
        }
        .at(self.at)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        match self.bytes.get(self.at) {
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.expected("a value")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.expected("a value"));
        }
        self.at += word.len();
        Ok(value)
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
        if self.closes(b']') {
            return Ok(Value::Array(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            if self.closes(b']') {
                return Ok(Value::Array(items));
            }
            self.comma("',' or ']'")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        self.enter(depth)?;
        let mut object = Map::new();
        if self.closes(b'}') {
            return Ok(Value::Object(object));
        }
        loop {
            self.space();
            let key_at = self.at;
            if self.bytes.get(self.at) != Some(&b'"') {
                return Err(self.expected("a key in double quotes"));
            }
            let key = self.string()?;
            self.space();
            if self.bytes.get(self.at) != Some(&b':') {
                return Err(self.expected("':'"));
            }
            self.at += 1;
            self.space();
            let value = self.value(depth)?;
            content::insert(&mut object, key, value).map_err(|refusal| refusal.at(key_at))?;
            if self.closes(b'}') {
                return Ok(Value::Object(object));
            }
            self.comma("',' or '}'")?;
        }
    }

    /// Steps over the bracket that opens a list or an object at `depth`.
    fn enter(&mut self, depth: usize) -> Result<(), Fault> {
        if depth > limits::DOCUMENT_DEPTH_MAX {
            return Err(Refusal::TooDeep.at(self.at));
        }
        self.at += 1;
        Ok(())
    }

    fn closes(&mut self, bracket: u8) -> bool {
        self.space();
        let closes = self.bytes.get(self.at) == Some(&bracket);
        self.at += usize::from(closes);
        closes
    }

    fn comma(&mut self, what: &str) -> Result<(), Fault> {
        if self.bytes.get(self.at) != Some(&b',') {
            return Err(self.expected(what));
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut string = String::new();
        loop {
            let run = self.bytes[self.at..]
                .iter()
                .take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
                .count();
            // Both ends of the run are at ASCII bytes or at the end, so it is cut between characters.
            string.push_str(&self.text[self.at..self.at + run]);
            self.at += run;
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(string);
                }
                Some(b'\\') => string.push(self.escape()?),
                Some(_) => return Err(self.expected("an escape (a control character must not stand in a string)")),
                None => return Err(self.expected("'\"'")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let start = self.at;
        self.at += 2;
        Ok(match self.bytes.get(start + 1) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(start),
            _ => {
                self.at = start;
                return Err(self.expected("an escape of RFC 8259"));
            }
        })
    }

    /// The character of a `\u` escape at `start`, or of two that are a surrogate pair.
    fn unicode(&mut self, start: usize) -> Result<char, Fault> {
        let first = self.code_unit(start)?;
        let code = match first {
            0xD800..=0xDBFF if self.bytes[self.at..].starts_with(b"\\u") => {
                let second_at = self.at;
                self.at += 2;
                let second = self.code_unit(second_at)?;
                if !(0xDC00..=0xDFFF).contains(&second) {
                    return Err(self.lone_surrogate(start));
                }
                0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00)
            }
            _ => first,
        };
        char::from_u32(code).ok_or_else(|| self.lone_surrogate(start))
    }

    fn code_unit(&mut self, start: usize) -> Result<u32, Fault> {
        let digits = self
            .bytes
            .get(self.at..self.at + 4)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let Some(digits) = digits else {
            self.at = start;
            return Err(self.expected("\\u and four hexadecimal digits"));
        };
        self.at += 4;
        Ok(digits.iter().fold(0, |code, &digit| {
            code * 16 + char::from(digit).to_digit(16).unwrap_or(0)
        }))
    }

    fn lone_surrogate(&self, start: usize) -> Fault {
        let detail = "half of a surrogate pair is no character".to_owned();
        Refusal::Syntax {
            format: ResourceFormat::Json,
            detail,
        }
        .at(start)
    }
}
