//! How long no write is acknowledged when the leader is killed: a put is started every 5 ms, whether or not the one before
//! was answered, through all endpoints in turns.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::sides::Side;
use super::{Sample, Size};

/// How long writes go on before the kill.
const BEFORE: Duration = Duration::from_secs(1);
/// How long they go on once they are acknowledged again, so that a second gap would be seen.
const AFTER: Duration = Duration::from_secs(2);
/// How long they may not be acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// One kill.
pub fn measure(side: &mut Side, _: &Size) -> Result<(Sample, String)> {
    let leader = side.leader()?;
    let words = ["gap", "--every", "5ms"];
    let mut writer = side
        .tool("etcd-clients")
        .args(["--endpoints", &side.all()])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("etcd-clients does not start")?;
    let acked = follow(&mut writer)?;
    let killed = under_load(side, leader, &acked);
    // It ends when its standard input does.
    drop(writer.stdin.take());
    if killed.is_err() {
        writer.kill().context("cannot kill etcd-clients")?;
    }
    let mut times = killed?;
    times.extend(acked.iter());
    writer.wait().context("etcd-clients was not waited for")?;
    side.resume()?;
    times.sort_unstable();
    let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
    let gap_us = gap.context("less than two writes were acknowledged")?;
    let command = format!("etcd-clients --endpoints ALL {}; kill -9 LEADER", words.join(" "));
    Ok((vec![gap_us as f64 / 1e3], command))
}

/// When writes are acknowledged, in microseconds of the writer's own time.
fn follow(writer: &mut Child) -> Result<Receiver<u64>> {
    let lines = BufReader::new(writer.stdout.take().context("etcd-clients has no output")?).lines();
    let (acked, received) = channel();
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            let at = told["at_us"].as_u64().filter(|_| told["what"] == "acked");
            if at.is_some_and(|at| acked.send(at).is_err()) {
                return;
            }
        }
    });
    Ok(received)
}

fn under_load(side: &mut Side, leader: usize, acked: &Receiver<u64>) -> Result<Vec<u64>> {
    let mut times = vec![acked.recv_timeout(PATIENCE).context("no write is acknowledged")?];
    collect(acked, BEFORE, &mut times)?;
    side.kill(leader)?;
    // What was acknowledged before is still on its way to us.
    times.extend(acked.try_iter());
    times.push(
        acked
            .recv_timeout(PATIENCE)
            .context("no write is acknowledged after the kill")?,
    );
    collect(acked, AFTER, &mut times)?;
    Ok(times)
}

/// Takes what is acknowledged for so long.
fn collect(acked: &Receiver<u64>, time: Duration, times: &mut Vec<u64>) -> Result<()> {
    let until = Instant::now() + time;
    loop {
        match acked.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(at) => times.push(at),
            Err(RecvTimeoutError::Timeout) => return Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("etcd-clients ended"),
        }
    }
}
