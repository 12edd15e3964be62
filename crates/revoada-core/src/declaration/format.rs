//! The formats of a declaration: bytes to a tree, and a proved declaration to text.
//!
//! In HCL an object is a block, or an attribute with an object in braces; everything else is an attribute:
//!
//! ```hcl
//! apiVersion = "revoada.dev/v1"
//! kind = "Cluster"
//! name = "homelab"
//! strategy = "homelab-3node"
//! face {
//!   kind = "pure-raft"
//! }
//! topology = { kind = "cluster-3m-nw" }
//! ```
//!
//! Blocks have no labels, and values are literals. Rejected: evaluating expressions. A declaration is data that is
//! compared by its digest, and two files that look alike should not differ by what a function returned.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::ops::Neg;

use hcl::expr::{Expression, ObjectKey, Operation, UnaryOperator};
use hcl::structure::{Block, Body, Structure};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::file::ClusterFile;
use super::tree::{Tree, quoted};
use crate::error::ErrorKind;
use crate::limits::{DECLARATION_BYTES_MAX, DOCUMENT_DEPTH_MAX};

/// The formats in which a declaration is given and rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeclarationFormat {
    /// YAML 1.2, one document.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// HCL 2 (native syntax), literals only.
    Hcl,
}

impl DeclarationFormat {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Yaml, Self::Json, Self::Hcl];

    /// The format that the ending of a file name says: `yaml`, `yml`, `json`, `hcl`.
    pub fn from_file_name(name: &str) -> Option<Self> {
        match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            "hcl" => Some(Self::Hcl),
            _ => None,
        }
    }
}

impl fmt::Display for DeclarationFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Yaml => "YAML",
            Self::Json => "JSON",
            Self::Hcl => "HCL",
        })
    }
}

/// The bytes are not a document at all, so there is nothing that findings could be about.
#[derive(Debug, thiserror::Error)]
pub enum SyntaxError {
    /// It is larger than [`DECLARATION_BYTES_MAX`], and was not read.
    #[error("it has {bytes} bytes, more than the {DECLARATION_BYTES_MAX} that a declaration may have")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// It is not text.
    #[error("it is not UTF-8 at byte {at}")]
    NotUtf8 {
        /// The offset of the first byte that is not.
        at: usize,
        /// What is wrong there.
        source: std::str::Utf8Error,
    },
    /// The parser of the format refused it: the source says where and why.
    #[error("it is not valid {format}")]
    Malformed {
        /// The format that it was read as.
        format: DeclarationFormat,
        /// What the parser said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl SyntaxError {
    /// Always [`ErrorKind::Invalid`].
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Invalid
    }

    fn malformed(format: DeclarationFormat, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Malformed {
            format,
            source: source.into(),
        }
    }
}

/// Reads a document as `format`, or as what it looks like where none is given: JSON from `{` on, HCL where it is HCL
/// and not an object in YAML, else YAML.
pub(crate) fn parse(bytes: &[u8], format: Option<DeclarationFormat>) -> Result<Tree, SyntaxError> {
    if bytes.len() > DECLARATION_BYTES_MAX {
        return Err(SyntaxError::TooLarge { bytes: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|source| SyntaxError::NotUtf8 {
        at: source.valid_up_to(),
        source,
    })?;
    match format {
        Some(DeclarationFormat::Json) => json(text),
        Some(DeclarationFormat::Yaml) => yaml(text),
        Some(DeclarationFormat::Hcl) => hcl(text),
        None if text.trim_start().starts_with('{') => json(text),
        None => match yaml(text) {
            Ok(tree @ Tree::Object(_)) => Ok(tree),
            otherwise => hcl(text).or(otherwise),
        },
    }
}

fn json(text: &str) -> Result<Tree, SyntaxError> {
    serde_json::from_str(text)
        .or_else(|error| serde_json::from_str(&overflowing(text)).map_err(|_| error))
        .map_err(|error| SyntaxError::malformed(DeclarationFormat::Json, error))
}

/// The same text with a number that overflows in the place of each `NaN` and `Infinity`. JSON has neither, but some
/// languages write them; so they become findings that name their field, and nothing that is one can be proved.
fn overflowing(text: &str) -> String {
    const OVERFLOWING: &str = "1e999";
    let mut out = String::with_capacity(text.len());
    // Outside of strings JSON has no such words, and every second quote that is not escaped ends a string.
    let (mut in_string, mut rest) = (false, text);
    while let Some(c) = rest.chars().next() {
        let word = ["NaN", "Infinity"]
            .into_iter()
            .find(|word| !in_string && rest.starts_with(word));
        let taken = match (word, c) {
            (Some(word), _) => word.len(),
            (None, '\\') if in_string => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            (None, '"') => {
                in_string = !in_string;
                1
            }
            (None, c) => c.len_utf8(),
        };
        let (token, behind) = rest.split_at(taken);
        out.push_str(word.map_or(token, |_| OVERFLOWING));
        rest = behind;
    }
    out
}

fn yaml(text: &str) -> Result<Tree, SyntaxError> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        // The same number that the reader of manifests makes of it.
        legacy_octal_numbers: true,
        // `.nan` and `1e400` become findings that name their field.
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::PassThrough,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| SyntaxError::malformed(DeclarationFormat::Yaml, error.to_string()))
}

