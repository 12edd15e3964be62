//! Copying the keys of one etcd into another that goes on meanwhile, so that it can be interrupted anywhere.
//!
//! A pass walks over both in the order of keys and makes what is there like the source at one revision. It asks what is
//! there before it writes, so a pass that was interrupted is simply begun again, and the last pass, which finds nothing
//! to do, is the proof that both are alike.
//!
//! What was brought by an earlier pass and what others wrote must be told apart: the source's history tells, since what a
//! pass brought is what the source had at the revision of that pass. Which revisions those were is in a key of the
//! destination's, the [`Record`]; every write is conditional on it, so of two copies at once only the later goes on, and
//! on what was seen of each key, so nobody's write is overwritten unseen. Rejected: a file beside the command; it can be
//! lost, be another machine's, or say what the destination does not have.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revoada_core::error::ErrorKind;
use revoada_etcd_api::mvccpb::KeyValue;

use super::client::{CallError, Change, Condition, EtcdClient, LeaseTime};

/// What the key of a record begins with; the id of the source's cluster is behind it.
pub const RECORD_PREFIX: &str = "revoada.migrate/";
/// How many keys one page has at most.
const PAGE_KEYS_MAX: i64 = 512;
/// How many bytes a page should have, about.
const PAGE_BYTES: usize = 4 << 20;
/// How many changes one transaction has at most: etcd takes 128 conditions by default, and one is the record's.
const CHANGES_MAX: usize = 100;
/// With how many bytes a transaction is ended: etcd takes 1.5 MiB by default.
const CHANGES_BYTES: usize = 1 << 20;
/// How often a page is compared again because somebody wrote what it would have written.
const TRIES: usize = 5;
/// How many passes' revisions are remembered.
const REVISIONS_MAX: usize = 32;
/// How often leases are held during a pass whose time is shorter than [`SHORT_LEASE_S`].
const HELD_EVERY: Duration = Duration::from_millis(500);
/// Leases of at most so many seconds could end here while a pass is under way.
const SHORT_LEASE_S: i64 = 600;
/// How many keys are told by name.
const NAMED_MAX: usize = 5;

/// How far a copy has come, as the destination has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which attempt wrote it: an older one writes nothing any more.
    pub attempt: u64,
    /// The destination's revision when the first attempt began: what is older is not the copy's.
    pub began_at: i64,
    /// The source's revision of each pass, oldest first.
    pub revisions: Vec<i64>,
}

impl Record {
    /// As the value of its key: numbers with spaces between.
    pub fn render(&self) -> Bytes {
        let mut text = format!("1 {} {}", self.attempt, self.began_at);
        for revision in &self.revisions {
            text.push_str(&format!(" {revision}"));
        }
        text.into()
    }

    /// What [`Self::render`] wrote; none of anything else.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let _format = words.next().filter(|format| *format == "1")?;
        Some(Self {
            attempt: words.next()?.parse().ok()?,
            began_at: words.next()?.parse().ok()?,
            revisions: words.map(str::parse).collect::<Result<_, _>>().ok()?,
        })
    }
}

/// Why a copy ended.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source.
    #[error("the etcd that is copied does not answer as it should")]
    Source(#[source] CallError),
    /// The destination.
    #[error("this cluster does not take it")]
    Destination(#[source] CallError),
    /// Another copy from the same etcd goes on.
    #[error("another migration from the same etcd was begun since, and goes on")]
    TakenOver,
    /// Somebody writes the same keys all the time.
    #[error("somebody writes {} here again and again while it is copied", key.escape_ascii())]
    Contended {
        /// One of the keys.
        key: Bytes,
    },
    /// The record is none.
    #[error("{key} is here and is not what a migration has written: delete it to begin anew")]
    Record {
        /// Its key.
        key: String,
    },
}

impl CopyError {
    /// What kind of condition it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) | Self::Destination(error) => error.kind(),
            Self::TakenOver | Self::Contended { .. } | Self::Record { .. } => ErrorKind::Conflict,
        }
    }

    /// Whether it is worth another attempt with new connections.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Source(error) | Self::Destination(error) => error.kind() == ErrorKind::Unavailable,
            _ => false,
        }
    }
}

