//! What the face is told: space, history, tokens, limits.

use std::time::Duration;

use revoada::{AutoCompaction, EtcdOptions};

use super::super::flags::{FlagError, Given};
use super::invalid;

/// Reads and checks.
pub fn options(given: &Given, warnings: &mut Vec<String>) -> Result<EtcdOptions, FlagError> {
    let defaults = EtcdOptions::default();
    let bcrypt_cost: u32 = given.number("bcrypt-cost")?;
    if !(4..=31).contains(&bcrypt_cost) {
        return Err(invalid(format!("--bcrypt-cost[{bcrypt_cost}] is not from 4 to 31")));
    }
    let progress = if given.has("watch-progress-notify-interval") {
        "watch-progress-notify-interval"
    } else {
        "experimental-watch-progress-notify-interval"
    };
    Ok(EtcdOptions {
        quota_bytes: match given.number::<i64>("quota-backend-bytes")? {
            0 => defaults.quota_bytes,
            bytes => u64::try_from(bytes).ok(),
        },
        auto_compaction: auto_compaction(given)?,
        token_ttl: token_ttl(given, warnings)?,
        bcrypt_cost,
        certificate_names: given.switch("client-cert-auth")?,
        txn_ops_max: given.number("max-txn-ops")?,
        request_bytes_max: given.number("max-request-bytes")?,
        progress_interval: duration(given, progress)?,
    })
}

/// A retention without a unit is hours, or revisions.
fn auto_compaction(given: &Given) -> Result<Option<AutoCompaction>, FlagError> {
    let retention = given.text("auto-compaction-retention").trim();
    let number: Option<u64> = retention.parse().ok();
    match (given.text("auto-compaction-mode"), number) {
        ("periodic" | "revision", Some(0)) => Ok(None),
        ("periodic", Some(hours)) => Ok(Some(AutoCompaction::Periodic(Duration::from_secs(
            hours.saturating_mul(3_600),
        )))),
        ("periodic", None) => match duration(given, "auto-compaction-retention")? {
            Duration::ZERO => Ok(None),
            age => Ok(Some(AutoCompaction::Periodic(age))),
        },
        ("revision", Some(revisions)) => Ok(Some(AutoCompaction::Revisions(revisions))),
        ("revision", None) => Err(invalid(format!(
            "error parsing CompactionRetention: {retention:?} is no number"
        ))),
        (other, _) => Err(invalid(format!("unknown auto-compaction-mode {other:?}"))),
    }
}

/// How long a token is worth something. Tokens are this program's own, whichever kind was asked for: signed, and known to
/// every member.
fn token_ttl(given: &Given, warnings: &mut Vec<String>) -> Result<Duration, FlagError> {
    let usual = Duration::from_secs(given.number("auth-token-ttl")?);
    let text = given.text("auth-token");
    let mut parts = text.split(',');
    match parts.next() {
        Some("simple" | "") => Ok(usual),
        Some("jwt") => {
            let mut ttl = usual;
            for part in parts {
                match part.split_once('=') {
                    Some(("ttl", text)) => {
                        ttl = go_duration(text)
                            .ok_or_else(|| invalid(format!("invalid auth options: {text:?} is no duration")))?;
                    }
                    Some(("pub-key" | "priv-key" | "sign-method", _)) => {}
                    _ => return Err(invalid(format!("invalid auth options: {part}"))),
                }
            }
            warnings
                .push("--auth-token: tokens are signed by a secret of the cluster, not by the keys given".to_owned());
            Ok(ttl)
        }
        _ => Err(invalid(format!("unknown token type {text:?}"))),
    }
}

/// The value of a flag that is a duration.
fn duration(given: &Given, name: &'static str) -> Result<Duration, FlagError> {
    let text = given.text(name);
    let wrong = || FlagError::Usage(format!("invalid value {text:?} for flag -{name}: it is no duration"));
    go_duration(text).ok_or_else(wrong)
}

/// A duration as Go writes it: numbers with units, one behind the other; none where it is no such text.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut nanos) = (text, 0_f64);
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let unit = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3_600e9,
            _ => return None,
        };
        nanos += number.parse::<f64>().ok()? * unit;
        rest = tail;
    }
    (!text.is_empty())
        .then(|| Duration::try_from_secs_f64(nanos / 1e9).ok())
        .flatten()
}
