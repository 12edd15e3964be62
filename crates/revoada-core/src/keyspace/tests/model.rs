//! The keyspace as plainly as it can be said: every state of every revision, kept whole.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::keyspace::{
    Answer, Compare, CompareTarget, Entry, Event, EventKind, KeyRange, LeaseId, NO_LEASE, Op, OpResult, Operation,
    Outcome, RangeAnswer, RangeQuery, Relation, Revision, Txn, TxnAnswer, Version,
};

type State = BTreeMap<Bytes, Version>;

/// The operation is refused; for what reason the tests of each refusal say.
#[derive(Debug)]
pub(super) struct Refused;

#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
    pub(super) complete_from: Revision,
    pub(super) states: BTreeMap<Revision, State>,
    pub(super) events: Vec<Event>,
    /// Time to live and end of each lease.
    pub(super) leases: BTreeMap<LeaseId, (u64, u64)>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            revision: 1,
            compacted: 0,
            complete_from: 1,
            states: BTreeMap::from([(1, State::new())]),
            events: Vec::new(),
            leases: BTreeMap::new(),
        }
    }

    pub(super) fn now(&self) -> &State {
        &self.states[&self.revision]
    }

    /// Does an operation that has no key twice in one transaction.
    pub(super) fn apply(&mut self, operation: &Operation) -> Result<Outcome, Refused> {
        let mut next = self.clone();
        let answer = next.answer(operation)?;
        let changed = next.revision != self.revision;
        *self = next;
        Ok(Outcome {
            revision: self.revision,
            changed,
            answer,
        })
    }

    fn answer(&mut self, operation: &Operation) -> Result<Answer, Refused> {
        match operation {
            Operation::Txn(txn) => {
                let before = self.now().clone();
                let mut work = Work {
                    state: before.clone(),
                    events: Vec::new(),
                    revision: self.revision + 1,
                };
                let answer = self.txn(txn, &before, &mut work)?;
                self.commit(work);
                Ok(Answer::Txn(answer))
            }
            Operation::Compact { revision } => {
                if *revision <= self.compacted || *revision > self.revision {
                    return Err(Refused);
                }
                self.compacted = *revision;
                self.complete_from = self.complete_from.max(*revision);
                let before = self.events.len();
                self.events.retain(|event| event.revision >= *revision);
                Ok(Answer::Compacted {
                    events: (before - self.events.len()) as u64,
                })
            }
            Operation::LeaseGrant { id, ttl_ms, now_ms } => {
                if *id == NO_LEASE || *ttl_ms == 0 || self.leases.contains_key(id) {
                    return Err(Refused);
                }
                self.leases.insert(*id, (*ttl_ms, now_ms + ttl_ms));
                Ok(Answer::Lease {
                    id: *id,
                    ttl_ms: *ttl_ms,
                    expires_at_ms: now_ms + ttl_ms,
                })
            }
            Operation::LeaseKeepAlive { id, now_ms } => {
                let (ttl_ms, end) = self.leases.get_mut(id).ok_or(Refused)?;
                *end = now_ms + *ttl_ms;
                Ok(Answer::Lease {
                    id: *id,
                    ttl_ms: *ttl_ms,
                    expires_at_ms: *end,
                })
            }
            Operation::LeaseRevoke { id } => {
                if !self.leases.contains_key(id) {
                    return Err(Refused);
                }
                Ok(self.end_leases(vec![*id]))
            }
            Operation::LeaseExpire { ids, now_ms } => {
                let mut ids = ids.clone();
                ids.sort_unstable();
                ids.dedup();
                ids.retain(|id| self.leases.get(id).is_some_and(|(_, end)| end <= now_ms));
                Ok(self.end_leases(ids))
            }
            Operation::Restore(restore) => {
                let mut entries = BTreeMap::new();
                for (key, value) in &restore.entries {
                    if !key.starts_with(&restore.prefix) || key.is_empty() || entries.insert(key, value).is_some() {
                        return Err(Refused);
                    }
                }
                let mut state = self.now().clone();
                state.retain(|key, _| !key.starts_with(&restore.prefix));
                let deleted = (self.now().len() - state.len()) as u64;
                self.revision = self.revision.max(restore.revision) + 1;
                let at = self.revision;
                for (key, value) in &entries {
                    let version = Version {
                        create_revision: at,
                        mod_revision: at,
                        version: 1,
                        lease: 0,
                        value: (*value).clone(),
                    };
                    state.insert((*key).clone(), version);
                }
                self.states = BTreeMap::from([(at, state)]);
                self.events.clear();
                self.compacted = at;
                self.complete_from = at + 1;
                Ok(Answer::Restored {
                    deleted,
                    entries: entries.len() as u64,
                })
            }
        }
    }

    fn end_leases(&mut self, ids: Vec<LeaseId>) -> Answer {
        let mut work = Work {
            state: self.now().clone(),
            events: Vec::new(),
            revision: self.revision + 1,
        };
        for id in &ids {
            self.leases.remove(id);
            let keys = self
                .now()
                .iter()
                .filter(|(_, version)| version.lease == *id)
                .map(|(key, _)| key.clone());
            keys.for_each(|key| drop(work.delete(&key)));
        }
        let deleted = work.events.len() as u64;
        self.commit(work);
        Answer::LeasesEnded { ids, deleted }
    }

    fn commit(&mut self, work: Work) {
        if !work.events.is_empty() {
            self.revision = work.revision;
            self.events.extend(work.events);
            self.states.insert(self.revision, work.state);
        }
    }

    fn txn(&self, txn: &Txn, before: &State, work: &mut Work) -> Result<TxnAnswer, Refused> {
        let succeeded = txn.compares.iter().all(|compare| holds(compare, before));
        let mut results = Vec::new();
        for op in if succeeded { &txn.then } else { &txn.otherwise } {
            results.push(match op {
                Op::Put {
                    key,
                    value,
                    lease,
                    keep_value,
                    keep_lease,
                    same_prefix_bytes,
                    previous,
                } => {
                    let old = work.state.get(key).cloned();
                    if key.is_empty() || (*keep_value && !value.is_empty()) || (*keep_lease && *lease != 0) {
                        return Err(Refused);
                    }
                    if (*keep_value || *keep_lease) && !before.contains_key(key) {
                        return Err(Refused);
                    }
                    if *lease != 0 && !self.leases.contains_key(lease) {
                        return Err(Refused);
                    }
                    let value = if *keep_value {
                        old.as_ref().unwrap().value.clone()
                    } else {
                        value.clone()
                    };
                    let lease = if *keep_lease {
                        old.as_ref().unwrap().lease
                    } else {
                        *lease
                    };
                    let count = *same_prefix_bytes as usize;
                    let same = |old: &Version| {
                        let bytes = if *same_prefix_bytes == u32::MAX {
                            old.value == value
                        } else {
                            count > 0
                                && old.value.len() >= count
                                && value.len() >= count
                                && old.value[..count] == value[..count]
                        };
                        bytes && old.lease == lease
                    };
                    match old {
                        Some(old) if same(&old) => OpResult::Unchanged {
                            mod_revision: old.mod_revision,
                        },
                        old => {
                            work.put(key, value, lease);
                            OpResult::Put {
                                created: old.is_none(),
                                previous: old.filter(|_| *previous),
                            }
                        }
                    }
                }
                Op::Delete { range, previous } => {
                    let keys: Vec<Bytes> = work.state.keys().filter(|key| range.contains(key)).cloned().collect();
                    let mut old = Vec::new();
                    for key in &keys {
                        old.push(Entry {
                            key: key.clone(),
                            version: work.delete(key),
                        });
                    }
                    OpResult::Deleted {
                        count: keys.len() as u64,
                        previous: if *previous { old } else { Vec::new() },
                    }
                }
                Op::Range(query) => {
                    let newest = if work.events.is_empty() {
                        self.revision
                    } else {
                        work.revision
                    };
                    let state = match query.revision {
                        Some(revision) => self.state_at(revision).ok_or(Refused)?,
                        None => &work.state,
                    };
                    OpResult::Range(read(state, query, newest))
                }
                Op::Txn(nested) => OpResult::Txn(self.txn(nested, before, work)?),
            });
        }
        Ok(TxnAnswer { succeeded, results })
    }

    /// The state at a revision, if it can be read.
    pub(super) fn state_at(&self, revision: Revision) -> Option<&State> {
        let readable = revision >= self.compacted.max(1) && revision <= self.revision;
        readable
            .then(|| self.states.range(..=revision).next_back().map(|(_, state)| state))
            .flatten()
    }
}

