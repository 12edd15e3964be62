//! Durations as a declaration writes them: `150ms`, `2s`, `7d`.
//!
//! Reading takes what humantime takes (`1h 30m`, `1.5s`); writing gives one number and one unit, so that equal
//! durations have one text and a digest can be taken of it. Rejected: humantime's own writer, whose texts
//! (`1h 30m`, `7days`) are documented as free to change.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serializer;

use crate::limits::DECLARED_DURATION_MAX;

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is below zero.
    Negative,
    /// It is longer than [`DECLARED_DURATION_MAX`], or not finite.
    TooLong,
    /// It is not a number and a unit.
    NotADuration,
}

pub(super) fn parse(text: &str) -> Result<Duration, Refused> {
    let text = text.trim();
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= DECLARED_DURATION_MAX => Ok(duration),
        Ok(_) | Err(humantime::DurationError::NumberOverflow) => Err(Refused::TooLong),
        Err(_) => match text.strip_prefix('-') {
            Some(positive) if humantime::parse_duration(positive.trim()).is_ok() => Err(Refused::Negative),
            _ if not_finite(text) => Err(Refused::TooLong),
            _ => Err(Refused::NotADuration),
        },
    }
}

/// `NaN`, `inf`, `-.inf` and the like, with or without a unit behind it.
pub(super) fn not_finite(text: &str) -> bool {
    let word = text.trim().trim_start_matches(['-', '+', '.']).to_ascii_lowercase();
    ["nan", "inf", "infinity"].iter().any(|name| {
        word.strip_prefix(name)
            .is_some_and(|unit| ["", "ns", "us", "ms", "s", "m", "h", "d"].contains(&unit))
    })
}

/// The one text of a duration: a whole number of the largest unit that divides it. Zero is `0ms`.
pub(super) fn text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 7] = [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0ms".to_owned();
    }
    let (length, unit) = UNITS
        .into_iter()
        .find(|(length, _)| nanos.is_multiple_of(*length))
        .expect("one divides every number");
    format!("{}{unit}", nanos / length)
}

pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*duration))
}

/// The schema of a duration.
pub(super) struct DurationText;

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "A length of time: a number and a unit (ns, us, ms, s, m, h, d), e.g. `150ms`, `2s`, `7d`.",
            "pattern": r"^\s*(0|[0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+(\s*[0-9]+(\.[0-9]+)?\s*[a-zA-Zµ]+)*)\s*$",
            "examples": ["150ms", "2s", "7d"],
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_duration_has_one_text() {
        let cases = [
            ("150ms", "150ms"),
            ("2000ms", "2s"),
            ("7d", "7d"),
            ("24h", "1d"),
            ("90m", "90m"),
        ];
        let more = [
            ("1h 30m", "90m"),
            ("1.5s", "1500ms"),
            ("0s", "0ms"),
            ("0", "0ms"),
            (" 3 us ", "3us"),
        ];
        for (given, expected) in cases.into_iter().chain(more) {
            assert_eq!(parse(given).map(text), Ok(expected.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_told_from_what_is_out_of_range() {
        for given in ["-3s", "-1ms", "- 5d"] {
            assert_eq!(parse(given), Err(Refused::Negative), "{given}");
        }
        for given in [
            "1000000000000d",
            "99999999999999999999s",
            "NaN",
            "inf",
            "-.inf",
            ".nan",
            "Infinitys",
            "101y",
        ] {
            assert_eq!(parse(given), Err(Refused::TooLong), "{given}");
        }
        for given in ["", "s", "5", "5 parsecs", "ms5", "--5s", "1e3s", "nano", "\u{0}"] {
            assert_eq!(parse(given), Err(Refused::NotADuration), "{given}");
        }
    }

    proptest! {
        #[test]
        fn the_text_of_a_duration_reads_back(nanos in 0..=DECLARED_DURATION_MAX.as_nanos() as u64) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse(&text(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_judged(given in ".*") {
            let judged = parse(&given);
            prop_assert!(judged.is_err() || judged.is_ok_and(|d| d <= DECLARED_DURATION_MAX));
        }
    }
}
