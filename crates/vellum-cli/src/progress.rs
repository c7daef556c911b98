//! Progress on standard error, when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// A bar towards `total` accesses, or, if that is not known, a count of them.
pub struct Progress(ProgressBar);

impl Progress {
    #[cfg(feature = "run")]
    pub fn new(what: &str, total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{msg} {bar:40} {percent:>3} % {human_pos} accesses, {per_sec}"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {human_pos} accesses, {per_sec}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(what.to_string());
        Progress(bar)
    }

    /// A bar towards `total` operations, or, if that is not known, a count of them.
    #[cfg(feature = "conform")]
    pub fn of_operations(total: Option<u64>) -> Progress {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:40} {human_pos} of {human_len} operations, {elapsed}"),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} operations, {elapsed}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress(bar)
    }

    /// A bar towards `total` searches.
    pub fn of_searches(total: usize) -> Progress {
        let bar = ProgressBar::new(total as u64);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} searches, {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress(bar)
    }

    /// So many of them are done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Hides the bar while `body` prints.
    pub fn hidden<R>(&self, body: impl FnOnce() -> R) -> R {
        self.0.suspend(body)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