fn hcl(text: &str) -> Result<Tree, SyntaxError> {
    let body = hcl::parse(text).map_err(|error| SyntaxError::malformed(DeclarationFormat::Hcl, error))?;
    body_tree(body, 1).map_err(|refused| SyntaxError::malformed(DeclarationFormat::Hcl, refused))
}

fn body_tree(body: Body, depth: usize) -> Result<Tree, String> {
    if depth > DOCUMENT_DEPTH_MAX {
        return Err(format!("it nests deeper than {DOCUMENT_DEPTH_MAX} levels"));
    }
    let mut keys = BTreeSet::new();
    let mut fields = Vec::new();
    for structure in body {
        let (key, value) = match structure {
            Structure::Attribute(attribute) => {
                let key = attribute.key.to_string();
                let value = literal(attribute.expr).map_err(|refused| format!("the value of `{key}` is {refused}"))?;
                (key, value)
            }
            Structure::Block(block) => {
                let key = block.identifier.to_string();
                if !block.labels.is_empty() {
                    return Err(format!(
                        "the block `{key}` has a label; blocks of a declaration have none"
                    ));
                }
                (key, body_tree(block.body, depth + 1)?)
            }
        };
        if !keys.insert(key.clone()) {
            return Err(format!("`{key}` is there twice"));
        }
        fields.push((key, value));
    }
    Ok(Tree::Object(fields))
}

/// The value of an expression that is one; what it is instead otherwise. The parser bounds how deep it nests.
fn literal(expression: Expression) -> Result<Tree, String> {
    Ok(match expression {
        Expression::Null => Tree::Null,
        Expression::Bool(value) => Tree::Bool(value),
        Expression::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), ..) => Tree::Integer(value.into()),
            (_, Some(value), _) => Tree::Integer(value.into()),
            (.., value) => Tree::Float(value.unwrap_or(f64::NAN)),
        },
        Expression::String(text) => Tree::Text(text),
        Expression::Array(items) => Tree::List(items.into_iter().map(literal).collect::<Result<_, _>>()?),
        Expression::Parenthesis(inner) => literal(*inner)?,
        Expression::Operation(operation) => match *operation {
            Operation::Unary(unary) if unary.operator == UnaryOperator::Neg => match literal(unary.expr)? {
                Tree::Integer(value) => Tree::Integer(value.neg()),
                Tree::Float(value) => Tree::Float(value.neg()),
                other => return Err(format!("the negative of {}", other.describe())),
            },
            _ => return Err("an operation; only literals are values here".to_owned()),
        },
        Expression::Object(entries) => {
            // The parser refuses equal keys, but takes `b` and `"b"` for two.
            let mut keys = BTreeSet::new();
            let mut fields = Vec::new();
            for (key, value) in entries {
                let key = match key {
                    ObjectKey::Identifier(name) => name.to_string(),
                    ObjectKey::Expression(Expression::String(text)) => text,
                    _ => return Err("an object with a key that is no text".to_owned()),
                };
                if !keys.insert(key.clone()) {
                    return Err(format!("an object with the key {} twice", quoted(&key)));
                }
                fields.push((key, literal(value)?));
            }
            Tree::Object(fields)
        }
        Expression::Variable(variable) => {
            return Err(format!(
                "the variable {}; texts stand in quotes",
                quoted(variable.as_str())
            ));
        }
        _ => return Err("an expression; only literals are values here".to_owned()),
    })
}

/// The whole declaration as text, every default written out.
pub(super) fn render(file: &ClusterFile<'_>, format: DeclarationFormat) -> String {
    const WRITABLE: &str = "a declaration is texts, booleans and finite numbers under texts, in every format";
    match format {
        DeclarationFormat::Yaml => serde_saphyr::to_string(file).expect(WRITABLE),
        DeclarationFormat::Json => serde_json::to_string_pretty(file).expect(WRITABLE) + "\n",
        DeclarationFormat::Hcl => {
            let value = serde_json::to_value(file).expect(WRITABLE);
            let serde_json::Value::Object(fields) = value else {
                unreachable!("a file is an object")
            };
            hcl::format::to_string(&block_body(fields)).expect(WRITABLE)
        }
    }
}

fn block_body(fields: serde_json::Map<String, serde_json::Value>) -> Body {
    let structures = fields.into_iter().map(|(key, value)| match value {
        serde_json::Value::Object(inner) => Structure::Block(Block {
            identifier: hcl::Identifier::sanitized(&key),
            labels: Vec::new(),
            body: block_body(inner),
        }),
        value => Structure::Attribute(hcl::Attribute::new(
            hcl::Identifier::sanitized(&key),
            attribute_value(value),
        )),
    });
    structures.collect()
}

fn attribute_value(value: serde_json::Value) -> Expression {
    match value {
        serde_json::Value::Null | serde_json::Value::Object(_) => Expression::Null,
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(value), _) => value.into(),
            (None, value) => value.unwrap_or(f64::NAN).into(),
        },
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => Expression::Array(items.into_iter().map(attribute_value).collect()),
    }
}
