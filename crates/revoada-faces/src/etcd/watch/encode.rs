//! Events as bytes of an answer: encoded once for everyone who wants the same of them.
//!
//! A thousand watchers of one key are told the same, but for the number of the watch. So the events of an answer are
//! encoded apart from its head, once, and copied behind each head. They are the answer's field 11 (`WatchResponse`
//! in etcd's `rpc.proto`), and fields may stand in any order.

use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use revoada_core::keyspace::{Event, EventKind, Revision};
use revoada_core::limits::ETCD_FRAGMENT_BYTES;
use revoada_etcd_api::etcdserverpb::{WatchRequest, WatchResponse};
use revoada_etcd_api::mvccpb;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::etcd::{keys, version_of};

/// The field of an answer that has its events.
const EVENTS_FIELD: u32 = 11;

/// What a watch wants of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wants {
    /// What was there before.
    pub previous: bool,
    /// That something was put.
    pub puts: bool,
    /// That something was deleted.
    pub deletions: bool,
}

impl Wants {
    fn place(self) -> usize {
        usize::from(self.previous) | usize::from(self.puts) << 1 | usize::from(self.deletions) << 2
    }
}

/// Events for watchers, whole revisions, in order; at least one.
#[derive(Debug)]
pub struct Batch {
    events: Vec<Arc<Event>>,
    /// About how many bytes they are.
    bytes: usize,
    /// As they are wanted.
    encoded: [OnceLock<Encoded>; 8],
}

/// Some of a batch's events, as the bytes of an answer.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// All of them.
    bytes: Bytes,
    /// Where each ends.
    ends: Vec<usize>,
}

fn size(event: &Event) -> usize {
    let (version, previous) = match &event.kind {
        EventKind::Put { version, previous } => (version.value.len(), previous.as_ref()),
        EventKind::Delete { previous } => (0, Some(previous)),
    };
    event.key.len() + version + previous.map_or(0, |previous| event.key.len() + previous.value.len())
}

impl Batch {
    /// Batches of these events, each not much larger than one answer should be.
    pub fn of(events: Vec<Arc<Event>>) -> Vec<Arc<Self>> {
        let mut batches = Vec::new();
        let mut batch: Vec<Arc<Event>> = Vec::new();
        let mut bytes = 0;
        for event in events {
            let begins = batch.last().is_none_or(|last| last.revision != event.revision);
            if begins && bytes >= ETCD_FRAGMENT_BYTES {
                batches.push(Self::new(std::mem::take(&mut batch)));
                bytes = 0;
            }
            bytes += size(&event);
            batch.push(event);
        }
        if !batch.is_empty() {
            batches.push(Self::new(batch));
        }
        batches
    }

    fn new(events: Vec<Arc<Event>>) -> Arc<Self> {
        Arc::new(Self {
            bytes: events.iter().map(|event| size(event)).sum(),
            events,
            encoded: [const { OnceLock::new() }; 8],
        })
    }

    /// The revision of its first event.
    pub fn first(&self) -> Revision {
        self.events.first().map_or(0, |event| event.revision)
    }

    /// The revision of its last event.
    pub fn last(&self) -> Revision {
        self.events.last().map_or(0, |event| event.revision)
    }

    /// About how many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What of it is behind `after`.
    pub fn behind(self: &Arc<Self>, after: Revision) -> Option<Arc<Self>> {
        if self.first() > after {
            return Some(self.clone());
        }
        let events: Vec<_> = self
            .events
            .iter()
            .filter(|event| event.revision > after)
            .cloned()
            .collect();
        (!events.is_empty()).then(|| Self::new(events))
    }

    /// Its events as they are wanted.
    pub fn encoded(&self, wants: Wants) -> &Encoded {
        self.encoded[wants.place()].get_or_init(|| {
            let mut bytes = BytesMut::new();
            let mut ends = Vec::new();
            for event in &self.events {
                if let Some(shown) = shown(event, wants) {
                    prost::encoding::message::encode(EVENTS_FIELD, &shown, &mut bytes);
                    ends.push(bytes.len());
                }
            }
            Encoded {
                bytes: bytes.freeze(),
                ends,
            }
        })
    }
}

/// An event as a watch wants it; none where it does not want it.
fn shown(event: &Event, wants: Wants) -> Option<mvccpb::Event> {
    let key = keys::shown(&event.key);
    let (kind, kv, previous) = match &event.kind {
        EventKind::Put { version, previous } => {
            if !wants.puts {
                return None;
            }
            let kv = version_of(key.clone(), version.clone());
            (mvccpb::event::EventType::Put, kv, previous.as_ref())
        }
        EventKind::Delete { previous } => {
            if !wants.deletions {
                return None;
            }
            let deleted = mvccpb::KeyValue {
                key: key.clone(),
                mod_revision: event.revision as i64,
                ..mvccpb::KeyValue::default()
            };
            (mvccpb::event::EventType::Delete, deleted, Some(previous))
        }
    };
    Some(mvccpb::Event {
        r#type: kind as i32,
        kv: Some(kv),
        prev_kv: previous
            .filter(|_| wants.previous)
            .map(|previous| version_of(key, previous.clone())),
    })
}

