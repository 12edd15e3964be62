//! The offline verifier: is this file the chain of that cluster, whole and genuine?
//!
//! Each block is asked four questions that build on each other: are its bytes as written (digest), did its proposer
//! say it (signature, trusted key), does it follow the block before (parent, gap), did anybody else see it (witness).
//! A block that fails one of the first two is not asked the others, and its neighbours are not blamed for not fitting
//! to it: one damage gives one problem, so that kinds tell damages apart.
//!
//! | what was done to the file | what is reported |
//! |---|---|
//! | a byte of a record changed | `digest` at that block |
//! | the same, with all plain digests made to fit | `signature` at that block |
//! | a block re-signed by somebody else under the proposer's name | `signature` |
//! | a block made and signed by a stranger, or by a node that was evicted before | `untrusted-key` |
//! | a block made anew by a trusted node alone | `witness` at it and `parent` behind it |
//! | a co-signature by a stranger | `untrusted-key` |
//! | a co-signature that is wrong, or none where one is due | `witness` |
//! | a block taken out | `gap` |
//! | two blocks swapped, one repeated, a fork, a block or a whole file of another cluster, a term that goes back | `parent` |
//! | cut anywhere, or the last blocks taken out | `truncated` |
//! | the same, with count, trailer and digests made to fit | `truncated`, if a head is given that it cannot reach |
//! | another file, a newer format, bytes behind the end | `format` |
//!
//! A cut that is made to fit is a valid, shorter chain: nothing inside the file can tell, only heads that were seen
//! elsewhere. The same holds for witnesses that were taken off the newest blocks: what the report counts as awaiting
//! its witness rests on the proposer's word alone.
//!
//! **Witnesses.** A block needs one when the blocks before it have admitted, less evicted, three nodes or more
//! ([`WITNESSED_FROM_MEMBERS`]). A witness counts when it is trusted, not the proposer, and not evicted before the
//! block. They arrive after the block, in order, so the newest blocks may lack theirs: blocks behind the last witnessed
//! one are excused, [`UNWITNESSED_TAIL_MAX`] of them at most, and counted in the report. Rejected: to excuse the newest
//! blocks whether or not a later one is witnessed; a history shorter than that would need no witness at all.

use std::collections::BTreeSet;

use crate::block::{digest_of, is_signed_by};
use crate::canonical;
use crate::export::{self, End, Export, Record, Sealed};
use crate::report::Problems;
use crate::{BlockBody, Digest, NodeId, ProblemKind, Report, TransitionKind, TrustedKeys};

/// From this many members on, a block needs a witness: with fewer, no majority has one to spare.
pub const WITNESSED_FROM_MEMBERS: usize = 3;

/// How many blocks behind the last witnessed one may lack a witness: as many as a replacement of several nodes at once
/// or a recovery without a quorum writes before another voter is there to co-sign.
pub const UNWITNESSED_TAIL_MAX: usize = 8;

/// Verifies an export (see [`crate::Chain::export`]) against the keys in `trust` and, against a cut tail, the `heads`
/// that nodes vouch for: each has to be a block of the file.
///
/// Any bytes are answered; memory is a small multiple of the file's size, time grows with it as n log n. The module's
/// table says which damage gives which kind of problem.
pub fn verify(file: &[u8], trust: &TrustedKeys, heads: &[Digest]) -> Report {
    let mut problems = Problems::default();
    let export = match export::read(file) {
        Ok(export) => export,
        Err(refused) => {
            let kind = match refused {
                export::NoExport::Cut => ProblemKind::Truncated,
                export::NoExport::OtherFile | export::NoExport::Version { .. } => ProblemKind::Format,
            };
            problems.add(0, kind, refused.to_string());
            return problems.into_report(0, None, 0);
        }
    };
    let blocks = export.records.len() as u64;
    let mut places = read_places(&export, &mut problems);
    put_in_order(&mut places, &mut problems);
    let mut walk = Walk::new(root(&export, trust, &places, &mut problems), trust, problems);
    places.iter().for_each(|place| walk.step(place));
    let awaiting = walk.settle_witnesses();
    check_end(&export, &mut walk);
    check_heads(&export, heads, &mut walk);
    let head = match walk.last {
        Last::Block { digest, .. } => Some(digest),
        Last::Root | Last::Unknown => None,
    };
    walk.problems.into_report(blocks, head, awaiting)
}

