//! `watch`: tells every change of a kind as it happens.
//!
//! When the node that is listened to stops, the watch goes on at another, where it was: after the last revision that
//! was told whole. Events of that revision which were told already are not told again. Before the present objects have
//! all come there is no such place, and the watch ends.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use futures::StreamExt as _;
use revoada::client::message::{LineType, WatchLine, WatchResources};
use revoada_core::error::ErrorKind;
use revoada_core::resource::{KindSelector, ResourceRef};
use tokio::time::Instant;

use super::list::LabelText;
use super::target::{self, Namespaces};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Format, note};

/// How long another node is looked for.
const RESUME_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait before looking again.
const RESUME_PAUSE: Duration = Duration::from_millis(100);

/// Tells every change of a kind as it happens
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada watch ConfigMap -A
  revoada watch ConfigMap hello -o json
  revoada watch ConfigMap -A --from 42 -o json     everything after revision 42

A line `reset` (and exit code 3) means that events are missing: start again without --from.")]
pub struct Watch {
    /// KIND, or KIND.GROUP
    pub kind: KindSelector,
    /// Only the one of this name
    pub name: Option<String>,
    #[command(flatten)]
    pub namespaces: Namespaces,
    /// Only those with such labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    pub selector: Option<LabelText>,
    /// Resumes after this revision, instead of beginning with what is there
    #[arg(long, value_name = "R")]
    pub from: Option<u64>,
}

pub async fn run(context: &Context, arguments: Watch) -> Outcome {
    let Watch {
        kind,
        name,
        namespaces,
        selector,
        from,
    } = arguments;
    let format = context.out.format(Format::Table);
    if matches!(format, Format::Yaml | Format::Hcl) {
        return Err(
            CliError::invalid(format!("a watch is not printed as {}", format.name())).hint("-o table, json or name"),
        );
    }
    target::check(&kind, namespaces.namespace.as_deref(), name.as_deref())?;
    let mut request = WatchResources {
        group: target::group(&kind),
        kind: kind.kind,
        namespace: namespaces.filter(),
        name,
        selector: selector.map(|LabelText(text)| text),
        from,
    };
    let mut position = Position::after(from);
    loop {
        let mut watch = context.call(async |client| client.watch(&request).await).await?;
        let ended = loop {
            match watch.next().await {
                Some(Ok(line)) => {
                    let last = line.line_type == LineType::Reset;
                    if position.is_new(&line) {
                        print(context, format, &line)?;
                    }
                    if last {
                        return Ok(Exit::Unavailable);
                    }
                }
                Some(Err(error)) => break Some(error),
                None => break None,
            }
        };
        if let Some(error) = &ended
            && error.kind() != ErrorKind::Unavailable
        {
            return Err(CliError::from(failure_of(ended)));
        }
        let Some(resume) = position.resume_after() else {
            return Err(CliError::from(failure_of(ended)).hint("start the watch again"));
        };
        note(format!(
            "the node ended the watch: looking for another, after revision {resume}"
        ));
        request.from = Some(resume);
        wait_for_a_node(context).await?;
    }
}

fn failure_of(ended: Option<revoada::client::ClientError>) -> revoada::client::Failure {
    match ended {
        Some(error) => error.to_failure(),
        None => revoada::client::Failure::new(ErrorKind::Unavailable, "the node ended the watch"),
    }
}

async fn wait_for_a_node(context: &Context) -> Result<(), CliError> {
    let deadline = Instant::now() + RESUME_LIMIT;
    loop {
        match context.find().await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(RESUME_PAUSE).await,
        }
    }
}

/// How far a watch has come.
#[derive(Debug, Default)]
struct Position {
    /// The newest revision of which something was told.
    revision: u64,
    /// What was told of that revision.
    told: BTreeSet<(u8, ResourceRef)>,
    /// Whether everything up to it was told, so that a watch may begin there.
    is_place: bool,
}

impl Position {
    fn after(from: Option<u64>) -> Self {
        Self {
            revision: from.unwrap_or(0),
            told: BTreeSet::new(),
            is_place: from.is_some(),
        }
    }

    /// Where a new watch has to begin: before the newest revision, of which more may have been to come.
    fn resume_after(&self) -> Option<u64> {
        self.is_place
            .then(|| self.revision.saturating_sub(u64::from(!self.told.is_empty())))
    }

    /// Notes a line. Whether it was not told before.
    fn is_new(&mut self, line: &WatchLine) -> bool {
        match line.line_type {
            LineType::Bookmark => {
                if line.revision > self.revision || !self.is_place {
                    self.revision = line.revision.max(self.revision);
                    self.told.clear();
                }
                self.is_place = true;
                true
            }
            LineType::Reset | LineType::Error => true,
            LineType::Added | LineType::Modified | LineType::Deleted => {
                if !self.is_place {
                    return true;
                }
                if line.revision < self.revision {
                    return false;
                }
                if line.revision > self.revision {
                    self.revision = line.revision;
                    self.told.clear();
                }
                let kind = line.line_type as u8;
                let address = line
                    .object
                    .as_ref()
                    .map_or_else(|| target::address(&serde_json::Value::Null), target::address);
                self.told.insert((kind, address))
            }
        }
    }
}

fn print(context: &Context, format: Format, line: &WatchLine) -> Result<(), CliError> {
    if format == Format::Json {
        return context.out.json(line);
    }
    let what = match line.line_type {
        LineType::Added => "added",
        LineType::Modified => "modified",
        LineType::Deleted => "deleted",
        LineType::Reset => {
            note("events are missing from here on: start the watch again without --from");
            return context.out.line("reset");
        }
        LineType::Bookmark | LineType::Error => return Ok(()),
    };
    let address = line.object.as_ref().map(target::address);
    let Some(address) = address else {
        return Ok(());
    };
    let name = target::short_name(&address.group, &address.kind, &address.name);
    if format == Format::Name {
        return context.out.line(&name);
    }
    let place = match address.namespace.as_str() {
        "" => String::new(),
        namespace => format!(" in {namespace}"),
    };
    context
        .out
        .line(&format!("{what:<9} {:>8}  {name}{place}", line.revision))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(line_type: LineType, revision: u64, name: &str) -> WatchLine {
        WatchLine {
            line_type,
            revision,
            object: Some(json!({"kind": "A", "metadata": {"name": name}})),
            error: None,
        }
    }

    #[test]
    fn a_watch_has_no_place_to_resume_from_before_its_first_bookmark() {
        let mut position = Position::after(None);
        assert!(position.is_new(&line(LineType::Added, 7, "a")));
        assert_eq!(position.resume_after(), None);
        assert!(position.is_new(&line(LineType::Bookmark, 9, "")));
        assert_eq!(position.resume_after(), Some(9));
    }

    #[test]
    fn a_revision_that_was_cut_in_two_is_asked_for_again_and_told_once() {
        let mut position = Position::after(Some(5));
        assert!(position.is_new(&line(LineType::Added, 6, "a")));
        assert_eq!(position.resume_after(), Some(5));
        assert!(!position.is_new(&line(LineType::Added, 6, "a")));
        assert!(position.is_new(&line(LineType::Added, 6, "b")));
        assert!(position.is_new(&line(LineType::Modified, 7, "a")));
        assert!(!position.is_new(&line(LineType::Modified, 6, "c")));
    }
}
