//! Places at which a test can make this process die, as by SIGKILL: before and after everything that a node persists,
//! applies or changes.
//!
//! They stand in production's own lines and are there only with the feature `failpoints`, which nothing but tests of real
//! processes turns on; without it each of them is an empty function. Which of them kills is read from a file again and
//! again, so that a process can be armed while it runs, and its start can be armed too. Rejected: the environment alone;
//! what only a leader passes would then kill one leader after the other.

macro_rules! points {
    ($($(#[$about:meta])* $variant:ident = $name:literal,)*) => {
        /// A place to die at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point {
            $($(#[$about])* $variant,)*
        }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name that it is armed by.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

points! {
    /// Entries are to be appended; nothing of them is anywhere yet.
    BeforeAppend = "before-append",
    /// Entries wait for the log's writer, and can be read.
    AfterAppend = "after-append",
    /// A batch is to be written and synced.
    BeforeSync = "before-sync",
    /// It is durable, and nobody has been told.
    AfterSync = "after-sync",
    /// Everybody has been told.
    AfterDurable = "after-durable",
    /// The next segment is to be entered.
    BeforeSegment = "before-segment",
    /// It is entered; its header waits for its first records.
    AfterSegment = "after-segment",
    /// A segment that nobody needs is to be removed.
    BeforeRemove = "before-remove",
    /// It is removed, and that is not synced.
    AfterRemove = "after-remove",
    /// A vote is to be persisted.
    BeforeVote = "before-vote",
    /// It is durable, and nobody has been told.
    AfterVote = "after-vote",
    /// Entries that another leader does not have are to be cut off.
    BeforeTruncate = "before-truncate",
    /// They are cut off.
    AfterTruncate = "after-truncate",
    /// Entries behind a checkpoint are to go.
    BeforePurge = "before-purge",
    /// That is asked for.
    AfterPurge = "after-purge",
    /// A committed entry is to be applied.
    BeforeApply = "before-apply",
    /// It is applied, and its caller has not been told.
    AfterApply = "after-apply",
    /// A checkpoint is to be written.
    BeforeCheckpoint = "before-checkpoint",
    /// It is written, and not synced.
    BeforeCheckpointSync = "before-checkpoint-sync",
    /// It is whole, and has not its name.
    BeforeCheckpointName = "before-checkpoint-name",
    /// It has its name, and that is not synced.
    AfterCheckpointName = "after-checkpoint-name",
    /// It counts.
    AfterCheckpoint = "after-checkpoint",
    /// A checkpoint of another node has come and is to be taken over.
    BeforeInstall = "before-install",
    /// It is taken over on the disk, and not in memory.
    AfterInstall = "after-install",
    /// A transition is to be committed.
    BeforeTransition = "before-transition",
    /// It is committed, and nothing has come of it.
    AfterTransition = "after-transition",
    /// A step of a change of the membership is to be asked for.
    BeforeMembership = "before-membership",
    /// It is committed, and what follows it is not.
    AfterMembership = "after-membership",
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use super::Point;

    static FOLLOWS: AtomicBool = AtomicBool::new(false);
    const LOOK_AGAIN: Duration = Duration::from_millis(10);

    /// Whether this build has any.
    pub const ENABLED: bool = true;

    /// Arms what `file` says, now and whenever it says something else, for as long as the process lives.
    ///
    /// It is text in the language of the crate `fail`: `NAME=return` kills at the next time, `NAME=5*off->return` at the
    /// sixth, `NAME=1%return` at one in a hundred; several are divided by `;`. No file is the same as an empty one.
    pub fn follow(file: PathBuf) {
        FOLLOWS.store(true, Ordering::SeqCst);
        let mut armed = String::new();
        look(&file, &mut armed);
        let watch = move || {
            loop {
                std::thread::sleep(LOOK_AGAIN);
                look(&file, &mut armed);
            }
        };
        let started = std::thread::Builder::new()
            .name("revoada-failpoints".to_owned())
            .spawn(watch);
        if let Err(error) = started {
            tracing::error!(%error, "failpoints are armed once only");
        }
    }

    fn look(file: &std::path::Path, armed: &mut String) {
        let said = std::fs::read_to_string(file).unwrap_or_default();
        if said == *armed {
            return;
        }
        for point in Point::ALL {
            fail::remove(point.name());
        }
        for one in said.split(';').map(str::trim).filter(|one| !one.is_empty()) {
            let (name, action) = one.split_once('=').unwrap_or((one, "return"));
            assert!(
                Point::ALL.iter().any(|point| point.name() == name),
                "there is no failpoint {name}"
            );
            if let Err(error) = fail::cfg(name, action) {
                panic!("{one} arms no failpoint: {error}");
            }
        }
        // For whoever has to know that this process is armed by now.
        if let Err(error) = std::fs::write(file.with_extension("armed"), &said) {
            tracing::error!(%error, "cannot say what is armed");
        }
        *armed = said;
    }

    /// Dies here, if this point is armed.
    pub fn hit(point: Point) {
        if FOLLOWS.load(Ordering::Relaxed) {
            fail::fail_point!(point.name(), |_| die(point));
        }
    }

    fn die(point: Point) {
        // For whoever reads the log of a process that is gone.
        eprintln!("killed at the failpoint {}", point.name());
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("a process that kills itself goes on: {killed:?}");
    }
}

#[cfg(not(feature = "failpoints"))]
mod armed {
    use super::Point;

    /// Whether this build has any.
    pub const ENABLED: bool = false;

    /// Arms nothing: this build has no failpoints.
    pub fn follow(_: std::path::PathBuf) {}

    /// Nothing, in this build.
    #[inline(always)]
    pub fn hit(_: Point) {}
}

pub use armed::{ENABLED, follow, hit};
