//! The histogram that openraft counts its batches with, in a few hundred bytes.
//!
//! openraft counts batch sizes in histograms of a crate that builds lookup tables for sixteen resolutions at the first
//! one, 26 MiB that stay resident in every node. One resolution is used, and its bucket is two shifts away. So this is a
//! crate of the same name with what openraft calls, written for revoada, put in its place by `[patch.crates-io]` in the
//! root manifest ([why](../../../docs/adr/0007-a-histogram-without-tables.md)). Rejected: a heap trimmed after the start,
//! since the tables live as long as the process.
//!
//! Buckets are log-linear: values below four have one each, and every power of two above is cut into four, so a
//! percentile is right within a quarter of itself.

#![forbid(unsafe_code)]

use std::fmt;
use std::marker::PhantomData;

/// Values below this have a bucket each; each power of two above is cut into as many.
const PER_POWER: u64 = 4;

/// How many bits of a value, the leading one included, tell its bucket.
const BITS: u32 = PER_POWER.trailing_zeros() + 1;

/// Buckets of all 64-bit values.
const BUCKETS: usize = PER_POWER as usize * (u64::BITS - BITS + 2) as usize;

/// Counts of values by their size. Grows to the largest bucket that was counted, at most 2 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    counts: Vec<u64>,
    labels: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            counts: Vec::new(),
            labels: PhantomData,
        }
    }

    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts `value` `times` times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        let bucket = bucket(value);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        let count = &mut self.counts[bucket];
        *count = count.saturating_add(times);
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The least value of the bucket at which `per_mille` of 1,000 of what was counted is reached; 0 for nothing.
    fn percentile(&self, per_mille: u64) -> u64 {
        let total = self.total();
        let rank = (u128::from(total) * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0_u128;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank {
                return least(bucket);
            }
        }
        0
    }

    /// The percentiles that openraft prints.
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total(),
            p0_1: self.percentile(1),
            p1: self.percentile(10),
            p5: self.percentile(50),
            p10: self.percentile(100),
            p50: self.percentile(500),
            p90: self.percentile(900),
            p99: self.percentile(990),
            p99_9: self.percentile(999),
        }
    }
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The bucket of a value: the value itself while it is small, else its leading bits and their place.
fn bucket(value: u64) -> usize {
    if value < PER_POWER {
        return value as usize;
    }
    let place = u64::BITS - value.leading_zeros() - BITS;
    let within = (value >> place) & (PER_POWER - 1);
    (PER_POWER * u64::from(place + 1) + within) as usize
}

/// The least value of a bucket.
fn least(bucket: usize) -> u64 {
    debug_assert!(bucket < BUCKETS, "a bucket of no value");
    let bucket = bucket as u64;
    match (bucket / PER_POWER).checked_sub(1) {
        None => bucket,
        Some(place) => (PER_POWER | (bucket % PER_POWER)) << place,
    }
}

/// Percentiles, each the least value of its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// A thousandth is at most this.
    pub p0_1: u64,
    /// A hundredth is at most this.
    pub p1: u64,
    /// A twentieth is at most this.
    pub p5: u64,
    /// A tenth is at most this.
    pub p10: u64,
    /// Half is at most this.
    pub p50: u64,
    /// Nine tenths are at most this.
    pub p90: u64,
    /// 99 hundredths are at most this.
    pub p99: u64,
    /// 999 thousandths are at most this.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} values, p0.1 {}, p1 {}, p5 {}, p10 {}, p50 {}, p90 {}, p99 {}, p99.9 {}",
            self.samples, self.p0_1, self.p1, self.p5, self.p10, self.p50, self.p90, self.p99, self.p99_9
        )
    }
}

/// Several histograms below each other, a bar for each bucket that is not empty.
#[derive(Debug, Clone, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

impl AsciiChart {
    /// An empty chart.
    pub fn new() -> Self {
        Self::default()
    }

    /// The chart with one more histogram.
    #[must_use]
    pub fn add(mut self, name: impl ToString, histogram: Histogram) -> Self {
        self.series.push((name.to_string(), histogram));
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Characters of the longest bar.
        const WIDTH_MAX: u128 = 40;
        for (name, histogram) in &self.series {
            writeln!(f, "{name}: {}", histogram.percentile_stats())?;
            let most = u128::from(histogram.counts.iter().copied().max().unwrap_or(0).max(1));
            for (bucket, count) in histogram.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let width = (u128::from(*count) * WIDTH_MAX).div_ceil(most) as usize;
                writeln!(f, "  {:>20} {:#<width$} {count}", least(bucket), "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value at each edge of each power of two, and its neighbours.
    fn edges() -> impl Iterator<Item = u64> {
        (0..u64::BITS)
            .flat_map(|power| {
                let edge = 1_u64 << power;
                [edge - 1, edge, edge | (edge >> 1), edge | (edge >> 2)]
            })
            .chain([u64::MAX])
    }

    #[test]
    fn a_value_lies_between_its_bucket_s_least_and_the_next_s() {
        for value in edges() {
            let bucket = bucket(value);
            assert!(bucket < BUCKETS, "{value} has bucket {bucket}");
            assert!(least(bucket) <= value, "{value} is below its bucket");
            assert!(
                bucket + 1 == BUCKETS || value < least(bucket + 1),
                "{value} is above its bucket"
            );
        }
    }

    #[test]
    fn a_percentile_is_right_within_a_quarter() {
        let mut histogram = Histogram::<()>::new();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        let stats = histogram.percentile_stats();
        assert_eq!(stats.samples, 100_000);
        for (got, exact) in [(stats.p1, 1_000), (stats.p50, 50_000), (stats.p99, 99_000)] {
            assert!(got <= exact && got * 5 / 4 >= exact, "{got} for {exact}");
        }
    }

    #[test]
    fn nothing_counted_has_percentiles_of_zero() {
        assert_eq!(Histogram::<()>::new().percentile_stats().p99, 0);
    }

    #[test]
    fn counts_stop_at_their_largest_number() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(7, u64::MAX);
        histogram.record_n(7, 1);
        assert_eq!(histogram.total(), u64::MAX);
        assert_eq!(histogram.percentile_stats().p50, 7);
    }
}
