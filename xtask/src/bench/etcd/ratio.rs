//! Ratios of what two sides gave in the same rounds, and how they are told.

use std::fmt;

use serde_json::{Value, json};

use super::{Figure, Goal, Sample};
use crate::bench::page::digits;

/// A case as it was measured.
pub struct Compared {
    pub(super) case: &'static str,
    pub(super) what: &'static str,
    pub(super) figures: &'static [Figure],
    /// A sample for each round.
    pub(super) ours: Vec<Sample>,
    pub(super) etcds: Vec<Sample>,
    pub(super) command: String,
}

/// One figure of it.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name on the page: the case, and the figure.
    pub name: String,
    case: &'static str,
    figure: &'static str,
    goal: Goal,
    /// By round: ours by etcd's.
    ratios: Vec<f64>,
    ours: Vec<f64>,
    etcds: Vec<f64>,
    command: String,
}

impl Compared {
    /// A line for each figure.
    pub fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.figures.iter().enumerate().map(|(at, figure)| {
            let column = |samples: &[Sample]| samples.iter().map(|sample| sample[at]).collect::<Vec<f64>>();
            let (ours, etcds) = (column(&self.ours), column(&self.etcds));
            Line {
                name: format!("{}: {}", self.what, figure.name),
                case: self.case,
                figure: figure.name,
                goal: figure.goal,
                ratios: ours.iter().zip(&etcds).map(|(ours, etcds)| ours / etcds).collect(),
                ours,
                etcds,
                command: self.command.clone(),
            }
        })
    }
}

impl Line {
    /// Whether it is what was aimed at.
    pub fn is_reached(&self) -> bool {
        match self.goal {
            Goal::Ratio(promise) => promise.is_kept_by(median(&self.ratios)),
            Goal::Ours(promise) => promise.is_kept_by(median(&self.ours)),
            Goal::None => true,
        }
    }

    /// Its row on the page.
    pub fn cells(&self, day: &str) -> String {
        let reached = match (self.goal, self.is_reached()) {
            (Goal::None, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        format!(
            "| {} | {} | {} | {} | {} | {} | {reached} | {day} | `{}` |",
            self.name,
            self.goal,
            self.spread(),
            digits(median(&self.ours)),
            digits(median(&self.etcds)),
            self.ratios.len(),
            self.command,
        )
    }

    /// Everything, for programs.
    pub fn told(&self) -> Value {
        json!({
            "case": self.case,
            "figure": self.figure,
            "goal": self.goal.to_string(),
            "reached": self.is_reached(),
            "ratio": { "median": median(&self.ratios), "min": least(&self.ratios), "max": most(&self.ratios) },
            "revoada": self.ours,
            "etcd": self.etcds,
            "command": self.command,
        })
    }

    fn spread(&self) -> String {
        let ratios = &self.ratios;
        format!("{:.2} ({:.2}–{:.2})", median(ratios), least(ratios), most(ratios))
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ratio(promise) => promise.fmt(f),
            Self::Ours(promise) => write!(f, "{promise} itself"),
            Self::None => Ok(()),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reached = if self.is_reached() { "" } else { "  MISSED" };
        write!(
            f,
            "  {:<72} {:>18} {:>13}  revoada {:>8}  etcd {:>8}{reached}",
            self.name,
            self.spread(),
            self.goal.to_string(),
            digits(median(&self.ours)),
            digits(median(&self.etcds)),
        )
    }
}

fn sorted(numbers: &[f64]) -> Vec<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median(numbers: &[f64]) -> f64 {
    let sorted = sorted(numbers);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn least(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::INFINITY, f64::min)
}

fn most(numbers: &[f64]) -> f64 {
    numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::page::Promise;

    #[test]
    fn a_ratio_is_of_the_same_round_and_its_median_decides() {
        const FIGURES: &[Figure] = &[
            Figure {
                name: "per second",
                goal: Goal::Ratio(Promise::AtLeast(2.0)),
            },
            Figure {
                name: "p99 ms",
                goal: Goal::Ratio(Promise::AtMost(0.5)),
            },
        ];
        let compared = Compared {
            case: "put",
            what: "puts",
            figures: FIGURES,
            ours: vec![vec![20.0, 3.0], vec![9.0, 6.0], vec![100.0, 9.0]],
            etcds: vec![vec![10.0, 10.0], vec![9.0, 10.0], vec![10.0, 10.0]],
            command: "benchmark put".to_owned(),
        };
        let lines: Vec<Line> = compared.lines().collect();
        assert_eq!(lines[0].ratios, [2.0, 1.0, 10.0]);
        assert!(lines[0].is_reached() && !lines[1].is_reached());
        assert_eq!(
            lines[1].cells("2026-01-01"),
            "| puts: p99 ms | ≤ 0.50 | 0.60 (0.30–0.90) | 6 | 10 | 3 | **no** | 2026-01-01 | `benchmark put` |"
        );
    }
}