struct Work {
    state: State,
    events: Vec<Event>,
    revision: Revision,
}

impl Work {
    fn put(&mut self, key: &Bytes, value: Bytes, lease: LeaseId) {
        let previous = self.state.get(key).cloned();
        let version = Version {
            create_revision: previous
                .as_ref()
                .map_or(self.revision, |previous| previous.create_revision),
            mod_revision: self.revision,
            version: previous.as_ref().map_or(1, |previous| previous.version + 1),
            lease,
            value,
        };
        self.state.insert(key.clone(), version.clone());
        self.event(key, EventKind::Put { version, previous });
    }

    fn delete(&mut self, key: &Bytes) -> Version {
        let previous = self.state.remove(key).unwrap();
        self.event(
            key,
            EventKind::Delete {
                previous: previous.clone(),
            },
        );
        previous
    }

    fn event(&mut self, key: &Bytes, kind: EventKind) {
        let sub = self.events.len() as u32;
        self.events.push(Event {
            revision: self.revision,
            sub,
            key: key.clone(),
            kind,
        });
    }
}

/// Reads a state by walking all of it.
pub(super) fn read(state: &State, query: &RangeQuery, revision: Revision) -> RangeAnswer {
    let mut keys: Vec<(&Bytes, &Version)> = state
        .iter()
        .filter(|(key, _)| query.range.contains(key) && query.after.as_ref().is_none_or(|after| *key > after))
        .collect();
    let count = keys.len() as u64;
    let between = |number: u64, min: u64, max: u64| number >= min && (max == 0 || number <= max);
    keys.retain(|(_, version)| {
        between(version.mod_revision, query.min_mod_revision, query.max_mod_revision)
            && between(
                version.create_revision,
                query.min_create_revision,
                query.max_create_revision,
            )
    });
    if query.count_only {
        return RangeAnswer {
            revision,
            entries: Vec::new(),
            more: false,
            count,
        };
    }
    let limit = if query.limit == 0 {
        keys.len()
    } else {
        query.limit as usize
    };
    let more = keys.len() > limit;
    keys.truncate(limit);
    let entry = |(key, version): (&Bytes, &Version)| {
        let mut version = version.clone();
        if query.keys_only {
            version.value = Bytes::new();
        }
        Entry {
            key: key.clone(),
            version,
        }
    };
    RangeAnswer {
        revision,
        entries: keys.into_iter().map(entry).collect(),
        more,
        count,
    }
}

