//! How a command ends when it does not succeed: an exit code for scripts, and one error on stderr.
//!
//! Every error becomes a kind, a message and its causes, the same three that travel over the native API, so that an
//! error found here and one found on a node print alike. Rejected: an error type per command; what a command can add
//! is a hint, and scripts branch on the kind.

use std::error::Error;
use std::io;

use revoada::client::{ClientError, Failure};
use revoada_core::error::ErrorKind;
use serde_json::json;

/// What a command returns.
pub type Outcome = Result<Exit, CliError>;

/// How a command ended that has printed all there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or the answer is yes.
    Done,
    /// The answer is no.
    No,
    /// What was there is not available any more.
    Unavailable,
}

impl Exit {
    /// Yes or no.
    pub const fn of_answer(yes: bool) -> Self {
        if yes { Self::Done } else { Self::No }
    }

    /// The process' exit code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::No => 1,
            Self::Unavailable => 3,
        }
    }
}

/// The exit code of an error, as the contract of the command line has it.
pub const fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::NotFound | ErrorKind::Compacted | ErrorKind::Unsupported | ErrorKind::Exhausted => 1,
        ErrorKind::Invalid => 2,
        ErrorKind::Unavailable => 3,
        ErrorKind::OutcomeUnknown => 4,
        ErrorKind::Unauthenticated | ErrorKind::Denied => 5,
        ErrorKind::AlreadyExists | ErrorKind::Conflict => 6,
    }
}

/// An error at the edge: printed once, with everything below it, and turned into an exit code.
#[derive(Debug)]
pub struct CliError {
    /// What happened, and why.
    pub failure: Failure,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// Another exit code than the kind's.
    exit: Option<u8>,
    /// The reader of stdout went away: nothing is left to be said to anyone.
    quiet: bool,
}

impl CliError {
    /// An error with no cause below it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            failure: Failure::new(kind, message),
            hint: None,
            exit: None,
            quiet: false,
        }
    }

    /// Flags, arguments or a file that are not valid.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// What failed, and `source` with everything below it as the causes.
    pub fn because(kind: ErrorKind, message: impl Into<String>, source: &(dyn Error + 'static)) -> Self {
        Self {
            failure: Failure::because(kind, message, source),
            ..Self::new(kind, "")
        }
    }

    /// A file that could not be used: `what` is a verb and the file.
    pub fn file(what: impl Into<String>, source: &io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::PermissionDenied => ErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Exhausted,
            _ => ErrorKind::Invalid,
        };
        Self::because(kind, what, source)
    }

    /// An input file that cannot be read: whatever the reason, the argument is not valid.
    pub fn unreadable(path: &std::path::Path, source: &io::Error) -> Self {
        Self::because(ErrorKind::Invalid, format!("cannot read {}", path.display()), source)
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with another exit code than the kind's.
    #[must_use]
    pub fn exit(mut self, code: u8) -> Self {
        self.exit = Some(code);
        self
    }

    /// The same error, caused by another one.
    #[must_use]
    pub fn with_causes_of(mut self, other: Self) -> Self {
        self.failure.causes.push(other.failure.message);
        self.failure.causes.extend(other.failure.causes);
        self
    }

    /// Writing to stdout failed.
    pub fn stdout(source: &io::Error) -> Self {
        let broken = source.kind() == io::ErrorKind::BrokenPipe;
        Self {
            quiet: broken,
            exit: Some(u8::from(!broken)),
            ..Self::because(ErrorKind::Exhausted, "cannot write to stdout", source)
        }
    }

    /// What happened, to branch on.
    pub const fn kind(&self) -> ErrorKind {
        self.failure.kind
    }

    /// Whether the reader of stdout went away.
    pub const fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The process' exit code.
    pub fn code(&self) -> u8 {
        self.exit.unwrap_or_else(|| exit_code(self.failure.kind))
    }

    /// What goes to stderr, with a line break at its end; empty for an error that nobody is there to read.
    pub fn text(&self, json: bool) -> String {
        if self.quiet {
            return String::new();
        }
        let Failure {
            kind, message, causes, ..
        } = &self.failure;
        if json {
            let mut error = json!({"kind": kind.name(), "message": message, "causes": causes});
            if let Some(hint) = &self.hint {
                error["hint"] = json!(hint);
            }
            return format!("{}\n", json!({ "error": error }));
        }
        let mut text = format!("error: {}\n", one_line(message));
        for cause in causes {
            text.push_str(&format!("  {}\n", one_line(cause)));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

/// Messages of others (parsers, systems) may have several lines; an error's parts have one each, without the picture of
/// the source that some parsers draw.
fn one_line(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.trim_start().starts_with("-->"));
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self {
            failure: error.to_failure(),
            ..Self::new(error.kind(), "")
        }
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        Self {
            hint: None,
            exit: None,
            quiet: false,
            failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_and_one_indented_line_per_cause() {
        let io = io::Error::other("the disk\nis gone");
        let error = CliError::because(ErrorKind::Unavailable, "cannot start", &io).hint("try again");
        assert_eq!(
            error.text(false),
            "error: cannot start\n  the disk; is gone\nhint: try again\n"
        );
        assert_eq!(error.code(), 3);
    }

    #[test]
    fn an_error_in_json_has_kind_message_and_causes() {
        let error = CliError::new(ErrorKind::OutcomeUnknown, "no answer");
        let value: serde_json::Value = serde_json::from_str(&error.text(true)).unwrap();
        assert_eq!(
            value,
            json!({"error": {"kind": "outcome-unknown", "message": "no answer", "causes": []}})
        );
    }

    #[test]
    fn every_kind_has_the_exit_code_of_the_contract() {
        use ErrorKind as K;
        let codes = [
            (K::NotFound, 1),
            (K::Invalid, 2),
            (K::Unavailable, 3),
            (K::OutcomeUnknown, 4),
            (K::Denied, 5),
            (K::Unauthenticated, 5),
            (K::Conflict, 6),
            (K::AlreadyExists, 6),
        ];
        for (kind, code) in codes {
            assert_eq!(CliError::new(kind, "").code(), code, "{kind}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_error() {
        let error = CliError::stdout(&io::ErrorKind::BrokenPipe.into());
        assert_eq!(
            (error.code(), error.text(false), error.text(true)),
            (0, String::new(), String::new())
        );
        assert_eq!(CliError::stdout(&io::Error::from_raw_os_error(28)).code(), 1);
    }
}
