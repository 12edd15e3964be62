//! `simulate`: what becomes of a declaration over years of failures. Needs no cluster, and touches none.

mod drawing;

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use revoada::simulation::{
    Faults, NODES_MAX, Options, Report, Span, YEARS_MAX, YEARS_MIN, nodes_least, profiles, read_faults, simulate_with,
    timeline,
};
use revoada_core::declaration::ClusterDeclaration;
use serde::Serialize;

use self::drawing::Drawing;
use super::{check, files, up};
use crate::connect::Context;
use crate::failure::{CliError, Exit, Outcome};
use crate::output::{Cell, Format, Style, Table, note};

/// How many nodes there are where nobody says: as many as `up` starts.
const NODES_DEFAULT: usize = 5;
/// After how long a run shows how far it is.
const SHOWN_AFTER: Duration = Duration::from_millis(500);

/// What becomes of a declaration over years of failures
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  revoada simulate cluster.yaml                        a hundred years of five nodes at home
  revoada simulate cluster.yaml --without-replacement  beside it, what it is like when nobody replaces
  revoada simulate cluster.yaml --against other.yaml --faults datacenter
  revoada simulate cluster.yaml --nodes 7 --zones 3    three racks, or three circuits
  revoada simulate cluster.yaml --faults rates.yaml --svg timeline.svg -o json

Rates of failures (--faults):
  homelab      a few machines at home, without a spare part in the house
  datacenter   servers in racks, with somebody on call
  harsh        far too much of everything, to see what happens
  none         nothing fails
  FILE         your own, in YAML or JSON. What is left out does not happen, or is as in the profile
               that `extends` names:
                 extends: homelab
                 crashes:    { mtbf: 60d, mttr: 10m }          each machine; it has its disk
                 machines:   { mtbf: 5y, mttr: 3d }            each machine; it has its disk
                 disks:      { afr: 0.0157, mttr: 3d }         each machine; it comes back empty
                 reboots:    { every: 30d, downtime: 3m }      all, one after the other
                 isolations: { perYear: 2, duration: 5m }      each machine, from all others
                 splits:     { perYear: 1, duration: 5m }      the network, in two
                 zones:      { perYear: 1, duration: 2h }      each zone, with --zones

The policy, the roles and the topology are those that a cluster runs. One seed always gives one
answer, and declarations that are compared suffer the same failures. docs/simulate.md says where
the rates come from and what is left out.")]
pub struct Simulate {
    /// A declaration in YAML, JSON or HCL; - for stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// What fails and how often: homelab, datacenter, harsh, none, or a file with rates
    #[arg(long, value_name = "NAME|FILE", default_value = "homelab")]
    pub faults: PathBuf,
    /// For how many years
    #[arg(long, value_name = "Y", default_value = "100", value_parser = years, allow_negative_numbers = true)]
    pub years: f64,
    /// Which failures are drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many nodes [default: 5, or as many as the declaration takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub nodes: Option<u16>,
    /// Spreads the nodes over N zones (racks, circuits), which fail as a whole [default: each stands alone]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub zones: Option<u16>,
    /// Another declaration, to be compared under the same failures
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// How many nodes that one has [default: as many]
    #[arg(long, value_name = "N", requires = "against", value_parser = clap::value_parser!(u16).range(1..=NODES_MAX as i64))]
    pub against_nodes: Option<u16>,
    /// Compares with the same cluster in which nobody replaces what is lost, as where servers are picked by hand
    #[arg(long)]
    pub without_replacement: bool,
    /// Draws what happened over time to this file
    #[arg(long, value_name = "PATH")]
    pub svg: Option<PathBuf>,
}

fn years(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(years) if (YEARS_MIN..=YEARS_MAX).contains(&years) => Ok(years),
        _ => Err(format!("a number of years, from {YEARS_MIN} to {YEARS_MAX}")),
    }
}

/// One of the clusters that are compared.
struct Subject {
    heading: &'static str,
    label: String,
    declaration: ClusterDeclaration,
    options: Options,
}

/// `simulate -o json`.
#[derive(Serialize)]
struct Answer<'a> {
    years: f64,
    seed: u64,
    zones: usize,
    faults: &'a Faults,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    label: &'a str,
    #[serde(flatten)]
    report: &'a Report,
}

