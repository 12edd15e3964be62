//! What a drill found.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::output::Table;

/// `drill -o json`.
#[derive(Debug, Serialize)]
pub struct Report {
    drill: &'static str,
    times: usize,
    writes_acknowledged: usize,
    writes_lost: usize,
    promotions: usize,
    write_gap_ms: Spread,
    redundancy_ms: Spread,
    rounds: Vec<Round>,
}

/// One round.
#[derive(Debug, Serialize)]
pub struct Round {
    victim: String,
    promoted: Option<String>,
    write_gap_ms: f64,
    redundancy_ms: f64,
}

/// The smallest, the middle, the worst but one in a hundred, and the worst.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Round {
    /// A round that ended well.
    pub fn new(victim: String, promoted: Option<String>, gap: Duration, redundancy: Duration) -> Self {
        Self {
            victim,
            promoted,
            write_gap_ms: ms(gap),
            redundancy_ms: ms(redundancy),
        }
    }
}

/// Milliseconds, to the microsecond.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promoted = self
            .promoted
            .as_deref()
            .map_or_else(String::new, |name| format!(", {name} promoted"));
        write!(
            f,
            "{} lost{promoted}; writes again after {:.0} ms, redundancy after {:.0} ms",
            self.victim, self.write_gap_ms, self.redundancy_ms
        )
    }
}

impl Spread {
    /// By nearest rank; zeros for no values.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let rank = |share: f64| {
            let at = (share * values.len() as f64).ceil() as usize;
            values.get(at.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            min: rank(0.0),
            p50: rank(0.5),
            p99: rank(0.99),
            max: rank(1.0),
        }
    }
}

impl Report {
    /// A report of all rounds.
    pub fn new(
        drill: &'static str,
        acknowledged: usize,
        lost: &[String],
        promotions: usize,
        rounds: Vec<Round>,
    ) -> Self {
        Self {
            drill,
            times: rounds.len(),
            writes_acknowledged: acknowledged,
            writes_lost: lost.len(),
            promotions,
            write_gap_ms: Spread::of(rounds.iter().map(|round| round.write_gap_ms)),
            redundancy_ms: Spread::of(rounds.iter().map(|round| round.redundancy_ms)),
            rounds,
        }
    }

    /// The report for people.
    pub fn render(&self) -> String {
        let mut table = Table::new(&["MS", "MIN", "P50", "P99", "MAX"]);
        for (what, spread) in [("write gap", self.write_gap_ms), ("redundancy", self.redundancy_ms)] {
            let Spread { min, p50, p99, max } = spread;
            let figures = [min, p50, p99, max].map(|figure| format!("{figure:.1}").into());
            table.row(std::iter::once(what.into()).chain(figures));
        }
        format!(
            "{}, {} times: {} writes acknowledged, {} lost; {} promotions\n{}",
            self.drill,
            self.times,
            self.writes_acknowledged,
            self.writes_lost,
            self.promotions,
            table.render(false)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_taken_by_nearest_rank() {
        let spread = Spread::of((1..=20).rev().map(f64::from));
        assert_eq!(
            spread,
            Spread {
                min: 1.0,
                p50: 10.0,
                p99: 20.0,
                max: 20.0
            }
        );
        assert_eq!(Spread::of(std::iter::empty()).max, 0.0);
        assert_eq!(Spread::of(std::iter::once(7.0)).min, 7.0);
    }

    #[test]
    fn a_report_has_the_fields_of_the_contract() {
        let round = Round::new(
            "node-1".to_owned(),
            Some("node-4".to_owned()),
            Duration::from_micros(312_500),
            Duration::from_millis(900),
        );
        let report = serde_json::to_value(Report::new("kill-leader", 10, &[], 1, vec![round])).unwrap();
        assert_eq!(
            report,
            serde_json::json!({
                "drill": "kill-leader", "times": 1, "writes_acknowledged": 10, "writes_lost": 0, "promotions": 1,
                "write_gap_ms": {"min": 312.5, "p50": 312.5, "p99": 312.5, "max": 312.5},
                "redundancy_ms": {"min": 900.0, "p50": 900.0, "p99": 900.0, "max": 900.0},
                "rounds": [{"victim": "node-1", "promoted": "node-4", "write_gap_ms": 312.5, "redundancy_ms": 900.0}],
            })
        );
    }
}