/// What a pass found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Keys of the source.
    pub keys: u64,
    /// The bytes of them and their values.
    pub bytes: u64,
    /// Of them, those that were alike already.
    pub same: u64,
    /// Those that were written, or would be.
    pub put: u64,
    /// Keys that an earlier pass brought and the source has no more.
    pub deleted: u64,
    /// Keys that others have written here with another value.
    pub conflicts: u64,
    /// Some of those.
    pub conflicting: Vec<String>,
    /// Keys of which it cannot be told whether an earlier pass brought them, since the source has compacted its history;
    /// they stay.
    pub untold: u64,
}

/// One copy.
pub struct Copy {
    /// What is copied.
    pub source: EtcdClient,
    /// Where to.
    pub destination: EtcdClient,
    /// Whether what others wrote is overwritten.
    pub overwrite: bool,
    /// The leases of the source that live.
    leases: BTreeMap<i64, LeaseTime>,
    /// When they were held last.
    held: Instant,
    key: Bytes,
    record: Option<Record>,
}

impl Copy {
    /// A copy from the cluster with this id. Looks for what an earlier attempt has left.
    ///
    /// # Errors
    /// The destination does not answer, or has something else in the record's place.
    pub async fn find(
        source: EtcdClient,
        mut destination: EtcdClient,
        source_cluster: u64,
        overwrite: bool,
    ) -> Result<Self, CopyError> {
        let key = format!("{RECORD_PREFIX}{source_cluster:016x}");
        let found = destination.get(key.as_bytes(), 0).await;
        let record = match found.map_err(CopyError::Destination)? {
            Some(found) => match Record::parse(&found.value) {
                Some(record) => Some(record),
                None => return Err(CopyError::Record { key }),
            },
            None => None,
        };
        Ok(Self {
            source,
            destination,
            overwrite,
            leases: BTreeMap::new(),
            held: Instant::now(),
            key: key.into(),
            record,
        })
    }

    /// Takes leases for those of the source that live. A key is brought with its lease or, where that has ended, not at
    /// all: so they are asked for after the revision of a pass, and not before.
    pub fn set_leases(&mut self, leases: &[LeaseTime]) {
        self.leases = leases.iter().map(|lease| (lease.id, *lease)).collect();
    }

    /// Gives leases of at most so many seconds their whole time here, before keys are attached to them, or while others
    /// are still on their way.
    ///
    /// # Errors
    /// The destination does not answer.
    pub async fn hold_leases(&mut self, granted_s_max: i64) -> Result<(), CopyError> {
        self.held = Instant::now();
        for lease in self.leases.values().filter(|lease| lease.granted_s <= granted_s_max) {
            let held = self.destination.hold_lease(lease.id, lease.granted_s).await;
            held.map_err(CopyError::Destination)?;
        }
        Ok(())
    }

    /// What an earlier attempt has left.
    pub fn record(&self) -> Option<&Record> {
        self.record.as_ref()
    }

    /// Writes down that this attempt begins a pass at a revision of the source.
    ///
    /// # Errors
    /// Another attempt did since; or the destination does not answer.
    pub async fn begin(&mut self, attempt: u64, revision: i64) -> Result<(), CopyError> {
        let failed = CopyError::Destination;
        let (before, mut record) = match &self.record {
            Some(record) => (Condition::Has(self.key.clone(), record.render()), record.clone()),
            None => {
                let here = self.destination.count().await.map_err(failed)?;
                let record = Record {
                    attempt,
                    began_at: here.revision,
                    revisions: Vec::new(),
                };
                (Condition::WrittenAt(self.key.clone(), 0), record)
            }
        };
        record.attempt = attempt;
        if record.revisions.last() != Some(&revision) {
            record.revisions.push(revision);
        }
        let surplus = record.revisions.len().saturating_sub(REVISIONS_MAX);
        record.revisions.drain(..surplus);
        let put = Change::Put {
            key: self.key.clone(),
            value: record.render(),
            lease: 0,
        };
        if !self.destination.change(&[before], &[put]).await.map_err(failed)? {
            return Err(CopyError::TakenOver);
        }
        self.record = Some(record);
        Ok(())
    }

    /// Takes the record away: it is done.
    ///
    /// # Errors
    /// Another attempt was begun since; or the destination does not answer.
    pub async fn end(&mut self) -> Result<(), CopyError> {
        let Some(record) = &self.record else { return Ok(()) };
        let delete = Change::Delete { key: self.key.clone() };
        let condition = Condition::Has(self.key.clone(), record.render());
        let deleted = self.destination.change(&[condition], &[delete]).await;
        match deleted.map_err(CopyError::Destination)? {
            true => Ok(()),
            false => Err(CopyError::TakenOver),
        }
    }