/// One record in the place that its number gives it.
struct Place<'a> {
    index: u64,
    /// None where the record is damaged: its number is then that of its position.
    block: Option<Read<'a>>,
}

/// A block whose bytes are as written; who wrote them is another question.
struct Read<'a> {
    digest: Digest,
    body: BlockBody,
    sealed: &'a Sealed<'a>,
}

fn read_places<'a>(export: &'a Export<'a>, problems: &mut Problems) -> Vec<Place<'a>> {
    let mut places: Vec<Place<'a>> = Vec::with_capacity(export.records.len());
    for record in &export.records {
        let in_turn = places.last().map_or(0, |before| before.index.saturating_add(1));
        let block = match record {
            Record::Sound(sealed) => match canonical::decode(sealed.body) {
                Ok(body) => Some(Read {
                    digest: digest_of(sealed.body),
                    body,
                    sealed,
                }),
                Err(malformed) => {
                    problems.add(in_turn, ProblemKind::Format, malformed.to_string());
                    None
                }
            },
            Record::Damaged => {
                problems.add(
                    in_turn,
                    ProblemKind::Digest,
                    "the block is not what its digest says: it was changed",
                );
                None
            }
            Record::Malformed => {
                problems.add(in_turn, ProblemKind::Format, "the parts of the record do not add up");
                None
            }
        };
        places.push(Place {
            index: block.as_ref().map_or(in_turn, |read| read.body.index),
            block,
        });
    }
    places
}

/// Sorts by number, and reports what stood in the wrong place or is there twice; of two with one number the first
/// stays.
fn put_in_order(places: &mut Vec<Place<'_>>, problems: &mut Problems) {
    for pair in places.windows(2) {
        if pair[1].index < pair[0].index {
            let detail = format!("the block stands behind block {}: the order was changed", pair[0].index);
            problems.add(pair[1].index, ProblemKind::Parent, detail);
        }
    }
    places.sort_by_key(|place| place.index);
    places.dedup_by(|later, first| {
        let twice = later.index == first.index;
        if twice {
            let digest = |place: &Place<'_>| place.block.as_ref().map(|read| read.digest);
            let detail = match (digest(first), digest(later)) {
                (Some(one), Some(other)) if one != other => "there are two blocks of this number: the history forks",
                _ => "the block is there twice",
            };
            problems.add(later.index, ProblemKind::Parent, detail);
        }
        twice
    });
}

/// The digest that the chain has to start from: the pinned cluster, or else the one that the header names, or else,
/// where the header is damaged, that of the first block.
fn root(export: &Export<'_>, trust: &TrustedKeys, places: &[Place<'_>], problems: &mut Problems) -> Digest {
    let named = export.header.map(|header| header.cluster);
    if named.is_none() {
        problems.add(0, ProblemKind::Digest, "the header of the file was changed");
    }
    if let (Some(pinned), Some(named)) = (trust.cluster(), named)
        && pinned != named
    {
        let detail = format!("the file is of cluster {named}, and the trusted keys are of cluster {pinned}");
        problems.add(0, ProblemKind::Parent, detail);
        // That says it; the blocks are held against what the file itself claims.
        return named;
    }
    let first = || places.iter().find_map(|place| Some(place.block.as_ref()?.body.cluster));
    trust.cluster().or(named).or_else(first).unwrap_or_default()
}

/// What the block before the next one is known to be.
enum Last {
    /// There is none: the next is block 0.
    Root,
    /// A block of its proposer's.
    Block { digest: Digest, term: u64 },
    /// It is missing, or not to be believed.
    Unknown,
}

/// The walk over the blocks in order of their numbers.
struct Walk<'a> {
    root: Digest,
    trust: &'a TrustedKeys,
    problems: Problems,
    last: Last,
    next: u64,
    /// Digests that are in the chain, or that a block of it names as its parent.
    known: BTreeSet<Digest>,
    members: BTreeSet<NodeId>,
    evicted: BTreeSet<NodeId>,
    /// How many blocks could not be believed: each may have been an eviction.
    unknown: u64,
    /// The blocks behind the last witnessed one that are due a witness and have none.
    unwitnessed: Vec<u64>,
}

