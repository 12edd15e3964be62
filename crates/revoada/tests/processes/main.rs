//! Real processes under real faults: what holds when nodes are killed, paused, cut off, and given bad disks, folders
//! and callers.
//!
//! The program under test is the one that cargo built with the tests, or the one that `REVOADA_BIN` names; where it is
//! killed at failpoints it is always the former, which alone has them. Tests that need root, namespaces or a tool say so
//! in their output where they cannot run, and fail there with `CI` set.

mod backpressure;
mod births;
mod clocks;
mod disks;
mod etcd;
mod failpoints;
mod folders;
mod histories;
mod kills;
mod kubernetes;
mod listeners;
mod partitions;
mod pauses;
mod recovery;
mod soak;
mod strangers;
mod support;
mod wishes;
