//! The task of a member: it founds the roster, makes itself known, keeps what it wrote down, and sees when it is removed.

use std::time::Duration;

use revoada_attest::NodeId;
use revoada_core::limits;
use revoada_core::machine::Command;
use revoada_core::roster::{Roster, RosterChange, RosterMember};
use revoada_mesh::consensus::Consensus;
use revoada_mesh::runtime::{Instant as _, InstantOf, Runtime, elapsed};

use super::Word;
use crate::introduction::MemberStanding;
use crate::introduction::meet::standing;

/// Runs until the member was removed and the membership is without it.
pub(crate) async fn keep<R: Runtime>(word: Word, me: NodeId, consensus: Consensus<R>) {
    make_known(&word, &consensus).await;
    word.ready.cancel();
    let mut pins = word.pins.clone();
    let mut removed_since = None;
    loop {
        let roster = consensus.read(|state| state.roster().clone());
        if roster.was_removed(pins.id) {
            let since = *removed_since.get_or_insert_with(InstantOf::<R>::now);
            let raft = consensus.view();
            let replicates = raft.voters.contains(&me) || raft.learners.contains(&me);
            // In a group of two the other one cannot go on without this one's word that it is out; and where it is, nobody
            // may be left who would say so by the log.
            let late = elapsed::<R>(since) > Duration::from_millis(limits::REMOVED_MS_MAX);
            if !replicates || late || standing(&pins, me, word.introductions.tls()).await == MemberStanding::Removed {
                return;
            }
        } else if !pins.members.iter().eq(roster.members()) {
            pins.members = roster.members().cloned().collect();
            let (saved, folder) = (pins.clone(), word.folder.clone());
            match R::blocking(move || saved.save(&folder, None)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the members cannot be written down"),
                Err(error) => tracing::warn!(%error, "the members were not written down"),
            }
        }
        R::sleep(Duration::from_millis(limits::ROSTER_LOOK_MS)).await;
    }
}

/// Until everybody knows its name and where clients reach it.
async fn make_known<R: Runtime>(word: &Word, consensus: &Consensus<R>) {
    loop {
        if consensus.newest().await.is_ok() {
            let roster = consensus.read(|state| state.roster().clone());
            match missing(word, &roster) {
                None => return,
                Some(change) => match consensus.propose(Command::Roster(change)).await {
                    Ok(Ok(_)) => continue,
                    Ok(Err(refused)) => tracing::warn!(%refused, "this member cannot make itself known"),
                    Err(error) => tracing::debug!(%error, "this member is not known yet"),
                },
            }
        }
        R::sleep(Duration::from_millis(limits::FORMATION_PAUSE_MS)).await;
    }
}

/// What is still to be said. Nothing where this member was removed: nobody would hear it.
fn missing(word: &Word, roster: &Roster) -> Option<RosterChange> {
    let id = word.pins.id;
    if !roster.is_founded() {
        let unnamed = |member: &RosterMember| RosterMember {
            name: String::new(),
            client_urls: Vec::new(),
            ..member.clone()
        };
        let members = word.pins.members.iter().map(unnamed).collect();
        return Some(RosterChange::Found { members });
    }
    if word.alone
        && let Some(other) = roster.members().find(|member| member.id != id)
    {
        return Some(RosterChange::Remove { id: other.id });
    }
    let member = roster.get(id)?;
    let said = member.name == word.name && member.client_urls == word.client_urls;
    (!said).then(|| RosterChange::Publish {
        id,
        name: word.name.clone(),
        client_urls: word.client_urls.clone(),
    })
}
