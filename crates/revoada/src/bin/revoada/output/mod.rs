//! What goes to stdout, in the format that was asked for, and nothing else.
//!
//! All of stdout passes through [`Output`]: it is the one place that knows the format, that writes whole documents,
//! and that notices a reader who went away. Rejected: `println!`, which panics on a closed pipe and on a full disk.

mod style;
mod table;

use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;
use revoada_core::error::ErrorKind;
use revoada_core::resource::{ResourceFormat, render_content};
use serde::Serialize;
use serde_json::Value;

pub use style::{Style, paint};
pub use table::{Cell, Table};

use crate::failure::CliError;

/// The formats of stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people.
    Table,
    /// JSON, one document, or one per line for streams.
    Json,
    /// YAML.
    Yaml,
    /// HCL 2.
    Hcl,
    /// KIND/NAME, one per line.
    Name,
}

impl Format {
    /// The name used on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Hcl => "hcl",
            Self::Name => "name",
        }
    }

    /// The format of documents that it is, if it is one.
    pub const fn document(self) -> Option<ResourceFormat> {
        match self {
            Self::Json => Some(ResourceFormat::Json),
            Self::Yaml => Some(ResourceFormat::Yaml),
            Self::Hcl => Some(ResourceFormat::Hcl),
            Self::Table | Self::Name => None,
        }
    }
}

/// Stdout in one format.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    asked: Option<Format>,
    colour: bool,
}

impl Output {
    /// Stdout, with the format that `-o` said.
    pub fn new(asked: Option<Format>) -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            asked,
            colour: io::stdout().is_terminal() && !plain && !dumb,
        }
    }

    /// The format that was asked for, or else `otherwise`.
    pub fn format(&self, otherwise: Format) -> Format {
        self.asked.unwrap_or(otherwise)
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.asked == Some(Format::Json)
    }

    /// Whether text for people may be coloured.
    pub const fn colour(&self) -> bool {
        self.colour
    }

    /// Writes `text` as it is.
    pub fn text(&self, text: &str) -> Result<(), CliError> {
        self.bytes(text.as_bytes())
    }

    /// Writes `bytes` as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(|error| CliError::stdout(&error))
    }

    /// Writes one line.
    pub fn line(&self, line: &str) -> Result<(), CliError> {
        self.text(&format!("{line}\n"))
    }

    /// Writes one JSON document on one line.
    pub fn json(&self, value: &impl Serialize) -> Result<(), CliError> {
        let mut text = serde_json::to_vec(value).map_err(|error| unwritable(&error))?;
        text.push(b'\n');
        self.bytes(&text)
    }

    /// Writes what a command found: JSON or YAML where that was asked for, and `table` for people.
    pub fn value(&self, value: &impl Serialize, table: impl FnOnce() -> String) -> Result<(), CliError> {
        match self.format(Format::Table) {
            Format::Table => self.text(&table()),
            Format::Json => self.json(value),
            Format::Yaml => {
                let value = serde_json::to_value(value).map_err(|error| unwritable(&error))?;
                self.bytes(&document(&value, ResourceFormat::Yaml)?)
            }
            other @ (Format::Hcl | Format::Name) => Err(self.unsupported(other)),
        }
    }

    /// The error for a format that a command does not have.
    pub fn unsupported(&self, format: Format) -> CliError {
        CliError::invalid(format!("this command does not print {}", format.name())).hint("-o table, json or yaml")
    }
}

/// `value` in a format of documents, with a line break at its end.
pub fn document(value: &Value, format: ResourceFormat) -> Result<Vec<u8>, CliError> {
    let bytes = render_content(value, format)
        .map_err(|error| CliError::because(error.kind(), format!("this cannot be written as {format}"), &error))?;
    let mut bytes = Vec::from(bytes);
    if bytes.last() != Some(&b'\n') {
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn unwritable(error: &serde_json::Error) -> CliError {
    CliError::because(ErrorKind::Invalid, "the answer cannot be written as JSON", error)
}

/// Says something to people, on stderr.
pub fn note(text: impl AsRef<str>) {
    // Whoever closed stderr does not want to know; the command goes on.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}