pub fn run(context: &Context, arguments: &Simulate) -> Outcome {
    let format = context.out.format(Format::Table);
    if matches!(format, Format::Hcl | Format::Name) {
        return Err(context.out.unsupported(format));
    }
    let faults = faults(&arguments.faults)?;
    let subjects = subjects(arguments, &faults)?;
    // A path that cannot be written is found out before the work is done.
    let inputs = [
        Some(&arguments.file),
        arguments.against.as_ref(),
        Some(&arguments.faults),
    ];
    let inputs: Vec<&Path> = inputs.into_iter().flatten().map(PathBuf::as_path).collect();
    let drawing = arguments.svg.as_deref().map(|path| Drawing::at(path, &inputs));
    let drawing = drawing.transpose()?;
    let began = Instant::now();
    let mut reports = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        let mut bar = Bar::new(format!("{} of {}", number + 1, subjects.len()));
        let report = simulate_with(&subject.declaration, &subject.options, &mut |share| bar.show(share));
        bar.end();
        reports.push(report.map_err(|error| CliError::because(error.kind(), "nothing was simulated", &error))?);
    }
    if let Some(drawing) = drawing {
        let runs: Vec<_> = subjects.iter().map(|one| one.label.clone()).zip(&reports).collect();
        drawing.write(&timeline(&title(arguments, &faults), &runs))?;
    }
    let answer = Answer {
        years: arguments.years,
        seed: arguments.seed,
        zones: arguments.zones.unwrap_or(0).into(),
        faults: &faults,
        runs: subjects
            .iter()
            .zip(&reports)
            .map(|(subject, report)| Run {
                label: &subject.label,
                report,
            })
            .collect(),
    };
    let colour = context.out.colour();
    context
        .out
        .value(&answer, || render(arguments, &faults, &subjects, &reports, colour))?;
    if std::io::stderr().is_terminal() {
        note(format!("simulated in {:.1} s", began.elapsed().as_secs_f64()));
    }
    Ok(Exit::Done)
}

fn faults(name: &Path) -> Result<Faults, CliError> {
    if let Some(faults) = name.to_str().and_then(Faults::by_name) {
        return Ok(faults);
    }
    let looks_like_a_name = name.components().count() == 1 && name.extension().is_none() && name != Path::new("-");
    if looks_like_a_name && !name.exists() {
        let message = format!("there are no rates of failures called {}", name.display());
        return Err(CliError::invalid(message).hint(format!("--faults {}, or a file with rates", profiles())));
    }
    let bytes = files::read(name)?;
    let called = files::name(name);
    let text = String::from_utf8(bytes).map_err(|error| {
        CliError::because(
            revoada_core::error::ErrorKind::Invalid,
            format!("{called} is no text"),
            &error,
        )
    })?;
    read_faults(&called, &text)
        .map_err(|error| CliError::because(error.kind(), "the rates of failures cannot be used", &error))
}

fn subjects(arguments: &Simulate, faults: &Faults) -> Result<Vec<Subject>, CliError> {
    let stdin = |file: &Path| file == Path::new("-");
    let read_twice = [
        Some(&arguments.file),
        arguments.against.as_ref(),
        Some(&arguments.faults),
    ];
    if read_twice.into_iter().flatten().filter(|file| stdin(file)).count() > 1 {
        return Err(CliError::invalid("stdin can be read only once: one `-`"));
    }
    let subject = |file: &Path, nodes: Option<u16>, heading| {
        let verdict = check::read(file)?;
        up::tell_findings(&verdict.findings);
        let declaration = verdict
            .into_result()
            .map_err(|error| up::not_coherent(&error.findings))?;
        let least = nodes_least(&declaration);
        let nodes = nodes.map_or(NODES_DEFAULT.max(least), usize::from);
        if nodes < least {
            let message = format!("{} starts from at least {least} nodes, not {nodes}", declaration.id());
            return Err(CliError::invalid(message));
        }
        Ok(Subject {
            heading,
            label: files::name(file),
            declaration,
            options: Options {
                faults: faults.clone(),
                years: arguments.years,
                seed: arguments.seed,
                nodes: Some(nodes),
                zones: arguments.zones.unwrap_or(0).into(),
                replacement: true,
            },
        })
    };
    let first = subject(&arguments.file, arguments.nodes, "DECLARED")?;
    let mut subjects = Vec::new();
    if arguments.without_replacement {
        subjects.push(Subject {
            heading: "WITHOUT REPLACEMENT",
            label: format!("{}, without replacement", first.label),
            declaration: first.declaration.clone(),
            options: Options {
                replacement: false,
                ..first.options.clone()
            },
        });
    }
    if let Some(against) = &arguments.against {
        let nodes = arguments.against_nodes.or(arguments.nodes);
        subjects.push(subject(against, nodes, "AGAINST")?);
    }
    subjects.insert(0, first);
    Ok(subjects)
}

fn title(arguments: &Simulate, faults: &Faults) -> String {
    let Simulate { years, seed, .. } = arguments;
    let unit = if *years == 1.0 { "year" } else { "years" };
    let zones = match arguments.zones {
        None => String::new(),
        Some(1) => ", 1 zone".to_owned(),
        Some(zones) => format!(", {zones} zones"),
    };
    format!("{years} {unit} of {}, seed {seed}{zones}", faults.name)
}

