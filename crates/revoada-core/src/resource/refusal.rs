//! Why a manifest is refused, and where.
//!
//! A refusal is found deep inside a reader, which knows an offset; the place it is reported at (file, number of the
//! document, line, column) is known only to whoever called it. So readers return a [`Fault`], and [`ManifestError`] is
//! made from it once, at the seam. Rejected: carrying the source's name down into every reader.

use std::fmt;

use super::ResourceFormat;
use crate::error::ErrorKind;
use crate::limits;

/// A manifest that was refused; nothing of its input is used.
///
/// `Display` is one sentence: place, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {refusal}")]
pub struct ManifestError {
    /// Where. Boxed, because the good results that an error travels beside are small.
    pub place: Box<Place>,
    /// What, to branch on.
    pub refusal: Refusal,
}

impl ManifestError {
    /// `Exhausted` where a limit was passed, else `Invalid`.
    pub const fn kind(&self) -> ErrorKind {
        self.refusal.kind()
    }
}

/// A place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the source as the caller gave it: a path, or `stdin`.
    pub source: String,
    /// The number of the document in it, from 1; none where the source has (or may have) only one.
    pub document: Option<usize>,
    /// The number of the item in it, from 1, where the document is a `List`.
    pub item: Option<usize>,
    /// The position in the source, in text formats and where it is known.
    pub position: Option<Position>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        if let Some(item) = self.item {
            write!(f, ", item {item}")?;
        }
        if let Some(Position { line, column }) = self.position {
            write!(f, ", line {line}, column {column}")?;
        }
        Ok(())
    }
}

