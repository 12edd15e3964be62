//! What a benchmark found.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use revoada::client::{ClientError, Failure};
use serde::Serialize;

use super::Plan;
use crate::failure::CliError;

/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// `bench -o json`.
#[derive(Debug, Serialize)]
pub struct Report {
    op: &'static str,
    clients: u32,
    connections: u32,
    size_bytes: usize,
    ops: u64,
    errors: u64,
    seconds: f64,
    ops_per_second: f64,
    latency_ms: Latency,
    #[serde(skip)]
    first_error: Option<Failure>,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// What all clients of a run count together.
#[derive(Clone)]
pub struct Counts {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    latency_us: Histogram<u64>,
    errors: u64,
    first_error: Option<Failure>,
}

impl Counts {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
        let latency_us = histogram.expect("one to two minutes with three figures is what the crate allows");
        Self {
            inner: Arc::new(Mutex::new(Inner {
                latency_us,
                errors: 0,
                first_error: None,
            })),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.lock().latency_us.saturating_record(microseconds.max(1));
    }

    /// Counts an error.
    pub fn failed(&self, error: &ClientError) {
        let mut inner = self.lock();
        inner.errors += 1;
        if inner.first_error.is_none() {
            inner.first_error = Some(error.to_failure());
        }
    }

    /// How many answers there were.
    pub fn ops(&self) -> u64 {
        self.lock().latency_us.len()
    }

    /// The report of a run that took `time`.
    pub fn report(&self, plan: &Plan, time: Duration) -> Report {
        let inner = self.lock();
        let at = |share: f64| inner.latency_us.value_at_quantile(share) as f64 / 1000.0;
        let ops = inner.latency_us.len();
        let seconds = (time.as_secs_f64() * 1e6).round() / 1e6;
        Report {
            op: plan.op.name(),
            clients: plan.clients,
            connections: plan.connections,
            size_bytes: plan.size_bytes,
            ops,
            errors: inner.errors,
            seconds,
            ops_per_second: (ops as f64 / time.as_secs_f64().max(1e-9) * 10.0).round() / 10.0,
            latency_ms: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p999: at(0.999),
                max: if ops == 0 {
                    0.0
                } else {
                    inner.latency_us.max() as f64 / 1000.0
                },
            },
            first_error: inner.first_error.clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Report {
    /// The error of a run in which nothing was answered.
    pub fn only_errors(&self) -> Option<CliError> {
        let failure = self.first_error.clone().filter(|_| self.ops == 0)?;
        Some(failure.into())
    }

    /// The report for people.
    pub fn render(&self) -> String {
        let Latency {
            p50,
            p90,
            p99,
            p999,
            max,
        } = self.latency_ms;
        let errors = match (&self.first_error, self.errors) {
            (Some(first), errors) => format!("\n{errors} errors, the first: {}", first.message),
            (None, _) => String::new(),
        };
        format!(
            "{}: {:.0} a second ({} in {:.1} s; {} clients on {} connections, {} bytes)\n\
             latency in ms: p50 {p50:.2}, p90 {p90:.2}, p99 {p99:.2}, p99.9 {p999:.2}, max {max:.2}{errors}\n",
            self.op, self.ops_per_second, self.ops, self.seconds, self.clients, self.connections, self.size_bytes,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::bench::Op;

    #[test]
    fn a_report_has_the_fields_of_the_contract() {
        let plan = Plan {
            op: Op::Put,
            clients: 2,
            connections: 1,
            size_bytes: 1024,
            lasts: None,
            total: Some(2),
            interval: None,
            names: 2,
        };
        let counts = Counts::new();
        counts.answered(Duration::from_millis(1));
        counts.answered(Duration::from_millis(3));
        let report = serde_json::to_value(counts.report(&plan, Duration::from_secs(2))).unwrap();
        for (field, value) in [("ops", 2), ("errors", 0), ("clients", 2), ("size_bytes", 1024)] {
            assert_eq!(report[field], value, "{field}");
        }
        assert_eq!(report["op"], "put");
        assert_eq!(report["ops_per_second"].as_f64(), Some(1.0));
        let max = report["latency_ms"]["max"].as_f64().unwrap();
        assert!((3.0..3.01).contains(&max), "{max}");
        assert_eq!(report["latency_ms"].as_object().unwrap().len(), 5);
    }
}