fn render(arguments: &Simulate, faults: &Faults, subjects: &[Subject], reports: &[Report], colour: bool) -> String {
    let mut headings = vec!["WHAT"];
    headings.extend(subjects.iter().map(|subject| subject.heading));
    let mut table = Table::new(&headings);
    let mut row = |what: &str, cell: &dyn Fn(&Report) -> Cell| {
        table.row(std::iter::once(Cell::from(what)).chain(reports.iter().map(cell)));
    };
    row("declaration", &|report| Cell::from(report.id.as_str()));
    row("nodes, and how many vote", &|report| {
        let Report {
            nodes, voters_declared, ..
        } = report;
        let may = report.survives_declared;
        Cell::from(format!("{nodes}, {voters_declared} vote, {may} may be lost"))
    });
    row("availability", &|report| {
        Cell::styled(availability(report), Style::Bold)
    });
    row("no writes, in a year", &|report| {
        length(report.downtime.per_year_ms).into()
    });
    row("no writes", &|report| span(&report.downtime.span).into());
    row("  a leader was elected", &|report| span(&report.elections).into());
    row("  the quorum was lost", &|report| {
        let losses = &report.quorum_losses.span;
        let style = if losses.count > 0 { Style::Bad } else { Style::Plain };
        Cell::styled(span(losses), style)
    });
    row("fewer voters than declared", &|report| {
        span(&report.reduced_redundancy).into()
    });
    row("one more loss would stop it", &|report| {
        span(&report.no_loss_survived).into()
    });
    let kinds = |of: &dyn Fn(&Report) -> &BTreeMap<&'static str, u64>| -> BTreeSet<&'static str> {
        reports.iter().flat_map(|report| of(report).keys().copied()).collect()
    };
    // An admission is a birth, and no change of a role.
    for kind in kinds(&|report| &report.transitions)
        .into_iter()
        .filter(|kind| *kind != "admit")
    {
        row(&format!("transitions: {kind}"), &|report| {
            count(&report.transitions, kind).into()
        });
    }
    for kind in kinds(&|report| &report.failures) {
        row(&format!("failures: {kind}"), &|report| {
            count(&report.failures, kind).into()
        });
    }
    if reports.iter().any(|report| report.recoveries > 0) {
        row("operator had to recover", &|report| {
            Cell::styled(times(report.recoveries), Style::Bad)
        });
    }
    if reports.iter().any(|report| report.everything_lost > 0) {
        row("everything was lost", &|report| {
            Cell::styled(times(report.everything_lost), Style::Bad)
        });
    }
    let names = subjects.iter().map(|subject| subject.label.as_str());
    let names: Vec<&str> = names.collect();
    format!(
        "{}: {}\n{}",
        names.join(" | "),
        title(arguments, faults),
        table.render(colour)
    )
}

/// Two digits beyond the nines.
fn availability(report: &Report) -> String {
    match report.nines {
        None => "100 %".to_owned(),
        Some(nines) => {
            let digits = nines.floor().clamp(0.0, 12.0) as usize;
            format!("{:.digits$} % ({nines:.1} nines)", report.availability * 100.0)
        }
    }
}

fn span(span: &Span) -> String {
    let (times, total) = (times(span.count), length(span.total_ms as f64));
    match span.count {
        0 => times,
        1 => format!("{times}, {total}"),
        _ => format!("{times}, {total}, at most {}", length(span.longest_ms as f64)),
    }
}

fn times(count: u64) -> String {
    match count {
        0 => "never".to_owned(),
        1 => "once".to_owned(),
        count => format!("{count} times"),
    }
}

fn count(counts: &BTreeMap<&'static str, u64>, kind: &str) -> String {
    counts.get(kind).copied().unwrap_or(0).to_string()
}

/// A length of time in the unit that suits it.
fn length(ms: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(86_400e3, "d"), (3_600e3, "h"), (60e3, "min"), (1e3, "s")];
    match UNITS.into_iter().find(|(unit_ms, _)| ms >= *unit_ms) {
        Some((unit_ms, unit)) => format!("{:.1} {unit}", ms / unit_ms),
        None => format!("{ms:.0} ms"),
    }
}

/// How far a run is, on a terminal, once it takes long.
struct Bar {
    began: Instant,
    name: String,
    bar: Option<ProgressBar>,
}

impl Bar {
    fn new(name: String) -> Self {
        Self {
            began: Instant::now(),
            name,
            bar: None,
        }
    }

    fn show(&mut self, share: f64) {
        if self.bar.is_none() && self.began.elapsed() < SHOWN_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::new(100);
            let style = ProgressStyle::with_template("{prefix} [{bar:40}] {percent} % {eta}");
            bar.set_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("=> "),
            );
            bar.set_prefix(self.name.clone());
            bar
        });
        bar.set_position((share * 100.0) as u64);
    }

    fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn years_are_finite_and_some() {
        for text in ["0", "-1", "NaN", "inf", "1e9", "ten", ""] {
            assert!(years(text).is_err(), "{text}");
        }
        assert_eq!((years("0.5"), years("1000")), (Ok(0.5), Ok(1000.0)));
    }

    #[test]
    fn a_length_has_the_unit_that_suits_it() {
        let lengths = [0.0, 340.0, 32_300.0, 1_111_750.0, 370_023_043.0].map(length);
        assert_eq!(lengths, ["0 ms", "340 ms", "32.3 s", "18.5 min", "4.3 d"]);
    }
}
