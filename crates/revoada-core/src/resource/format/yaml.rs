//! YAML 1.2 with the core schema, read from the parser's events.
//!
//! The events of the parser that serde-saphyr stands on are turned into content directly, because a scalar's own text is
//! the only form in which no number is lost, and because every refusal can then say its line. What the core schema
//! leaves to the reader is decided here:
//! - `yes`, `on`, `12:30`, `1_000` and dates are strings, as 1.2 has it; `~` and nothing at all are null;
//! - an integer that begins with a zero is octal, as in YAML 1.1 and to `kubectl`: `0644` is 420. 1.2 says 644, but the
//!   manifests that have such numbers (`defaultMode`) were written for the former. Where Kubernetes' reader itself does
//!   not take it for octal (`089`, more than 64 bits), it is refused;
//! - keys that are plain numbers or booleans are taken as the text they are spelled with; one that begins with a zero
//!   (`kubectl` makes `"420"` of it), null and collections are refused;
//! - merge keys (`<<`) are followed, because manifests have them; they are not in 1.2;
//! - what aliases stand for counts against [`limits::ALIAS_BYTES_MAX`], and so does what anchors keep.
//!
//! Rejected: serde-saphyr's `Deserialize` into a value, which passes numbers through `i64`, `u64` and `f64`.

use serde_json::{Map, Value};
use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::super::refusal::{Fault, Refusal};
use super::super::{ResourceFormat, content};
use super::yaml_scalar;
use crate::limits;

/// Reads the one document that `text` is; none if it has only comments and white space.
pub(crate) fn read(text: &str) -> Result<Option<Value>, Fault> {
    let mut reader = Reader::new(text);
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(None),
            (Event::DocumentStart(..), _) => break,
            _ => {}
        }
    }
    let (event, span) = reader.next()?;
    // Nothing between `---` and the end is a null without a place in the text.
    if let Event::Scalar(text, ScalarStyle::Plain, 0, None) = &event
        && text.is_empty()
        && span.is_empty()
    {
        return Ok(None);
    }
    let value = reader.node(event, span, 0)?.value;
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(Some(value)),
            (Event::DocumentStart(..), span) => return Err(Refusal::SeveralDocuments.at(offset(&span))),
            _ => {}
        }
    }
}

/// A value, and what it costs to write it out.
#[derive(Clone)]
struct Node {
    value: Value,
    bytes: usize,
    depth: usize,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The finished nodes that an alias may refer to, by the parser's id (from 1, growing).
    anchors: std::collections::BTreeMap<usize, Node>,
    /// What aliases stood for and anchors kept so far.
    alias_bytes: usize,
}