    /// Compares everything with the source at `revision`, and where `write` says so makes it alike, which is to be begun
    /// before. `progress` is told how many keys were looked at.
    ///
    /// # Errors
    /// Every variant of [`CopyError`]; what was written until then stays.
    pub async fn pass(
        &mut self,
        revision: i64,
        write: bool,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Found, CopyError> {
        let mut found = Found::default();
        let mut from = Bytes::new();
        let mut limit = 64;
        loop {
            let page = self.source.page(&from, &[], limit, revision).await;
            let page = page.map_err(CopyError::Source)?;
            let bytes: usize = page.kvs.iter().map(|kv| kv.key.len() + kv.value.len()).sum();
            let end = match page.kvs.last() {
                Some(last) if page.more => behind(&last.key),
                _ => Bytes::new(),
            };
            if write && self.held.elapsed() >= HELD_EVERY {
                self.hold_leases(SHORT_LEASE_S).await?;
            }
            let part = self.part(&from, &end, page.kvs, write).await?;
            found.add(part);
            progress(found.keys);
            if end.is_empty() {
                return Ok(found);
            }
            from = end;
            // Pages grow slowly and shrink at once, so that large values behind small ones do no harm.
            let fits = limit * PAGE_BYTES as i64 / (bytes.max(1) as i64);
            limit = fits.clamp(1, (limit * 2).min(PAGE_KEYS_MAX));
        }
    }

    /// The keys from `from` to `end`.
    async fn part(&mut self, from: &Bytes, end: &Bytes, kvs: Vec<KeyValue>, write: bool) -> Result<Found, CopyError> {
        let mut contended = None;
        for _ in 0..TRIES {
            let mut found = Found::default();
            let mut wanted = BTreeMap::new();
            for kv in &kvs {
                // A key of a record is no key of the source's clients; one whose lease has ended is gone.
                let lives = kv.lease == 0 || self.leases.contains_key(&kv.lease);
                if lives && !kv.key.starts_with(RECORD_PREFIX.as_bytes()) {
                    found.keys += 1;
                    found.bytes += (kv.key.len() + kv.value.len()) as u64;
                    wanted.insert(kv.key.clone(), kv);
                }
            }
            let changes = self.differences(from, end, wanted, &mut found).await?;
            if !write {
                return Ok(found);
            }
            contended = self.write(changes).await?;
            if contended.is_none() {
                return Ok(found);
            }
        }
        Err(CopyError::Contended {
            key: contended.unwrap_or_default(),
        })
    }

    /// What is to be changed in `from` to `end` for it to be as wanted, each with what it is conditional on.
    async fn differences(
        &mut self,
        from: &Bytes,
        end: &Bytes,
        mut wanted: BTreeMap<Bytes, &KeyValue>,
        found: &mut Found,
    ) -> Result<Vec<(Condition, Change)>, CopyError> {
        let mut changes = Vec::new();
        let mut at = from.clone();
        loop {
            let here = self.destination.page(&at, end, PAGE_KEYS_MAX / 4, 0).await;
            let here = here.map_err(CopyError::Destination)?;
            let last = here.kvs.last().map(|kv| kv.key.clone());
            for kv in here.kvs {
                if kv.key.starts_with(RECORD_PREFIX.as_bytes()) {
                    continue;
                }
                let seen = Condition::WrittenAt(kv.key.clone(), kv.mod_revision);
                match wanted.remove(&kv.key) {
                    Some(want) if want.value == kv.value && want.lease == kv.lease => found.same += 1,
                    Some(want) if self.overwrite || self.brought(&kv).await?.unwrap_or(true) => {
                        changes.push((seen, put(want)));
                    }
                    Some(_) => found.conflict(&kv.key),
                    None => match self.brought(&kv).await? {
                        Some(true) => changes.push((seen, Change::Delete { key: kv.key })),
                        Some(false) => {}
                        None => found.untold += 1,
                    },
                }
            }
            match last {
                Some(last) if here.more => at = behind(&last),
                _ => break,
            }
        }
        let missing = wanted.into_values();
        changes.extend(missing.map(|kv| (Condition::WrittenAt(kv.key.clone(), 0), put(kv))));
        let deleted = changes
            .iter()
            .filter(|(_, change)| matches!(change, Change::Delete { .. }));
        found.deleted = deleted.count() as u64;
        found.put = changes.len() as u64 - found.deleted;
        Ok(changes)
    }

    /// Whether an earlier pass brought a key as it is here; none where the source cannot tell any more.
    async fn brought(&mut self, here: &KeyValue) -> Result<Option<bool>, CopyError> {
        let Some(record) = &self.record else {
            return Ok(Some(false));
        };
        if here.create_revision <= record.began_at {
            return Ok(Some(false));
        }
        let mut told = true;
        for revision in record.revisions.clone().into_iter().rev() {
            match self.source.get(&here.key, revision).await {
                Ok(Some(then)) if then.value == here.value && then.lease == here.lease => return Ok(Some(true)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Compacted => told = false,
                Err(error) => return Err(CopyError::Source(error)),
            }
        }
        Ok(told.then_some(false))
    }

    /// Makes changes, some at once: a key that somebody else wrote meanwhile, if there is one.
    async fn write(&mut self, changes: Vec<(Condition, Change)>) -> Result<Option<Bytes>, CopyError> {
        let Some(record) = &self.record else {
            return Err(CopyError::TakenOver);
        };
        let mine = Condition::Has(self.key.clone(), record.render());
        let mut changes = changes.into_iter().peekable();
        while changes.peek().is_some() {
            let mut room = CHANGES_BYTES;
            let (mut conditions, mut batch) = (vec![mine.clone()], Vec::new());
            while let Some((_, change)) = changes.peek() {
                let bytes = size(change);
                if batch.len() == CHANGES_MAX || (!batch.is_empty() && bytes > room) {
                    break;
                }
                room = room.saturating_sub(bytes);
                let Some((condition, change)) = changes.next() else {
                    break;
                };
                conditions.push(condition);
                batch.push(change);
            }
            let changed = self.destination.change(&conditions, &batch).await;
            if changed.map_err(CopyError::Destination)? {
                continue;
            }
            let record = self
                .destination
                .get(&self.key, 0)
                .await
                .map_err(CopyError::Destination)?;
            let still = record.map(|record| Condition::Has(self.key.clone(), record.value));
            return match still == Some(mine) {
                true => Ok(batch.first().map(key_of).cloned()),
                false => Err(CopyError::TakenOver),
            };
        }
        Ok(None)
    }
}

impl Found {
    fn conflict(&mut self, key: &Bytes) {
        self.conflicts += 1;
        if self.conflicting.len() < NAMED_MAX {
            self.conflicting.push(key.escape_ascii().to_string());
        }
    }

    fn add(&mut self, other: Self) {
        self.keys += other.keys;
        self.bytes += other.bytes;
        self.same += other.same;
        self.put += other.put;
        self.deleted += other.deleted;
        self.conflicts += other.conflicts;
        self.untold += other.untold;
        let room = NAMED_MAX.saturating_sub(self.conflicting.len());
        self.conflicting.extend(other.conflicting.into_iter().take(room));
    }
}

fn put(kv: &KeyValue) -> Change {
    Change::Put {
        key: kv.key.clone(),
        value: kv.value.clone(),
        lease: kv.lease,
    }
}

fn key_of(change: &Change) -> &Bytes {
    match change {
        Change::Put { key, .. } | Change::Delete { key } => key,
    }
}

fn size(change: &Change) -> usize {
    match change {
        Change::Put { key, value, .. } => 2 * key.len() + value.len() + 64,
        Change::Delete { key } => 2 * key.len() + 64,
    }
}

/// The first key behind another one.
fn behind(key: &[u8]) -> Bytes {
    let mut behind = key.to_vec();
    behind.push(0);
    behind.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for revisions in [vec![], vec![7], vec![7, 90, 4_000_000_000]] {
            let record = Record {
                attempt: u64::MAX,
                began_at: 12,
                revisions,
            };
            assert_eq!(Record::parse(&record.render()), Some(record));
        }
        for other in ["", "1", "1 2", "2 1 1", "1 x 1", "1 1 1 ", "{}"] {
            assert_eq!(Record::parse(other.as_bytes()), None, "{other}");
        }
    }
}