/// A line and a column, both from 1; the column counts characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    /// The position of the byte at `offset` (clamped to the text's end).
    pub(crate) fn of(text: &[u8], offset: usize) -> Self {
        let before = &text[..offset.min(text.len())];
        let start = before
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |newline| newline + 1);
        Self {
            line: 1 + before.iter().filter(|&&byte| byte == b'\n').count(),
            // Bytes that continue a UTF-8 character are not counted.
            column: 1 + before[start..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count(),
        }
    }
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A text format that is not UTF-8.
    #[error("the document is not UTF-8; save it as UTF-8")]
    NotUtf8,
    /// No document at all.
    #[error("there is no document in it; give at least one with a kind and a metadata.name")]
    Empty,
    /// More than one document where one was expected.
    #[error("there is more than one document in it; give exactly one")]
    SeveralDocuments,
    /// [`limits::DOCUMENT_BYTES_MAX`] and more; refused before it is parsed.
    #[error(
        "the document has {bytes} bytes or more, and fewer than {} are allowed; split it",
        limits::DOCUMENT_BYTES_MAX
    )]
    TooLarge {
        /// The size, or what is known of it.
        bytes: usize,
    },
    /// Nested deeper than [`limits::DOCUMENT_DEPTH_MAX`].
    #[error("its values nest deeper than {} levels; flatten them", limits::DOCUMENT_DEPTH_MAX)]
    TooDeep,
    /// YAML aliases that stand for more than [`limits::ALIAS_BYTES_MAX`].
    #[error(
        "its aliases stand for more than {} bytes; write the values out",
        limits::ALIAS_BYTES_MAX
    )]
    AliasBomb,
    /// A number beyond [`limits::NUMBER_DIGITS_MAX`] or [`limits::NUMBER_EXPONENT_MAX`].
    #[error(
        "a number has more than {} digits or an exponent beyond {}; quote it to make it a string",
        limits::NUMBER_DIGITS_MAX,
        limits::NUMBER_EXPONENT_MAX
    )]
    NumberTooLong,
    /// A YAML alias to the value that contains it, or to an anchor that is not finished.
    #[error("an alias refers to the value that contains it; write the value out")]
    AliasCycle,
    /// The same key twice in one object.
    #[error("the key {key:?} is there twice in one object; remove one")]
    DuplicateKey {
        /// The key.
        key: String,
    },
    /// The top level is a list or a scalar.
    #[error("the top level is {found}, not an object with a kind and a metadata.name")]
    NotAnObject {
        /// What it is instead.
        found: &'static str,
    },
    /// A field that a resource needs.
    #[error("{field} is missing; add it")]
    Missing {
        /// The path of the field.
        field: &'static str,
    },
    /// A field of a resource that is not a string.
    #[error("{field} is {found}, not a string; quote it")]
    NotAString {
        /// The path of the field.
        field: &'static str,
        /// What it is instead.
        found: &'static str,
    },
    /// A name longer than [`limits::NAME_BYTES_MAX`].
    #[error("{field} has {bytes} bytes, and the limit is {}; shorten it", limits::NAME_BYTES_MAX)]
    NameTooLong {
        /// The path of the field.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// A name that could leave its place in a path or a key.
    #[error("{field} is {name:?}, which {why}; use letters, digits, '-' and '.'")]
    BadName {
        /// The path of the field.
        field: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it: "contains '/'".
        why: &'static str,
    },
    /// A `List` without a list of items.
    #[error("it is a List without a list of items; add items, or give it another kind and a name")]
    BadList,
    /// Text that is not of its format.
    #[error("it is not valid {format}: {detail}")]
    Syntax {
        /// The format that it was read as.
        format: ResourceFormat,
        /// What was expected.
        detail: String,
    },
    /// A native envelope that ends early.
    #[error("the native envelope is cut short; it was not copied whole")]
    Truncated,
    /// A native envelope of a newer version.
    #[error("the native envelope has version {version}, and this build reads version 1; use a newer revoada")]
    NewerEnvelope {
        /// Its version.
        version: u64,
    },
    /// Something that the format has and a resource cannot hold.
    #[error("{what} cannot be kept in a resource; {remedy}")]
    Unrepresentable {
        /// What: "a template", "not a number".
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// An integer with a leading zero, which is octal to some readers and decimal to others.
    #[error(
        "{text} begins with a zero, and readers of YAML disagree about it; leave the zero out, write 0o for octal, or quote it"
    )]
    AmbiguousZero {
        /// The number as written.
        text: String,
    },
    /// Bytes after the end of the one document.
    #[error("there is something after the end of the document; remove it")]
    TrailingBytes,
    /// The labels of an HCL block and its body say different things.
    #[error("the label says {label:?} and {field} says {value:?}; leave one out")]
    Contradiction {
        /// The path of the field.
        field: &'static str,
        /// What the label says.
        label: String,
        /// What the field says.
        value: String,
    },
}

impl Refusal {
    /// `Exhausted` where a limit was passed, else `Invalid`.
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } | Self::TooDeep | Self::AliasBomb | Self::NumberTooLong => ErrorKind::Exhausted,
            Self::NotUtf8
            | Self::Empty
            | Self::SeveralDocuments
            | Self::AliasCycle
            | Self::DuplicateKey { .. }
            | Self::NotAnObject { .. }
            | Self::Missing { .. }
            | Self::NotAString { .. }
            | Self::NameTooLong { .. }
            | Self::BadName { .. }
            | Self::BadList
            | Self::Syntax { .. }
            | Self::Truncated
            | Self::NewerEnvelope { .. }
            | Self::Unrepresentable { .. }
            | Self::AmbiguousZero { .. }
            | Self::TrailingBytes
            | Self::Contradiction { .. } => ErrorKind::Invalid,
        }
    }

    /// This refusal at a byte offset of what the reader was given.
    pub(crate) const fn at(self, offset: usize) -> Fault {
        Fault {
            refusal: self,
            offset: Some(offset),
        }
    }
}

/// A refusal as a reader knows it: with an offset in its own input, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) refusal: Refusal,
    pub(crate) offset: Option<usize>,
}

impl Fault {
    /// The same fault in an input that begins `base` bytes earlier.
    pub(crate) fn moved_by(mut self, base: usize) -> Self {
        self.offset = self.offset.map(|offset| offset + base);
        self
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, offset: None }
    }
}