fn offset(span: &Span) -> usize {
    span.start.byte_offset().unwrap_or(0)
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        // One more than the content may have, so that the refusal is ours.
        options.flow_nesting_limit = limits::DOCUMENT_DEPTH_MAX + 1;
        options.block_nesting_limit = limits::DOCUMENT_DEPTH_MAX + 1;
        let parser = Parser::new_from_str_with_options(text, options);
        Self {
            parser,
            anchors: std::collections::BTreeMap::new(),
            alias_bytes: 0,
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(refused(&error)),
            // The parser ends with `StreamEnd`, after which nobody asks.
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// The node that begins with `event`, `depth` collections below the top.
    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let at = offset(&span);
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let bytes = text.len() + 1;
                let value = yaml_scalar::value(text, style, tag.as_deref()).map_err(|refusal| refusal.at(at))?;
                (Node { value, bytes, depth: 0 }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "seq").map_err(|refusal| refusal.at(at))?;
                (self.sequence(depth + 1, at)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), "map").map_err(|refusal| refusal.at(at))?;
                (self.mapping(depth + 1, at)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, depth, at),
            _ => return Err(syntax("a value is expected").at(at)),
        };
        if anchor != 0 {
            self.spend(node.bytes, at)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn alias(&mut self, id: usize, depth: usize, at: usize) -> Result<Node, Fault> {
        let (bytes, height) = self
            .anchors
            .get(&id)
            .map(|node| (node.bytes, node.depth))
            .ok_or_else(|| Refusal::AliasCycle.at(at))?;
        self.spend(bytes, at)?;
        if depth + height > limits::DOCUMENT_DEPTH_MAX {
            return Err(Refusal::TooDeep.at(at));
        }
        self.anchors.get(&id).cloned().ok_or_else(|| Refusal::AliasCycle.at(at))
    }

    fn spend(&mut self, bytes: usize, at: usize) -> Result<(), Fault> {
        self.alias_bytes = self.alias_bytes.saturating_add(bytes);
        if self.alias_bytes > limits::ALIAS_BYTES_MAX {
            Err(Refusal::AliasBomb.at(at))
        } else {
            Ok(())
        }
    }

    fn sequence(&mut self, depth: usize, at: usize) -> Result<Node, Fault> {
        check_depth(depth, at)?;
        let (mut items, mut bytes, mut height) = (Vec::new(), 1, 0);
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => {
                    return Ok(Node {
                        value: Value::Array(items),
                        bytes,
                        depth: height + 1,
                    });
                }
                (event, span) => {
                    let item = self.node(event, span, depth)?;
                    bytes += item.bytes;
                    height = height.max(item.depth);
                    items.push(item.value);
                }
            }
        }
    }

    fn mapping(&mut self, depth: usize, at: usize) -> Result<Node, Fault> {
        check_depth(depth, at)?;
        let (mut object, mut merged, mut bytes, mut height) = (Map::new(), Vec::new(), 1, 0);
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let key_at = offset(&span);
            let key = self.key(event, span)?;
            let (event, span) = self.next()?;
            let value_at = offset(&span);
            let item = self.node(event, span, depth)?;
            bytes += item.bytes + key.as_ref().map_or(2, |key| key.len() + 1);
            height = height.max(item.depth);
            match key {
                Some(key) => content::insert(&mut object, key, item.value).map_err(|refusal| refusal.at(key_at))?,
                None if merged.is_empty() => {
                    merged = merge_sources(item.value).map_err(|refusal| refusal.at(value_at))?
                }
                None => return Err(Refusal::DuplicateKey { key: "<<".to_owned() }.at(key_at)),
            }
        }
        // An explicit key wins over a merged one, and an earlier source over a later.
        for source in merged {
            for (key, value) in source {
                object.entry(key).or_insert(value);
            }
        }
        Ok(Node {
            value: Value::Object(object),
            bytes,
            depth: height + 1,
        })
    }

    /// The key that `event` is; none for the merge key.
    fn key(&mut self, event: Event<'a>, span: Span) -> Result<Option<String>, Fault> {
        let at = offset(&span);
        match event {
            Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<" => Ok(None),
            Event::Scalar(text, style, anchor, tag) => {
                let value =
                    yaml_scalar::value(text.clone(), style, tag.as_deref()).map_err(|refusal| refusal.at(at))?;
                if value.is_null() {
                    return Err(unrepresentable_key("a key that is null").at(at));
                }
                if value.is_number() && yaml_scalar::is_zero_led(&text) {
                    return Err(Refusal::AmbiguousZero {
                        text: text.into_owned(),
                    }
                    .at(at));
                }
                if anchor != 0 {
                    self.spend(text.len() + 1, at)?;
                    self.anchors.insert(
                        anchor,
                        Node {
                            value,
                            bytes: text.len() + 1,
                            depth: 0,
                        },
                    );
                }
                Ok(Some(text.into_owned()))
            }
            Event::Alias(id) => match self.alias(id, 0, at)?.value {
                Value::String(key) => Ok(Some(key)),
                _ => Err(unrepresentable_key("a key that is not a string").at(at)),
            },
            _ => Err(unrepresentable_key("a key that is a list or a mapping").at(at)),
        }
    }
}

/// The objects that a merge key names, the one that wins first.
fn merge_sources(value: Value) -> Result<Vec<Map<String, Value>>, Refusal> {
    let sources = match value {
        Value::Array(items) => items,
        one => vec![one],
    };
    sources
        .into_iter()
        .map(|source| match source {
            Value::Object(object) => Ok(object),
            other => Err(Refusal::Unrepresentable {
                what: format!("a merge key with {}", content::type_name(&other)),
                remedy: "merge a mapping or a list of mappings",
            }),
        })
        .collect()
}

fn unrepresentable_key(what: &str) -> Refusal {
    Refusal::Unrepresentable {
        what: what.to_owned(),
        remedy: "quote the key to make it a string",
    }
}

fn check_depth(depth: usize, at: usize) -> Result<(), Fault> {
    if depth > limits::DOCUMENT_DEPTH_MAX {
        Err(Refusal::TooDeep.at(at))
    } else {
        Ok(())
    }
}

/// Refuses a tag that would make a collection something else than it is.
fn check_tag(tag: Option<&Tag>, own: &str) -> Result<(), Refusal> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema_tag(own) && tag.parts() != ("", "!") => {
            Err(yaml_scalar::unrepresentable_tag(tag))
        }
        _ => Ok(()),
    }
}

fn syntax(detail: impl Into<String>) -> Refusal {
    Refusal::Syntax {
        format: ResourceFormat::Yaml,
        detail: detail.into(),
    }
}

fn refused(error: &ScanError) -> Fault {
    use serde_saphyr::granit_parser::ErrorKind;
    let refusal = match error.kind() {
        ErrorKind::RecursionLimitExceeded => Refusal::TooDeep,
        _ => syntax(error.info()),
    };
    Fault {
        refusal,
        offset: error.marker().byte_offset(),
    }
}