/// An answer: its head, which has no events, and they.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Everything but the events.
    pub head: WatchResponse,
    /// The events, as they are encoded.
    pub events: Bytes,
}

impl From<WatchResponse> for Answer {
    fn from(head: WatchResponse) -> Self {
        Self {
            head,
            events: Bytes::new(),
        }
    }
}

impl Encoded {
    /// Whether nothing of it was wanted.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes it is.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// One answer with all of it.
    pub fn whole(&self, head: WatchResponse) -> Answer {
        Answer {
            head,
            events: self.bytes.clone(),
        }
    }

    /// The answer in parts that are not much larger than [`ETCD_FRAGMENT_BYTES`]: all but the last say that more of
    /// the same follows (etcd: `sendFragments`).
    pub fn fragments(&self, head: &WatchResponse) -> Vec<Answer> {
        let mut parts = Vec::new();
        let mut from = 0;
        let mut reached = 0;
        for end in &self.ends {
            if reached > from && end - from >= ETCD_FRAGMENT_BYTES {
                parts.push((from, reached));
                from = reached;
            }
            reached = *end;
        }
        parts.push((from, reached));
        let last = parts.len() - 1;
        let part = |(n, (from, to)): (usize, (usize, usize))| Answer {
            head: WatchResponse {
                fragment: n < last,
                ..head.clone()
            },
            events: self.bytes.slice(from..to),
        };
        parts.into_iter().enumerate().map(part).collect()
    }
}

/// Requests as they come, answers as they are here.
#[derive(Debug, Clone, Copy, Default)]
pub struct WatchCodec;

impl Codec for WatchCodec {
    type Encode = Answer;
    type Decode = WatchRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for WatchCodec {
    type Item = Answer;
    type Error = Status;

    fn encode(&mut self, answer: Answer, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(answer.head.encoded_len() + answer.events.len());
        answer.head.encode_raw(buffer);
        buffer.put(answer.events);
        Ok(())
    }
}

impl Decoder for WatchCodec {
    type Item = WatchRequest;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<WatchRequest>, Status> {
        WatchRequest::decode(buffer)
            .map(Some)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use revoada_core::keyspace::Version;

    use super::*;

    fn put(revision: Revision, bytes: usize) -> Arc<Event> {
        let version = Version {
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            lease: 0,
            value: Bytes::from(vec![0; bytes]),
        };
        Arc::new(Event {
            revision,
            sub: 0,
            key: Bytes::from(format!("e{revision}")),
            kind: EventKind::Put {
                version,
                previous: None,
            },
        })
    }

    fn decoded(answer: &Answer) -> WatchResponse {
        let bytes = [answer.head.encode_to_vec(), answer.events.to_vec()].concat();
        WatchResponse::decode(&bytes[..]).unwrap()
    }

    const EVERYTHING: Wants = Wants {
        previous: true,
        puts: true,
        deletions: true,
    };

    #[test]
    fn fragments_have_every_event_once_and_only_the_last_ends() {
        let head = WatchResponse {
            watch_id: 7,
            ..WatchResponse::default()
        };
        let batch = Batch::new((0..8).map(|_| put(5, ETCD_FRAGMENT_BYTES / 3)).collect());
        let encoded = batch.encoded(EVERYTHING);
        let whole = decoded(&encoded.whole(head.clone()));
        assert_eq!((whole.watch_id, whole.events.len()), (7, 8));
        let parts: Vec<_> = encoded.fragments(&head).iter().map(decoded).collect();
        assert!(parts.len() > 2);
        let (last, others) = parts.split_last().unwrap();
        assert!(!last.fragment && others.iter().all(|part| part.fragment));
        assert!(parts.iter().all(|part| part.watch_id == 7 && !part.events.is_empty()));
        let events: Vec<_> = parts.into_iter().flat_map(|part| part.events).collect();
        assert_eq!(events, whole.events);
        let small = Batch::new(vec![put(5, 1)]);
        let parts = small.encoded(EVERYTHING).fragments(&head);
        assert_eq!(parts.len(), 1);
        assert!(!parts[0].head.fragment);
    }

    #[test]
    fn batches_are_cut_between_revisions_alone() {
        let large = ETCD_FRAGMENT_BYTES / 2;
        let events: Vec<_> = [1, 1, 1, 2, 3, 3].map(|revision| put(revision, large)).into();
        let batches = Batch::of(events);
        let revisions: Vec<_> = batches.iter().map(|batch| (batch.first(), batch.last())).collect();
        assert_eq!(revisions, [(1, 1), (2, 3)]);
        assert_eq!(batches[1].behind(2).unwrap().first(), 3);
        assert!(batches[1].behind(3).is_none());
        let nothing = Wants {
            puts: false,
            ..EVERYTHING
        };
        assert!(batches[0].encoded(nothing).is_empty());
    }
}
