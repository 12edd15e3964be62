//! Clusters of real processes, and what is done to them.
//!
//! A test holds the processes by their pids and speaks to them over their control sockets, as an operator would; it
//! never looks into them. Rejected: nodes on threads of the test, which cannot be killed, paused or cut off.

mod caller;
mod cluster;
mod disk;
mod etcd;
mod grpc;
mod hosts;
mod load;
mod recorder;
mod strace;
mod tools;
pub mod wire;

use std::time::Duration;

use revoada_mesh::failpoints::Point;
use tokio::time::Instant;

pub use caller::counted;
pub use cluster::{NodeProcess, TestCluster, config_map, program, program_with_failpoints};
pub use disk::{OwnDisk, SLOW_WRITES_PER_SECOND};
pub use grpc::{Channel, Door};
pub use hosts::Hosts;
pub use load::{Load, Written};
pub use recorder::{Chance, Recorder};
pub use strace::{Strace, Sync};
pub use tools::{judged_by_porcupine, library_for_clocks, missing, not_run, peer};

/// Failpoints that are come to on every node, whoever leads, as soon as anything is written.
pub const WRITES: &[Point] = &[
    Point::BeforeAppend,
    Point::AfterAppend,
    Point::BeforeSync,
    Point::AfterSync,
    Point::AfterDurable,
    Point::BeforeApply,
    Point::AfterApply,
];

/// The time between two looks at a condition that is waited for.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// For anything that needs elections, replacements or restarts: they take about a second, and far longer on a machine
/// that runs other tests besides.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for a condition. Panics with what was seen last when it does not come about within `limit`.
pub async fn until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match look().await {
            Ok(seen) => return seen,
            Err(seen) => assert!(
                Instant::now() < deadline,
                "not within {limit:?}: {what}; last seen: {seen}"
            ),
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
