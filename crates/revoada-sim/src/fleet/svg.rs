//! The picture over time: one file, no script, no font, no link to anything.
//!
//! What lasts a second in a slice of weeks would be a hair of a pixel, so heights are logarithmic: a second, a minute
//! and an hour can be told apart at any length of a run. Rejected: a mark for each event. Ten years of them are a wall.

use std::fmt::Write as _;

use super::faults::YEAR;
use super::report::Report;
use super::tally::{SLICES, Slice};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 60.0;
const TOP: f64 = 64.0;
const LANE: f64 = 44.0;
const GAP: f64 = 10.0;
const LANES: usize = 3;
const RUN: f64 = 58.0 + LANES as f64 * (LANE + GAP);
/// What is shorter has the height of this.
const SHORTEST_MS: f64 = 100.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}.small{font-size:9px}.big{font-size:15px;font-weight:600}.dim{fill:#6e7781}\
.ground{fill:#fff}.lane{fill:#f3f4f6}.line{stroke:#d0d7de;stroke-width:1}\
.down{fill:#cf222e}.reduced{fill:#bf8700}.moved{fill:#0969da}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.dim{fill:#8b949e}.ground{fill:#0d1117}.lane{fill:#161b22}\
.line{stroke:#30363d}.down{fill:#ff7b72}.reduced{fill:#e3b341}.moved{fill:#58a6ff}}";

/// A lane: its class, its label, how high each slice stands from 0 to 1, and whether that is a time.
type Lane<'a> = (&'a str, &'a str, &'a dyn Fn(&Slice) -> f64, bool);

/// A timeline of these runs, one below the other, each with its name.
pub fn timeline(title: &str, runs: &[(String, &Report)]) -> String {
    let height = TOP + runs.len() as f64 * RUN + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
         <text class=\"big\" x=\"20\" y=\"28\">{title}</text>\n\
         <text class=\"dim\" x=\"20\" y=\"47\">Each bar is {slice}; heights of times are logarithmic.</text>\n",
        title = escaped(title),
        slice = runs
            .first()
            .map_or_else(String::new, |(_, report)| length(report.slice_ms)),
    );
    for (number, (name, report)) in runs.iter().enumerate() {
        draw(&mut svg, TOP + number as f64 * RUN, name, report);
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw(svg: &mut String, top: f64, name: &str, report: &Report) {
    let slice_ms = report.slice_ms as f64;
    let promotions_max = report.slices.iter().map(|slice| slice.promotions).max().unwrap_or(0);
    text(svg, "big", 20.0, top + 18.0, name);
    let nines = match report.nines {
        Some(nines) => format!("{nines:.1} nines"),
        None => "no write ever waited".to_owned(),
    };
    let losses = &report.quorum_losses.span;
    let summary = format!(
        "{} · {} nodes, {} vote · {nines} · quorum lost: {}",
        report.id, report.nodes, report.voters_declared, losses.count
    );
    text(svg, "dim", 20.0, top + 35.0, &summary);
    let down = |slice: &Slice| log_height(slice.down_ms as f64, slice_ms);
    let reduced = |slice: &Slice| log_height(slice.reduced_ms as f64, slice_ms);
    let moved = |slice: &Slice| slice.promotions as f64 / promotions_max.max(1) as f64;
    let moved_name = format!("promotions (≤ {promotions_max})");
    let lanes: [Lane<'_>; LANES] = [
        ("down", "no writes", &down, true),
        ("reduced", "too few voters", &reduced, true),
        ("moved", &moved_name, &moved, false),
    ];
    let lanes_top = top + 46.0;
    for (number, (class, label, height, timed)) in lanes.into_iter().enumerate() {
        let y = lanes_top + number as f64 * (LANE + GAP);
        ground(svg, y, label);
        if timed {
            rulers(svg, y, slice_ms);
        }
        lane(svg, y, class, &report.slices, height);
    }
    years(svg, lanes_top, lanes_top + LANES as f64 * (LANE + GAP) - GAP, report);
}

fn ground(svg: &mut String, y: f64, label: &str) {
    let width = WIDTH - LEFT - RIGHT;
    text(svg, "dim", 20.0, y + LANE / 2.0 + 4.0, label);
    let _ = writeln!(
        svg,
        "<rect class=\"lane\" x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{LANE}\"/>"
    );
}

fn lane(svg: &mut String, y: f64, class: &str, slices: &[Slice], height: &dyn Fn(&Slice) -> f64) {
    let step = (WIDTH - LEFT - RIGHT) / slices.len().max(1) as f64;
    let mut path = String::new();
    for (index, slice) in slices.iter().enumerate() {
        let tall = height(slice);
        if tall > 0.0 {
            let (x, tall) = (LEFT + index as f64 * step, (tall * LANE).max(1.5));
            let _ = write!(path, "M{x:.1} {:.1}v-{tall:.1}h{step:.1}v{tall:.1}z", y + LANE);
        }
    }
    if !path.is_empty() {
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"{path}\"/>");
    }
}

/// Lines at a second, a minute, an hour and a day, as far as a slice is longer.
fn rulers(svg: &mut String, y: f64, slice_ms: f64) {
    for (ms, label) in [(1e3, "1 s"), (60e3, "1 min"), (3_600e3, "1 h"), (86_400e3, "1 d")] {
        if ms < slice_ms {
            let y = y + LANE * (1.0 - log_height(ms, slice_ms));
            line(svg, (LEFT, y), (WIDTH - RIGHT, y));
            text(svg, "dim small", WIDTH - RIGHT + 6.0, y + 3.0, label);
        }
    }
}

/// The years below, ten of them at most, or the days of a run of less than two years.
fn years(svg: &mut String, top: f64, bottom: f64, report: &Report) {
    let width = WIDTH - LEFT - RIGHT;
    let years = report.simulated_ms as f64 / YEAR.as_millis() as f64;
    let (length, unit) = if years < 2.0 {
        (years * 365.25, "day")
    } else {
        (years, "year")
    };
    let step = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]
        .into_iter()
        .find(|step| length / step <= 10.0)
        .unwrap_or(500.0);
    let mut at = 0.0;
    while at <= length {
        let x = LEFT + width * at / length;
        line(svg, (x, top), (x, bottom));
        let label = if at == 0.0 {
            format!("{unit} 0")
        } else {
            format!("{at}")
        };
        text(svg, "dim", x - 3.0, bottom + 15.0, &label);
        at += step;
    }
}

/// A length of time in days or, of short runs, in hours or minutes.
fn length(ms: u64) -> String {
    match ms as f64 / 60e3 {
        minutes if minutes >= 1_440.0 => format!("{:.1} days", minutes / 1_440.0),
        minutes if minutes >= 60.0 => format!("{:.1} hours", minutes / 60.0),
        minutes => format!("{minutes:.1} minutes"),
    }
}

/// From 0 for nothing to 1 for the whole slice.
fn log_height(ms: f64, slice_ms: f64) -> f64 {
    let longest = (slice_ms / SHORTEST_MS).ln().max(1e-9);
    match ms {
        0.0 => 0.0,
        _ => ((ms.max(SHORTEST_MS) / SHORTEST_MS).ln() / longest).clamp(0.01, 1.0),
    }
}

fn line(svg: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(svg, "<path class=\"line\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>");
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escaped(text)
    );
}

/// Names come from files: what means something in XML, or nothing anywhere, is written otherwise.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if c.is_control() => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

const _: () = assert!(SLICES < (WIDTH - LEFT - RIGHT) as usize, "a slice is a pixel at least");
