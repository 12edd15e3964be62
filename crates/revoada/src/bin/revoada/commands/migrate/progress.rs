//! How far it has come, on a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on stderr; without a terminal there is none.
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar of `total` of `what`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template("{prefix} [{bar:40}] {human_pos}/{human_len} {per_sec} {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(what);
        Self(bar)
    }

    /// So far.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// There may be more than was thought.
    pub fn of(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