impl<'a> Walk<'a> {
    fn new(root: Digest, trust: &'a TrustedKeys, problems: Problems) -> Self {
        Self {
            root,
            trust,
            problems,
            last: Last::Root,
            next: 0,
            known: BTreeSet::from([root]),
            members: BTreeSet::new(),
            evicted: BTreeSet::new(),
            unknown: 0,
            unwitnessed: Vec::new(),
        }
    }

    fn step(&mut self, place: &Place<'_>) {
        self.skip_to(place.index);
        self.next = place.index.saturating_add(1);
        let believed = place.block.as_ref().filter(|read| {
            self.known.extend([read.digest, read.body.parent]);
            self.is_proposers(read)
        });
        let Some(read) = believed else {
            self.last = Last::Unknown;
            self.unknown = self.unknown.saturating_add(1);
            return;
        };
        self.check_place(read);
        self.check_witnesses(read);
        self.apply(&read.body);
        self.last = Last::Block {
            digest: read.digest,
            term: read.body.term,
        };
    }

    fn skip_to(&mut self, index: u64) {
        let missing = index.saturating_sub(self.next);
        if missing == 0 {
            return;
        }
        let detail = match missing {
            1 => "the block is missing".to_owned(),
            _ => format!("the blocks {} to {} are missing", self.next, index - 1),
        };
        self.problems.add(self.next, ProblemKind::Gap, detail);
        self.unknown = self.unknown.saturating_add(missing);
        self.last = Last::Unknown;
    }

    /// Whether the block is its proposer's, and the proposer one of the cluster's.
    fn is_proposers(&mut self, read: &Read<'_>) -> bool {
        let (index, proposer) = (read.body.index, &read.body.proposer);
        let signed = is_signed_by(proposer, &read.digest, &read.sealed.signature);
        if !signed {
            let detail = format!("the signature is not that of the proposer {}", self.called(proposer));
            self.problems.add(index, ProblemKind::Signature, detail);
        }
        let trusted = self.trust.contains(proposer);
        if !trusted {
            let detail = format!("the proposer {proposer} is not among the trusted keys");
            self.problems.add(index, ProblemKind::UntrustedKey, detail);
        }
        let evicted = self.evicted.contains(proposer);
        if evicted {
            let detail = format!("the proposer {} was evicted before", self.called(proposer));
            self.problems.add(index, ProblemKind::UntrustedKey, detail);
        }
        signed && trusted && !evicted
    }

    fn check_place(&mut self, read: &Read<'_>) {
        let BlockBody {
            index,
            cluster,
            parent,
            term,
            ..
        } = &read.body;
        if *cluster != self.root {
            let detail = format!("the block is of cluster {cluster}");
            self.problems.add(*index, ProblemKind::Parent, detail);
        } else if let Some(expected) = self.expected_parent()
            && *parent != expected
        {
            let detail = format!("the block follows {parent}, and the one before it is {expected}");
            self.problems.add(*index, ProblemKind::Parent, detail);
        }
        if let Last::Block { term: before, .. } = self.last
            && *term < before
        {
            let detail = format!("the block is of term {term}, and the one before it of term {before}");
            self.problems.add(*index, ProblemKind::Parent, detail);
        }
    }

    fn expected_parent(&self) -> Option<Digest> {
        match self.last {
            Last::Root => Some(self.root),
            Last::Block { digest, .. } => Some(digest),
            Last::Unknown => None,
        }
    }

    fn check_witnesses(&mut self, read: &Read<'_>) {
        let index = read.body.index;
        let mut counted = false;
        let mut wrong = false;
        let mut before = None;
        for witness in read.sealed.witnesses() {
            let node = witness.node;
            let problem = if before.replace(node).is_some_and(|before| before >= node) {
                Some((ProblemKind::Witness, "is listed twice or out of order"))
            } else if node == read.body.proposer {
                Some((ProblemKind::Witness, "proposed the block and cannot witness it"))
            } else if !witness.is_signed(&read.digest) {
                Some((ProblemKind::Witness, "did not sign this block"))
            } else if !self.trust.contains(&node) {
                Some((ProblemKind::UntrustedKey, "is not among the trusted keys"))
            } else {
                None
            };
            match problem {
                Some((kind, what)) => {
                    let detail = format!("the witness {} {what}", self.called(&node));
                    self.problems.add(index, kind, detail);
                    wrong = true;
                }
                None => counted |= !self.evicted.contains(&node),
            }
        }
        if counted {
            self.flag_unwitnessed();
        } else if self.needs_witness() && !wrong {
            self.unwitnessed.push(index);
        }
    }

