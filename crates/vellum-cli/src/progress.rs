//! Progress on standard error, when that is a terminal.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar towards `total` accesses, or, if that is not known, a count of them.
pub struct Progress(ProgressBar);

impl Progress {
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

    /// So many accesses were made.
    pub fn at(&self, accesses: u64) {
        self.0.set_position(accesses);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
