//! The names of backups: `CLUSTER-IDENTITY.WRITER.TIME.rREVISION.snap`, in the order of time.

use std::time::{Duration, SystemTime};

use revoada_attest::Digest;
use revoada_core::keyspace::Revision;
use revoada_core::limits::BACKUP_LABEL_BYTES_MAX;

/// What the name of one ends with that is not finished.
pub(super) const PART: &str = ".part";
/// What the name of one ends with that is.
const WHOLE: &str = ".snap";
/// How many hexadecimal digits of the cluster's identity are in it.
const IDENTITY_DIGITS: usize = 8;

/// When a backup was taken, and which revision it shows: what differs between the names of one writer's backups.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupName {
    taken_s: u64,
    revision: Revision,
}

/// What the names of all backups of one writer of one cluster begin with.
pub(super) fn prefix(cluster: &str, identity: &Digest, writer: &str) -> String {
    let identity = identity.to_string();
    let identity = identity.get(..IDENTITY_DIGITS).unwrap_or_default();
    format!("{}-{identity}.{}.", label(cluster), label(writer))
}

/// A name with nothing in it that means something to a file system, a shell or [`BackupName::parse`].
fn label(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let label: String = name.chars().map(plain).take(BACKUP_LABEL_BYTES_MAX).collect();
    if label.is_empty() { "unnamed".to_owned() } else { label }
}

impl BackupName {
    /// The name of a backup that was taken at `now_ms`, in milliseconds since 1970.
    pub fn new(now_ms: u64, revision: Revision) -> Self {
        Self {
            taken_s: now_ms / 1_000,
            revision,
        }
    }

    /// When it was taken, in milliseconds since 1970.
    pub fn taken_ms(&self) -> u64 {
        self.taken_s.saturating_mul(1_000)
    }

    /// Which revision it shows.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn render(&self, prefix: &str) -> String {
        let taken = SystemTime::UNIX_EPOCH + Duration::from_secs(self.taken_s);
        let taken = humantime::format_rfc3339_seconds(taken).to_string();
        let taken = taken.replace(['-', ':'], "");
        format!("{prefix}{taken}.r{}{WHOLE}", self.revision)
    }

    /// Of one's own file; none of every other.
    pub(super) fn parse(name: &str, prefix: &str) -> Option<Self> {
        let (taken, revision) = name.strip_prefix(prefix)?.strip_suffix(WHOLE)?.split_once(".r")?;
        // As it is rendered, and in no other way: 20261201T133000Z.
        let (date, time) = taken.split_once('T')?;
        let (year, rest) = date.split_at_checked(4)?;
        let (month, day) = rest.split_at_checked(2)?;
        let (hour, rest) = time.split_at_checked(2)?;
        let (minute, second) = rest.split_at_checked(2)?;
        let taken = format!("{year}-{month}-{day}T{hour}:{minute}:{second}");
        let taken = humantime::parse_rfc3339(&taken).ok()?;
        let parsed = Self {
            taken_s: taken.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs(),
            revision: revision.parse().ok()?,
        };
        (parsed.render(prefix) == name).then_some(parsed)
    }
}
