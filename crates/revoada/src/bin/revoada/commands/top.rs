//! `top`: the status, live on a terminal, and line by line elsewhere.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use clap::Args;
use revoada_store::admin::ClusterStatus;
use tokio::signal::unix::{SignalKind, signal};

use super::status;
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::Format;

/// The status, live
#[derive(Debug, Args)]
#[command(
    after_help = "On a terminal a table that changes, elsewhere a line per change; -o json prints a status per line."
)]
pub struct Top {
    /// How often to look, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(20..))]
    pub every: u64,
}

pub async fn run(context: &Context, arguments: &Top) -> Outcome {
    let format = context.out.format(Format::Table);
    if !matches!(format, Format::Table | Format::Json) {
        let message = format!("what changes is not printed as {}", format.name());
        return Err(CliError::invalid(message).hint("-o table or json"));
    }
    context.candidates()?;
    let no_signals = |error: io::Error| {
        CliError::because(
            revoada_core::error::ErrorKind::Unavailable,
            "cannot listen to signals",
            &error,
        )
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut live = Live::new(context);
    // The first answer decides whether there is anything to look at.
    live.show(Ok(context.find().await?.status))?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            () = tokio::time::sleep(Duration::from_millis(arguments.every)) => {}
        }
        let status = context.find().await.map(|found| found.status);
        live.show(status)?;
    }
}

/// A status that is shown again and again.
pub struct Live<'a> {
    context: &'a Context,
    terminal: bool,
    /// How many lines the last table had.
    lines: usize,
    seen: Seen,
    /// What is said below the table.
    pub footer: String,
}

impl<'a> Live<'a> {
    /// Nothing is shown yet.
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            terminal: io::stdout().is_terminal() && context.out.format(Format::Table) == Format::Table,
            lines: 0,
            seen: Seen::default(),
            footer: String::new(),
        }
    }

    /// Whether a person looks at a table that changes.
    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Shows a status, or that none could be had.
    pub fn show(&mut self, status: Result<ClusterStatus, CliError>) -> Result<(), CliError> {
        if self.context.out.is_json() {
            return match status {
                Ok(status) => self.context.out.json(&status),
                Err(_) => Ok(()),
            };
        }
        if !self.terminal {
            let lines = match &status {
                Ok(status) => self.seen.changes(status),
                Err(error) => self.seen.silence(&error.failure.message),
            };
            return lines.iter().try_for_each(|line| self.context.out.line(line));
        }
        let text = match &status {
            Ok(status) => status::render(status, self.context.out.colour()),
            Err(error) => error.text(false),
        };
        self.redraw(&format!("{text}{}", self.footer))
    }

    /// Replaces the last table by `text`.
    fn redraw(&mut self, text: &str) -> Result<(), CliError> {
        let (width, height) = window();
        let lines: Vec<String> = text
            .lines()
            .take(height.saturating_sub(1).max(1))
            .map(|line| clip(line, width.max(20)))
            .collect();
        let mut frame = String::new();
        if self.lines > 0 {
            frame.push_str(&format!("\x1b[{}A", self.lines));
        }
        frame.push_str("\r\x1b[J");
        for line in &lines {
            frame.push_str(line);
            frame.push('\n');
        }
        self.lines = lines.len();
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(frame.as_bytes()).and_then(|()| stdout.flush());
        written.map_err(|error| CliError::stdout(&error))
    }
}

/// The columns and rows of the terminal. One that was never told its size says 0 (a serial line, `docker run -t`).
fn window() -> (usize, usize) {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    let (width, height) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
    let known = |size: u16, otherwise| if size == 0 { otherwise } else { usize::from(size) };
    (known(width, 120), known(height, 40))
}

/// The first `width` characters of a line; escape sequences take no room, and colour ends with the line.
fn clip(line: &str, width: usize) -> String {
    let mut clipped = String::new();
    let (mut shown, mut escaped) = (0, false);
    for c in line.chars() {
        if c == '\x1b' {
            escaped = true;
        }
        if escaped {
            clipped.push(c);
            escaped = c != 'm';
        } else if shown < width {
            clipped.push(c);
            shown += 1;
        }
    }
    clipped
}

/// What was told of each node, so that only changes are told.
#[derive(Debug, Default)]
pub struct Seen {
    cluster: Option<String>,
    nodes: BTreeMap<String, [&'static str; 4]>,
    silent: bool,
}

impl Seen {
    /// One line per change since the last status.
    pub fn changes(&mut self, status: &ClusterStatus) -> Vec<String> {
        self.silent = false;
        let mut lines = Vec::new();
        let cluster = &status.cluster;
        let redundancy = &cluster.redundancy;
        let now = format!(
            "cluster {}: {} of {} voters caught up, survives {}, {}",
            cluster.state.name(),
            redundancy.voters_caught_up,
            redundancy.voters_declared,
            redundancy.survives,
            cluster
                .leader
                .as_ref()
                .map_or_else(|| "no leader".to_owned(), |leader| format!("{leader} leads")),
        );
        if self.cluster.as_ref() != Some(&now) {
            lines.push(now.clone());
            self.cluster = Some(now);
        }
        for node in &status.nodes {
            let now = [
                node.role.name(),
                node.state.name(),
                node.membership.name(),
                status::raft(node),
            ];
            let before = self.nodes.insert(node.name.clone(), now);
            if before == Some(now) {
                continue;
            }
            let [role, state, membership, raft] = now;
            let was = match before {
                Some([before, ..]) if before != role => format!(" (was {before})"),
                _ => String::new(),
            };
            let state = if state == "active" {
                String::new()
            } else {
                format!(", {state}")
            };
            lines.push(format!("{}: {role}{was}{state}, {membership}, {raft}", node.name));
        }
        lines
    }

    /// A line the first time that nobody answers.
    fn silence(&mut self, why: &str) -> Vec<String> {
        if std::mem::replace(&mut self.silent, true) {
            return Vec::new();
        }
        self.cluster = None;
        vec![why.to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use revoada_core::Role;

    use super::*;
    use crate::commands::status::tests::example;

    #[test]
    fn only_changes_are_told() {
        let mut seen = Seen::default();
        let mut status = example();
        assert_eq!(seen.changes(&status).len(), 4);
        assert!(seen.changes(&status).is_empty());
        status.nodes[2].role = Role::ControlPlane;
        assert_eq!(
            seen.changes(&status),
            ["node-3: control-plane (was worker), alive, standby"]
        );
        assert_eq!(seen.silence("nobody").len(), 1);
        assert!(seen.silence("nobody").is_empty());
        assert_eq!(seen.changes(&status).len(), 1);
    }

    #[test]
    fn a_line_is_clipped_to_the_terminal_and_its_colour_ends() {
        assert_eq!(clip("abcdef", 3), "abc");
        assert_eq!(clip("\x1b[32mabc\x1b[0mdef", 2), "\x1b[32mab\x1b[0m");
    }
}
