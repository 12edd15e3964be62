//! The engines, each behind the two things that a log does.

use std::path::Path;
use std::sync::mpsc::channel;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};
use redb::{ReadableDatabase, ReadableTable, TableDefinition};
use storage_bench::log::{LogEngine, LogEntry, LogOptions};

use crate::Error;

/// A log that is open.
pub trait Log {
    /// Returns once all of it is durable.
    fn append(&mut self, first: u64, payloads: Vec<Vec<u8>>) -> Result<(), Error>;
    /// 0 if there is none.
    fn last_index(&self) -> Result<u64, Error>;
}

#[derive(Clone, Copy)]
pub struct Candidate {
    pub name: &'static str,
    pub open: fn(&Path) -> Result<Box<dyn Log>, Error>,
}

pub fn candidates() -> Vec<Candidate> {
    vec![
        Candidate { name: "ours, a call per group", open: |folder| Ok(Box::new(Ours::open(folder, false)?)) },
        Candidate { name: "ours, a call per entry", open: |folder| Ok(Box::new(Ours::open(folder, true)?)) },
        Candidate { name: "raft-engine 0.4.2", open: |folder| Ok(Box::new(RaftEngine::open(folder)?)) },
        Candidate { name: "fjall 3.1", open: |folder| Ok(Box::new(Fjall::open(folder)?)) },
        Candidate { name: "redb 4.6", open: |folder| Ok(Box::new(Redb::open(folder)?)) },
    ]
}

/// With a call per entry it is the engine's writer that makes the groups, as with many callers.
struct Ours {
    engine: LogEngine,
    one_by_one: bool,
}

impl Ours {
    fn open(folder: &Path, one_by_one: bool) -> Result<Self, Error> {
        Ok(Self { engine: LogEngine::open(folder, LogOptions::default())?.0, one_by_one })
    }
}

impl Log for Ours {
    fn append(&mut self, first: u64, payloads: Vec<Vec<u8>>) -> Result<(), Error> {
        let (sender, done) = channel();
        let mut entries: Vec<_> = (first..)
            .zip(payloads)
            .map(|(index, payload)| LogEntry { index, payload: Bytes::from(payload) })
            .collect();
        if self.one_by_one {
            for entry in entries.drain(..) {
                let sender = sender.clone();
                // The receiver outlives every callback, unless an append failed before.
                self.engine.append(vec![entry], move |result| drop(sender.send(result)));
            }
        } else {
            self.engine.append(entries, move |result| drop(sender.send(result)));
            return Ok(done.recv()??);
        }
        drop(sender);
        done.iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    fn last_index(&self) -> Result<u64, Error> {
        Ok(self.engine.bounds().last_index.unwrap_or(0))
    }
}

struct RaftEngine {
    engine: Engine,
    batch: LogBatch,
}

/// raft-engine takes protobuf messages that know their index; this one carries it in front of its bytes.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.value.first_chunk().map_or(0, |index| u64::from_be_bytes(*index))
    }
}

impl RaftEngine {
    fn open(folder: &Path) -> Result<Self, Error> {
        let dir = folder.to_str().ok_or("the folder is not UTF-8")?.to_owned();
        // Nothing here compresses, so trying to would only slow it down.
        let config = Config { dir, batch_compression_threshold: ReadableSize(0), ..Config::default() };
        Ok(Self { engine: Engine::open(config)?, batch: LogBatch::default() })
    }
}

impl Log for RaftEngine {
    fn append(&mut self, first: u64, payloads: Vec<Vec<u8>>) -> Result<(), Error> {
        let entries: Vec<_> = (first..)
            .zip(payloads)
            .map(|(index, payload)| {
                let value = [index.to_be_bytes().as_slice(), &payload].concat();
                Any { value, ..Any::default() }
            })
            .collect();
        self.batch.add_entries::<Indexed>(1, &entries)?;
        self.engine.write(&mut self.batch, true)?;
        Ok(())
    }

    fn last_index(&self) -> Result<u64, Error> {
        Ok(self.engine.last_index(1).unwrap_or(0))
    }
}

struct Fjall {
    database: Database,
    log: Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Result<Self, Error> {
        let database = Database::builder(folder).open()?;
        let log = database.keyspace("log", KeyspaceCreateOptions::default)?;
        Ok(Self { database, log })
    }
}

impl Log for Fjall {
    fn append(&mut self, first: u64, payloads: Vec<Vec<u8>>) -> Result<(), Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (index, payload) in (first..).zip(payloads) {
            batch.insert(&self.log, index.to_be_bytes(), payload);
        }
        batch.commit()?;
        Ok(())
    }

    fn last_index(&self) -> Result<u64, Error> {
        let Some(last) = self.log.last_key_value() else { return Ok(0) };
        let key = last.key()?;
        Ok(key.first_chunk().map_or(0, |index| u64::from_be_bytes(*index)))
    }
}

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("log");

struct Redb {
    database: redb::Database,
}

impl Redb {
    fn open(folder: &Path) -> Result<Self, Error> {
        Ok(Self { database: redb::Database::create(folder.join("log.redb"))? })
    }
}

impl Log for Redb {
    fn append(&mut self, first: u64, payloads: Vec<Vec<u8>>) -> Result<(), Error> {
        // Durability::Immediate is the default.
        let transaction = self.database.begin_write()?;
        {
            let mut table = transaction.open_table(TABLE)?;
            for (index, payload) in (first..).zip(&payloads) {
                table.insert(index, payload.as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(())
    }

    fn last_index(&self) -> Result<u64, Error> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        Ok(table.last()?.map_or(0, |(index, _)| index.value()))
    }
}
