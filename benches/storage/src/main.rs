//! How many entries per second the candidates make durable, and how long they take to open again.
//!
//! Each cell runs for the same time on the same disk, and the candidates take turns within a cell, so that a disk that
//! is slower for a minute is slower for all. A group is appended, synced, waited for, and followed by the next: what a
//! Raft node does. Every candidate gets what its manual names as durable (one `fdatasync` or the like per group).
//!
//! `storage-bench [FOLDER] [SECONDS]`: where to write (a folder on the disk in question), and how long a cell takes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

mod candidates;

use candidates::{Candidate, candidates};

type Error = Box<dyn std::error::Error>;

const GROUPS: [u64; 3] = [1, 64, 256];
const PAYLOADS: [usize; 2] = [200, 1024];
/// A candidate takes so many turns in a cell.
const TURNS: u32 = 4;
/// What is reopened: so many entries of so many bytes, appended in groups of so many.
const REOPENED: (u64, usize, u64) = (100_000, 1024, 256);

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(|| PathBuf::from("storage-bench-data"), PathBuf::from);
    let seconds = arguments.next().and_then(|text| text.to_str()?.parse().ok()).unwrap_or(4);
    match run(&folder, Duration::from_secs(seconds)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("storage-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path, cell: Duration) -> Result<(), Error> {
    println!("in {}, {} s a cell, {TURNS} turns each", folder.display(), cell.as_secs());
    println!();
    println!("| engine | bytes | group | durable entries/s | groups/s | p50 ms | p99 ms | max ms |");
    println!("|---|---|---|---|---|---|---|---|");
    for payload_bytes in PAYLOADS {
        for group in GROUPS {
            let mut measured = Vec::new();
            for _ in 0..TURNS {
                for (at, candidate) in candidates().into_iter().enumerate() {
                    let times = measure(folder, candidate, payload_bytes, group, cell / TURNS)?;
                    if measured.len() <= at {
                        measured.push((candidate.name, Vec::new()));
                    }
                    measured[at].1.extend(times);
                }
            }
            for (name, mut times) in measured {
                times.sort_unstable();
                let total: Duration = times.iter().sum();
                let rate = times.len() as f64 / total.as_secs_f64();
                let of = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
                println!(
                    "| {name} | {payload_bytes} | {group} | {:.0} | {rate:.0} | {:.2} | {:.2} | {:.1} |",
                    rate * group as f64,
                    of(0.5),
                    of(0.99),
                    of(1.0)
                );
            }
        }
    }
    let (entries, payload_bytes, group) = REOPENED;
    println!();
    println!("| engine | open again with {entries} entries of {payload_bytes} bytes, ms | bytes on disk |");
    println!("|---|---|---|");
    for candidate in candidates() {
        let (time, bytes) = reopen(folder, candidate, entries, payload_bytes, group)?;
        println!("| {} | {:.0} | {bytes} |", candidate.name, time.as_secs_f64() * 1e3);
    }
    Ok(())
}

/// How long each group took until it was durable.
fn measure(
    folder: &Path,
    candidate: Candidate,
    payload_bytes: usize,
    group: u64,
    time: Duration,
) -> Result<Vec<Duration>, Error> {
    clear(folder)?;
    let mut log = (candidate.open)(folder)?;
    let mut source = Payloads::new(payload_bytes);
    let mut index = 1;
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < time {
        let payloads = source.take(group);
        let start = Instant::now();
        log.append(index, payloads)?;
        times.push(start.elapsed());
        index += group;
    }
    drop(log);
    clear(folder)?;
    Ok(times)
}

fn reopen(
    folder: &Path,
    candidate: Candidate,
    entries: u64,
    payload_bytes: usize,
    group: u64,
) -> Result<(Duration, u64), Error> {
    clear(folder)?;
    let mut log = (candidate.open)(folder)?;
    let mut source = Payloads::new(payload_bytes);
    for index in (1..entries).step_by(group as usize) {
        log.append(index, source.take(group))?;
    }
    drop(log);
    let bytes = size_of(folder)?;
    let start = Instant::now();
    let log = (candidate.open)(folder)?;
    let found = log.last_index()?;
    let time = start.elapsed();
    if found < entries {
        return Err(format!("{} came back with {found} of {entries} entries", candidate.name).into());
    }
    drop(log);
    clear(folder)?;
    Ok((time, bytes))
}

/// Bytes that do not compress, from a generator (xorshift) that is the same in every run.
struct Payloads {
    bytes: usize,
    state: u64,
}

impl Payloads {
    fn new(bytes: usize) -> Self {
        Self { bytes, state: 0x9e37_79b9_7f4a_7c15 }
    }

    fn take(&mut self, count: u64) -> Vec<Vec<u8>> {
        (0..count)
            .map(|_| {
                let mut payload = Vec::with_capacity(self.bytes + 8);
                while payload.len() < self.bytes {
                    self.state ^= self.state << 13;
                    self.state ^= self.state >> 7;
                    self.state ^= self.state << 17;
                    payload.extend_from_slice(&self.state.to_le_bytes());
                }
                payload.truncate(self.bytes);
                payload
            })
            .collect()
    }
}

fn clear(folder: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    std::fs::create_dir_all(folder)?;
    Ok(())
}

fn size_of(folder: &Path) -> Result<u64, Error> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for file in std::fs::read_dir(folder)? {
        let file = file?;
        bytes += if file.file_type()?.is_dir() { size_of(&file.path())? } else { file.metadata()?.blocks() * 512 };
    }
    Ok(bytes)
}
