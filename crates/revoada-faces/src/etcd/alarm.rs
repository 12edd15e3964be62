//! Alarms: what is wrong with a member, known to all of them, and what is refused because of it.
//!
//! NOSPACE refuses whatever takes room, CORRUPT refuses every change (etcd: `applierV3Capped`, `applierV3Corrupt`). An
//! alarm stays until somebody ends it.

use std::collections::BTreeSet;
use std::sync::Arc;

use revoada_core::keyspace::Keyspace as View;
use revoada_core::limits::{KEYSPACE_BYTES, KEYSPACE_ENTRY_BYTES};
use revoada_etcd_api::etcdserverpb::{AlarmMember, AlarmType};
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::auth::Caller;
use super::record::Record;
use super::{EtcdFace, refusal};

/// What a put takes besides its key and value where room is reckoned, in bytes (etcd: `kvOverhead`).
pub const PUT_BYTES: u64 = 256;
/// What a lease takes where room is reckoned, in bytes (etcd: `leaseOverhead`).
pub const LEASE_BYTES: u64 = 64;

/// The record of alarms.
pub const fn record() -> Record<Alarms> {
    Record::new(b"\0etcd-alarms", "the record of alarms")
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// There is no room.
    NoSpace,
    /// Members hold different data.
    Corrupt,
}

/// The alarms that are raised: the number of a member, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarms(BTreeSet<(u64, Kind)>);

impl Alarms {
    /// Whether any member has this one.
    pub fn any(&self, kind: Kind) -> bool {
        self.0.iter().any(|(_, raised)| *raised == kind)
    }

    /// Raises one.
    pub fn raise(&mut self, member: u64, kind: Kind) {
        self.0.insert((member, kind));
    }

    /// Ends one; whether it was raised.
    pub fn end(&mut self, member: u64, kind: Kind) -> bool {
        self.0.remove(&(member, kind))
    }

    /// Those of a kind, or all.
    pub fn shown(&self, kind: Option<Kind>) -> Vec<AlarmMember> {
        let wanted = |raised: &&(u64, Kind)| kind.is_none_or(|kind| raised.1 == kind);
        self.0.iter().filter(wanted).map(|raised| member(*raised)).collect()
    }

    /// Each as a member's status has it (etcd: the text form of the message).
    pub fn texts(&self) -> Vec<String> {
        let text = |(member, kind): &(u64, Kind)| {
            let kind = match kind {
                Kind::NoSpace => "NOSPACE",
                Kind::Corrupt => "CORRUPT",
            };
            format!("memberID:{member} alarm:{kind} ")
        };
        self.0.iter().map(text).collect()
    }
}

/// An alarm as the protocol has it.
pub fn member((member, kind): (u64, Kind)) -> AlarmMember {
    let alarm = match kind {
        Kind::NoSpace => AlarmType::Nospace,
        Kind::Corrupt => AlarmType::Corrupt,
    };
    AlarmMember {
        member_id: member,
        alarm: alarm as i32,
    }
}

/// The kind that the protocol names; none for none.
pub fn kind(alarm: AlarmType) -> Option<Kind> {
    match alarm {
        AlarmType::None => None,
        AlarmType::Nospace => Some(Kind::NoSpace),
        AlarmType::Corrupt => Some(Kind::Corrupt),
    }
}

/// How many bytes a keyspace takes: keys, values, history, and what is around each.
pub fn taken(view: &View) -> u64 {
    in_use(view) + view.history_bytes()
}

/// How many bytes of a keyspace are of its newest revision.
pub fn in_use(view: &View) -> u64 {
    KEYSPACE_BYTES + view.data_bytes() + view.len() as u64 * KEYSPACE_ENTRY_BYTES
}

impl EtcdFace {
    /// The alarms as they are known here.
    pub(super) fn alarms(&self) -> Result<Arc<Alarms>, Status> {
        let known = self.at_hand(|view| self.alarm_record.of(view))?;
        Ok(known.map(|(_, alarms)| alarms).unwrap_or_default())
    }

    /// Refuses what takes so many bytes where there is no room for it, and raises the alarm then.
    pub(super) async fn room_for(&self, caller: &Caller, bytes: u64) -> Result<(), Status> {
        caller.may_change()?;
        if bytes == 0 {
            return Ok(());
        }
        if caller.is_capped() {
            return Err(refusal::NO_SPACE.into());
        }
        let full = |quota: u64| caller.taken() + bytes >= quota;
        if self.options.quota_bytes.is_some_and(full) {
            let raise = |alarms: &mut Alarms| {
                alarms.raise(self.member_id, Kind::NoSpace);
                Ok(())
            };
            self.change_record(&self.alarm_record, || Ok(Alarms::default()), raise)
                .await?;
            tracing::warn!(
                taken_bytes = caller.taken(),
                quota_bytes = self.options.quota_bytes,
                "the keyspace is full: compact it, then end the alarm NOSPACE"
            );
            return Err(refusal::NO_SPACE.into());
        }
        Ok(())
    }
}