fn holds(compare: &Compare, state: &State) -> bool {
    let found: Vec<&Version> = state
        .iter()
        .filter(|(key, _)| compare.range.contains(key))
        .map(|(_, version)| version)
        .collect();
    let relation = |ordering: std::cmp::Ordering| match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
    };
    let all = |field: fn(&Version) -> u64, expected: u64| {
        if found.is_empty() {
            relation(0.cmp(&expected))
        } else {
            found.iter().all(|version| relation(field(version).cmp(&expected)))
        }
    };
    match &compare.target {
        CompareTarget::Create(expected) => all(|version| version.create_revision, *expected),
        CompareTarget::Mod(expected) => all(|version| version.mod_revision, *expected),
        CompareTarget::VersionNumber(expected) => all(|version| version.version, *expected),
        CompareTarget::Lease(expected) => all(|version| version.lease, *expected),
        CompareTarget::Value(expected) => {
            !found.is_empty() && found.iter().all(|version| relation(version.value.cmp(expected)))
        }
        CompareTarget::Exists(expected) => relation((!found.is_empty()).cmp(expected)),
    }
}

/// All ranges that are worth asking for.
pub(super) fn ranges() -> Vec<KeyRange> {
    let key = |text: &'static str| Bytes::from_static(text.as_bytes());
    vec![
        KeyRange::All,
        KeyRange::One(key("r/a")),
        KeyRange::Prefix(key("r/")),
        KeyRange::Span {
            start: key("a"),
            end: key("r/b"),
        },
        KeyRange::From(key("r/ab")),
    ]
}
