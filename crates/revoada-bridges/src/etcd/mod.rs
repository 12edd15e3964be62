//! etcd, as somebody else runs it: a snapshot that it wrote, and one that runs.

mod bolt;
mod client;
mod connect;
mod copy;
mod file;

pub use bolt::BoltError;
pub use client::{CallError, Change, Condition, EtcdClient, LeaseTime, Page};
pub use connect::{Address, Channel, ConnectError, TlsFiles};
pub use copy::{Copy, CopyError, Found, RECORD_PREFIX, Record};
pub use file::{FileError, SnapshotFile, Summary};
