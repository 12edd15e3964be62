//! Bugs that are put in on purpose, one at a time, to see that the simulation finds them: a checker that was never seen to
//! fail is worth nothing.
//!
//! They stand where such a bug would, in production's own lines, and are there only with the feature `planted`, which
//! nothing but the simulation's own tests turns on; without it each question is the constant `false`. Here, because every
//! other crate of ours sees this one.

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// An append is acknowledged before it is on the disk (Raft §5.3).
    AcknowledgesBeforeSync,
    /// A vote is not written to the disk (Raft §5.2).
    ForgetsTheVote,
    /// A vote is given without a look at the candidate's log (Raft §5.4.1).
    VotesForAnybody,
    /// A role change may follow another at once.
    SkipsDamping,
    /// A read of the newest is served without asking anybody (Raft thesis §6.4).
    ReadsStale,
    /// A read of the newest does not wait until its node has applied what was confirmed (Raft thesis §6.4).
    ReadsBeforeApplied,
    /// A watch that goes on elsewhere passes over a revision.
    WatchLosesEvents,
    /// A watch that goes on elsewhere begins one revision too early.
    WatchRepeatsEvents,
    /// A watch is told what one revision did in two parts.
    WatchTearsRevisions,
    /// A watch is told that nothing is missing before it is told.
    WatchBookmarksEarly,
    /// A write whose outcome is unknown is told as one that was refused.
    RefusesTheUnknown,
    /// A block is appended whatever its parent is, and its proposer does not look either.
    ParentIsUnchecked,
    /// A checkpoint says that it holds an entry more than it does.
    CheckpointWithoutTail,
    /// A restore takes a revision that others may have seen already (etcd#16028).
    RevisionIsReused,
    /// A restore leaves out the last resource of the snapshot.
    RestoreLosesTheLast,
    /// An acknowledgement of an entry of an older term counts as one of the leader's own (Raft §5.4.2).
    CountsOldTerms,
    /// A node is promoted whether or not it has caught up.
    PromotesLaggards,
    /// A write whose outcome is unknown is tried again.
    RetriesUnknown,
    /// A voter whose log went back is let in.
    AdmitsForgetful,
    /// A leader takes what a node once had for what it has, also if it came back on another disk.
    TrustsOldProgress,
    /// What a voter says is counted whatever disk it has and whatever others remember of it, and it stands for election as
    /// well.
    CountsOtherDisks,
    /// A truncation of the log is not written to the disk.
    ForgetsTruncation,
    /// More entries of one node are in flight than may be.
    GathersWithoutLimit,
    /// A node that leads no longer goes on with what it had planned.
    ActsWhenDeposed,
    /// Some followers are sent an entry without what is in it.
    SendsEmptyEntries,
    /// Who loses its vote is not written to the chain.
    DemotesWithoutABlock,
    /// A witness signs the block before, and nobody looks at what it signed.
    WitnessesAnotherBlock,
    /// The answers of a batch go to each other's callers.
    AnswersInAnotherOrder,
}

impl Bug {
    /// All of them, by their names on the command line.
    pub const ALL: [(&'static str, Self); 28] = [
        ("acknowledges-before-sync", Self::AcknowledgesBeforeSync),
        ("forgets-the-vote", Self::ForgetsTheVote),
        ("votes-for-anybody", Self::VotesForAnybody),
        ("skips-damping", Self::SkipsDamping),
        ("reads-stale", Self::ReadsStale),
        ("reads-before-applied", Self::ReadsBeforeApplied),
        ("watch-loses-events", Self::WatchLosesEvents),
        ("watch-repeats-events", Self::WatchRepeatsEvents),
        ("watch-tears-revisions", Self::WatchTearsRevisions),
        ("watch-bookmarks-early", Self::WatchBookmarksEarly),
        ("refuses-the-unknown", Self::RefusesTheUnknown),
        ("parent-is-unchecked", Self::ParentIsUnchecked),
        ("checkpoint-without-tail", Self::CheckpointWithoutTail),
        ("revision-is-reused", Self::RevisionIsReused),
        ("restore-loses-the-last", Self::RestoreLosesTheLast),
        ("counts-old-terms", Self::CountsOldTerms),
        ("promotes-laggards", Self::PromotesLaggards),
        ("retries-unknown", Self::RetriesUnknown),
        ("admits-forgetful", Self::AdmitsForgetful),
        ("trusts-old-progress", Self::TrustsOldProgress),
        ("counts-other-disks", Self::CountsOtherDisks),
        ("forgets-truncation", Self::ForgetsTruncation),
        ("gathers-without-limit", Self::GathersWithoutLimit),
        ("acts-when-deposed", Self::ActsWhenDeposed),
        ("sends-empty-entries", Self::SendsEmptyEntries),
        ("demotes-without-a-block", Self::DemotesWithoutABlock),
        ("witnesses-another-block", Self::WitnessesAnotherBlock),
        ("answers-in-another-order", Self::AnswersInAnotherOrder),
    ];
}

#[cfg(feature = "planted")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug on this thread, in the place of the one before.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.with(|planted| planted.set(bug));
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.with(|planted| planted.get() == Some(bug))
}

/// Whether this bug is planted: none is in this build.
#[cfg(not(feature = "planted"))]
pub const fn is_planted(_: Bug) -> bool {
    false
}
