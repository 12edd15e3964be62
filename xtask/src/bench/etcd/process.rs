//! What the kernel knows of a process.

use std::fs;

use anyhow::{Context, Result};

/// The kernel counts processor time for user space in hundredths of a second (`USER_HZ`).
const TICK_US: f64 = 10_000.0;

/// The processor time that a process took until now, its threads' included, in microseconds.
pub fn cpu_us(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    parse_cpu_us(&text).with_context(|| format!("{path} is not what it should be: {text}"))
}

/// utime and stime are fields 14 and 15; the second is a name in brackets, which may have blanks.
fn parse_cpu_us(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) * TICK_US)
}

/// A field of `/proc/PID/status`, in bytes: `VmRSS`, `RssAnon`.
pub fn memory_bytes(pid: u32, field: &str) -> Result<f64> {
    counted(&format!("/proc/{pid}/status"), field).map(|kibibytes| kibibytes * 1024.0)
}

/// How many bytes it had the disk write.
pub fn written_bytes(pid: u32) -> Result<f64> {
    counted(&format!("/proc/{pid}/io"), "write_bytes")
}

fn counted(path: &str, field: &str) -> Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_processor_time_and_memory() {
        let stat = "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 7 1 2";
        assert_eq!(parse_cpu_us(stat), Some(3_000_000.0));
        let own = std::process::id();
        assert!(cpu_us(own).is_ok() && memory_bytes(own, "VmRSS").unwrap() > 0.0 && written_bytes(own).is_ok());
    }
}