    /// Whether three nodes were members before this block, even if every block that cannot be believed evicted one.
    fn needs_witness(&self) -> bool {
        let members = (self.members.len() as u64).saturating_sub(self.unknown);
        members >= WITNESSED_FROM_MEMBERS as u64
    }

    /// Reports the blocks that had none when a later one had: theirs were not on their way.
    fn flag_unwitnessed(&mut self) {
        for index in std::mem::take(&mut self.unwitnessed) {
            self.problems
                .add(index, ProblemKind::Witness, "no other node vouches for the block");
        }
    }

    /// Reports all but the newest that are excused, and returns how many those are.
    fn settle_witnesses(&mut self) -> u64 {
        let excused = self.unwitnessed.len().min(UNWITNESSED_TAIL_MAX);
        self.unwitnessed.truncate(self.unwitnessed.len() - excused);
        self.flag_unwitnessed();
        excused as u64
    }

    fn apply(&mut self, body: &BlockBody) {
        let node = body.transition.node;
        match body.transition.kind {
            TransitionKind::Admit => {
                self.evicted.remove(&node);
                self.members.insert(node);
            }
            TransitionKind::Evict => {
                self.members.remove(&node);
                self.evicted.insert(node);
            }
            TransitionKind::Promote
            | TransitionKind::Demote
            | TransitionKind::Reassign
            | TransitionKind::Quarantine
            | TransitionKind::Restore => {}
        }
    }

    fn called(&self, node: &NodeId) -> String {
        self.trust.name(node).map_or_else(|| node.to_string(), str::to_owned)
    }
}

/// Holds the end of the file against its header and trailer.
fn check_end(export: &Export<'_>, walk: &mut Walk<'_>) {
    let next = walk.next;
    match export.end {
        End::Cut => {
            let promised = export
                .header
                .map_or_else(String::new, |header| format!(" of {} blocks", header.records));
            return walk.problems.add(
                next,
                ProblemKind::Truncated,
                format!("the file{promised} ends before this block"),
            );
        }
        End::Unreadable => {
            let detail = "the framing was changed: nothing from this block on can be read";
            return walk.problems.add(next, ProblemKind::Digest, detail);
        }
        End::Excess { bytes } => {
            walk.problems.add(
                next,
                ProblemKind::Format,
                format!("{bytes} bytes follow the end of the chain"),
            );
        }
        End::Trailer { .. } => {}
    }
    match export.header.map(|header| header.records) {
        Some(promised) if promised > next => {
            let detail = format!("the file was made of {promised} blocks, and ends before this one");
            walk.problems.add(next, ProblemKind::Truncated, detail);
        }
        Some(promised) if promised < next => {
            let detail = format!(
                "the file says that it is of {promised} blocks, and holds block {}",
                next - 1
            );
            walk.problems.add(next, ProblemKind::Format, detail);
        }
        _ => {
            if let End::Trailer { head, intact: true } = export.end
                && walk.expected_parent().is_some_and(|last| last != head)
            {
                let detail = format!("the file was made with the head {head}, and ends before it");
                walk.problems.add(next, ProblemKind::Truncated, detail);
            }
        }
    }
    if walk.problems.is_empty() && matches!(export.end, End::Trailer { intact: false, .. }) {
        let detail = "the end of the file was changed: it is not what its digest says";
        walk.problems.add(next, ProblemKind::Digest, detail);
    }
}

/// Looks for every head that somebody vouches for. A file that visibly lacks its end needs no more proof of it.
fn check_heads(export: &Export<'_>, heads: &[Digest], walk: &mut Walk<'_>) {
    if matches!(export.end, End::Cut | End::Unreadable) {
        return;
    }
    let heads: BTreeSet<_> = heads.iter().collect();
    for head in heads {
        if !walk.known.contains(head) {
            let detail = format!("a node vouches for the head {head}, and the file does not reach it");
            walk.problems.add(walk.next, ProblemKind::Truncated, detail);
        }
    }
}

#[cfg(test)]
mod tests;
